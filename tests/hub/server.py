"""A small stand-in of the Hub: the part of its API that its client and `datasets` need, on HTTP.

It keeps everything in memory, counts the bytes that it receives, and can be told to fail.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub.store import Blob, Repo, Store

PAGE = 7
"""Entries of a page of a tree: few, so that there are many pages."""

_NAME = r"(?P<name>[\w.-]+/[\w.-]+)"
_API = rf"/api/datasets/{_NAME}"


@dataclass
class Fault:
    """A mishap that befalls the next requests of a kind.

    Attributes
    ----------
    method : str
    path : str
        A regular expression that is searched in the path.
    status : int or None
        To answer with. 0 closes the connection: in the middle of the body where there is one.
        None is no mishap: only `then` happens.
    headers : dict of str to str
        Of that answer.
    times : int
        How many requests it befalls.
    skip : int
        How many it lets through before.
    after : bool
        Whether the request is carried out before the connection is closed.
    then : callable, optional
        What else happens.
    """

    method: str
    path: str
    status: int | None = 0
    headers: dict[str, str] | None = None
    times: int = 1
    skip: int = 0
    after: bool = False
    then: Callable[[], None] | None = None

    def strikes(self, method: str, path: str) -> bool:
        if self.times < 1 or method != self.method or not re.search(self.path, path):
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


class Hub(Store):
    """The stand-in.

    Attributes
    ----------
    url : str
        To be given to clients as HF_ENDPOINT.
    storage : str
        Where large files lie: another host, as clients take care not to send the token there.
    faults : list of Fault
    requests : list of str
        ``METHOD path STATUS`` of each.
    complaint : str
        What it has against any card.
    leaked : bool
        Whether a token was sent to the storage.
    multipart : int
        Files of more bytes are asked for in parts of that many.
    chunks : Path or None
        Where the client is to put chunks of large files, if it is to put chunks.
    """

    def __init__(self) -> None:
        super().__init__()
        self.url = self.storage = ""
        self.faults: list[Fault] = []
        self.requests: list[str] = []
        self.complaint = ""
        self.leaked = False
        self.multipart = 1 << 30
        self.chunks: Path | None = None
        self.partial: dict[str, dict[int, bytes]] = {}

    def fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            return next((fault for fault in self.faults if fault.strikes(method, path)), None)


@contextmanager
def running() -> Iterator[Hub]:
    """Run a stand-in while the block lasts."""
    hub = Hub()
    handler = type("BoundHandler", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    hub.storage = hub.url.replace("127.0.0.1", "localhost")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    """Answers one request after another on a connection."""

    hub: ClassVar[Hub]
    protocol_version = "HTTP/1.1"
    timeout = 20
    wbufsize = 1 << 16
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Say nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._handle
        raise AttributeError(name)

    def _handle(self) -> None:
        self.truncate = False
        parts = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        path = unquote(parts.path)
        fault = self.hub.fault(self.command, path)
        if fault is not None:
            if fault.then is not None:
                fault.then()
            if fault.status:
                self._body()
                self._json({"error": "planted"}, fault.status, fault.headers or {})
                return
            self.truncate = fault.status is not None
            if self.truncate and not fault.after and self.command not in ("GET", "HEAD"):
                self._receive_half(path)
                return
        self._route(path)
        if self.truncate:
            self.close_connection = True

    def _receive_half(self, path: str) -> None:
        """Take half of what comes, then close the connection."""
        half = self.rfile.read(int(self.headers.get("Content-Length", 0)) // 2)
        self.hub.requests.append(f"{self.command} {path} dropped")
        if self.command == "PUT":
            self.hub.received[path.split("/")[2]] += len(half)
        self.close_connection = True
        self.connection.close()

    def _route(self, path: str) -> None:
        for method, pattern, action in ROUTES:
            match = re.fullmatch(pattern, path)
            if match and self.command in method.split():
                with self.hub.lock:
                    action(self, **match.groupdict())
                return
        self._body()
        self._json({"error": f"the stand-in does not know {self.command} {path}"}, 404, {})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            return b"".join(iter(self._chunk, b""))
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline(), 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    # Answers

    def _json(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(content).encode()
        self._send(data, status, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, data: bytes, status: int, headers: dict[str, str]) -> None:
        self.hub.requests.append(f"{self.command} {self.path} {status}")
        if self.truncate and self.command != "GET":
            self.connection.close()
            return
        self.send_response(status)
        for key, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if self.truncate else data)
            self.wfile.flush()

    def _error(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": message}
        self._json({"error": message}, status, headers)

    # Who asks, and for what

    def _token(self) -> str | None:
        return self.headers.get("Authorization", "").removeprefix("Bearer ") or None

    def _repo(self, name: str, *, write: bool = False) -> Repo | None:
        """Return the repository if there is one and the token gives access, else answer."""
        token = self._token()
        user = self.hub.users.get(token or "")
        member = user is not None and name.split("/", 1)[0] in user.writes
        repo = self.hub.repos.get(name)
        if token and user is None:
            self._error(401, "", "Invalid credentials in Authorization header")
        elif repo is None or (repo.private and not member):
            self._error(404 if user else 401, "RepoNotFound", "Repository not found")
        elif write and not member:
            self._error(403, "", "You don't have the rights to write to this repository")
        else:
            return repo
        return None

    def _commit(self, name: str, revision: str) -> tuple[Repo, str, dict[str, Blob]] | None:
        repo = self._repo(name)
        if repo is None:
            return None
        found = repo.resolve(revision)
        if found is None:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return repo, *found

    # Routes

    def whoami(self) -> None:
        user = self.hub.users.get(self._token() or "")
        if user is None:
            self._error(401, "", "Invalid credentials in Authorization header")
        else:
            self._json({"type": "user", "name": user.name})

    def create(self) -> None:
        wanted = json.loads(self._body())
        user = self.hub.users.get(self._token() or "")
        owner = wanted["organization"] or (user.name if user else "")
        name = f"{owner}/{wanted['name']}"
        if user is None:
            self._error(401, "", "Invalid credentials in Authorization header")
        elif owner not in user.writes:
            self._error(403, "", f"You don't have the rights to create under {owner}")
        elif name in self.hub.repos:
            self._json({"error": "You already created this dataset repo"}, 409)
        else:
            self.hub.repos[name] = Repo(name, wanted.get("visibility") == "private")
            self._json({"url": f"{self.hub.url}/datasets/{name}", "name": name})

    def validate(self) -> None:
        self._body()
        errors = [{"message": self.hub.complaint}] if self.hub.complaint else []
        self._json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def info(self, name: str, revision: str = "main") -> None:
        if (found := self._commit(name, revision)) is not None:
            repo, oid, tree = found
            siblings = [{"rfilename": path} for path in sorted(tree)]
            self._json(
                {
                    "_id": "0",
                    "id": name,
                    "sha": oid,
                    "private": repo.private,
                    "gated": False,
                    "disabled": False,
                    "tags": [],
                    "downloads": 0,
                    "likes": 0,
                    "lastModified": "2026-01-01T00:00:00.000Z",
                    "createdAt": "2026-01-01T00:00:00.000Z",
                    "siblings": siblings,
                }
            )

    def tree(self, name: str, revision: str, path: str | None = None) -> None:
        if (found := self._commit(name, revision)) is None:
            return
        entries = _entries(found[2], path or "", self.query.get("recursive", "").lower() == "true")
        if path and not entries:
            self._error(404, "EntryNotFound", f"{path} does not exist on {revision}")
            return
        start = int(self.query.get("cursor", 0))
        headers = {}
        if start + PAGE < len(entries):
            query = f"recursive={self.query.get('recursive', '')}&cursor={start + PAGE}"
            address = f"{self.hub.url}{urlsplit(self.path).path}?{query}"
            headers["Link"] = f'<{address}>; rel="next"'
        self._json(entries[start : start + PAGE], 200, headers)

    def paths(self, name: str, revision: str) -> None:
        body = self._body()
        if "json" in self.headers.get("Content-Type", ""):
            wanted = json.loads(body)["paths"]
        else:
            wanted = parse_qs(body.decode())["paths"]
        if (found := self._commit(name, revision)) is not None:
            entries = {entry["path"]: entry for entry in _entries(found[2], "", recursive=True)}
            self._json([entries[path] for path in wanted if path in entries])

    def refs(self, name: str) -> None:
        if (repo := self._repo(name)) is not None:
            main = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head}
            tags = [
                {"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": oid}
                for tag, oid in repo.tags.items()
            ]
            self._json({"branches": [main], "converts": [], "tags": tags})

    def tag(self, name: str, revision: str) -> None:
        tag = json.loads(self._body())["tag"]
        if (repo := self._repo(name, write=True)) is None:
            return
        found = repo.resolve(revision)
        if found is None:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif tag in repo.tags:
            self._json({"error": "Tag reference exists already"}, 409)
        else:
            repo.tags[tag] = found[0]
            self._json({})

    def preupload(self, name: str, revision: str) -> None:
        wanted = json.loads(self._body())["files"]
        if (repo := self._repo(name, write=True)) is None:
            return
        files = []
        for file in wanted:
            large = file["path"].endswith(".parquet") or file["size"] > 10 * 2**20
            there = repo.tree.get(file["path"])
            oid = None if there is None else there.sha256 if there.large else there.oid
            files.append(
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if large else "regular",
                    "shouldIgnore": False,
                    "oid": oid,
                }
            )
        self._json({"files": files})

    def batch(self, name: str) -> None:
        wanted = json.loads(self._body())["objects"]
        if self._repo(name, write=True) is None:
            return
        objects = []
        for item in wanted:
            answer = {"oid": item["oid"], "size": item["size"]}
            if not self.hub.has(item["oid"]):
                answer["actions"] = {"upload": self._upload(item["oid"], item["size"])}
            objects.append(answer)
        self._json({"transfer": "basic", "objects": objects})

    def _upload(self, oid: str, size: int) -> dict[str, Any]:
        address = f"{self.hub.storage}/upload/{oid}"
        limit = self.hub.multipart
        if size <= limit:
            return {"href": address, "header": {}}
        parts = {str(n + 1): f"{address}/{n + 1}" for n in range(-(-size // limit))}
        return {"href": f"{address}/done", "header": {"chunk_size": str(limit), **parts}}

    def put(self, oid: str, part: str | None = None) -> None:
        self.hub.leaked |= self._token() is not None
        data = self._body()
        self.hub.received[oid] += len(data)
        if part is not None:
            self.hub.partial.setdefault(oid, {})[int(part)] = data
            self._send(b"", 200, {"ETag": f'"{hashlib.md5(data).hexdigest()}"'})
        else:
            self._keep(oid, data)

    def done(self, oid: str) -> None:
        parts = json.loads(self._body())["parts"]
        received = self.hub.partial.pop(oid)
        self._keep(oid, b"".join(received[part["partNumber"]] for part in parts))

    def _keep(self, oid: str, data: bytes) -> None:
        if self.hub.put(oid, data):
            self._json({})
        else:
            self._json({"error": "these bytes have another hash"}, 400)

    def commit(self, name: str, revision: str) -> None:
        lines = [json.loads(line) for line in self._body().splitlines()]
        if (repo := self._repo(name, write=True)) is None:
            return
        header, operations = lines[0]["value"], lines[1:]
        if header.get("parentCommit", repo.head) != repo.head:
            self._error(412, "", "A commit has happened since. Please refresh and try again.")
            return
        for line in operations:
            if line["key"] == "file":
                line["value"]["content"] = base64.b64decode(line["value"]["content"])
        if self.hub.chunks is not None:
            self.hub.chunked |= {o["value"]["oid"] for o in operations if o["key"] == "lfsFile"}
        oid = self.hub.commit(repo, operations)
        if oid is None:
            self._error(400, "", "A large file of the commit was not uploaded")
        else:
            url = f"{self.hub.url}/datasets/{name}/commit/{oid}"
            self._json({"success": True, "commitOid": oid, "commitUrl": url, "hookOutput": ""})

    def xet(self, name: str, revision: str) -> None:
        if self._repo(name, write=True) is not None:
            # The client's own store in a directory, where it would else talk to another server.
            expires = int(time.time()) + 3600
            address = f"local://{self.hub.chunks}"
            self._json({"accessToken": "chunks", "exp": expires, "casUrl": address})

    def resolve(self, name: str, revision: str, path: str) -> None:
        if (found := self._commit(name, revision)) is None:
            return
        _, oid, tree = found
        blob = tree.get(path)
        headers = {"X-Repo-Commit": oid}
        if blob is None:
            self._error(404, "EntryNotFound", "Entry not found")
        elif blob.large:
            headers |= {
                "Location": f"{self.hub.storage}/content/{blob.sha256}",
                "X-Linked-Size": str(blob.size),
                "X-Linked-ETag": f'"{blob.sha256}"',
            }
            self._send(b"", 302, headers)
        else:
            self._content(self.hub.content(blob), {**headers, "ETag": f'"{blob.oid}"'})

    def content(self, oid: str) -> None:
        self.hub.leaked |= self._token() is not None
        self._content(self.hub.large[oid], {"ETag": f'"{oid}"'})

    def _content(self, data: bytes, headers: dict[str, str]) -> None:
        headers["Accept-Ranges"] = "bytes"
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self._send(data, 200, headers)
            return
        start, stop = int(wanted[1]), min(int(wanted[2] or len(data)) + 1, len(data))
        if start >= len(data):
            self._send(b"", 416, {"Content-Range": f"bytes */{len(data)}"})
            return
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        self._send(data[start:stop], 206, headers)


ROUTES: list[tuple[str, str, Callable[..., None]]] = [
    ("GET", r"/api/whoami-v2", Handler.whoami),
    ("POST", r"/api/repos/create", Handler.create),
    ("POST", r"/api/validate-yaml", Handler.validate),
    ("GET", _API, Handler.info),
    ("GET", rf"{_API}/revision/(?P<revision>[^/]+)", Handler.info),
    ("GET", rf"{_API}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?", Handler.tree),
    ("POST", rf"{_API}/paths-info/(?P<revision>[^/]+)", Handler.paths),
    ("GET", rf"{_API}/refs", Handler.refs),
    ("POST", rf"{_API}/tag/(?P<revision>[^/]+)", Handler.tag),
    ("POST", rf"{_API}/preupload/(?P<revision>[^/]+)", Handler.preupload),
    ("POST", rf"{_API}/commit/(?P<revision>[^/]+)", Handler.commit),
    ("GET", rf"{_API}/xet-(?:read|write)-token/(?P<revision>[^/]+)", Handler.xet),
    ("POST", rf"/datasets/{_NAME}\.git/info/lfs/objects/batch", Handler.batch),
    ("PUT", r"/upload/(?P<oid>\w{64})(?:/(?P<part>\d+))?", Handler.put),
    ("POST", r"/upload/(?P<oid>\w{64})/done", Handler.done),
    ("GET HEAD", rf"/datasets/{_NAME}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", Handler.resolve),
    ("GET HEAD", r"/content/(?P<oid>\w{64})", Handler.content),
]


def _entries(tree: dict[str, Blob], folder: str, recursive: bool) -> list[dict[str, Any]]:
    """Return what a folder holds, as the Hub lists it."""
    prefix = f"{folder}/" if folder else ""
    folders: set[str] = set()
    entries: list[dict[str, Any]] = []
    for path, blob in sorted(tree.items()):
        if not path.startswith(prefix):
            continue
        inner = path[len(prefix) :].split("/")
        above = {prefix + "/".join(inner[:depth]) for depth in range(1, len(inner))}
        folders |= above if recursive else set(sorted(above)[:1])
        if recursive or not above:
            entry: dict[str, Any] = {
                "type": "file",
                "path": path,
                "size": blob.size,
                "oid": blob.oid,
            }
            if blob.large:
                entry["lfs"] = {"oid": blob.sha256, "size": blob.size, "pointerSize": 134}
            entries.append(entry)
    directories = [
        {"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in folders
    ]
    return sorted([*directories, *entries], key=lambda entry: str(entry["path"]))
