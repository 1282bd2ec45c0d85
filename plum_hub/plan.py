"""What a run will ask for before it asks for anything: counts, tokens, money, programs, disk.

    plum run recipes/quickstart.yaml --dry-run

Instructions are read (and filtered) for real; no model is loaded, nothing is written, sampled or published. Prompts are
counted by the model's own tokenizer, on at most `COUNTED` of them, or at four characters a token where the tokenizer
is not ours to read. What a model will write is not known: figures for it are the most that the recipe allows.

Not covered: time. It depends on the machine; the progress bars of the run tell it within a minute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plum_hub.errors import UserError
from plum_hub.generate.names import EngineName, parse, pin
from plum_hub.recipe import Recipe
from plum_hub.stages import sample, tests
from plum_hub.stages.quality import TRIVIAL

if TYPE_CHECKING:
    from datasets import Dataset

COUNTED = 200  # prompts
CHARACTERS = 4  # a token, roughly
COPIES = 4  # of a text on disk: its stage's file, the code taken from it, a preference, what is uploaded


def plan(recipe: Recipe) -> dict[str, Any]:
    """The figures of `plum run --dry-run`, as printed by `--json`.

    Raises:
        UserError: instructions or models that do not exist.
    """
    from plum_hub.instructions import prepare

    steps: list[dict[str, Any]] = []
    disk = 0
    dropped: dict[str, int] = {}
    count = 0
    rounds = 1 if recipe.online.instructions == "fresh" else recipe.rounds  # fresh parts are together one whole
    if recipe.instructions and recipe.tests and recipe.sample:
        try:
            prepared = prepare(recipe)
        except UserError as error:
            if not recipe.nano:
                raise
            raise UserError(f"{error}; the recipe's first run makes it, so there is nothing to count yet") from None
        rows, count, dropped = prepared.rows, len(prepared.rows), prepared.counts["dropped"]
        if not recipe.tests.import_:
            prompts = [tests.prompt(row, recipe.tests) for row in _some(rows)]
            written = recipe.tests.max_new_tokens
            name = _name(recipe, recipe.generator)
            steps.append(_step("tests", name, prompts, count, recipe.tests.responses, written))
        if not recipe.sample.import_ and not recipe.sample.from_tests:
            where = recipe.instructions
            asked = [sample.to_messages(row, where.prompt, where.system) for row in _some(rows)]
            prompts = ["\n".join(message["content"] for message in messages) for messages in asked]
            written = recipe.sample.max_new_tokens
            steps.append(_step("sample", _name(recipe, recipe.sampler), prompts, count, recipe.sample.n, written))
        for step in steps:
            if step["stage"] == "sample" or recipe.sample.from_tests:  # other tests are made once
                for key in ("requests", "prompt_tokens", "completion_tokens_at_most", "cost_usd_at_most"):
                    step[key] *= rounds
            texts = step["completion_tokens_at_most"] + step["prompt_tokens"] * step["n"]
            disk += texts * CHARACTERS * COPIES
    weights = _weights(recipe)
    for method in recipe.methods:
        # Its own weights twice (checkpoint and copy for the upload), and a resumable state: weights and two moments.
        disk += int(weights.get(recipe.train[method].base or recipe.policy or "", 0) * 5)
    return {
        "instructions": count,
        "dropped": dropped,
        "steps": steps,
        "programs_at_most": count * (_checks(recipe) + rounds * _loads(recipe)),
        "cost_usd_at_most": round(sum(step["cost_usd_at_most"] for step in steps), 2),
        "trainings": list(recipe.methods) * recipe.rounds,
        "disk_bytes_at_most": disk,
    }


def _checks(recipe: Recipe) -> int:
    """Programs run to examine the tests of one instruction: each reference, with other seeds, emptied, and mutated."""
    if not recipe.tests or recipe.tests.format != "plum" or recipe.tests.consistency == "none":
        return 0
    return recipe.tests.responses * (1 + recipe.tests.reruns + len(TRIVIAL) + 1 + recipe.tests.mutants + 1)


def _loads(recipe: Recipe) -> int:
    """Programs loaded to judge one instruction's samples: one that may keep state is loaded for each suite."""
    if not recipe.tests or not recipe.sample:
        return 0
    return (recipe.tests.responses if recipe.sample.from_tests else recipe.sample.n) * recipe.tests.responses


