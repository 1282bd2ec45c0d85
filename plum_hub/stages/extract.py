"""From a model's text to a program, and from a program to single tests: pure functions on strings.

Of several Python blocks the first that defines something is the program; without any fence the whole text is. Not
covered yet: programs spread over several blocks, `<think>` parts, truncated fences.
"""

from __future__ import annotations

import ast
import builtins
import re
from typing import Any

_FENCE = re.compile(r"```[ \t]*(\w*)[^\n]*\n(.*?)```", re.DOTALL)
_HEAD = re.compile(r"^[^\w\[\n]*\[([\w ]+)\][^\w\n]*$", re.MULTILINE)  # perhaps in bold, or a heading
_PARTS = ("Analysis", "Solution", "Start Code", "Test Code")  # PLUM Figure 3


def extract_code(text: str) -> str:
    """The program in a model's answer: its first Python block that defines something, else its first block of any
    kind, else the whole text."""
    blocks = _FENCE.findall(text)
    if not blocks:
        return text.strip("\n") + "\n" if text.strip() else ""
    python = [body for language, body in blocks if language.lower() in ("python", "py", "python3", "")]
    defining = [body for body in python if re.search(r"^(async def|def|class)\b", body, re.MULTILINE)]
    return (defining or python or [body for _, body in blocks])[0]


def fill(template: str, values: dict[str, Any]) -> str:
    """`template` with `{name}` replaced by `values[name]`, in one pass: braces in a value, or of another name, stay."""
    if not values:
        return template
    names = "|".join(map(re.escape, values))
    return re.sub(rf"\{{({names})\}}", lambda match: str(values[match[1]]), template)


def cut(text: str, stop: tuple[str, ...]) -> str:
    """`text` up to the first of `stop`."""
    ends = [at for word in stop if (at := text.find(word)) >= 0]
    return text[: min(ends)] if ends else text


def parse_plum_response(text: str) -> dict[str, str] | None:
    """The four parts of a test generator's answer (PLUM Figure 3), or None if one of the needed parts is missing.

    Returns:
        `analysis`, `solution`, `start_code`, `test_code`; the code parts without their fences.
    """
    heads = [(m.start(), m.end(), m.group(1).title()) for m in _HEAD.finditer(text)]
    heads = [head for head in heads if head[2] in _PARTS]
    starts = [*(start for start, _, _ in heads), len(text)]
    found: dict[str, str] = {}
    for (_, end, name), after in zip(heads, starts[1:], strict=True):
        found.setdefault(name, text[end:after].strip("\n"))
    if not found.get("Solution", "").strip() or not found.get("Test Code", "").strip():
        return None
    return {
        "analysis": found.get("Analysis", "").strip(),
        "solution": extract_code(found["Solution"]),
        "start_code": extract_code(found.get("Start Code", "")),
        "test_code": extract_code(found["Test Code"]),
    }


def split_tests(code: str) -> list[str]:
    """A test block as single tests: each top-level assert with what stands before it that is no assert.

    A block with asserts inside functions is one test, because taking it apart could change its meaning; `test*`
    functions that nothing calls are called at its end. A block in which nothing runs at top level is no test at all:
    it would pass every program.

    Raises:
        SyntaxError: the block is not Python.
    """
    tree = ast.parse(code)
    asserts = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    if not asserts:
        return []
    if not all(node in tree.body for node in asserts):
        return _as_one_test(tree, code)
    tests: list[str] = []
    setup: list[str] = []
    for node in tree.body:
        source = ast.get_source_segment(code, node) or ast.unparse(node)
        if isinstance(node, ast.Assert):
            tests.append("\n".join([*setup, source]))
        else:
            setup.append(source)
    return tests


def _as_one_test(tree: ast.Module, code: str) -> list[str]:
    passive = (
        ast.FunctionDef,
        ast.AsyncFunctionDef,
        ast.ClassDef,
        ast.Import,
        ast.ImportFrom,
        ast.Assign,
        ast.AnnAssign,
    )
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    tests = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test")
        and node.name not in called
        and not (node.args.args or node.args.posonlyargs or node.args.kwonlyargs)
    ]
    if not tests and all(isinstance(node, passive) for node in tree.body):
        return []
    return ["\n".join([code.rstrip("\n"), *(f"{name}()" for name in tests)]) if tests else code]


def split_assertions(text: str, entry_point: str) -> list[str]:
    """The complete, distinct one-assert tests of `entry_point` in a loose text such as a base model writes.

    Lines that are no Python are lost, and so is the last piece of a text without a final newline: it may have been
    cut off. An assertion must call the entry point and use no undefined name; `assert f` says nothing about `f`.
    """
    tests: list[str] = []
    pieces = re.split(r"^[ \t]*(?=assert\b)", text, flags=re.MULTILINE)
    if not text.endswith("\n"):
        pieces = pieces[:-1]
    for piece in pieces:
        node = _first_statement(piece)
        if not isinstance(node, ast.Assert) or not _tests(node.test, entry_point):
            continue
        test = ast.unparse(ast.Assert(test=node.test, msg=None))
        if test not in tests:
            tests.append(test)
    return tests


def _tests(expression: ast.expr, entry_point: str) -> bool:
    """Whether `expression` calls the entry point and knows every name it uses."""
    names = [node for node in ast.walk(expression) if isinstance(node, ast.Name)]
    bound = {node.id for node in names if isinstance(node.ctx, ast.Store)} | {entry_point, *dir(builtins)}
    called = any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == entry_point
        for node in ast.walk(expression)
    )
    return called and all(node.id in bound for node in names)


def _first_statement(text: str) -> ast.stmt | None:
    """The first statement of `text`, ignoring what follows it, or None when it is not whole."""
    text = re.sub(r"^assert\s*\n\s*", "assert ", text)
    lines = text.split("\n")
    for end in range(1, min(len(lines), 12) + 1):
        try:
            body = ast.parse("\n".join(lines[:end])).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        return body[0] if body else None
    return None
