"""The sandbox: every outcome, order, limits, and that nothing leaks in, out or across programs."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from plum_hub.outcomes import Outcome
from plum_hub.sandbox import child
from plum_hub.sandbox.engine import CHILD, Job, Limits, Result, Sandbox, SandboxError

DATA = Path(os.environ.get("PLUM_DATA") or Path(__file__).parents[2] / "shared" / "data")
ROOT = Path(__file__).parents[1]

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a subreaper")

GOOD = "def f(x):\n    return x + 1\n"
SHORT = Limits(seconds=1.0, total_seconds=6.0, memory_mb=256, output_bytes=100_000)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SHORT, workers=1) as opened:
        yield opened


def one(sandbox: Sandbox, program: str, *tests: str) -> Result:
    (result,) = sandbox.run([Job(program, tests)])
    return result


def processes(marker: str) -> list[int]:
    """Ids of the processes with `marker` in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if marker.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                pass
    return found


def gone(marker: str, seconds: float) -> bool:
    """Whether no process with `marker` is left within `seconds`."""
    until = time.monotonic() + seconds
    while processes(marker):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def sleeper(marker: str) -> str:
    """A program that leaves a grandchild in a session of its own, with `marker` in its command line."""
    return (
        "import subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)', {marker!r}],"
        " start_new_session=True)\n"
    )


# ---------------------------------------------------------------------------------------------- outcomes


@pytest.mark.parametrize(
    ("program", "outcome", "message"),
    [
        (GOOD, Outcome.PASSED, ""),
        ("", Outcome.PASSED, ""),
        ("def f(:", Outcome.SYNTAX_ERROR, "SyntaxError: invalid syntax"),
        ("a\0b", Outcome.SYNTAX_ERROR, "SyntaxError: source code string cannot contain null bytes"),
        ("x = '\ud800'", Outcome.SYNTAX_ERROR, "UnicodeEncodeError"),
        ("-" * 100_000 + "1", Outcome.SYNTAX_ERROR, "MemoryError"),
        ("1 / 0", Outcome.LOAD_ERROR, "ZeroDivisionError: division by zero"),
        ("assert False, 'no'", Outcome.LOAD_ERROR, "AssertionError: no"),
        ("import no_such_module", Outcome.LOAD_ERROR, "ModuleNotFoundError"),
        ("import plum_hub_is_not_here.at_all", Outcome.LOAD_ERROR, "ModuleNotFoundError"),
        ("input()", Outcome.LOAD_ERROR, "EOFError"),
        ("exit(0)", Outcome.LOAD_ERROR, "SystemExit: 0"),
        ("raise KeyboardInterrupt", Outcome.LOAD_ERROR, "KeyboardInterrupt"),
        ("import os\nos._exit(0)", Outcome.CRASHED, "left with exit status 0"),
        ("import os\nos.kill(os.getpid(), 9)", Outcome.CRASHED, "killed by SIGKILL"),
        ("import os\nos.execv('/bin/sleep', ['sleep', '60'])", Outcome.CRASHED, "closed the sandbox's pipe"),
        ("while True: pass", Outcome.TIMEOUT, "over 1 s"),
        ("import signal, time\nsignal.signal(14, signal.SIG_IGN)\ntime.sleep(60)", Outcome.TIMEOUT, "over 1 s"),
        ("x = bytearray(10**10)", Outcome.MEMORY, "MemoryError"),
        ("while True: print('x' * 1000)", Outcome.OUTPUT_LIMIT, "wrote too much"),
        ("open('file', 'w').write('x' * 10**6)", Outcome.OUTPUT_LIMIT, "wrote too much"),
        ("if __name__ == '__main__':\n    input()", Outcome.PASSED, ""),
    ],
)
def test_outcome_of_loading(sandbox: Sandbox, program: str, outcome: Outcome, message: str) -> None:
    result = one(sandbox, program, "pass", "pass")
    assert result.outcome is outcome
    assert result.message.startswith(message)
    assert bool(result.message) == bool(message)
    assert [test.outcome for test in result.tests] == [outcome, outcome]
    if outcome is not Outcome.PASSED:
        assert [test.seconds for test in result.tests] == [0.0, 0.0]
        assert {test.message for test in result.tests} == {result.message}


