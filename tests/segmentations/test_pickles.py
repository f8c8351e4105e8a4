"""Pickles are read as data; those that would do anything are refused, and do nothing."""

from __future__ import annotations

import collections
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builder.errors import BuildError
from builder.segmentations import pickles
from builder.segmentations.pickles import read_pickle


class Code:
    """What runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_are_read(tmp_path: Path, protocol: int) -> None:
    content: Any = {379: ["train/n1/a.JPEG", "b"], "n2": (1, 2.5), "nested": [{}, [], None, True]}
    path = tmp_path / "plain.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    assert read_pickle(path) == content


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_run_code_is_refused_and_runs_none(
    tmp_path: Path, protocol: int
) -> None:
    marker, path = tmp_path / "run", tmp_path / "code.pkl"
    path.write_bytes(pickle.dumps({"a": [Code(marker)]}, protocol))
    with pytest.raises(BuildError, match=r"code.pkl is no pickle of plain .*it names \w+.system"):
        read_pickle(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(np.arange(3)),
        pickle.dumps(collections.defaultdict(list)),
        pickle.dumps([1, 2])[:-1],
        b"",
        b"no pickle",
        b"\x80\x04P0\n.",  # a persistent id
        b"\x80\x02\x82\x01.",  # an extension
    ],
)
def test_what_is_not_plain_is_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.pkl"
    path.write_bytes(content)
    with pytest.raises(BuildError, match="is no pickle of plain lists"):
        read_pickle(path)


def test_a_pickle_without_end_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.pkl"
    path.write_bytes(pickle.dumps("long" * 10))
    monkeypatch.setattr(pickles, "LARGEST", 20)
    with pytest.raises(BuildError, match="is larger than any list of images"):
        read_pickle(path)
