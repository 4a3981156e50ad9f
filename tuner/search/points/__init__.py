"""Configurations as points of a cube, and what an epoch at such a point costs."""
