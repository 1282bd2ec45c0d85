"""LiveCodeBench: parts by name, files from the Hub and from a folder, prompts, the runner's oddities, real verdicts."""

import base64
import json
import os
import pickle
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from conftest import HUB, ROOT
from huggingface_hub import HfApi, constants

from plum_hub.errors import UserError
from plum_hub.evaluate import judging, livecodebench, samples
from plum_hub.evaluate.samples import Sample
from plum_hub.evaluate.tasks import TESTS, Task
from plum_hub.hub.local import environment
from plum_hub.hub.tokens import add_token
from plum_hub.outcomes import Outcome
from plum_hub.sandbox import Calls, Sandbox, Stdin

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import livecodebench_parity as parity

ECHO = {"input": "1 2\n", "output": "3\n", "testtype": "stdin"}
ADD = {"input": "1\n[2, 3]", "output": "[1, 2, 3]", "testtype": "functional"}
STARTER = "class Solution:\n    def added(self, a: int, b: List[int]) -> List[int]:\n        "


def row(key: str, date: str, tests: list[dict[str, str]], private: str = "[]", **others: Any) -> dict[str, Any]:
    """A problem as in LiveCodeBench's files."""
    return {
        "question_title": key,
        "question_content": f"Solve {key}.",
        "platform": "atcoder",
        "question_id": key,
        "contest_id": "abc",
        "contest_date": f"{date}T00:00:00",
        "starter_code": "",
        "difficulty": "easy",
        "public_test_cases": json.dumps(tests),
        "private_test_cases": private,
        "metadata": "{}",
    } | others


ROWS = {
    "test.jsonl": [row("b", "2023-05-07", [ECHO]), row("a", "2024-01-01", [ECHO])],
    "test2.jsonl": [
        row("c", "2024-04-01", [ADD], starter_code=STARTER, platform="leetcode", metadata='{"func_name": "added"}')
    ],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, rows in ROWS.items():
        (tmp_path / name).write_text("".join(json.dumps(one) + "\n" for one in rows))
    return tmp_path


@pytest.fixture(scope="module")
def sandbox() -> Any:
    with Sandbox(livecodebench.LIMITS, workers=2) as opened:
        yield opened


def upload(folder: Path) -> str:
    """The files of a folder to the local Hub, under their public name; returns the commit."""
    api = HfApi(token=add_token(HUB.root, livecodebench.REPO.partition("/")[0]))
    api.create_repo(livecodebench.REPO, repo_type="dataset", exist_ok=True)
    done = api.upload_folder(
        repo_id=livecodebench.REPO,
        repo_type="dataset",
        folder_path=folder,
        allow_patterns="*.jsonl",
        delete_patterns="*",
    )
    return str(done.oid)


def judge(sandbox: Sandbox, task: Task, programs: list[str], path: Path) -> list[Outcome]:
    made = [Sample(task.id, index, program) for index, program in enumerate(programs)]
    return [one.outcomes[TESTS] for one in judging.judge([task], made, sandbox, path, lambda *_: None, None)]


# ------------------------------------------------------------------------------------------------------------ parts


@pytest.mark.parametrize(
    ("name", "release", "files", "days"),
    [
        ("livecodebench", "release_v6", range(1, 7), ("0001-01-01", "9999-12-31")),
        ("livecodebench:release_latest", "release_v6", range(1, 7), ("0001-01-01", "9999-12-31")),
        ("livecodebench:release_v2", "release_v2", range(1, 3), ("0001-01-01", "9999-12-31")),
        ("livecodebench:v5", "v5", range(5, 6), ("0001-01-01", "9999-12-31")),
        ("livecodebench:v4_v6", "v4_v6", range(4, 7), ("0001-01-01", "9999-12-31")),
        ("livecodebench:2024-08-01..2025-01-31", "release_v6", range(1, 7), ("2024-08-01", "2025-01-31")),
        ("livecodebench:release_v5:2024-08-01..", "release_v5", range(1, 6), ("2024-08-01", "9999-12-31")),
        ("livecodebench:..2024-01-01:v1", "v1", range(1, 2), ("0001-01-01", "2024-01-01")),
    ],
)
def test_a_part_by_its_name(name: str, release: str, files: range, days: tuple[str, str]) -> None:
    found = livecodebench.part(name)
    assert (found.release, found.files) == (release, files)
    assert (str(found.first.date()), str(found.last.date())) == days


@pytest.mark.parametrize(
    "what", ["v7", "v0", "release_v", "v5_v4", "release_v1_v2", "2024-13-01..", "2024", "", "v1v2"]
)
def test_what_is_no_part(what: str) -> None:
    with pytest.raises(UserError, match=r"is no part of LiveCodeBench; after livecodebench: comes a release"):
        livecodebench.part(f"livecodebench:{what}")


def test_a_release_and_a_window_from_a_folder(folder: Path) -> None:
    first = livecodebench.load("livecodebench:release_v1", folder)
    assert [task.id for task in first.tasks] == ["a", "b"], "in the order of the ids, as the harness sorts them"
    both = livecodebench.load("livecodebench:release_v2", folder)
    assert [task.id for task in both.tasks] == ["a", "b", "c"]
    assert both.tasks[2].traits == {"difficulty": "easy", "platform": "leetcode", "month": "2024-04"}
    assert first.version != both.version
    window = livecodebench.load("livecodebench:release_v2:2024-01-01..2024-04-01", folder)
    assert [task.id for task in window.tasks] == ["a", "c"], "both ends belong to it"
    (folder / "livecodebench").mkdir()
    for name in ROWS:
        (folder / name).rename(folder / "livecodebench" / name)
    assert livecodebench.load("livecodebench:v2", folder).tasks[0].id == "c"


def test_what_is_wrong_with_a_folder(folder: Path) -> None:
    with pytest.raises(UserError, match=r"has no test3.jsonl, which release_v3 of LiveCodeBench needs"):
        livecodebench.load("livecodebench:release_v3", folder)
    with pytest.raises(UserError, match=r"its contests are from 2023-05-07 to 2024-01-01"):
        livecodebench.load("livecodebench:v1:2024-02-01..", folder)
    (folder / "test.jsonl").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match=r"test.jsonl, byte 0: no problem of LiveCodeBench.*Git LFS pointer"):
        livecodebench.load("livecodebench:v1", folder)


