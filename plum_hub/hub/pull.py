"""Pull a published dataset by name and tag, so that the rows are always those of the revision asked for.

`datasets.load_dataset(repo, revision=tag)` answers from whatever revision it has cached when the Hub is away (with a
warning only). Here the snapshot of one commit is downloaded first and the rows are loaded from that folder: the right
rows, or an error. To reuse what is cached while the Hub is away, name the tag and set HF_HUB_OFFLINE=1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plum_hub.errors import UserError
from plum_hub.names import explained, resolve, split_revision

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Pulled:
    """Rows of one config and split, and where they came from."""

    repo: str
    tag: str | None
    commit: str
    config: str
    split: str
    path: Path
    rows: Dataset


def pull(name: str, config: str | None = None, split: str | None = None) -> Pulled:
    """Load `org/name@tag`; without a tag, the newest version tag (`v*`).

    Only the config's own files are downloaded, where the dataset's card lists them.

    Args:
        config: one of the dataset's configs; default: the dataset's own default.
        split: default: the config's first.

    Raises:
        UserError: repository, tag, config or split does not exist; the Hub does not answer.
    """
    from datasets import load_dataset
    from huggingface_hub import constants

    repo, tag = split_revision(name)
    if constants.HF_HUB_OFFLINE:
        revision = tag or "main"
    else:
        tag = tag or _newest_tag(repo)
        _, commit = resolve(f"{repo}@{tag}" if tag else repo, "dataset")
        revision = tag or commit
    listed = _listed_configs(_download(repo, revision, ["README.md"]))
    if not listed:  # somebody else's layout: `datasets` finds its way once all of it is here
        return _pull_whole(repo, tag or None, revision, config, split)
    if config is None:
        config = next((one for one, entry in listed.items() if entry.get("default")), next(iter(listed)))
    elif config not in listed:
        raise UserError(f"dataset {name} has no config `{config}`; it has: {', '.join(listed)}")
    files = _files(listed[config]["data_files"])
    split = split or next(iter(files))
    if split not in files:
        raise UserError(f"config `{config}` of {name} has no split `{split}`; it has: {', '.join(files)}")
    path = _download(repo, revision, ["README.md", *files[split]])
    if not any(found for pattern in files[split] for found in path.glob(pattern)):
        raise UserError(f"config `{config}` of {name} is not in the cache, and HF_HUB_OFFLINE is set")
    rows = load_dataset(str(path), data_files={split: files[split]}, split=split)
    return Pulled(repo, tag or None, path.name, config, split, path, rows)


def _pull_whole(repo: str, tag: str | None, revision: str, config: str | None, split: str | None) -> Pulled:
    """Load from a dataset whose card does not list its configs' files, after downloading all of it."""
    from datasets import get_dataset_config_names, get_dataset_split_names, load_dataset
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError

    path = _download(repo, revision, None)
    try:
        configs = get_dataset_config_names(str(path))
    except (EmptyDatasetError, DataFilesNotFoundError):
        raise UserError(f"dataset {repo}@{revision} holds no data files") from None
    if config is not None and config not in configs:
        raise UserError(f"dataset {repo} has no config `{config}`; it has: {', '.join(configs)}")
    config = config or configs[0]
    splits = get_dataset_split_names(str(path), config)
    if split is not None and split not in splits:
        raise UserError(f"config `{config}` of {repo} has no split `{split}`; it has: {', '.join(splits)}")
    split = split or splits[0]
    return Pulled(repo, tag, path.name, config, split, path, load_dataset(str(path), config, split=split))


def _download(repo: str, revision: str, patterns: list[str] | None) -> Path:
    """The snapshot folder of a revision with the files that match, from the Hub, or offline from the cache."""
    from huggingface_hub import constants, snapshot_download

    with explained(f"{repo}@{revision}", "dataset"):
        try:
            return Path(snapshot_download(repo, repo_type="dataset", revision=revision, allow_patterns=patterns))
        except FileNotFoundError:
            if not constants.HF_HUB_OFFLINE:
                raise
            raise UserError(f"dataset {repo}@{revision} is not in the cache, and HF_HUB_OFFLINE is set") from None


def _listed_configs(path: Path) -> dict[str, Any]:
    """Config name -> its entry in the card, of a dataset whose card lists the files of every config."""
    from huggingface_hub import DatasetCard

    if not (path / "README.md").is_file():
        return {}
    entries = DatasetCard.load(path / "README.md", ignore_metadata_errors=True).data.to_dict().get("configs") or []
    return {entry["config_name"]: entry for entry in entries if entry.get("data_files")}


def _files(data_files: Any) -> dict[str, list[str]]:
    """Split -> file patterns, of a card's `data_files`: a pattern, a list of them, or entries of `split` and `path`."""
    found: dict[str, list[str]] = {}
    for entry in data_files if isinstance(data_files, list) else [data_files]:
        split, paths = (entry["split"], entry["path"]) if isinstance(entry, dict) else ("train", entry)
        found.setdefault(split, []).extend([paths] if isinstance(paths, str) else paths)
    return found


def _newest_tag(repo: str) -> str:
    """The last version tag by number (`v2` after `v1`, `v10` after `v9`), or nothing."""
    import re

    from huggingface_hub import HfApi

    with explained(repo, "dataset"):
        tags = [ref.name for ref in HfApi().list_repo_refs(repo, repo_type="dataset").tags]
    versions = [tag for tag in tags if re.match(r"v\d", tag)]
    return max(versions, key=lambda tag: [int(n) for n in re.findall(r"\d+", tag)], default="")
