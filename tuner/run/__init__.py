"""Runs studies: the plan, the supervisor, its agents and their trials."""
