"""Runs studies in order. Each starts from the confirmed winner of an earlier one."""
