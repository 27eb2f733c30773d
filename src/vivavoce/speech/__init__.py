"""Sound and language without I/O."""
