"""From a test generator's answer to its parts, and from a test block to single tests: pure functions on strings.

    parts, missing = parse_parts("[Solution]\\ndef f(): ...\\n[Test Code]\\nassert f() == 1")
    tests = split_tests(parts["test_code"])

The format is that of PLUM's Figure 3 (arXiv 2406.06887); how code is found within a part is told in `extract`. Bare
assertions, as a base model writes them (CodeT, arXiv 2207.10397), are taken apart by `split_assertions`.

Not covered: `unittest` methods (`self.assertEqual`) and pytest's fixtures; a block of nothing else holds no test.
"""

from __future__ import annotations

import ast
import builtins
import re

from plum_hub.stages.extract import PYTHON, end_of_run, extract, fenced_blocks, final_answer, parsed

_BRACKET_HEAD = re.compile(r"^[^\w\[\n]*\[([\w ]+)\][^\w\n]*$", re.MULTILINE)  # perhaps in bold, or a heading
_HEAD = re.compile(  # marked by brackets, #, bold or a colon, perhaps numbered; text may follow on the line
    r"^[ \t]*(?P<mark>\#{1,6}[ \t]*)?(?P<bold>\*{2,3}|__)?[ \t]*"
    r"(?:(?:[Pp]art|[Ss]tep|PART|STEP)?[ \t]*\d+[.):][ \t]*)?(?P<bold2>\*{2,3})?"
    r"(?P<bracket>\[)?[ \t]*(?P<name>[A-Za-z][A-Za-z_ ]{2,30})(?P<colon>:)?[ \t]*(?(bracket)\])"
    r"[ \t]*(?P<colon2>:)?[ \t]*(?:\*{2,3}|__)?[ \t]*(?P<colon3>:)?[ \t]*(?P<rest>\S.*)?$"
)
_PARTS = {
    "analysis": ("analysis", "problem analysis", "reasoning", "explanation"),
    "solution": ("solution", "reference solution", "solution code", "implementation"),
    "start_code": ("start code", "starter code", "startcode", "start_code", "skeleton", "function signature"),
    "test_code": (
        *("test code", "testcode", "test_code", "test", "tests", "test case", "test cases"),
        *("unit test", "unit tests", "test suite", "assertions"),
    ),
}
_PART_OF = {word: part for part, words in _PARTS.items() for word in words}


def parse_parts(text: str, entry_point: str = "") -> tuple[dict[str, str], str]:
    """The parts of a test generator's answer, and what is missing.

    The headings of PLUM's Figure 3 (`[Solution]`) count first; if they do not give both a solution and tests, headings
    in other forms do: `### Solution`, `**Solution:**`, `2. Solution:`, `[SOLUTION]`, `[Tests]`, `[Test Cases]`, in any
    order.

    Returns:
        `analysis`, `solution`, `start_code`, `test_code`, each "" where missing, the code parts without their fences;
        and "", `unparsable` (no headings), `no_solution` or `no_test_code`.
    """
    text, _ = final_answer(text)
    found = _sections(text, [(m.start(), m.end(), m[1], "") for m in _BRACKET_HEAD.finditer(text)])
    if not found.get("solution", "").strip() or not found.get("test_code", "").strip():
        found = _sections(text, _loose_heads(text)) or found
    parts = {
        "analysis": found.get("analysis", "").strip(),
        "solution": extract(found.get("solution", ""), entry_point).code,
        "start_code": extract(found.get("start_code", ""), entry_point).code,
        "test_code": _all_code(found.get("test_code", "")),
    }
    if not found:
        return parts, "unparsable"
    if not parts["solution"].strip():
        return parts, "no_solution"
    return parts, "" if parts["test_code"].strip() else "no_test_code"


def _sections(text: str, heads: list[tuple[int, int, str, str]]) -> dict[str, str]:
    """Part -> its text. `heads`: start, end, name and the text that follows on the same line."""
    known = [
        (start, end, part, rest)
        for start, end, name, rest in heads
        if (part := _PART_OF.get(re.sub(r"\s+", " ", name.strip(" \t_").lower())))
    ]
    starts = [*(start for start, *_ in known), len(text)]
    found: dict[str, str] = {}
    for (_, end, part, rest), after in zip(known, starts[1:], strict=True):
        body = (rest + text[end:after]).strip("\n")
        if body.strip():
            found.setdefault(part, body)
    return found


def _loose_heads(text: str) -> list[tuple[int, int, str, str]]:
    """Headings of any form outside of code blocks: there, `# Solution` is a comment."""
    heads, at, fence = [], 0, ""
    for line in text.split("\n"):
        mark = re.match(r"[ \t]*(?:`{3,}|~{3,})", line)
        if mark:
            fence = "" if fence else mark[0].strip()
        found = None if fence or mark else _HEAD.match(line)
        if found:
            marked = found["mark"] or found["bold"] or found["bold2"] or found["bracket"]
            colon = found["colon"] or found["colon2"] or found["colon3"]
            rest = found["rest"] or ""
            strong = found["bracket"] or found["bold"] or found["bold2"]
            # Text after the name makes a heading of it only where nothing else can be meant.
            if (marked or colon) and (not rest or rest.startswith("```") or (strong and colon) or found["bracket"]):
                heads.append((at, at + len(line), found["name"], rest))
                fence = "```" if rest.startswith("```") else ""
        at += len(line) + 1
    return heads


def _all_code(text: str) -> str:
    """All Python of a part that holds tests: there, several blocks are several tests."""
    blocks = [block.body for block in fenced_blocks(text) if block.language in PYTHON and block.body.strip()]
    if len(blocks) > 1 and parsed(text) is None and all(parsed(body) is not None for body in blocks):
        return "\n".join(body.rstrip("\n") + "\n" for body in blocks)
    if blocks or parsed(text) is not None:
        return extract(text).code
    kept = _asserting(text)
    return kept or extract(text).code or (text.strip("\n") + "\n" if "assert" in text else "")


def _asserting(text: str) -> str:
    """The longest run of whole lines that is Python and asserts something, in prose."""
    lines = text.split("\n")
    best = (0, 0)
    for start, line in enumerate(lines):
        if start >= best[1] and re.match(r"assert\b|import |from |def |[A-Za-z_]\w* = ", line):
            end = end_of_run(lines, start)
            code = "\n".join(lines[start:end])
            if end - start > best[1] - best[0] and re.search(r"\bassert\b", code):
                best = (start, end)
    outside = lines[: best[0]] + lines[best[1] :]
    if best == (0, 0) or any(re.match(r"\s*assert\b", line) for line in outside):
        return ""  # broken
    return "\n".join(lines[best[0] : best[1]]).strip("\n") + "\n"


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
