"""Stage 1, tests: one row a generator response; kept only if its own solution passes its own tests.

PLUM section 3: a generator model answers each instruction with a reference solution, a start code and a suite of
assertions; pairs in which the solution does not pass the tests are dropped (self-consistency, Table 1). The reference
solution is used for nothing else and never reaches training.

A suite is taken apart into its assertions (`parts.split_tests`). Where these do something (`assert stack.pop() == 3`),
the later ones want the earlier ones: a suite that its solution passes only as a whole stays whole, as one test.

Responses that bring no solution (`format: assertions`, CodeT's way of asking a base model for `assert` lines) cannot
be checked here: they stay candidates, and the judge keeps those that the samples' own consensus supports.

What is kept is examined further (`quality.py`): tests that pass by luck or say nothing are dropped one by one, and the
suite gets a mutation score. None of it applies to bare assertions, nor with `consistency: none`, nor to DSTC's answers
(`format: dstc`), whose tests are one suite each and are weighed against each other later (`dstc.py`).

Not covered: whether tests follow the instruction (a solution and tests that share a misunderstanding agree); whether
they call the entry point.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from datasets import Features, List, Value

from plum_hub.generate import TOO_LONG
from plum_hub.outcomes import Outcome
from plum_hub.recipe import Tests
from plum_hub.sandbox import Job, Result, Sandbox, check
from plum_hub.stages import columns, dstc_prompt, rows
from plum_hub.stages.extract import fill, without_last
from plum_hub.stages.parts import parse_parts, split_assertions, split_tests
from plum_hub.stages.quality import Quality, Suite, examine

if TYPE_CHECKING:
    from plum_hub.generate import Completion

FEWEST = 3  # PLUM section 3: 3 to 5 test cases; fewer are kept, and counted

FEATURES = Features(
    {
        "instruction_id": Value("string"),
        "instruction": Value("string"),
        "entry_point": Value("string"),
        "response_id": Value("int32"),
        "generator": Value("string"),
        "generator_revision": Value("string"),
        "response": Value("string"),
        "analysis": Value("string"),
        "solution": Value("string"),
        "start_code": Value("string"),
        "test_code": Value("string"),
        "tests": List(Value("string")),
        "outcome": Value("string"),  # the reference solution against its own tests ...
        "test_outcomes": List(Value("string")),  # ... and against each of them
        "dropped_tests": List({"test": Value("string"), "reason": Value("string")}),  # flaky, vacuous
        "mutants": Value("int32"),  # small changes of the reference; null where it was not examined ...
        "killed": Value("int32"),  # ... those that the kept tests notice ...
        "mutation_score": Value("float32"),  # ... and their share; null without mutants
        "kept": Value("bool"),
        "reason": Value("string"),  # why it was dropped; empty when kept
        "notes": List(Value("string")),  # what was noticed about a kept one: truncated, capped, fewer_than_3, one_test
    }
)

PROMPT = """\
Write a reference solution and a test suite for the programming task below. The tests will be appended to other \
people's solutions and run, so they must call the solution by the name that the task gives, use plain `assert` \
statements, need no input and be right for every correct solution.

Task:
{instruction}

Answer in exactly this format:

