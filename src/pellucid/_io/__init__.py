"""Plumbing that every stage may use: writing files, overlapping work, progress, conversion."""
