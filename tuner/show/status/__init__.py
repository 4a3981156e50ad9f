"""Where studies stand and what they cost, in tables and words."""
