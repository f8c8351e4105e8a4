"""How much of what was planted a data set gives back: kinds, masks, spuriosity, gaps.

==================  ============================================  ==============================
metric              which images or pairs enter                   chance
==================  ============================================  ==============================
kinds agreement     all class-feature pairs                       that of votes dealt at random
mask AUROC          core: all; spurious: a cue of the class is    0.5
                    in the box; the pixels of the box
pointing            the same                                      the mean share of true pixels
separation          a class with both kinds: the pixels of core   0.5
                    or cue, scored by core minus spurious mask
spuriosity AUROC    all; per class, then mean over classes        0.5
spuriosity rank     all; per class, then mean over classes        0
spurious gap        all; per class, then mean over classes        0
==================  ============================================  ==============================

All but the kinds are measured on validation images. A class without a feature of a kind has no
mask of that kind and does not enter there; coverage is the share of classes that do, and
`Recovery.all_classes` has the scores in which the others count as chance.

Each negative control breaks one link, and what hangs on that link falls to chance:

- *votes shuffled* over the pairs: kinds agreement, and separation on average. The masks still show
  features of the class, and a pixelwise maximum over features of both kinds keeps much of either.
- *random features*, alive and with the kinds kept: everything falls far, but a feature of another
  class may share a colour or a cue with this one, so that some remains.
- *another image*: each image has the row of another of its class, and all that is said of an
  image falls to chance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builder.dataset import metrics
from builder.dataset.scores import NO_RANK, score
from builder.dataset.upsampling import upsample
from builder.demo.world import CORE, FIRST_CUE, Truth
from builder.evaluate.measures import ends
from salient_imagenet_1m import CROP_SIZE, unpack_grids

Scores = dict[str, float]

KEYS = (
    "kinds_agreement",
    "core_auroc",
    "spurious_auroc",
    "core_pointing",
    "spurious_pointing",
    "separation_auroc",
    "spuriosity_auroc",
    "spuriosity_spearman",
    "gap_plain",
    "gap_robust",
)

GOALS = {
    "kinds_agreement": 0.90,
    "core_auroc": 0.90,
    "spurious_auroc": 0.90,
    "core_pointing": 0.90,
    "spurious_pointing": 0.90,
    "spuriosity_auroc": 0.95,
}

MEANINGS = {
    "kinds_agreement": "votes that are true",
    "core_auroc": "core mask AUROC",
    "spurious_auroc": "spurious mask AUROC",
    "core_pointing": "core mask peak",
    "spurious_pointing": "spurious mask peak",
    "separation_auroc": "core - spurious AUROC",
    "spuriosity_auroc": "spuriosity AUROC",
    "spuriosity_spearman": "spuriosity rank corr.",
    "gap_plain": "gap, plain network",
    "gap_robust": "gap, robust network",
}
"""Each key in words."""

CONTROLS = ("votes shuffled", "random features", "another image")

AT_CHANCE = 0.05
"""A control within that distance of chance is at chance."""

DRAWS = 5
"""How often each control is drawn; its scores are the means."""


@dataclass(frozen=True)
class Evidence:
    """What is known and what was found of n images of the validation split.

    Attributes
    ----------
    labels : ndarray of int64, shape (n,)
    label_maps : ndarray of uint8, shape (n, 224, 224)
        What each pixel shows.
    strengths : ndarray of float32, shape (n,)
        Summed opacity of the cues of the image's class.
    cues : list of list of int
        The values in a label map that are cues of the class, by label.
    soft : ndarray of uint8, shape (n, features, 224, 224)
        The soft masks of the features of the image's class.
    activations : ndarray of float32, shape (n, features)
    spuriosity : ndarray of float64, shape (n,)
        NaN where the class has no spurious feature.
    ranks : ndarray of int64, shape (n,)
        Of spuriosity, in the class; `NO_RANK` where the class has no spurious feature.
    correct : dict of str to ndarray of bool, shape (n,)
        Whether each network is right.
    k : int
        Images at either end of a class's ranking, between which the gap is.
    """

    labels: NDArray[np.int64]
    label_maps: NDArray[np.uint8]
    strengths: NDArray[np.float32]
    cues: list[list[int]]
    soft: NDArray[np.uint8]
    activations: NDArray[np.float32]
    spuriosity: NDArray[np.float64]
    ranks: NDArray[np.int64]
    correct: dict[str, NDArray[np.bool_]]
    k: int

    def with_features(
        self,
        soft: NDArray[np.uint8],
        activations: NDArray[np.float32],
        spurious: NDArray[np.bool_],
    ) -> Evidence:
        """Return the same images with other masks, activations or kinds, scored anew."""
        scores = score(self.labels, np.arange(len(self.labels)), activations, spurious)
        return replace(
            self,
            soft=soft,
            activations=activations,
            spuriosity=scores.spuriosity,
            ranks=scores.spuriosity_ranks.astype(np.int64),
        )

    def with_rows(self, rows: NDArray[np.int64]) -> Evidence:
        """Return the same images, each with the masks and scores of another."""
        return replace(
            self,
            soft=self.soft[rows],
            activations=self.activations[rows],
            spuriosity=self.spuriosity[rows],
            ranks=self.ranks[rows],
        )


@dataclass(frozen=True)
class Recovery:
    """The scores, with what is needed to judge them; each has `KEYS`.

    Attributes
    ----------
    found, chance : dict of str to float
    coverage : dict of str to float
        Share of classes that enter.
    controls : dict of str to dict
        By name; a key that the control does not touch is missing.
    core_shares : ndarray of float64, shape (classes, features)
        How much of each pair is on the core object.
    """

    found: Scores
    chance: Scores
    coverage: Scores
    controls: dict[str, Scores]
    core_shares: NDArray[np.float64]

    @property
    def all_classes(self) -> Scores:
        """The scores where a class that does not enter counts as chance."""
        return {
            key: self.coverage[key] * self.found[key] + (1 - self.coverage[key]) * self.chance[key]
            for key in KEYS
        }

    def verdict(self, control: str, key: str) -> str:
        """Say in a word or two what a control does to a score."""
        value, found, chance = self.controls[control][key], self.found[key], self.chance[key]
        if abs(value - chance) <= AT_CHANCE:
            return "at chance"
        if value < chance:
            return "below chance"
        return "falls" if value < found - AT_CHANCE else "stays"


def gather(
    rows: Sequence[dict[str, Any]],
    truth: Truth,
    correct: dict[str, dict[str, bool]],
    classes: int,
    k: int,
) -> Evidence:
    """Join rows of the config masks with the truth, by image id.

    Parameters
    ----------
    rows : sequence of dict
        Of the validation split.
    truth : Truth
    correct : dict of str to dict of str to bool
        Whether each network is right, by image id.
    classes : int
    k : int
        Images at either end of a class's ranking.
    """
    known = [truth.rows[row["image_id"]] for row in rows]
    labels = np.array([row["label"] for row in rows], np.int64)
    cues: list[list[int]] = [[] for _ in range(classes)]
    for row in known:
        cues[row["label"]] = [FIRST_CUE + cue for cue in row["cues"]]
    ranks = [NO_RANK if row["spuriosity_rank"] is None else row["spuriosity_rank"] for row in rows]
    return Evidence(
        labels=labels,
        label_maps=np.stack([truth.label_map(row["image_id"]) for row in rows]),
        strengths=np.array(
            [sum(truth.strengths(row["image_id"]).values()) for row in rows], np.float32
        ),
        cues=cues,
        soft=np.stack([soft_masks(row) for row in rows]),
        activations=np.array([row["activations"] for row in rows], np.float32),
        spuriosity=np.array([row["spuriosity"] for row in rows], np.float64),
        ranks=np.array(ranks, np.int64),
        correct={
            name: np.array([hits[row["image_id"]] for row in rows])
            for name, hits in correct.items()
        },
        k=k,
    )


def soft_masks(row: dict[str, Any]) -> NDArray[np.uint8]:
    """Render a row's grids where the network looked: uint8, shape (features, 224, 224)."""
    return render(unpack_grids(row["grids"], row["grid_height"], row["grid_width"]))


