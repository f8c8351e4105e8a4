"""What the builder says when it cannot go on, and how names come into what it says."""

import re

CREDENTIALS = re.compile(r"(?<=://)([^\s/@:]*:\S*|[^\s/@]*)(?=@)")
"""What stands in a URL before its host: a user's name, and a password after a colon."""


class BuildError(Exception):
    """Bad input: its text is one sentence for the user that says what to do."""


class Stopped(Exception):  # noqa: N818 (nothing went wrong)
    """The user, or the user's cluster, asked to stop; finished work is kept."""


def printable(text: str) -> str:
    """Return text as it may be shown: on one line, without passwords of URLs or control characters.

    Names of files, classes and images come from elsewhere, and a terminal obeys what it is sent.
    """
    shown = CREDENTIALS.sub("...", text)
    if shown.isprintable():
        return shown
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in shown)


def first_line(error: BaseException) -> str:
    """Return what an exception says, short enough to be part of a sentence."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


class UnusableError(Exception):
    """What was read has to be set aside.

    Attributes
    ----------
    reason : str
        One word, the same for all that is set aside for it.
    detail : str
        What is wrong with this one.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
