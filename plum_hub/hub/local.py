"""Start the local Hub as a subprocess, or join one that runs, and point the clients at it.

    hub = start(Path("~/.plum/hub").expanduser())
    subprocess.run([...], env=os.environ | environment(hub))
    hub.stop()

The server lives as long as some process uses it: every caller of `start` holds a shared record lock on
ROOT/users.lock, and the server stops when it can take that lock for itself. The kernel drops the lock when a process
ends, also by `kill -9`, so no orphan stays behind; and the process that happened to start the server may end while
another one still works with it. Standard library only; the server's own imports happen in its process.
"""

import fcntl
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from plum_hub.errors import UserError
from plum_hub.hub.tokens import ensure_token

START_SECONDS = 60.0


@dataclass(frozen=True, eq=False)
class LocalHub:
    """A local Hub in use by this process. `process` is the server, or None if another caller started it."""

    endpoint: str
    token: str
    root: Path
    process: subprocess.Popen[bytes] | None

    def stop(self) -> None:
        """Stop using the Hub. The server stops if this was its last user; one of `plum hub serve` goes on."""
        with _guard:
            users = _users.get(self.root)
            if users is None or self not in users.hubs:
                return  # stopped before
            users.hubs.remove(self)
            if users.hubs:
                return
            del _users[self.root]
            try:
                fcntl.lockf(users.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pass  # other processes still use it
            else:
                for process in users.started:
                    _end(process)
            users.file.close()  # only now may others start anew


@dataclass
class _Users:
    """Who in this process uses the Hub of one root, and the servers this process started for it."""

    file: IO[str]  # holds the shared lock. Record locks belong to a process: one open file per root, never reopened
    hubs: list[LocalHub]
    started: list[subprocess.Popen[bytes]]


_guard = threading.Lock()
_users: dict[Path, _Users] = {}


def start(root: Path, port: int = 0) -> LocalHub:
    """Use the Hub at `root`: the server that runs there, else a new one on `port` (0: a free one).

    Raises `UserError` when no server comes up; its log is ROOT/server.log.
    """
    root = root.expanduser().resolve()
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _guard:
        users = _users.get(root)
        if users is None:
            users = _Users((root / "users.lock").open("a+"), [], [])
            fcntl.lockf(users.file, fcntl.LOCK_SH)  # waits while a server is just stopping
        try:
            with (root / "start.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # one starts, the others then find it
                process = None
                endpoint = _running(root)
                if endpoint is None:
                    process = _launch(root, port)
                    users.started.append(process)
                    endpoint = _wait(root, process)
            hub = LocalHub(endpoint, ensure_token(root), root, process)
        except BaseException:
            if root not in _users:
                users.file.close()
            raise
        users.hubs.append(hub)
        _users[root] = users
        return hub


def environment(hub: LocalHub) -> dict[str, str]:
    """The variables that make the Hugging Face clients use `hub`, and nothing off this machine.

    They are read when `huggingface_hub` and `datasets` are imported: set them before. One look-up no variable can turn
    off: `load_dataset` of the revision "main" (or of none) asks for the host "datasets-server." + ours, in vain; load
    by tag or commit, as one should anyway.
    """
    home = hub.root / "hf-home"
    # A proxy would be asked for loopback too.
    direct = ",".join(filter(None, (os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), "127.0.0.1,localhost")))
    return {
        "HF_ENDPOINT": hub.endpoint,
        "HF_TOKEN": hub.token,
        # Caches go by name only: the same name here and on the public Hub must never meet in one cache.
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_DATASETS_CACHE": str(home / "datasets"),
        "HF_HUB_OFFLINE": "0",
        "HF_DATASETS_OFFLINE": "0",
        "TRANSFORMERS_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",  # not spoken by the local Hub
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",  # else `datasets` tells s3.amazonaws.com every name it loads
        "NO_PROXY": direct,
        "no_proxy": direct,
    }


def _running(root: Path) -> str | None:
    """The endpoint of a live server of this very root."""
    try:
        endpoint = json.loads((root / "server.json").read_text(encoding="utf-8"))["endpoint"]
        identity = json.loads((root / "hub.json").read_text(encoding="utf-8"))["id"]
        connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=5)
        try:
            connection.request("GET", "/api/plum-hub")
            answer = json.load(connection.getresponse())
        finally:
            connection.close()
        return endpoint if answer.get("hub") == identity else None
    except (OSError, ValueError, KeyError, AttributeError, http.client.HTTPException):
        return None


def _launch(root: Path, port: int) -> subprocess.Popen[bytes]:
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "plum_hub.hub.server", "--root", str(root), "--port", str(port), "--while-used"]
    with (root / "server.log").open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the caller, who may still have to publish something
        )


def _wait(root: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        endpoint = _running(root)
        if endpoint is not None:
            return endpoint
        if ended:
            break
        time.sleep(0.02)
    _end(process)
    lines = (root / "server.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    reason = lines[-1] if lines else "it said nothing"
    raise UserError(f"the local Hub at {root} did not start: {reason} (all of it: {root / 'server.log'})")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
