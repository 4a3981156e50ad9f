"""Studies one after the other, each from the confirmed winner before it."""
