"""The edge that serves sessions to others."""
