"""What a benchmark is: its tasks, how each is asked, and what a program must pass. Pure data; each benchmark's own file
makes it, `ask`, `judging` and `report` work on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from plum_hub.generate import Message
from plum_hub.sandbox import Limits, Sandbox, Test

#: How a task is put to a model: a question in its chat format; the same with the beginning of the answer given
#: (evalplus and BigCodeBench do so); or a plain text that it continues, for models without a chat format.
Style = Literal["chat", "prefill", "text"]

#: What `plum eval` and the cards call the one part of a benchmark that has no parts.
TESTS = "tests"


@dataclass(frozen=True)
class Suite:
    """Tests that one process runs, and the seconds of processor time for each of them (None: `Bench.limits`)."""

    tests: Sequence[Test]
    seconds: float | None = None
    expected: float = 0.0  # processor seconds that a right program takes, by its reference; 0: little
    source: Callable[[str], str] = str  # a program -> the text that is run: with what the harness puts around it


@dataclass(frozen=True)
class Task:
    """One problem of a benchmark."""

    id: str  # the benchmark's own, as in its sample files
    prompts: dict[Style, list[Message]]  # what is asked; `plum_hub.generate` says how "text" and "prefill" look
    suites: dict[str, Suite] = field(default_factory=dict)  # part -> tests; evalplus' are known only after `check`
    reference: str = ""  # a program that passes; "" where the benchmark gives none
    prefix: str = ""  # source that a sample's `completion` (in place of a `solution`) goes on from
    traits: dict[str, str] = field(default_factory=dict)  # what scores are broken down by: difficulty, platform


@dataclass(frozen=True)
class Bench:
    """A benchmark, loaded."""

    name: str  # as in `--bench`
    tasks: Sequence[Task]
    scores: dict[str, tuple[str, ...]]  # name of a score -> the parts that must all pass: "humaneval+" -> base, plus
    dataset: str  # the benchmark's public name on the Hub
    version: str  # of the data: a release, and a digest of what was read
    public: bool  # whether these are the data that the benchmark's name stands for, not a file of the user's
    harness: str  # whose prompts, extraction and oracles these are, with its version
    limits: Limits
    max_new_tokens: int
    program: Callable[[Task, str, Style], str]  # a model's text -> the program in it, "" if there is none
    styles: tuple[Style, ...]  # those its tasks have, the harness's first choice first
    stop: dict[Style, tuple[str, ...]] = field(default_factory=dict)
    #: Runs the references and returns the tasks with their suites, and task id -> what is wrong with those that cannot
    #: be judged here. None: there are no references (LiveCodeBench).
    check: Callable[[Bench, Sandbox, Callable[[int], None]], tuple[list[Task], dict[str, str]]] | None = None
    python: Path | None = None  # the interpreter that its programs need; None: this one
    per_core: int = 1  # programs at once; more where they wait more than they compute
    batch_size: int = 64  # `hf:` sequences at a time, and ...
    chunk: int = 2  # ... so many of them are asked for, then kept: both are part of what reproduces a run

    @property
    def parts(self) -> tuple[str, ...]:
        """All parts, in the order in which they are judged."""
        return tuple(dict.fromkeys(part for parts in self.scores.values() for part in parts))


@dataclass(frozen=True)
class Options:
    """What is the same for all benchmarks of one command, and no part of what a figure means."""

    folder: Path  # where runs are kept
    data: Path | None = None  # benchmarks' data, in place of the Hub
    max_unusable: float | None = None  # see `report.UNUSABLE`
    deadline: float | None = None  # by `time.monotonic()`
    workers: int | None = None  # programs at once; None: `Bench.per_core` of them a core


@dataclass(frozen=True)
class Settings:
    """How a model is asked. What is None is the benchmark's or harness's own choice."""

    n: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    max_new_tokens: int | None = None
    seed: int = 0
    style: Style | None = None
    limit: int | None = None  # only the first so many tasks
    batch_size: int | None = None  # `hf:` sequences at a time
