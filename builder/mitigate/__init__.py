"""Mitigate: models that are to need the core alone, trained or tuned so."""
