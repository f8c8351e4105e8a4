"""Which features of a network make each class: the table that annotation starts from."""

from __future__ import annotations

from collections import Counter

from builder.annotate.candidates import Candidate, TopImages, candidates_csv, rank_candidates
from builder.dataset.votes import write_template
from builder.errors import BuildError
from builder.images.plan import NO_VOTES, SetAside, require_rows
from builder.network.analysis import Predictor
from builder.network.devices import find_device
from builder.network.importance import Importance
from builder.network.inference import Inference, open_inference, open_network
from builder.reporter import Reporter
from builder.settings.annotation import Search
from builder.storage.files import atomic_write, disk_errors_as_sentences, require_writable


def discover(search: Search, reporter: Reporter) -> list[Candidate]:
    """Find each class's most important features, and write the table of them and empty votes.

    Parameters
    ----------
    search : Search
    reporter : Reporter

    Returns
    -------
    list of Candidate
        The rows of the table, sorted by label, then rank.

    Raises
    ------
    BuildError
        If an input cannot be used, or what it writes is there already or cannot be written.
    """
    _check_out(search)
    network = open_network(search, find_device(search.device))
    inference = open_inference(search, network, reporter)
    plan = inference.plan
    require_rows(plan, search.images, "check --images")
    importance = Importance.empty(network.classes, network.channels)
    top = TopImages(network.classes, network.channels)
    set_aside = list(plan.set_aside)
    with reporter.track("images", len(plan.order)) as advance:
        for seen in inference.run(Predictor(network)):
            importance.add(seen.activations, seen.predicted)
            top.add(seen.members, plan.labels[seen.members], seen.activations)
            set_aside += seen.set_aside
            advance(len(seen.members) + len(seen.set_aside))
    _tell_unused(inference, set_aside, reporter)
    candidates = rank_candidates(inference, importance, top)
    never = len(inference.labels) - len({candidate.label for candidate in candidates})
    if not candidates:
        raise BuildError(
            f"{search.network} predicts none of the classes of {search.images}: check --checkpoint."
        )
    if never:
        reporter.say(f"{never:,} classes are never predicted: the table has no rows for them.")
    with disk_errors_as_sentences(search.out.parent):
        pairs = ((pair.wnid, pair.label, pair.feature, pair.rank) for pair in candidates)
        write_template(search.template, pairs)
        with atomic_write(search.out) as file:
            file.write(candidates_csv(candidates))
    return candidates


def _check_out(search: Search) -> None:
    for path in (search.out, search.template):
        require_writable(path)
        if path.exists():
            raise BuildError(f"{path} exists already: remove it, or use another --out.")
    if not search.out.parent.is_dir():
        raise BuildError(f"There is no directory {search.out.parent}: check --out.")


def _tell_unused(inference: Inference, set_aside: list[SetAside], reporter: Reporter) -> None:
    """Say which images have no part in the table, and refuse to make one of none."""
    images = inference.plan.images
    counts = Counter(image.reason for image in set_aside)
    words = {NO_VOTES: "of no class of the network"}  # Nobody has voted yet.
    reasons = ", ".join(f"{count:,} {words.get(why, why)}" for why, count in counts.most_common())
    if len(set_aside) == images:
        raise BuildError(
            f"None of the {images:,} images can be used: {reasons}; the first is "
            f"{set_aside[0].path} ({set_aside[0].detail})."
        )
    if set_aside:
        reporter.say(f"{len(set_aside):,} of {images:,} images could not be used: {reasons}.")
