"""The static check: what it refuses, what it must let through, and that programs cannot steer it."""

import gzip
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from plum_hub.outcomes import Outcome
from plum_hub.sandbox import static
from plum_hub.sandbox.static import StaticResult, check

DATA = Path(os.environ.get("PLUM_DATA") or Path(__file__).parents[2] / "shared" / "data")

WRONG = "def f(a):\n    return a\n\nf(1, 2)\n"

# Right when run, and refused by mypy's defaults in part.
RIGHT = [
    "from typing import List\n\ndef f(xs: List[int] = None) -> List[int]:\n    xs = xs or []\n"
    "    xs = list(map(str, xs))\n"
    "    return [int(x) for x in xs]\n",
    "def f(n: int) -> str:\n    n = str(n)\n    return n[::-1]\n",
    "import numpy as np\nimport yaml\nimport no_such_module\n\n"
    "print(np.zeros(3), yaml.safe_load('a'), no_such_module.x)\n",
    "cache = {}\nseen = []\n\ndef f(n):\n    if n not in cache:\n        cache[n] = n\n    return cache[n]\n",
    "def f(n: int) -> bool:\n    if n > 1:\n        return 1\n",
    "def f(x):\n    return x\n\ndef f(x):\n    return x + 1\n",
    "class Node:\n    def __init__(self, value: int, next: 'Node' = None):\n"
    "        self.value = value\n        self.next = next\n\n"
    "def length(node: Node) -> int:\n    n = 0\n    while node:\n"
    "        node = node.next\n        n += 1\n    return n\n",
    "def f(x):\n    # type: (not a type\n    return x\n",
    "import pytest\n\npytest.installed_or_not_it_is_not_looked_at()\n",
    "# -*- coding: klingon -*-\nname = 'ä'\n",
    "pattern = '\\d'\nassert 1 is 1\n",
    "import re\nm = re.match('a', 'a')\nprint(m.group(0))\n",
    "",
]


def test_right_programs_are_clean() -> None:
    assert check(RIGHT) == [StaticResult(None, ())] * len(RIGHT)


def test_wrong_programs_are_refused_with_line_and_code_and_no_path() -> None:
    programs = [WRONG, "x = 1\ny = x + 'a'\n", "print(undefined)\n", "import json\n\njson.no_such_name()\n"]
    results = check(programs)
    assert [result.outcome for result in results] == [Outcome.STATIC_ERROR] * 4
    assert results[0].messages == ('line 4: Too many arguments for "f" [call-arg]',)
    assert results[1].messages[0].startswith("line 2: Unsupported operand types")
    assert results[1].messages[0].endswith("[operator]")
    assert "program_" not in str(results)
    assert "/" not in str(results)


@pytest.mark.parametrize(
    "program",
    ["def f(:", "return 1", "a\0b", "x = '\ud800'", "-" * 200_000 + "1", "(" * 300, "1" * 5000, "a" + ".b" * 100_000],
    ids=["plain", "outside", "null", "surrogate", "unary", "parentheses", "digits", "attributes"],
)
@pytest.mark.parametrize("checker", ["syntax", "mypy"])
def test_syntax_errors(program: str, checker: str) -> None:
    (result,) = check([program], checker)  # type: ignore[arg-type]
    assert result.outcome is Outcome.SYNTAX_ERROR
    assert len(result.messages) == 1
    assert 0 < len(result.messages[0]) <= static.MESSAGE_LIMIT
    result.messages[0].encode()


def test_one_broken_program_does_not_spoil_its_batch_and_order_is_kept() -> None:
    programs = ["x = 1\n", "def f(:", WRONG, "x = 2\n", WRONG, "def f(:"]
    expected = [None, Outcome.SYNTAX_ERROR, Outcome.STATIC_ERROR, None, Outcome.STATIC_ERROR, Outcome.SYNTAX_ERROR]
    assert [result.outcome for result in check(programs)] == expected
    assert [result.outcome for result in check(programs, "syntax")] == [
        None if outcome is Outcome.STATIC_ERROR else outcome for outcome in expected
    ]


