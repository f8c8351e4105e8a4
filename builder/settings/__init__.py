"""What a user asks of each command: every option, with its type, default, limits and help."""
