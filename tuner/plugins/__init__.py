"""What the engine can do without: each folder is found through an entry point; the engine imports none."""
