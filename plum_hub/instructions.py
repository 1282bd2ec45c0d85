"""Rows from outside: instruction sets and existing generations, from the Hub or from files.

    instructions = load_instructions(recipe)         # id, instruction, entry_point
    texts = load_texts(recipe, recipe.tests.import_, instructions, cap=3)

Files are JSON lines, JSON, CSV or parquet, gzipped or not. Not covered yet: adapters for the well-known instruction
sets, deduplication, decontamination.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plum_hub.errors import UserError
from plum_hub.recipe import Import, Recipe, Rows
from plum_hub.stages.extract import fill

if TYPE_CHECKING:
    from datasets import Dataset

BUILDERS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}


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


def column(rows: Dataset, name: str, source: Rows) -> list[Any]:
    """All values of a column.

    Raises:
        UserError: the column is missing; names those there are.
    """
    if name not in rows.column_names:
        where = source.file or source.dataset
        raise UserError(f"{where}: column `{name}` is missing; it has {', '.join(rows.column_names)}")
    return rows[name][:]


def load_instructions(recipe: Recipe) -> Dataset:
    """The recipe's instructions as rows of `id`, `instruction`, `entry_point` (empty where the source names none).

    Raises:
        UserError: a column is missing, or two rows have one id.
    """
    from datasets import Dataset, Features, Value

    source = recipe.instructions
    assert source
    rows = load_rows(recipe, source)
    names = {ours: source.columns.get(ours, ours) for ours in ("id", "instruction", "entry_point")}
    texts = column(rows, names["instruction"], source)
    for row, text in enumerate(texts):
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"column `{names['instruction']}`, row {row}: an instruction is a text, not {text!r:.60}")
    ids = [f"{i:06d}" for i in range(len(rows))]
    if "id" in source.columns or "id" in rows.column_names:
        ids = [str(value) for value in column(rows, names["id"], source)]
    entry_points = [""] * len(rows)
    if "entry_point" in source.columns or "entry_point" in rows.column_names:
        entry_points = [str(value or "") for value in column(rows, names["entry_point"], source)]
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise UserError(f"instruction id `{twice}` occurs more than once; map `columns.id` to a unique column")
    features = Features(dict.fromkeys(("id", "instruction", "entry_point"), Value("string")))
    return Dataset.from_dict({"id": ids, "instruction": texts, "entry_point": entry_points}, features=features)


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
