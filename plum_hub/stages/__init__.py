"""The stages `tests -> sample -> judge -> prefer`, one file each, and how a stage runs.

A stage is a module-level function for `datasets.Dataset.map(batched=True)`, with declared `Features`, applied to one
shard of instructions at a time. `map_shard` gives every shard an explicit fingerprint (stage, code, parameters,
parent) and an Arrow file of that name: `datasets` writes it under a temporary name and moves it into place when the
shard is whole, so a killed run finds its finished shards again and redoes nothing else.

The fingerprint holds the *source text* of the modules behind a stage. `datasets` alone would pickle an imported
function by its name and answer from a stale cache after an edit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset, Features


def fingerprint(*parts: Any) -> str:
    """A stable 16-digit hex digest of JSON-able parts, the same in every process."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def code_version(*modules: ModuleType) -> str:
    """A digest of the modules' source texts (a package stands for all its files)."""
    digest = hashlib.sha256()
    for module in modules:
        assert module.__file__
        file = Path(module.__file__)
        for path in sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def rows_fingerprint(dataset: Dataset) -> str:
    """A digest of a dataset's rows, whatever file or cache they came from."""
    digest = hashlib.sha256()
    for row in dataset:
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


def map_shard(
    shard: Dataset,
    function: Callable[..., dict[str, list[Any]]],
    features: Features,
    cache_file: Path,
    fn_kwargs: dict[str, Any],
) -> Dataset:
    """Apply a stage to one shard, or load the shard's file if an earlier run finished it.

    Args:
        shard: the rows of this shard; `function` sees them as one batch.
        function: columns in, columns out (as many rows as it likes).
        features: the declared features of the result.
        cache_file: `<stage>/<shard>-<fingerprint>.arrow`; its name is the promise of its content.
        fn_kwargs: further arguments of `function`; all that shapes the result is in the fingerprint already.
    """
    cache_file.parent.mkdir(parents=True, exist_ok=True)
    return shard.map(
        function,
        batched=True,
        batch_size=None,
        remove_columns=shard.column_names,
        features=features,
        fn_kwargs=fn_kwargs,
        new_fingerprint=cache_file.stem,
        cache_file_name=str(cache_file),
        load_from_cache_file=True,
    )


def finished(cache_file: Path) -> bool:
    """Whether an earlier run finished this shard."""
    return cache_file.exists()


def columns(rows: list[dict[str, Any]], features: Features) -> dict[str, list[Any]]:
    """Rows as the columns that `Dataset.map(batched=True)` wants, in the features' order."""
    return {name: [row[name] for row in rows] for name in features}


def rows(batch: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """The columns of a batch as rows."""
    return [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
