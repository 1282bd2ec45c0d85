"""DSTC's prompt and its answers (arXiv 2411.13611, section 3 and Appendix B): a program and its tests in one text.

    asked = prompt("Reverse the words of a sentence.", "reverse_words", seed=0)
    parts, missing = parse(answer, "reverse_words")
    test = suite(parts["test_code"])

One worked example out of ten, then the task; the answer is to have four parts, [Reasoning], [Implementation],
[Explanation] and [Tests]. The directions and all examples are our own; the paper took its examples from
StarCoder2-Instruct's. The task ends with the name of its function while answers are sampled, so that each program can
be run on the others' tests; `plum_hub.stages.dstc` trains on the task without that line.

How code is found in an answer is told in `extract` and `parts`; here the tests are made fit to be run on other people's
programs: `parse` takes out the program's import and any copy of the program, which would stand in for the one that is
to be tested.

Not covered: `unittest` classes and pytest's fixtures as tests.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from typing import Any

from plum_hub.stages.dstc_examples import EXAMPLES, Example
from plum_hub.stages.extract import PYTHON, extract, fenced_blocks, final_answer, parsed
from plum_hub.stages.parts import parse_parts, split_tests

DIRECTIONS = """\
Below you find a worked example and then an open task. Answer the open task as the example is answered, in four parts. \
Each part begins with its marker, alone on a line:

[Reasoning] Work out what the task asks for, which cases are easily missed, and how you will go about it.
[Implementation] Write the complete Python solution in one code block, imports included.
[Explanation] Say briefly how the solution works and what it does not handle.
[Tests] Write one code block of tests that check the solution from many sides: ordinary input, edge cases, errors. Use \
plain `assert` statements that call the solution by its name, and import in this block whatever the tests need.
"""
OPENING = "The answer has four parts: [Reasoning], [Implementation], [Explanation] and [Tests]."
ENTRY_POINT = "The main function name is `{entry_point}`."


def prompt(instruction: str, entry_point: str, seed: int) -> str:
    """What the policy is asked: directions, one example, the task. Which example is a matter of instruction and seed.

    Args:
        entry_point: the name its answers' tests will call; "" leaves the line out.
    """
    digest = hashlib.sha256(f"{seed}:{instruction}".encode()).digest()
    example = EXAMPLES[int.from_bytes(digest[:8], "big") % len(EXAMPLES)]
    return "\n".join(
        [
            DIRECTIONS,
            "## Example\n\n### Task\n",
            with_entry_point(example.instruction, example.entry_point),
            "\n### Answer\n",
            answer(example),
            "## Open task\n\n### Task\n",
            with_entry_point(instruction, entry_point),
            "\n### Answer\n",
            OPENING,
        ]
    )


def with_entry_point(instruction: str, entry_point: str) -> str:
    """The instruction as it is sampled from: it ends with the name of its function, if there is one."""
    if not entry_point:
        return instruction.rstrip()
    return f"{instruction.rstrip()}\n{ENTRY_POINT.replace('{entry_point}', entry_point)}"


def answer(example: Example) -> str:
    """An example's answer in the format asked for."""
    return (
        f"{OPENING}\n\n[Reasoning]\n{example.reasoning}\n\n"
        f"[Implementation]\n```python\n{example.implementation}```\n\n"
        f"[Explanation]\n{example.explanation}\n\n"
        f"[Tests]\n```python\n{example.tests}```\n"
    )


# ------------------------------------------------------------------------------------------------------- answers

_TESTS_HEAD = re.compile(r"^\W*tests?\b\W*$", re.MULTILINE | re.IGNORECASE)
_NEXT_TASK = re.compile(r"^##+ *(?:example|open task|task|instruction|response|answer)\b.*$", re.MULTILINE | re.I)


def parse(text: str, entry_point: str = "") -> tuple[dict[str, str], str]:
    """The parts of an answer, and what is missing, as `plum_hub.stages.parts.parse_parts` has them.

    Headings may be missing or of another form where the code blocks tell which is which: those that assert something
    and are no part of the program are the tests. A task that the model made up after its answer is left out.

    Returns:
        `analysis` (the reasoning), `solution`, `start_code` (always "": there is none in this format), `test_code`
        (code without prose, fit to be run on other programs); and "", `unparsable`, `no_solution` or `no_test_code`.
    """
    text = _one_answer(final_answer(text)[0])
    parts, reason = parse_parts(text, entry_point)
    if reason or parsed(parts["test_code"]) is None:
        solution, tests = _by_blocks(text, entry_point)
        if solution.strip() and tests.strip():
            parts, reason = {**parts, "solution": solution, "test_code": tests}, ""
    parts["start_code"] = ""
    if not reason:
        parts["test_code"] = _for_others(parts["test_code"], parts["solution"], entry_point)
        if not parts["test_code"].strip():
            reason = "no_test_code"
    return parts, reason


