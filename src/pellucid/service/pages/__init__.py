"""The pages to work with."""
