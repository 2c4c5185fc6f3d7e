"""A model as files: written, read, exported, quantised, cached."""
