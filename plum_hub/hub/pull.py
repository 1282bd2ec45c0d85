"""Pull a published dataset by name and tag, so that the rows are always those of the revision asked for.

`datasets.load_dataset(repo, revision=tag)` answers from whatever revision it has cached when the Hub is away (with a
warning only). Here the snapshot of one commit is downloaded first and the rows are loaded from that folder: the right
rows, or an error. To reuse what is cached while the Hub is away, name the tag and set HF_HUB_OFFLINE=1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from plum_hub.errors import UserError
from plum_hub.hub.names import explained, resolve

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

    Args:
        config: one of the dataset's configs; default: the dataset's own default.
        split: default: the config's first.

    Raises:
        UserError: repository, tag, config or split does not exist; the Hub does not answer.
    """
    from datasets import get_dataset_config_names, get_dataset_split_names, load_dataset
    from huggingface_hub import constants, snapshot_download

    repo, _, tag = name.partition("@")
    if constants.HF_HUB_OFFLINE:
        with explained(name, "dataset"):
            try:
                path = Path(snapshot_download(repo, repo_type="dataset", revision=tag or None))
            except FileNotFoundError:
                raise UserError(f"dataset {name} is not in the cache, and HF_HUB_OFFLINE is set") from None
        commit = path.name
    else:
        tag = tag or _newest_tag(repo)
        _, commit = resolve(f"{repo}@{tag}" if tag else repo, "dataset")
        with explained(name, "dataset"):
            path = Path(snapshot_download(repo, repo_type="dataset", revision=tag or commit))
    configs = get_dataset_config_names(str(path))
    if config is None:
        config = _default_config(path) or configs[0]
    elif config not in configs:
        raise UserError(f"dataset {name} has no config `{config}`; it has: {', '.join(configs)}")
    splits = get_dataset_split_names(str(path), config)
    if split is not None and split not in splits:
        raise UserError(f"config `{config}` of {name} has no split `{split}`; it has: {', '.join(splits)}")
    split = split or splits[0]
    rows = load_dataset(str(path), config, split=split)
    return Pulled(repo, tag or None, commit, config, split, path, rows)


def _newest_tag(repo: str) -> str:
    """The last version tag by number (`v2` after `v1`, `v10` after `v9`), or nothing."""
    import re

    from huggingface_hub import HfApi

    with explained(repo, "dataset"):
        tags = [ref.name for ref in HfApi().list_repo_refs(repo, repo_type="dataset").tags]
    versions = [tag for tag in tags if re.match(r"v\d", tag)]
    return max(versions, key=lambda tag: [int(n) for n in re.findall(r"\d+", tag)], default="")


def _default_config(path: Path) -> str | None:
    from huggingface_hub import DatasetCard

    data = DatasetCard.load(path / "README.md", ignore_metadata_errors=True).data.to_dict()
    return next((c["config_name"] for c in data.get("configs") or [] if c.get("default")), None)
