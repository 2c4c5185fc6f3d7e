"""What makes the documentation out of the code: docstrings for the reference, and pictures for the pages."""
