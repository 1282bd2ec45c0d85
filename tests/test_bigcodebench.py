"""BigCodeBench: prompts and extraction to the letter, references that pass, programs that must not."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import HUB
from datasets import Dataset
from huggingface_hub import constants

from plum_hub.errors import UserError
from plum_hub.evaluate import bigcodebench
from plum_hub.evaluate.bigcodebench_extract import sanitize
from plum_hub.evaluate.samples import from_file
from plum_hub.evaluate.sanitize import longest
from plum_hub.evaluate.tasks import TESTS, Bench
from plum_hub.hub.tokens import add_token
from plum_hub.sandbox import Job, Sandbox, Unittest

#: With the standard library alone: mocks, files, processes, a database, a pool of processes.
STANDARD = (1, 5, 13, 14, 127, 205, 539)
PANDAS = (3, 33, 173)  # and numpy


def chosen(data: Path, numbers: tuple[int, ...], name: str = "bigcodebench") -> Bench:
    rows, version = bigcodebench._rows("bigcodebench", data)
    wanted = {f"BigCodeBench/{number}" for number in numbers}
    return bigcodebench.bench(name, [row for row in rows if row["task_id"] in wanted], version, None)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(bigcodebench.LIMITS, workers=2) as made:
        yield made


def test_the_data_are_read_and_named(data: Path) -> None:
    rows, version = bigcodebench._rows("bigcodebench", data)
    hard, _ = bigcodebench._rows("bigcodebench-hard", data)
    assert (len(rows), len(hard)) == (1140, 148)
    assert version.startswith("BigCodeBench.jsonl.gz sha256 581427")
    assert {row["entry_point"] for row in rows} == {"task_func"}


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no BigCodeBench\.jsonl\.gz"):
        bigcodebench.load("bigcodebench", tmp_path)
    with pytest.raises(UserError, match="bigcodebench:complete and bigcodebench:instruct"):
        bigcodebench.load("bigcodebench:both", tmp_path)
    (tmp_path / "BigCodeBench.jsonl").write_text("")
    with pytest.raises(UserError, match=r"bigcodebench_hard_task_ids\.json is missing"):
        bigcodebench.load("bigcodebench-hard", tmp_path)


def test_prompts_are_the_harness_s_to_the_letter(data: Path) -> None:
    row = next(row for row in bigcodebench._rows("bigcodebench", data)[0] if row["task_id"] == "BigCodeBench/0")
    ask = "Please provide a self-contained Python script that solves the following problem in a markdown code block:\n"
    begun = (
        "Below is a Python script with a self-contained function that solves the problem and passes corresponding "
        "tests:\n```python\n"
    )
    (task,) = chosen(data, (0,)).tasks
    instruct = {"role": "user", "content": f"{ask}{row['instruct_prompt'].strip()}\n"}
    assert task.prompts["chat"] == [instruct]
    assert task.prompts["prefill"] == [instruct, {"role": "assistant", "content": begun}]
    assert task.prompts["text"] == [{"role": "text", "content": row["complete_prompt"]}]
    (complete,) = chosen(data, (0,), "bigcodebench:complete").tasks
    assert complete.prompts["chat"][0]["content"] == f"{ask}```\n{row['complete_prompt'].strip()}\n```\n"
    only = chosen(data, (0,), "bigcodebench:instruct")
    assert only.styles == ("prefill", "chat")
    assert "text" not in only.tasks[0].prompts


@pytest.mark.parametrize("numbers", [STANDARD, PANDAS])
def test_references_pass_and_wrong_programs_fail(data: Path, sandbox: Sandbox, numbers: tuple[int, ...]) -> None:
    if numbers is PANDAS:
        pytest.importorskip("pandas")
    bench = chosen(data, numbers)
    assert bench.check
    ready, wrong = bench.check(bench, sandbox, lambda _: None)
    assert wrong == {}
    assert len(ready) == len(numbers)
    suites = [task.suites[TESTS] for task in ready]
    assert all(20.0 <= (suite.seconds or 0) <= 120.0 for suite in suites)
    nothing = "def task_func(*args, **kwargs):\n    return None\n"
    results = list(sandbox.run(Job(suite.source(nothing), suite.tests, suite.seconds) for suite in suites))
    assert {result.outcome for result in results} <= {"failed", "error"}, [result.message for result in results]


def test_a_program_finds_the_task_s_imports_above_it(sandbox: Sandbox, tmp_path: Path) -> None:
    signature = "def task_func(x):\n"
    row = {
        "task_id": "BigCodeBench/0",
        "complete_prompt": f'import math\n{signature}    """The root."""\n',
        "instruct_prompt": "The root.",
        "canonical_solution": "    return math.sqrt(x)",
        "code_prompt": f"import math\n{signature}",
        "test": (
            "import unittest\nclass TestCases(unittest.TestCase):\n    def test(self):\n"
            "        self.assertEqual(task_func(4), 2)\n"
        ),
    }
    bench = bigcodebench.bench("bigcodebench", [row], "of this test", None)
    path = tmp_path / "samples.jsonl"
    bare = signature + row["canonical_solution"]  # without math
    rows = [{"task_id": "BigCodeBench/0", "solution": bare}]
    rows += [{"task_id": "BigCodeBench/0", "completion": row["canonical_solution"]}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, others = from_file(path, bench)
    assert others == 0
    suite = bench.tasks[0].suites[TESTS]
    jobs = [Job(suite.source(sample.program), suite.tests) for sample in found] + [Job(bare, suite.tests)]
    results = list(sandbox.run(jobs))
    assert [result.outcome for result in results] == ["passed", "passed", "error"], [r.message for r in results]
    # The harness imports `sys` and `os` itself, and counts no tests but the task's.
    own = "\nimport unittest\nclass Test{0}(unittest.TestCase):\n    def test(self): self.assertEqual({1}, 1)\n"
    programs = [
        "sys.path, os.sep, environ['HOME'], __file__\n" + bare,
        bare + own.format("Mine", 2),
        bare + own.format("Cases", 2),
    ]
    right = list(
        sandbox.run(Job(suite.source(program), suite.tests) for program in [*programs, bare + own.format("Mine", 1)])
    )
    assert [result.outcome for result in right] == ["passed"] * 4, [result.message for result in right]


MOCKED = (
    "import unittest\nfrom unittest.mock import MagicMock\n"
    "class T(unittest.TestCase):\n    def test(self):\n        thing = MagicMock()\n"
    "        self.assertEqual(same(thing), thing)\n        self.assertIs(same(thing), thing)\n"
)
EMPTY = (
    "import unittest\nimport numpy as np\n"
    "class T(unittest.TestCase):\n    def test(self):\n"
    "        got = same(np.array([]))\n        self.assertTrue((got < 1).all())\n"
    "        self.assertEqual(len(got), 0)\n"
    "        self.assertIsNotNone(got)\n        self.assertIn(1, same(np.array([1, 2], dtype=object)))\n"
)
FORGED = (
    "class A:\n    def __eq__(self, other): return True\n    def __hash__(self): return 0\n"
    "    def __lt__(self, other): return True\n    def __sub__(self, other): return 0\n"
)


@pytest.mark.parametrize(
    ("suite", "program", "outcome"),
    [
        (MOCKED, "def same(x):\n    return x\n", "passed"),
        (MOCKED, f"{FORGED}def same(x):\n    return A()\n", "failed"),
        (MOCKED.replace("self.assertIs(", "assert 1, ("), f"{FORGED}def same(x):\n    return A()\n", "blocked"),
        (EMPTY, "def same(x):\n    return x\n", "passed"),
    ],
)
def test_mocks_and_arrays_are_no_forgeries(sandbox: Sandbox, suite: str, program: str, outcome: str) -> None:
    if "numpy" in suite:
        pytest.importorskip("numpy")
    (result,) = sandbox.run([Job(program, [Unittest(suite)])])
    assert result.outcome == outcome, result.message


PLOT = (
    "import os\nimport math as m\n\ndef helper(x):\n    print(x)\n\n"
    "LIMIT = 3\n\ndef task_func(x):\n    helper(x + LIMIT)\n"
)


@pytest.mark.parametrize(
    ("text", "program"),
    [
        (f"Sure, here it is:\n```python\n{PLOT}```\nIt plots.", PLOT),
        (f"{PLOT}\nclass Unused:\n    pass\n\nif __name__ == '__main__':\n    task_func(1)\n", PLOT),
        (f"{PLOT}\ntask_func(2)\nx = task_func(1)\n", PLOT),
        (f"from __future__ import annotations\n{PLOT}\n@cache\ndef other():\n    pass\n", PLOT),
        ("There is no program here.\nNone at all.", "There is no program here."),
        ("", ""),
    ],
)
def test_the_program_in_a_text(text: str, program: str) -> None:
    def kept(source: str) -> list[str]:
        return [line for line in source.splitlines() if line.strip()]

    assert kept(sanitize(text, "task_func")) == kept(program)


def test_tasks_come_from_the_hub_and_are_found_offline(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"bigcode/bigcodebench-hard.* does not exist"):
        bigcodebench._rows("bigcodebench-hard", None)
    rows = bigcodebench._rows("bigcodebench", data)[0][:3]
    token = add_token(HUB.root, "bigcode")
    for split in ("v0.1.3", bigcodebench.SPLIT):  # an older version is there as well
        made = Dataset.from_list(rows if split == bigcodebench.SPLIT else rows[:1])
        made.push_to_hub("bigcode/bigcodebench-hard", split=split, token=token)
    found, version = bigcodebench._rows("bigcodebench-hard", None)
    assert found == rows
    assert version.startswith(f"{bigcodebench.SPLIT}, commit ")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert bigcodebench._rows("bigcodebench-hard", None) == (rows, version)


def test_long_texts_take_no_time() -> None:
    text = "\n".join(
        ["word word"] * 300 + ["def task_func():", "    x = 1"] + ["    x += 1"] * 300 + ["The end."] * 300
    )
    assert longest(text).count("\n") == 301


def test_what_a_base_model_writes_goes_on_from_the_prompt(data: Path) -> None:
    bench = chosen(data, (0,))
    (task,) = bench.tasks
    program = bench.program(task, "\treturn 1.0\n", "text")
    assert program.startswith("import itertools\nfrom random import shuffle\ndef task_func(")
    assert program.endswith("    return 1.0")


def test_requirements_without_pins_keep_their_conditions() -> None:
    found: Any = bigcodebench.relaxed(["numpy==1.21.2", "tensorflow-cpu==2.11.0; sys_platform == 'linux'", "wget"])
    assert found == ["numpy", "tensorflow-cpu; sys_platform == 'linux'", "wget"]
