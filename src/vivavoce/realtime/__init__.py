"""The Realtime protocol: its values, its events, and both halves of a session, without I/O."""
