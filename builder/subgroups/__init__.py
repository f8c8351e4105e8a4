"""Subgroups: parts of a class on which a model fails together, found without their labels."""
