"""Stage 4, prefer: labelled samples as `kto`, `dpo` and `sft` rows in TRL's conversational formats.

One set of samples and verdicts gives three views (PLUM sections 3 and 4.2): KTO takes every labelled row, DPO a
balanced sub-sample per instruction, SFT (rejection-sampling fine-tuning) the chosen rows alone. An instruction without
a chosen sample is left out. Each row carries its ids back to `judgements`. A fourth view, `grpo`, has no samples: the
prompts with their kept tests, for trainers that sample by themselves (`plum_hub.rewards`).

Row order matters for KTO: TRL reads rows in sequence and makes the mismatched completions of its KL term by rotating
completions by one inside each batch. `kto_order` therefore interleaves prompts and labels, so that no two neighbours
share a prompt (the first and last row of a block are neighbours too) and every block holds both labels.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from datasets import Dataset, Features, List, Value, concatenate_datasets

from plum_hub.outcomes import NOT_RUNNABLE
from plum_hub.recipe import Prefer
from plum_hub.stages.judge import CHOSEN, REJECTED
from plum_hub.stages.sample import MESSAGES

_IDS = {"instruction_id": Value("string")}
KTO = Features(
    {"prompt": MESSAGES, "completion": MESSAGES, "label": Value("bool"), **_IDS, "sample_id": Value("string")}
)
DPO = Features(
    {
        "prompt": MESSAGES,
        "chosen": MESSAGES,
        "rejected": MESSAGES,
        **_IDS,
        "chosen_sample_id": Value("string"),
        "rejected_sample_id": Value("string"),
    }
)
SFT = Features({"prompt": MESSAGES, "completion": MESSAGES, **_IDS, "sample_id": Value("string")})
GRPO = Features({"prompt": MESSAGES, "tests": List(Value("string")), "suites": List(Value("int32")), **_IDS})


def relabel(labels: Sequence[str], reasons: Sequence[str], negatives: str) -> list[str]:
    """The labels that training sees: PLUM's, or, for its ablation (Figure 3), with programs that do not run as the only
    rejected ones (`negatives: unrunnable`)."""
    if negatives == "failing":
        return list(labels)
    return [
        REJECTED if reason in NOT_RUNNABLE else label if label == CHOSEN else ""
        for label, reason in zip(labels, reasons, strict=True)
    ]


def select(
    instruction_ids: Sequence[str],
    labels: Sequence[str],
    settings: Prefer,
    seed: int,
) -> tuple[dict[str, list[int]], list[tuple[int, int]], Counter[str]]:
    """Choose rows: which samples become preferences, and which pairs.

    Args:
        instruction_ids, labels: per sample, in order.
        settings: caps an instruction, and how pairs are made.

    Returns:
        `{"chosen": rows, "rejected": rows}`, `(chosen row, rejected row)` pairs (`matched`: as many as the smaller side
        has, PLUM section 4.2; `all`: each with each, in random order), up to the cap, and the number of labelled
        samples left out, by reason.
    """
    groups: dict[str, dict[str, list[int]]] = {}
    for row, (instruction_id, label) in enumerate(zip(instruction_ids, labels, strict=True)):
        if label:
            groups.setdefault(instruction_id, {CHOSEN: [], REJECTED: []})[label].append(row)
    kept: dict[str, list[int]] = {CHOSEN: [], REJECTED: []}
    pairs: list[tuple[int, int]] = []
    dropped: Counter[str] = Counter()
    for instruction_id, group in groups.items():
        if not group[CHOSEN]:
            dropped["no_chosen_sample"] += len(group[REJECTED])
            continue
        rng = random.Random(f"{seed}:{instruction_id}")
        for label, cap in ((CHOSEN, settings.max_chosen), (REJECTED, settings.max_rejected)):
            rng.shuffle(group[label])
            dropped["over_cap"] += len(group[label]) - len(group[label][:cap])
            kept[label] += sorted(group[label][:cap])
        if settings.pairs == "matched":
            found = list(zip(group[CHOSEN], group[REJECTED], strict=False))
        else:
            found = list(itertools.product(group[CHOSEN], group[REJECTED]))
            rng.shuffle(found)
        pairs += found[: settings.max_pairs]
    return kept, pairs, +dropped


def kto_block(n_chosen: int, n_rejected: int, batch_size: int = 2) -> int:
    """Rows a block: the batch size asked for, doubled until every block can hold both labels."""
    rarer = min(n_chosen, n_rejected)
    block = batch_size
    while rarer and block < (n_chosen + n_rejected) / rarer:
        block *= 2
    return block


def kto_order(prompts: Sequence[Any], labels: Sequence[bool], seed: int, block: int) -> tuple[list[int], int]:
    """An order of rows that is safe for TRL's KTO trainer.

    The two labels are spread evenly over the sequence, so the rarer one is met in every block of `kto_block` rows.
    Within a label, rows are shuffled; a row that would stand next to its own prompt changes places with another.

    Args:
        prompts, labels: per row; `prompts` are compared by equality.
        block: rows a batch on one device.

    Returns:
        Row indices in their new order, and how many rows had to be left out: there is no place for rows of a prompt
        that makes up most of its label, nor for rows that would then stand in a block of one label.
    """
    rows = list(range(len(labels)))
    n_true = sum(map(bool, labels))
    holds_both = len(labels) <= block * min(n_true, len(labels) - n_true)  # else batches of one label are all there is
    while True:
        order = _spread(rows, labels, random.Random(seed))
        clashes = _repair(order, prompts, labels, block, random.Random(seed))
        if not clashes:
            return order, len(labels) - len(order)
        # Rows of the prompt that is too frequent have to go, and the labels must be spread anew without them.
        often = Counter(str(prompts[order[place]]) for place in clashes).most_common(1)[0][0]
        gone = [order[place] for place in clashes if str(prompts[order[place]]) == often]
        dropped = set(gone[: (len(gone) + 1) // 2])
        rows = [row for row in rows if row not in dropped]
        if holds_both:
            rows = _without_surplus(rows, labels, block)


def _without_surplus(rows: list[int], labels: Sequence[bool], block: int) -> list[int]:
    """Rows with no more of the commoner label than blocks of both labels can hold."""
    common = 2 * sum(bool(labels[row]) for row in rows) >= len(rows)
    few = sum(bool(labels[row]) != common for row in rows)
    surplus = set([row for row in rows if bool(labels[row]) == common][few * (block - 1) :])
    return [row for row in rows if row not in surplus]


def _spread(rows: list[int], labels: Sequence[bool], rng: random.Random) -> list[int]:
    """Rows in random order with the rarer label at even distances."""
    by_label: dict[bool, list[int]] = {True: [], False: []}
    for row in rows:
        by_label[bool(labels[row])].append(row)
    for group in by_label.values():
        rng.shuffle(group)
    rarer = min(by_label, key=lambda label: len(by_label[label]))
    few = len(by_label[rarer])
    at = {int((i + 0.5) * len(rows) / few) for i in range(few)} if few else set()
    rare, often = iter(by_label[rarer]), iter(by_label[not rarer])
    return [next(rare) if place in at else next(often) for place in range(len(rows))]


def _repair(
    order: list[int], prompts: Sequence[Any], labels: Sequence[bool], block: int, rng: random.Random
) -> list[int]:
    """Exchange rows of one label, in place, until none stands next to its own prompt; return where one still does."""

    def clashing(*places: int) -> int:
        return sum(_clash(order, prompts, place, block) for place in places)

    clashes: list[int] = []
    for _ in range(30):
        clashes = [place for place in range(len(order)) if clashing(place)]
        if not clashes:
            break
        for place in clashes:
            for other in rng.sample(range(len(order)), min(len(order), 200)):
                if not clashing(place):
                    break
                if other == place or labels[order[place]] != labels[order[other]]:
                    continue
                before = clashing(place, other)
                order[place], order[other] = order[other], order[place]
                if clashing(place, other) >= before and not (clashing(other) <= 1 and rng.random() < 0.05):
                    order[place], order[other] = order[other], order[place]
    return clashes


def _clash(order: list[int], prompts: Sequence[Any], place: int, block: int) -> bool:
    """Whether the row at `place` stands next to a row of its own prompt, in the sequence or round its block."""
    start = place - place % block
    end = min(start + block, len(order)) - 1
    around = {place - 1, place + 1, end if place == start else place - 1, start if place == end else place + 1}
    mine = prompts[order[place]]
    return any(0 <= other < len(order) and other != place and prompts[order[other]] == mine for other in around)


def is_kto_safe(prompts: Sequence[Any], labels: Sequence[bool], block: int) -> bool:
    """Whether rows in this order are safe for batches of `block` rows: what `kto_order` promises."""
    order = list(range(len(labels)))
    mixed = all(len(set(labels[i : i + block])) == 2 for i in range(0, len(labels) - block + 1, block))
    return mixed and not any(_clash(order, prompts, place, block) for place in order)


def to_kto(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """`datasets.map` function: samples with their label -> columns of `KTO`."""
    return {
        "prompt": batch["messages"],
        "completion": _assistant(batch["completion"]),
        "label": [label == CHOSEN for label in batch["label"]],
        "instruction_id": batch["instruction_id"],
        "sample_id": batch["sample_id"],
    }


def to_sft(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """`datasets.map` function: chosen samples -> columns of `SFT`."""
    made = to_kto(batch)
    del made["label"]
    return made


def to_dpo(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """`datasets.map` function: chosen samples, with the rejected one's columns under `other_`, -> columns of `DPO`."""
    return {
        "prompt": batch["messages"],
        "chosen": _assistant(batch["completion"]),
        "rejected": _assistant(batch["other_completion"]),
        "instruction_id": batch["instruction_id"],
        "chosen_sample_id": batch["sample_id"],
        "rejected_sample_id": batch["other_sample_id"],
    }


