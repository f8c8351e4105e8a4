"""What the stand-in of the Hub knows: repositories, commits, files, and who may do what."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Tree = dict[str, "Blob"]


@dataclass(frozen=True)
class Blob:
    """A file's content, and how git stores it.

    Attributes
    ----------
    sha256 : str
    size : int
    content : bytes or None
        None where it lies with the large files.
    """

    sha256: str
    size: int
    content: bytes | None

    @property
    def large(self) -> bool:
        return self.content is None

    @property
    def oid(self) -> str:
        """What git calls the file, or the pointer that stands for it."""
        content = self.content
        if content is None:
            version = "https://git-lfs.github.com/spec/v1"
            content = f"version {version}\noid sha256:{self.sha256}\nsize {self.size}\n".encode()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Repo:
    """A dataset repository: its commits, oldest first, and its tags."""

    name: str
    private: bool
    commits: list[tuple[str, Tree]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        attributes = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"
        sha256 = hashlib.sha256(attributes).hexdigest()
        self.add({".gitattributes": Blob(sha256, len(attributes), attributes)})

    def add(self, tree: Tree) -> str:
        """Commit a tree."""
        names = "".join(f"{path}{blob.oid}" for path, blob in sorted(tree.items()))
        oid = hashlib.sha1(f"{len(self.commits)}{names}".encode()).hexdigest()
        self.commits.append((oid, tree))
        return oid

    @property
    def head(self) -> str:
        return self.commits[-1][0]

    @property
    def tree(self) -> Tree:
        return self.commits[-1][1]

    def resolve(self, revision: str) -> tuple[str, Tree] | None:
        """Return the commit that a branch, tag or commit names."""
        oid = self.head if revision == "main" else self.tags.get(revision, revision)
        return next(((o, tree) for o, tree in self.commits if o == oid), None)


@dataclass(frozen=True)
class User:
    """Who a token stands for, and in which names it may write."""

    name: str
    writes: tuple[str, ...] = ()


class Store:
    """All that the stand-in keeps, and what it counts.

    Attributes
    ----------
    users : dict of str to User
        By token.
    repos : dict of str to Repo
    large : dict of str to bytes
        Large files, by SHA-256.
    chunked : set of str
        Large files that the client stored in chunks, by SHA-256.
    received : Counter of str
        Bytes received of each large file, whole or not.
    stored : Counter of str
        How many times each large file was received whole.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.users: dict[str, User] = {}
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}
        self.chunked: set[str] = set()
        self.received: Counter[str] = Counter()
        self.stored: Counter[str] = Counter()

    def has(self, sha256: str) -> bool:
        return sha256 in self.large

    def put(self, sha256: str, content: bytes) -> bool:
        """Keep a large file; tell whether its bytes are what its name says."""
        if hashlib.sha256(content).hexdigest() != sha256:
            return False
        self.large[sha256] = content
        self.stored[sha256] += 1
        return True

    def content(self, blob: Blob) -> bytes:
        return self.large[blob.sha256] if blob.content is None else blob.content

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """Return all files of a repository, but git's own."""
        found = self.repos[name].resolve(revision)
        assert found is not None
        return {p: self.content(b) for p, b in found[1].items() if p != ".gitattributes"}

    def commit(self, repo: Repo, operations: list[dict[str, Any]]) -> str | None:
        """Apply the lines of a commit; None where a large file was never uploaded."""
        tree = dict(repo.tree)
        for operation in operations:
            value = operation["value"]
            path = value["path"]
            if operation["key"] == "deletedFile":
                del tree[path]
            elif operation["key"] == "lfsFile":
                if not self.has(value["oid"]) and value["oid"] not in self.chunked:
                    return None
                tree[path] = Blob(value["oid"], value["size"], None)
            else:
                content = value["content"]
                tree[path] = Blob(hashlib.sha256(content).hexdigest(), len(content), content)
        return repo.add(tree)