TESTS = [
    ("assert f(1) == 2", Outcome.PASSED, ""),
    ("assert f(1) == 3, 'wrong'", Outcome.FAILED, "AssertionError: wrong"),
    ("f(None)", Outcome.ERROR, "TypeError"),
    ("def (", Outcome.ERROR, "SyntaxError"),
    ("'\ud800'", Outcome.ERROR, "UnicodeEncodeError"),
    ("input()", Outcome.ERROR, "EOFError"),
    ("import sys\nsys.exit(0)", Outcome.ERROR, "SystemExit: 0"),
    ("def r(n):\n    return r(n + 1)\nr(0)", Outcome.ERROR, "RecursionError"),
    ("while True: pass", Outcome.TIMEOUT, "over 1 s"),
    ("assert f(2) == 3", Outcome.PASSED, ""),
    ("import os\nos._exit(0)", Outcome.CRASHED, "left with exit status 0"),
    ("assert f(3) == 4", Outcome.PASSED, ""),
    ("import os\nos.kill(os.getpid(), 11)", Outcome.CRASHED, "killed by SIGSEGV"),
    ("x = bytearray(10**10)", Outcome.MEMORY, "MemoryError"),
    ("print('x' * 10**6)", Outcome.OUTPUT_LIMIT, "wrote too much"),
    ("print('x' * 10)", Outcome.PASSED, ""),
    ("if __name__ == '__main__':\n    assert f(1) == 0", Outcome.FAILED, "AssertionError"),
    ("assert f(4) == 5", Outcome.PASSED, ""),
]


def test_every_test_gets_its_own_verdict_whatever_the_ones_before_did(sandbox: Sandbox) -> None:
    result = one(sandbox, GOOD, *(source for source, _, _ in TESTS))
    assert [test.outcome for test in result.tests] == [outcome for _, outcome, _ in TESTS]
    for test, (_, _, message) in zip(result.tests, TESTS, strict=True):
        assert test.message.startswith(message)
        assert bool(test.message) == bool(message)
    assert result.outcome is Outcome.CRASHED
    assert result.message == "left with exit status 0"
    assert 1.0 <= result.tests[8].seconds < 2.5
    assert result.tests[0].seconds < 0.4
    assert result.seconds >= sum(test.seconds for test in result.tests)


def test_tests_share_the_namespace_of_the_program(sandbox: Sandbox) -> None:
    result = one(
        sandbox,
        "state = []",
        "state.append(1)",
        "assert state == [1]",
        "import solution\nassert solution.state is state",
    )
    assert [test.outcome for test in result.tests] == [Outcome.PASSED] * 3


def test_modules_that_look_a_class_up_by_its_module_work(sandbox: Sandbox) -> None:
    program = "import dataclasses, pickle\n\n@dataclasses.dataclass\nclass P:\n    x: 'int' = 1\n"
    assert one(sandbox, program, "assert pickle.loads(pickle.dumps(P(2))) == P(2)").outcome is Outcome.PASSED


def test_memory_that_stays_full_is_still_reported() -> None:
    program = (
        "kept = []\n"
        "def f():\n"
        "    for size in (10**7, 10**5, 10**4, 1000, 400, 100, 1):\n"
        "        try:\n"
        "            while True: kept.append(bytearray(size))\n"
        "        except MemoryError: pass\n"
        "    while True: kept.append(bytearray(1))\n"
    )
    with Sandbox(Limits(seconds=8.0, total_seconds=20.0, memory_mb=128), workers=1) as roomy:
        result = one(roomy, program, "f()", "assert True")
    assert [test.outcome for test in result.tests] == [Outcome.MEMORY, Outcome.PASSED]


def test_time_for_the_whole_program(sandbox: Sandbox) -> None:
    with Sandbox(Limits(seconds=0.4, total_seconds=1.0), workers=1) as hurried:
        result = one(hurried, GOOD, *["while True: pass"] * 6)
    # the last two were not judged for want of our time, which is no fault of the program's
    assert [test.outcome for test in result.tests][:2] == [Outcome.TIMEOUT] * 2
    assert {test.outcome for test in result.tests[-2:]} == {Outcome.INFRA_ERROR}
    assert [test.message for test in result.tests] == ["over 0.4 s"] * 2 + [
        "not judged: the time for this program ran out"
    ] * 4
    assert 1.0 <= result.seconds < 2.0