def _some(rows: Dataset) -> Dataset:
    """At most `COUNTED` rows, evenly spread."""
    step = max(1, len(rows) // COUNTED)
    return rows.select(range(0, len(rows), step))


def _name(recipe: Recipe, engine: str) -> EngineName:
    """The engine with its model's commit, or without while this recipe has yet to make that model."""
    try:
        return pin(engine)
    except UserError:
        name = parse(engine)
        if recipe.seed_policy and f"{name.model}@{name.revision}" == recipe.policy:
            return name
        raise


def _step(stage: str, name: EngineName, prompts: list[str], count: int, n: int, written: int) -> dict[str, Any]:
    mean = sum(_lengths(name, prompts)) / max(1, len(prompts))
    prompt_tokens, completion_tokens = round(mean * count), count * n * written
    prices = [float(name.options.get(key, 0)) for key in ("input_price", "output_price")]
    # a server that does not know `n` is asked n times, and bills the prompt as often
    cost = (prompt_tokens * n * prices[0] + completion_tokens * prices[1]) / 1e6
    return {
        "stage": stage,
        "engine": str(name),
        "requests": count,
        "n": n,
        "prompt_tokens": prompt_tokens,
        "completion_tokens_at_most": completion_tokens,
        "cost_usd_at_most": round(cost, 4),
    }


def _lengths(name: EngineName, prompts: list[str]) -> list[float]:
    """Tokens of each prompt."""
    if name.kind == "openai":
        return [len(prompt) / CHARACTERS for prompt in prompts]
    from transformers import AutoTokenizer

    from plum_hub.names import explained

    try:
        with explained(name.model, "model"):
            tokenizer = AutoTokenizer.from_pretrained(name.model, revision=name.revision or None)
    except UserError:  # see `_name`
        return [len(prompt) / CHARACTERS for prompt in prompts]
    return [len(ids) for ids in tokenizer(prompts)["input_ids"]]


def _weights(recipe: Recipe) -> dict[str, int]:
    """Bytes of the weights of each model that is trained, where its repository exists already."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.hf_api import RepoFile

    from plum_hub.names import split_revision

    found: dict[str, int] = {}
    for base in {recipe.train[name].base or recipe.policy or "" for name in recipe.methods}:
        repo, revision = split_revision(base)
        try:
            files = HfApi().list_repo_tree(repo, recursive=True, revision=revision)
            found[base] = sum(
                f.size for f in files if isinstance(f, RepoFile) and f.path.endswith((".safetensors", ".bin"))
            )
        except HfHubHTTPError:  # made by this very run
            continue
    return found


def show(figures: dict[str, Any]) -> None:
    """Print a plan for a person."""
    from rich.table import Table

    from plum_hub.progress import console, say

    dropped = ", ".join(f"{reason} {n:,}" for reason, n in figures["dropped"].items()) or "none"
    say(f"instructions: {figures['instructions']:,}; dropped: {dropped}")
    if figures["steps"]:
        table = Table("stage", "engine", "requests", "texts each", "prompt tokens", "written, at most", "USD, at most")
        for step in figures["steps"]:
            table.add_row(
                step["stage"],
                step["engine"],
                f"{step['requests']:,}",
                str(step["n"]),
                f"{step['prompt_tokens']:,}",
                f"{step['completion_tokens_at_most']:,}",
                f"{step['cost_usd_at_most']:,.2f}",
            )
        console.print(table)
    say(f"programs to run in the sandbox: at most {figures['programs_at_most']:,}, each against its tests")
    say(f"trainings: {', '.join(figures['trainings']) or 'none'}")
    say(f"disk: at most {figures['disk_bytes_at_most'] / 1e9:,.2f} GB")
