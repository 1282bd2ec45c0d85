"""The rows that a training reads: from the Hub, in TRL's conversational formats whatever the dataset's own layout.

    rows, record = load_rows(recipe, recipe.train["kto"])

`columns` maps our names to the dataset's; plain texts become messages, and lists of messages pass as they are.
`instructions: same` keeps the rows whose request is one of the recipe's instructions as they are sampled, `other` the
rest: what PLUM calls SFT on the same, or on other, instructions. Not covered: texts without a prompt.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plum_hub.errors import UserError
from plum_hub.recipe import Recipe, Train

if TYPE_CHECKING:
    from datasets import Dataset

VIEWS = {
    "kto": ("prompt", "completion", "label"),
    "dpo": ("prompt", "chosen", "rejected"),
    "sft": ("prompt", "completion"),
    "grpo": ("prompt", "tests"),
}


def load_rows(recipe: Recipe, entry: Train, cache: Path | None = None) -> tuple[Dataset, dict[str, Any]]:
    """The rows an entry trains on, and where they came from (`dataset`, `tag`, `commit`, `config`, `rows`).

    Args:
        cache: a folder that keeps what cleaning the recipe's instructions left; see `plum_hub.instructions.prepare`.

    Raises:
        UserError: dataset, config or column does not exist or holds something else than texts, or no row is left.
    """
    from plum_hub.hub.pull import pull
    from plum_hub.stages.prefer import is_kto_safe, kto_order

    name = entry.dataset or f"{recipe.dataset_repo}@{recipe.tag}"
    pulled = pull(name, entry.config or entry.method, entry.split)
    where = f"{name} ({pulled.config})"
    rows = as_conversations(pulled.rows, entry, where)
    if not len(rows):
        raise UserError(f"{where} has no rows to train on")
    if entry.instructions:
        rows = by_instruction(rows, recipe, entry, where, cache)
    if entry.rows:
        wanted = entry.rows
        if wanted == "as-sft":
            wanted = len(pull(f"{recipe.dataset_repo}@{recipe.tag}", "sft").rows)
        rows = rows.shuffle(seed=recipe.seed).select(range(min(wanted, len(rows))))
    if not len(rows):
        raise UserError(f"{where}: no row is left to train on")
    if entry.method == "kto":
        batch = entry.args.get("per_device_train_batch_size", 8)
        prompts, labels = [str(p) for p in rows["prompt"]], rows["label"][:]
        if not is_kto_safe(prompts, labels, batch):  # published for other batches, or by somebody else
            rows = rows.select(kto_order(prompts, labels, recipe.seed, batch)[0])
    record = {
        "dataset": pulled.repo,
        "tag": pulled.tag,
        "commit": pulled.commit,
        "config": pulled.config,
        "split": pulled.split,
        **({"columns": dict(entry.columns)} if entry.columns else {}),
        **({"instructions": entry.instructions} if entry.instructions else {}),
        "rows": len(rows),
    }
    return rows, record


def as_conversations(rows: Dataset, entry: Train, where: str) -> Dataset:
    """The columns of the entry's method under our names, texts as messages.

    Raises:
        UserError: a column is missing, is of no use to the method, or holds neither texts nor messages.
    """
    from datasets import Value

    wanted = VIEWS[entry.method]
    for ours in entry.columns:
        if ours not in wanted:
            raise UserError(f"columns.{ours}: {entry.method} has no such column; it needs {', '.join(wanted)}")
    theirs = [entry.columns.get(ours, ours) for ours in wanted]  # type: ignore[call-overload]
    for column in theirs:
        if column not in rows.column_names:
            raise UserError(
                f"{where}: column `{column}` is missing; {entry.method} needs {', '.join(wanted)}, and it has "
                f"{', '.join(rows.column_names)}; `columns:` maps other names"
            )
    suites = entry.method == "grpo" and "suites" in rows.column_names  # the reward makes use of them
    rows = rows.select_columns([*dict.fromkeys(theirs), *(["suites"] if suites else [])])
    if theirs != list(wanted):
        rows = rows.map(_renamed, batched=True, fn_kwargs={"names": dict(zip(wanted, theirs, strict=True))},
                        remove_columns=list(dict.fromkeys(theirs)))  # fmt: skip
    for ours, role in (
        ("prompt", "user"),
        ("completion", "assistant"),
        ("chosen", "assistant"),
        ("rejected", "assistant"),
    ):
        if ours not in wanted:
            continue
        kind = str(rows.features[ours])
        if kind in ("Value('string')", "Value('large_string')"):
            empty = next((i for i, text in enumerate(rows[ours]) if not text), None)
            if empty is not None:
                raise UserError(f"{where}: column `{entry.columns.get(ours, ours)}`, row {empty} is empty")
            rows = rows.map(_messages, batched=True, fn_kwargs={"column": ours, "role": role})
        elif len(rows) and not (isinstance(rows[0][ours], list) and rows[0][ours] and "role" in rows[0][ours][0]):
            raise UserError(
                f"{where}: column `{entry.columns.get(ours, ours)}` holds neither texts nor messages, but {kind:.60}"
            )
    if "label" in wanted and rows.features["label"] != Value("bool"):
        if not all(label in (0, 1) for label in rows["label"]):
            raise UserError(f"{where}: column `{entry.columns.get('label', 'label')}` is true or false, or 1 or 0")
        rows = rows.cast_column("label", Value("bool"))
    return rows


def _renamed(batch: dict[str, list[Any]], names: dict[str, str]) -> dict[str, list[Any]]:
    return {ours: batch[theirs] for ours, theirs in names.items()}


def _messages(batch: dict[str, list[Any]], column: str, role: str) -> dict[str, list[Any]]:
    return {column: [[{"role": role, "content": text}] for text in batch[column]]}


def by_instruction(rows: Dataset, recipe: Recipe, entry: Train, where: str, cache: Path | None = None) -> Dataset:
    """The rows whose prompt's last user text, stripped, is (`same`) or is not (`other`) an instruction of the recipe.

    An instruction counts in both of its forms: bare, and as the message that asks for samples of it.

    Raises:
        UserError: no row is left.
    """
    from plum_hub.instructions import prepare
    from plum_hub.stages.sample import to_messages

    assert recipe.instructions
    known = set()
    for row in prepare(recipe, cache).rows:
        known |= {row["instruction"].strip()}
        known |= {to_messages(row, recipe.instructions.prompt, None)[-1]["content"].strip()}
    same = entry.instructions == "same"
    kept = [i for i, prompt in enumerate(rows["prompt"]) if (_request(prompt) in known) == same]
    if not kept:
        what = "is one of the recipe's instructions" if same else "is another than the recipe's instructions"
        raise UserError(
            f"{where}: of {len(rows)} rows, none has a prompt that {what}; leave `instructions` out for all"
        )
    return rows.select(kept)


def _request(prompt: list[dict[str, Any]]) -> str:
    texts = [message["content"] for message in prompt if message["role"] == "user"]
    return texts[-1].strip() if texts and isinstance(texts[-1], str) else ""


def kto_weights(labels: Iterable[bool]) -> dict[str, float]:
    """KTO's loss weights from the label counts, so that both labels weigh the same in sum.

    TRL's KTOTrainer advises desirable_weight x n_desirable : undesirable_weight x n_undesirable between 1 and 4/3; the
    rarer label gets the larger weight.

    Raises:
        UserError: there is only one label.
    """
    labels = list(labels)
    desirable = sum(labels)
    undesirable = len(labels) - desirable
    if not desirable or not undesirable:
        raise UserError(
            f"KTO needs both labels; the dataset has {desirable} desirable and {undesirable} undesirable rows"
        )
    if desirable < undesirable:
        return {"desirable_weight": round(undesirable / desirable, 4), "undesirable_weight": 1.0}
    return {"desirable_weight": 1.0, "undesirable_weight": round(desirable / undesirable, 4)}
