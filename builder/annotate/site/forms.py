"""What browsers post, read and held against what may be answered."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request

from builder.annotate.ballots import RefusedError
from builder.annotate.database import VERDICTS
from builder.annotate.panels import PART
from builder.dataset.votes import ANSWERS

LONGEST_REASON = 500

_LARGEST_FORM = 64 * 2**10
_FORM_TYPE = "application/x-www-form-urlencoded"

Form = Mapping[str, list[str]]


async def read_form(request: Request) -> Form:
    """Return the values of each field of a posted form.

    Raises
    ------
    RefusedError
        If it is none, or larger than any of ours can be.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != _FORM_TYPE:
        raise RefusedError(415, "This is no form: answer on the page.")
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > _LARGEST_FORM:
            raise RefusedError(413, "This is more than an answer may be: say it in fewer words.")
    try:
        text = data.decode("ascii")
        return parse_qs(text, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError as error:
        raise RefusedError(400, "This is no form: answer on the page.") from error


def vote_of(form: Form) -> dict[str, Any]:
    """Return the columns of a vote.

    Raises
    ------
    RefusedError
        If a question is not answered, or with something that is no answer; likewise below.
    """
    answer = _one_of(form, "answer", ANSWERS, "Say where the red areas are")
    return {"answer": answer, **_why(form)}


def opinion_of(form: Form) -> dict[str, Any]:
    """Return the columns of an opinion on a panel of maps."""
    answer = _one_of(form, "answer", VERDICTS, "Say whether the maps show the same")
    places = {str(place) for place in range(3 * PART)}
    if not places.issuperset(form.get("different", [])):
        raise RefusedError(400, "There is no such map: answer on the page.")
    different = " ".join(sorted(set(form.get("different", [])), key=int))
    return {"answer": answer, "different": different, **_why(form)}


def text_of(form: Form, field: str) -> str:
    """Return what was typed, on one line and without control characters."""
    text = unicodedata.normalize("NFC", " ".join(form.get(field, [""])[0].split()))
    return "".join(char for char in text if unicodedata.category(char) not in ("Cc", "Cs"))


def _why(form: Form) -> dict[str, Any]:
    confidence = int(_one_of(form, "confidence", ("1", "2", "3", "4", "5"), "Say how sure you are"))
    reasons = text_of(form, "reasons")
    if not reasons:
        raise RefusedError(400, "Say in a word or more what you see.")
    if len(reasons) > LONGEST_REASON:
        raise RefusedError(400, f"Say what you see in at most {LONGEST_REASON} letters.")
    return {"confidence": confidence, "reasons": reasons}


def _one_of(form: Form, field: str, known: tuple[str, ...], sentence: str) -> str:
    value = form.get(field, [""])[0]
    if value not in known:
        raise RefusedError(400, f"{sentence}.")
    return value
