"""The HTTP interface. Every error is ``{"detail": "one sentence"}``, those that nobody foresaw too."""
