"""The demo itself: a tiny one for its manners, and the default one for what it promises."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import load_dataset

from builder.annotate.definitions import read_definitions
from builder.cli import main
from builder.dataset.votes import read_votes
from builder.demo import demo
from builder.demo.demo import Folder, run_demo
from builder.demo.recovery import AT_CHANCE, CONTROLS, GOALS, KEYS
from builder.demo.summary import next_steps, recovery_table, reliance_table
from builder.demo.training import Recipe
from builder.demo.world import World, read_truth
from builder.errors import BuildError
from builder.segmentations.segmentations import add_segmentations
from builder.settings.segmentation import Segmentation
from tests.quiet import Quiet
from tests.releases import write_hard_imagenet

TINY = World(classes=3, train=24, val=6, size=64)
QUICK = Recipe(epochs=6, batch=24, rate=1e-2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tiny") / "demo"
    run_demo(out, TINY, Quiet(), QUICK)
    return out


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the default demo, run as a user runs it."""
    out = tmp_path_factory.mktemp("default") / "demo"
    command = [sys.executable, "-m", "builder", "demo", "--out", str(out)]
    # Threads would wait for each other where other tests keep a core busy.
    result = subprocess.run(
        command,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "gallery.html" in result.stdout
    return out


@pytest.fixture(scope="module")
def report(default: Path) -> dict[str, Any]:
    """Return the report of the default demo."""
    found: dict[str, Any] = json.loads(Folder(default).report.read_bytes())
    return found


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("key", GOALS)
def test_the_default_demo_recovers_what_was_planted(report: dict[str, Any], key: str) -> None:
    assert report[key] >= GOALS[key]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("key", KEYS)
def test_every_score_is_at_chance_under_a_control(report: dict[str, Any], key: str) -> None:
    control = "votes shuffled" if key == "kinds_agreement" else "another image"
    chance = report["chance"][key]
    tolerance = 2 * AT_CHANCE if key == "kinds_agreement" else AT_CHANCE
    assert abs(report["controls"][control][key] - chance) <= tolerance
    assert report[key] - chance >= 0.3


@pytest.mark.timeout(1200)
def test_every_control_is_far_below_what_was_found(report: dict[str, Any]) -> None:
    for control in CONTROLS[1:]:
        for key, value in report["controls"][control].items():
            assert value <= report[key] - 0.2, (control, key)
    shuffled = report["controls"]["votes shuffled"]
    assert shuffled["separation_auroc"] <= report["separation_auroc"] - 0.3


@pytest.mark.timeout(1200)
def test_masks_lie_on_drawn_objects_as_they_lie_on_planted_ones(
    default: Path, report: dict[str, Any], tmp_path: Path
) -> None:
    data, release = shutil.copytree(default / "dataset", tmp_path / "data"), tmp_path / "release"
    write_hard_imagenet(release, read_truth(default))
    # The demo measures on validation images.
    for part in ("train", "meta"):
        shutil.rmtree(release / part)
    told = add_segmentations(Segmentation(data, hard_imagenet=release), Quiet())
    core = told["splits"]["validation"]["truth"]["core"]
    assert abs(core["auroc"] - report["core_auroc"]) <= 0.01
    assert abs(core["pointing"] - report["core_pointing"]) <= 0.01


@pytest.mark.timeout(1200)
def test_uncovered_classes_count_as_chance(report: dict[str, Any]) -> None:
    for key in KEYS:
        covered = report["coverage"][key]
        assert 0.5 <= covered <= 1
        expected = covered * report[key] + (1 - covered) * report["chance"][key]
        assert report["all_classes"][key] == pytest.approx(expected)


@pytest.mark.timeout(1200)
def test_the_closing_words_name_what_is_there(report: dict[str, Any], tiny: Path) -> None:
    assert recovery_table(report).row_count == len(KEYS)
    assert reliance_table(report).row_count == 5
    folder = Folder(tiny)
    words = next_steps(folder, report)
    for path in (folder.gallery, folder.dataset, folder.report, folder.definitions):
        assert str(path) in words
        assert path.exists()
    assert read_definitions(folder.definitions)["n90000001"] == "a spotted disc"


def test_the_report_has_every_key_found_and_under_controls(tiny: Path) -> None:
    report = json.loads(Folder(tiny).report.read_bytes())
    assert {*KEYS, "seconds", "controls"} <= report.keys()
    assert tuple(report["controls"]) == CONTROLS


def test_gaps_are_those_of_the_evaluation(tiny: Path) -> None:
    report = json.loads(Folder(tiny).report.read_bytes())
    evaluation = report["evaluation"]
    assert evaluation["k"] == TINY.val // 3
    for name in ("plain", "robust"):
        means = evaluation["models"][name]
        assert means["spurious_gap"]["value"] == pytest.approx(report[f"gap_{name}"])
        assert means["clean_accuracy"]["low"] <= means["clean_accuracy"]["value"]


def test_a_report_of_a_version_that_did_not_evaluate_is_made_anew(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Folder(tiny).report
    whole = path.read_bytes()
    path.write_text(json.dumps({"seconds": 1.0}))
    monkeypatch.setattr(demo, "_make", lambda *_arguments: {"made": "anew"})
    assert run_demo(tiny, TINY, Quiet(), QUICK) == {"made": "anew"}
    path.write_bytes(whole)


def test_what_is_built_loads_and_is_scored_as_the_builder_scores(tiny: Path) -> None:
    masks = list(load_dataset(str(tiny / "dataset"), "masks", split="train", streaming=True))
    labels = {pair.label for pair in read_votes(Folder(tiny).votes).pairs}
    assert len(masks) == len(labels) * TINY.train
    assert {len(row["features"]) for row in masks} == {5}


def test_a_finished_demo_is_left_alone(tiny: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}
    reporter = Quiet()
    run_demo(tiny, TINY, reporter, QUICK)
    assert reporter.lines == [f"Nothing to do: {tiny} already holds this very demo."]
    assert {path: path.stat().st_mtime_ns for path in tiny.rglob("*")} == before


def test_an_interrupted_demo_goes_on_where_it_stopped(tiny: Path) -> None:
    folder = Folder(tiny)
    report = json.loads(folder.report.read_bytes())
    votes, trained = folder.votes.read_bytes(), folder.robust.stat().st_mtime_ns
    for path in (folder.gallery, folder.votes):
        path.unlink()
    folder.report.write_bytes(folder.report.read_bytes()[:-9])
    again = run_demo(tiny, TINY, Quiet(), QUICK)
    assert folder.votes.read_bytes() == votes
    assert folder.robust.stat().st_mtime_ns == trained
    for key in KEYS:
        assert np.array_equal(again[key], report[key], equal_nan=True)


def test_another_demo_s_directory_is_refused(tiny: Path) -> None:
    with pytest.raises(BuildError, match="holds another demo"):
        run_demo(tiny, World(seed=1), Quiet(), QUICK)


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(BuildError, match="is not empty and holds no demo"):
        run_demo(tmp_path, TINY, Quiet())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", ["file", "file/demo"])
def test_a_bad_out_is_one_sentence_and_exit_status_2(
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("sys.argv", ["salient-imagenet", "demo", "--out", str(tmp_path / name)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    told = f"Error: {tmp_path / 'file'} is a file: give --out a directory."
    assert capsys.readouterr().err.strip() == told
