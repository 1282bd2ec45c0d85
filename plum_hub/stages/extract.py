"""From a model's text to a program, and from a program to single tests: pure functions on strings.

Not covered yet: several blocks of which only one is the answer, `<think>` parts, truncated fences (the first
complete Python block wins; without any fence the whole text is the program).
"""

from __future__ import annotations

import ast
import builtins
import re

_FENCE = re.compile(r"```[ \t]*(\w*)[^\n]*\n(.*?)```", re.DOTALL)
_HEAD = re.compile(r"^[^\w\[\n]*\[([\w ]+)\][^\w\n]*$", re.MULTILINE)  # perhaps in bold, or a heading
_PARTS = ("Analysis", "Solution", "Start Code", "Test Code")  # PLUM Figure 3


def extract_code(text: str) -> str:
    """The program in a model's answer: all its Python blocks, else its first block, else the whole text."""
    blocks = _FENCE.findall(text)
    if not blocks:
        return text.strip("\n") + "\n" if text.strip() else ""
    python = [body for language, body in blocks if language.lower() in ("python", "py", "python3")]
    return "\n".join(python) if python else blocks[0][1]


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

    A block whose asserts sit inside functions or classes is one test: taking it apart could change its meaning.

    Raises:
        SyntaxError: the block is not Python.
    """
    tree = ast.parse(code)
    asserts = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    if not asserts:
        return []
    if any(node not in asserts for node in tree.body) and not all(a in tree.body for a in asserts):
        return [code]
    tests: list[str] = []
    setup: list[str] = []
    for node in tree.body:
        source = ast.get_source_segment(code, node) or ast.unparse(node)
        if isinstance(node, ast.Assert):
            tests.append("\n".join([*setup, source]))
        else:
            setup.append(source)
    return tests


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
