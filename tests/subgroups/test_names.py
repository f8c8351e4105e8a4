"""What names components."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from builder.errors import BuildError
from builder.subgroups.clip import read_words
from builder.subgroups.names import Pair, correlations, named_by, tells, words_along


def test_features_are_named_by_pearson_s_correlation() -> None:
    drawn = np.random.default_rng(0)
    activations = drawn.random((30, 3)).astype(np.float32)
    activations[:, 2] = 4  # constant
    scores = np.stack([-activations[:, 1] + 0.01 * drawn.random(30), drawn.random(30)], axis=1)
    found = correlations(activations.astype(float), scores)
    for feature in range(2):
        for component in range(2):
            expected = np.corrcoef(activations[:, feature], scores[:, component])[0, 1]
            assert found[feature, component] == pytest.approx(expected)
    assert found[2].tolist() == [0, 0]
    pairs = [Pair(10 * rank, rank, "core", {}, []) for rank in (1, 2, 3)]
    first, second = named_by(pairs, activations, scores)
    assert first[0].pair.feature == 20
    assert first[0].correlation == pytest.approx(found[1, 0])
    assert tells(first[0], 30)
    assert not tells(second[-1], 30)


def test_words_lie_along_a_component() -> None:
    embeddings = np.array([[1, 0, 1], [0, 1, 1], [-1, 0, 1]]) / np.sqrt(2)
    high, low = words_along(np.array([2.0, 0, 0]), ["right", "up", "left"], embeddings)
    assert [word.word for word in high] == ["right", "up", "left"]
    assert [word.word for word in low] == ["left", "up", "right"]
    centred = embeddings[0] - embeddings.mean(0)
    assert high[0].cosine == pytest.approx(centred[0] / np.linalg.norm(centred))


def test_words_come_from_lines(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("in the water\n\n  grass \ngrass\n")
    assert read_words(path) == ["in the water", "grass"]
    path.write_bytes(b"\n")
    with pytest.raises(BuildError, match="has 0 words: give --words a list"):
        read_words(path)
    path.write_bytes(b"\xff")
    with pytest.raises(BuildError, match=r"cannot be read .*: give --words a file in UTF-8"):
        read_words(path)
