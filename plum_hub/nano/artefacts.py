"""Publish what nano builds, so that to every stage it is one more dataset and one more checkpoint on the Hub."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plum_hub.hub.cards import template
from plum_hub.hub.publish import Published, publish, write_datasets
from plum_hub.names import split_revision
from plum_hub.nano import corpus, policy

SPLITS = {"dev": "validation", "heldout": "test"}


def publish_nano(tasks: str, init: str, seed: int, private: bool) -> Iterator[Published]:
    """Publish the task family as `tasks` and the untrained checkpoint as `init`, both `org/name@tag`.

    Both are the same bytes on every machine, so this is a no-op where they are published already.

    Args:
        seed: of the checkpoint's random weights.

    Raises:
        UserError: a tag exists with other content; no right to write; the Hub does not answer.
    """
    from huggingface_hub import DatasetCard, ModelCard, ModelCardData

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "tasks"
        datasets = corpus.build_datasets()
        data = write_datasets(datasets, "instructions", folder, SPLITS)
        data.license, data.pretty_name, data.language = "apache-2.0", "plum-hub nano tasks", ["en", "code"]
        data.tags = ["code", "synthetic", "plum"]
        repo, tag = split_revision(tasks)
        rows = {name: len(dataset) for name, dataset in datasets.items()}
        facts: dict[str, Any] = {
            "repo": repo,
            "tag": tag or "v1",
            "rows": rows,
            "inconsistent": corpus.INCONSISTENT_SHARE,
        }
        card = DatasetCard.from_template(data, template_path=template("nano-tasks"), **facts)
        card.save(folder / "README.md")
        yield publish(folder, repo, tag or "v1", "dataset", private, "nano tasks")

        folder = Path(temporary) / "init"
        policy.build_initial(folder, seed)
        repo, tag = split_revision(init)
        model_data = ModelCardData(
            license="apache-2.0", library_name="transformers", pipeline_tag="text-generation", tags=["plum"]
        )
        facts = {"repo": repo, "tag": tag or "v1", "seed": seed, "tasks": tasks}
        model_card = ModelCard.from_template(model_data, template_path=template("nano-init"), **facts)
        model_card.save(folder / "README.md")
        yield publish(folder, repo, tag or "v1", "model", private, "nano, untrained")
