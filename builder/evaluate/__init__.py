"""Evaluate: how far any model relies on spurious features."""
