from __future__ import annotations

import pytest

from builder.errors import BuildError
from builder.settings.task import Task


def test_tasks_share_out_all_shards() -> None:
    shares = [set(Task.parse(f"{index}/3").shards(10)) for index in range(3)]
    assert set.union(*shares) == set(range(10))
    assert sum(map(len, shares)) == 10


def test_the_only_task_is_the_whole_build() -> None:
    assert Task() == Task.parse("0/1")
    assert Task().is_whole
    assert not Task.parse("0/2").is_whole
    assert str(Task.parse("1/2")) == "1/2"


@pytest.mark.parametrize("text", ["3/3", "0/0", "1", "-1/3", "a/b", "1/2/3", ""])
def test_no_share_is_a_sentence(text: str) -> None:
    with pytest.raises(BuildError, match="use --task I/N with I from 0 to N - 1"):
        Task.parse(text)
