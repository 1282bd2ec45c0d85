"""Rows from outside: instruction sets and existing generations, from the Hub or from files.

    rows, dropped, counts = prepare(recipe)          # id, instruction, entry_point; what was left out, and why
    texts = load_texts(recipe, recipe.tests.import_, rows, cap=3)

Files are JSON lines, JSON, CSV or parquet, gzipped or not. `instructions.source` names a well-known set (`sources`);
its rows are cleaned (`filters`) and freed from benchmark tasks (`decontaminate`, `benchmarks`). Any other set is taken
as it is unless the recipe says `clean: true`. Not covered: the sets' gold solutions, which nothing here uses.
"""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from plum_hub import stages
from plum_hub.errors import UserError
from plum_hub.instructions import benchmarks, filters
from plum_hub.instructions.decontaminate import Task, build
from plum_hub.instructions.sources import SOURCES, Source, read
from plum_hub.recipe import Import, Instructions, Recipe, Rows
from plum_hub.stages import dstc_prompt
from plum_hub.stages.extract import fill

if TYPE_CHECKING:
    from datasets import Dataset

BUILDERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}


Lost = tuple[int, str, str]  # row, reason, detail


class Prepared(NamedTuple):
    """Instructions ready for use, and the account of those left out.

    Attributes:
        rows: `id`, `instruction`, `entry_point`, in the set's order.
        dropped: `id`, `instruction`, `reason`, `detail`: by reason, in the set's order.
        counts: `in`, `out`, `dropped` by reason, and `benchmarks`, the number of tasks looked for (0: not found).
    """

    rows: Dataset
    dropped: Dataset
    counts: dict[str, Any]


def load_rows(recipe: Recipe, source: Rows) -> Dataset:
    """The rows a recipe's section names, at most `limit` of them.

    Raises:
        UserError: dataset or file does not exist, or is of an unknown kind.
    """
    from datasets import load_dataset

    if source.file:
        path = recipe.find_file(source.file)
        suffix = next((s for s in reversed(path.suffixes) if s != ".gz"), "")
        if suffix not in BUILDERS:
            raise UserError(f"{path}: cannot read `{suffix}` files; use one of {', '.join(BUILDERS)}, gzipped or not")
        if suffix != ".parquet":
            _check_utf8(path)
        try:
            rows = load_dataset(BUILDERS[suffix], data_files=str(path), split="train")
        except Exception as error:  # whatever the reader of this kind of file makes of a broken or empty one
            reason = str(error.__cause__ or error).split("\n")[0] or type(error).__name__
            raise UserError(f"{path} is empty, or cannot be read as {suffix[1:]}: {reason}") from None
    else:
        from plum_hub.hub.pull import pull

        assert source.dataset
        rows = pull(source.dataset, source.config, source.split).rows
    if not len(rows):
        raise UserError(f"{source.file or source.dataset} has no rows")
    return rows.select(range(min(source.limit or len(rows), len(rows))))


def _check_utf8(path: Path) -> None:
    """Raise UserError for text in another encoding, which Arrow takes in and stumbles over much later."""
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):  # noqa: B007 the number is for the message
                line.decode()
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 in line {number}; `iconv -t UTF-8` converts it") from None
    except (OSError, EOFError):
        return  # no file, or no gzip: the reader says so


def column(rows: Dataset, name: str, source: Rows) -> list[Any]:
    """All values of a column.

    Raises:
        UserError: the column is missing; names those there are.
    """
    if name not in rows.column_names:
        where = source.file or source.dataset
        raise UserError(f"{where}: column `{name}` is missing; it has {', '.join(rows.column_names)}")
    return rows[name][:]


def prepare(recipe: Recipe, cache: Path | None = None) -> Prepared:
    """The recipe's instructions, cleaned if the recipe wants it, with an account of what was left out.

    Args:
        cache: a folder that keeps which rows the cleaning left, for the next call on the same rows and benchmarks.

    Raises:
        UserError: a column is missing, two rows have one id, a row is no text (where nothing is cleaned), a benchmark
            is not found, or no row is left.
    """
    from datasets import Dataset, Features, Value

    source = recipe.instructions
    assert source
    rows = load_rows(recipe, source)
    known = _known(source)
    column(rows, known.instruction, source)  # or say which there are
    values = read(rows, known)
    ids = [f"{i:06d}" for i in range(len(rows))]
    named = source.source != "any"  # their `id` columns, where there are any, are not unique
    if "id" in source.columns or ("id" in rows.column_names and not named):
        ids = [str(value) for value in column(rows, source.columns.get("id", "id"), source)]
    entry_points = [""] * len(rows)
    if "entry_point" in source.columns or "entry_point" in rows.column_names:
        name = source.columns.get("entry_point", "entry_point")
        entry_points = [str(value or "") for value in column(rows, name, source)]
    elif source.source == "self-oss-instruct" and "response" in rows.column_names:
        entry_points = [dstc_prompt.entry_point(row) for row in rows]  # nothing else of the gold response is used
    twice, times = Counter(ids).most_common(1)[0]
    if times > 1:
        raise UserError(f"instruction id `{twice}` occurs more than once; map `columns.id` to a unique column")
    kept, lost, counts = list(range(len(rows))), list[Lost](), dict[str, Any]()
    if source.cleans:
        languages = column(rows, known.language, source) if known.language else None
        tasks = {}
        if source.decontaminate != ():  # before the work below: a benchmark that is missing is an error
            tasks = benchmarks.load(recipe, source.decontaminate)
        rules = source.model_dump(mode="json", exclude={"take", "part", "prompt", "system"})
        shaping = (rules, ids, values, languages, tasks)
        kept, lost = _cleaned(cache, shaping, lambda: _clean(source, known, ids, values, languages, tasks))
        counts = {"benchmarks": {name: len({task.name for task in found}) for name, found in tasks.items()}}
    else:
        for row, text in enumerate(values):
            if not isinstance(text, str) or not text.strip():
                raise UserError(f"column `{known.instruction}`, row {row}: an instruction is a text, not {text!r:.60}")
    reasons: dict[str, int] = {}
    for _, reason, _ in lost:
        reasons[reason] = reasons.get(reason, 0) + 1
    if not kept:
        why = ", ".join(f"{reason} {n}" for reason, n in reasons.items())
        raise UserError(f"{source.file or source.dataset}: no instruction is left of {len(rows)} (dropped: {why})")
    if source.take and source.take < len(kept):
        reasons["not_taken"] = len(kept) - source.take
        kept = sorted(random.Random(f"{recipe.seed}:take").sample(kept, source.take))
    if source.part:
        number, parts = map(int, source.part.split("/"))
        reasons["other_part"] = len(kept)
        kept = kept[number - 1 :: parts]
        reasons["other_part"] -= len(kept)
        if not kept:
            raise UserError(f"instructions.part {source.part}: there are fewer instructions than parts")
    return Prepared(
        Dataset.from_dict(
            {
                "id": [ids[i] for i in kept],
                "instruction": [values[i] for i in kept],
                "entry_point": [entry_points[i] for i in kept],
            },
            features=Features(dict.fromkeys(("id", "instruction", "entry_point"), Value("string"))),
        ),
        Dataset.from_dict(
            {
                "id": [ids[i] for i, _, _ in lost],
                "instruction": [values[i] if isinstance(values[i], str) else "" for i, _, _ in lost],
                "reason": [reason for _, reason, _ in lost],
                "detail": [detail for _, _, detail in lost],
            },
            features=Features(dict.fromkeys(("id", "instruction", "reason", "detail"), Value("string"))),
        ),
        {"in": len(rows), "out": len(kept), "dropped": reasons, **counts},
    )