def test_the_files_of_a_release_and_no_others_come_from_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = folder / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    commit = upload(folder)
    livecodebench.prefetch("livecodebench:v2")
    assert {path.name for path in cache.rglob("*.jsonl")} == {"test2.jsonl"}
    bench = livecodebench.load("livecodebench:release_v2")
    assert [task.id for task in bench.tasks] == ["a", "b", "c"]
    assert bench.version == f"release_v2, commit {commit}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert len(livecodebench.load("livecodebench:release_v2").tasks) == 3
    with pytest.raises(UserError, match=r"no answer from"):
        livecodebench.load("livecodebench:v3")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(UserError, match=r"has not all of test6.jsonl"):
        livecodebench.load("livecodebench:v6")


# ---------------------------------------------------------------------------------------------- prompts and programs


def test_prompts(folder: Path) -> None:
    script, _, function = livecodebench.load("livecodebench:release_v2", folder).tasks
    system, user = script.prompts["chat"]
    assert system["content"].startswith("You are an expert Python programmer. You will be given a question")
    assert user["content"].startswith("### Question:\nSolve a.\n\n### Format: Read the inputs from stdin solve")
    assert user["content"].endswith(
        "to STDOUT.\n```python\n# YOUR CODE HERE\n```\n\n### Answer: (use the provided format with backticks)\n\n"
    )
    assert (
        f"enclose your code within delimiters.\n```python\n{STARTER}\n```\n\n" in function.prompts["chat"][1]["content"]
    )
    (text,) = function.prompts["text"]
    assert text["role"] == "text"
    assert text["content"].endswith(f"### Question\nSolve c.\n\n### Starter Code\n{STARTER}\n\n### Answer\n\n")
    assert text["content"].count("### Question\n") == text["content"].count("### Starter Code\n") == 2


def test_the_program_in_real_answers(data: Path) -> None:
    task = Task("a", {})
    for made in parity.submissions(data).values():
        assert livecodebench._program(task, made["output_list"][0], "chat") == made["code_list"][0]
    assert livecodebench._program(task, "```python\nx = 1\n```\nor\n```\nx = 2\n```", "chat") == "x = 2"
    assert livecodebench._program(task, "```python\nx = 1\n", "chat") == ""
    assert livecodebench._program(task, "\nprint(1)\n", "text") == "print(1)"


# ------------------------------------------------------------------------------------------------------------- tests


