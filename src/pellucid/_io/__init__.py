"""Plumbing that every stage may use: writing files, pipelines, progress, room for a fit, conversion."""