def test_messages_are_short_clean_lines(sandbox: Sandbox) -> None:
    tests = (
        "raise ValueError('a\\nb' * 10**6)",
        "raise ValueError('\\ud800')",
        "class E(Exception):\n    def __str__(self): raise SystemExit\nraise E",
        "raise type('N' * 5000, (Exception,), {})",
    )
    result = one(sandbox, GOOD, *tests)
    assert [test.outcome for test in result.tests] == [Outcome.ERROR] * 4
    for test in result.tests:
        assert 0 < len(test.message) <= 200
        assert "\n" not in test.message
        test.message.encode()


def test_any_text_survives_the_way_there_and_back(sandbox: Sandbox) -> None:
    text = "ä\u2028\U0001f600\r\n\x0b\x1c{}\"'\\"
    result = one(sandbox, f"x = {text!r}\n", f"assert x == {text!r}", f"raise ValueError(x + {'y' * 300_000!r})")
    assert [test.outcome for test in result.tests] == [Outcome.PASSED, Outcome.ERROR]
    assert "ä" in result.tests[1].message


# ---------------------------------------------------------------------------------------------- no verdict, no pass

FAILING = "assert f(1) == 'never'"


@pytest.mark.parametrize(
    "program",
    [
        "import atexit, os\natexit.register(os._exit, 0)",
        "import sys\nsys.excepthook = lambda *a: sys.exit(0)",
        'print(\'passed\')\nprint(\'{"load": ["passed", 0, ""], "tests": [["passed", 0, ""]]}\', flush=True)',
        "import os\nfor fd in range(3, 256):\n    try: os.write(fd, b'\\0\\0\\0\\x07passed\\n' * 10)\n"
        "    except OSError: pass",
        "import os\nfor fd in range(3, 256):\n    try: os.close(fd)\n    except OSError: pass",
        "import os\nos.fork()\nos.fork()",
        "import builtins\nbuiltins.AssertionError = type('A', (Exception,), {})\n"
        "builtins.isinstance = lambda *a: False",
        "import os, json\nos.write = os._exit = json.dumps = lambda *a: 0",
        "import sys\nsys.exit = lambda *a: None",
        "import threading, os\nthreading.Timer(0.05, os._exit, [0]).start()\nimport time\ntime.sleep(0.3)",
    ],
    ids=["atexit", "excepthook", "print", "write", "close", "fork", "builtins", "patch", "exit", "thread"],
)
def test_no_trick_passes_a_failing_test(sandbox: Sandbox, program: str) -> None:
    result = one(sandbox, f"{program}\ndef f(x):\n    raise SystemExit(0)\n", FAILING, FAILING)
    assert result.outcome not in (Outcome.PASSED, Outcome.INFRA_ERROR)
    assert Outcome.PASSED not in [test.outcome for test in result.tests]


def test_copies_of_the_program_have_no_say(sandbox: Sandbox) -> None:
    result = one(sandbox, "import os\nos.fork()\nos.fork()\n", "pass", "assert False", "pass")
    assert [test.outcome for test in result.tests] == [Outcome.PASSED, Outcome.FAILED, Outcome.PASSED]


# ---------------------------------------------------------------------------------------------- what is inside


def test_environment_is_scrubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("PYTHONSTARTUP", "hf_secret")
    test = (
        "import os\n"
        "seen = str(os.environ) + ''.join(open(f'/proc/{pid}/environ').read() for pid in ('self', os.getppid()))\n"
        "assert 'HOME' in seen, seen\n"
        "assert 'hf_secret' not in seen, seen\n"
        "assert set(os.environ) <= {'PATH', 'HOME', 'TMPDIR', 'LANG', 'LC_CTYPE', 'TZ', 'PYTHONHASHSEED',"
        " 'OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS'}, os.environ"
    )
    with Sandbox(workers=1) as sandbox:
        result = one(sandbox, GOOD, test)
    assert (result.outcome, result.message) == (Outcome.PASSED, "")


@linux
def test_descriptors_and_our_own_package_stay_outside(sandbox: Sandbox) -> None:
    with open(CHILD):
        result = one(
            sandbox,
            "import os, sys\n",
            "fds = {fd: os.readlink(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd') if int(fd) > 2"
            " and os.path.exists(f'/proc/self/fd/{fd}')}\n"
            "kinds = [link.split(':')[0] for link in fds.values()]\n"
            "assert kinds.count('pipe') == 1 and 'socket' not in kinds and len(kinds) <= 2, fds",
            "assert os.readlink('/proc/self/fd/0') == '/dev/null'",
            "assert not [name for name in sys.modules if name.startswith('plum_hub')]",
        )
    assert [(test.outcome, test.message) for test in result.tests] == [(Outcome.PASSED, "")] * 3


