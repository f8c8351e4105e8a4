"""Reports of models and classes that were never seen, of any number."""

from __future__ import annotations

import numpy as np
from PIL import Image

from builder.evaluate.extremes import Ends, Extreme
from builder.evaluate.measures import (
    BOTTOM,
    GAP,
    RCS,
    TOP,
    Score,
    accuracy_of,
)
from builder.evaluate.pictures import SIDE
from builder.evaluate.report import Report
from builder.evaluate.table import COLUMNS
from builder.pages.pictures import thumbnail

FAMILIES = (
    "supervised ViTs",
    "self-supervised ViTs",
    "CLIP ViTs, zero-shot",
    "CLIP ViTs, finetuned",
    "CLIP ResNets",
    "self-supervised ResNets",
    "supervised ResNets",
    "MLP-based",
    "other CNNs",
    "adversarially trained",
)
_WORDS = ("otter", "band aid", "loggerhead", "chain saw", "French horn", "tench", "gas pump")


def synthetic_report(models: int, classes: int, ends: int = 4, seed: int = 0) -> Report:
    """Return a report whose gaps depend on class and model as the paper's do, by chance."""
    rng = np.random.default_rng(seed)
    names = [f"timm:architecture_{m}_patch16_224.some_weights_in1k" for m in range(models)]
    families = {name: FAMILIES[m * len(FAMILIES) // models] for m, name in enumerate(names)}
    of_class = rng.normal(0.17, 0.2, classes)
    spread = rng.uniform(0.01, 0.15, classes)
    scores = {}
    for place, name in enumerate(names):
        clean = 0.62 + 0.25 * place / models
        top = np.clip(rng.normal(clean + 0.1, 0.08, classes), 0, 1)
        bottom = np.clip(top - of_class - rng.normal(0, 1, classes) * spread, 0, 1)
        core, spurious = clean - 0.04 * rng.random(), clean - 0.1 - 0.3 * rng.random()
        means = {
            accuracy_of("clean"): clean,
            accuracy_of("core"): core,
            accuracy_of("spurious"): spurious,
            RCS: (core - spurious) / (2 - core - spurious),
            accuracy_of("on_core_mask"): clean - 0.1,
            accuracy_of("on_spurious_mask"): clean - 0.05,
            TOP: top.mean(),
            BOTTOM: bottom.mean(),
            GAP: (top - bottom).mean(),
        }
        assert {column.measure for column in COLUMNS} <= set(means)
        scores[name] = [
            *(_score(measure, None, value) for measure, value in means.items()),
            *(
                _score(measure, label, value)
                for measure, values in {
                    accuracy_of("clean"): (top + bottom) / 2,
                    TOP: top,
                    BOTTOM: bottom,
                    GAP: top - bottom,
                }.items()
                for label, value in enumerate(values)
            ),
        ]
    pictures = [thumbnail(_picture(rng), SIDE) for _ in range(16)]
    titles = [f"{_WORDS[c % len(_WORDS)]} {c}, synonym of it" for c in range(classes)]
    extremes = {
        label: Ends(
            *(_extremes(rng, pictures, label, models, classes, ends, end) for end in (0, 46))
        )
        for label in range(classes)
    }
    identity = {
        "data": "0" * 64,
        "split": "validation",
        "models": {name: {"weights_sha256": "0" * 64, "size": 224} for name in names},
        "corruption": "noise",
        "sigma": 0.25,
        "draws": 5,
    }
    return Report(identity, scores, families, 10, titles, extremes)


def _score(measure: str, label: int | None, value: float) -> Score:
    return Score(measure, label, float(value), float(value) - 0.02, float(value) + 0.02)


def _extremes(
    rng: np.random.Generator,
    pictures: list[str],
    label: int,
    models: int,
    classes: int,
    count: int,
    first: int,
) -> list[Extreme]:
    return [
        Extreme(
            f"ILSVRC2012_val_{50 * label + first + place:08d}",
            first + place,
            np.where(rng.random(models) < 0.7, label, rng.integers(0, classes, models)).tolist(),
            pictures[int(rng.integers(len(pictures)))],
        )
        for place in range(count)
    ]


def _picture(rng: np.random.Generator) -> np.ndarray:
    """Return a picture whose thumbnail weighs what those of photographs do."""
    coarse = rng.integers(0, 256, (19, 19, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
