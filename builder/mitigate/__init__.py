"""Mitigate: models trained to need the core alone."""
