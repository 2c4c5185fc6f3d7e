"""What the README's numbers come from: ``python -m benchmarks.NAME``, from the root of the repository."""
