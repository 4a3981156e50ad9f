"""The user's scripts as trials: their process, what they log, and the hook that reads it."""
