"""Checks programs without running them: PLUM's static filter, before any test.

    check(["len('a', 'b')", "def f(:"])
    # [StaticResult(STATIC_ERROR, ("line 1: Too many arguments for \"len\" [call-arg]", ...)),
    #  StaticResult(SYNTAX_ERROR, ("line 1: invalid syntax",))]

"syntax" compiles each program with this interpreter's compiler. "mypy" does so too, then puts what compiles through
mypy, a few hundred files per process, as unrelated modules of a private directory, with no configuration but the
flags below and no sight of installed packages: the result does not depend on the machine. The flags are lenient on
purpose, since what mypy dislikes is often right when run; what they let through meets the tests.

Programs are only parsed, never imported. The compiler runs in this process; a source that kills it (none is known)
would end this process. `# type: ignore` in a program is honoured. Third-party imports are of type Any.
"""

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Literal

from plum_hub.outcomes import Outcome

#: Files per mypy process: starting one costs as much as some hundred files.
BATCH = 300

#: Seconds for a mypy process: to start with cold caches, and per file.
START_SECONDS = 120.0
FILE_SECONDS = 1.0

MESSAGES = 20  # per program
MESSAGE_LIMIT = 300  # characters

FLAGS = (
    "--config-file=",  # read none, the user's included
    "--no-site-packages",  # the same verdict whatever is installed here
    "--ignore-missing-imports",
    "--allow-redefinition",
    "--implicit-optional",
    "--no-strict-optional",
    "--no-sqlite-cache",  # one file per module, so that the programs' can be removed
    "--no-error-summary",
    "--no-color-output",
    "--no-pretty",
    "--hide-error-context",
)

#: Complaints that right model-written code meets, or that concern annotations alone, which do nothing at run time.
DISABLED = (
    "var-annotated no-redef valid-type assignment has-type return return-value "  # seen on right code
    "override empty-body "
    "import import-not-found import-untyped"  # what is not installed is the tests' business
)

_ERROR = re.compile(r"^(?P<stem>program_[0-9a-f]+_\d+)\.py:(?P<line>\d+)(?::\d+)*: error: (?P<text>.*)$")
_MENTION = re.compile(r"^(program_[0-9a-f]+_\d+)\.py\b", re.MULTILINE)

_numbers = count()  # file names are never used twice: mypy takes a file of the same size and second for unchanged
_token = secrets.token_hex(4)
_cache: str | None = None


@dataclass(frozen=True)
class StaticResult:
    """`outcome` is None for a clean program, else SYNTAX_ERROR or STATIC_ERROR.

    `messages` are short lines, such as "line 3: Incompatible ... [operator]"; a clean program has some only where mypy
    could not judge it.
    """

    outcome: Outcome | None
    messages: tuple[str, ...]


CLEAN = StaticResult(None, ())


def check(programs: Sequence[str], checker: Literal["mypy", "syntax"] = "mypy") -> list[StaticResult]:
    """One result per program, in order. Equal programs are checked once.

    Raises ValueError for another `checker`, RuntimeError when mypy is not installed. A program never makes it raise.
    """
    if checker not in ("mypy", "syntax"):
        raise ValueError(f"checker must be 'mypy' or 'syntax', not {checker!r}")
    results = {program: check_syntax(program) for program in dict.fromkeys(programs)}
    if checker == "mypy":
        parsed = [program for program, result in results.items() if result.outcome is None]
        for start in range(0, len(parsed), BATCH):
            batch = parsed[start : start + BATCH]
            results.update(zip(batch, check_types(batch), strict=True))
    return [results[program] for program in programs]


