"""A stand-in of the hub's HTTP interface on loopback: what `huggingface_hub` asks it for.

Repositories with branches and commits, private ones, tokens, LFS; in memory.
"""

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml

Files = dict[str, bytes]


def use_cache(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Give the hub's library another cache; its oldest versions have the name in three places."""
    for name in ("constants", "_snapshot_download", "file_download"):
        module = import_module(f"huggingface_hub.{name}")
        monkeypatch.setattr(module, "HF_HUB_CACHE", str(folder), raising=False)


@dataclass
class Repository:
    """Its commits by their hash, its branches, its messages."""

    private: bool
    commits: dict[str, Files]
    branches: dict[str, str]
    messages: list[tuple[str, str]] = field(default_factory=list)

    def files(self, revision: str = "main") -> Files | None:
        """What is there at a branch or a commit; None where there is no such one."""
        return self.commits.get(self.branches.get(revision, revision))


class Refused(Exception):
    """An answer that is an error: status, the hub's code for it, words."""


@dataclass
class LocalHub:
    """The hub's state: who may do what, and what was asked."""

    users: dict[str, str]  # token -> name
    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    stored: Files = field(default_factory=dict)  # LFS, by SHA-256
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, token
    broken: Callable[[str, str], str | int | None] = lambda method, path: None

    def sees(self, name: str, token: str | None) -> Repository:
        """Find a repository that a token may read."""
        user, there = self.users.get(token or ""), self.repositories.get(name)
        if token is not None and user is None:
            raise Refused(401, "", "Invalid credentials in Authorization header")
        if there is None or (there.private and user != name.split("/")[0]):
            raise Refused(404 if user else 401, "RepoNotFound", "Repository not found")
        return there

    def writes(self, owner: str, token: str | None) -> None:
        """Refuse who is not the owner."""
        if self.users.get(token or "") is None:
            raise Refused(401, "", "Invalid username or password.")
        if self.users[token or ""] != owner:
            raise Refused(403, "", f"You don't have the rights under the namespace {owner!r}")

    def answer(self, method: str, path: str, token: str | None, body: bytes) -> Any:
        """Give what an address answers: an object, or a file's bytes."""
        url = urlsplit(path)
        parts = [unquote(one) for one in url.path.strip("/").split("/")]
        said = json.loads(body) if body and method == "POST" and "commit" not in parts else {}
        if parts[:2] == ["api", "validate-yaml"]:
            return self.check_card(said["content"])
        if parts[:3] == ["api", "repos", "create"]:
            return self.create(said, token)
        if parts[:1] == ["lfs"]:
            if hashlib.sha256(body).hexdigest() != parts[1]:
                raise Refused(400, "", "the content is not what was announced")
            self.stored[parts[1]] = body
            return {}
        if parts[2:5] == ["info", "lfs", "objects"]:
            owner = parts[0]
            self.writes(owner, token)
            return self.batch(said)
        if parts[2:3] == ["resolve"]:
            return self.file("/".join(parts[:2]), parts[3], "/".join(parts[4:]), token)
        if parts[:2] == ["api", "models"]:
            name, what, rest = "/".join(parts[2:4]), parts[4:5], "/".join(parts[5:])
            there = self.sees(name, token)
            if what in ([], ["revision"]):
                return self.info(name, there, rest or "main")
            if what == ["tree"]:
                return self.tree(there, parts[5], "/".join(parts[6:]))
            self.writes(parts[2], token)
            if what == ["branch"]:
                if rest in there.branches:
                    raise Refused(409, "", "Reference already exists")
                there.branches[rest] = there.branches["main"]
                return {}
            if what == ["preupload"]:
                return self.preupload(there, rest, said)
            if what == ["commit"]:
                return self.commit(name, there, rest, body, "create_pr" in parse_qs(url.query))
        raise Refused(404, "", f"this stand-in has no {method} {path}")

    def check_card(self, content: str) -> Any:
        found = re.match(r"---\n(.*?)\n---\n", content, re.DOTALL)
        fields = yaml.safe_load(found[1]) if found else {}
        if not isinstance(fields, dict) or not fields.get("license"):
            return {"errors": [], "warnings": [{"message": "empty or missing yaml metadata"}]}
        return {"errors": [], "warnings": []}

    def create(self, said: dict[str, Any], token: str | None) -> Any:
        owner = said.get("organization") or self.users.get(token or "", "")
        self.writes(owner, token)
        name = f"{owner}/{said['name']}"
        if name in self.repositories:
            answer = {"url": f"{self.url}/{name}", "error": "You already created this model repo"}
            raise Refused(409, "", "You already created this model repo", answer)
        private = said.get("private") or said.get("visibility") == "private"
        files = {".gitattributes": b"*.safetensors filter=lfs\n"}
        first = hashlib.sha1(name.encode()).hexdigest()
        self.repositories[name] = Repository(bool(private), {first: files}, {"main": first})
        return {"url": f"{self.url}/{name}", "name": name, "id": "0"}

    def info(self, name: str, there: Repository, revision: str) -> Any:
        files = there.files(revision)
        if files is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return {
            "id": name,
            "modelId": name,
            "sha": there.branches.get(revision, revision),
            "private": there.private,
            "tags": [],
            "siblings": [{"rfilename": one} for one in files],
        }

    def tree(self, there: Repository, revision: str, folder: str) -> Any:
        files = there.files(revision)
        if files is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        listed = {path: x for path, x in files.items() if f"/{path}".startswith(f"/{folder}")}
        if not listed:
            raise Refused(404, "EntryNotFound", f"{folder} does not exist on {revision!r}")
        return [
            {"type": "file", "path": path, "size": len(content), **described(path, content)}
            for path, content in listed.items()
        ]

    def preupload(self, there: Repository, revision: str, said: dict[str, Any]) -> Any:
        if there.files(revision) is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return {
            "files": [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if is_large(one["path"]) else "regular",
                    "shouldIgnore": False,
                }
                for one in said["files"]
            ]
        }

    def batch(self, said: dict[str, Any]) -> Any:
        objects = [
            one
            if one["oid"] in self.stored
            else {**one, "actions": {"upload": {"href": f"{self.url}/lfs/{one['oid']}"}}}
            for one in said["objects"]
        ]
        return {"transfer": "basic", "objects": objects}

    def commit(self, name: str, there: Repository, revision: str, body: bytes, pull: bool) -> Any:
        files = there.files(revision)
        if files is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        new = dict(files)
        for line in body.splitlines():
            key, value = (part := json.loads(line))["key"], part["value"]
            if key == "header":
                there.messages.append((value["summary"], value["description"]))
            elif key == "file":
                new[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                new[value["path"]] = self.stored[value["oid"]]
            elif key == "deletedFile":
                del new[value["path"]]
        sha = hashlib.sha1(body).hexdigest()
        there.commits[sha] = new
        there.branches["refs/pr/1" if pull else revision] = sha
        return {
            "success": True,
            "commitUrl": f"{self.url}/{name}/commit/{sha}",
            "commitOid": sha,
            "pullRequestUrl": f"{self.url}/{name}/discussions/1",
        }

    def file(self, name: str, revision: str, path: str, token: str | None) -> Any:
        there = self.sees(name, token)
        files = there.files(revision)
        if files is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        if path not in files:
            raise Refused(404, "EntryNotFound", "Entry not found")
        sha = there.branches.get(revision, revision)
        digest = hashlib.sha256(files[path]).hexdigest()
        return files[path], {"X-Repo-Commit": sha, "ETag": f'"{digest}"'}


def is_large(path: str) -> bool:
    """Whether a file goes by LFS."""
    return path.endswith((".safetensors", ".onnx"))


def described(path: str, content: bytes) -> dict[str, Any]:
    """Give a file's hashes, as a listing has them."""
    digest = hashlib.sha256(content).hexdigest()
    if not is_large(path):
        return {"oid": hashlib.sha1(content).hexdigest()}
    lfs = {"oid": digest, "size": len(content), "pointerSize": 134}
    return {"oid": hashlib.sha1(content).hexdigest(), "lfs": lfs}


class Handler(BaseHTTPRequestHandler):
    """One request: reads it whole, and answers JSON or a file."""

    protocol_version = "HTTP/1.1"
    hub: LocalHub

    def log_message(self, *parts: Any) -> None:
        pass

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def handle_any(self) -> None:
        body = self.read_body()
        token = self.headers.get("Authorization", "").removeprefix("Bearer ") or None
        self.hub.asked.append((self.command, self.path, token))
        broken = self.hub.broken(self.command, self.path)
        if broken == "drop":
            self.close_connection = True
            return
        headers, status = {"X-Request-Id": "stand-in"}, 200
        try:
            if broken:
                raise Refused(broken, "", "broken on purpose")
            found = self.hub.answer(self.command, self.path, token, body)
            if isinstance(found, tuple):
                found, more = found
                headers |= more
        except Refused as error:
            status, code, words, *rest = error.args
            found = rest[0] if rest else {"error": words}
            headers |= {"X-Error-Code": code, "X-Error-Message": words}
        content = found if isinstance(found, bytes) else json.dumps(found).encode()
        self.send_response(status)
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any


@contextlib.contextmanager
def local_hub(**users: str) -> Iterator[LocalHub]:
    """Serve a hub while the block runs; `users` are names and their tokens."""
    hub = LocalHub({token: name for name, token in users.items()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
