"""HumanEval(+) and MBPP(+) by evalplus 0.3.1: its data, prompts, extraction, oracles and limits; our sandbox.

    plum eval ORG/MODEL --bench humaneval,mbpp
    plum eval --samples samples.jsonl --bench humaneval --data FOLDER

Data: the release that evalplus has as its default, in evalplus' own cache or brought there; HUMANEVAL_OVERRIDE_PATH and
MBPP_OVERRIDE_PATH name another file, as with evalplus; `--data` a folder with evalplus' files, also within
`humanevalplus/` and `mbppplus/`. Prompts and stop strings are evalplus' to the letter (Apache-2.0), here as data.

A task's reference runs in the sandbox once: its outputs and times are kept in `~/.cache/plum-hub/evalplus` (PLUM_CACHE)
for the data, the sandbox's code and this Python. Limits are evalplus', four times the reference's time for each input,
but in processor time, and with more room where evalplus' own figure depends on the machine: at least two seconds for an
input (evalplus: one), and for all of a task at most a minute, or four times the reference if that is longer (evalplus:
a minute). A function that swallows the exception by which evalplus ends a call that is over its time goes on there and
is ended here.

Not covered: evalplus' -Mini and -NoExtreme files, and `evalperf`.
"""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import importlib.util
import json
import os
import pickle
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

from plum_hub.errors import UserError
from plum_hub.evaluate import environments
from plum_hub.evaluate.samples import Sample
from plum_hub.evaluate.sanitize import sanitize
from plum_hub.evaluate.tasks import Bench, Style, Suite, Task
from plum_hub.generate import Message
from plum_hub.sandbox import Calls, Job, Limits, Record, Sandbox
from plum_hub.sandbox.inside import oracles

PARTS = ("base", "plus")

FILES = {"humaneval": "HumanEvalPlus", "mbpp": "MbppPlus"}
OVERRIDES = {"humaneval": "HUMANEVAL_OVERRIDE_PATH", "mbpp": "MBPP_OVERRIDE_PATH"}
RELEASES = {
    "84f4b93a1270b492e4c54d5212da7a5b": "v0.1.9",
    "fe585eb4df8c88d844eeb463ea4d0302": "v0.1.10",
    "ebe95df0d5220f00cedd6f4bddea35e4": "v0.1.0",
    "ee43ecabebf20deef4bb776a405ac5b1": "v0.2.0",
}
MISSING = 'HumanEval(+) and MBPP(+) need evalplus: pip install "plum-hub[eval]"'

#: evalplus' own 4 GiB; what a program prints is of no interest there. The seconds are those of references, samples have
#: `suite`'s. The total is wall clock, and only there to end: a busy machine is to change no verdict.
LIMITS = Limits(seconds=240.0, total_seconds=600.0, memory_mb=4096, output_bytes=100_000_000)
FACTOR, FLOOR, MOST, GRACE = 4.0, 2.0, 60.0, 2.0

INSTRUCTION = (
    "Please provide a self-contained Python script that solves the following problem in a markdown code block:"
)
RESPONSE = (
    "Below is a Python script with a self-contained function that solves the problem and passes corresponding tests:"
)
SYSTEM = "You are a helpful assistant good at coding."

_paths: dict[str, Path] = {}  # md5 -> where it was read, for `official`


@dataclass(frozen=True)
class Problem:
    """A task of HumanEval+ or MBPP+, its inputs as the functions take them."""

    id: str
    prompt: str
    reference: str
    entry_point: str
    inputs: dict[str, list[Any]]  # "base", "plus"
    atol: float


@dataclass(frozen=True)
class Truth:
    """What a reference returned for each input of a part, and the processor seconds that it took."""

    values: list[Any]
    times: list[float]
    digested: tuple[int, ...]  # inputs whose value is kept as a digest, see `Record`


def load(name: str, data: Path | None = None) -> Bench:
    """`humaneval` or `mbpp`.

    Raises:
        UserError: evalplus is not installed, or its data are neither here nor to be had.
    """
    if importlib.util.find_spec("evalplus") is None:
        raise UserError(MISSING)
    path = find(name, data)
    text = read(path)
    md5 = hashlib.md5(text, usedforsecurity=False).hexdigest()
    problems = parse(name, text, path)
    _paths[md5] = path
    from evalplus.provider.utility import EOS, extra_eos_for_direct_completion

    return Bench(
        name=name,
        tasks=[_task(problem) for problem in problems.values()],
        scores={name: ("base",), f"{name}+": PARTS},
        dataset=f"evalplus/{FILES[name].lower()}",
        version=f"{RELEASES.get(md5, 'unknown release')}, md5 {md5}",
        public=md5 in RELEASES,
        harness=f"evalplus {version_of('evalplus')}",
        limits=LIMITS,
        max_new_tokens=768,
        program=functools.partial(_program, problems),
        styles=("prefill", "chat", "text"),
        stop={"prefill": (*EOS, "\n```\n"), "text": (*EOS, *extra_eos_for_direct_completion(name))},
        check=functools.partial(check, problems, md5),
    )


