from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import load_dataset
from markdown_it import MarkdownIt

from builder.dataset.dataset import DataSet
from builder.dataset.manifest import Manifest
from builder.pages.card import TERMS, _code, _markdown, make_card
from builder.run.build import build
from tests.conftest import CLASSES, World
from tests.pages.fixed import write_fixed
from tests.quiet import Quiet

SPLITS = ("train", "validation")


@pytest.fixture
def card(planted: Path) -> str:
    return (planted / "README.md").read_text()


PROGRAM = """
import sys
import datasets
assert datasets.__version__.startswith("3."), datasets.__version__
for config in ("masks", "rankings", "features", "preview"):
    for streaming in (True, False):
        rows = datasets.load_dataset(sys.argv[1], config, split="train", streaming=streaming)
        print(config, sum(1 for _ in rows), rows.features.get("kinds"))
"""


def test_release_3_of_datasets_loads_every_config(
    planted: Path, tmp_path: Path, datasets_3: str
) -> None:
    ran = subprocess.run(
        [datasets_3, "-c", PROGRAM, str(planted)],
        env={"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    kinds = "Sequence(feature=Value(dtype='string', id=None), length=5, id=None)"
    expected = [f"masks 36 {kinds}", "rankings 24 None", "features 15 None", f"preview 36 {kinds}"]
    assert ran.stdout.splitlines() == [line for line in expected for _ in range(2)]


def test_its_numbers_are_the_data_s(card: str, planted: Path) -> None:
    for split in SPLITS:
        rows = list(load_dataset(str(planted), "masks", split=split, streaming=True))
        kinds = Counter(kind for row in rows for kind in row["kinds"])
        classes = Counter(row["label"] for row in rows)
        ranked = sum(row["spuriosity_rank"] is not None for row in rows)
        assert (
            f"| {split} | {len(rows)} | {len(classes)} | {kinds['core']} | {kinds['spurious']} "
            f"| {ranked} |"
        ) in card
        zone = sum(
            rank < 0.2 * classes[row["label"]] for row in rows for rank in row["activation_ranks"]
        )
        assert f"{zone} of {5 * len(rows)} masks of {split}" in card
    pairs = list(load_dataset(str(planted), "features", split="train", streaming=True))
    sub_kinds = Counter(pair["sub_kind"] for pair in pairs)
    text = " ".join(card.split())
    assert (
        f"The votes are on {len(pairs)} class-feature pairs of 3 classes, on "
        f"{len({pair['feature'] for pair in pairs})} distinct features: {sub_kinds[None]} core and "
        f"6 spurious ({sub_kinds['background']} background, {sub_kinds['separate_object']} "
        f"separate object, {sub_kinds['mixed']} mixed)."
    ) in text
    assert "| classes | 1 | 1 | 0 | 0 | 0 | 1 |" in card
    assert f"Here: 1 of 3 classes with votes ({CLASSES[1]})." in text


def test_it_shows_real_rows(card: str, planted: Path) -> None:
    rows = {
        row["image_id"]: row
        for row in load_dataset(str(planted), "masks", split="train", streaming=True)
    }
    shown = re.findall(r"^\| `(\S+)` \| (\S+) \| (\S+) \| (.*?) \| (\S*) \| (\d*) \|$", card, re.M)
    assert len(shown) == 6
    for name, label, predicted, kinds, spuriosity, rank in shown:
        row = rows[name]
        assert (label, predicted) == (CLASSES[row["label"]], CLASSES[row["predicted"]])
        assert kinds == ", ".join(row["kinds"])
        assert float(spuriosity) == pytest.approx(row["spuriosity"], abs=6e-4)
        assert int(rank) == row["spuriosity_rank"]


def test_it_says_what_made_the_data(card: str, planted: Path) -> None:
    manifest = Manifest.load(planted)
    assert manifest
    for name in ("network", "weights_sha256", "votes_sha256", "preprocessing", "precision"):
        assert str(manifest.origin[name]) in card
    for split in manifest.splits.values():
        assert split["inputs"]["images_sha256"] in card
        assert f"torch {split['inputs']['torch']}" in card


def test_it_says_loudly_where_labels_look_wrong(tmp_path: Path) -> None:
    data = write_fixed(tmp_path)
    for split in data.manifest.splits.values():
        split["counts"]["rows"] = 30
    data.manifest.splits["train"]["counts"]["predicted_as_labelled"] = 1
    data.manifest.splits["validation"]["counts"]["predicted_as_labelled"] = 15
    card = make_card(data)
    assert "> **The labels of train may be wrong.** The network predicts only 3.3 % of its" in card
    assert "The labels of validation" not in card
    assert "| predicted as labelled, validation | 50.0 % of the images |" in card
    for split in data.manifest.splits.values():
        del split["counts"]["predicted_as_labelled"]
    assert "labelled" not in make_card(data)


def test_no_placeholder_is_left(card: str) -> None:
    assert not re.search(r"\{\{|\{%|\| None \|", card.split("---\n", 2)[2])


def test_it_tells_of_whole_images_where_there_are_any(card: str, planted_whole: Path) -> None:
    other = (planted_whole / "README.md").read_text()
    assert "whole image" not in card
    made = json.loads((planted_whole / "manifest.json").read_text())["splits"]
    for split in SPLITS:
        likeness = made[split]["whole"]["agreement"]
        numbers = f"{likeness['mean']:.3f} | {likeness['lowest_decile']:.3f}"
        assert f"| {split} | {numbers} |" in other
    configs = yaml.safe_load(other.split("---")[1])["configs"]
    assert [config["config_name"] for config in configs][-2:] == ["whole", "preview_whole"]


def test_its_links_lead_somewhere(card: str, planted: Path) -> None:
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", card)
    assert len(pictures) == 3
    for picture in pictures:
        assert (planted / picture).read_text().startswith("<svg ")


def test_its_tables_are_tables(card: str) -> None:
    html = MarkdownIt("commonmark").enable("table").render(card.split("---\n", 2)[2])
    assert html.count("<table>") == 5
    assert "|" not in re.sub(r"<code.*?</code>", "", html, flags=re.DOTALL)


def test_its_code_runs(card: str, planted: Path, world: World) -> None:
    namespace: dict[str, Any] = {}
    for block in card.split("```python\n")[1:]:
        code = block.split("```")[0].replace("PATH_OR_REPOSITORY", str(planted))
        code = code.replace("IMAGENET", str(world.root))
        exec(compile(code, "README.md", "exec"), namespace)
    maps, row = namespace["maps"], namespace["row"]
    assert maps.mean(axis=(1, 2)) == pytest.approx(row["activations"], rel=0.02, abs=1e-3)
    # Two of the three classes have a spurious feature.
    assert len(namespace["names"]) == 2 * 5
    assert {path.stem for path in namespace["found"]} == namespace["names"]
    example = namespace["example"]
    masks = [example[name] for name in ("core_mask", "spurious_mask") if example[name]]
    assert masks
    assert {mask.size for mask in masks} == {example["image"].size}


def test_filters_work_without_streaming_as_it_says(planted: Path, tmp_path: Path) -> None:
    rows = load_dataset(
        str(planted),
        "masks",
        split="train",
        filters=[("spuriosity_rank", "<", 5)],
        verification_mode="no_checks",
        cache_dir=str(tmp_path),
    )
    assert len(rows) == 2 * 5


def test_it_tells_what_was_set_aside(world: World, tmp_path: Path, reporter: Quiet) -> None:
    images = shutil.copytree(world.root, tmp_path / "images")
    for path in sorted((images / "train").glob("*/*"))[:2]:
        path.write_bytes(b"")
    out = tmp_path / "out"
    build(world.settings(out, images=str(images)), reporter)
    card = (out / "README.md").read_text()
    assert "| train | empty | 2 |" in card
    assert "`set_aside.parquet` names each" in card


def test_names_of_classes_cannot_break_it(planted: Path) -> None:
    manifest = Manifest.load(planted)
    assert manifest
    data = DataSet(manifest, planted)
    data.names = ["a | b\n# c", "`<script>alert(1)</script>`", *data.names[2:]]
    card = make_card(data)
    assert r"| a \| b # c |" in card
    assert r"| \`&lt;script&gt;alert(1)&lt;/script&gt;\` |" in card


@pytest.mark.parametrize("name", ["a | b", "`<b>&amp;`", "*_x_* [y](z) $1$ ~~w~~", "blue_jay \\|"])
def test_a_name_is_shown_as_it_is(name: str) -> None:
    html = rendered(f"| a |\n|---|\n| {_markdown(name)} |\n")
    assert re.findall("<td>(.*)</td>", html) == [escape(name, quote=False)]


def rendered(text: str) -> str:
    return str(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))


def test_ids_cannot_break_it() -> None:
    row = f"| {_code('a|b/``x` y')} | {_code('robin/photo 1')} |"
    html = rendered(f"| a | b |\n|---|---|\n{row}\n")
    assert re.findall("<td>(.*)</td>", html) == [
        "<code>a|b/``x` y</code>",
        "<code>robin/photo 1</code>",
    ]


def about(planted: Path, **said: str) -> DataSet:
    """Return the data set as if its maker had said so much of it."""
    manifest = Manifest.load(planted)
    assert manifest
    manifest.origin |= said
    return DataSet(manifest, planted)


def test_a_title_alone_changes_the_title_alone(card: str, planted: Path) -> None:
    other = make_card(about(planted, title="Otters | *and* <i>mice</i>"))
    changed = set(other.splitlines()) - set(card.splitlines())
    assert changed == {
        "pretty_name: Otters | *and* <i>mice</i>",
        r"# Otters \| \*and\* &lt;i&gt;mice&lt;/i&gt;",
    }


@pytest.mark.parametrize(
    ("source", "title", "intro"),
    [
        ("", "# Salient features\n", "for each image the soft masks of\n"),
        ("Birds", "# Salient features of Birds\n", "for each image of Birds the soft masks of\n"),
        ("https://a.b/c", "# Salient features\n", "each image of https://a.b/c the soft masks of"),
    ],
)
@pytest.mark.parametrize("with_images", [False, True])
def test_a_card_of_other_images_does_not_speak_of_imagenet(
    planted: Path, source: str, title: str, intro: str, with_images: bool
) -> None:
    data = about(planted, source=source)
    if with_images:
        data.manifest.files["images/train-00000-000.parquet"] = {"bytes": 1, "sha256": "0"}
    card = make_card(data)
    assert title in card
    assert intro in card
    text = re.sub(r"^  title .*$", "", card, flags=re.MULTILINE)
    assert "imagenet" not in text.lower().replace("salient_imagenet_1m", "")
    assert "license" not in card.split("---\n")[1]
    assert ("neither is in this repository" in card) != with_images


def test_a_licence_stands_in_header_and_text(planted: Path) -> None:
    data = about(planted, source="Birds", licence="https://a.b/terms")
    _, header, body = make_card(data).split("---\n", 2)
    assert yaml.safe_load(header) | {
        "license": "other",
        "license_name": "https-a.b-terms",
        "license_link": "https://a.b/terms",
    } == yaml.safe_load(header)
    assert "* **This data set**: https://a.b/terms.\n" in body


def test_a_comma_is_part_of_the_name_of_one_s_own_class(planted: Path) -> None:
    data = about(planted, source="Birds")
    data.names = ["robin, male", "robin, female", "wren"]
    assert "| robin, male |" in make_card(data)


@pytest.fixture
def private_card(planted: Path) -> str:
    """Return the card of the same data set with a file of images, as a private repository has."""
    manifest = Manifest.load(planted)
    assert manifest
    manifest.files["images/train-00000-000.parquet"] = {"bytes": 1, "sha256": "0"}
    return make_card(DataSet(manifest, planted))


def test_a_card_without_images_says_so(card: str) -> None:
    assert "No image is in this repository, only what was seen in them.\n" in card
    assert (
        "ImageNet's images and the votes file are not in this repository and keep their\n" in card
    )
    assert "private copy" not in card
    assert card.endswith("  year    = {2015}\n}\n```\n")


def test_a_card_with_images_says_so_and_what_that_obliges_to(card: str, private_card: str) -> None:
    body = private_card.split("---\n", 2)[2]
    assert "ranked by how spurious they are. This private copy holds the images too.\n" in body
    sentence = (
        "* **ImageNet and votes**: ImageNet's images, which this private copy holds, and the votes "
        "file, which it does not, keep their\n  own [terms of access]"
    )
    assert sentence in body
    assert body.endswith(
        "```\n\n## Images: not to be passed on\n\n"
        "Unlike the data set itself, this private copy holds ImageNet's images: its config "
        "`images` has the\noriginal file of each, by `image_id`, in the order of `masks`. "
        f"{TERMS}\n"
    )
    assert "in this repository" not in body
    # All the rest is that of the card without images.
    other = set(body.splitlines()) - set(card.splitlines())
    assert len(other) == 5
