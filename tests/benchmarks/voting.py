"""Three people vote in a browser on the demo's features: what does the data set give back then?

    python -m tests.benchmarks.voting [--demo DIR] [--screens DIR]

Runs the demo where DIR holds none. On a copy of it the people look at the pages that
``salient-imagenet annotate`` serves, one with keys, one with a mouse, one with a thumb on a phone;
they skip, undo and slip, and in the middle the server is killed. Their votes are exported and take
the place of the simulated ones, and the demo goes on from there. Prints the scores of both, and
fails if they are more than 0.02 apart, or if an answer was lost or is there twice.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

from builder.annotate.export import export
from builder.dataset.votes import read_votes
from builder.demo.demo import NETWORK, Folder, run_demo
from builder.demo.recovery import KEYS, MEANINGS
from builder.demo.world import World
from builder.reporter import SilentReporter
from builder.settings.annotation import VotesExport
from tests.annotate.site.server import running
from tests.annotate.site.voters import PEOPLE, Given, exported, vote
from tests.browser import chromium
from tests.demo.eye import Eye

CLOSE = 0.02
"""How far the scores of people's votes may be from those of simulated ones."""


def main() -> None:
    """Have people vote, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path)
    parser.add_argument("--screens", type=Path, help="where to keep what the pages look like")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        simulated = Folder(options.demo or Path(temporary) / "demo")
        run_demo(simulated.root, World(), SilentReporter())
        voted = copy_without_votes(simulated, Path(temporary) / "voted")
        start = time.perf_counter()
        given = ask(voted, Path(temporary) / "profile", options.screens)
        seconds = time.perf_counter() - start
        print(f"{len(given)} answers of {len(PEOPLE)} people in {seconds:.0f} s")
        assert exported(voted.votes) == given
        compare(simulated, voted)


def copy_without_votes(demo: Folder, root: Path) -> Folder:
    """Copy what a demo has before anybody votes, so that it can go on from there."""
    later = [path.name for path in (demo.votes, demo.dataset, demo.gallery, demo.report)]
    shutil.copytree(demo.root, root, ignore=shutil.ignore_patterns(*later))
    return Folder(root)


def ask(folder: Folder, profile: Path, screens: Path | None) -> Given:
    """Have people vote on a demo's features in a browser, and export that as its votes."""
    answers = str(folder.root / "answers.db")
    words = (
        *("builder", "annotate", str(folder.features), "--images", str(folder.images)),
        *("--network", NETWORK, "--checkpoint", str(folder.robust), "--device", "cpu"),
        *("--definitions", str(folder.definitions)),
        *("--votes", answers, "--answers", str(len(PEOPLE)), "--no-open"),
    )
    pairs = World().classes * 5
    with chromium(profile) as browser, running(*words) as server:
        given = vote(server, browser, pairs, Eye(folder, World()), screens)
    assert len(given) == len(PEOPLE) * pairs
    export(VotesExport(answers, folder.votes), SilentReporter())
    return given


def compare(simulated: Folder, voted: Folder) -> None:
    """Have the demo go on with people's votes, and hold its scores against the others."""
    kinds = [read_votes(folder.votes).spurious for folder in (simulated, voted)]
    print(f"pairs of the same kind: {(kinds[0] == kinds[1]).mean():.1%}")
    run_demo(voted.root, World(), SilentReporter())
    scores = [json.loads(folder.report.read_bytes()) for folder in (simulated, voted)]
    for key in KEYS:
        of_simulated, of_people = (score[key] for score in scores)
        print(f"{MEANINGS[key]:22} {of_simulated:6.3f} simulated {of_people:6.3f} people")
    assert all(abs(scores[0][key] - scores[1][key]) <= CLOSE for key in KEYS)


if __name__ == "__main__":
    main()
