"""`plum exec` and `plum sandbox doctor` as a user meets them: files, pipes, mistakes, machines without walls."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from plum_hub.exec import decode, encode, parse

ENV = {**os.environ, "PYTHONPATH": str(ROOT)}
EXEC = [sys.executable, "-m", "plum_hub.cli", "exec", "--workers", "1"]
ADD = "def f(x):\n    return x + 1\n"
LOOP = "def f(x):\n    while True: pass\n"

#: A command in a process that may not make some system calls, as in a container.
TIGHT = """
import errno, os, sys, pyseccomp
rules, names = pyseccomp.SyscallFilter(pyseccomp.ALLOW), sys.argv[1].split()
for name in names:
    rules.add_rule(pyseccomp.ERRNO(errno.EPERM), name)
if "seccomp" in names:  # the old way to it
    rules.add_rule(pyseccomp.ERRNO(errno.EPERM), "prctl", pyseccomp.Arg(0, pyseccomp.EQ, 22))
rules.load()
os.execv(sys.argv[2], sys.argv[2:])
"""
NOTHING = "unshare landlock_create_ruleset seccomp"  # is allowed that makes a wall


def line(id: Any, program: str, *tests: Any, **more: Any) -> str:
    return json.dumps({"id": id, "program": program, "tests": tests, **more}) + "\n"


def plum(*arguments: str | Path, text: str = "", without: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", TIGHT, without] if without else []
    command += [sys.executable, "-m", "plum_hub.cli", *map(str, arguments)]
    return subprocess.run(command, env=ENV, input=text, capture_output=True, text=True, check=False)


def test_every_kind_of_test_in_the_order_of_the_lines(tmp_path: Path) -> None:
    """The slowest comes first; ids are any JSON; what `record` gives is what `calls` expects."""
    values = [{"$tuple": [1, {"$float": "inf"}]}, {"$set": [2]}]
    lines = [
        line("slow", LOOP, "assert f(1) == 2", seconds=1),
        line({"n": [1]}, ADD, "assert f(1) == 2", "assert f(1) == 3", "f('')"),
        line(
            3,
            ADD,
            {"type": "calls", "entry_point": "f", "inputs": [[1], [2]], "expected": [2, 3]},
            {"type": "calls", "entry_point": "f", "inputs": [[0.1]], "expected": [1.1000001], "atol": 1e-3}
            | {"oracle": "evalplus-humaneval"},
        ),
        line(None, "print(int(input()) + 1)", {"type": "stdin", "input": "1\n", "output": "2\n"}),
        line(
            5,
            ADD,
            {
                "type": "unittest",
                "code": "import unittest\nclass T(unittest.TestCase):\n"
                "    def test_it(self):\n        self.assertEqual(f(1), 2)\n",
            },
        ),
        line(
            6,
            "def f(i):\n    return [(1, float('inf')), {2}][i]",
            {"type": "record", "entry_point": "f", "inputs": [[0], [1]]},
            {"type": "calls", "entry_point": "f", "inputs": [[0], [1]], "expected": values},
        ),
        line(7, "def f(:", "assert f(1) == 2"),
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))  # with empty lines between
    done = plum("exec", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl", "--workers", "2")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    results = [json.loads(text) for text in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [result["id"] for result in results] == ["slow", {"n": [1]}, 3, None, 5, 6, 7]
    assert [result["outcome"] for result in results] == ["timeout", "error", *["passed"] * 4, "syntax_error"]
    assert [test["outcome"] for test in results[1]["tests"]] == ["passed", "failed", "error"]
    assert results[0].keys() == {"id", "outcome", "message", "seconds", "tests"}
    assert 0.9 < results[0]["seconds"] < 2.5, "the line's own limit"
    assert results[0]["message"] == results[0]["tests"][0]["message"] != ""
    assert results[5]["tests"][0]["values"] == values
    assert "values" not in results[5]["tests"][1]
    (said,) = done.stderr.splitlines()
    assert said.startswith("7 programs in ")
    assert said.endswith("/s: 4 passed, 1 error, 1 timeout, 1 syntax_error")


@pytest.fixture
def pipe() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(EXEC, env=ENV, stdin=-1, stdout=-1, stderr=-1, text=True, bufsize=1)
    with process:
        yield process
        process.kill()


def test_a_pipe_gets_each_answer_before_the_next_question_and_ctrl_c_ends_it(pipe: subprocess.Popen[str]) -> None:
    assert pipe.stdin
    assert pipe.stdout
    assert pipe.stderr
    for number in range(3):
        pipe.stdin.write(line(number, ADD, "assert f(1) == 2"))
        pipe.stdin.flush()
        assert json.loads(pipe.stdout.readline())["id"] == number
    pipe.send_signal(signal.SIGINT)
    assert pipe.wait(20) == 130
    assert pipe.stderr.read().startswith("stopped; written: ")


def test_an_endless_pipe_is_read_ahead_only_so_far(pipe: subprocess.Popen[str]) -> None:
    """While the first program runs into its limit, the writer is held up; when nobody reads on, all ends quietly."""
    assert pipe.stdin
    assert pipe.stdout
    assert pipe.stderr
    padding = "# " + "x" * 10_000 + "\n"
    pipe.stdin.write(line(0, LOOP, "assert f(1) == 2", seconds=3))
    os.set_blocking(pipe.stdin.fileno(), False)
    taken, data, start = 0, line(1, padding + ADD).encode(), time.monotonic()
    moved = start
    # until it takes no more for a while; on a busy machine it starts to read late
    while time.monotonic() < start + 30 and (taken <= 200 * len(data) or time.monotonic() < moved + 0.5):
        try:
            taken += os.write(pipe.stdin.fileno(), data[taken % len(data) :])
            moved = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
    assert 200 * len(data) < taken < 300 * len(data)
    assert json.loads(pipe.stdout.readline())["outcome"] == "timeout"
    pipe.stdout.close()
    assert pipe.wait(20) == 128 + signal.SIGPIPE
    assert pipe.stderr.read() == ""


def test_a_bad_line_is_named_after_the_results_before_it(tmp_path: Path) -> None:
    text = line(1, LOOP, "assert f(1) == 2", seconds=1) + line(2, ADD) + '\n{"id": 3}\n' + line(4, ADD)
    done = plum("exec", "-", text=text)
    assert done.returncode == 1
    assert [json.loads(result)["id"] for result in done.stdout.splitlines()] == [1, 2]
    assert done.stderr == "error: stdin:4: `program`: Field required; the results of all lines before it are written\n"
    done = plum("exec", text=line(1, ADD, seconds=9))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: stdin:1: `seconds`: 9 is above --timeout 3; ")
    same = tmp_path / "x.jsonl"
    same.write_text(text)
    done = plum("exec", same, "--output", same)
    assert (done.returncode, same.read_text()) == (1, text)
    assert done.stderr.startswith(f"error: {same} is the input, too")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"id": 1', "not JSON: Expecting ',' delimiter"),
        ("[1]", "a line is an object with id, program and tests"),
        ("[" * 100_000, "nested too deep"),
        ('{"program": "", "tests": []}', "`id`: Field required"),
        (line(1, "", seconds=0), "`seconds`: Input should be greater than 0"),
        (line(1, "", second=1), "unknown key `second`"),
        (line(1, "", 3), r"`tests\[0\]`: a test is Python source, or an object with `type`: calls, stdin, unittest or"),
        (line(1, "", "", {"type": "cals"}), r"`tests\[1\]`: a test is Python source, or an object with `type`"),
        (line(1, "", {"type": "stdin", "input": ""}), r"`tests\[0\].output`: Field required"),
        (line(1, "", {"type": "stdin", "input": 1, "output": ""}), r"`tests\[0\].input`: Input should be a valid str"),
        (line(1, "", {"type": "unittest", "code": "", "x": 1}), r"unknown key `tests\[0\].x`"),
        (
            line(1, "", {"type": "calls", "entry_point": "f", "inputs": [[1]], "expected": []}),
            r"`tests\[0\]`: 1 inputs and 0 expected values",
        ),
        (
            line(1, "", {"type": "record", "entry_point": "f", "inputs": [[{"$set": [[]]}]]}),
            r"`tests\[0\].inputs`: no such \$set: unhashable type",
        ),
    ],
)
def test_what_is_wrong_with_a_line_is_told(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}") as error:
        parse(text.encode())
    assert "\n" not in str(error.value)


def test_python_values_go_through_json(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = [None, True, 1, 10**5000, 0.5, float("inf"), 1j, "\ud800", b"\0", {"a": [1]}, {1: 2}, {"$tuple": 1}]
    for value in [*plain, (1, (2,)), {1, (2,)}, frozenset([b"x"]), {(1,): {"$set": ()}}]:
        read = decode(json.loads(json.dumps(encode(value), allow_nan=False)))
        assert (type(read), read) == (type(value), value)
    assert repr(decode(encode([float("nan")]))) == "[nan]"
    assert encode(range(2)) == {"$repr": "range(0, 2)"}
    bomb: list[Any] = ["x"]
    for _ in range(60):
        bomb = [bomb, bomb]
    monkeypatch.setattr("plum_hub.exec.MOST_VALUES", 1000)
    with pytest.raises(ValueError, match="too many values"):
        encode(bomb)


@pytest.mark.parametrize("without", ["", "unshare"])
def test_the_doctor_tries_every_wall(without: str) -> None:
    """Here, and where no namespace can be made: the other walls must do."""
    if without:
        pytest.importorskip("pyseccomp")
    done = plum("sandbox", "doctor", "--json", without=without)
    told = json.loads(done.stdout)
    walls = {wall["name"]: wall for wall in told["walls"]}
    assert {"verdicts", "network", "reading files", "signals", "memory", "disk"} <= walls.keys()
    assert not any(wall["means"].startswith("could not be tried") for wall in told["walls"])
    missing = [wall["name"] for wall in told["walls"] if wall["necessary"] and not wall["stands"]]
    assert told["ok"] is not bool(missing)
    assert done.returncode == bool(missing)
    assert missing == [], done.stderr


def test_without_walls_nothing_runs_unless_it_is_allowed(tmp_path: Path) -> None:
    pytest.importorskip("pyseccomp")
    done = plum("exec", text=line(1, ADD, "assert f(1) == 2"), without=NOTHING)
    assert (done.returncode, done.stdout) == (1, "")
    (said,) = done.stderr.splitlines()
    assert said.startswith("error: ")
    assert "--unsafe" in said
    done = plum("exec", "--unsafe", text=line(1, ADD, "assert f(1) == 2"), without=NOTHING)
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (0, "passed")
    assert done.stderr.startswith("warning: --unsafe: ")
    done = plum("sandbox", "doctor", "--json", without=NOTHING)
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"]) == (1, False)
    missing = {wall["name"] for wall in told["walls"] if wall["necessary"] and not wall["stands"]}
    assert {"sandbox", "network", "reading files", "writing files", "signals"} <= missing
    assert {"verdicts", "memory", "output", "time"}.isdisjoint(missing)
    (said,) = done.stderr.splitlines()
    assert said.startswith("error: missing: sandbox, ")
    assert said.endswith("or --unsafe for programs that you trust")
