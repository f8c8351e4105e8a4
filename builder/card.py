"""The card: README.md of the data set, from its template and the manifest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from string import Template
from typing import Any

from builder.importance import TOPS
from builder.manifest import Manifest
from builder.votes import Votes
from salient_imagenet_1m import mask_features, pair_features, ranking_features

_CONFIGS = ("masks", "rankings", "features", "embeddings")
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))


def make_card(manifest: Manifest, votes: Votes) -> str:
    """Fill the card's template; every number in it comes from the data.

    Parameters
    ----------
    manifest : Manifest
        With at least one split.
    votes : Votes

    Returns
    -------
    str
        Markdown with a YAML header that names the configs and their files.
    """
    origin, splits = manifest.origin, dict(sorted(manifest.splits.items()))
    rows = sum(split["counts"]["rows"] for split in splits.values())
    return Template(_template_path().read_text("utf-8")).substitute(
        size_category=next((name for limit, name in _SIZES if rows < limit), "1M<n<10M"),
        configs=_configs(splits, embeddings=origin["keep_embeddings"]),
        statistics=_statistics(splits),
        split=next(iter(splits)),
        features_per_class=origin["features_per_class"],
        grid_height=origin["grid"][0],
        grid_width=origin["grid"][1],
        crop=origin["crop"],
        resize=origin["resize"],
        mask_columns=_columns(mask_features([], 1)),
        ranking_columns=_columns(ranking_features([])),
        pair_columns=_columns(pair_features([])),
        network=origin["network"],
        weights_sha256=origin["weights_sha256"],
        votes_sha256=origin["votes_sha256"],
        preprocessing=origin["preprocessing"],
        mean=[round(value, 4) for value in origin["mean"]],
        std=[round(value, 4) for value in origin["std"]],
        precision=origin["precision"],
        agreement=_agreement(splits),
        set_aside=_set_aside(splits),
        kinds=_kinds(votes),
    )


def _template_path() -> Path:
    """Return the template's path, in an installed package or else in the project itself."""
    installed = Path(__file__).with_name("dataset_card.md")
    return installed if installed.exists() else Path(__file__).parents[1] / "dataset_card.md"


def _configs(splits: dict[str, Any], *, embeddings: bool) -> str:
    lines = []
    for config in _CONFIGS:
        if config == "embeddings" and not embeddings:
            continue
        lines.append(f"- config_name: {config}")
        if config == _CONFIGS[0]:
            lines.append("  default: true")
        lines.append("  data_files:")
        for split in splits:
            lines += [f"  - split: {split}", f"    path: {config}/{split}-*.parquet"]
    return "\n".join(lines)


def _statistics(splits: dict[str, Any]) -> str:
    lines = [
        "| split | images | classes | core masks | spurious masks | ranked images | bytes a mask |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, split in splits.items():
        counts = split["counts"]
        cells = [
            f"{counts[key]:,}"
            for key in ("rows", "classes", "core_masks", "spurious_masks", "ranked_rows")
        ]
        lines.append(
            f"| {name} | {' | '.join(cells)} | {counts['grid_bytes'] / counts['masks']:.1f} |"
        )
    return "\n".join(lines)


def _columns(features: Any) -> str:
    return ", ".join(f"`{name}`" for name in features)


def _agreement(splits: dict[str, Any]) -> str:
    parts = []
    for name, split in splits.items():
        found = split["agreement"]
        if found["pairs"]:
            shares = ", ".join(f"{found[f'in_top_{top}']} in the top {top}" for top in TOPS)
            parts.append(
                f"{name}: of {found['pairs']} voted features of {found['classes']} classes, by the "
                f"network's own ranking of features, {shares}"
            )
        else:
            parts.append(f"{name}: too few images to compare")
    return "; ".join(parts)


def _set_aside(splits: dict[str, Any]) -> str:
    lines = []
    for name, split in splits.items():
        counts = split["counts"]
        reasons = ", ".join(f"{count} {reason}" for reason, count in counts["set_aside"].items())
        if reasons:
            total = sum(counts["set_aside"].values())
            lines.append(
                f"\nOf {counts['images']:,} images of the split {name}, {total:,} could not be "
                f"used ({reasons}): `set_aside.parquet` names them."
            )
    return "\n".join(lines)


def _kinds(votes: Votes) -> str:
    spurious = Counter(
        sum(pair.kind == "spurious" for pair in group) for group in votes.by_label.values()
    )
    return (
        f"of {len(votes.by_label):,} classes with votes {spurious[votes.features_per_class]:,} "
        f"have no core feature and {spurious[0]:,} no spurious one"
    )
