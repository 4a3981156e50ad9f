"""Web servers for this machine only."""
