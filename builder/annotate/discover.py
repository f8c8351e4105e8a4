"""Which features of a network make each class: the table that annotation starts from."""

from __future__ import annotations

from builder.annotate.candidates import Candidate, TopImages, candidates_csv, rank_candidates
from builder.errors import BuildError
from builder.network.analysis import Predictor
from builder.network.devices import find_device
from builder.network.importance import Importance
from builder.network.inference import open_inference, open_network
from builder.reporter import Reporter
from builder.settings import Search
from builder.storage.files import atomic_write, disk_errors_as_sentences


def discover(search: Search, reporter: Reporter) -> list[Candidate]:
    """Find each class's most important features and write the table of them.

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
        If an input cannot be used, or the table is there already.
    """
    if search.out.exists():
        raise BuildError(f"{search.out} exists already: remove it, or use another --out.")
    if not search.out.parent.is_dir():
        raise BuildError(f"There is no directory {search.out.parent}: check --out.")
    network = open_network(search, find_device(search.device))
    inference = open_inference(search, network, reporter)
    plan = inference.plan
    importance = Importance.empty(network.classes, network.channels)
    top = TopImages(network.classes, network.channels)
    set_aside = len(plan.set_aside)
    with reporter.track("images", len(plan.order)) as advance:
        for seen in inference.run(Predictor(network)):
            importance.add(seen.activations, seen.predicted)
            top.add(seen.members, plan.labels[seen.members], seen.activations)
            set_aside += seen.set_aside
            advance(len(seen.members) + seen.set_aside)
    if set_aside:
        reporter.say(f"{set_aside:,} of {plan.images:,} images could not be used.")
    candidates = rank_candidates(inference, importance, top)
    never = len(inference.labels) - len({candidate.label for candidate in candidates})
    if not candidates:
        raise BuildError(
            f"{search.network} predicts none of the classes of {search.images}: check --checkpoint."
        )
    if never:
        reporter.say(f"{never:,} classes are never predicted: the table has no rows for them.")
    with disk_errors_as_sentences(search.out.parent), atomic_write(search.out) as file:
        file.write(candidates_csv(candidates))
    return candidates
