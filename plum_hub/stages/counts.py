"""What each stage took in, gave out and dropped, by reason: figures for the card and for `plum run --json`.

Every count is read off the stages' rows, so a resumed run counts the same as an unbroken one.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from plum_hub.stages.judge import CHOSEN, REJECTED

if TYPE_CHECKING:
    from datasets import Dataset


#: A response dropped for one of these had passed its own tests.
_EXAMINED = ("flaky", "vacuous", "weak_tests")


def count_tests(shards: list[Dataset], consistency: str) -> dict[str, Any]:
    """Responses in, kept and dropped, by reason; the self-consistency rate (PLUM Table 1: of the responses with a
    solution and tests, those whose solution passes its tests); what was noticed about kept ones, single tests dropped,
    and the kept suites' mutation scores."""
    kept, reasons, notes, single = 0, Counter[str](), Counter[str](), Counter[str]()
    tests: list[int] = []
    scores: list[float] = []
    for shard in shards:
        reasons.update(reason for reason in shard["reason"] if reason)
        columns = ("kept", "notes", "dropped_tests", "tests", "mutation_score")
        for is_kept, noted, dropped, suite, score in zip(*(shard[name] for name in columns), strict=True):
            if is_kept:
                kept += 1
                notes.update(noted)
                single.update(test["reason"] for test in dropped)
                tests.append(len(suite))
                scores += [score] if score is not None else []
    wrong = sum(n for reason, n in reasons.items() if reason.startswith(("inconsistent", "solution_syntax_error")))
    wrong -= reasons["inconsistent:infra_error"]  # nobody knows
    right = kept + sum(reasons[reason] for reason in _EXAMINED)
    rate = 100 * right / (right + wrong) if right + wrong and consistency == "reference" else None
    return {
        "in": kept + reasons.total(),
        "out": kept,
        "dropped": dict(reasons.most_common()),
        "consistency_rate": rate,
        "notes": dict(notes.most_common()),
        "dropped_tests": dict(single.most_common()),
        "tests_a_response": sum(tests) / kept if kept else None,
        "mutation": _tenths(scores),
    }


def _tenths(scores: list[float]) -> dict[str, Any] | None:
    """Mean and histogram of shares, in tenths from below; all killed stands alone."""
    if not scores:
        return None
    names = [*(f"{10 * i} to {10 * i + 10} %" for i in range(10)), "all"]
    bins = dict.fromkeys(names, 0)
    for score in scores:
        bins[names[10 if score >= 1 else int(score * 10 + 1e-6)]] += 1
    return {"suites": len(scores), "mean": sum(scores) / len(scores), "histogram": bins}


def count_samples(shards: list[Dataset], instructions: int) -> dict[str, Any]:
    """Samples, those cut off by the token limit, those that ended in an unusual way (`finish`, by the engine's reason),
    those without a program, and where the programs were found (`plum_hub.stages.extract.Extracted.how`)."""
    finish, found, empty, total, seen = Counter[str](), Counter[str](), 0, 0, set()
    for shard in shards:
        finish.update(shard["finish_reason"])
        if "extraction" in shard.column_names:
            found.update(shard["extraction"])
        empty += sum(not code.strip() for code in shard["code"])
        seen |= set(shard["instruction_id"])
        total += len(shard)
    without = {"instruction_without_samples": instructions - len(seen)} if len(seen) < instructions else {}
    return {
        "in": instructions,
        "out": total,
        "dropped": without,
        "truncated": finish["length"],
        "truncation_rate": 100 * finish["length"] / total if total else None,
        "finish": {reason: n for reason, n in finish.most_common() if reason not in ("stop", "length", "imported")},
        "no_code": empty,
        "extraction": dict(found.most_common()),
    }


def count_judgements(judgements: Dataset) -> dict[str, Any]:
    """Samples by label, by reason for having none, and by outcome; one that was not run has no outcome."""
    labels = Counter(judgements["label"])
    reasons = Counter(reason for reason in judgements["reason"] if reason)
    return {
        "in": len(judgements),
        "out": labels[CHOSEN] + labels[REJECTED],
        "dropped": dict(reasons.most_common()),
        "outcomes": dict(Counter(outcome for outcome in judgements["outcome"] if outcome).most_common()),
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


def examples(
    instructions: Dataset, samples: Dataset, judgements: Dataset, made_tests: list[Dataset] | None = None
) -> list[dict[str, Any]]:
    """A chosen, a rejected and a dropped sample, the first of each kind, in full; in place of a kind that there is not,
    a sample dropped for another reason.

    Args:
        made_tests: the shards of the tests stage; without them, tests are shown by their ids alone.

    Returns:
        The sample's and its judgement's columns, `instruction`, and `blocks`: title and fenced Markdown of the prompt,
        the completion and the tests with their verdicts.
    """
    from plum_hub.stages.tests import kept_tests

    texts = dict(zip(instructions["id"], instructions["instruction"], strict=True))
    labels = judgements["label"][:]
    found = []
    shown = [labels.index(label) for label in (CHOSEN, REJECTED, "") if label in labels]
    reasons = judgements["reason"][:]
    for reason in dict.fromkeys(reasons):  # other reasons for dropping, if there is room
        if reason and len(shown) < 3 and reason not in [reasons[i] for i in shown]:
            shown.append(reasons.index(reason))
    for at in shown:
        example = {**samples[at], **judgements[at], "instruction": texts[samples[at]["instruction_id"]]}
        own = example["instruction_id"]
        suite: dict[str, str] = {}
        for shard in made_tests or []:
            places = [i for i, instruction_id in enumerate(shard["instruction_id"][:]) if instruction_id == own]
            suite |= kept_tests([shard[i] for i in places]).get(own, {})
        example["blocks"] = [
            ("Prompt", fenced("\n\n".join(f"[{m['role']}]\n{m['content']}" for m in example["messages"]))),
            ("Completion", fenced(example["completion"])),
            ("Tests", fenced("\n\n".join(_verdict(test, suite) for test in example["tests"]) or "none", "python")),
        ]
        found.append(example)
    return found


def _verdict(test: dict[str, Any], suite: dict[str, str]) -> str:
    head = f"# {test['test_id']}: {test['outcome']}" + ("" if test["counted"] else ", not counted")
    return f"{head}\n{suite[test['test_id']]}" if test["test_id"] in suite else head


def fenced(text: str, language: str = "") -> str:
    """`text` as a Markdown code block that no fence within it can end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
