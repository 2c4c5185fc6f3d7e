"""The HTTP interface. Errors are ``{"detail": "one sentence"}`` for programs, those that nobody foresaw too."""
