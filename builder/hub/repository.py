"""A dataset repository on the Hub: what it holds, and how it comes to hold something else."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, DatasetCard, HfApi
from huggingface_hub.errors import (
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import disable_progress_bars

from builder.errors import BuildError
from builder.hub.answers import Answers
from builder.hub.part import Part
from builder.reporter import Reporter
from builder.shards.stop import Interrupts

T = TypeVar("T")

_KIND = "dataset"
_TRIES = 6
_LONGEST_WAIT = 300.0
_FILES_AT_ONCE = 8


@dataclass(frozen=True)
class State:
    """What a repository holds.

    Attributes
    ----------
    head : str
        Its newest commit.
    private : bool
    files : dict of str to RepoFile
    tags : dict of str to str
        The commit of each tag.
    """

    head: str
    private: bool
    files: dict[str, RepoFile] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class Repository:
    """A dataset repository, and the calls to the Hub that a publication needs.

    Parameters
    ----------
    name : str
        ``ORG/NAME``.
    token : str or None
        Without one, only what everybody may see is seen.
    interrupts : Interrupts, optional
        Looked at before each part of an upload, and before all becomes visible.
    """

    def __init__(self, name: str, token: str | None, interrupts: Interrupts | None = None) -> None:
        self.name = name
        self._interrupts = interrupts or Interrupts()
        self._token = token
        # False, since None would mean: look for a token on this machine.
        self._api = HfApi(token=token or False, library_name="salient-imagenet-1m")
        self._answers = Answers(name, self._api.endpoint, token)
        self.url = f"{self._api.endpoint}/datasets/{name}"

    def state(self) -> State | None:
        """Return what the repository holds, or None where there is none that the token shows."""
        try:
            info = self._api.repo_info(self.name, repo_type=_KIND)
        except RepositoryNotFoundError as error:
            if self._token and error.response.status_code == 401:
                raise
            return None
        head = str(info.sha)
        entries = self._api.list_repo_tree(
            self.name, repo_type=_KIND, revision=head, recursive=True
        )
        files = {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
        refs = self._api.list_repo_refs(self.name, repo_type=_KIND)
        tags = {tag.name: tag.target_commit for tag in refs.tags}
        return State(head, bool(info.private), files, tags)

    def look(self, reporter: Reporter) -> State | None:
        """Return what can be seen of the repository, if anything; ask once, and never fail."""
        try:
            state = self.state()
        except (httpx2.HTTPError, OSError) as error:
            why = self._answers.safe(error)
            reporter.say(f"The Hub cannot be asked ({why}): files that it has are listed too.")
            return None
        if state is None:
            unseen = "" if self._token else ", or it is private, which is not seen without a token"
            reporter.say(f"There is no repository {self.name} yet{unseen}.")
        return state

    def create(self, *, private: bool) -> None:
        """Create it, empty; an organisation may make it private by itself."""
        self._api.create_repo(self.name, repo_type=_KIND, private=private or None, exist_ok=True)

    def check_card(self, card: str) -> None:
        """Ask whether the Hub takes the card, before hours are spent on uploading its data."""
        try:
            DatasetCard(card).validate(repo_type=_KIND)
        except ValueError as error:
            why = self._answers.safe(error)
            raise BuildError(f"The Hub does not take the card: {why}.") from None

    def read(self, path: str, revision: str) -> bytes | None:
        """Return a small file's bytes, or None where there is no such file."""
        with tempfile.TemporaryDirectory() as cache:
            try:
                found = self._api.hf_hub_download(
                    self.name, path, repo_type=_KIND, revision=revision, cache_dir=cache
                )
            except (RemoteEntryNotFoundError, RevisionNotFoundError):
                return None
            return Path(found).read_bytes()

    def commit(
        self,
        message: str,
        parts: Sequence[Part],
        gone: Sequence[str],
        parent: str,
        reporter: Reporter,
    ) -> None:
        """Upload files, then make them visible, and others vanish, all in one commit.

        The bytes go first, a few files at a time, and stay with the Hub if this is broken off: it
        does not ask for them again. So a reader sees the old data set or the new one, and never a
        card without its data. `HfApi.upload_folder` would do with one commit as well, up to some
        250 files; above, or where a commit fails, it divides the files by their names, and
        README.md comes before the data.
        """
        additions = [
            CommitOperationAdd(part.name, part.source) for part in parts if part.source is not None
        ]
        with reporter.track("uploading files", total=len(additions)) as advance:
            for start in range(0, len(additions), _FILES_AT_ONCE):
                self._interrupts.check()
                group = additions[start : start + _FILES_AT_ONCE]
                with _ends_its_threads():
                    self._api.preupload_lfs_files(
                        self.name, group, repo_type=_KIND, free_memory=False
                    )
                advance(len(group))
        self._interrupts.check()
        self._api.create_commit(
            self.name,
            [*(CommitOperationDelete(path) for path in gone), *additions],
            commit_message=message,
            repo_type=_KIND,
            parent_commit=parent,
        )

    def tag(self, tag: str, commit: str) -> None:
        """Give a commit a name."""
        self._api.create_tag(self.name, tag=tag, revision=commit, repo_type=_KIND)

    def retry(self, work: Callable[[], T], reporter: Reporter) -> T:
        """Do something that can be done again, until the Hub lets it be done.

        The client itself tries again while bytes go up, but not to look, commit or tag; and after a
        conflict, or an answer that was lost, what to commit has to be found out anew.

        Raises
        ------
        BuildError
            If the Hub refuses, or if it does not answer as it should, time and again.
        """
        wait = 1.0
        for tries_left in reversed(range(_TRIES)):
            try:
                with _hints_of_the_client(reporter):
                    return work()
            except Exception as error:
                reason, asked = self._answers.reason_to_wait(error)
                if not tries_left:
                    raise BuildError(
                        f"{reason}, {_TRIES} times: what was uploaded is kept, run the same "
                        "command again later."
                    ) from None
                pause = wait if asked is None else min(asked, _LONGEST_WAIT)
                reporter.say(f"{reason}: trying again in {pause:.0f} s.")
                time.sleep(pause)
                wait *= 2
        raise AssertionError("unreachable")


@contextmanager
def _ends_its_threads() -> Iterator[None]:
    """Leave the block only once the threads have ended that the Hub's client began in it.

    They go on with their file when Ctrl-C, pressed again, ends what waits for them.
    """
    others = set(threading.enumerate())
    try:
        yield
    finally:
        for thread in set(threading.enumerate()) - others:
            while thread.is_alive() and not thread.daemon:
                with suppress(KeyboardInterrupt):  # `Interrupts` remembers it.
                    thread.join()


class _Hints(logging.Handler):
    def __init__(self, reporter: Reporter) -> None:
        super().__init__(logging.WARNING)
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith(("Retrying in", "Rate limited")):
            self._reporter.say(f"The Hub's client: {text[0].lower()}{text[1:]}")


@contextmanager
def _hints_of_the_client(reporter: Reporter) -> Iterator[None]:
    """Pass on when the Hub's client waits, not the addresses that it logs: some are signed."""
    logger = logging.getLogger("huggingface_hub")
    handlers, propagate = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [_Hints(reporter)], False
    try:
        with disable_progress_bars():
            yield
    finally:
        logger.handlers, logger.propagate = handlers, propagate