def suite(test_code: str) -> str:
    """The tests of an answer as ONE test, which passes if all of its assertions hold; "" if nothing would be checked.

    Functions named `test*` that nothing calls are called at its end, as `split_tests` has it.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: it is not Python, or not for Python's own parser.
    """
    tests = split_tests(test_code)
    return tests[0] if len(tests) == 1 else test_code if tests else ""


def _one_answer(text: str) -> str:
    """The text up to the next task that the model makes up."""
    head = _TESTS_HEAD.search(text)
    following = _NEXT_TASK.search(text, head.end()) if head else None
    return text[: following.start()] if following else text


def _by_blocks(text: str, entry_point: str) -> tuple[str, str]:
    """Program and tests of a text without (enough) headings."""
    solution = extract(text, entry_point).code
    tests = [
        block.body.rstrip("\n") + "\n"
        for block in fenced_blocks(text)
        if block.language in PYTHON and block.body.strip() not in solution and _asserts(parsed(block.body))
    ]
    return solution, "\n".join(tests)


def _asserts(tree: ast.Module | None) -> bool:
    return tree is not None and any(isinstance(node, ast.Assert) for node in ast.walk(tree))


def _for_others(tests: str, solution: str, entry_point: str) -> str:
    """Tests without what ties them to their own program, and with a call of `check`, should they define one."""
    tree, program = parsed(tests), parsed(solution)
    if tree is None:
        return tests
    own = {node.name for node in _definitions(program)}
    tested = {entry_point} if entry_point in own else own
    gone: set[int] = set()
    for node in tree.body:
        if _is_copy(node, tested) or _is_import_of(node, own):
            start = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
            gone |= set(range(start, (node.end_lineno or node.lineno) + 1))
    lines = [line for number, line in enumerate(tests.split("\n"), 1) if number not in gone]
    tests = "\n".join(lines).strip("\n") + "\n"
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    checks = [node for node in _definitions(tree) if node.name == "check" and isinstance(node, ast.FunctionDef)]
    if entry_point and checks and "check" not in called and len(checks[-1].args.args) == 1:
        tests += f"\ncheck({entry_point})\n"
    return tests if tests.strip() else ""


_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def _definitions(tree: ast.Module | None) -> list[_Definition]:
    return [node for node in tree.body if isinstance(node, _Definition)] if tree else []


def _is_copy(node: ast.stmt, tested: set[str]) -> bool:
    """Whether it defines again what is to be tested: other programs would never be reached."""
    return isinstance(node, _Definition) and node.name in tested


def _is_import_of(node: ast.stmt, own: set[str]) -> bool:
    """Whether it imports the program, from a module that only its author thought of."""
    if not isinstance(node, ast.ImportFrom):
        return False
    module = (node.module or "").partition(".")[0]
    return module not in sys.stdlib_module_names and all(alias.name in own for alias in node.names)


# --------------------------------------------------------------------------------- names for instructions without


def entry_point(row: dict[str, Any]) -> str:
    """The function's name for a row of self-oss-instruct-sc2-exec-filter-50k, whose instructions do not say it.

    It is read off the gold response: the definition that its own tests call most; where it has none, the one that the
    instruction names, else the last one that no other uses. Nothing else of the gold response is used anywhere.

    Args:
        row: `instruction` and `response`.

    Returns:
        The name of a function or class; "" where the response defines none.
    """
    text = str(row.get("response") or "")
    solution, tests = _by_blocks(text, "")
    program = parsed(solution)
    names = [node.name for node in _definitions(program)]
    if not program or not names:
        return ""
    tree = parsed(tests)
    calls = [node.func.id for node in ast.walk(tree or ast.Module([], [])) if _is_call(node)]  # type: ignore[attr-defined]
    called = [name for name in names if name in calls]
    if called:
        return max(called, key=calls.count)
    words = set(re.findall(r"\w+", str(row.get("instruction") or "")))
    if named := [name for name in names if name in words]:
        return named[0]
    used = {
        inner.id
        for node in _definitions(program)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Name) and inner.id != node.name
    }
    public = [name for name in names if name not in used and not name.startswith("_")]
    return (public or names)[-1]


def _is_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
