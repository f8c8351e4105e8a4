"""The demo: a planted world in which it is known what masks and rankings should show."""
