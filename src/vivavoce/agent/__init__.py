"""The edge that talks to a person."""
