"""Who may do what, and what never gets in."""