def check_syntax(program: str) -> StaticResult:
    """Whether this interpreter compiles `program`. Null bytes and hopeless nesting count as syntax errors."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # under -W error, an odd escape would become a syntax error
            compile(program, "<program>", "exec", dont_inherit=True)
    except SyntaxError as error:
        return StaticResult(Outcome.SYNTAX_ERROR, (_short(f"line {error.lineno or 1}: {error.msg}"),))
    except (ValueError, OverflowError, RecursionError, MemoryError) as error:
        return StaticResult(Outcome.SYNTAX_ERROR, (_short(f"{type(error).__name__}: {error}"),))
    return CLEAN


def check_types(programs: Sequence[str]) -> list[StaticResult]:
    """mypy's view of programs that compile, in order. Raises RuntimeError when mypy is not installed."""
    if not programs:
        return []
    stems = [f"program_{_token}{os.getpid():x}_{next(_numbers)}" for _ in programs]
    with tempfile.TemporaryDirectory(prefix="plum-mypy-") as folder:
        for stem, program in zip(stems, programs, strict=True):
            Path(folder, f"{stem}.py").write_bytes(neutral(program).encode())
        found = _mypy(stems, folder)
    # The cache is for the standard library's types; entries of the programs would only pile up.
    for path in Path(_cache_folder()).glob(f"*/program_{_token}*"):
        with contextlib.suppress(OSError):
            path.unlink()
    return [found[stem] for stem in stems]


def neutral(program: str) -> str:
    """`program` without the comments that steer the whole check or the reading of the file; same line numbers."""
    program = re.sub(r"(?m)^(\s*#\s*)mypy:", r"\1mypy -", program)
    lines = program.split("\n", 2)
    for number, line in enumerate(lines[:2]):  # the text is in UTF-8 whatever it declares
        lines[number] = re.sub(r"^([ \t\f]*#.*?coding)[:=]", r"\1 ", line)
    return "\n".join(lines)


def _mypy(stems: list[str], folder: str) -> dict[str, StaticResult]:
    """The result of each file `stem`.py in `folder`. A file mypy dies on counts as clean: the fault is not its own."""
    seconds = START_SECONDS + FILE_SECONDS * len(stems)
    command = [sys.executable, "-I", "-m", "mypy", *FLAGS, f"--cache-dir={_cache_folder()}"]
    command += [f"--disable-error-code={code}" for code in DISABLED.split()]
    # -I keeps PYTHON* variables and the folder of programs out of mypy's own imports.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MYPY")}
    try:
        process = subprocess.run(
            [*command, "--", *(f"{stem}.py" for stem in stems)],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        status, output, problem = 2, "", f"mypy took more than {seconds:g} s"
    else:
        status, output = process.returncode, process.stdout
        if "No module named mypy" in process.stderr:
            raise RuntimeError("the static check needs mypy: pip install mypy")
        lines = (process.stdout + process.stderr).strip().splitlines()
        problem = lines[-1] if lines else f"exit status {status}"
    if status in (0, 1):
        return _read(output, stems)

    # Status 2: one file stopped the whole run. Set aside the one it names, or look for it in halves.
    if len(stems) == 1:
        problem = re.sub(rf"\b{stems[0]}\.py:?", "", problem)
        return {stems[0]: StaticResult(None, (_short(f"not checked, mypy stopped: {problem}"),))}
    named = set(_MENTION.findall(output)) & set(stems)
    if named and len(named) < len(stems):
        parts = [*([stem] for stem in stems if stem in named), [stem for stem in stems if stem not in named]]
    else:
        middle = len(stems) // 2
        parts = [stems[:middle], stems[middle:]]
    return {stem: result for part in parts for stem, result in _mypy(part, folder).items()}


def _read(output: str, stems: list[str]) -> dict[str, StaticResult]:
    """mypy's errors by file."""
    messages: dict[str, list[str]] = {stem: [] for stem in stems}
    for line in output.splitlines():
        match = _ERROR.match(line)
        # It compiles, so that a syntax error can only be one in a type comment.
        if match and match["stem"] in messages and not match["text"].endswith("[syntax]"):
            messages[match["stem"]].append(_short(f"line {match['line']}: {match['text']}"))
    return {
        stem: StaticResult(Outcome.STATIC_ERROR, tuple(lines[:MESSAGES])) if lines else CLEAN
        for stem, lines in messages.items()
    }


def _short(message: str) -> str:
    line = " ".join(message.encode("utf-8", "backslashreplace").decode().split())
    return line[:MESSAGE_LIMIT]


def _cache_folder() -> str:
    """mypy's cache, private to this process and those forked from it, removed at the end of the one that made it."""
    global _cache
    if _cache is None:
        _cache = tempfile.mkdtemp(prefix="plum-mypy-cache-")
        # Not atexit: the processes of a multiprocessing pool do not run that.
        Finalize(None, shutil.rmtree, args=(_cache, True), exitpriority=0)
    return _cache
