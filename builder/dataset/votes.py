"""What people voted on each class-feature pair: core or spurious."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from builder.errors import BuildError
from builder.storage.files import atomic_write

ANSWERS = ("main_object", "separate_object", "background")
COLUMNS = (
    "WorkerId",
    "Input.wordnet_id",
    "Input.class_index",
    "Input.feature_index",
    "Input.feature_rank",
    "Answer.main",
    "Answer.confidence",
    "Answer.reasons",
)
VALIDATION_COLUMNS = ("Validation.validated", "Validation.same")
"""Of files that also tell what a validation study found, the same in all rows of a pair."""

_ANSWER_COLUMNS = {
    "Answer.main": ", ".join(ANSWERS[:-1]) + f" or {ANSWERS[-1]}",
    "Answer.confidence": "a number from 1 to 5",
}
MINIMUM_VOTES = 3
WORKERS = 5
"""Who are asked about a pair."""


@dataclass(frozen=True)
class Vote:
    """One worker's answer on a class-feature pair: a row of the votes file, in its order.

    Attributes
    ----------
    worker : str
    wnid, label
        The class.
    feature : int
        Channel of the last conv map.
    rank : int
        1 is the most important feature of the class.
    answer : str
        One of `ANSWERS`.
    confidence : float
        Of the worker, 1 to 5.
    reasons : str
        In the worker's words.
    """

    worker: str
    wnid: str
    label: int
    feature: int
    rank: int
    answer: str
    confidence: float
    reasons: str


class Validation(NamedTuple):
    """What a study found of a pair: whether its feature means the same wherever it is strong.

    Attributes
    ----------
    validated : bool
        Whether its maps may be trusted in the top 20 % of the class.
    same : float
        Share of those asked who said that all maps show the same.
    """

    validated: bool
    same: float


@dataclass(frozen=True)
class Pair:
    """One class-feature pair and its votes.

    Attributes
    ----------
    label, wnid
        The class.
    feature : int
        Channel of the last conv map.
    rank : int
        1 is the most important feature of the class.
    main_object, separate_object, background : int
        How many workers gave each answer.
    confidence : float
        Mean confidence of the workers, 1 to 5.
    validated, same : bool and float, optional
        Those of `Validation`, where there was a study of the pair.
    """

    label: int
    wnid: str
    feature: int
    rank: int
    main_object: int
    separate_object: int
    background: int
    confidence: float
    validated: bool | None = None
    same: float | None = None

    @property
    def votes(self) -> int:
        """How many workers voted."""
        return self.main_object + self.separate_object + self.background

    def _is_majority(self, count: int) -> bool:
        return 2 * count > self.votes

    @property
    def kind(self) -> str:
        """``spurious`` where a majority (3 of 5) saw it off the main object, otherwise ``core``."""
        return "spurious" if self._is_majority(self.separate_object + self.background) else "core"

    @property
    def sub_kind(self) -> str | None:
        """How a pair is spurious: ``mixed`` where only the two answers' sum is a majority."""
        if self.kind == "core":
            return None
        if self._is_majority(self.background):
            return "background"
        return "separate_object" if self._is_majority(self.separate_object) else "mixed"


@dataclass(frozen=True)
class Votes:
    """The class-feature pairs of a votes file.

    Attributes
    ----------
    pairs : tuple of Pair
        Sorted by label, then rank; each class has as many as every other.
    sha256 : str
        Of the file.
    """

    pairs: tuple[Pair, ...]
    sha256: str

    @cached_property
    def by_label(self) -> dict[int, tuple[Pair, ...]]:
        """The pairs of each class, by rank."""
        groups: defaultdict[int, list[Pair]] = defaultdict(list)
        for pair in self.pairs:
            groups[pair.label].append(pair)
        return {label: tuple(group) for label, group in groups.items()}

    @property
    def are_validated(self) -> bool:
        """Whether there was a validation study of any of the pairs."""
        return any(pair.validated is not None for pair in self.pairs)

    @cached_property
    def labels(self) -> dict[str, int]:
        """The label of each wnid."""
        return {pair.wnid: pair.label for pair in self.pairs}

    @property
    def features_per_class(self) -> int:
        """Five, in the published votes."""
        return len(next(iter(self.by_label.values())))

    @cached_property
    def features(self) -> npt.NDArray[np.int32]:
        """Feature indices by label and rank, shape (largest label + 1, features per class)."""
        table = np.full((max(self.by_label) + 1, self.features_per_class), -1, np.int32)
        for label, group in self.by_label.items():
            table[label] = [pair.feature for pair in group]
        return table

    @cached_property
    def spurious(self) -> npt.NDArray[np.bool_]:
        """Whether each of `features` is spurious, of the same shape."""
        table = np.zeros(self.features.shape, np.bool_)
        for label, group in self.by_label.items():
            table[label] = [pair.kind == "spurious" for pair in group]
        return table


