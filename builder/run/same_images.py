"""Whether images are still those that finished shards were computed from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from builder.errors import BuildError
from builder.images.content import Content, digest_of
from builder.images.sources import FileStat, Images
from builder.reporter import Reporter
from builder.shards.job import Job
from builder.shards.shard import contents_in, shard_path
from builder.storage.retry import retry
from builder.threads import in_threads

_THREADS = 16
"""They wait for storage more than for a core."""


def require_same_images(
    job: Job, directory: Path, finished: Mapping[int, str], reporter: Reporter
) -> None:
    """See that the images of finished shards are those that these were computed from.

    By the size and time of each file; what differs in them is read and hashed. Where images have no
    files of their own, one of each shard is.

    Parameters
    ----------
    job : Job
    directory : Path
        The working directory of the split.
    finished : mapping of int to str
        The SHA-256 of the file of each finished shard; one that has another is run again anyway.
    reporter : Reporter

    Raises
    ------
    BuildError
        If an image is another; the sentence names it.
    """

    def find(shard: tuple[int, str]) -> str | None:
        return _another_image(job, shard[0], _contents(shard_path(directory, shard[0]), shard[1]))

    with reporter.track("comparing images", len(finished)) as advance:
        for name in in_threads(sorted(finished.items()), find, _THREADS):
            if name is not None:
                raise BuildError(
                    f"The image {name} is not the one that finished work was made from: put the "
                    f"images back as they were, or remove {directory} to begin anew."
                )
            advance(1)


def _contents(path: Path, sha256: str) -> dict[str, Content]:
    data = path.read_bytes() if path.exists() else b""
    return contents_in(data) if hashlib.sha256(data).hexdigest() == sha256 else {}


def _another_image(job: Job, shard: int, contents: Mapping[str, Content]) -> str | None:
    """Return the id of an image of a shard that is another now, if one is found."""
    members = job.plan.members(shard)
    ids = job.plan.ids.take(pa.array(members)).to_pylist()
    for name, member in zip(ids, members.tolist(), strict=True):
        if name not in contents:
            continue  # It was set aside.
        try:
            stat = job.images.stat(member)
            if _is_another(job.images, member, stat, contents[name]):
                return str(name)
        except (OSError, pa.ArrowException):
            continue  # Nobody knows.
        if stat.stamp is None:
            break
    return None


def _is_another(images: Images, member: int, stat: FileStat, content: Content) -> bool:
    if stat.stamp is not None and stat.stamp == content.stamp:
        return False
    if stat.size != content.size:
        return True
    return digest_of(retry(lambda: images.read(member))) != content.digest
