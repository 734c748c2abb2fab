"""A command line enters; a running backend and a session with it leave."""
