"""Helpers that all other packages use: errors, files, the run folder, statistics, number formatting."""