def test_limits_are_in_force(sandbox: Sandbox) -> None:
    test = (
        "import resource as r\n"
        "got = {name: r.getrlimit(getattr(r, 'RLIMIT_' + name)) for name in 'AS FSIZE CORE NOFILE CPU NPROC'.split()}\n"
        "assert got['AS'] == (256 << 20, 256 << 20) and got['FSIZE'] == (100_000, 100_000), got\n"
        "assert got['CORE'] == (0, 0) and got['NOFILE'][1] <= 256 and 6 <= got['CPU'][1] <= 10, got\n"
        "assert 0 < got['NPROC'][1] <= 4096, got\n"
    )
    result = one(sandbox, GOOD, test)
    assert (result.outcome, result.message) == (Outcome.PASSED, "")


def test_scratch_is_empty_for_every_program() -> None:
    look = "import os\nassert os.listdir('.') == [], os.listdir('.')\nassert os.environ['HOME'] == os.getcwd()\n"
    writes = [
        "open('left', 'w').write('x')",
        "os.makedirs('a/b/c')\nopen('a/b/c/d', 'w').close()\nos.chmod('a/b', 0)\nos.chmod('.', 0)",
        "for i in range(1500):\n    os.mkdir('d')\n    os.chdir('d')",
        "os.symlink('/etc', 'link')\nos.symlink('.', 'self')\nos.mkfifo('fifo')",
        "here = os.getcwd()\nos.chdir('/')\nos.rmdir(here)",
        "here = os.getcwd()\nos.chdir('/')\nos.rmdir(here)\nos.symlink('/etc', here)",
        "import tempfile\nassert tempfile.mkdtemp().startswith(os.getcwd())",
    ]
    jobs = [Job(look + write, ("pass",)) for write in writes] + [Job(look, ("pass",))]
    with Sandbox(Limits(seconds=20.0, total_seconds=20.0), workers=1) as patient:  # the disk may be slow
        results = list(patient.run(jobs))
    for job, result in zip(jobs, results, strict=True):
        assert (result.outcome, result.message) == (Outcome.PASSED, ""), job.program
    assert os.path.exists("/etc/passwd")


def test_a_new_runner_starts_in_an_empty_directory_too(sandbox: Sandbox) -> None:
    result = one(sandbox, "import os\nopen('left', 'x').close()", "os._exit(0)", "assert os.listdir() == ['left']")
    assert [test.outcome for test in result.tests] == [Outcome.CRASHED, Outcome.PASSED]


def test_programs_do_not_see_each_other(sandbox: Sandbox) -> None:
    poison = "import math, builtins, sys\nmath.pi = 3\nbuiltins.len = None\nsys.modules['json'] = None\n"
    clean = "import math, json\nassert 3.1 < math.pi < 3.2 and len(json.dumps([])) == 2\n"
    results = list(sandbox.run([Job(poison, ("pass",)), Job(clean, ("pass",))] * 2))
    assert [result.outcome for result in results] == [Outcome.PASSED] * 4


def test_runs_are_repeatable_on_every_worker() -> None:
    program = "import random, time\nraise ValueError([hash('a'), random.random(), time.strftime('%z')])"
    with Sandbox(workers=2) as sandbox:
        messages = {result.message for result in sandbox.run([Job(program, ())] * 40)}
    assert len(messages) == 1
    assert messages.pop().startswith("ValueError: [")


# ---------------------------------------------------------------------------------------------- processes


@linux
def test_a_timeout_kills_promptly_with_grandchildren_in_their_own_session(sandbox: Sandbox) -> None:
    marker = uuid.uuid4().hex
    began = time.monotonic()
    result = one(sandbox, sleeper(marker) + "import time\ntime.sleep(0.2)\n", "while True: pass")
    assert result.outcome is Outcome.TIMEOUT
    assert time.monotonic() - began < 4.0
    assert processes(marker) == []