def _known(source: Instructions) -> Source:
    """What the source's columns hold: by its name, the recipe's `columns` going before."""
    known = SOURCES.get(source.source, Source("", "instruction"))
    return replace(
        known,
        instruction=source.columns.get("instruction", known.instruction),
        language=source.columns.get("language", known.language),
    )


def _cleaned(
    cache: Path | None, shaping: tuple[Any, ...], clean: Callable[[], tuple[list[int], list[Lost]]]
) -> tuple[list[int], list[Lost]]:
    """What `clean` returns, or returned for the same `shaping`, code and libraries, as a file in `cache` says."""
    if cache is None:
        return clean()
    code = stages.code_version(sys.modules[__name__])
    key = stages.fingerprint("instructions", code, importlib.metadata.version("datasketch"), shaping)
    path = cache / f"{key}.json"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".part").write_text(json.dumps(clean()))
        os.replace(path.with_suffix(".part"), path)
    kept, lost = json.loads(path.read_text())
    return kept, [(row, reason, detail) for row, reason, detail in lost]


def _clean(
    source: Instructions,
    known: Source,
    ids: list[str],
    values: list[Any],
    languages: list[Any] | None,
    tasks: dict[str, list[Task]],
) -> tuple[list[int], list[Lost]]:
    """The rows that stay, and those that go; some of the latter because they hold one of the benchmarks' `tasks`."""
    kept, lost = list(range(len(values))), list[Lost]()

    def drop(reason: str, found: filters.Drops) -> list[str]:
        lost.extend((kept[at], reason, detail) for at, detail in found.items())
        kept[:] = [row for at, row in enumerate(kept) if at not in found]
        return [values[row] for row in kept]

    texts = drop("empty", filters.no_text(values))
    if known.conversation:
        texts = drop("no_coding_request", filters.no_request(texts))
    spoken = [languages[row] for row in kept] if languages is not None else None
    texts = drop("not_python", filters.other_language(texts, spoken))
    texts = drop("too_long", filters.too_long(texts, source.max_chars or filters.MAX_CHARS))
    texts = drop("duplicate", filters.duplicates(texts, [ids[row] for row in kept]))
    threshold = source.near_duplicates or filters.JACCARD
    texts = drop("near_duplicate", filters.near_duplicates(texts, [ids[row] for row in kept], threshold))
    drop("contaminated", filters.contaminated(texts, build(task for found in tasks.values() for task in found)))
    return kept, lost


def load_texts(recipe: Recipe, source: Import, instructions: Dataset, cap: int) -> dict[str, list[str]]:
    """Existing generations by instruction id, at most `cap` for each, in the file's order.

    Raises:
        UserError: a column is missing, or no text belongs to any instruction.
    """
    rows = load_rows(recipe, source)
    by_key: dict[str, list[str]] = {}
    for key, value in zip(
        column(rows, source.key_column, source), column(rows, source.text_column, source), strict=True
    ):
        group = value if isinstance(value, list) else [value]
        if not all(isinstance(text, str) for text in group):
            raise UserError(f"column `{source.text_column}`, key {key!r:.60}: expected a text or a list of texts")
        by_key.setdefault(str(key), []).extend(group)
    found = {}
    for row in instructions:
        found[row["id"]] = [source.prefix + text for text in by_key.get(fill(source.key, row), [])[:cap]]
    if not any(found.values()):
        theirs, ours = next(iter(by_key), ""), fill(source.key, instructions[0])
        raise UserError(
            f"{source.file or source.dataset}: no value of `{source.key_column}` (such as {theirs!r:.60}) is the key "
            f"`{source.key}` of an instruction (such as {ours!r:.60}); check `key` and `key_column`"
        )
    return found
