"""Access tokens of the local Hub: one `tokens.json` in the root, token -> user and role.

    token = add_token(Path("~/.plum/hub").expanduser(), "alice", role="read")

The file is readable by its owner only (mode 0600) and is replaced as a whole, so a reader never sees half of it; a
running server sees a new token at its next request. Tokens do not expire: delete the line to revoke one.
Standard library only.
"""

import fcntl
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plum_hub.errors import UserError

DEFAULT_USER = "plum"
ROLES = ("write", "read")
#: What a user, and thus a namespace, may be called (a subset of what the clients accept).
NAMESPACE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,94}[A-Za-z0-9])?")


@dataclass(frozen=True)
class User:
    """Who a token stands for. `name` is also the one namespace this user may write to."""

    name: str
    role: str  # "write" or "read"


def write_private_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as JSON in one step, readable by its owner only."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
    os.replace(temporary, path)


def read_tokens(root: Path) -> dict[str, User]:
    """All tokens of the Hub at `root`; empty before its first start.

    Raises `UserError` when the file was damaged by hand.
    """
    path = root / "tokens.json"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return {token: User(entry["user"], entry["role"]) for token, entry in entries.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not valid ({error}); repair it, or delete it to have a new one made") from error


def add_token(root: Path, user: str, role: str = "write") -> str:
    """Make a new token for `user` at the Hub of `root` and return it.

    Raises `UserError` for a role other than "write" or "read", or a user name that cannot be a namespace.
    """
    if role not in ROLES:
        raise UserError(f"unknown role {role!r}: choose one of {', '.join(ROLES)}")
    if not NAMESPACE.fullmatch(user) or user in ("api", "datasets", "models", "spaces"):
        raise UserError(f"{user!r} cannot be a user name: use letters, digits, '-' and '_'")
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(root / "tokens.lock"):
        return _add(root, user, role)


def ensure_token(root: Path, user: str = DEFAULT_USER) -> str:
    """The first write token of the Hub at `root`, made for `user` when there is none yet."""
    with _locked(root / "tokens.lock"):
        for token, owner in read_tokens(root).items():
            if owner.role == "write":
                return token
        return _add(root, user, "write")


def _add(root: Path, user: str, role: str) -> str:
    # Not "hf_...": a local token must never be mistaken for one of the public Hub.
    token = "plum_" + secrets.token_hex(20)
    tokens = {known: {"user": owner.name, "role": owner.role} for known, owner in read_tokens(root).items()}
    write_private_json(root / "tokens.json", tokens | {token: {"user": user, "role": role}})
    return token


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes; the kernel releases it if this one dies."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
