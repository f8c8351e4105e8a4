"""The command line: ``salient-imagenet``."""

from builder.cli.app import run as main

__all__ = ["main"]
