"""Scores of checkpoints: one file a benchmark, one for statistics.

    from plum_hub.evaluate import evaluate
    scores, shares = evaluate("org/model@v1", "nano", n=4, seed=0)

A benchmark samples through an engine, judges in the sandbox and returns `Score`s. Not covered yet: HumanEval+, MBPP+,
LiveCodeBench, BigCodeBench.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from plum_hub.errors import UserError

if TYPE_CHECKING:
    from plum_hub.evaluate.statistics import Score


def evaluate(
    model: str, bench: str, n: int, seed: int, checkpoint: str | None = None
) -> tuple[list[Score], dict[str, list[float]]]:
    """Load a checkpoint and score it on one benchmark.

    Args:
        model: `org/model[@revision]` or a folder.
        bench: the benchmark's name.
        n: samples a task at T = 1, besides greedy; 0 for greedy alone.
        checkpoint: the name the scores carry; default: `model`.

    Returns:
        The scores, and per metric the share of passing samples of each task (for paired comparisons).

    Raises:
        UserError: model or benchmark does not exist.
    """
    from plum_hub.evaluate import nano
    from plum_hub.generate import load
    from plum_hub.progress import bar
    from plum_hub.sandbox import Sandbox

    if bench not in nano.NAMES:
        raise UserError(f"benchmark `{bench}` is not known; there are: {', '.join(nano.NAMES)}")
    engine = load(model)
    name = checkpoint or model
    with Sandbox(nano.LIMITS) as sandbox, bar(f"evaluate {name}", nano.sequences(bench, n)) as advance:
        return nano.evaluate(bench, engine, sandbox, n, seed, name, progress=advance)
