from __future__ import annotations

import pytest

from builder.storage.objects import json_object


def test_an_object_is_returned() -> None:
    assert json_object(b'{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}


@pytest.mark.parametrize(
    "content",
    [b"", b'{"a": 1', b"[]", b"3", b"null", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000],
)
def test_whatever_else_bytes_hold_is_one_kind_of_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        json_object(content)
