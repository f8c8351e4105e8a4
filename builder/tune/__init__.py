"""Tune: the head of a model, so that it needs cues less."""
