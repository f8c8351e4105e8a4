"""What pairs are shown with: made once, kept whole, and made again where it has to be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from builder.annotate import exhibits as module
from builder.annotate.attacks import Attack, feature_attack
from builder.annotate.candidates import Candidate, candidates_csv
from builder.annotate.exhibits import Exhibits, open_exhibits
from builder.annotate.heat_maps import heat_map
from builder.errors import BuildError
from builder.images.decode import decode
from builder.network.inference import open_network
from builder.network.network import Network
from builder.settings.network import NetworkSettings
from salient_imagenet_1m import encode_grids
from tests.conftest import CLASSES, NETWORK, World
from tests.quiet import Quiet

STEPS = 3
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def quick_attacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack in few steps: what a step does is tested elsewhere."""

    def attack(network: Network, images: torch.Tensor, features: torch.Tensor) -> Attack:
        return feature_attack(network, images, features, STEPS)

    monkeypatch.setattr("builder.annotate.pictures.feature_attack", attack)


@pytest.fixture(scope="module")
def table(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a table of two pairs in each of three classes, whatever their top images are."""
    weight = open_network(NetworkSettings(**options(world)), CPU).head_weight
    pairs = []
    for label, wnid in enumerate(CLASSES):
        names = sorted(path.stem for path in (world.root / "train" / wnid).iterdir())
        for rank, feature in enumerate((3, 20 + label), 1):
            value = float(weight[label, feature])
            pairs.append(Candidate(label, wnid, wnid, rank, feature, 1, value, tuple(names[:5])))
    path = tmp_path_factory.mktemp("table") / "features.csv"
    path.write_bytes(candidates_csv(pairs))
    return path


def options(world: World, **changes: Any) -> dict[str, Any]:
    return {
        "images": str(world.root),
        "network": NETWORK,
        "checkpoint": world.checkpoint,
        "device": "cpu",
        "batch_size": 4,
        **changes,
    }


def opened(
    world: World, table: Path, directory: Path, reporter: Quiet | None = None, **changes: Any
) -> Exhibits:
    settings = NetworkSettings(**options(world, **changes))
    return open_exhibits(settings, table, directory, reporter or Quiet())


def copied(world: World, directory: Path) -> Path:
    shutil.copytree(world.root / "train", directory)
    return directory


def files(directory: Path) -> dict[str, bytes]:
    found = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def pixels(path: Path | None) -> np.ndarray:
    assert path is not None
    return np.asarray(Image.open(path), np.int64)


def test_pictures_are_the_image_its_heat_map_and_its_attack(
    world: World, table: Path, tmp_path: Path
) -> None:
    exhibits = opened(world, table, tmp_path)
    pair, candidate = next(iter(exhibits.candidates.items()))
    assert exhibits.get(pair) is None
    exhibits.make([pair], Quiet(), panels=False)
    exhibit = exhibits.get(pair)
    assert exhibit is not None
    assert [shown.image_id for shown in exhibit.images] == list(candidate.images)
    network = open_network(NetworkSettings(**options(world)), CPU)
    for shown in exhibit.images:
        path = world.root / "train" / candidate.wnid / f"{shown.image_id}.JPEG"
        seen = torch.from_numpy(decode(path.read_bytes()).pixels)[None]
        output = network(seen)
        grid = encode_grids(output.maps[0, candidate.feature].numpy())[0]
        attack = feature_attack(
            network, seen.permute(0, 3, 1, 2) / 255, torch.tensor([candidate.feature]), STEPS
        )
        changed = (255 * attack.images[0]).permute(1, 2, 0).numpy()
        expected = (seen[0].numpy(), heat_map(seen[0].numpy(), grid), changed)
        for made, right in zip((shown.image, shown.heat, shown.attack), expected, strict=True):
            # A JPEG of planted noise is as near as this.
            assert np.abs(pixels(made) - right).mean() < 8
        assert shown.activation == pytest.approx(
            float(output.activations[0, candidate.feature]), rel=1e-3
        )
        assert shown.attacked == pytest.approx(float(attack.after[0]), rel=1e-2)
        assert (shown.unmoved, shown.problem) == (False, None)


def test_all_is_made_once_and_is_the_same_whatever_the_batches(
    world: World, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(world, table, tmp_path / "a")
    pairs = list(first.candidates)[1:4]
    first.make(pairs, Quiet())
    second = opened(world, table, tmp_path / "b", batch_size=12)
    second.make(pairs[::-1], Quiet())
    assert files(tmp_path / "a").keys() == files(tmp_path / "b").keys()
    assert all(first.get(pair) and first.panel(pair) for pair in pairs)

    def unwanted(*_arguments: object, **_options: object) -> None:
        raise AssertionError("there was nothing to make")

    monkeypatch.setattr("builder.annotate.pictures.PictureMaker._batch", unwanted)
    monkeypatch.setattr("builder.annotate.exhibits.Predictor.__call__", unwanted)
    again = opened(world, table, tmp_path / "a")
    again.make(pairs, Quiet())


def test_a_run_that_is_killed_goes_on_with_what_is_missing(
    world: World, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = opened(world, table, tmp_path / "whole")
    pairs = list(whole.candidates)[::2]
    whole.make(pairs, Quiet())
    expected = files(tmp_path / "whole")
    write = module._write
    written: list[Path] = []

    def dying(path: Path, content: bytes) -> None:
        written.append(path)
        if len(written) % 19 == 0:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr(module, "_write", dying)
    exhibits = opened(world, table, tmp_path / "killed")
    lives = 0
    while lives < 100:
        lives += 1
        try:
            exhibits.make(pairs, Quiet())
            break
        except KeyboardInterrupt:
            continue
    assert 3 < lives < 100
    assert files(tmp_path / "killed") == expected


def test_examples_show_the_class_by_other_images_than_the_top_ones(
    world: World, table: Path, tmp_path: Path
) -> None:
    exhibits = opened(world, table, tmp_path)
    pairs = list(exhibits.candidates)
    wnid = pairs[0][0]
    assert exhibits.examples(wnid) is None
    exhibits.make(pairs[:1], Quiet(), panels=False)
    examples = exhibits.examples(wnid)
    assert examples is not None
    assert len({path.read_bytes() for path in examples}) == 5
    assert exhibits.examples("../../etc") is None
    folder = world.root / "train" / wnid
    originals = [decode(path.read_bytes()).pixels for path in folder.iterdir()]
    for path in examples:
        errors = [np.abs(pixels(path) - original).mean() for original in originals]
        assert min(errors) < 8


def test_names_that_are_no_pairs_have_no_pictures(
    world: World, table: Path, tmp_path: Path
) -> None:
    exhibits = opened(world, table, tmp_path)
    assert exhibits.get(("../..", 1)) is None
    assert exhibits.panel((CLASSES[0], -1)) is None


def test_a_panel_is_of_the_images_in_which_the_feature_is_strongest(
    world: World, table: Path, tmp_path: Path
) -> None:
    exhibits = opened(world, table, tmp_path)
    pair, candidate = next(iter(exhibits.candidates.items()))
    exhibits.make([pair], Quiet())
    panel = exhibits.panel(pair)
    assert panel is not None
    # Twelve images of the class: the top 20 % are three.
    assert panel.zone == 3
    assert [len(part) for part in (panel.highest, panel.middle, panel.lowest)] == [1, 1, 1]
    network = open_network(NetworkSettings(**options(world)), CPU)
    strength = {}
    for path in (world.root / "train" / candidate.wnid).iterdir():
        seen = torch.from_numpy(decode(path.read_bytes()).pixels)[None]
        strength[path.stem] = float(network(seen).activations[0, candidate.feature])
    best = sorted(strength, key=lambda name: -strength[name])[:3]
    assert [shown.image_id for shown in panel.images] == best
    assert all(shown.heat and shown.attack is None for shown in panel.images)


def test_an_image_that_is_gone_is_said_and_shown_as_it_was(
    world: World, table: Path, tmp_path: Path
) -> None:
    images = copied(world, tmp_path / "images")
    exhibits = opened(world, table, tmp_path / "cache", images=str(images))
    pair, candidate = next(iter(exhibits.candidates.items()))
    exhibits.make([pair], Quiet(), panels=False)
    path = images / candidate.wnid / f"{candidate.images[0]}.JPEG"
    content = path.read_bytes()
    path.unlink()
    exhibit = exhibits.get(pair)
    assert exhibit is not None
    assert exhibit.images[0].problem == "it is not among the images any more"
    assert exhibit.images[0].attack is not None
    assert exhibit.images[1].problem is None
    restarted = opened(world, table, tmp_path / "cache", images=str(images))
    restarted.make([pair], Quiet(), panels=False)
    assert restarted.get(pair) == exhibit
    # Gone before anything is made of it: nothing to show, but a sentence, and tried again later.
    reporter = Quiet()
    other = opened(world, table, tmp_path / "new", reporter, images=str(images))
    assert f"names, such as {candidate.images[0]}." in reporter.lines[0]
    other.make([pair], reporter, panels=False)
    shown = other.get(pair)
    assert shown is not None
    assert (shown.images[0].image, shown.images[0].problem) == (
        None,
        "it is not among the images any more",
    )
    assert shown.images[1].attack is not None
    assert f"of the first, {candidate.images[0]}: it is not among" in reporter.lines[1]
    path.write_bytes(content)
    back = opened(world, table, tmp_path / "new", images=str(images))
    back.make([pair], Quiet(), panels=False)
    found = back.get(pair)
    assert found is not None
    assert found.images[0].attack is not None


def test_an_image_that_is_another_is_made_again(world: World, table: Path, tmp_path: Path) -> None:
    images = copied(world, tmp_path / "images")
    exhibits = opened(world, table, tmp_path / "cache", images=str(images))
    pair, candidate = next(iter(exhibits.candidates.items()))
    exhibits.make([pair], Quiet(), panels=False)
    folder = images / candidate.wnid
    first, second = (folder / f"{name}.JPEG" for name in candidate.images[:2])
    first.write_bytes(second.read_bytes())
    assert exhibits.get(pair) is None
    exhibits.make([pair], Quiet(), panels=False)
    exhibit = exhibits.get(pair)
    assert exhibit is not None
    assert exhibit.images[0].image == exhibit.images[1].image


def test_a_broken_image_stops_nothing(world: World, table: Path, tmp_path: Path) -> None:
    images = copied(world, tmp_path / "images")
    exhibits = opened(world, table, tmp_path / "cache", images=str(images))
    pair, candidate = next(iter(exhibits.candidates.items()))
    (images / candidate.wnid / f"{candidate.images[1]}.JPEG").write_bytes(b"no image")
    reporter = Quiet()
    exhibits.make([pair], reporter)
    exhibit = exhibits.get(pair)
    assert exhibit is not None
    assert [shown.attack is None for shown in exhibit.images] == [False, True, False, False, False]
    assert str(exhibit.images[1].problem).startswith("not_an_image")
    assert reporter.lines[0].startswith("1 of 5 images cannot be shown; of the first")


def test_an_attack_without_a_gradient_is_said(
    world: World, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def still(network: Any, images: torch.Tensor, features: torch.Tensor) -> Any:
        attack = feature_attack(network, images, features, 0)
        return attack._replace(unmoved=torch.ones(len(images), dtype=torch.bool))

    monkeypatch.setattr("builder.annotate.pictures.feature_attack", still)
    exhibits = opened(world, table, tmp_path)
    pair = next(iter(exhibits.candidates))
    reporter = Quiet()
    exhibits.make([pair], reporter, panels=False)
    assert reporter.lines == [
        "The feature attack has no gradient to follow in 5 of 5 images, and leaves them as they "
        "are."
    ]


def test_too_little_memory_is_one_sentence(
    world: World, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_arguments: object) -> None:
        raise torch.OutOfMemoryError

    exhibits = opened(world, table, tmp_path)
    monkeypatch.setattr("builder.network.network.Network.forward", fails)
    monkeypatch.setattr("builder.annotate.pictures.feature_attack", feature_attack)
    with pytest.raises(BuildError, match="cpu has too little memory for 4 images at a time"):
        exhibits.make(exhibits.candidates, Quiet(), panels=False)


def edited(change: Callable[[str], str]) -> Callable[[Path, Path], Path]:
    """Return what writes a copy of a table in which each row but the header is changed."""

    def write(table: Path, directory: Path) -> Path:
        header, *rows = table.read_text().splitlines()
        path = directory / "features.csv"
        path.write_text("\n".join([header, *map(change, rows)]) + "\n")
        return path

    return write


def in_column(column: int, value: str) -> Callable[[str], str]:
    def change(row: str) -> str:
        values = row.split(",")
        return ",".join([*values[:column], value, *values[column + 1 :]])

    return change


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        pytest.param(
            edited(lambda row: row.replace("n9", "n8")), "train has no such class", id="class"
        ),
        pytest.param(
            edited(lambda row: f"7{row[1:]}" if row[0] == "0" else row),
            "as 7, and .* has it as 0: check --images",
            id="label",
        ),
        pytest.param(
            edited(lambda row: in_column(4, "96")(row) if ",1,3," in row else row),
            "has the feature 96 and timm:test_resnet the features 0 to 95: check --network",
            id="feature",
        ),
        pytest.param(
            edited(in_column(6, "0.125")), "is of other weights than timm:test_resnet", id="weight"
        ),
        pytest.param(
            edited(lambda row: ",".join([*row.split(",")[:7], "a", "b", "c", "d", "e"])),
            "lacks 30 of the 30 images that .* names, such as a: check --images and --split",
            id="images",
        ),
    ],
)
def test_a_table_of_something_else_is_one_sentence(
    world: World,
    table: Path,
    tmp_path: Path,
    write: Callable[[Path, Path], Path],
    sentence: str,
) -> None:
    images = str(world.root / "train")
    with pytest.raises(BuildError, match=sentence):
        opened(world, write(table, tmp_path), tmp_path / "cache", images=images)
