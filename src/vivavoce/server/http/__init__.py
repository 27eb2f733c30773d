"""The HTTP side of the server, in the shapes of the OpenAI API."""
