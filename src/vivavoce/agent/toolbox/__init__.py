"""Tools that come with the agent."""
