"""Whether a data set is what it says: files against the manifest, numbers against each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from builder.checks import counts, files, pages, rows, scores, segmentations, whole
from builder.checks.images import images_are_those
from builder.checks.scores import ScoredDataSet
from builder.dataset.layout import MANIFEST_FILE
from builder.dataset.manifest import Manifest
from builder.errors import BuildError, first_line
from builder.images.sources import Images, open_images
from builder.pages.pages import PAGES_VERSION

LONGEST = 5
"""Problems that a check tells at most: a broken file may break every row."""

Find = Callable[[ScoredDataSet], Iterator[str]]

_FORM: dict[str, Find] = {
    "files are whole": files.files_are_whole,
    "file names are consecutive": files.files_are_complete,
    "schemas are the format's": files.schemas_are_the_formats,
}
"""Without these no other check can be made."""

_CONTENT: dict[str, Find] = {
    "counts are right": counts.counts_are_right,
    "image ids are unique": counts.ids_are_unique,
    "rows are in their order": counts.rows_are_in_order,
    "contents are of the rows": counts.contents_are_of_the_rows,
    "numbers are sound": rows.numbers_are_sound,
    "features are the votes'": scores.pairs_are_the_votes,
    "rows have the features of their class": rows.features_are_the_class_s,
    "grids decode": rows.grids_decode,
    "pictures are the unions of grids": rows.pictures_are_the_grids,
    "activation ranks recompute": scores.ranks_are_the_activations,
    "spuriosity recomputes": scores.spuriosity_is_the_activations,
    "rankings are the masks'": scores.rankings_are_the_masks,
    "embeddings are the activations": scores.embeddings_are_the_activations,
    "whole images are the rows'": whole.rows_are_the_masks,
    "masks of whole images are sound": whole.grids_decode,
    "counts of whole images are right": whole.counts_are_right,
    "object masks are of the images": segmentations.object_masks_are_of_the_images,
    "preview is the masks'": pages.preview_is_the_masks,
    "the card's header is the data's": pages.header_is_the_data_s,
}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
        What should be so.
    problems : list of str
        What is not; at most `LONGEST` and a line that there are more.
    """

    name: str
    problems: list[str]

    @property
    def passed(self) -> bool:
        """Whether nothing was found."""
        return not self.problems


def verify(directory: Path, images: str | None = None, split: str | None = None) -> list[Check]:
    """Return all checks of a data set; see `checks`."""
    return list(checks(directory, images, split))


def checks(directory: Path, images: str | None = None, split: str | None = None) -> Iterator[Check]:
    """Check a data set, one thing after another.

    Parameters
    ----------
    directory : Path
        What `build` wrote; may be a URL.
    images : str, optional
        Its images, as for `build`: a sample of them is opened.
    split : str, optional
        The split that `images` are of; by default all of the data set.

    Yields
    ------
    Check
        Those of rows come only where files and columns are what they should be.

    Raises
    ------
    BuildError
        If there is no such directory, it is no build, or there are no such images.
    """
    data = _open(directory)
    parts = _splits(data, split)
    # Opened first: who gave a wrong path need not wait for all the rest.
    opened = {} if images is None else {part: _open_images(images, part) for part in parts}
    yield _run("nothing else is there", partial(files.nothing_else_is_there, directory), data)
    readable = True
    for name, find in _FORM.items():
        check = _run(name, find, data)
        readable = check.passed or find is files.files_are_whole
        yield check
        if not readable:
            yield Check("rows are what they say", ["not looked at, because of the above"])
            return
    for name, find in _CONTENT.items():
        yield _run(name, find, data)
    yield from _figures_of_object_masks(data)
    if data.manifest.pages == PAGES_VERSION:
        yield _run("card, plots and croissant are the data's", pages.pages_are_the_data_s, data)
    else:
        yield Check("card, plots and croissant are another release's: not compared", [])
    for part, found in opened.items():
        yield Check(f"images are those of {part}", _some(images_are_those(data, found, part)))


def _figures_of_object_masks(data: ScoredDataSet) -> Iterator[Check]:
    """Check what the manifest says of object masks; where that is right, tell it."""
    name = "figures of object masks recompute"
    check = _run(name, segmentations.figures_of_object_masks_are_right, data)
    yield check
    if check.passed:
        yield from (Check(figure, []) for figure in segmentations.figures(data))


def _open(directory: Path) -> ScoredDataSet:
    if not directory.is_dir():
        raise BuildError(f"There is no directory {directory}: give what was the --out of build.")
    manifest = Manifest.load(directory)
    if manifest is None:
        raise BuildError(
            f"{directory} is no build, it has no {MANIFEST_FILE}: give what was the --out of "
            "build, once it is finished."
        )
    return ScoredDataSet(manifest, directory)


def _open_images(source: str, split: str) -> Images:
    return open_images(source, split, lambda count: None)


def _splits(data: ScoredDataSet, split: str | None) -> list[str]:
    if split is not None and split not in data.splits:
        raise BuildError(
            f"The data set has no split {split}: use --split {' or '.join(data.splits)}."
        )
    return data.splits if split is None else [split]


def _run(name: str, find: Find, data: ScoredDataSet) -> Check:
    try:
        return Check(name, _some(find(data)))
    except BuildError as error:
        return Check(name, [str(error).removesuffix(".")])
    except Exception as error:
        # A manifest may hold anything that JSON can, and a forged file anything that Parquet can.
        what = f"{type(error).__name__}: {first_line(error)}"
        return Check(name, [f"{MANIFEST_FILE} or a file holds what no build writes ({what})"])


def _some(problems: Iterator[str]) -> list[str]:
    first = list(islice(problems, LONGEST))
    return [*first, "and more"] if next(problems, None) is not None else first
