"""The command line: ``salient-imagenet``."""