def prefetch(name: str) -> None:
    """Bring the data into evalplus' own cache, where `load` finds it without a network."""
    load(name)


# ------------------------------------------------------------------------------------------------- data


def find(name: str, data: Path | None) -> Path:
    """The file with the tasks. Raises UserError."""
    if data is not None:
        folders = (data, data / FILES[name].lower())
        pattern = re.compile(rf"{FILES[name]}(?:-v([\d.]+))?\.jsonl(?:\.gz)?")
        for folder in folders:
            found = [(match[1] or "", path) for path in folder.glob("*") if (match := pattern.fullmatch(path.name))]
            if found:  # the newest release; one without a number in its name is a folder's first choice
                return max(found, key=lambda one: (not one[0], [int(part) for part in re.findall(r"\d+", one[0])]))[1]
        raise UserError(f"no {FILES[name]}.jsonl or .jsonl.gz in {data} or {folders[1]}")
    if override := os.environ.get(OVERRIDES[name]):
        if not Path(override).is_file():
            raise UserError(f"{OVERRIDES[name]} names {override}, which is no file")
        return Path(override)
    try:
        from evalplus.data import humaneval, mbpp

        with contextlib.redirect_stdout(sys.stderr):  # it tells of its download
            path = humaneval._ready_human_eval_plus_path() if name == "humaneval" else mbpp._ready_mbpp_plus_path()
    except ImportError as error:
        raise UserError(f"{MISSING} ({error})") from None
    except OSError as error:  # urllib's, too
        raise UserError(
            f"evalplus cannot download {FILES[name]} ({error}): on a machine with a network run `plum eval --prefetch "
            f"--bench {name}`, or name the file in {OVERRIDES[name]} or its folder by --data"
        ) from None
    return Path(path)


def read(path: Path) -> bytes:
    """A file's contents, unpacked."""
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


def parse(name: str, text: bytes, path: Path) -> dict[str, Problem]:
    """The tasks in a file of evalplus'; `path` is for the message. Raises UserError."""
    key = hashlib.sha256(text + version_of("evalplus").encode()).hexdigest()[:32]
    kept = environments.cache() / "evalplus" / f"tasks-{key}.pkl"  # evalplus' own module takes seconds to import
    if (found := _unpickled(kept)) is not None:
        return {task: Problem(*parts) for task, parts in found.items()}
    if name == "mbpp":
        from evalplus.data.mbpp import mbpp_deserialize_inputs

    problems = {}
    try:
        for line in text.decode().splitlines():
            row = json.loads(line)
            inputs = {part: row[f"{part}_input"] for part in PARTS}
            if name == "mbpp":
                inputs = {part: mbpp_deserialize_inputs(row["task_id"], inputs[part]) for part in PARTS}
            reference = row["prompt"] + row["canonical_solution"]
            problems[row["task_id"]] = Problem(
                row["task_id"], row["prompt"], reference, row["entry_point"], inputs, row["atol"]
            )
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a file of {FILES[name]}: {type(error).__name__}: {error}") from None
    _pickle(kept, {task: tuple(vars(problem).values()) for task, problem in problems.items()})
    return problems


def _unpickled(path: Path) -> Any:
    try:
        return pickle.loads(path.read_bytes())
    except Exception:  # not there, or by another version: it is made anew
        return None