def test_equal_programs_are_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def record(programs: list[str]) -> list[StaticResult]:
        sizes.append(len(programs))
        return [StaticResult(None, ())] * len(programs)

    monkeypatch.setattr(static, "check_types", record)
    monkeypatch.setattr(static, "BATCH", 3)
    assert len(check(["x = 1", "x = 2", "x = 1", "x = 3", "x = 4", "def f(:"] * 10)) == 60
    assert sizes == [3, 1]


def test_unknown_checker_is_an_error() -> None:
    with pytest.raises(ValueError, match="pyright"):
        check(["x = 1"], "pyright")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "comment", ["# mypy: ignore-errors", "# mypy: disable-error-code=call-arg", "#mypy: ignore-errors"]
)
def test_a_program_cannot_switch_the_check_off(comment: str) -> None:
    assert check([f"{comment}\n{WRONG}"])[0].messages == ('line 5: Too many arguments for "f" [call-arg]',)


def test_configuration_and_environment_of_the_user_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mypy.ini").write_text("[mypy]\nignore_errors = True\n")
    (tmp_path / ".mypy.ini").write_text("[mypy]\nignore_errors = True\n")
    (tmp_path / "json.py").write_text("nothing = 1\n")
    for name in ("HOME", "XDG_CONFIG_HOME", "MYPYPATH", "PYTHONPATH"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.chdir(tmp_path)
    wrong, right = check([WRONG + "\n", "import json\n\nprint(json.dumps(1), '\\d')\n"])
    assert (wrong.outcome, right.outcome) == (Outcome.STATIC_ERROR, None)


def test_programs_are_not_imported_and_do_not_see_each_other(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    results = check([f"open({str(marker)!r}, 'w').close()\n\nos = 1\n", "import os\n\nprint(os.getcwd())\n"])
    assert [result.outcome for result in results] == [None, None]
    assert not marker.exists()


def test_same_size_in_the_same_second_is_not_taken_for_unchanged() -> None:
    # mypy's cache compares the size and the second of a file.
    for _ in range(2):
        assert check(["len(1, 2)\n"])[0].outcome is Outcome.STATIC_ERROR
        assert check(["max(1, 2)\n"])[0].outcome is None


def test_nothing_is_left_of_a_program() -> None:
    check(["very_unusual_name = 1\n"])
    cache = Path(static._cache_folder())
    assert list(cache.rglob("builtins*")), "the standard library's types should stay warm"
    assert not list(cache.rglob("program_*"))


def test_a_program_that_mypy_dies_on_is_clean_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.run

    def dies(command: list[str], **options: object) -> object:
        folder = Path(str(options["cwd"]))
        names = command[command.index("--") + 1 :]
        if any("KILLER" in (folder / name).read_text() for name in names):
            return subprocess.CompletedProcess(command, 2, "", "INTERNAL ERROR: it hurts")
        return real(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", dies)
    results = check(["x = 1\n", "KILLER = 1\n", WRONG])
    assert [result.outcome for result in results] == [None, None, Outcome.STATIC_ERROR]
    assert results[0].messages == ()
    assert results[1].messages == ("not checked, mypy stopped: INTERNAL ERROR: it hurts",)


def test_all_canonical_humaneval_solutions_are_clean_and_fast() -> None:
    path = DATA / "humaneval" / "HumanEval.jsonl.gz"
    if not path.exists():
        pytest.skip(f"needs {path}")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        tasks = [json.loads(line) for line in lines]
    programs = [task["prompt"] + task["canonical_solution"] for task in tasks]
    check(["x = 1\n"])
    began = time.perf_counter()
    results = check(programs)
    spent = time.perf_counter() - began
    assert [
        task["task_id"] for task, result in zip(tasks, results, strict=True) if result != StaticResult(None, ())
    ] == []
    assert spent < 0.05 * len(programs), f"{spent / len(programs) * 1000:.1f} ms per program: is the batch broken?"
