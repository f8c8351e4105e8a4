"""What the builder says when it cannot go on."""


class BuildError(Exception):
    """Bad input: its text is one sentence for the user that says what to do."""


class Stopped(Exception):  # noqa: N818 (nothing went wrong)
    """The user, or the user's cluster, asked to stop; finished work is kept."""


def first_line(error: BaseException) -> str:
    """Return what an exception says, short enough to be part of a sentence."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
