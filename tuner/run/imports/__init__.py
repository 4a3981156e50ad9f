"""What was run before, elsewhere: reads it, and adds it to a study as finished trials."""
