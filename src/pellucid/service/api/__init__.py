"""The HTTP interface. Every error is ``{"detail": "one sentence"}``."""