def render(grids: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Upsample grids to the 224 x 224 pixels that the network saw."""
    return np.rint(upsample(grids, CROP_SIZE, CROP_SIZE)).astype(np.uint8)


def core_shares(
    rows: Sequence[dict[str, Any]], truth: Truth, shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return the share of each class-feature pair that is on the core object, over all its images.

    Each map counts with its activation. A pair is truly core where the share exceeds one half:
    then more of what makes the feature fire is on the object than off it, be that a cue or bare
    background.

    Parameters
    ----------
    rows : sequence of dict
        Of the config masks, of all splits.
    truth : Truth
    shape : tuple of int
        (classes, features), also of the result.
    """
    on_core, everywhere = np.zeros(shape), np.zeros(shape)
    for row in rows:
        soft = soft_masks(row).astype(np.float32)
        mass = soft.sum((1, 2))
        core = truth.label_map(row["image_id"]) == CORE
        share = (soft * core).sum((1, 2)) / np.maximum(mass, 1)
        on_core[row["label"]] += share * row["activations"]
        everywhere[row["label"]] += row["activations"]
    return on_core / np.maximum(everywhere, 1e-12)


def recover(
    evidence: Evidence,
    voted: NDArray[np.bool_],
    shares: NDArray[np.float64],
    random: Iterable[tuple[NDArray[np.uint8], NDArray[np.float32]]],
    seed: int,
) -> Recovery:
    """Hold what was found against the truth, and against the controls.

    Parameters
    ----------
    evidence : Evidence
    voted : ndarray of bool, shape (classes, features)
        Whether each pair is spurious.
    shares : ndarray of float64, shape (classes, features)
        From `core_shares`.
    random : iterable of (soft, activations)
        The evidence's images through random features, `DRAWS` times.
    seed : int
        Of the controls.
    """
    rng = np.random.default_rng(seed)
    true = shares <= 0.5
    scores, coverage = _score(evidence, voted)
    found = {"kinds_agreement": metrics.agreement(voted, true), **scores}
    draws: dict[str, list[Scores]] = {name: [] for name in CONTROLS}
    for soft, activations in random:
        shuffled = rng.permutation(voted.ravel()).reshape(voted.shape)
        again = evidence.with_features(evidence.soft, evidence.activations, shuffled)
        agreement = {"kinds_agreement": metrics.agreement(shuffled, true)}
        draws[CONTROLS[0]].append(agreement | _score(again, shuffled)[0])
        others = evidence.with_features(soft, activations, voted)
        draws[CONTROLS[1]].append(_score(others, voted)[0])
        rows = _other_of_class(evidence.labels, rng)
        draws[CONTROLS[2]].append(_score(evidence.with_rows(rows), voted)[0])
    chance = {
        "kinds_agreement": metrics.chance_agreement(voted, true),
        "core_pointing": found.get("core_area", np.nan),
        "spurious_pointing": found.get("spurious_area", np.nan),
        **{key: 0.5 for key in KEYS if key.endswith("auroc")},
        **{key: 0.0 for key in KEYS if key.endswith("spearman") or key.startswith("gap")},
    }
    return Recovery(
        found={key: found.get(key, np.nan) for key in KEYS},
        chance={key: chance[key] for key in KEYS},
        coverage={"kinds_agreement": 1.0, **coverage},
        controls={name: _mean(drawn) for name, drawn in draws.items()},
        core_shares=shares,
    )


def score_rows(recovery: Recovery) -> list[dict[str, Any]]:
    """Return the scores as rows of a table for people, each with its controls."""
    return [
        {
            "meaning": MEANINGS[key],
            "found": recovery.found[key],
            "goal": GOALS.get(key),
            "chance": recovery.chance[key],
            "coverage": recovery.coverage[key],
            "controls": [
                {
                    "name": name,
                    "value": scores.get(key),
                    "verdict": recovery.verdict(name, key) if key in scores else "",
                }
                for name, scores in recovery.controls.items()
            ],
            "all_classes": recovery.all_classes[key],
        }
        for key in KEYS
    ]


def _score(evidence: Evidence, spurious: NDArray[np.bool_]) -> tuple[Scores, Scores]:
    """Return scores and their coverage, for these kinds of the features."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    entered: defaultdict[str, list[bool]] = defaultdict(list)
    for label, chosen in enumerate(spurious):
        own = np.flatnonzero(evidence.labels == label)
        # A class that the network never predicts has no features, and no rows.
        has = {
            "core": len(own) > 0 and not chosen.all(),
            "spurious": len(own) > 0 and bool(chosen.any()),
        }
        for kind, there in has.items():
            entered[f"{kind}_auroc"].append(there)
            entered[f"{kind}_pointing"].append(there)
        for key in ("spuriosity_auroc", "spuriosity_spearman", "gap_plain", "gap_robust"):
            entered[key].append(has["spurious"])
        entered["separation_auroc"].append(all(has.values()))
        for image in own:
            shown = evidence.label_maps[image]
            places = {"core": shown == CORE, "spurious": np.isin(shown, evidence.cues[label])}
            unions = {
                kind: evidence.soft[image][chosen == (kind == "spurious")].max(0)
                for kind, there in has.items()
                if there
            }
            for kind, mask in unions.items():
                if places[kind].any():
                    found[f"{kind}_auroc"].append(metrics.mask_auroc(mask, places[kind]))
                    found[f"{kind}_pointing"].append(metrics.points_into(mask, places[kind]))
                    found[f"{kind}_area"].append(float(places[kind].mean()))
            if len(unions) == len(has):
                # Half the difference, shifted to stay in uint8.
                lean = 127 + unions["core"] // 2 - unions["spurious"] // 2
                either = places["core"] | places["spurious"]
                lean, is_core = lean[either], places["core"][either]
                found["separation_auroc"].append(metrics.mask_auroc(lean, is_core))
        if has["spurious"]:
            spuriosity, strength = evidence.spuriosity[own], evidence.strengths[own]
            found["spuriosity_auroc"].append(metrics.auroc(spuriosity, strength > 0))
            found["spuriosity_spearman"].append(metrics.spearman(spuriosity, strength))
            most, least = ends(evidence.ranks[own], evidence.k)
            for name, correct in evidence.correct.items():
                gap = correct[own][most].mean() - correct[own][least].mean()
                found[f"gap_{name}"].append(float(gap))
    scores = {key: float(np.nanmean(values)) for key, values in found.items()}
    return scores, {key: float(np.mean(values)) for key, values in entered.items()}


def _other_of_class(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return for each image another of its class, each used once."""
    rows = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        circle = rng.permutation(np.flatnonzero(labels == label))
        rows[circle] = np.roll(circle, 1)
    return rows


def _mean(draws: Sequence[Scores]) -> Scores:
    return {
        key: float(np.mean([scores[key] for scores in draws])) for key in KEYS if key in draws[0]
    }
