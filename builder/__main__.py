"""``python -m builder``."""

from builder.cli.cli import main

main()
