"""Are the labels right? Preferences held against tests known to be right, after the fact and for the card alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plum_hub.instructions import column, load_rows
from plum_hub.outcomes import Outcome
from plum_hub.progress import bar, say
from plum_hub.recipe import Prefer
from plum_hub.sandbox import Job, Sandbox
from plum_hub.stages import prefer
from plum_hub.stages.extract import fill
from plum_hub.stages.judge import CHOSEN, REJECTED

if TYPE_CHECKING:
    from datasets import Dataset

    from plum_hub.recipe import Recipe, Truth

Pair = tuple[str, str]


def load_truth(recipe: Recipe, source: Truth) -> dict[str, str]:
    """Instruction id -> a test known to be right, made by filling the row's columns into `source.test`."""
    rows = load_rows(recipe, source)
    ids = column(rows, source.id_column, source)
    truth = {}
    for instruction_id, row in zip(ids, rows, strict=True):
        truth[str(instruction_id)] = fill(source.test, row)
    return truth


def pair_quality(
    recipe: Recipe,
    truth: dict[str, str],
    samples: Dataset,
    judgements: Dataset,
    views: dict[str, Dataset],
    sandbox: Sandbox,
) -> dict[str, dict[str, Any]]:
    """How many labels agree with the truth: for the published preferences, and for taking every test at its word.

    Args:
        truth: instruction id -> test; samples of other instructions are left out.
        views: `kto` and `dpo` as published.

    Returns:
        rule -> `chosen_right` (chosen samples that pass), `rejected_right` (rejected ones that do not) and `ordered`
        (pairs of a right one over a wrong one), in percent, None where there are none; and the numbers of `pairs`,
        `chosen` and `rejected`.
    """
    assert recipe.tests
    ids, codes, sample_ids = samples["instruction_id"][:], samples["code"][:], samples["sample_id"][:]
    labels, suites = judgements["label"][:], judgements["tests"][:]
    judged = [i for i, label in enumerate(labels) if label and ids[i] in truth]
    keys = sorted({(ids[i], codes[i]) for i in judged})
    right = {}
    with bar("truth", len(keys)) as advance:
        jobs = (Job(code, (truth[instruction_id],)) for instruction_id, code in keys)
        for key, result in zip(keys, sandbox.run(jobs), strict=True):
            right[key] = result.outcome is Outcome.PASSED
            advance(1)
    is_right = {sample_ids[i]: right[ids[i], codes[i]] for i in judged}
    say(f"of {len(judged)} labelled samples, {_percent(list(is_right.values()))} % are right by the tests of `truth`")

    kto, dpo = views["kto"], views["dpo"]
    chosen = [sample for sample, label in zip(kto["sample_id"], kto["label"], strict=True) if label]
    rejected = [sample for sample, label in zip(kto["sample_id"], kto["label"], strict=True) if not label]
    pairs = list(zip(dpo["chosen_sample_id"], dpo["rejected_sample_id"], strict=True))
    every = ["" if not label else _by_every_test(suite) for label, suite in zip(labels, suites, strict=True)]
    naive, naive_pairs, _ = prefer.select(ids, every, Prefer(max_pairs=recipe.prefer.max_pairs), recipe.seed)
    return {
        recipe.tests.consistency: _quality(is_right, chosen, rejected, pairs),
        "every_test": _quality(
            is_right,
            [sample_ids[i] for i in naive[CHOSEN]],
            [sample_ids[i] for i in naive[REJECTED]],
            [(sample_ids[c], sample_ids[r]) for c, r in naive_pairs],
        ),
    }


def _by_every_test(suite: list[dict[str, Any]]) -> str:
    return CHOSEN if all(test["outcome"] == Outcome.PASSED for test in suite) else REJECTED


def _quality(is_right: dict[str, bool], chosen: list[str], rejected: list[str], pairs: list[Pair]) -> dict[str, Any]:
    chosen, rejected = [s for s in chosen if s in is_right], [s for s in rejected if s in is_right]
    pairs = [(c, r) for c, r in pairs if c in is_right]
    return {
        "chosen_right": _percent([is_right[s] for s in chosen]),
        "rejected_right": _percent([not is_right[s] for s in rejected]),
        "ordered": _percent([is_right[c] and not is_right[r] for c, r in pairs]),
        "pairs": len(pairs),
        "chosen": len(chosen),
        "rejected": len(rejected),
    }


def _percent(flags: list[bool]) -> float | None:
    return round(100 * sum(flags) / len(flags), 2) if flags else None
