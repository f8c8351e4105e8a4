"""A study with pictures that need no network; as a program, its server."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from builder.annotate.annotate import serve
from builder.annotate.candidates import Candidate, PairName
from builder.annotate.database import Database, open_database
from builder.annotate.exhibits import Exhibit, Panel, Shown
from builder.annotate.site.serve import bind
from builder.reporter import ConsoleReporter, Reporter, Screen

NETWORK = {"network": "small-convnet", "weights": "0123456789abcdef"}
CLASSES = ("n90000001", "n90000002", "n90000003")
NAMES = ("otter", "car wheel", "water ouzel, dipper")


@dataclass
class PaintedExhibits:
    """Pictures of a few colours each; those of features in `unmade` are never made."""

    directory: Path
    unmade: set[int] = field(default_factory=set)
    made: list[PairName] = field(default_factory=list)

    def get(self, pair: PairName) -> Exhibit | None:
        if pair[1] in self.unmade:
            return None
        images = [
            Shown(
                f"photo {n}",
                self._paint(*pair, n, "image"),
                self._paint(*pair, n, "heat"),
                self._paint(*pair, n, "attack"),
                unmoved=n == 3,
            )
            for n in range(4)
        ]
        return Exhibit((*images, Shown("photo 4", problem="it is gone")))

    def panel(self, pair: PairName) -> Panel | None:
        if pair[1] in self.unmade:
            return None
        maps = tuple(Shown(f"photo {n}", heat=self._paint(*pair, "map", n)) for n in range(15))
        return Panel(maps[:5], maps[5:10], maps[10:], zone=15)

    def examples(self, wnid: str) -> list[Path]:
        return [self._paint(wnid, "example", number) for number in range(5)]

    def make(self, pairs: Iterable[PairName], reporter: Reporter) -> None:
        self.made += pairs

    def _paint(self, *name: object) -> Path:
        self.directory.mkdir(exist_ok=True)
        words = re.sub(r"\W+", "_", "-".join(map(str, name)))
        path = self.directory / f"{words}.jpg"
        if not path.exists():
            rng = np.random.default_rng(list(path.name.encode()))
            small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
            small.resize((56, 56), Image.Resampling.BICUBIC).save(path)
        return path


def candidates(classes: int = 3, features: int = 5) -> list[Candidate]:
    """Return pairs as `tests.conftest.write_votes` has them, so that the tiny world builds."""
    return [
        Candidate(
            label=label,
            wnid=CLASSES[label] if label < len(CLASSES) else f"n{label:08}",
            name=NAMES[label % 3],
            rank=rank,
            feature=20 * label + 3 * rank - 2,
            importance=1 / rank,
            weight=0.5,
            images=tuple(f"class {label}/photo {number}" for number in range(5)),
        )
        for label in range(classes)
        for rank in range(1, features + 1)
    ]


def begin(place: Path, answers: int = 5, pairs: Sequence[Candidate] | None = None) -> Database:
    """Open votes on the pairs."""
    return open_database(str(place), pairs or candidates(), NETWORK, answers)


def main() -> None:
    """Serve, as ``salient-imagenet annotate`` does once all is opened."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--answers", type=int, default=5)
    parser.add_argument("--classes", type=int, default=3)
    given = parser.parse_args()
    reporter = ConsoleReporter(Screen(stderr=True))
    serve(
        begin(given.directory / "votes.db", given.answers, candidates(given.classes)),
        PaintedExhibits(given.directory / "pictures"),
        {CLASSES[0]: "an aquatic mammal with webbed feet that eats fish"},
        "127.0.0.1",
        bind("127.0.0.1", given.port, reporter),
        reporter,
        show=False,
    )


if __name__ == "__main__":
    main()