def _assistant(texts: list[str]) -> list[list[dict[str, str]]]:
    return [[{"role": "assistant", "content": text}] for text in texts]


def prefer(
    samples: Dataset,
    judgements: Dataset,
    settings: Prefer,
    seed: int,
    kto_batch_size: int,
    fingerprint: str,
) -> tuple[dict[str, Dataset], dict[str, Any]]:
    """The three training views of judged samples.

    Args:
        samples, judgements: row for row the same samples.
        settings: the recipe's section.
        kto_batch_size: rows a device's batch that the order of `kto` must suit.
        fingerprint: of this stage and its inputs; the views' fingerprints are made from it.

    Returns:
        `{"kto", "dpo", "sft"}` datasets, and the counts: rows by label, dropped by reason, `kto_block`.
    """
    labels = relabel(judgements["label"][:], judgements["reason"][:], settings.negatives)
    labelled = concatenate_datasets(
        [
            samples.select_columns(["instruction_id", "sample_id", "messages", "completion"]),
            Dataset.from_dict({"label": labels}, features=Features({"label": Value("string")})),
        ],
        axis=1,
    )
    ids = labelled["instruction_id"][:]
    kept, pairs, dropped = select(ids, labels, settings, seed)
    completions = labelled["completion"][:]
    same = [pair for pair in pairs if completions[pair[0]] == completions[pair[1]]]
    if same:  # a flaky program: right once and wrong once
        dropped["chosen_equals_rejected"] = len(same)
        pairs = [pair for pair in pairs if pair not in set(same)]

    rows = kept[CHOSEN] + kept[REJECTED]
    block = kto_block(len(kept[CHOSEN]), len(kept[REJECTED]), kto_batch_size)
    # The texts count, not the ids: two instructions may read the same.
    prompts = [str(labelled[r]["messages"]) for r in rows]
    order, left_out = kto_order(prompts, [labels[r] == CHOSEN for r in rows], seed, block)
    if left_out:
        dropped["no_place_in_kto_order"] = left_out
    rng = random.Random(seed)
    rng.shuffle(pairs)
    sft_rows = list(kept[CHOSEN])
    rng.shuffle(sft_rows)

    def take(indices: list[int]) -> Dataset:
        # in memory: else index files appear beside the shards
        return labelled.select(indices, keep_in_memory=True).flatten_indices(keep_in_memory=True)

    other = take([r for _, r in pairs]).select_columns(["sample_id", "completion"])
    other = other.rename_columns({"sample_id": "other_sample_id", "completion": "other_completion"})
    paired = concatenate_datasets([take([c for c, _ in pairs]), other], axis=1)
    views = {
        "kto": view(take([rows[i] for i in order]), to_kto, KTO, f"{fingerprint}-kto"),
        "dpo": view(paired, to_dpo, DPO, f"{fingerprint}-dpo"),
        "sft": view(take(sft_rows), to_sft, SFT, f"{fingerprint}-sft"),
    }
    counts = {
        "chosen": sum(views["kto"]["label"]),
        "rejected": len(views["kto"]) - sum(views["kto"]["label"]),
        "pairs": len(pairs),
        "instructions": len(set(views["kto"]["instruction_id"])),
        "kto_block": block,
        "dropped": dict(dropped),
    }
    return views, counts


def view(dataset: Dataset, function: Any, features: Features, fingerprint: str) -> Dataset:
    """A training config made from chosen rows by one of the functions above."""
    if not len(dataset):
        return Dataset.from_dict({column: [] for column in features}, features=features)
    return dataset.map(
        function,
        batched=True,
        remove_columns=dataset.column_names,
        features=features,
        new_fingerprint=fingerprint,
        keep_in_memory=True,
    )


def with_tests(prompts: dict[str, list[dict[str, str]]], tests: dict[str, dict[str, str]]) -> Dataset:
    """The view for trainers that sample by themselves: one row an instruction that has kept tests.

    Args:
        prompts: instruction id -> the conversation that asks for a solution.
        tests: `plum_hub.stages.tests.kept_tests`.
    """
    ids = [instruction_id for instruction_id in prompts if tests.get(instruction_id)]
    return Dataset.from_dict(
        {
            "prompt": [prompts[i] for i in ids],
            "tests": [list(tests[i].values()) for i in ids],
            "suites": [[int(test_id.partition(":")[0]) for test_id in tests[i]] for i in ids],  # the response's number
            "instruction_id": ids,
        },
        features=GRPO,
    )
