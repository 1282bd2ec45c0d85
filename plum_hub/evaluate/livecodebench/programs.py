"""Programs as LiveCodeBench's runner runs them: with its imports in front, and scripts with its standard input.

The rules are those of `lcb_runner/evaluation/testing_util.py`, commit 28fef95; the code is not. A program that is right
by itself may be wrong there and so is here: one that writes to a `stdout` that it imported by that name, has `global`
names in a script, prints from a thread that nobody waits for, calls `quit()` or imports `resource`.

In one thing it is the runner of before 16de2a1 (May 2025), by which the published verdicts were given: `sys.stdin`
reads on from where it is. The substitute that the runner has since then gives the whole text at every `read`, the first
line at every `buffer.readline`, and has no lines to go through. It fails right programs; `--official` has it.
"""

from __future__ import annotations

import ast
import warnings

ENTRY = "_called_by_the_test"

#: What the runner puts in front of every program (programs rely on it), and has done to the interpreter before.
PRELUDE = (
    "import sys\n"
    "__import__('builtins').quit = None\n"
    "sys.modules.update(dict.fromkeys(('ipdb', 'joblib', 'resource', 'psutil', 'tkinter')))\n"
    "sys.set_int_max_str_digits(50000)\n"
    + "".join(
        f"from {name} import *\n"
        for name in (
            "string re datetime collections heapq bisect copy math random statistics itertools functools operator io "
            "sys json builtins typing"
        ).split()
    )
    + "import string, re, datetime, collections, heapq, bisect, copy, math, random, statistics, itertools, functools\n"
    "import operator, io, sys, json\n"
    "sys.setrecursionlimit(50000)\n"
)

#: Runs `wrapped_function` as the runner does. What a program imported as `stdin` before is not what it finds as
#: `sys.stdin`: its `read` is always the whole text, its `readline` gives lines without their ends and StopIteration
#: after the last. Standard output has no buffer, and what is written past `sys.stdout`, to standard error above all,
#: does not count. Leaving is as good as coming to the end, and what a thread prints after that is lost.
DRIVER = """
def _run_as_the_runner_does():
    import io, os, sys

    with io.open(0, "rb", closefd=False) as file:
        data = file.read()
    text = data.decode()
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 2)
    os.close(nothing)
    lines = iter(text.split("\\n"))
    sys.stdin.read = lambda *_: text
    sys.stdin.readline = lambda *_: next(lines)
    sys.stdin.readlines = lambda *_: text.split("\\n")
    real, printed = sys.stdout, io.StringIO()
    printed.close = lambda: None
    sys.stdout, sys.stdin = printed, io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="\\n")
    try:
        wrapped_function()
    except SystemExit:
        pass
    sys.stdout, said = io.StringIO(), printed.getvalue()
    real.flush()
    os.ftruncate(1, 0)
    os.lseek(1, 0, os.SEEK_SET)
    real.write(said)
    real.flush()

_run_as_the_runner_does()
"""


def as_functions(program: str, name: str) -> str:
    """A program whose function or method `name` is called: with `PRELUDE`, and one `Solution` for all calls."""
    return f'{PRELUDE}\n\n{program}\n\n{ENTRY} = Solution().{name} if "Solution" in globals() else {name}\n'


def as_script(program: str) -> str:
    """A program that reads standard input, as the runner has it: the body of a function, imports and `PRELUDE` apart.

    So `global` finds nothing that the program itself has set, and `if __name__ == "__main__":` is followed only at the
    very end. What does not parse stays as it is; what cannot be written anew fails, as there.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            body = ast.parse(program).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return program
    last = body[-1] if body else None
    try:
        if isinstance(last, ast.If) and ast.unparse(last.test) == "__name__ == '__main__'":
            body = body[:-1] + last.body
        imports: list[ast.stmt] = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
        others = [node for node in body if not isinstance(node, ast.Import | ast.ImportFrom)]
        nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
        function = ast.FunctionDef("wrapped_function", nothing, others, [], lineno=1)
        parts = [ast.unparse(ast.Module(imports, [])), ast.unparse(function)]
    except (ValueError, RecursionError, MemoryError) as error:
        return f"raise ValueError({f'LiveCodeBench cannot write this program anew: {error}'!r})"
    return "\n".join(["__name__ = 'tmp_sol'", PRELUDE, *parts, DRIVER])
