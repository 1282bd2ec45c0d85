"""Judge: references first, then the samples; each part of a benchmark in a process of its own.

References run on this machine: that proves that the sandbox can judge a task, and gives each suite its time limit. A
task whose reference does not pass is left out and said so. Below `ENOUGH` of them nothing is scored. What passed is
kept in `~/.cache/plum-hub/references` (PLUM_CACHE) for this machine, the sandbox's code, interpreter and limits; what
failed is run again every time.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from plum_hub import sandbox as package
from plum_hub import stages
from plum_hub.errors import UserError
from plum_hub.evaluate import environments
from plum_hub.evaluate.ask import in_time
from plum_hub.evaluate.samples import Sample, read_lines
from plum_hub.evaluate.tasks import Bench, Suite, Task
from plum_hub.outcomes import Outcome
from plum_hub.progress import Advance
from plum_hub.sandbox import Job, Sandbox

ENOUGH = 0.95  # share of references that must pass here; of few tasks, all but one

FACTOR, FLOOR = 10.0, 1.0  # a suite's seconds: times those of its reference, and at least


@dataclass(frozen=True)
class Judged:
    """One sample's outcome by each part of the benchmark."""

    task_id: str
    index: int
    outcomes: dict[str, Outcome]
    messages: dict[str, str]
    seconds: dict[str, float]

    def passed(self, parts: tuple[str, ...]) -> bool:
        """Whether all these parts passed."""
        return all(self.outcomes[part] is Outcome.PASSED for part in parts)


def by_references(
    bench: Bench, sandbox: Sandbox, advance: Callable[[int], None], factor: float = FACTOR, floor: float = FLOOR
) -> tuple[list[Task], dict[str, str]]:
    """`Bench.check` for benchmarks whose tasks come with suites and references: run those that have not passed here
    yet, and set the time limits."""
    path = _references(bench, sandbox)
    seconds: dict[str, float] = {row["key"]: row["seconds"] for row in read_lines(path)}
    jobs = {
        (task.id, part): Job(suite.source(task.reference), suite.tests, suite.seconds)
        for task in bench.tasks
        for part, suite in task.suites.items()
    }
    keys = {where: hashlib.sha256(repr(job).encode("utf-8", "replace")).hexdigest() for where, job in jobs.items()}
    missing = [where for where, key in keys.items() if key not in seconds]
    advance(len(jobs) - len(missing))
    wrong: dict[str, str] = {}
    with path.open("a", encoding="utf-8") as file:
        for where, result in zip(missing, sandbox.run(jobs[where] for where in missing), strict=True):
            if result.outcome is Outcome.PASSED:
                spent = max(result.seconds, *(test.seconds for test in result.tests))
                seconds[keys[where]] = spent
                file.write(json.dumps({"key": keys[where], "seconds": spent}) + "\n")
                file.flush()
            else:
                task_id, part = where
                wrong.setdefault(task_id, f"{part}: {result.outcome.value}: {result.message}")
            advance(1)

    def limited(task: Task, part: str) -> Suite:
        spent = seconds[keys[task.id, part]]
        return replace(
            task.suites[part], seconds=min(sandbox.limits.seconds, max(floor, factor * spent)), expected=spent
        )

    ready = [
        replace(task, suites={part: limited(task, part) for part in task.suites})
        for task in bench.tasks
        if task.id not in wrong
    ]
    return ready, wrong


def _references(bench: Bench, sandbox: Sandbox) -> Path:
    """The file of what passed here."""
    here = [stages.code_version(package), str(bench.python or sys.version_info[:2]), platform.node(), sandbox.limits]
    key = hashlib.sha256(repr(here).encode()).hexdigest()[:12]
    path = environments.cache() / "references" / f"{bench.name.partition(':')[0]}-{key}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def enough(bench: Bench, wrong: dict[str, str]) -> None:
    """Refuse to score where too many references fail.

    Raises:
        UserError: fewer than `ENOUGH` of them pass.
    """
    total = len(bench.tasks)
    if len(wrong) <= max(1, (1 - ENOUGH) * total) and len(wrong) < total:
        return
    first = "; ".join(f"{task}: {why}" for task, why in list(wrong.items())[:3])
    raise UserError(
        f"only {total - len(wrong)} of {total} reference solutions of {bench.name} pass on this machine, and at least "
        f"{ENOUGH:.0%} must: a score would say more of the machine than of the model ({first})"
    )


