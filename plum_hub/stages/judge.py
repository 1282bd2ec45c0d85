"""Stage 3, judge: each sample against all kept tests of its instruction, and PLUM's label for it.

PLUM section 3: passes every test -> chosen; runs but fails at least one -> rejected; has a syntax error, fails the
static check (mypy, footnote 2) or does not run on its own -> dropped. A fault of the sandbox is never a label.

Where the tests came without a reference solution, the samples decide which tests count, by CodeT's dual execution
agreement (arXiv 2207.10397; PLUM's consistency check cites it as its model): samples that pass the same set of tests
form a group, a group scores (number of samples) x (number of tests they pass), and the tests that the best group passes
are the ones that count.

The tests of one response were accepted together, on a program that had run nothing else. So a program that may remember
earlier calls (`keeps_state`) is loaded anew for each response's tests, and one that cannot runs all of them in one go,
which costs a third of it. Within a response the tests still share a loaded program, as they did when they were
accepted; bare assertions (`tests.format: assertions`) are no exception.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Literal

from datasets import Features, List, Value

from plum_hub.outcomes import NOT_RUNNABLE, Outcome, worst
from plum_hub.sandbox import Job, Result, Sandbox, Verdict, calibrate
from plum_hub.sandbox.state import changes_objects, keeps_state
from plum_hub.sandbox.static import check
from plum_hub.stages import columns, rows

CHOSEN, REJECTED = "chosen", "rejected"
NO_CODE = "no_code"  # why an answer in which no program was found has no label

FEATURES = Features(
    {
        "instruction_id": Value("string"),
        "sample_id": Value("string"),
        "static_outcome": Value("string"),  # no_code, or what the static check found; empty when it found nothing
        "static_messages": List(Value("string")),
        "outcome": Value("string"),  # over the counted tests; empty where nothing was run
        "message": Value("string"),
        "seconds": Value("float32"),  # wall clock: the one column that differs between equal runs
        "tests": List(
            {
                "test_id": Value("string"),
                "outcome": Value("string"),
                "seconds": Value("float32"),
                "counted": Value("bool"),  # took part in the label
            }
        ),
        "passed": Value("int32"),  # of the counted tests
        "counted": Value("int32"),
        "label": Value("string"),  # chosen, rejected, or empty
        "reason": Value("string"),  # why there is no label
    }
)


def judge(
    batch: dict[str, list[Any]],
    tests: dict[str, dict[str, str]],
    references: dict[str, list[tuple[str, tuple[str, ...]]]],
    consistency: str,
    static_check: Literal["mypy", "syntax"],
    sandbox: Sandbox,
) -> dict[str, list[Any]]:
    """Verdicts and labels for a shard's samples.

    Args:
        batch: columns of the samples: `instruction_id`, `sample_id`, `code`.
        tests: `plum_hub.stages.tests.kept_tests` of the same instructions.
        references: `plum_hub.stages.tests.references` of the same; each is run first, here, and sets the time limit of
            its instruction's samples. An instruction without any has the sandbox's own limit.
        consistency: `reference` (all kept tests count) or `consensus` (see the module's docstring).
        static_check: `mypy` or `syntax`.

    Returns:
        Columns of `FEATURES`, one row a sample, in the samples' order.
    """
    samples = rows(batch)
    suites = [tests.get(row["instruction_id"], {}) for row in samples]
    static = check([row["code"] for row in samples], static_check)
    # Equal programs with equal tests are run once: at T = 1 a small policy repeats itself a lot.
    programs: dict[str, dict[str, None]] = {}  # instruction id -> programs
    for row, suite, verdict in zip(samples, suites, static, strict=True):
        if suite and verdict.outcome is None and row["code"].strip():
            programs.setdefault(row["instruction_id"], {})[row["code"]] = None
    results = _run(programs, tests, _time_limits(references, sandbox), sandbox)
    made = []
    for row, suite, verdict in zip(samples, suites, static, strict=True):
        result = results.get((row["code"], row["instruction_id"]))
        made.append(_row(row, list(suite), verdict.outcome, verdict.messages, result))
    for group in _by_instruction(made):
        counted = _consensus(group) if consistency == "consensus" else None
        for row in group:
            _label(row, counted)
    return columns(made, FEATURES)


def _run(
    programs: dict[str, dict[str, None]], tests: dict[str, dict[str, str]], seconds: dict[str, float], sandbox: Sandbox
) -> dict[tuple[str, str], Result]:
    """(program, instruction id) -> its result, with the verdicts in the order of the instruction's tests.

    Args:
        programs: by instruction id.
        tests: test id -> test, by instruction id.
        seconds: the instructions' time limits, where there is one; those of the whole sandbox hold for each time that a
            program is loaded.
    """
    jobs: list[Job] = []
    asked: list[tuple[tuple[str, str], list[str]]] = []  # for each job, what it is for, and its tests' ids
    for instruction_id, codes in programs.items():
        suite = tests[instruction_id]
        parts: dict[str, list[str]] = {}  # response -> its tests' ids
        for test_id in suite:
            parts.setdefault(test_id.partition(":")[0], []).append(test_id)
        apart = len(parts) > 1 and any(map(changes_objects, suite.values()))
        careful = [code for code in codes if len(parts) > 1 and (apart or keeps_state(code))]
        others = [code for code in codes if code not in careful]
        # Programs with the same tests follow each other: the sandbox takes equal tests in once.
        for test_ids, some in [(list(suite), others), *((part, careful) for part in parts.values())]:
            chosen = tuple(suite[test_id] for test_id in test_ids)
            jobs += [Job(code, chosen, seconds.get(instruction_id)) for code in some]
            asked += [((code, instruction_id), test_ids) for code in some]
    results = list(sandbox.run(jobs))
    without = [i for i, result in enumerate(results) if result.outcome is Outcome.INFRA_ERROR]
    for i, result in zip(without, sandbox.run(jobs[i] for i in without), strict=True):
        results[i] = result  # once more; see `_label`
    found: dict[tuple[str, str], list[Result]] = {}
    verdicts: dict[tuple[str, str], dict[str, Verdict]] = {}
    for (key, test_ids), result in zip(asked, results, strict=True):
        found.setdefault(key, []).append(result)
        verdicts.setdefault(key, {}).update(zip(test_ids, result.tests, strict=True))
    return {key: _joined(some, [verdicts[key][i] for i in tests[key[1]]]) for key, some in found.items()}


def _joined(results: list[Result], verdicts: list[Verdict]) -> Result:
    """Several runs of one program as one result."""
    outcome = worst([result.outcome for result in results])
    decisive = next(result for result in results if result.outcome is outcome)
    return Result(outcome, sum(result.seconds for result in results), decisive.message, tuple(verdicts))


def _time_limits(references: dict[str, list[tuple[str, tuple[str, ...]]]], sandbox: Sandbox) -> dict[str, float]:
    """Instruction id -> seconds; the most patient of its references decides."""
    runs = [(i, Job(solution, suite)) for i, pairs in references.items() for solution, suite in pairs]
    limits: dict[str, float] = {}
    for (i, _), found in zip(runs, calibrate(sandbox, [job for _, job in runs]), strict=True):
        limits[i] = max(limits.get(i, 0.0), sandbox.limits.seconds if found is None else found)
    return limits


def _row(
    sample: dict[str, Any],
    test_ids: list[str],
    static_outcome: Outcome | None,
    messages: tuple[str, ...],
    result: Result | None,
) -> dict[str, Any]:
    static = static_outcome.value if static_outcome else ""
    if not sample["code"].strip():  # an answer without a program: Python runs nothing well
        static, static_outcome = NO_CODE, Outcome.SYNTAX_ERROR
    outcome = result.outcome if result else static_outcome
    verdicts = zip(test_ids, result.tests, strict=True) if result else ()
    return {
        "instruction_id": sample["instruction_id"],
        "sample_id": sample["sample_id"],
        "static_outcome": static,
        "static_messages": list(messages),
        "outcome": outcome.value if outcome else "",
        "message": result.message if result else "",
        "seconds": result.seconds if result else 0.0,
        "tests": [
            {"test_id": test_id, "outcome": v.outcome.value, "seconds": v.seconds, "counted": True}
            for test_id, v in verdicts
        ],
    }


def _by_instruction(made: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    groups = defaultdict(list)
    for row in made:
        groups[row["instruction_id"]].append(row)
    return list(groups.values())


def _consensus(group: list[dict[str, Any]]) -> set[str]:
    """The test ids that CodeT's best consensus set passes; ties go to more samples, then to the ids."""
    agreeing: dict[frozenset[str], int] = defaultdict(int)
    for row in group:
        passed = frozenset(test["test_id"] for test in row["tests"] if test["outcome"] == Outcome.PASSED)
        if passed:
            agreeing[passed] += 1
    if not agreeing:
        return set()

    def score(tests: frozenset[str]) -> tuple[int, int, list[str]]:
        return agreeing[tests] * len(tests), agreeing[tests], sorted(tests)

    best = max(agreeing, key=score)
    return set(best)


def _label(row: dict[str, Any], counted: set[str] | None) -> None:
    """PLUM's rule on the tests that count; sets `label` or `reason`, and the outcome over those tests."""
    for test in row["tests"]:
        test["counted"] = counted is None or test["test_id"] in counted
    outcomes = [Outcome(test["outcome"]) for test in row["tests"] if test["counted"]]
    row |= {"passed": outcomes.count(Outcome.PASSED), "counted": len(outcomes), "label": "", "reason": ""}
    if row["static_outcome"] or row["outcome"] in NOT_RUNNABLE:
        row["reason"] = row["static_outcome"] or row["outcome"]
        return
    if not outcomes:
        row["reason"] = "no_consensus" if row["tests"] else "no_tests"
        return
    row["outcome"] = worst(outcomes).value
    match worst(outcomes):
        case Outcome.PASSED:
            row["label"] = CHOSEN
        case Outcome.INFRA_ERROR:
            row["reason"] = Outcome.INFRA_ERROR.value
        case _:
            row["label"] = REJECTED