def _pickle(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(pickle.dumps(value))
    os.replace(file.name, path)


# ------------------------------------------------------------------------------------------------- asking


def _task(problem: Problem) -> Task:
    bare = problem.prompt.strip()
    question = f"{INSTRUCTION}\n```\n{bare}\n```\n"
    chat = f"{INSTRUCTION}\n```python\n{bare}\n```"
    prompts: dict[Style, list[Message]] = {
        "prefill": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": f"{RESPONSE}\n```python\n"},
        ],
        "chat": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": chat}],
        "text": [{"role": "text", "content": bare + "\n"}],
    }
    return Task(problem.id, prompts, reference=problem.reference, prefix=problem.prompt)


def _program(problems: dict[str, Problem], task: Task, text: str, style: Style) -> str:
    if style != "chat":
        text = text.replace("\t", "    ")  # evalplus' local engines do so, its `openai` does not
    if style == "text":
        text = task.prompts["text"][-1]["content"] + text
    return sanitize(text, problems[task.id].entry_point)


# ------------------------------------------------------------------------------------------------- references


def check(
    problems: dict[str, Problem], md5: str, bench: Bench, sandbox: Sandbox, advance: Callable[[int], None]
) -> tuple[list[Task], dict[str, str]]:
    """`Bench.check`: the tasks with their suites, by what the references return here or returned before."""
    truths, wrong = references(bench.name, md5, [problems[task.id] for task in bench.tasks], sandbox, advance)
    ready = [
        replace(task, suites={part: suite(bench.name, problems[task.id], part, truths[task.id]) for part in PARTS})
        for task in bench.tasks
        if task.id in truths
    ]
    return ready, wrong


def suite(name: str, problem: Problem, part: str, truth: dict[str, Truth]) -> Suite:
    """The tests of a part, with evalplus' oracle and limits."""
    known = truth[part]
    limits = [max(FLOOR, FACTOR * seconds) for seconds in known.times]
    oracle: Any = f"evalplus-{name}"
    inputs = problem.inputs[part]
    calls = Calls(
        problem.entry_point, inputs, known.values, oracle, problem.atol, limits=limits, digested=known.digested
    )
    seconds = min(max(MOST, FACTOR * sum(known.times)), sum(limits)) + GRACE
    return Suite((calls,), min(seconds, LIMITS.seconds), sum(known.times))


def references(
    name: str, md5: str, problems: list[Problem], sandbox: Sandbox, advance: Callable[[int], None] = lambda _: None
) -> tuple[dict[str, dict[str, Truth]], dict[str, str]]:
    """What references return, from an earlier run if there was one; and what is wrong with those that fail.

    Args:
        md5: of the data.
        advance: told of each part of each task.
    """
    from plum_hub import sandbox as package
    from plum_hub.stages import code_version

    python = "".join(map(str, sys.version_info[:2]))
    folder = environments.cache() / "evalplus"
    path = folder / f"{md5}-{code_version(package, sys.modules[__name__])}-python{python}.pkl"
    kept: dict[str, Any] = _unpickled(path) or {}
    missing = [problem for problem in problems if problem.id not in kept]
    advance(len(PARTS) * (len(problems) - len(missing)))
    wrong: dict[str, str] = {}
    results = sandbox.run(_recording(name, missing))
    for problem in missing:
        found: dict[str, Any] = {}
        for part in PARTS:
            result = next(results)
            (verdict,) = result.tests
            advance(1)
            if verdict.values is None:
                wrong.setdefault(problem.id, f"{part}: {result.outcome.value}: {result.message}")
                continue
            if verdict.digested and any(map(oracles.is_floats, verdict.values)):  # they switch a tolerance on
                wrong.setdefault(problem.id, f"{part}: values too large to be compared with a tolerance")
            found[part] = verdict.values, [float(spent) for spent in verdict.times], tuple(verdict.digested)
        if problem.id not in wrong:
            kept[problem.id] = found
    if len(missing) > len(wrong):
        _pickle(path, kept)
    truths = {p.id: {part: Truth(*kept[p.id][part]) for part in PARTS} for p in problems if p.id in kept}
    return truths, wrong


def _recording(name: str, problems: list[Problem]) -> Iterator[Job]:
    for problem in problems:
        program, function = problem.reference, problem.entry_point
        digest = oracles.is_equality(f"evalplus-{name}", function, problem.atol)
        if name == "mbpp" and function in oracles.NOT_NONE:  # they return matches: is there one?
            program += f"\ndef _is_found(*arguments):\n    return {function}(*arguments) is not None\n"
            function = "_is_found"
        for part in PARTS:
            yield Job(program, (Record(function, problem.inputs[part], digest),))


# ------------------------------------------------------------------------------------------------- evalplus itself


def official(bench: Bench, samples: list[Sample], folder: Path) -> dict[str, float]:
    """The scores of these samples by `evalplus.evaluate`, in a process of its own and without our walls.

    Args:
        bench: as `load` made it.
        folder: for its input and output.

    Returns:
        Percent, by the names of `bench.scores`.

    Raises:
        UserError: it fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = _paths[bench.version.rpartition(" ")[2]]
    wanted = {sample.task_id for sample in samples}
    if len(wanted) < len(parse(bench.name, read(path), path)):  # it wants samples of all tasks that there are
        lines = [line for line in read(path).splitlines() if line and json.loads(line)["task_id"] in wanted]
        path = folder / "tasks.jsonl"
        path.write_bytes(b"\n".join(lines) + b"\n")
    source, results = folder / "evalplus.jsonl", folder / "evalplus_eval_results.json"
    rows = ({"task_id": sample.task_id, "solution": sample.program} for sample in samples)
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    results.unlink(missing_ok=True)  # it would take them for these
    command = [sys.executable, "-m", "evalplus.evaluate", "--dataset", bench.name, "--samples", str(source)]
    done = subprocess.run(
        command, env=os.environ | {OVERRIDES[bench.name]: str(path.absolute())}, capture_output=True, text=True
    )
    if done.returncode or not results.exists():
        said = (done.stderr or done.stdout).strip().splitlines()
        raise UserError(f"evalplus.evaluate failed: {said[-1] if said else f'exit status {done.returncode}'}")
    tasks = json.loads(results.read_text())["eval"].values()
    found = {name: [0.0, 0.0] for name in bench.scores}
    for rows in tasks:
        for name, parts in bench.scores.items():
            passed = sum(all(row[f"{part}_status"] == "pass" for part in parts) for row in rows)
            found[name][0] += passed / len(rows)
            found[name][1] += 1
    return {name: 100 * passed / count for name, (passed, count) in found.items()}
