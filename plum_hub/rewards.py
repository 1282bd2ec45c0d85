"""Execution as a reward for TRL's online trainers: the share of a row's tests that a completion passes.

    from datasets import Dataset
    from trl import GRPOTrainer
    from plum_hub.rewards import passes_tests

    rows = Dataset.from_list([{"prompt": "Write a function f(n) to add one.", "tests": ["assert f(1) == 2"]}])
    GRPOTrainer("org/model", reward_funcs=passes_tests, train_dataset=rows).train()

The dataset's column `tests` holds, for each prompt, a list of Python sources with assertions; a column `suites`, if
there is one, the number of the suite that each belongs to: a program that may keep state from one to the next meets
each suite afresh. The config `grpo` of a published dataset has both. Conversational prompts work as well.

Programs run in `plum_hub.sandbox`, one per process, opened at the first call; a machine's cores are shared out among
the training processes on it.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from functools import cache
from typing import Any

from plum_hub.outcomes import Outcome
from plum_hub.sandbox import Job, Result, Sandbox
from plum_hub.sandbox.state import keeps_state
from plum_hub.stages.extract import extract_code

Completion = str | Sequence[dict[str, Any]]  # a text, or messages of which the last is the answer


def passes_tests(
    completions: Sequence[Completion],
    tests: Sequence[Sequence[str] | None],
    suites: Sequence[Sequence[int] | None] | None = None,
    **kwargs: Any,
) -> list[float | None]:
    """A reward function for `GRPOTrainer(reward_funcs=passes_tests)` and its kin.

    Args:
        completions: the model's answers; the program in each is found by `extract_code`.
        tests: the dataset's column of that name, one list of test sources a completion.
        suites: the column of that name, one number a test.
        kwargs: the other columns and whatever else TRL passes, `prompts` among them; not used.

    Returns:
        Per completion the share of its tests that passed, from 0 to 1; 0 for a program that does not load. None, which
        TRL takes as "no reward from here", for a row without tests and where the sandbox could not give a verdict.

    Raises:
        SandboxError: the sandbox does not work here.
    """
    jobs: list[list[Job]] = []
    for completion, own, numbers in zip(completions, tests, suites or [None] * len(completions), strict=True):
        jobs.append(_jobs(extract_code(_text(completion)), own, numbers) if own else [])
    results = _sandbox().run(job for group in jobs for job in group)
    return [_share([next(results) for _ in group]) if group else None for group in jobs]


def _jobs(program: str, tests: Sequence[str], suites: Sequence[int] | None) -> list[Job]:
    if not suites or len(set(suites)) == 1 or not keeps_state(program):
        return [Job(program, tuple(tests))]
    return [
        Job(program, tuple(test for test, own in zip(tests, suites, strict=True) if own == suite))
        for suite in dict.fromkeys(suites)
    ]


def _text(completion: Completion) -> str:
    if isinstance(completion, str):
        return completion
    content = completion[-1].get("content") if completion else ""
    return content if isinstance(content, str) else ""


def _share(results: Sequence[Result]) -> float | None:
    if any(result.outcome is Outcome.INFRA_ERROR for result in results):
        return None
    outcomes = [test.outcome for result in results for test in result.tests]
    return outcomes.count(Outcome.PASSED) / len(outcomes)


@cache
def _sandbox() -> Sandbox:
    """This process' sandbox, open until it ends."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # of this training on this machine; set by torchrun
    return Sandbox(workers=max(1, (os.cpu_count() or 1) // processes)).__enter__()


@atexit.register
def _close() -> None:
    if _sandbox.cache_info().currsize:
        _sandbox().close()


# A fork has neither the threads nor the servers of its parent's sandbox, and must not close it: it opens its own.
os.register_at_fork(after_in_child=_sandbox.cache_clear)
