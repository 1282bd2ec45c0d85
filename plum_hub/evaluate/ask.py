"""Ask a model: a benchmark's tasks through an engine, each chunk kept as soon as it is there.

A run that was killed goes on with the next chunk. The texts do not depend on that: chunks are the same every time, and
each has a seed of its own.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plum_hub.errors import UserError
from plum_hub.evaluate import samples
from plum_hub.evaluate.samples import Sample
from plum_hub.evaluate.tasks import Bench, Settings, Style, Task
from plum_hub.generate import Engine, Sampling, request_seed
from plum_hub.generate.openai import OpenAIEngine
from plum_hub.progress import Advance


class DeadlineError(UserError):
    """The time that the user gave is over; what is done is kept."""


def style(bench: Bench, engine: Engine, wanted: Style | None = None) -> Style:
    """How the tasks are put to this model: the harness's first choice that the engine can do.

    Raises:
        UserError: `wanted` is nothing that this benchmark or engine has.
    """
    able: set[Style] = {"chat", "text"} if engine.completes else {"chat"}
    if engine.prefills and engine.chats:
        able.add("prefill")
    if wanted:
        if wanted not in bench.styles or wanted not in able:
            have = ", ".join(s for s in bench.styles if s in able)
            raise UserError(f"--style {wanted}: with this model {bench.name} has {have}")
        return wanted
    if not engine.chats:
        able.discard("chat")
    else:
        able.discard("text")
    return next((s for s in bench.styles if s in able), "chat")


def digest(bench: Bench, tasks: list[Task], how: Style) -> str:
    """Of all that is asked: prompts, stop strings and the version of the data."""
    said = [bench.name, bench.version, bench.stop.get(how, ()), [(task.id, task.prompts[how]) for task in tasks]]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def place(folder: Path, bench: str, asked: dict[str, Any]) -> Path:
    """Where the files of a run lie: by model, revision and benchmark, and by all else that shapes its texts."""
    others = {name: value for name, value in asked.items() if name != "revision"}
    key = hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()[:12]
    return folder / slug(asked["model"], asked["revision"]) / re.sub("[:/]", "-", bench) / key


def slug(model: str, revision: str) -> str:
    """The name of a model's folder. Where a later commit changed nothing but the card, its name is a link."""
    return f"{model.strip('/').replace('/', '--')}@{revision[:12].replace('/', '-')}"


def ask(
    bench: Bench,
    engine: Engine,
    settings: Settings,
    how: Style,
    path: Path,
    advance: Callable[[int], None],
    deadline: float | None = None,
) -> list[Sample]:
    """`settings.n` samples of each task, those already in the file `path` included.

    Args:
        how: see `style`.
        advance: told the number of sequences that have just been finished.
        deadline: by `time.monotonic()`.

    Raises:
        DeadlineError: it has passed.
    """
    tasks = list(bench.tasks)[: settings.limit]
    greedy = settings.temperature == 0
    sampling = Sampling(
        1 if greedy else settings.n,  # n greedy texts are one text n times
        settings.temperature,
        settings.top_p,
        max_new_tokens=settings.max_new_tokens or bench.max_new_tokens,
        batch_size=settings.batch_size or bench.batch_size,
        stop=bench.stop.get(how, ()),
    )
    size = max(1, bench.chunk * sampling.batch_size // sampling.n)
    chunks = [tasks[start : start + size] for start in range(0, len(tasks), size)]
    made, first = _whole(path, chunks, settings.n)
    journal = path.with_name("answers.jsonl")
    if isinstance(engine, OpenAIEngine):  # its answers may have been paid for
        engine.journal = journal
    advance(len(made))
    for number, chunk in enumerate(chunks[first:], first):

        def told(done: int, written: int = len(made), late: bool = number > first) -> None:
            if late:  # a chunk at least, or a short deadline would never get anywhere
                in_time(deadline, f"{written} of {len(tasks) * settings.n} texts written")
            advance(done * settings.n // sampling.n)

        if number > first:
            in_time(deadline, f"{len(made)} of {len(tasks) * settings.n} texts written")
        seed = request_seed(settings.seed, number * size) if number else settings.seed
        groups = engine.generate([task.prompts[how] for task in chunk], sampling, seed, told)
        new = []
        for task, group in zip(chunk, groups, strict=True):
            programs = {text: bench.program(task, text, how) for text in {completion.text for completion in group}}
            for index, text in enumerate(group * (settings.n // sampling.n)):
                new.append(Sample(task.id, index, programs[text.text], text.text, text.finish_reason, text.tokens))
        samples.append(path, new)
        made += new
    journal.unlink(missing_ok=True)
    return made


def in_time(deadline: float | None, done: str) -> None:
    """Raise DeadlineError if a deadline by `time.monotonic()` has passed; `done` is how far it went."""
    if deadline and time.monotonic() > deadline:
        raise DeadlineError(f"the deadline passed with {done}; what is done is kept, and the same command goes on")


def until(deadline: float | None, done: str, advance: Advance) -> Callable[[int], None]:
    """`advance`, after `in_time`."""

    def told(items: int) -> None:
        in_time(deadline, done)
        advance(items)

    return told


def _whole(path: Path, chunks: list[list[Task]], n: int) -> tuple[list[Sample], int]:
    """The samples of the chunks that a file holds whole, and their number; what a kill left of another is dropped."""
    made = samples.load(path)
    kept = whole = 0
    for chunk in chunks:
        expected = [(task.id, index) for task in chunk for index in range(n)]
        if [(sample.task_id, sample.index) for sample in made[kept : kept + len(expected)]] != expected:
            break
        kept, whole = kept + len(expected), whole + 1
    if kept < len(made):
        part = path.with_suffix(".part")
        part.unlink(missing_ok=True)
        samples.append(part, made[:kept])
        part.replace(path)
    return made[:kept], whole
