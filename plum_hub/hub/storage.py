"""The store of the local Hub: repositories with commits, branches and tags, under one root directory.

Each repository is a real bare git repository, written by dulwich (no `git` binary is needed, and one can still look
inside with it). Large files are kept beside it by their sha256, as git-lfs does, and git holds a pointer to them::

    ROOT/repos/{models,datasets}/OWNER/NAME.git/               git objects (loose) and refs
    ROOT/repos/{models,datasets}/OWNER/NAME.git/settings.json  private or not, when created
    ROOT/repos/{models,datasets}/OWNER/NAME.git/lfs/ab/cd/...  large files of this repository
    ROOT/tmp/                                                  unfinished work, emptied at start

Large files belong to one repository: knowing a sha256 gives nobody the bytes of someone else's private file, and
deleting a repository deletes its files. The price is that equal files in two repositories are stored twice.

Every file appears by a rename, content before the ref that names it. A server killed at any moment therefore leaves
the last finished commit; a power cut is not covered (nothing but the refs is fsynced). Exactly one process may open
a root for writing; within it each repository has a lock. Nothing is ever garbage-collected.
"""

import os
import re
import secrets
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

from dulwich.repo import Repo

from plum_hub.hub.repository import GITATTRIBUTES, HubError, Repository
from plum_hub.hub.tokens import NAMESPACE, write_private_json

KINDS = ("models", "datasets")
REPO_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?")


class Store:
    """All repositories under one root. Only the process that holds the root's lock may make one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._repositories: dict[tuple[str, str, str], Repository] = {}
        self._lock = threading.Lock()
        shutil.rmtree(root / "tmp", ignore_errors=True)
        (root / "tmp").mkdir(parents=True)
        # A killed process may leave the lock files that dulwich writes next to refs and objects; nobody holds them.
        for stale in (root / "repos").rglob("*.lock"):
            if stale.is_file():
                stale.unlink()

    def temporary(self) -> Path:
        """A new path for unfinished work, on the file system of the repositories."""
        return self.root / "tmp" / secrets.token_hex(16)

    def get(self, kind: str, owner: str, name: str) -> Repository | None:
        """The repository of that name, if there is one."""
        key = (kind, owner, name)
        with self._lock:
            if key not in self._repositories:
                if kind not in KINDS or not _is_repo_id(owner, name) or not self._path(*key).is_dir():
                    return None
                self._repositories[key] = Repository(self._path(*key), *key)
            return self._repositories[key]

    def list(self, kind: str) -> list[Repository]:
        """All repositories of one kind, in the order of their names."""
        paths = sorted((self.root / "repos" / kind).glob("*/*.git"))
        found = [self.get(kind, path.parent.name, path.name.removesuffix(".git")) for path in paths]
        return [repository for repository in found if repository is not None]

    def create(self, kind: str, owner: str, name: str, private: bool) -> Repository:
        """Make a repository with its first commit; 409 when it exists, 400 for a name that is not allowed."""
        if kind not in KINDS:
            raise HubError(400, f"The local Hub has models and datasets, no {kind}")
        if not _is_repo_id(owner, name):
            raise HubError(400, f"Invalid repository name: {owner}/{name}")
        path = self._path(kind, owner, name)
        if path.exists():
            raise HubError(409, f"You already created this {kind.removesuffix('s')} repo: {owner}/{name}")
        # Built aside and renamed: a repository is either complete or absent.
        building = self.temporary()
        building.mkdir()
        Repo.init_bare(str(building), default_branch=b"main").close()
        created = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        write_private_json(building / "settings.json", {"private": private, "created": created})
        draft = Repository(building, kind, owner, name)
        draft.write_commit(
            "main", None, {".gitattributes": draft.add_blob(GITATTRIBUTES.encode())}, "initial commit", "", owner
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(building, path)
        except OSError:  # somebody else was faster
            shutil.rmtree(building, ignore_errors=True)
            raise HubError(409, f"You already created this {kind.removesuffix('s')} repo: {owner}/{name}") from None
        repository = self.get(kind, owner, name)
        assert repository is not None
        return repository

    def delete(self, repository: Repository) -> None:
        """Delete a repository with all its history and large files."""
        trash = self.temporary()
        with self._lock:
            repository.move_away(trash)
            self._repositories.pop((repository.kind, repository.owner, repository.name), None)
        shutil.rmtree(trash, ignore_errors=True)

    def _path(self, kind: str, owner: str, name: str) -> Path:
        return self.root / "repos" / kind / owner / f"{name}.git"


def _is_repo_id(owner: str, name: str) -> bool:
    return bool(
        NAMESPACE.fullmatch(owner)
        and REPO_NAME.fullmatch(name)
        and ".." not in name
        and "--" not in name
        and not name.endswith((".git", ".ipynb", ".lock"))
    )
