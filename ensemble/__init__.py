"""Combines finished runs into one bundle that decodes: candidates, weights, pooling, comparison."""
