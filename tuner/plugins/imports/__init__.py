"""Reads runs that other tools made, and adds them to a study as finished trials."""
