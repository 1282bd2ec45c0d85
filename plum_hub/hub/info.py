"""What the local Hub says about a repository, in the words of the Hub's API: files, cards, tags, scores."""

import hashlib
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import yaml

from plum_hub.hub.repository import Entry, Repository


def expanded(info: dict[str, Any], expand: list[str]) -> dict[str, Any]:
    """What a client gets of `info`: all but the scores, or just the fields it names in `expand`."""
    wanted = {"_id", "id", *expand} if expand else set(info) - {"evalResults"}
    return {key: value for key, value in info.items() if key in wanted}


def repository_info(repository: Repository, commit: str, blobs: bool = False) -> dict[str, Any]:
    """All that is known of one revision of a repository, in the Hub's words."""
    files = [entry for entry in repository.snapshot(commit).values() if not entry.is_folder]
    readme = _text(repository, commit, "README.md")
    card = _card(readme)
    tags = _tags(card, readme)
    info = {
        "_id": hashlib.sha256(f"{repository.kind}/{repository.id}".encode()).hexdigest()[:24],
        "id": repository.id,
        "author": repository.owner,
        "sha": commit,
        "lastModified": hub_date(repository.revision(commit).date),
        "createdAt": repository.created,
        "private": repository.private,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": tags,
        "cardData": card,
        "siblings": [{"rfilename": entry.path} | (_blob(entry) if blobs else {}) for entry in files],
        "usedStorage": sum(entry.size for entry in files),
    }
    if repository.kind == "models":
        info |= {key: card[key] for key in ("library_name", "pipeline_tag") if isinstance(card.get(key), str)}
        results = [path for path in repository.snapshot(commit) if re.fullmatch(r"\.eval_results/[^/]+\.ya?ml", path)]
        info["evalResults"] = [
            {"filename": path, "data": data}
            for path in results
            for data in _list(_yaml(_text(repository, commit, path)))
            if isinstance(data, dict)
        ]
    else:
        tasks = _yaml(_text(repository, commit, "eval.yaml"))
        # The public Hub has a list of those that it has let in; here, saying so is enough.
        if isinstance(tasks, dict) and tasks.get("tasks"):
            tags.append("benchmark:official")
    return info


def _blob(entry: Entry) -> dict[str, Any]:
    large = {"sha256": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
    return {"size": entry.size, "blobId": entry.oid} | ({"lfs": large} if entry.sha256 else {})


def _text(repository: Repository, commit: str, path: str) -> str:
    entry = repository.snapshot(commit).get(path)
    return repository.read(entry).decode(errors="replace") if entry and not entry.is_folder else ""


def _yaml(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


@lru_cache(maxsize=1000)
def _card(readme: str) -> dict[str, Any]:
    """The YAML front matter of a README, {} if there is none or it is broken."""
    card = _yaml(front_matter(readme) or "")
    return card if isinstance(card, dict) else {}


def front_matter(readme: str) -> str | None:
    """The text between the two lines of dashes at the top of a README; None if they are not there."""
    found = re.match(r"\ufeff?\s*---[ \t]*\r?\n(.*?\n)??---[ \t]*(\r?\n|$)", readme, re.DOTALL)
    return found[1] or "" if found else None


def _tags(card: dict[str, Any], readme: str) -> list[str]:
    """The tags of a card and those that the Hub derives from its other fields and its links to papers."""
    tags = [str(tag) for tag in _list(card.get("tags"))]
    for key in ("library_name", "pipeline_tag", "language"):
        tags += [str(value) for value in _list(card.get(key))]
    for key, prefix in (("license", "license"), ("datasets", "dataset"), ("base_model", "base_model")):
        tags += [f"{prefix}:{value}" for value in _list(card.get(key))]
    for key in ("task_categories", "size_categories", "source_datasets", "language"):
        tags += [f"{key}:{value}" for value in _list(card.get(key))]
    tags += [f"arxiv:{paper}" for paper in re.findall(r"arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})", readme)]
    return list(dict.fromkeys(tags))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def listing(repository: Repository, commit: str, entries: list[Entry], expand: bool) -> list[dict[str, Any]]:
    """Files and folders as `tree` and `paths-info` give them; with `expand`, the commit that last changed each."""
    changes = repository.last_changes(commit) if expand else {}
    items = []
    for entry in entries:
        item: dict[str, Any] = {"type": "directory" if entry.is_folder else "file", "oid": entry.oid}
        item |= {"size": entry.size, "path": entry.path}
        if entry.sha256:
            item["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": entry.pointer_size}
        if expand:
            last = changes[entry.path]
            item["lastCommit"] = {"id": last.oid, "title": last.title, "date": hub_date(last.date)}
        items.append(item)
    return items


def hub_date(date: datetime) -> str:
    """A date as the Hub writes it."""
    return date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
