"""The card: README.md of the data set, from its template, its manifest and its Parquet files."""

from __future__ import annotations

import html
import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from builder.dataset.configs import CONFIGS, SEGMENTATIONS, WHOLE_IMAGES
from builder.dataset.counts import labels_look_wrong, share_as_labelled
from builder.dataset.dataset import DataSet
from builder.dataset.layout import KINDS_PLOT, MASKS_PLOT, SPURIOSITY_PLOT
from builder.dataset.statistics import split_statistics, vote_statistics
from builder.dataset.subject import Subject
from builder.dataset.truth import truth_figures
from builder.network.importance import TOPS
from builder.pages.header import holds_images, make_header
from builder.pages.preview import example_rows
from builder.templates import environment
from salient_imagenet_1m import VALIDATED_FRACTION

TERMS = (
    "ImageNet's terms: its images are for non-commercial research and education, by people who "
    "have accepted these terms at https://www.image-net.org/download.php, and may not be passed on "
    "to others. Keep the repository private, and let only such people in."
)
"""What who publishes ImageNet's images to a private repository undertakes."""

_OWN_TERMS = (
    "The terms of the images hold for every copy of them. Keep the repository private, and let "
    "only such people in as may have them."
)
"""The same, of other images."""

_MARKUP = re.compile(r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)")
"""What Markdown takes for markup, but for HTML; an underscore within a word is none."""

_VERSIONS = ("python", "torch", "torchvision", "timm", "pillow", "numpy", "pyarrow", "datasets")


def make_card(data: DataSet) -> str:
    """Fill the card's template; every number in it comes from the data.

    Parameters
    ----------
    data : DataSet
        With at least one split, and the preview of each. Where its manifest lists images as well,
        the card is that of a private repository, and says what that obliges to.

    Returns
    -------
    str
        Markdown with a YAML header that names the configs, their files, columns and sizes.
    """
    splits = {name: data.manifest.splits[name] for name in data.splits}
    about = Subject.of(data.manifest)
    return _template().render(
        header=make_header(data),
        about=about,
        folder="IMAGENET" if about.is_imagenet else "IMAGES",
        with_images=holds_images(data),
        terms=terms_of(about),
        statistics=_statistics(splits),
        splits=splits,
        split=data.splits[0],
        origin=data.manifest.origin,
        examples=example_rows(data),
        names=[about.short_name(name) for name in data.names],
        configs=[
            {
                "name": name,
                "row": CONFIGS[name].row,
                "columns": [f"`{column}`" for column in data.schema(name).names],
            }
            for name in data.configs
        ],
        votes=data.votes,
        of_votes=vote_statistics(data.votes),
        of_splits={name: split_statistics(data, name) for name in splits},
        set_aside=_set_aside(splits),
        whole={name: part[WHOLE_IMAGES] for name, part in splits.items() if WHOLE_IMAGES in part},
        objects=data.manifest.additions.get(SEGMENTATIONS),
        doubtful=[
            name
            for name, split in splits.items()
            if labels_look_wrong(split["counts"], data.manifest.origin["classes"])
        ],
        zone=round(100 * VALIDATED_FRACTION),
        plots={"masks": MASKS_PLOT, "kinds": KINDS_PLOT, "spuriosity": SPURIOSITY_PLOT},
    )


def terms_of(about: Subject) -> str:
    """Return what who publishes the images to a private repository undertakes."""
    return TERMS if about.is_imagenet else _OWN_TERMS


def template_path() -> Path:
    """Return where the template is, in an installed package or else in the project itself."""
    installed = Path(__file__).parents[1] / "dataset_card.md"
    return installed if installed.exists() else installed.parents[1] / "dataset_card.md"


@cache
def _template() -> jinja2.Template:
    cards = environment(escape=False)  # It is no HTML; what comes from files is escaped by filters.
    cards.filters |= {
        "count": "{:,}".format,
        "number": _number,
        "markdown": _markdown,
        "code": _code,
        "versions": lambda inputs: ", ".join(
            f"{name} {inputs[name]}" for name in _VERSIONS if name in inputs
        ),
        "agreement": _agreement,
        "as_labelled": _as_labelled,
        "figures": truth_figures,
    }
    return cards.from_string(template_path().read_text("utf-8"))


def _markdown(text: str) -> str:
    """Return a text that comes from a file so that Markdown shows it as it is, in a table too."""
    line = html.escape(" ".join(text.split()), quote=False)
    return _MARKUP.sub(r"\\\g<0>", line)


def _code(text: str) -> str:
    """Return a text as code, for a table."""
    text = " ".join(text.splitlines())
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|")


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


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


def _agreement(found: dict[str, Any]) -> str:
    if not found["pairs"]:
        return "too few images to compare"
    shares = ", ".join(f"{found[f'in_top_{top}']:,} in the top {top}" for top in TOPS)
    return (
        f"of {found['pairs']:,} voted features of {found['classes']:,} classes, by the network's "
        f"own ranking of features, {shares}"
    )


def _as_labelled(counts: dict[str, Any]) -> str:
    share = share_as_labelled(counts)
    return "" if share is None else f"{100 * share:.1f} %"


def _set_aside(splits: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"split": name, "reason": reason, "images": count}
        for name, split in splits.items()
        for reason, count in split["counts"]["set_aside"].items()
    ]