def test_private_tests_in_both_forms(folder: Path) -> None:
    packed = base64.b64encode(zlib.compress(pickle.dumps(json.dumps([ECHO, ECHO])))).decode()
    rows = [row("a", "2023-05-07", [ECHO], packed), row("b", "2023-05-07", [], json.dumps([ECHO]))]
    (folder / "test.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    first, second = livecodebench.load("livecodebench:v1", folder).tasks
    assert list(first.suites[TESTS].tests) == [Stdin("1 2\n", "3\n")] * 3
    assert list(second.suites[TESTS].tests) == [Stdin("1 2\n", "3\n")]


def test_a_pickle_that_would_run_something_is_refused(folder: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(folder / "ran"),)

    packed = base64.b64encode(zlib.compress(pickle.dumps(Evil()))).decode()
    (folder / "test.jsonl").write_text(json.dumps(row("a", "2023-05-07", [ECHO], packed)) + "\n")
    (task,) = livecodebench.load("livecodebench:v1", folder).tasks
    with pytest.raises(UserError, match=r"the tests of a cannot be read: not plain data"):
        list(task.suites[TESTS].tests)
    assert not (folder / "ran").exists()


def test_functions(folder: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    task = livecodebench.load("livecodebench:v2", folder).tasks[0]
    assert list(task.suites[TESTS].tests) == [Calls(livecodebench.ENTRY, [[1, [2, 3]]], [[1, 2, 3]], "livecodebench")]
    solution = "class Solution:\n    def added(self, a, b):\n        return {}\n"
    programs = {
        solution.format("[a, *b]"): Outcome.PASSED,
        solution.format("(a, *b)"): Outcome.PASSED,  # a tuple is as good
        solution.format("[a, b]"): Outcome.FAILED,
        solution.format("1 // 0"): Outcome.ERROR,
        "def added(a: int, b: List[int]):\n    return list(chain([a], deque(b)))": Outcome.PASSED,  # imports are there
        "class Other: pass": Outcome.LOAD_ERROR,
        "class Solution:": Outcome.SYNTAX_ERROR,
        "import resource\n" + solution.format("[a, *b]"): Outcome.LOAD_ERROR,  # its guard takes that away
    }
    assert judge(sandbox, task, list(programs), tmp_path / "verdicts.jsonl") == list(programs.values())


def test_one_object_for_all_calls_of_a_method(folder: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    (folder / "test2.jsonl").write_text(
        json.dumps(ROWS["test2.jsonl"][0] | {"public_test_cases": json.dumps([ADD] * 2)})
    )
    task = livecodebench.load("livecodebench:v2", folder).tasks[0]
    keeps = (
        "class Solution:\n    def __init__(self):\n        self.found = []\n"
        "    def added(self, a, b):\n        self.found += [a, *b]\n        return self.found\n"
    )
    assert judge(sandbox, task, [keeps], tmp_path / "verdicts.jsonl") == [Outcome.FAILED]


@pytest.mark.parametrize(
    ("program", "outcome"),
    [
        ("print(sum(map(int, input().split())))", Outcome.PASSED),
        ("print('3.0')", Outcome.PASSED),  # numbers as decimals
        ("print(' 3 \\n')", Outcome.PASSED),
        ("print('3 3')", Outcome.FAILED),
        ("def main():\n    print(3)\n\nif __name__ == '__main__':\n    main()", Outcome.PASSED),
        ("def main():\n    print(3)\n\nif __name__ == '__main__':\n    main()\n\nx = 1", Outcome.FAILED),
        ("import sys\nprint(3)\nsys.exit(1)", Outcome.PASSED),  # leaving is as good as coming to the end
        ("print(3)\nexit()", Outcome.PASSED),
        ("print(3)\nquit()", Outcome.ERROR),
        ("print(Counter('abccc')['c'])", Outcome.PASSED),  # imports are there
        ("import sys\nprint(len(sys.stdin.readlines()) + 2)", Outcome.PASSED),
        ("import sys\ninput()\nprint(len(sys.stdin.read()) + 3)", Outcome.PASSED),  # the rest
        ("import sys\nfor line in sys.stdin: print(3)", Outcome.PASSED),
        ("import sys\nprint(len(sys.stdin.readline()) - 1)", Outcome.PASSED),  # lines keep their ends
        ("import sys\nwhile sys.stdin.readline(): pass\nprint(3)", Outcome.PASSED),
        ("try:\n    while True: input()\nexcept EOFError: print(3)", Outcome.PASSED),
        ("from sys import stdin\nprint(sum(map(int, stdin.read().split())))", Outcome.PASSED),  # another object
        ("from sys import stdin\ninput = stdin.readline\nprint(len(input()))", Outcome.PASSED),  # here they do not
        ("from sys import stdin\nfor _ in range(3): stdin.readline()\nprint(3)", Outcome.ERROR),
        ("import sys\nprint('x', file=sys.stderr)\nprint(3)", Outcome.PASSED),
        ("n = 3\nif n is 3: print(n)", Outcome.PASSED),  # with a warning
        ("from sys import stdout\nstdout.write('3')", Outcome.FAILED),
        ("import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())))", Outcome.PASSED),
        ("import sys\nprint(len(sys.stdin.buffer.readline() + sys.stdin.buffer.readline()) - 1)", Outcome.PASSED),
        ("import sys\nsys.stdout.buffer.write(b'3')", Outcome.ERROR),
        ("print(open(0).read() or 3)", Outcome.PASSED),  # standard input itself is empty
        ("n = 3\ndef f():\n    global n\n    print(n)\nf()", Outcome.ERROR),  # all of it is a function's body
        ("from __future__ import annotations\nprint(3)", Outcome.SYNTAX_ERROR),
        ("", Outcome.SYNTAX_ERROR),
        ("print(", Outcome.SYNTAX_ERROR),
        ("print(3)\nimport os\nos._exit(0)", Outcome.CRASHED),
    ],
)
def test_scripts_as_the_runner_has_them(
    program: str, outcome: Outcome, folder: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    task = livecodebench.load("livecodebench:v1", folder).tasks[0]
    assert judge(sandbox, task, [program], tmp_path / "verdicts.jsonl") == [outcome]


def test_a_hang_costs_its_limit_once(folder: Path, tmp_path: Path) -> None:
    tests = json.dumps([ECHO] * 50)
    (folder / "test.jsonl").write_text(json.dumps(row("a", "2023-05-07", [], tests)) + "\n")
    (task,) = livecodebench.load("livecodebench:v1", folder).tasks
    limits = livecodebench.LIMITS.__class__(seconds=0.5, total_seconds=600)
    with Sandbox(limits, workers=1) as box:
        made = [Sample("a", 0, "while True: pass"), Sample("a", 1, "print(3)")]
        hung, right = judging.judge([task], made, box, tmp_path / "verdicts.jsonl", lambda *_: None, None)
    assert (hung.outcomes[TESTS], right.outcomes[TESTS]) == (Outcome.TIMEOUT, Outcome.PASSED)
    assert hung.seconds[TESTS] < 15 * limits.seconds, "50 tests would take 25 s and more"


# -------------------------------------------------------------------------------------------- samples, real verdicts


def test_its_sample_files(folder: Path) -> None:
    bench = livecodebench.load("livecodebench:v1", folder)
    rows = [{"question_id": key, "code_list": [f"print({key!r})", "print(2)"], "graded_list": [True]} for key in "ba"]
    file = folder / "samples.json"
    file.write_text(json.dumps([*rows, {"question_id": "zz", "code_list": ["", ""]}]))
    found, others = samples.from_file(file, bench)
    assert [(one.task_id, one.index, one.program) for one in found] == [
        ("a", 0, "print('a')"), ("a", 1, "print(2)"), ("b", 0, "print('b')"), ("b", 1, "print(2)"),
    ]  # fmt: skip
    assert others == 1


def test_real_submissions_get_the_verdicts_that_were_stored(data: Path, tmp_path: Path) -> None:
    rows = parity.problems(data, every=7)
    parity.write(rows, tmp_path / "data")
    upload(tmp_path / "data")
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "plum_hub.cli", "eval", "--samples", data / parity.SUBMISSIONS, "--json"]
    command += ["--bench", parity.BENCH, "--per-task", out, "--runs", tmp_path / "runs"]
    env = {**os.environ, **environment(HUB), "PYTHONPATH": str(ROOT), "HF_HUB_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([str(part) for part in command], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    total, disputed = parity.disputed(data, out)
    assert total == len(rows) > 70
    assert set(disputed) <= parity.SPOILT, disputed
    (score,) = json.loads(done.stdout)["scores"]
    made = parity.submissions(data)
    stored = sum(made[one["question_id"]]["graded_list"][0] for one in rows)
    assert abs(score["value"] - 100 * stored / total) <= 100 * len(disputed) / total + 0.1
    record = json.loads(done.stdout)["records"][0]
    assert set(record["by"][next(iter(record["by"]))]) == {"difficulty", "platform", "month"}
    assert record["data_version"].startswith("release_v5, commit ")
