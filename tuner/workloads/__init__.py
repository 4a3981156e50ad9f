"""Scripts of the user's as trials: their process, what they log, and the hook that reads it."""
