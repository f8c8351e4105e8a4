"""What the loader says, as a sentence of the command that used it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from builder.errors import BuildError
from salient_imagenet_1m import SalientImageNetError


@contextmanager
def loader_errors_as_sentences() -> Iterator[None]:
    """Have the loader's errors, which are sentences as well, end a command as its own do."""
    try:
        yield
    except (SalientImageNetError, FileNotFoundError) as error:
        if getattr(error, "filename", None):
            raise
        raise BuildError(str(error)) from error
