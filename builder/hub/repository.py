"""A dataset repository on the Hub: what it holds, and how it comes to hold something else."""

from __future__ import annotations

import hashlib
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, DatasetCard, HfApi
from huggingface_hub.errors import (
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import disable_progress_bars

from builder.errors import BuildError, first_line
from builder.reporter import Reporter

T = TypeVar("T")

TOKENS_PAGE = "https://huggingface.co/settings/tokens"

_KIND = "dataset"
_TRIES = 6
_LONGEST_WAIT = 300.0
_FILES_AT_ONCE = 8
_CONFLICTS = (409, 412)
_PASSING = (408, 425, 429, 500, 502, 503, 504, *_CONFLICTS)


@dataclass(frozen=True)
class Part:
    """A file to be published.

    Attributes
    ----------
    name : str
        Its path in the repository.
    source : Path or bytes or None
        Where its bytes are; None where they are only expected to be there already.
    size : int
        In bytes.
    sha256 : str
        In hexadecimal.
    """

    name: str
    source: Path | bytes | None
    size: int
    sha256: str

    @classmethod
    def of_bytes(cls, name: str, content: bytes) -> Part:
        """Return a part that is held in memory."""
        return cls(name, content, len(content), hashlib.sha256(content).hexdigest())

    def equals(self, there: RepoFile | None) -> bool:
        """Tell whether the repository's file of this name has the same bytes.

        The Hub knows large files by their SHA-256, and small ones by what git calls them.
        """
        if there is None or there.size != self.size:
            return False
        if there.lfs is not None:
            return bool(there.lfs.sha256 == self.sha256)
        return self.source is None or there.blob_id == _git_oid(self.read())

    def read(self) -> bytes:
        """Return the bytes of a small file."""
        return self.source.read_bytes() if isinstance(self.source, Path) else self.source or b""


def _git_oid(content: bytes) -> str:
    header = b"blob %d\0" % len(content)
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


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
    """

    def __init__(self, name: str, token: str | None) -> None:
        self.name = name
        self._token = token
        # False, since None would mean: look for a token on this machine.
        self._api = HfApi(token=token or False, library_name="salient-imagenet-1m")
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
            reporter.say(
                f"The Hub cannot be asked ({self._safe(error)}): files that it has are listed too."
            )
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
            raise BuildError(f"The Hub does not take the card: {self._safe(error)}.") from None

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
                group = additions[start : start + _FILES_AT_ONCE]
                self._api.preupload_lfs_files(self.name, group, repo_type=_KIND, free_memory=False)
                advance(len(group))
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
                reason, asked = self._reason(error)
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

    def _reason(self, error: Exception) -> tuple[str, float | None]:
        """Say what went wrong, and how long the Hub asks to wait, if it passes by itself."""
        for cause in _causes(error):
            if isinstance(cause, OfflineModeIsEnabled):
                raise BuildError("HF_HUB_OFFLINE forbids to ask the Hub: unset it.") from None
            if isinstance(cause, HfHubHTTPError):
                return self._answer(cause, error)
            if isinstance(cause, httpx2.HTTPError | ConnectionError | TimeoutError):
                return f"The connection to the Hub broke ({self._safe(cause)})", None
        if isinstance(error, RuntimeError):  # What the Hub's client makes of a failed upload
            return f"The upload broke off ({self._safe(error)})", None
        raise error

    def _answer(self, answer: HfHubHTTPError, error: Exception) -> tuple[str, float | None]:
        """Say what an answer of the Hub, or of the storage that it sends clients to, means."""
        status = answer.response.status_code
        if status in _CONFLICTS:
            return f"{self.name} was changed by somebody else meanwhile ({status})", 1.0
        is_storage = not str(answer.response.url).startswith(self._api.endpoint)
        if status not in _PASSING and not is_storage:
            raise BuildError(self._refusal(status, error)) from None
        asked = answer.response.headers.get("Retry-After", "")
        # The storage refuses an address that the Hub signed too long ago; it signs new ones.
        where = "The Hub's storage" if is_storage else "The Hub"
        return f"{where} has a problem ({status})", float(asked) if asked.isdigit() else None

    def _refusal(self, status: int, error: Exception) -> str:
        if status == 401:
            return (
                "The Hub does not accept the token (401), it may have expired: make one that may "
                f"write at {TOKENS_PAGE}, and run `hf auth login` or set HF_TOKEN."
            )
        if status == 403:
            return (
                f"The token may not write to {self.name} (403): use one of somebody who may, with "
                f"the permission to write; they are made at {TOKENS_PAGE}."
            )
        if status == 404:
            return (
                f"{self.name} was not found (404), though it should be there: see that it was not "
                "removed or renamed, and run the same command again."
            )
        return f"The Hub refuses ({status}): {self._safe(error)}."

    def _safe(self, error: BaseException) -> str:
        """Return what an exception says, without the token, whoever put it there."""
        said = getattr(error, "server_message", None) or error
        text = first_line(Exception(" ".join(str(said).split())))
        text = text.replace(self._token, "...") if self._token else text
        return text.rstrip(".")


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__


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
