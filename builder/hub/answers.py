"""What the Hub's answers mean to its user: wait, or do this."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx2
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from builder.errors import BuildError, first_line

TOKENS_PAGE = "https://huggingface.co/settings/tokens"

_CONFLICTS = (409, 412)
_PASSING = (408, 425, 429, 500, 502, 503, 504, *_CONFLICTS)


@dataclass(frozen=True)
class Answers:
    """Reads what the Hub's client raises, for one repository.

    Attributes
    ----------
    name : str
        The repository.
    endpoint : str
        The Hub's address; what comes from elsewhere comes from its storage.
    token : str or None
        Never shown.
    """

    name: str
    endpoint: str
    token: str | None = field(repr=False)

    def reason_to_wait(self, error: Exception) -> tuple[str, float | None]:
        """Say what went wrong, and how many seconds the Hub asks to wait, if it passes by itself.

        Raises
        ------
        BuildError
            If it does not: the sentence says what to do.
        """
        for cause in _causes(error):
            if isinstance(cause, OfflineModeIsEnabled):
                raise BuildError("HF_HUB_OFFLINE forbids to ask the Hub: unset it.") from None
            if isinstance(cause, HfHubHTTPError):
                return self._answer(cause, error)
            if isinstance(cause, httpx2.HTTPError | ConnectionError | TimeoutError):
                return f"The connection to the Hub broke ({self.safe(cause)})", None
        if isinstance(error, RuntimeError):  # What the Hub's client makes of a failed upload
            return f"The upload broke off ({self.safe(error)})", None
        raise error

    def _answer(self, answer: HfHubHTTPError, error: Exception) -> tuple[str, float | None]:
        """Say what an answer of the Hub, or of the storage that it sends clients to, means."""
        status = answer.response.status_code
        if status in _CONFLICTS:
            return f"{self.name} was changed by somebody else meanwhile ({status})", 1.0
        is_storage = not str(answer.response.url).startswith(self.endpoint)
        if status not in _PASSING and not is_storage:
            raise BuildError(self._refusal(status, error)) from None
        asked = answer.response.headers.get("Retry-After", "")
        # The storage refuses an address that the Hub signed too long ago; it signs new ones.
        where = "The Hub's storage" if is_storage else "The Hub"
        return f"{where} has a problem ({status})", float(asked) if asked.isdigit() else None

    def _refusal(self, status: int, error: Exception) -> str:
        if status == 401:
            return (
                "The Hub does not accept the token (401), it may have expired: make one that may "
                f"write at {TOKENS_PAGE}, and run `hf auth login` or set HF_TOKEN."
            )
        if status == 403:
            return (
                f"The token may not write to {self.name} (403): use one of somebody who may, with "
                f"the permission to write; they are made at {TOKENS_PAGE}."
            )
        if status == 404:
            return (
                f"{self.name} was not found (404), though it should be there: see that it was not "
                "removed or renamed, and run the same command again."
            )
        return f"The Hub refuses ({status}): {self.safe(error)}."

    def safe(self, error: BaseException) -> str:
        """Return what an exception says, without the token, whoever put it there."""
        said = getattr(error, "server_message", None) or error
        text = first_line(Exception(" ".join(str(said).split())))
        text = text.replace(self.token, "...") if self.token else text
        return text.rstrip(".")


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__
