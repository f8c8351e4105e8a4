"""Every planted fault is found, also where the manifest was made to agree with it."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from builder.checks import rows, scores
from builder.checks.verify import Check, checks, verify
from builder.cli import main
from builder.dataset.dataset import DataSet
from builder.dataset.manifest import Manifest
from builder.dataset.scores import score
from builder.errors import BuildError
from builder.run.build import build
from builder.storage.parquet import write_parquet
from tests.conftest import World
from tests.quiet import Quiet

Column = list[Any]

PAGES = "card, plots and croissant are the data's"
HEADER = "the card's header is the data's"
PREVIEWED = "preview is the masks'"


@pytest.fixture
def data(planted: Path, tmp_path: Path) -> Path:
    """Return a copy of a good data set, to be spoilt."""
    return shutil.copytree(planted, tmp_path / "data")


def failed(checks: list[Check]) -> dict[str, list[str]]:
    return {check.name: check.problems for check in checks if not check.passed}


def test_a_good_data_set_passes(planted: Path) -> None:
    checks = verify(planted)
    assert failed(checks) == {}
    assert len({check.name for check in checks}) == len(checks) >= 16


def test_a_split_is_scored_once(planted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scored = []

    def count(labels: Any, *arguments: Any) -> Any:
        scored.append(len(labels))
        return score(labels, *arguments)

    monkeypatch.setattr(scores, "score", count)
    assert failed(verify(planted)) == {}
    assert scored == [36, 15]


def test_a_file_without_rows_passes(data: Path) -> None:
    """All of its images may have been set aside."""
    table = pq.read_table(first(data))
    write(first(data), table[:0])
    manifest = Manifest.load(data)
    assert manifest
    content = DataSet(manifest, data)
    for check in (
        rows.numbers_are_sound,
        rows.features_are_the_class_s,
        rows.grids_decode,
        rows.pictures_are_the_grids,
    ):
        assert list(check(content)) == []


def test_embeddings_and_images_set_aside_pass(
    world: World, tmp_path: Path, reporter: Quiet
) -> None:
    out = build_with_a_broken_image(world, tmp_path, reporter, keep_embeddings=True)
    assert failed(verify(out)) == {}
    embeddings = min((out / "embeddings").glob("*"))
    edit(embeddings, "embedding", lambda values: [values[1], values[0], *values[2:]])
    record(out)
    assert "embeddings are the activations" in failed(verify(out))


def build_with_a_broken_image(
    world: World, tmp_path: Path, reporter: Quiet, **options: Any
) -> Path:
    images = shutil.copytree(world.root, tmp_path / "images")
    broken = min((images / "train").glob("*/*"))
    broken.write_bytes(b"")
    build(world.settings(tmp_path / "out", images=str(images), **options), reporter)
    return tmp_path / "out"


def first(data: Path, config: str = "masks") -> Path:
    return min((data / config).glob("train-*.parquet"))


def record(data: Path) -> None:
    """Make the manifest agree with the files."""
    manifest = Manifest.load(data)
    assert manifest
    manifest.files.clear()
    manifest.record(data)
    del manifest.files["manifest.json"]
    (data / "manifest.json").write_bytes(manifest.as_bytes())


def change_manifest(data: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = data / "manifest.json"
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))


def write(path: Path, table: pa.Table) -> None:
    write_parquet(path, table.schema, [table])


def edit(path: Path, name: str, change: Callable[[Column], Column]) -> None:
    """Change the values of a column."""
    table = pq.read_table(path)
    index = table.schema.get_field_index(name)
    kind = table.schema.field(index).type
    values = pa.array(change(table[name].to_pylist()), kind)
    write(path, table.set_column(index, table.schema.field(index), values))


def first_value(change: Callable[[Any], Any]) -> Callable[[Column], Column]:
    return lambda values: [change(values[0]), *values[1:]]


def swap(values: Column, one: int = 0, other: int = 1) -> Column:
    values = list(values)
    values[one], values[other] = values[other], values[one]
    return values


def swap_in_class(data: Path, name: str) -> None:
    """Swap a column's values of two rows of one class."""
    labels = pq.read_table(first(data))["label"].to_pylist()
    other = labels.index(labels[0], 1)
    edit(first(data), name, lambda values: swap(values, 0, other))


