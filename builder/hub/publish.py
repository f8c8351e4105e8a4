"""From a directory that ``build`` wrote to a dataset repository on the Hub."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath

from huggingface_hub import get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

import salient_imagenet_1m
from builder.checks.verify import checks
from builder.dataset.dataset import DataSet
from builder.dataset.layout import CARD_FILE, IMAGES, MANIFEST_FILE
from builder.dataset.manifest import Manifest
from builder.dataset.subject import Subject
from builder.errors import BuildError
from builder.hub.answers import TOKENS_PAGE
from builder.hub.changes import Changes, find_changes, summary
from builder.hub.images import PrivateImages
from builder.hub.part import Part
from builder.hub.repository import Repository, State
from builder.pages.card import make_card, terms_of
from builder.reporter import Reporter
from builder.settings.publication import Publication
from builder.shards.stop import Interrupts
from builder.storage.files import disk_errors_as_sentences, exclusive

_SCRATCH = ".publish"
_COMMIT_BYTES = 2**31
_TAG = re.compile(r"[\w][\w.-]*")


def publish(
    publication: Publication, reporter: Reporter, interrupts: Interrupts | None = None
) -> str:
    """Bring a repository to hold a data set, whatever it holds, and tag it.

    All files become visible in one commit; images, which may be many, come before it, in as many
    as they need. Done again, it uploads only what the Hub does not have. Whoever passes
    `interrupts` may press Ctrl-C at any time: nothing becomes visible after that.

    Returns
    -------
    str
        The repository's page.

    Raises
    ------
    BuildError
        If the data set or the repository is not fit for it, or the Hub refuses.
    """
    manifest = _check(publication)
    token = _token()
    if not token:
        raise BuildError(
            f"There is no token for the Hub: make one that may write at {TOKENS_PAGE}, and run "
            "`hf auth login` or set HF_TOKEN."
        )
    if publication.images:
        reporter.say(terms_of(Subject.of(manifest)))
    with exclusive(publication.directory), disk_errors_as_sentences(publication.directory):
        _require_verified(publication, reporter)
        repository = Repository(publication.name, token, interrupts)
        return _publish(publication, manifest, repository, reporter)


def _publish(
    publication: Publication, manifest: Manifest, repository: Repository, reporter: Reporter
) -> str:
    state = repository.retry(lambda: _open(repository, publication, reporter), reporter)
    _require_free_tag(publication, state, state.head)
    parts = _parts(publication, manifest)
    card = next(part for part in parts if part.name == CARD_FILE).read().decode()
    repository.retry(lambda: repository.check_card(card), reporter)
    if publication.images:
        images = _publish_images(publication, manifest, repository, reporter)
        parts = _with_images(publication, parts, images, manifest)
    state = repository.retry(
        lambda: _bring_about(repository, publication, parts, reporter), reporter
    )
    return f"{repository.url} ({publication.tag or 'no tag'}, commit {state.head[:7]})"


def plan_publication(publication: Publication, reporter: Reporter) -> Changes:
    """Return what `publish` would do; which images would go, which takes long to see, is not in it.

    Without a token, or without the Hub, all that cannot be seen is taken for missing.
    """
    manifest = _check(publication)
    if publication.images:
        reporter.say(terms_of(Subject.of(manifest)))
        reporter.say("Images are not listed here: only who reads all of them knows which would go.")
    _require_verified(publication, reporter)
    repository = Repository(publication.name, _token())
    state = repository.look(reporter)
    parts = _parts(publication, manifest)
    if state is None:
        return Changes(parts, [], [], 0)
    _require_privacy(publication, state)
    changes = find_changes(repository, parts, state)
    if publication.images:
        gone = [name for name in changes.gone if not name.startswith(f"{IMAGES}/")]
        changes = replace(changes, gone=gone)
    _require_free_tag(publication, state, None if changes.new or changes.gone else state.head)
    return changes


def _token() -> str | None:
    """Return the user's token for the Hub, None without one; it is sent as part of a header."""
    try:
        token = get_token()
        is_sound = token is None or (token.isascii() and token.isprintable())
    except UnicodeDecodeError:
        is_sound = False
    if not is_sound:
        raise BuildError(
            "The token for the Hub has a character that no token has: run `hf auth login` again, "
            "or correct HF_TOKEN."
        )
    return token


def _check(publication: Publication) -> Manifest:
    """Refuse what can be refused without reading the data set or asking the Hub."""
    directory = publication.directory
    manifest = Manifest.of_finished(directory, "only a local directory can be published")
    _check_name(publication)
    if publication.tag is not None and not _TAG.fullmatch(publication.tag):
        raise BuildError(f"{publication.tag!r} is no tag: use letters, digits, '.', '_', '-'.")
    if publication.images and not publication.private:
        raise BuildError(
            "The images may not be passed on: --with-images works only with --private."
        )
    return manifest


def _check_name(publication: Publication) -> None:
    name = publication.name
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise BuildError(
            f"The Hub takes no repository name {name!r}: give ORG/NAME, each at most 96 letters, "
            "digits, '-', '_' and '.', without '--' and '..', and with no '-' or '.' at an end."
        ) from None
    if "/" not in name:
        raise BuildError(f"Whose is {name}? Give ORG/{name}, or your user name in place of ORG.")
    last = name.rpartition("/")[2]
    scripts = {path.stem for path in publication.directory.glob("*.py")}
    scripts.add(salient_imagenet_1m.__name__)
    if last in scripts or last.endswith(".py"):
        raise BuildError(
            f"`datasets` takes a data set {last} for one with a script {last.removesuffix('.py')}"
            f".py, which it does not run: give the repository a name with hyphens, such as "
            f"{name.removesuffix('.py').replace('_', '-')}."
        )


