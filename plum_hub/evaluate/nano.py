"""The nano family's held-out split as a benchmark: 300 instructions with unseen combinations and hidden tests.

    plum eval plum/quickstart-seed0-kto --hub local --bench nano        # the tasks to report on
    plum eval plum/quickstart-seed0-kto --hub local --bench nano-dev    # those to choose settings and rounds by

The figures say that the machinery works; they say nothing of a model's use for real code. Tasks and hidden tests are
made by the package, the same on every machine.
"""

from __future__ import annotations

from pathlib import Path

from plum_hub import __version__
from plum_hub.evaluate.judging import by_references
from plum_hub.evaluate.tasks import TESTS, Bench, Style, Suite, Task
from plum_hub.nano import tasks as nano
from plum_hub.nano.policy import MAX_NEW_TOKENS
from plum_hub.sandbox import Limits
from plum_hub.stages.extract import extract_code


def load(name: str, data: Path | None = None) -> Bench:
    """`nano`, or `nano-dev` for the split to tune on. `data` is not asked for."""
    tasks = [
        Task(
            task.id,
            {"chat": [{"role": "user", "content": task.instruction}]},
            {TESTS: Suite(tuple(task.tests))},
            task.solution,
        )
        for task in (nano.dev() if name == "nano-dev" else nano.heldout())
    ]
    return Bench(
        name=name,
        tasks=tasks,
        scores={name: (TESTS,)},
        dataset=f"plum-hub/{name}",
        version=f"plum-hub {__version__}",
        public=True,
        harness="plum-hub",
        limits=Limits(seconds=2.0),
        max_new_tokens=MAX_NEW_TOKENS,
        program=_program,
        styles=("chat",),
        check=by_references,
        batch_size=256,
        chunk=8,
    )


def _program(task: Task, text: str, style: Style) -> str:
    return extract_code(text)