[Analysis]
What the task asks for, and its edge cases, in a few sentences.
[Solution]
The complete reference solution in Python.
[Start Code]
The code a solver starts from: imports and signatures without bodies.
[Test Code]
Three to five assert statements.
"""


def prompt(instruction: dict[str, Any], settings: Tests, seed: int = 0) -> str:
    """What the generator is asked about a row of `id`, `instruction`, `entry_point`: `settings.prompt`, or the format's
    own (PLUM Figure 3 or DSTC Appendix B, in our words).

    Args:
        seed: draws the worked example of DSTC's prompt.
    """
    if settings.prompt is None and settings.format == "dstc":
        return dstc_prompt.prompt(instruction["instruction"], instruction["entry_point"], seed)
    return fill(settings.prompt or PROMPT, instruction)


def make_tests(
    batch: dict[str, list[Any]],
    responses: Sequence[Sequence[str | Completion]],
    generator: str,
    generator_revision: str,
    sandbox: Sandbox,
    settings: Tests,
    others: Sequence[Sandbox] = (),
    first: int = 0,
) -> dict[str, list[Any]]:
    """Parse the responses to a shard's instructions and check each against its own solution.

    Args:
        batch: instructions: `id`, `instruction`, `entry_point`.
        responses: per instruction, the generator's answers; a bare text counts as one that ended by itself.
        settings: the recipe's section: `format`, `max_tests`, `reruns`, `mutants`, `min_mutation_score`.
        others: sandboxes with other hash seeds, for `plum_hub.stages.quality.examine`.
        first: the number of an instruction's first response here; others are there already (`top_up`).

    Returns:
        Columns of `FEATURES`, one row a response.
    """
    made = []
    for instruction, answers in zip(rows(batch), responses, strict=True):
        group = [_parse(instruction, i, answer, settings) for i, answer in enumerate(answers, first)]
        if settings.format == "assertions":
            _keep_most_frequent(group, settings.max_tests)
        made += group
    if settings.format == "plum" and settings.consistency != "none":
        _check_syntax([row for row in made if row["kept"]])
        _check_consistency([row for row in made if row["kept"]], sandbox)
        _check_quality([row for row in made if row["kept"]], settings, sandbox, others)
    for row in made:
        row |= {"generator": generator, "generator_revision": generator_revision}
        if not row["kept"] and "truncated" in row["notes"] and row["reason"] in UNUSABLE:
            row["reason"] = "truncated"  # that is why
    return columns(made, FEATURES)


#: Why an engine gave no text at all, where it says more than that there is none.
NOTHING = (TOO_LONG, "content_filter", "refused", "server_error")

#: A response without what is needed, or with broken code.
UNUSABLE = (
    *("empty", "unparsable", "no_solution", "no_test_code", "solution_syntax_error", "test_syntax_error"),
    "no_assertion_runs",
)


def _parse(instruction: dict[str, Any], response_id: int, answer: str | Completion, settings: Tests) -> dict[str, Any]:
    text = answer if isinstance(answer, str) else answer.text
    truncated = not isinstance(answer, str) and answer.finish_reason == "length"
    row: dict[str, Any] = {
        "instruction_id": instruction["id"],
        "instruction": instruction["instruction"],
        "entry_point": instruction["entry_point"],
        "response_id": response_id,
        "response": text,
        **dict.fromkeys(("analysis", "solution", "start_code", "test_code", "outcome"), ""),
        **dict.fromkeys(("mutants", "killed", "mutation_score")),
        "tests": [],
        "test_outcomes": [],
        "dropped_tests": [],
        "kept": False,
        "reason": "",
        "notes": ["truncated"] if truncated else [],
    }
    if not text.strip():
        why = "" if isinstance(answer, str) else answer.finish_reason
        return row | {"reason": why if why in NOTHING else "empty"}
    if settings.format == "assertions":
        row |= {"test_code": text, "tests": split_assertions(text, instruction["entry_point"])}
        return row | ({"kept": True} if row["tests"] else {"reason": "no_assertion_runs"})
    take_apart = dstc_prompt.parse if settings.format == "dstc" else parse_parts
    parts, reason = take_apart(text, instruction["entry_point"])
    row |= parts
    if reason:
        return row | {"reason": reason}
    if truncated:  # the last assertion may be half of one, even if it reads like a whole one
        row["test_code"] = without_last(row["test_code"])
    try:
        if settings.format == "dstc":
            row["tests"] = list(filter(None, [dstc_prompt.suite(row["test_code"])]))
        else:
            row["tests"] = split_tests(row["test_code"])
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return row | {"reason": "test_syntax_error"}
    if not row["tests"]:
        return row | {"reason": "no_assertion_runs"}
    if settings.format == "dstc":
        return row | {"kept": True}
    if len(row["tests"]) > settings.max_tests:
        row |= {"tests": row["tests"][: settings.max_tests], "notes": [*row["notes"], "capped"]}
    if sum(test.count("assert") for test in row["tests"]) < FEWEST:
        row["notes"] = [*row["notes"], f"fewer_than_{FEWEST}"]
    return row | {"kept": True}


def _keep_most_frequent(group: list[dict[str, Any]], max_tests: int) -> None:
    """Leave each distinct assertion with the first response that wrote it, and only the most frequent ones."""
    written = Counter(test for row in group for test in row["tests"])
    wanted = {test for test, _ in written.most_common(max_tests)}
    for row in group:
        if row["kept"]:
            row["tests"] = [test for test in row["tests"] if test in wanted]
            wanted -= set(row["tests"])
            if not row["tests"]:
                row |= {"kept": False, "reason": "duplicate_or_rare"}


def _check_syntax(made: list[dict[str, Any]]) -> None:
    for row, found in zip(made, check([row["solution"] for row in made], "syntax"), strict=True):
        if found.outcome:
            row |= {"kept": False, "reason": "solution_syntax_error", "outcome": found.outcome.value}


def _check_consistency(made: list[dict[str, Any]], sandbox: Sandbox) -> None:
    """PLUM Algorithm 1, lines 4-6: add (q, t) only if the reference passes t."""
    results = _run([Job(row["solution"], tuple(row["tests"])) for row in made], sandbox)
    failed = [i for i, result in enumerate(results) if _may_want_the_whole(result)]
    wholes = _run([Job(made[i]["solution"], (made[i]["test_code"],)) for i in failed], sandbox)
    for i, result in zip(failed, wholes, strict=True):
        if result.outcome is Outcome.PASSED:
            results[i] = result
            notes = [note for note in made[i]["notes"] if note != "capped"]
            made[i] |= {"tests": [made[i]["test_code"]], "notes": [*notes, "one_test"]}
    for row, result in zip(made, results, strict=True):
        row["outcome"] = result.outcome.value
        row["test_outcomes"] = [verdict.outcome.value for verdict in result.tests]
        if result.outcome is not Outcome.PASSED:
            row |= {"kept": False, "reason": f"inconsistent:{result.outcome.value}"}


def _run(jobs: list[Job], sandbox: Sandbox) -> list[Result]:
    """The jobs' results; our own errors get a second chance."""
    results = list(sandbox.run(jobs))
    ours = [i for i, result in enumerate(results) if result.outcome is Outcome.INFRA_ERROR]
    for i, result in zip(ours, sandbox.run(jobs[i] for i in ours), strict=True):
        results[i] = result
    return results


