"""What the Hub's answers are said to mean."""

from __future__ import annotations

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from builder.errors import BuildError
from builder.hub.answers import Answers

TOKEN = "hf_secret"
ANSWERS = Answers("org/name", "https://hub.example", TOKEN)


def answer(status: int, url: str = "https://hub.example/api", **headers: str) -> HfHubHTTPError:
    response = httpx2.Response(status, headers=headers, request=httpx2.Request("GET", url))
    return HfHubHTTPError(f"no {TOKEN} here.", response=response)


@pytest.mark.parametrize(
    ("error", "reason", "seconds"),
    [
        (answer(500), "The Hub has a problem (500)", None),
        (answer(429, **{"Retry-After": "17"}), "The Hub has a problem (429)", 17),
        (answer(429, **{"Retry-After": "tomorrow"}), "The Hub has a problem (429)", None),
        (answer(412), "org/name was changed by somebody else meanwhile (412)", 1),
        (answer(403, "https://s3.example"), "The Hub's storage has a problem (403)", None),
        (
            httpx2.ConnectError(f"refused {TOKEN} here"),
            "The connection to the Hub broke (refused ... here)",
            None,
        ),
        (RuntimeError(f"sent {TOKEN} here."), "The upload broke off (sent ... here)", None),
    ],
)
def test_what_passes_has_a_reason_and_a_wait(
    error: Exception, reason: str, seconds: float | None
) -> None:
    assert ANSWERS.reason_to_wait(error) == (reason, seconds)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (answer(401), r"does not accept the token \(401\)"),
        (answer(403), r"may not write to org/name \(403\)"),
        (answer(404), r"org/name was not found \(404\)"),
        (answer(400), r"The Hub refuses \(400\): no \.\.\. here\.$"),
        (OfflineModeIsEnabled("offline"), "HF_HUB_OFFLINE"),
    ],
)
def test_what_does_not_pass_is_a_sentence_without_the_token(
    error: Exception, sentence: str
) -> None:
    with pytest.raises(BuildError, match=sentence) as caught:
        ANSWERS.reason_to_wait(error)
    assert TOKEN not in str(caught.value)


def test_what_raised_an_error_is_looked_at_too() -> None:
    error = RuntimeError("upload failed")
    error.__cause__ = answer(503)
    assert ANSWERS.reason_to_wait(error) == ("The Hub has a problem (503)", None)


def test_what_is_no_answer_of_the_hub_is_raised_as_it_is() -> None:
    with pytest.raises(ValueError, match="a bug"):
        ANSWERS.reason_to_wait(ValueError("a bug"))


def test_the_token_is_not_shown_by_accident() -> None:
    assert TOKEN not in repr(ANSWERS)