def _require_verified(publication: Publication, reporter: Reporter) -> None:
    failed = []
    with reporter.track(f"verifying {publication.directory}, checks") as advance:
        for check in checks(publication.directory, publication.images):
            advance(1)
            failed += [] if check.passed else [check]
    if failed:
        first = "; ".join(f"{check.name}: {check.problems[0]}" for check in failed[:3])
        more = f"; and {len(failed) - 3} more checks" if len(failed) > 3 else ""
        raise BuildError(
            f"{publication.directory} is not what it says it is ({first}{more}): see "
            f"salient-imagenet verify {publication.directory}, and build it again."
        )


def _open(repository: Repository, publication: Publication, reporter: Reporter) -> State:
    """Return what the repository holds; create it where there is none."""
    state = repository.state()
    if state is None:
        kind = "the private repository" if publication.private else "the repository"
        reporter.say(f"Creating {kind} {repository.url}")
        repository.create(private=publication.private)
        state = repository.state()
    if state is None:
        raise BuildError(
            f"{publication.name} cannot be seen with this token, though it exists: use a token "
            "that may read and write it."
        )
    _require_privacy(publication, state)
    return state


def _require_privacy(publication: Publication, state: State) -> None:
    if state.private:
        return
    if any(name.startswith(f"{IMAGES}/") for name in state.files):
        raise BuildError(
            f"{publication.name} is public and holds images, which may not be passed on: make it "
            "private in its settings. Before it may be public again, delete it, as its history "
            "keeps them."
        )
    if publication.private:
        or_else = "" if publication.images else ", or leave out --private"
        raise BuildError(
            f"{publication.name} exists already and is public: make it private in its settings, or "
            f"give another name{or_else}."
        )


def _require_free_tag(publication: Publication, state: State, head: str | None) -> None:
    """See that the tag names nothing but what is to be published."""
    tagged = state.tags.get(publication.tag or "")
    if tagged is not None and tagged != head:
        raise BuildError(
            f"The tag {publication.tag} of {publication.name} names another version (commit "
            f"{tagged[:7]}), which people may rely on: use a new --tag."
        )


def _parts(publication: Publication, manifest: Manifest) -> list[Part]:
    """Return the files of a data set, the card and the manifest last."""
    directory = publication.directory
    data = [
        Part(name, directory / name, entry["bytes"], entry["sha256"])
        for name, entry in sorted(manifest.files.items())
        if name != CARD_FILE
    ]
    return data + [
        Part.of_bytes(name, (directory / name).read_bytes()) for name in (CARD_FILE, MANIFEST_FILE)
    ]


def _bring_about(
    repository: Repository, publication: Publication, parts: list[Part], reporter: Reporter
) -> State:
    """Do what is left to do; done again after any mishap, it comes to the same."""
    state = _open(repository, publication, reporter)
    changes = find_changes(repository, parts, state)
    if changes.new or changes.gone:
        _require_free_tag(publication, state, None)
        reporter.say(summary(changes))
        message = f"Publish {publication.tag}" if publication.tag else "Publish"
        repository.commit(message, changes.new, changes.gone, state.head, reporter)
        state = _open(repository, publication, reporter)
        left = find_changes(repository, parts, state)
        if left.new or left.gone:
            raise BuildError(
                f"{publication.name} does not hold what was sent, such as "
                f"{[*left.gone, *(part.name for part in left.new)][0]}: it or "
                f"{publication.directory} was changed meanwhile; run the same command again."
            )
    else:
        reporter.say(f"Nothing to upload: {publication.name} holds these {changes.same} files.")
    if publication.tag:
        _require_free_tag(publication, state, state.head)
        if publication.tag not in state.tags:
            repository.tag(publication.tag, state.head)
    return state


def _publish_images(
    publication: Publication, manifest: Manifest, repository: Repository, reporter: Reporter
) -> list[Part]:
    """Upload the images, a few files at a time, since there may be no room for a copy of all."""
    published = []
    images = PrivateImages(publication.directory, manifest, publication.images or "")
    scratch = publication.directory / _SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)  # A killed run's
    scratch.mkdir()
    try:
        for group in _by_bytes(images.write(scratch, reporter)):
            repository.retry(
                partial(_add_images, repository, publication, group, reporter), reporter
            )
            for part in group:
                (scratch / PurePosixPath(part.name).name).unlink()
                published.append(replace(part, source=None))
    finally:
        shutil.rmtree(scratch)
    return published


def _by_bytes(parts: Iterator[Part]) -> Iterator[list[Part]]:
    group: list[Part] = []
    for part in parts:
        group.append(part)
        if sum(member.size for member in group) >= _COMMIT_BYTES:
            yield group
            group = []
    if group:
        yield group


def _add_images(
    repository: Repository, publication: Publication, group: list[Part], reporter: Reporter
) -> None:
    state = _open(repository, publication, reporter)
    new = [part for part in group if not part.equals(state.files.get(part.name))]
    if new:
        repository.commit("Add images", new, [], state.head, reporter)


def _with_images(
    publication: Publication, parts: list[Part], images: list[Part], manifest: Manifest
) -> list[Part]:
    """Return all files of a private repository, with a card and a manifest that know the images."""
    data = [part for part in parts if part.name not in (CARD_FILE, MANIFEST_FILE)]
    full = replace(manifest, files=manifest.files | _as_listed(images))
    card = Part.of_bytes(CARD_FILE, make_card(DataSet(full, publication.directory)).encode())
    full.files |= _as_listed([card])
    return [*data, *images, card, Part.of_bytes(MANIFEST_FILE, full.as_bytes())]


def _as_listed(parts: list[Part]) -> dict[str, dict[str, str | int]]:
    """Return the entries of files in a manifest."""
    return {part.name: {"bytes": part.size, "sha256": part.sha256} for part in parts}
