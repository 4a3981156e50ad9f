"""Samplers, pruners and stopping rules, and the ranking of trials."""