@linux
def test_a_program_that_passes_leaves_no_process_either(sandbox: Sandbox) -> None:
    marker = uuid.uuid4().hex
    with Sandbox(Limits(), workers=1) as roomy:
        seen: list[int] = []
        results = roomy.run([Job(sleeper(marker) + "import time\ntime.sleep(1)\n", ("pass",))])
        watch = threading.Thread(target=lambda: seen.extend(_wait_for(marker)))
        watch.start()
        assert next(results).outcome is Outcome.PASSED
        assert processes(marker) == []
        watch.join()
    assert seen, "the grandchild never ran: this test shows nothing"


def _wait_for(marker: str, seconds: float = 5.0) -> list[int]:
    until = time.monotonic() + seconds
    while not (found := processes(marker)) and time.monotonic() < until:
        time.sleep(0.01)
    return found


@linux
def test_a_burst_of_forks_is_cleared(sandbox: Sandbox) -> None:
    one(sandbox, GOOD)
    marker = sandbox._servers[0].base
    program = "import os, time\nfor _ in range(6):\n    if os.fork() == 0: os.setsid()\ntime.sleep(60)"
    assert one(sandbox, program, "pass").outcome is Outcome.TIMEOUT
    assert len(processes(marker)) == 1  # the server alone


@linux
def test_a_killed_server_is_replaced_and_its_job_tried_again() -> None:
    slow = GOOD + "import time\ntime.sleep(1.5)"
    with Sandbox(Limits(seconds=8.0), workers=1) as sandbox:
        results = sandbox.run([Job(GOOD, ("pass",)), Job(slow, ("pass",)), Job(GOOD, ("pass",))])
        assert next(results).outcome is Outcome.PASSED
        first = sandbox._servers[0]
        time.sleep(0.2)
        os.kill(first.process.pid, signal.SIGKILL)
        assert gone(first.base, 1.0), "the program outlived its server"
        assert [result.outcome for result in results] == [Outcome.PASSED] * 2
        assert sandbox._servers[0].process.pid != first.process.pid
        assert not os.path.exists(first.base)


@linux
def test_a_job_that_kills_its_server_every_time_is_our_error_and_the_rest_goes_on() -> None:
    killer = "import os\nos.kill(os.getppid(), 9)\nimport time\ntime.sleep(5)"
    with Sandbox(workers=1) as sandbox:
        results = list(sandbox.run([Job(killer, ("pass", "pass")), Job(GOOD, ("assert f(1) == 2",))]))
    assert [result.outcome for result in results] == [Outcome.INFRA_ERROR, Outcome.PASSED]
    assert [test.outcome for test in results[0].tests] == [Outcome.INFRA_ERROR] * 2


