"""Files, vector stores and the web, searched for passages that answer a question."""
