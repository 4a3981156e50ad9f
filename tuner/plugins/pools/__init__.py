"""Agents on the workers of a Dask or Ray cluster."""