def read_votes(path: Path, minimum: int = MINIMUM_VOTES) -> Votes:
    """Read a votes file: a CSV with a row per worker and class-feature pair.

    Five workers answer ``main_object``, ``separate_object`` or ``background``; a majority for the
    latter two makes the pair spurious, otherwise it is core.

    Parameters
    ----------
    path : Path
        A file in the format of the published ``discover_spurious_features.csv``.
    minimum : int
        Votes that each pair needs.

    Returns
    -------
    Votes

    Raises
    ------
    BuildError
        If the file is missing or breaks the format; the sentence names the place.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise BuildError(f"The votes file {path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise BuildError(f"The votes file {path} is no CSV in UTF-8: check --votes.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        rows, validations = _parse(path, reader)
    except csv.Error as error:
        line = reader.reader.line_num  # The one of `reader` is that of the last good row.
        raise BuildError(f"{path}:{line} is no CSV ({error}): check --votes.") from error
    counted = _count(path, rows, validations, minimum)
    pairs = tuple(sorted(counted, key=lambda pair: (pair.label, pair.rank)))
    check_classes(path, pairs)
    return Votes(pairs, sha256(data).hexdigest())


def reasons_of(path: Path) -> dict[tuple[int, int], list[str]]:
    """Read what the workers wrote on each pair, by label and feature, each sentence once.

    Parameters
    ----------
    path : Path
        A votes file, as `read_votes` takes it.
    """
    words: defaultdict[tuple[int, int], dict[str, None]] = defaultdict(dict)
    with path.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            pair = int(row["Input.class_index"]), int(row["Input.feature_index"])
            if row["Answer.reasons"]:
                words[pair][row["Answer.reasons"]] = None
    return {pair: list(sentences) for pair, sentences in words.items()}


def write_votes(
    path: Path,
    votes: Iterable[Vote],
    validations: Mapping[tuple[str, int], Validation] | None = None,
) -> None:
    """Write a votes file, as `read_votes` reads it; it appears whole or not at all.

    Parameters
    ----------
    path : Path
    votes : iterable of Vote
    validations : mapping of (str, int) to Validation, optional
        What a study found, by wnid and feature; pairs may lack.
    """
    if not validations:
        _write_rows(path, map(astuple, votes))
        return
    rows = (
        (*astuple(vote), *validations.get((vote.wnid, vote.feature), ("", ""))) for vote in votes
    )
    _write_rows(path, rows, (*COLUMNS, *VALIDATION_COLUMNS))


def write_template(path: Path, pairs: Iterable[tuple[str, int, int, int]]) -> None:
    """Write a votes file without answers, a row per worker and pair, for people to fill in.

    Parameters
    ----------
    path : Path
    pairs : iterable of (str, int, int, int)
        The wnid and label of a class, one of its features and that feature's rank.
    """
    workers = range(1, WORKERS + 1)
    _write_rows(path, ((worker, *pair, "", "", "") for pair in pairs for worker in workers))


def _write_rows(
    path: Path, rows: Iterable[tuple[object, ...]], columns: Sequence[str] = COLUMNS
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


_Validations = dict[tuple[str, int], Validation | None]


def _parse(path: Path, reader: csv.DictReader[str]) -> tuple[list[Vote], _Validations]:
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise BuildError(
            f"The votes file {path} lacks the column {missing[0]}: it needs {', '.join(COLUMNS)}."
        )
    lines = [(reader.line_num, row) for row in reader]
    _require_answers(path, lines)
    rows = []
    validations: _Validations = {}
    places: dict[tuple[str, str, int], str] = {}
    for line, row in lines:
        place = f"{path}:{line}"
        vote = _vote(place, row)
        first = places.setdefault((vote.worker, vote.wnid, vote.feature), place)
        if first != place and vote.worker:
            raise BuildError(
                f"{place} is a second vote of the worker {vote.worker} on class {vote.wnid}, "
                f"feature {vote.feature}, after {first}: keep one vote of each worker on a pair."
            )
        rows.append(vote)
        validation = _validation(place, row)
        if validations.setdefault((vote.wnid, vote.feature), validation) != validation:
            raise BuildError(
                f"{place} has another validation of class {vote.wnid}, feature {vote.feature} than "
                "the rows before: give all rows of a pair the same, as the study found it."
            )
    if not rows:
        raise BuildError(f"The votes file {path} has no votes: check --votes.")
    return rows, validations


def _require_answers(path: Path, lines: list[tuple[int, dict[str, str]]]) -> None:
    """See that a template is filled in: that says more than what is wrong with its first row."""
    for column, answer in _ANSWER_COLUMNS.items():
        # A row that ends early has None there, which is another mistake.
        missing = [line for line, row in lines if str(row[column]).strip() == ""]
        if missing:
            raise BuildError(
                f"{len(missing)} of the {len(lines)} rows of {path} have no {column}, the first in "
                f"line {missing[0]}: give each {answer}."
            )


def _vote(place: str, row: dict[str, str]) -> Vote:
    answer = row["Answer.main"]
    if answer not in ANSWERS:
        raise BuildError(
            f"{place} has the unknown answer {answer!r}: use one of {', '.join(ANSWERS)}."
        )
    return Vote(
        worker=row["WorkerId"],
        wnid=row["Input.wordnet_id"],
        label=_whole_number(place, row, "Input.class_index", least=0),
        feature=_whole_number(place, row, "Input.feature_index", least=0),
        rank=_whole_number(place, row, "Input.feature_rank", least=1),
        answer=answer,
        confidence=_confidence(place, row["Answer.confidence"]),
        reasons=row["Answer.reasons"],
    )


def _validation(place: str, row: dict[str, str]) -> Validation | None:
    """Return what a study found of the pair of a row, None where there was none."""
    validated, same = (row.get(column) or "" for column in VALIDATION_COLUMNS)
    if not validated and not same:
        return None
    kinds = {"True": True, "False": False}
    try:
        share = float(same)
    except ValueError:
        share = float("nan")
    if validated not in kinds or not 0 <= share <= 1:
        raise BuildError(
            f"{place} has {validated!r} and {same!r} in {' and '.join(VALIDATION_COLUMNS)}: use "
            "True or False, and a number from 0 to 1, or leave both empty."
        )
    return Validation(kinds[validated], share)


def _whole_number(place: str, row: dict[str, str], column: str, least: int) -> int:
    value = row[column]
    # More digits than an index can have would also be more than int() takes.
    if not (value or "").isdecimal() or len(value) > 9 or int(value) < least:
        raise BuildError(f"{place} has {value!r} in {column}: use a whole number from {least} up.")
    return int(value)


def _confidence(place: str, value: str) -> float:
    try:
        confidence = float(value)
    except (TypeError, ValueError):
        confidence = float("nan")
    if not 1 <= confidence <= 5:
        raise BuildError(f"{place} has {value!r} in Answer.confidence: use a number from 1 to 5.")
    return confidence


def _count(path: Path, rows: list[Vote], validations: _Validations, minimum: int) -> list[Pair]:
    groups: defaultdict[tuple[str, int], list[Vote]] = defaultdict(list)
    for row in rows:
        groups[row.wnid, row.feature].append(row)
    pairs = []
    for (wnid, feature), group in groups.items():
        labels, ranks = {row.label for row in group}, {row.rank for row in group}
        name = f"class {wnid}, feature {feature}"
        if len(labels) > 1 or len(ranks) > 1:
            raise BuildError(
                f"The votes on {name} in {path} contradict each other: they give it the class "
                f"indices {sorted(labels)} and the ranks {sorted(ranks)}; keep one of each."
            )
        if len(group) < minimum:
            raise BuildError(
                f"The pair {name} in {path} has {len(group)} vote(s): collect at least {minimum}, "
                "remove the pair, or give build another --min-votes."
            )
        answers = [row.answer for row in group]
        validation = validations[wnid, feature]
        pairs.append(
            Pair(
                label=group[0].label,
                wnid=wnid,
                feature=feature,
                rank=group[0].rank,
                main_object=answers.count("main_object"),
                separate_object=answers.count("separate_object"),
                background=answers.count("background"),
                confidence=sum(row.confidence for row in group) / len(group),
                validated=validation and validation.validated,
                same=validation and validation.same,
            )
        )
    return pairs


class Ranked(Protocol):
    """What has a class, and a rank in it: pairs with votes, and those without."""

    @property
    def label(self) -> int:
        """Of the class."""

    @property
    def wnid(self) -> str:
        """Of the class."""

    @property
    def rank(self) -> int:
        """1 is the most important feature of the class."""


def check_classes(path: Path, pairs: Iterable[Ranked]) -> None:
    """See that classes, labels and ranks of pairs fit together.

    Parameters
    ----------
    path : Path
    pairs : iterable of Ranked
        Sorted by label, then rank.

    Raises
    ------
    BuildError
        If they do not; the sentence names `path`, which they were read from.
    """
    wnids, labels = defaultdict(set), defaultdict(set)
    ranks = defaultdict(list)
    for pair in pairs:
        wnids[pair.label].add(pair.wnid)
        labels[pair.wnid].add(pair.label)
        ranks[pair.wnid].append(pair.rank)
    for label, names in wnids.items():
        if len(names) > 1:
            raise BuildError(
                f"Class index {label} has contradicting wnids in {path}: "
                f"{', '.join(sorted(names))}; give each wnid one class index of its own."
            )
    for wnid, indices in labels.items():
        if len(indices) > 1:
            raise BuildError(
                f"The wnid {wnid} has contradicting class indices in {path}: {sorted(indices)}; "
                "give each wnid one class index of its own."
            )
    expected = list(range(1, len(next(iter(ranks.values()))) + 1))
    for wnid, found in ranks.items():
        if found != expected:
            raise BuildError(
                f"Class {wnid} in {path} has features of ranks {found}, expected {expected}: "
                "every class needs the same number of features, ranked from 1."
            )
