from __future__ import annotations

import pytest

from builder.annotate.pictures import Job, batches_of_jobs


@pytest.mark.parametrize(
    ("size", "mixed", "expected"),
    [
        (5, False, [[0] * 5, [1] * 2, [3] * 3]),
        (2, False, [[0] * 2, [0] * 2, [0], [1] * 2, [3] * 2, [3]]),
        (4, True, [[0] * 4, [0, 1, 1, 3], [3] * 2]),
        (64, True, [[0] * 5 + [1] * 2 + [3] * 3]),
    ],
)
def test_jobs_stay_in_order_and_groups_apart_unless_they_may_mix(
    size: int, mixed: bool, expected: list[list[int]]
) -> None:
    sizes = (5, 2, 0, 3)
    groups = [[Job(member, feature) for member in range(sizes[feature])] for feature in range(4)]
    batches = list(batches_of_jobs(groups, size, mixed=mixed))
    assert [[job.feature for job in batch] for batch in batches] == expected
    assert [job for batch in batches for job in batch] == [job for group in groups for job in group]
