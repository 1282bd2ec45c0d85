"""The nano family's held-out split as a benchmark: 300 instructions with unseen combinations and hidden tests.

    plum eval plum/quickstart-seed0-kto --hub local                     # the tasks to report on
    plum eval plum/quickstart-seed0-kto --hub local --bench nano-dev    # those to choose settings and rounds by

Greedy pass@1, and pass@1 at T = 1 over `n` samples a task. The figures say that the machinery works; they say nothing
of a model's use for real code. Tasks and hidden tests are made by the package, the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from plum_hub.evaluate.statistics import Score, mean_percent
from plum_hub.generate import Engine, Sampling
from plum_hub.nano.policy import MAX_NEW_TOKENS
from plum_hub.outcomes import Outcome
from plum_hub.sandbox import Job, Limits, Sandbox
from plum_hub.stages.extract import extract_code

if TYPE_CHECKING:
    from plum_hub.nano.tasks import Task

NAMES = ("nano", "nano-dev")
BATCH_SIZE = 256
LIMITS = Limits(seconds=2.0)


def evaluate(
    bench: str,
    engine: Engine,
    sandbox: Sandbox,
    n: int,
    seed: int,
    checkpoint: str,
    progress: Callable[[int], None] | None = None,
) -> tuple[list[Score], dict[str, list[float]]]:
    """Score a checkpoint.

    Args:
        bench: `nano`, or `nano-dev` for the split to tune on.
        n: samples a task for the T = 1 figure; 0 for greedy alone.
        progress: told the number of sequences finished.

    Returns:
        The scores, and per metric the share of passing samples of each task (for paired comparisons).
    """
    tasks = _tasks(bench)
    conversations = [[{"role": "user", "content": task.instruction}] for task in tasks]
    scores, shares = [], {}
    settings = [("pass@1", Sampling(1, 0.0, max_new_tokens=MAX_NEW_TOKENS, batch_size=BATCH_SIZE))]
    if n:
        sampled = Sampling(n, 1.0, max_new_tokens=MAX_NEW_TOKENS, batch_size=BATCH_SIZE)
        settings.append((f"pass@1 (T=1, n={n})", sampled))
    for metric, sampling in settings:
        groups = engine.generate(conversations, sampling, seed, progress)
        jobs = (
            Job(extract_code(completion.text), tuple(task.tests))
            for task, group in zip(tasks, groups, strict=True)
            for completion in group
        )
        passed = [result.outcome is Outcome.PASSED for result in sandbox.run(jobs)]
        size = sampling.n
        shares[metric] = [sum(passed[i : i + size]) / size for i in range(0, len(passed), size)]
        value, interval = mean_percent(shares[metric])
        scores.append(Score(checkpoint, bench, metric, value, interval, len(tasks)))
    return scores, shares


def sequences(bench: str, n: int) -> int:
    """How many sequences `evaluate` samples, for a progress bar."""
    return len(_tasks(bench)) * (1 + n)


def _tasks(bench: str) -> list[Task]:
    from plum_hub.nano.tasks import dev, heldout

    return dev() if bench == "nano-dev" else heldout()
