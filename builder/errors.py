"""What the builder says when it cannot go on."""


class BuildError(Exception):
    """Bad input: its text is one sentence for the user that says what to do."""