def flip_a_byte(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def swap_rows(data: Path) -> None:
    table = pq.read_table(first(data))
    write(first(data), table.take([1, 0, *range(2, len(table))]))


def swap_files(data: Path) -> None:
    one, other = sorted((data / "masks").glob("*.parquet"))[:2]
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def swap_features(data: Path) -> None:
    """Exchange two features of a row in all columns but one."""
    for name in ("features", "kinds", "peaks", "activations", "activation_ranks"):
        edit(first(data), name, first_value(swap))


def fade(data: Path) -> None:
    """Leave nothing of each grid but its maxima."""
    edit(
        first(data),
        "grids",
        lambda values: [bytes(255 * (cell == 255) for cell in value) for value in values],
    )


def another_picture(data: Path, config: str = "masks") -> None:
    def change(picture: dict[str, Any] | None) -> dict[str, Any] | None:
        if picture is None:
            return None
        pixels = np.array(Image.open(io.BytesIO(picture["bytes"])))
        pixels[0, 0] ^= 1
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        return {"bytes": file.getvalue(), "path": None}

    edit(first(data, config), "core_mask", lambda values: [change(value) for value in values])


def no_picture(data: Path) -> None:
    broken = {"bytes": b"\x89PNG\r\n\x1a\n", "path": None}
    edit(first(data), "core_mask", lambda values: [value and broken for value in values])


def duplicate(data: Path) -> None:
    edit(first(data), "image_id", lambda ids: [ids[0], ids[0], *ids[2:]])


def from_another_split(data: Path) -> None:
    other = pq.read_table(min((data / "masks").glob("validation-*")))["image_id"][0].as_py()
    edit(first(data), "image_id", first_value(lambda name: other))


def without(name: str) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        write(first(data), pq.read_table(first(data)).drop_columns([name]))

    return change


def other_class_names(data: Path) -> None:
    table = pq.read_table(first(data))
    metadata = table.schema.metadata[b"huggingface"].replace(b"n9", b"n8")
    write(first(data), table.replace_schema_metadata({b"huggingface": metadata}))


def damaged_metadata(data: Path) -> None:
    table = pq.read_table(first(data))
    write(first(data), table.replace_schema_metadata({b"huggingface": b'{"info": \xff'}))


def no_class_names(data: Path) -> None:
    table = pq.read_table(first(data, "features"))
    write(first(data, "features"), table.replace_schema_metadata(None))


def as_float64(data: Path) -> None:
    table = pq.read_table(first(data))
    index = table.schema.get_field_index("width")
    write(first(data), table.set_column(index, "width", table["width"].cast(pa.float64())))


def a_count(data: Path) -> None:
    change_manifest(data, lambda content: content["splits"]["train"]["counts"].update(rows=37))


def not_five(data: Path) -> None:
    """Drop a pair of a class that keeps the others."""
    for path in (data / "features").iterdir():
        write(path, pq.read_table(path).slice(1))


def in_row(
    name: str, change: Callable[[Any], Any], config: str = "masks"
) -> Callable[[Path], None]:
    return lambda data: edit(first(data, config), name, first_value(change))


def replace_in(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        text = (data / name).read_text()
        assert old in text
        (data / name).write_text(text.replace(old, new, 1))

    return change


def in_list(name: str, value: Any) -> Callable[[Path], None]:
    return in_row(name, lambda values: [value, *values[1:]])


@dataclass(frozen=True)
class Fault:
    """What is done to a data set, and which checks have to find it."""

    spoil: Callable[[Path], Any]
    found_by: set[str] = field(default_factory=set)
    says: str = ""


DAMAGE = {
    "a flipped byte": Fault(
        lambda data: flip_a_byte(first(data), 200), {"files are whole"}, "another SHA-256"
    ),
    "a flipped byte of the card": Fault(
        lambda data: flip_a_byte(data / "README.md", -9), {"files are whole"}, "README.md"
    ),
    "a truncated file": Fault(
        lambda data: first(data).write_bytes(first(data).read_bytes()[:-100]),
        {"files are whole"},
        "bytes, the manifest says",
    ),
    "an empty file": Fault(
        lambda data: first(data).write_bytes(b""), {"files are whole"}, "has 0 bytes"
    ),
    "a missing shard": Fault(lambda data: first(data).unlink(), {"files are whole"}, "is missing"),
    "swapped files": Fault(swap_files, {"files are whole"}),
    "swapped rows": Fault(swap_rows, {"files are whole", "rows are in their order"}),
    "a script": Fault(
        lambda data: (data / "data.py").write_text("print()"), {"nothing else is there"}, "data.py"
    ),
    "a half-written file": Fault(
        lambda data: (data / "masks" / "x.parquet.tmp").write_bytes(b""),
        {"nothing else is there"},
        "masks/x.parquet.tmp does not belong here",
    ),
    "unfinished work": Fault(
        lambda data: shutil.copytree(data / "masks", data / ".build" / "train"),
        {"nothing else is there"},
    ),
    "a link to nowhere": Fault(
        lambda data: (data / "link").symlink_to(data / "nowhere"), {"nothing else is there"}
    ),
    "a wrong count": Fault(
        a_count, {"counts are right"}, "rows of train is 37 in the manifest, 36 in fact"
    ),
    "a wrong count of a class": Fault(
        lambda data: change_manifest(
            data,
            lambda content: content["splits"]["train"]["counts"]["images_by_label"].update(
                {"1": 9}
            ),
        ),
        {"counts are right"},
        "images_by_label of train is 1: 9 in the manifest, 1: 12 in fact",
    ),
    "a manifest without a count": Fault(
        lambda data: change_manifest(
            data, lambda content: content["splits"]["train"]["counts"].pop("images_by_label")
        ),
        {"counts are right"},
        "images_by_label of train is 0: None in the manifest, 0: 12 in fact",
    ),
    "a manifest with another kind of number": Fault(
        lambda data: change_manifest(data, lambda content: content["origin"].update(mean=["x"])),
        {"the card's header is the data's"},
        "holds what no build writes (ValueError: Unknown format code",
    ),
    "a link to a directory": Fault(
        lambda data: (data / "more").symlink_to(data / "masks"),
        {"nothing else is there"},
        "more does not belong here",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found(data: Path, name: str) -> None:
    fault = DAMAGE[name]
    fault.spoil(data)
    check(data, fault)


def test_a_shard_of_another_build_is_found(
    data: Path, world: World, tmp_path: Path, reporter: Quiet
) -> None:
    other = tmp_path / "other"
    build(world.settings(other, seed=1), reporter)
    shutil.copy(first(other), first(data))
    check(data, Fault(lambda data: None, {"files are whole"}))
    record(data)
    assert {"rows are in their order", "rankings are the masks'"} <= failed(verify(data)).keys()


NAN = float("nan")
FORGERY = {
    "contents in another order": Fault(
        lambda data: edit(first(data, "contents"), "image_id", swap),
        {"contents are of the rows"},
        "contents of train has other rows than masks",
    ),
    "a content that is no hash": Fault(
        in_row("content", lambda digest: digest.upper() + "0", "contents"),
        {"contents are of the rows"},
        "tells no hash of a file",
    ),
    "contents of fewer files": Fault(
        lambda data: first(data, "contents").rename(
            data / "contents" / "train-00000-of-00002.parquet"
        ),
        {"file names are consecutive"},
        "contents",
    ),
    "a missing shard": Fault(lambda data: first(data).unlink(), {"file names are consecutive"}),
    "a truncated file": Fault(
        lambda data: first(data).write_bytes(first(data).read_bytes()[:-100]),
        {"schemas are the format's"},
        "cannot be read",
    ),
    "a config less": Fault(
        lambda data: first(data, "rankings").unlink(), {"file names are consecutive"}, "rankings"
    ),
    "a column less": Fault(without("peaks"), {"schemas are the format's"}, "peaks"),
    "a column of another type": Fault(as_float64, {"schemas are the format's"}, "width is double"),
    "other class names": Fault(other_class_names, {"schemas are the format's"}, "class names"),
    "damaged metadata of columns": Fault(
        damaged_metadata, {"schemas are the format's"}, "metadata of columns are damaged"
    ),
    "no class names": Fault(
        no_class_names, {"schemas are the format's"}, "does not tell the names of classes"
    ),
    "a value less": Fault(
        in_row("label", lambda value: None), {"schemas are the format's"}, "the column label"
    ),
    "a list with a value less": Fault(
        in_list("activations", None), {"schemas are the format's"}, "the column activations"
    ),
    "swapped rows": Fault(swap_rows, {"rows are in their order"}),
    "swapped files": Fault(swap_files, {"counts are right", "rankings are the masks'"}),
    "swapped ids": Fault(
        lambda data: swap_in_class(data, "image_id"),
        {"rows are in their order"},
    ),
    "swapped activations": Fault(
        lambda data: swap_in_class(data, "activations"), {"activation ranks recompute"}
    ),
    "swapped features": Fault(
        swap_features, {"rows have the features of their class", "grids decode"}
    ),
    "swapped grids": Fault(
        lambda data: swap_in_class(data, "grids"), {"pictures are the unions of grids"}
    ),
    "a NaN": Fault(in_list("activations", NAN), {"numbers are sound"}, "not finite"),
    "an infinite peak": Fault(in_list("peaks", float("inf")), {"numbers are sound"}),
    "a spuriosity that is no number": Fault(
        lambda data: edit(
            first(data), "spuriosity", lambda values: [value and NAN for value in values]
        ),
        {"numbers are sound", "spuriosity recomputes"},
    ),
    "an image of no width": Fault(in_row("width", lambda value: 0), {"numbers are sound"}),
    "a class that is not there": Fault(in_row("predicted", lambda value: 3), {"numbers are sound"}),
    "another label": Fault(
        in_row("label", lambda value: (value + 1) % 3), {"rows have the features of their class"}
    ),
    "an altered activation rank": Fault(
        lambda data: swap_in_class(data, "activation_ranks"), {"activation ranks recompute"}
    ),
    "an altered spuriosity rank": Fault(
        lambda data: edit(first(data), "spuriosity_rank", lambda ranks: [None for _ in ranks]),
        {"spuriosity recomputes", "rankings are the masks'", "counts are right"},
    ),
    "an altered spuriosity": Fault(
        lambda data: edit(
            first(data),
            "spuriosity",
            lambda values: [value and value + 1e-6 for value in values],
        ),
        {"spuriosity recomputes", "rankings are the masks'"},
    ),
    "an altered ranking": Fault(
        lambda data: edit(first(data, "rankings"), "image_id", swap), {"rankings are the masks'"}
    ),
    "a ranking less": Fault(
        lambda data: write(first(data, "rankings"), pq.read_table(first(data, "rankings"))[:-1]),
        {"rankings are the masks'"},
    ),
    "inverted grids": Fault(
        in_row("grids", lambda value: bytes(255 - cell for cell in value)),
        {"pictures are the unions of grids"},
    ),
    "a grid of one cell": Fault(fade, {"grids decode"}, "does not fit its activation"),
    "a grid without its peak": Fault(in_list("peaks", 0.0), {"grids decode"}),
    "peaks ten times too low": Fault(
        in_row("peaks", lambda peaks: [peak / 10 for peak in peaks]), {"grids decode"}
    ),
    "grids cut short": Fault(in_row("grids", lambda value: value[:-1]), {"grids decode"}),
    "another grid height": Fault(in_row("grid_height", lambda value: 1), {"grids decode"}),
    "a wrong picture": Fault(another_picture, {"pictures are the unions of grids"}),
    "a broken picture": Fault(no_picture, {"pictures are the unions of grids"}),
    "a duplicate id": Fault(duplicate, {"image ids are unique"}, "has several rows"),
    "an id of another split": Fault(
        from_another_split, {"image ids are unique"}, "has several rows"
    ),
    "an altered mean": Fault(
        in_row("activation_mean", lambda value: value + 1e-6, "features"),
        {"features are the votes'"},
        "activation_mean",
    ),
    "an altered kind": Fault(
        in_row("kind", lambda value: "spurious", "features"), {"features are the votes'"}, "kind"
    ),
    "altered votes": Fault(
        in_row("background", lambda value: 5, "features"), {"features are the votes'"}
    ),
    "a weight that is no number": Fault(
        in_row("weight", lambda value: NAN, "features"), {"features are the votes'"}
    ),
    "an edited card": Fault(
        replace_in("README.md", "| train | 36 |", "| train | 37 |"),
        {PAGES},
        "'| train | 37 | 3 | 108 | 72 | 24 |",
    ),
    "an edited header of the card": Fault(
        replace_in("README.md", "num_examples: 36", "num_examples: 37"),
        {HEADER},
        "dataset_info in the header of README.md",
    ),
    "a header of the card that is none": Fault(
        replace_in("README.md", "license: other", "license: [other"), {HEADER}, "license"
    ),
    "a line more in the card": Fault(
        lambda data: (data / "README.md").write_text((data / "README.md").read_text() + "More.\n"),
        {PAGES},
        "'More.' where the data say ''",
    ),
    "a card of other bytes": Fault(
        lambda data: (data / "README.md").write_bytes(b"\xff"), {PAGES}, "cannot be read"
    ),
    "no card": Fault(lambda data: (data / "README.md").unlink(), {PAGES}, "README.md"),
    "an edited plot": Fault(
        replace_in("plots/kinds.svg", "108", "109"), {PAGES}, "plots/kinds.svg"
    ),
    "edited metadata": Fault(
        replace_in("croissant.json", "rai:dataLimitations", "rai:dataSocialImpact"),
        {PAGES},
        "croissant.json is not what the data say",
    ),
    "broken metadata": Fault(replace_in("croissant.json", "{", "["), {PAGES}, "croissant.json"),
    "a preview of other images": Fault(
        lambda data: edit(first(data, "preview"), "image_id", swap), {PREVIEWED}, "other rows"
    ),
    "a preview with another spuriosity": Fault(
        in_row("spuriosity", lambda value: 9.0, "preview"), {PREVIEWED}, "another spuriosity"
    ),
    "a preview with another picture": Fault(
        lambda data: another_picture(data, "preview"), {PREVIEWED}, "core_mask in preview"
    ),
    "a pair less": Fault(not_five, {"features are the votes'"}, "every class needs"),
}


@pytest.mark.parametrize("name", FORGERY)
def test_what_hashes_do_not_tell_is_found(data: Path, name: str) -> None:
    fault = FORGERY[name]
    fault.spoil(data)
    record(data)
    check(data, fault)


def check(data: Path, fault: Fault) -> None:
    found = failed(verify(data))
    assert fault.found_by <= found.keys(), found
    assert fault.says in str([found[name] for name in fault.found_by])


def test_an_image_set_aside_that_has_a_row_is_found(
    world: World, tmp_path: Path, reporter: Quiet
) -> None:
    out = build_with_a_broken_image(world, tmp_path, reporter)
    name = pq.read_table(first(out))["image_id"][0].as_py()
    edit(out / "set_aside.parquet", "image_id", first_value(lambda _: name))
    record(out)
    says = f"{name} (train) has a row and is set aside as well"
    check(out, Fault(lambda data: None, {"image ids are unique"}, says))


def test_pages_of_another_release_are_held_against_the_data_only_where_they_are_data(
    data: Path,
) -> None:
    replace_in("README.md", "# Salient", "# Another Salient")(data)
    change_manifest(data, lambda content: content.update(pages="another"))
    record(data)
    checks = verify(data)
    assert failed(checks) == {}
    assert checks[-1].name == "card, plots and croissant are another release's: not compared"
    replace_in("README.md", "num_examples: 36", "num_examples: 37")(data)
    record(data)
    assert failed(verify(data)).keys() == {HEADER}


OBJECTS, FIGURES = "object masks are of the images", "figures of object masks recompute"


def change_addition(**changes: Any) -> Callable[[Path], None]:
    def spoil(data: Path) -> None:
        change_manifest(data, lambda content: content["additions"]["segmentations"].update(changes))

    return spoil


def another_truth(data: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        truth = content["additions"]["segmentations"]["splits"]["train"]["truth"]
        truth["core"]["auroc"] += 0.01

    change_manifest(data, change)


OBJECT_FAULTS = {
    "an object mask of another image": Fault(
        lambda data: edit(first(data, "segmentations"), "object_mask", swap), {OBJECTS, FIGURES}, ""
    ),
    "a picture that is none": Fault(
        in_row("object_mask", lambda mask: {"bytes": b"", "path": None}, "segmentations"),
        {OBJECTS},
        "cannot be read",
    ),
    "another area": Fault(
        in_row("area", lambda area: area / 2, "segmentations"), {OBJECTS}, "an area or a distance"
    ),
    "another label": Fault(
        in_row("label", lambda label: 2 - label or 1, "segmentations"), {OBJECTS}, "another label"
    ),
    "a rank below 0": Fault(
        in_row("release_rank", lambda rank: -1, "segmentations"), {OBJECTS}, "a release rank below"
    ),
    "an order of its own": Fault(
        lambda data: write(
            first(data, "segmentations"),
            pq.read_table(first(data, "segmentations")).take([1, 0, *range(2, 36)]),
        ),
        {OBJECTS},
        "another order",
    ),
    "a mask that is not told of": Fault(
        lambda data: write(
            first(data, "segmentations"), pq.read_table(first(data, "segmentations"))[1:]
        ),
        {FIGURES},
        "train has 35 object masks, not 36",
    ),
    "a mask that is nowhere": Fault(
        change_addition(given=52), {FIGURES}, "neither in the data set nor set aside"
    ),
    "a reason that nothing has": Fault(
        change_addition(set_aside={"empty": 1}), {FIGURES}, "0 masks are set aside"
    ),
    "another figure": Fault(another_truth, {FIGURES}, "is not what the manifest says"),
    "no word of where they are from": Fault(
        lambda data: change_manifest(data, lambda content: content.pop("additions")),
        {FIGURES},
        "does not tell where the object masks are from",
    ),
}


@pytest.mark.parametrize("name", OBJECT_FAULTS)
def test_faults_of_object_masks_are_found(segmented: Path, tmp_path: Path, name: str) -> None:
    data = shutil.copytree(segmented, tmp_path / "data")
    OBJECT_FAULTS[name].spoil(data)
    record(data)
    check(data, OBJECT_FAULTS[name])


def test_figures_of_object_masks_are_told(segmented: Path) -> None:
    manifest = Manifest.load(segmented)
    assert manifest
    core = manifest.additions["segmentations"]["splits"]["train"]["truth"]["core"]
    said = f"core mask on the object, AUROC of its pixels, train: {core['auroc']:.3f}"
    assert said in [check.name for check in verify(segmented) if check.passed]


def test_an_addition_that_lacks_what_readers_need_is_refused(
    segmented: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(segmented, tmp_path / "data")
    change_addition(given="many")(data)
    with pytest.raises(BuildError, match="lacks given in the addition segmentations"):
        verify(data)


def test_of_many_problems_the_first_are_told(data: Path) -> None:
    edit(first(data), "width", lambda values: [0 for _ in values])
    record(data)
    problems = failed(verify(data))["numbers are sound"]
    assert len(problems) == 6
    assert problems[-1] == "and more"


def test_images_are_looked_up(data: Path, world: World, tmp_path: Path) -> None:
    checks = verify(data, str(world.root))
    assert failed(checks) == {}
    assert [check.name for check in checks][-2:] == [
        "images are those of train",
        "images are those of validation",
    ]
    images = shutil.copytree(world.root, tmp_path / "images")
    gone, resized, broken = sorted((images / "train").glob("*/*"))[:3]
    gone.unlink()
    with Image.open(resized) as image:
        size = image.size
        image.resize((7, 5)).save(resized, "JPEG")
    broken.write_bytes(b"no image")
    problems = failed(verify(data, str(images), "train"))
    assert problems.keys() == {"images are those of train"}
    told = " / ".join(sorted(problems["images are those of train"]))
    assert f"{gone.stem} is not among the images of train" in told
    assert f"{resized.stem} (train) is 7 x 5 pixels, recorded as {size[0]} x {size[1]}" in told
    assert f"{broken.stem} (train) cannot be read" in told


def test_an_image_of_the_right_size_and_another_content_is_told(
    data: Path, world: World, tmp_path: Path
) -> None:
    images = shutil.copytree(world.root / "train", tmp_path / "images")
    again = sorted(images.glob("*/*"))[:2]
    for path in again:
        with Image.open(path) as image:
            image.save(path, "JPEG", quality=50)
    problems = failed(verify(data, str(images), "train"))
    assert sorted(problems.pop("images are those of train")) == [
        f"{path.stem} (train) has its size, but is another file than its masks were made from"
        for path in again
    ]
    assert not problems


def without_contents(world: World, out: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a data set as earlier releases made them."""
    with monkeypatch.context() as patch:
        patch.setattr("builder.shards.shard._content_columns", lambda contents: {})
        build(world.settings(out), Quiet())
    counts = "predicted_as_labelled"
    change_manifest(out, lambda content: content["splits"]["train"]["counts"].pop(counts))
    change_manifest(out, lambda content: content.update(pages="1"))
    return out


def test_a_data_set_without_contents_passes_and_its_images_are_measured(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = without_contents(world, tmp_path / "out", monkeypatch)
    checks = verify(out, str(world.root))
    assert failed(checks) == {}
    assert checks[-1].name == "images are those of train"


def test_a_split_may_have_contents_that_another_lacks(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = without_contents(world, tmp_path / "out", monkeypatch)
    build(world.settings(out, split="validation"), Quiet())
    assert failed(verify(out, str(world.root))) == {}
    rows = datasets.load_dataset(str(out), "contents", split="validation", streaming=True)
    assert sum(1 for _ in rows) == 15


def test_images_or_a_split_that_are_not_there_are_a_sentence(planted: Path) -> None:
    with pytest.raises(BuildError, match="check --images"):
        next(checks(planted, "nowhere"))
    with pytest.raises(BuildError, match="no split test: use --split train or validation"):
        verify(planted, "nowhere", "test")


def manifest(directory: Path, text: str) -> None:
    directory.mkdir()
    (directory / "manifest.json").write_text(text)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "There is no directory"),
        (lambda path: path.mkdir(), "is no build"),
        (lambda path: path.write_text("x"), "There is no directory"),
        (lambda path: manifest(path, "{"), "is no manifest of this program, or damaged"),
        (lambda path: manifest(path, '{"origin": {}, "splits": []}'), "or damaged"),
        (lambda path: manifest(path, '{"origin": {}, "format_version": "2"}'), "or damaged"),
        (lambda path: manifest(path, '{"origin": {}, "format_version": 99}'), "upgrade"),
    ],
)
def test_bad_input_is_a_sentence(tmp_path: Path, make: Callable[[Path], Any], says: str) -> None:
    make(tmp_path / "data")
    with pytest.raises(BuildError, match=says):
        verify(tmp_path / "data")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> object:
    monkeypatch.setattr("sys.argv", ["salient-imagenet", "verify", *map(str, arguments)])
    try:
        main()
    except SystemExit as exit_:
        return exit_.code
    return None


def test_the_command_prints_a_line_per_check(
    data: Path, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, data, "--images", world.root) in (None, 0)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:5] for line in lines] == ["ok   "] * len(verify(data, str(world.root)))

    (data / "data.py").write_text("print()")
    assert run(monkeypatch, data) == 1
    printed = capsys.readouterr()
    assert "WRONG nothing else is there\n      data.py does not belong here" in printed.out
    assert printed.err == f"{data} is not what it says it is.\n"

    assert run(monkeypatch, data / "masks") == 2
    assert capsys.readouterr().err.startswith("Error: ")


def test_to_verify_or_publish_needs_no_pytorch() -> None:
    """Which takes seconds to import."""
    modules = "builder.hub.publish, builder.cli.tables, builder.cli.app, builder.checks.verify"
    code = f"import sys, {modules}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "builder.checks.verify" in ran.stdout.split()
    assert "torch" not in ran.stdout.split()
