from __future__ import annotations

from pathlib import Path

import pytest
from timm.data.imagenet_info import ImageNetInfo

from builder.annotate.definitions import definition_of, read_definitions
from builder.errors import BuildError


def test_each_wnid_of_imagenet_has_wordnet_s_gloss() -> None:
    info = ImageNetInfo("imagenet-1k")
    for wnid in info.label_names():
        lemmas = info.label_name_to_description(wnid)
        detailed = info.label_name_to_description(wnid, detailed=True)
        assert f"{lemmas}: {definition_of(wnid)}" == detailed
    assert definition_of("barn owl") is None


def test_the_user_s_file_defines_classes_of_any_name(tmp_path: Path) -> None:
    path = tmp_path / "birds.txt"
    path.write_bytes(b"\xef\xbb\xbfbarn owl\tan owl: of barns\r\n\r\nrobin\t a <small> thrush\r\n")
    assert read_definitions(path) == {"barn owl": "an owl: of barns", "robin": "a <small> thrush"}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("barn owl an owl\n", ":1 defines nothing: write a class, a tab"),
        ("robin\ta thrush\nwren\t\n", ":2 defines nothing"),
        ("robin\ta thrush\nrobin\ta bird\n", ":2 defines robin again"),
    ],
)
def test_a_line_that_defines_nothing_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "birds.txt").write_text(text)
    with pytest.raises(BuildError, match=sentence):
        read_definitions(tmp_path / "birds.txt")


def test_a_file_of_definitions_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"cannot be read \(No such file"):
        read_definitions(tmp_path / "none.txt")
    (tmp_path / "latin.txt").write_bytes(b"m\xf6we\n")
    with pytest.raises(BuildError, match="is no text in UTF-8"):
        read_definitions(tmp_path / "latin.txt")
