"""An eye for the pages on which people vote on a demo's features."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from urllib.request import urlopen

import numpy as np
import numpy.typing as npt
from PIL import Image

from builder.annotate.candidates import PairName, read_candidates
from builder.annotate.heat_maps import jet
from builder.demo.annotators import Crowd, cast_votes, hot_shares, regions_of
from builder.demo.demo import Folder
from builder.demo.world import World, read_truth
from builder.images.decode import decode
from tests.annotate.site.visitor import Said, Visitor
from tests.annotate.site.voters import PEOPLE, Habits

CROWDS = {
    PEOPLE[0].name: Crowd(workers=1, blur=0.02, slips=0, seed=1),
    PEOPLE[1].name: Crowd(workers=1, blur=0.15, slips=0.1, seed=2),
    PEOPLE[2].name: Crowd(workers=1, blur=0.1, slips=0.05, seed=3),
}
"""How careful each of the people is."""

SCALES = np.linspace(0.5, 2, 61)
"""By what the sum of an image and the colours of its map may have been divided."""

SHOWN = """return [...document.querySelectorAll('.grid .row')].map((row) => ['image', 'heat'].map(
    (kind) => row.querySelector(`.${kind} img`)).filter((one) => one.naturalWidth === 224).map(
    (one) => one.src))"""


@dataclass
class Eye:
    """Sees what pages show of a demo's images, and where their heat maps are red.

    What is under the red is what was drawn there, as a person would see it.
    """

    folder: Folder
    world: World
    seen: dict[PairName, npt.NDArray[np.float64]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._truth = read_truth(self.folder.root)
        pairs = read_candidates(self.folder.features)
        self._pairs = {f"{pair.name or pair.wnid}, feature {pair.feature}": pair for pair in pairs}

    def __call__(self, visitor: Visitor, habits: Habits) -> tuple[PairName, Said]:
        """Return the pair that a page is about, and what somebody answers who looks at it."""
        pair = self._pairs[visitor.browser.title]
        if pair.key not in self.seen:
            shown = visitor.browser.execute_script(SHOWN)
            assert [len(row) for row in shown] == [2] * len(pair.images)
            rows = zip(pair.images, shown, strict=True)
            hot = [self._hot(pair.wnid, name, *urls) for name, urls in rows]
            regions = [regions_of(self._truth.label_map(name)) for name in pair.images]
            self.seen[pair.key] = hot_shares(np.stack(hot), np.stack(regions))
        things = (f"the {self.world.names[pair.label]}", "another object", "the background")
        (vote,) = cast_votes(pair, self.seen[pair.key], things, CROWDS[habits.name])
        return pair.key, Said(vote.answer, int(vote.confidence), f"{vote.reasons} <b>\"'&")

    def _hot(self, wnid: str, name: str, image: str, heat: str) -> npt.NDArray[np.uint8]:
        """See that a page shows an image, and where its heat map is red: 255 there, 0 elsewhere."""
        seen = _picture(image)
        drawn = decode((self.folder.images / "train" / wnid / f"{name}.JPEG").read_bytes()).pixels
        assert np.abs(seen - drawn / 255).mean() < 0.02, name
        colours = _colours(seen, _picture(heat))
        return np.where(colours[..., 0] > colours[..., 2], 255, 0).astype(np.uint8)


def _picture(url: str) -> npt.NDArray[np.float64]:
    with urlopen(url) as reply:
        picture = Image.open(io.BytesIO(reply.read()))
    shares: npt.NDArray[np.float64] = np.asarray(picture) / 255
    return shares


def _colours(
    image: npt.NDArray[np.float64], heat: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the colours that were laid over an image: those that are of the scale throughout."""
    scale = jet(np.linspace(0, 1, 64))
    few = image[::8, ::8], heat[::8, ::8]

    def misfit(divisor: float) -> float:
        left = few[1] * divisor - few[0]
        distances = np.linalg.norm(left[..., None, :] - scale, axis=-1)
        return float(distances.min(axis=-1).mean())

    colours: npt.NDArray[np.float64] = heat * min(SCALES, key=misfit) - image
    return colours
