"""Stage 4 the DSTC way (arXiv 2411.13611, section 3): the policy's own programs and tests, weighed against each other.

    views, counts = dstc(samples, judgements, tests, settings, prompts, seed, kto_batch_size, fingerprint)

All programs of an instruction are run on all of its tests (the judge did that), and nobody knows which are right.
Minimax selection takes the program that passes most, with the hardest test that it passes, over the one that passes
fewest of those that fail the easiest test that anything fails (`select`, equations 3.1-3.4). Then each program gets its
test put below it, so that what is preferred is a pair that ran well over one that did not.

Ties: the equations leave them open. `select` takes the lowest index, and `dstc` hands it programs and tests in an order
drawn from the seed and the instruction. So results can be repeated, and it does not matter in which order somebody
stored imported samples (the best first, say) or that the tests of a second generator come last. A seed draws one order
for all four choices, which keeps `select` a function of the matrix alone.

Not covered: which programs run at all (mypy's objections count as failing every test here; the paper has no static
check, so set `judge.static_check: syntax` to follow it); tests that are right and those that are wrong (nobody knows).
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset, Features, Value

from plum_hub.outcomes import Outcome
from plum_hub.recipe import Dstc
from plum_hub.stages import prefer
from plum_hub.stages.extract import fill

Messages = list[dict[str, str]]

DPO = Features({**prefer.DPO, "chosen_test_id": Value("string"), "rejected_test_id": Value("string")})
KTO = Features({**prefer.KTO, "test_id": Value("string")})

#: A program and its test in one response. The paper has such a template, but it is lost in the text we have of it, so
#: these words are ours. The same for both sides: the words must not tell which is which.
TEMPLATE = "{program}\n\nTests for this program:\n\n{test}"


@dataclass(frozen=True)
class Selection:
    """Rows (programs) and columns (tests) of a matrix; None where the equation has no solution."""

    chosen: int | None
    chosen_test: int | None
    rejected_test: int | None
    rejected: int | None

    @property
    def has_chosen(self) -> bool:
        """Whether there is a chosen response: a program and a test that it passes."""
        return self.chosen is not None and self.chosen_test is not None

    @property
    def has_rejected(self) -> bool:
        """Whether there is a rejected response: a program and a test that it fails."""
        return self.rejected is not None and self.rejected_test is not None


def select(passed: Sequence[Sequence[bool]]) -> Selection:
    """Minimax selection (section 3, component I). Ties go to the lowest index.

    Args:
        passed: per program, whether it passes each test; all rows are of one length, which may be 0.
    """
    programs = range(len(passed))
    tests = range(len(passed[0])) if passed else range(0)
    passes = [sum(row) for row in passed]  # of a program
    passing = [sum(passed[i][j] for i in programs) for j in tests]  # programs, of a test
    # min and max return the first of equals
    chosen = max(programs, key=lambda i: passes[i], default=None)  # 3.1
    held = [j for j in tests if chosen is not None and passed[chosen][j]]
    chosen_test = min(held, key=lambda j: passing[j], default=None)  # 3.2: the hardest
    failed = [j for j in tests if passing[j] < len(passed)]
    rejected_test = max(failed, key=lambda j: passing[j], default=None)  # 3.3: the easiest
    failing = [i for i in programs if rejected_test is not None and not passed[i][rejected_test]]
    rejected = min(failing, key=lambda i: passes[i], default=None)  # 3.4
    return Selection(chosen, chosen_test, rejected_test, rejected)


def baseline(passed: Sequence[Sequence[bool]], own: Sequence[int | None], rng: random.Random) -> Selection:
    """Without minimax selection (Tables 1 and 4): an answer that passes its own test over one that fails its own.

    The paper names this baseline without saying how it is drawn; our reading: each answer's program is run on the test
    of the same answer alone, and of those that pass one is drawn at random, and one of those that fail.

    Args:
        passed: as for `select`.
        own: per program, the column of its own answer's test; None where that brought none.
    """
    tested = [(i, j) for i, j in enumerate(own) if j is not None]
    good = [(i, j) for i, j in tested if passed[i][j]]
    bad = [(i, j) for i, j in tested if not passed[i][j]]
    chosen, chosen_test = rng.choice(good) if good else (None, None)
    rejected, rejected_test = rng.choice(bad) if bad else (None, None)
    return Selection(chosen, chosen_test, rejected_test, rejected)


def response(program: str, test: str | None) -> str:
    """What the model is to write: the program in a code block and, unless it is None, the test in a second one."""
    if test is None:
        return _block(program)
    return fill(TEMPLATE, {"program": _block(program), "test": _block(test)})


def _block(code: str) -> str:
    longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
    fence = "`" * (longest + 1)  # a docstring may hold a code block of its own
    return f"{fence}python\n{code.strip(chr(10))}\n{fence}"


@dataclass(frozen=True)
class _Pair:
    """The two sides of an instruction: sample id, test id and text; None where a side does not exist."""

    instruction_id: str
    chosen: tuple[str, str, str] | None
    rejected: tuple[str, str, str] | None


def dstc(
    samples: Dataset,
    judgements: Dataset,
    tests: dict[str, dict[str, str]],
    settings: Dstc,
    prompts: dict[str, Messages],
    seed: int,
    kto_batch_size: int,
    fingerprint: str,
) -> tuple[dict[str, Dataset], dict[str, Any]]:
    """The training views of DSTC.

    A sample that was not run, for its syntax or the static check, fails every test. Left out of the matrix, and
    counted, are samples without any program, and those with a verdict missing through a fault of ours (infra_error). A
    verdict that is missing because the program used up its time on other tests counts as not passed.

    Args:
        samples, judgements: row for row the same samples, rows of one instruction together or not.
        tests: `plum_hub.stages.tests.kept_tests`: instruction id -> {test id: test}, for every instruction.
        settings: which of the two components are on.
        prompts: instruction id -> the prompt to train on: the one that was asked, without the entry point's line
            (section 3: entry points are removed lest they leak what the tests call).
        seed: of ties, of the baseline's draws and of the rows' order.
        kto_batch_size: rows a device's batch that the order of `dstc_kto` must suit.
        fingerprint: of this stage and its inputs; the views' fingerprints are made from it.

    Returns:
        `{"dstc_dpo", "dstc_kto"}` datasets, and the counts: `instructions`, `feasible` ones by side, `pairs`, `chosen`
        and `rejected` rows of `dstc_kto`, `same_program` (pairs of one program with two tests), `kto_block`, samples
        `left_out` and instructions `dropped` (`no_place_in_kto_order`: rows), by reason.

    Raises:
        KeyError: an instruction has no prompt.
    """
    left_out: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    found: list[_Pair] = []
    programs: dict[str, str] = dict(zip(samples["sample_id"][:], samples["code"][:], strict=True))
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in judgements.select_columns(["instruction_id", "sample_id", "outcome", "tests"]):
        groups.setdefault(row["instruction_id"], []).append(row)
    for instruction_id, group in groups.items():
        suite = tests.get(instruction_id, {})
        kept = _judged(group, programs, left_out)
        if not kept or not suite:
            dropped["no_test" if kept else "no_program"] += 1
            continue
        found.append(_pair(instruction_id, kept, suite, programs, settings, random.Random(f"{seed}:{instruction_id}")))

    pairs = [pair for pair in found if pair.chosen and pair.rejected]
    dropped["no_chosen"] = sum(not pair.chosen for pair in found)
    dropped["no_rejected"] = sum(bool(pair.chosen) and not pair.rejected for pair in found)  # `dstc_kto` has them
    equal = {pair.instruction_id for pair in pairs if _text(pair.chosen) == _text(pair.rejected)}
    dropped["chosen_equals_rejected"] = len(equal)
    pairs = [pair for pair in pairs if pair.instruction_id not in equal]

    rows = [(pair, True) for pair in found if pair.chosen]
    rows += [(pair, False) for pair in pairs]  # as for DPO: a text that is right and wrong at once teaches nothing
    labels = [label for _, label in rows]
    block = prefer.kto_block(sum(labels), len(labels) - sum(labels), kto_batch_size)
    asked = [str(prompts[pair.instruction_id]) for pair, _ in rows]
    order, lost = prefer.kto_order(asked, labels, seed, block)
    dropped["no_place_in_kto_order"] = lost
    random.Random(seed).shuffle(pairs)
    views = {
        "dstc_dpo": _view([_dpo(pair, prompts) for pair in pairs], DPO, f"{fingerprint}-dstc_dpo"),
        "dstc_kto": _view([_kto(*rows[i], prompts) for i in order], KTO, f"{fingerprint}-dstc_kto"),
    }
    kept_labels = views["dstc_kto"]["label"][:]
    counts = {
        "instructions": len(groups),
        "feasible": {
            "chosen": sum(pair.chosen is not None for pair in found),
            "rejected": sum(pair.rejected is not None for pair in found),
        },
        "pairs": len(pairs),
        "chosen": sum(kept_labels),
        "rejected": len(kept_labels) - sum(kept_labels),
        "same_program": sum(_program(pair.chosen, programs) == _program(pair.rejected, programs) for pair in pairs),
        "kto_block": block,
        "left_out": dict(+left_out),
        "dropped": dict(+dropped),
    }
    return views, counts


def _judged(group: list[dict[str, Any]], programs: dict[str, str], left_out: Counter[str]) -> list[dict[str, Any]]:
    """The judgements that make rows of the matrix."""
    kept = []
    for row in group:
        outcomes = {row["outcome"], *(test["outcome"] for test in row["tests"])}
        if not programs[row["sample_id"]].strip():
            left_out["no_code"] += 1
        elif Outcome.INFRA_ERROR in outcomes and Outcome.TIMEOUT not in outcomes:
            left_out[Outcome.INFRA_ERROR.value] += 1
        else:
            kept.append(row)
    return kept


def _pair(
    instruction_id: str,
    group: list[dict[str, Any]],
    suite: dict[str, str],
    programs: dict[str, str],
    settings: Dstc,
    rng: random.Random,
) -> _Pair:
    test_ids = list(suite)
    rng.shuffle(group)  # see the module's docstring on ties
    rng.shuffle(test_ids)
    matrix = []
    for row in group:
        good = {test["test_id"] for test in row["tests"] if test["outcome"] == Outcome.PASSED}
        matrix.append([test_id in good for test_id in test_ids])
    if settings.minimax:
        selected = select(matrix)
    else:
        column = {test_id: j for j, test_id in enumerate(test_ids)}
        selected = baseline(matrix, [column.get(own_test(row["sample_id"])) for row in group], rng)

    def side(program: int | None, test: int | None) -> tuple[str, str, str] | None:
        if program is None or test is None:
            return None
        sample_id, test_id = group[program]["sample_id"], test_ids[test]
        return sample_id, test_id, response(programs[sample_id], suite[test_id] if settings.concatenate else None)

    return _Pair(
        instruction_id,
        side(selected.chosen, selected.chosen_test),
        side(selected.rejected, selected.rejected_test),
    )


def own_test(sample_id: str) -> str:
    """The id of the test that came in the same answer as the sample: `X#i` -> `i:0` (`sample.from_tests`)."""
    return f"{sample_id.rpartition('#')[2]}:0"


def _text(side: tuple[str, str, str] | None) -> str:
    return side[2] if side else ""


def _program(side: tuple[str, str, str] | None, programs: dict[str, str]) -> str:
    return programs[side[0]] if side else ""


def _dpo(pair: _Pair, prompts: dict[str, Messages]) -> dict[str, Any]:
    assert pair.chosen
    assert pair.rejected
    return {
        "prompt": prompts[pair.instruction_id],
        "chosen": _assistant(pair.chosen[2]),
        "rejected": _assistant(pair.rejected[2]),
        "instruction_id": pair.instruction_id,
        "chosen_sample_id": pair.chosen[0],
        "rejected_sample_id": pair.rejected[0],
        "chosen_test_id": pair.chosen[1],
        "rejected_test_id": pair.rejected[1],
    }


def _kto(pair: _Pair, label: bool, prompts: dict[str, Messages]) -> dict[str, Any]:
    side = pair.chosen if label else pair.rejected
    assert side
    return {
        "prompt": prompts[pair.instruction_id],
        "completion": _assistant(side[2]),
        "label": label,
        "instruction_id": pair.instruction_id,
        "sample_id": side[0],
        "test_id": side[1],
    }


def _assistant(text: str) -> Messages:
    return [{"role": "assistant", "content": text}]


def _view(rows: list[dict[str, Any]], features: Features, fingerprint: str) -> Dataset:
    made = Dataset.from_dict({name: [row[name] for row in rows] for name in features}, features=features)
    return prefer.view(made, _same, features, fingerprint)


def _same(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return dict(batch)  # a new one: of the old one `datasets` would remove the columns
