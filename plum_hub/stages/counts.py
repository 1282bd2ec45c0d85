"""What each stage took in, gave out and dropped, by reason: figures for the card and for `plum run --json`.

Every count is read off the stages' rows, so a resumed run counts the same as an unbroken one.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from plum_hub.stages.judge import CHOSEN, REJECTED

if TYPE_CHECKING:
    from datasets import Dataset


def count_tests(shards: list[Dataset], consistency: str) -> dict[str, Any]:
    kept, reasons = 0, Counter[str]()
    for shard in shards:
        kept += sum(shard["kept"])
        reasons.update(reason for reason in shard["reason"] if reason)
    total = kept + reasons.total()
    checked = kept + sum(n for reason, n in reasons.items() if reason.startswith("inconsistent"))
    rate = 100 * kept / checked if checked and consistency == "reference" else None
    return {"in": total, "out": kept, "dropped": dict(reasons.most_common()), "consistency_rate": rate}


def count_samples(shards: list[Dataset], instructions: int) -> dict[str, Any]:
    finish, empty, total, seen = Counter[str](), 0, 0, set()
    for shard in shards:
        finish.update(shard["finish_reason"])
        empty += sum(not code.strip() for code in shard["code"])
        seen |= set(shard["instruction_id"])
        total += len(shard)
    without = {"instruction_without_samples": instructions - len(seen)} if len(seen) < instructions else {}
    return {"in": instructions, "out": total, "dropped": without, "truncated": finish["length"], "no_code": empty}


def count_judgements(judgements: Dataset) -> dict[str, Any]:
    labels = Counter(judgements["label"])
    reasons = Counter(reason for reason in judgements["reason"] if reason)
    return {
        "in": len(judgements),
        "out": labels[CHOSEN] + labels[REJECTED],
        "dropped": dict(reasons.most_common()),
        "outcomes": dict(Counter(judgements["outcome"]).most_common()),
        "chosen": labels[CHOSEN],
        "rejected": labels[REJECTED],
    }


def pass_ratio_histogram(judgements: Dataset) -> dict[str, int]:
    """Pass ratio of the instructions (PLUM Figure 2): share of labelled samples that are chosen, in fifths."""
    chosen, labelled = Counter[str](), Counter[str]()
    for instruction_id, label in zip(judgements["instruction_id"], judgements["label"], strict=True):
        labelled[instruction_id] += bool(label)
        chosen[instruction_id] += label == CHOSEN
    names = ["none", "up to 20 %", "20 to 40 %", "40 to 60 %", "60 to 80 %", "80 to 100 %", "all"]
    bins = dict.fromkeys(names, 0)
    for instruction_id, total in labelled.items():
        if total:
            share = chosen[instruction_id] / total
            bins[names[0] if share == 0 else names[6] if share == 1 else names[1 + min(4, int(share * 5))]] += 1
    return bins


def examples(instructions: Dataset, samples: Dataset, judgements: Dataset) -> list[dict[str, Any]]:
    """A chosen, a rejected and a dropped sample, the first of each kind."""
    texts = dict(zip(instructions["id"], instructions["instruction"], strict=True))
    labels = judgements["label"][:]
    found = []
    for label in (CHOSEN, REJECTED, ""):
        at = next((i for i, value in enumerate(labels) if value == label), None)
        if at is not None:
            found.append({**samples[at], **judgements[at], "instruction": texts[samples[at]["instruction_id"]]})
    return found