@linux
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "interrupt"])
def test_the_end_of_the_parent_leaves_nothing_behind(number: signal.Signals) -> None:
    marker = uuid.uuid4().hex
    script = (
        "from plum_hub.sandbox.engine import *\n"
        f"program = {sleeper(marker)!r} + 'while True: pass'\n"
        "with Sandbox(Limits(seconds=60, total_seconds=60), workers=1) as sandbox:\n"
        "    results = sandbox.run([Job('', ()), Job(program, ('pass',))])\n"
        "    next(results)\n"
        "    print(sandbox._servers[0].base, flush=True)\n"
        "    next(results)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert parent.stdout is not None
        base = parent.stdout.readline().strip()
        assert base
        assert processes(base)
        assert _wait_for(marker)
        os.killpg(parent.pid, number)  # as a terminal does
        parent.wait(10)
        assert gone(base, 5.0)
        assert gone(marker, 5.0)
        assert not os.path.exists(base)
    finally:
        parent.kill()
        parent.wait()
        assert parent.stdout is not None
        parent.stdout.close()


@linux
def test_closing_ends_what_runs_and_removes_its_directories() -> None:
    with Sandbox(Limits(seconds=60, total_seconds=60), workers=2) as sandbox:
        results = sandbox.run([Job("", ()), Job("while True: pass", ()), Job("while True: pass", ()), Job("", ())])
        assert next(results).outcome is Outcome.PASSED
        time.sleep(0.3)
        bases = [server.base for server in sandbox._servers.values()]
        began = time.monotonic()
    assert time.monotonic() - began < 4.0
    assert bases
    assert not [base for base in bases if processes(base) or os.path.exists(base)]
    with pytest.raises(SandboxError):
        list(results)
    with pytest.raises(SandboxError):
        sandbox.run([])


# ---------------------------------------------------------------------------------------------- the stream


def test_order_is_kept_over_jobs_of_mixed_speed() -> None:
    def jobs() -> Iterator[Job]:
        for number in range(500):
            nap = "import time\ntime.sleep(0.03)\n" if number % 17 == 0 else ""
            yield Job(f"{nap}n = {number}\n", (f"raise ValueError({number})",))

    with Sandbox(workers=3) as sandbox:
        messages = [result.message for result in sandbox.run(jobs())]
    assert messages == [f"ValueError: {number}" for number in range(500)]


def test_a_long_stream_is_taken_lazily() -> None:
    taken = 0

    def jobs() -> Iterator[Job]:
        nonlocal taken
        for _ in range(100_000):
            taken += 1
            yield Job("", ())

    with Sandbox(workers=1) as sandbox:
        results = sandbox.run(jobs())
        assert taken == 0
        for count in range(1, 21):
            assert next(results).outcome is Outcome.PASSED
            assert taken <= count + sandbox.look_ahead
        assert sandbox.look_ahead < 1000
        results.close()  # type: ignore[attr-defined]
        assert one(sandbox, GOOD, "pass").outcome is Outcome.PASSED  # what was given up is not run first, or soon over


def test_two_streams_at_once_and_errors_of_a_stream() -> None:
    def broken() -> Iterator[Job]:
        yield Job("", ())
        raise KeyError("mine")

    with Sandbox(workers=2) as sandbox:
        left = sandbox.run([Job("raise ValueError('left')", ())] * 20)
        right = sandbox.run([Job("raise ValueError('right')", ())] * 20)
        pairs = [(a.message, b.message) for a, b in zip(left, right, strict=True)]
        assert pairs == [("ValueError: left", "ValueError: right")] * 20
        with pytest.raises(KeyError, match="mine"):
            list(sandbox.run(broken()))
        assert list(sandbox.run([])) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_use_after_a_fork_is_told_and_does_not_hang() -> None:
    with Sandbox(workers=1) as sandbox:
        assert one(sandbox, GOOD, "pass").outcome is Outcome.PASSED
        pid = os.fork()
        if pid == 0:
            try:
                sandbox.run([])
            except SandboxError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        assert one(sandbox, GOOD, "pass").outcome is Outcome.PASSED


def test_misuse_is_told() -> None:
    with pytest.raises(SandboxError, match="with statement"):
        Sandbox(workers=1).run([])
    with pytest.raises(ValueError, match="workers"):
        Sandbox(workers=0)


def test_an_interpreter_that_does_not_start_is_told_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise OSError('it is broken here')")
    monkeypatch.setattr("plum_hub.sandbox.engine.CHILD", broken)
    with Sandbox(workers=1) as sandbox, pytest.raises(SandboxError, match="it is broken here"):
        list(sandbox.run([Job("", ())]))


def test_removing_a_tree_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").touch()
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "link").symlink_to(tmp_path / "outside")
    (tree / "a" / "b" / "file").touch()
    (tree / "a").chmod(0)
    child.remove_tree(str(tree))
    assert not tree.exists()
    assert (tmp_path / "outside" / "kept").exists()


# ---------------------------------------------------------------------------------------------- real programs


def test_all_canonical_humaneval_solutions_pass_and_none_passes_without_its_body() -> None:
    path = DATA / "humaneval" / "HumanEval.jsonl.gz"
    if not path.exists():
        pytest.skip(f"needs {path}")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        tasks = [json.loads(line) for line in lines]
    tests = [f"{task['test']}\ncheck({task['entry_point']})\n" for task in tasks]
    right = [Job(task["prompt"] + task["canonical_solution"], (test,)) for task, test in zip(tasks, tests, strict=True)]
    empty = [Job(task["prompt"] + "    return None\n", (test,)) for task, test in zip(tasks, tests, strict=True)]
    with Sandbox(Limits(seconds=10.0, total_seconds=30.0), workers=2) as sandbox:
        results = list(sandbox.run(right + empty))
    not_passed = {
        task["task_id"]: r.message for task, r in zip(tasks, results, strict=False) if r.outcome is not Outcome.PASSED
    }
    assert len(tasks) == 164
    assert not_passed == {}
    assert {result.outcome for result in results[164:]} <= {Outcome.FAILED, Outcome.ERROR}
