from __future__ import annotations

import pytest

from builder.errors import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, \N{GREEK SMALL LETTER EPSILON} = 3", "plain text, \u03b5 = 3"),
        ("two\nlines\tand \x1b[31mred", r"two\nlines\tand \x1b[31mred"),
        ("to the left \u202e\u2066", r"to the left \u202e\u2066"),
        ("no UTF-8: \udcff", r"no UTF-8: \udcff"),
        ("s3://KEY:SECRET@bucket/x cannot", "s3://...@bucket/x cannot"),
        ("s3://KEY:SE/CR@ET@bucket", "s3://...@bucket"),
        ("(https://token@host:80/x).", "(https://...@host:80/x)."),
        ("https://host:8080/datasets/x", "https://host:8080/datasets/x"),
        ("hf://datasets/ORG/name@v1.0", "hf://datasets/ORG/name@v1.0"),
        ("me@host: a:b@c", "me@host: a:b@c"),
    ],
)
def test_text_is_shown_on_one_line_without_passwords(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown
