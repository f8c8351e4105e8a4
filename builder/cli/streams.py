"""Standard streams whose reader may leave before all is said."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TextIO, TypeVar, cast

from builder.errors import BuildError

Result = TypeVar("Result")


@contextmanager
def readers_may_leave() -> Iterator[None]:
    """Have the block go on in silence once nobody reads what it says, as behind ``| head``.

    What a command does is more than what it says of it: a build goes on, and the exit status is
    that of the work.
    """
    before = sys.stdout, sys.stderr
    # A shell may have closed one.
    sys.stdout, sys.stderr = (stream and cast(TextIO, _Stream(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _Stream:
    """A standard stream that takes all that is written, whether or not somebody reads it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return self._attempt(partial(self._stream.write, text)) or len(text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, call: Callable[[], Result]) -> Result | None:
        try:
            return call()
        except OSError as error:
            self._fall_silent()
            if isinstance(error, BrokenPipeError):
                return None
            raise BuildError(
                f"What the command says cannot be written ({error.strerror}): check where its "
                "output goes."
            ) from error

    def _fall_silent(self) -> None:
        """Let go nowhere what waits in buffers too: Python would complain of it when it ends."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
