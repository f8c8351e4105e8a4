"""Errors of disks and networks that come and go."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")

_PAUSES = (0.1, 0.5)
"""Seconds to wait before the second and the third try."""

_PASSING = frozenset(
    getattr(errno, name)
    for name in (
        *("EAGAIN", "EBUSY", "ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "EHOSTDOWN"),
        *("EHOSTUNREACH", "EINTR", "EIO", "ENETDOWN", "ENETRESET", "ENETUNREACH", "EPIPE"),
        *("EREMOTEIO", "ESTALE", "ETIMEDOUT"),
    )
    if hasattr(errno, name)
)


def may_pass(error: OSError) -> bool:
    """Return whether the same call may well succeed a moment later."""
    return error.errno in _PASSING or isinstance(error, ConnectionError | TimeoutError)


def retry(call: Callable[[], Result]) -> Result:
    """Call until it succeeds, three times at most, with growing pauses.

    Parameters
    ----------
    call : callable
        May be called again after it has failed.

    Raises
    ------
    OSError
        The third failure, or the first that does not pass by waiting.
    """
    for pause in _PAUSES:
        try:
            return call()
        except OSError as error:
            if not may_pass(error):
                raise
        time.sleep(pause)
    return call()
