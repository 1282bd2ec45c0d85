"""BigCodeBench: 1,140 tasks that use libraries, and its 148 hard ones.

    plum eval org/model --bench bigcodebench                # instruct; complete for models without a chat format
    plum eval org/model --bench bigcodebench-hard:complete  # `:complete` and `:instruct` for one of the two

Tasks are the Hub's `bigcode/bigcodebench` and `bigcode/bigcodebench-hard`, split `SPLIT`, or `BigCodeBench.jsonl(.gz)`
(and `bigcodebench_hard_task_ids.json`) in the folder `data` or its `bigcodebench`. Prompts, stop strings, extraction
(`bigcodebench_extract.py`) and oracle are those of bigcodebench 0.2.5 (github.com/bigcode-project/bigcodebench,
Apache-2.0), `calibrated` as its default is: a program runs below the task's imports and signature.

Programs run in an environment of their own: the official libraries for Python 3.10 where a Python 3.10 is found, else
their newest versions for this Python. Task and tests share a process (`Unittest` in `plum_hub/sandbox/__init__.py`
says what such a verdict is worth), and may use 20 seconds of processor time, or ten times that of their reference,
120 at most; officially it is 240 seconds by the clock. There is no network: references that need one fail, here as
there. They are run first, and those that fail are left out of the score.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from plum_hub.errors import UserError
from plum_hub.evaluate import environments, judging
from plum_hub.evaluate.bigcodebench_extract import sanitize
from plum_hub.evaluate.bigcodebench_libraries import HEAD, NLTK_DATA, PASS, PINNED
from plum_hub.evaluate.samples import Sample
from plum_hub.evaluate.tasks import TESTS, Bench, Style, Suite, Task
from plum_hub.generate import Message
from plum_hub.progress import say
from plum_hub.sandbox import Limits, Sandbox, Unittest

SPLIT = "v0.1.4"  # the data's newest version: each is a split
FLOOR = 20.0  # seconds of processor time at least: another solution may import a library that takes ten
LIMITS = Limits(
    seconds=120.0, total_seconds=1200.0, memory_mb=8192, output_bytes=64 << 20, scratch_mb=512, processes=512
)
MAX_NEW_TOKENS = 1280

INSTRUCTION = (
    "Please provide a self-contained Python script that solves the following problem in a markdown code block:"
)
RESPONSE = (
    "Below is a Python script with a self-contained function that solves the problem and passes corresponding tests:"
)
STOP = ("<|endoftext|>", "<|endofmask|>", "</s>", "\nif __name__", "\ndef main(", "\nprint(")
STOP_TEXT = ("\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert ")
STOP_PREFILL = ("\n```\n",)


def load(name: str, data: Path | None = None) -> Bench:
    """`bigcodebench` or `bigcodebench-hard`, with `:complete` or `:instruct` perhaps. Builds the environment.

    Raises:
        UserError: no such variant, no such data, or the environment cannot be built.
    """
    base, _, variant = name.partition(":")
    if variant not in ("", "complete", "instruct"):
        raise UserError(f"{name}: there are {base}:complete and {base}:instruct")
    rows, version = _rows(base, data)
    return replace(bench(name, rows, version, environment()), public=not data)


def bench(name: str, rows: Iterable[dict[str, Any]], version: str, python: Path | None) -> Bench:
    """The benchmark of these rows, whose programs run with `python` (None: this interpreter)."""
    variant = name.partition(":")[2]
    tasks = [_task(row, variant) for row in rows]
    return Bench(
        name=name,
        tasks=tasks,
        scores={name: (TESTS,)},
        dataset=f"bigcode/{name.partition(':')[0]}",
        version=version,
        public=True,
        harness="bigcodebench 0.2.5",
        limits=LIMITS,
        max_new_tokens=MAX_NEW_TOKENS,
        program=_program,
        styles=("prefill", "chat") if variant == "instruct" else ("prefill", "chat", "text"),
        stop={"text": STOP + STOP_TEXT, "prefill": STOP + STOP_PREFILL},
        check=_check,
        python=python,
        per_core=2,
    )


def environment(log: Callable[[str], None] = say) -> Path:
    """The interpreter with BigCodeBench's libraries.

    Raises:
        UserError: it cannot be built.
    """
    python = environments.find("3.10")
    if python:
        made = environments.ensure("bigcodebench", PINNED, python, log)
    else:
        version = ".".join(map(str, sys.version_info[:2]))
        log(f"no Python 3.10 here: BigCodeBench's libraries in their newest versions for Python {version}")
        made = environments.ensure("bigcodebench", relaxed(PINNED), None, log)
    texts = made.parents[1] / "nltk_data"  # where NLTK looks
    if not texts.exists():
        status, lines = environments.run([made, "-m", "nltk.downloader", "-q", "-d", texts, *NLTK_DATA], log)
        if status or not texts.exists() or any("Error" in line for line in lines):
            log(
                "NLTK's data could not be loaded, so tasks that need them fail; where there is network: "
                f"{made} -m nltk.downloader -d {texts} {' '.join(NLTK_DATA)}"
            )
    return made


def relaxed(requirements: Iterable[str]) -> list[str]:
    """The same packages in whatever versions go together."""
    return [
        one.partition("==")[0] + one[one.index(";") :] if ";" in one else one.partition("==")[0] for one in requirements
    ]


def prefetch(name: str) -> None:
    """Tasks and environment, for later use without network."""
    load(name)


def official(bench: Bench, samples: list[Sample], folder: Path) -> dict[str, float]:
    """Score -> percent of these samples by `bigcodebench.evaluate --execution local`, in an environment of its own.

    That runs programs with the user's rights and without walls, as the harness does everywhere. Files go to `folder`.

    Raises:
        UserError: the environment cannot be built, or the command fails.
    """
    from plum_hub.evaluate import bigcodebench_official

    return {bench.name: bigcodebench_official.pass_at_1(bench, samples, folder)}


def _rows(base: str, data: Path | None) -> tuple[list[dict[str, Any]], str]:
    """The tasks' rows and where they are from."""
    if data is None:
        from plum_hub.hub.pull import pull

        pulled = pull(f"bigcode/{base}@main", split=SPLIT)  # by that name it is found offline
        return list(pulled.rows), f"{SPLIT}, commit {pulled.commit[:12]}"
    folders = [data, data / "bigcodebench"]
    names = ("BigCodeBench.jsonl.gz", "BigCodeBench.jsonl")
    path = next((folder / name for folder in folders for name in names if (folder / name).exists()), None)
    if path is None:
        raise UserError(f"{data} has no {names[0]}, nor has its bigcodebench/")
    content = path.read_bytes()
    text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    if base == "bigcodebench-hard":
        listed = path.with_name("bigcodebench_hard_task_ids.json")
        if not listed.exists():
            raise UserError(f"{listed} is missing: which of BigCodeBench's tasks are the hard ones")
        hard = set(json.loads(listed.read_text()))
        rows = [row for row in rows if row["task_id"] in hard]
    return rows, f"{path.name} sha256 {hashlib.sha256(content).hexdigest()[:12]}"


