"""Configurations as points of a cube."""
