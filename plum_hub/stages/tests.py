"""Stage 1, tests: one row a generator response; kept only if its own solution passes its own tests.

PLUM section 3: a generator model answers each instruction with a reference solution, a start code and a suite of
assertions; pairs in which the solution does not pass the tests are dropped (self-consistency, Table 1). The reference
solution is used for nothing else and never reaches training.

Responses that bring no solution (`format: assertions`, CodeT's way of asking a base model for `assert` lines) cannot
be checked here: they stay candidates, and the judge keeps those that the samples' own consensus supports.

Not covered yet: flaky and vacuous tests, mutation scores.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from datasets import Features, List, Value

from plum_hub.outcomes import Outcome
from plum_hub.sandbox import Job, Sandbox
from plum_hub.stages import columns, rows
from plum_hub.stages.extract import parse_plum_response, split_assertions, split_tests

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
        "kept": Value("bool"),
        "reason": Value("string"),  # why it was dropped; empty when kept
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


def make_tests(
    batch: dict[str, list[Any]],
    responses: list[list[str]],
    generator: str,
    generator_revision: str,
    format: str,
    max_tests: int,
    sandbox: Sandbox,
) -> dict[str, list[Any]]:
    """Parse the responses to a shard's instructions and check each against its own solution.

    Args:
        batch: instructions: `id`, `instruction`, `entry_point`.
        responses: per instruction, the generator's texts.
        format: `plum` (four parts) or `assertions`.
        max_tests: most candidate assertions an instruction, the most frequently written first (`assertions` only).

    Returns:
        Columns of `FEATURES`, one row a response.
    """
    made = []
    for instruction, texts in zip(rows(batch), responses, strict=True):
        group = [_parse(instruction, i, text, format) for i, text in enumerate(texts)]
        if format == "assertions":
            _keep_most_frequent(group, max_tests)
        made += group
    if format == "plum":
        _check_consistency([row for row in made if row["kept"]], sandbox)
    for row in made:
        row |= {"generator": generator, "generator_revision": generator_revision}
    return columns(made, FEATURES)


def _parse(instruction: dict[str, Any], response_id: int, text: str, format: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "instruction_id": instruction["id"],
        "instruction": instruction["instruction"],
        "entry_point": instruction["entry_point"],
        "response_id": response_id,
        "response": text,
        **dict.fromkeys(("analysis", "solution", "start_code", "test_code", "outcome"), ""),
        "tests": [],
        "test_outcomes": [],
        "kept": False,
        "reason": "",
    }
    if format == "assertions":
        row |= {"test_code": text, "tests": split_assertions(text, instruction["entry_point"])}
    else:
        parts = parse_plum_response(text)
        if parts is None:
            return row | {"reason": "unparsable"}
        row |= parts
        try:
            row["tests"] = split_tests(parts["test_code"])
        except (SyntaxError, ValueError):
            return row | {"reason": "test_syntax_error"}
    return row | ({"kept": True} if row["tests"] else {"reason": "no_assertion_runs"})


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


def _check_consistency(made: list[dict[str, Any]], sandbox: Sandbox) -> None:
    """PLUM Algorithm 1, lines 4-6: add (q, t) only if the reference passes t."""
    results = sandbox.run(Job(row["solution"], tuple(row["tests"])) for row in made)
    for row, result in zip(made, results, strict=True):
        row["outcome"] = result.outcome.value
        row["test_outcomes"] = [verdict.outcome.value for verdict in result.tests]
        if result.outcome is not Outcome.PASSED:
            row |= {"kept": False, "reason": f"inconsistent:{result.outcome.value}"}


def references(made: list[dict[str, Any]]) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """Instruction id -> (reference solution, its tests) of each kept response that brought one."""
    found: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for row in made:
        if row["kept"] and row["solution"]:
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