def judge(
    tasks: list[Task], samples: list[Sample], sandbox: Sandbox, path: Path, advance: Advance, deadline: float | None
) -> list[Judged]:
    """The outcome of every sample, those already in the file `path` included.

    A part is run for programs that passed the parts before it; the others have the outcome of what they did not pass.

    Args:
        tasks: with their suites; samples of other tasks are left out.
        advance: told of each judged sample, with the oldest one that still runs.
        deadline: by `time.monotonic()`.

    Raises:
        DeadlineError: it has passed.
    """
    suites = {task.id: task.suites for task in tasks}
    parts = list(dict.fromkeys(part for task in tasks for part in task.suites))
    samples = [sample for sample in samples if sample.task_id in suites]
    known = {row["key"]: row for row in read_lines(path)}
    keys = {id(sample): _key(sample) for sample in samples}
    # Each program of a task once, however often it was written.
    missing = list({keys[id(s)]: s for s in samples if keys[id(s)] not in known}.values())
    advance(len(samples) - len(missing))

    rows = {keys[id(sample)]: dict[str, list[Any]]() for sample in missing}
    unjudged = []
    with path.open("a", encoding="utf-8") as file:
        for part in parts:
            # What takes long begins first, lest one core is left with it at the end.
            left = sorted(
                (s for s in missing if keys[id(s)] not in known), key=lambda s: -suites[s.task_id][part].expected
            )

            def jobs(part: str = part, left: list[Sample] = left) -> Iterator[Job]:
                for sample in left:
                    suite = suites[sample.task_id][part]
                    yield Job(suite.source(sample.program), suite.tests, suite.seconds, stop=True)

            for at, (sample, result) in enumerate(zip(left, sandbox.run(jobs()), strict=True)):
                if at:  # one at least, or a short deadline would never get anywhere
                    done = f"{at} of {len(left)} programs judged ({part}), {sample.task_id} the oldest running"
                    in_time(deadline, done)
                key, outcome = keys[id(sample)], result.outcome
                rows[key][part] = [outcome.value, result.message, result.seconds]
                waiting = f"oldest: {left[at + 1].task_id}" if at + 1 < len(left) else ""
                if outcome is Outcome.PASSED and part != parts[-1]:
                    continue  # its other parts follow
                advance(1, waiting)
                known[key] = {"key": key, "parts": rows[key]}
                if outcome is Outcome.INFRA_ERROR:
                    unjudged.append(f"{sample.task_id}: {result.message}")
                    continue
                for after in parts[len(rows[key]) :]:
                    rows[key][after] = [outcome.value, f"not run: {part} did not pass", 0.0]
                file.write(json.dumps(known[key]) + "\n")
                file.flush()
    if unjudged:
        raise UserError(
            f"the sandbox itself failed on {len(unjudged)} programs ({unjudged[0]}); the others' verdicts are kept: "
            "the same command judges the missing ones once more"
        )
    return [_judged(sample, known[keys[id(sample)]]["parts"]) for sample in samples]


def _key(sample: Sample) -> str:
    return hashlib.sha256(f"{sample.task_id}\0{sample.program}".encode("utf-8", "surrogatepass")).hexdigest()


def _judged(sample: Sample, parts: dict[str, list[Any]]) -> Judged:
    return Judged(
        sample.task_id,
        sample.index,
        {part: Outcome(outcome) for part, (outcome, _, _) in parts.items()},
        {part: message for part, (_, message, _) in parts.items()},
        {part: seconds for part, (_, _, seconds) in parts.items()},
    )