def _may_want_the_whole(result: Result) -> bool:
    """Whether a test failed that may have wanted an earlier one: any but the first."""
    verdicts = [verdict.outcome for verdict in result.tests]
    return verdicts[0] is Outcome.PASSED and {Outcome.FAILED, Outcome.ERROR} & set(verdicts) != set()


def _check_quality(made: list[dict[str, Any]], settings: Tests, sandbox: Sandbox, others: Sequence[Sandbox]) -> None:
    suites = [Suite(row["solution"], row["start_code"], tuple(row["tests"])) for row in made]
    found = examine(suites, sandbox, settings.reruns, settings.mutants, others)
    for row, quality in zip(made, found, strict=True):
        _apply(row, quality, settings.min_mutation_score)
    # What was left out may have prepared what is left, in a program that keeps state.
    fewer = [row for row in made if row["kept"] and row["dropped_tests"]]
    results = _run([Job(row["solution"], tuple(row["tests"])) for row in fewer], sandbox)
    for row, result in zip(fewer, results, strict=True):
        if result.outcome is not Outcome.PASSED:
            row |= {"kept": False, "reason": row["dropped_tests"][0]["reason"]}


def _apply(row: dict[str, Any], quality: Quality, least: float) -> None:
    """Leave out what the examination found wanting, and drop the response if nothing good enough is left."""
    reasons = dict.fromkeys(quality.flaky, "flaky") | dict.fromkeys(quality.vacuous, "vacuous")
    row["dropped_tests"] = [{"test": row["tests"][i], "reason": reason} for i, reason in sorted(reasons.items())]
    if len(reasons) == len(row["tests"]):
        row |= {"kept": False, "reason": "vacuous" if quality.vacuous else "flaky"}
        return
    left = [i for i in range(len(row["tests"])) if i not in reasons]
    row |= {"tests": [row["tests"][i] for i in left], "test_outcomes": [row["test_outcomes"][i] for i in left]}
    row |= {"mutants": quality.mutants, "killed": quality.killed, "mutation_score": quality.score}
    if quality.score is not None and quality.score < least:
        row |= {"kept": False, "reason": "weak_tests"}


def references(made: list[dict[str, Any]]) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Instruction id -> (reference solution, its tests) of each kept response whose solution passed them."""
    found: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for row in made:
        if row["kept"] and row["outcome"] == Outcome.PASSED:
            found.setdefault(row["instruction_id"], []).append((row["solution"], tuple(row["tests"])))
    return found


def kept_tests(made: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Instruction id -> {test id: test}, of kept responses; a test id is `<response>:<place in it>`."""
    tests: dict[str, dict[str, str]] = {}
    for row in made:
        if row["kept"]:
            group = tests.setdefault(row["instruction_id"], {})
            for place, test in enumerate(row["tests"]):
                group[f"{row['response_id']}:{place}"] = test
    return tests
