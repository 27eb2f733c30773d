"""A real-time voice agent, and the Realtime server behind it."""
