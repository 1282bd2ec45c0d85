"""The program in a model's text, as bigcodebench 0.2.5 finds it (its `sanitize.py`): facts of that rule, own code.

The longest run of lines that is Python; of it the imports, and the definitions that the entry point reaches by name.
Like evalplus' rule, except that functions without `return` stay (a plot has none). The harness reads the program with
tree-sitter, this file with `ast`, which takes the same names from whatever parses; `tests/test_bigcodebench.py` has
what the two agree on.
"""

from __future__ import annotations

import ast

from plum_hub.evaluate.longest import parse
from plum_hub.evaluate.sanitize import longest


def sanitize(text: str, entry_point: str) -> str:
    """The program in `text`, "" if there is none."""
    return _reached(longest(text.strip()), entry_point).strip() or longest(text)


def _reached(source: str, entry_point: str) -> str:
    """Imports, then the definitions that the entry point reaches."""
    try:
        tree = parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    imports: list[ast.stmt] = []
    definitions: dict[str | None, ast.stmt] = {}  # of a name the first
    for node in tree.body:
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.module != "__future__"):
            imports.append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if not node.decorator_list:  # tree-sitter has another kind of node for those
                definitions.setdefault(node.name, node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            definitions.setdefault(_target(node), node)
    names = {name: _names(node) for name, node in definitions.items()}
    reached, waiting = {entry_point}, [entry_point]
    while waiting:
        for name in names.get(waiting.pop(), set()) - reached:
            reached.add(name)
            waiting.append(name)
    lines = source.encode().split(b"\n")
    kept = [*imports, *(node for name, node in definitions.items() if name in reached)]
    return _without_last_uses(b"\n".join(_text(lines, node) for node in kept).decode(), entry_point)


def _target(node: ast.Assign | ast.AnnAssign) -> str | None:
    """The first plain name at either side of an assignment."""
    sides = [*node.targets, node.value] if isinstance(node, ast.Assign) else [node.target, node.value]
    return next((side.id for side in sides if isinstance(side, ast.Name)), None)


def _names(node: ast.AST) -> set[str]:
    """Every identifier in it."""
    found: set[str] = set()
    for part in ast.walk(node):
        for field in ("id", "attr", "name", "arg", "asname", "module", "names"):
            value = getattr(part, field, None)
            if isinstance(value, str):
                found.update(value.split("."))
            elif isinstance(value, list):
                found.update(one for one in value if isinstance(one, str))
    return found


def _text(lines: list[bytes], node: ast.stmt) -> bytes:
    assert node.end_lineno is not None
    taken = lines[node.lineno - 1 : node.end_lineno]
    taken[-1] = taken[-1][: node.end_col_offset]
    taken[0] = taken[0][node.col_offset :]
    return b"\n".join(taken)


def _without_last_uses(program: str, entry_point: str) -> str:
    """Without what follows from the first on of the last outer lines that name the entry point."""
    lines = program.splitlines()
    uses = []
    for at in range(len(lines) - 1, -1, -1):
        if lines[at].startswith(" "):
            break
        if entry_point in lines[at]:
            uses.append(at)
    return "\n".join(lines[: uses[-1]]) if uses else program
