"""A file that is to be on the Hub."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils.sha import git_hash


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

        The Hub knows large files by their SHA-256, and small ones by what git calls them. The
        client leaves out such files as well, but only after it has hashed all, images too, again.
        """
        if there is None or there.size != self.size:
            return False
        if there.lfs is not None:
            return bool(there.lfs.sha256 == self.sha256)
        return self.source is None or there.blob_id == git_hash(self.read())

    def read(self) -> bytes:
        """Return the bytes of a small file."""
        return self.source.read_bytes() if isinstance(self.source, Path) else self.source or b""