def _task(row: dict[str, Any], variant: str) -> Task:
    complete, instruct = _chat(row["complete_prompt"], True), _chat(row["instruct_prompt"], False)
    chat = complete if variant == "complete" else instruct
    prompts: dict[Style, list[Message]] = {"prefill": [*chat, _begun()], "chat": chat}
    if variant != "instruct":
        prompts["text"] = [{"role": "text", "content": row["complete_prompt"]}]
    return Task(
        row["task_id"],
        prompts,
        {TESTS: Suite((Unittest(row["test"]),), source=(HEAD + row["code_prompt"] + PASS).__add__)},
        reference=row["complete_prompt"] + "\n" + row["canonical_solution"],
        prefix=row["complete_prompt"],
    )


def _chat(prompt: str, fenced: bool) -> list[Message]:
    body = f"```\n{prompt.strip()}\n```" if fenced else prompt.strip()
    return [{"role": "user", "content": f"{INSTRUCTION}\n{body}\n"}]


def _begun() -> Message:
    return {"role": "assistant", "content": f"{RESPONSE}\n```python\n"}


def _program(task: Task, text: str, style: Style) -> str:
    """As `bigcodebench.generate` makes it; `task_func` is what every task asks for."""
    if style != "chat":
        text = text.replace("\t", "    ")
    return sanitize(task.prefix + text if style == "text" else text, "task_func")


def _check(bench: Bench, sandbox: Sandbox, advance: Callable[[int], None]) -> tuple[list[Task], dict[str, str]]:
    """`judging.by_references`, with at least `FLOOR` seconds for each task."""
    ready, wrong = judging.by_references(bench, sandbox, advance)
    roomy = []
    for task in ready:
        suite = task.suites[TESTS]
        roomy.append(replace(task, suites={TESTS: replace(suite, seconds=max(FLOOR, suite.seconds or 0.0))}))
    return roomy, wrong
