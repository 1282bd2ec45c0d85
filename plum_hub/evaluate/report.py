"""From judged samples to scores: pass@k with intervals, what went wrong beside them, and the files of a run.

A score stands beside the share of samples without a usable program (none found in the text, or the text cut off at the
token limit): where more than a tolerated share is like that, the figure measures prompt, extraction or limit rather
than the model, and there is an error instead of a score.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plum_hub.errors import UserError
from plum_hub.evaluate.judging import Judged
from plum_hub.evaluate.longest import wrong_line
from plum_hub.evaluate.samples import Sample
from plum_hub.evaluate.statistics import Score, figure, mean_percent, pass_at_k
from plum_hub.evaluate.tasks import Bench, Settings, Task
from plum_hub.outcomes import Outcome

#: The k of pass@k that are reported, where there are as many samples.
KS = (1, 5, 10, 100)

UNUSABLE = 0.2  # share of samples without a usable program above which there is no score


@dataclass(frozen=True)
class Report:
    """All that one benchmark found of one model."""

    scores: list[Score]
    shares: dict[str, dict[str, float]]  # `Score.key` -> task id -> pass@k of the task, 0 to 1
    record: dict[str, Any]  # how it was measured; pure JSON
    rows: list[dict[str, Any]]  # one a task, as `--per-task` writes them


def rates(samples: Sequence[Sample], judged: Sequence[Judged]) -> dict[str, float]:
    """Shares of samples: `no_program`, `syntax_error`, `truncated`, `timeout`, `unusable` (the first three together).

    A sample from a file has no text and counts as it is.
    """
    checked = {program: wrong_line(program) is None for program in {sample.program for sample in samples}}
    none = [not sample.program.strip() for sample in samples]
    broken = [not checked[sample.program] and not no for sample, no in zip(samples, none, strict=True)]
    cut = [sample.finish_reason == "length" for sample in samples]
    unusable = [any(which) for which in zip(none, broken, cut, strict=True)]
    late = [Outcome.TIMEOUT in one.outcomes.values() for one in judged]
    found = {"no_program": none, "syntax_error": broken, "truncated": cut, "timeout": late, "unusable": unusable}
    return {name: round(statistics.mean(flags), 4) if flags else 0.0 for name, flags in found.items()}


def tolerable(bench: Bench, found: dict[str, float], most: float, place: Path) -> None:
    """Refuse to score where too many samples hold no usable program.

    Args:
        place: the run's folder, which the message names.

    Raises:
        UserError: more than `most` of them.
    """
    if found["unusable"] > most:
        raise UserError(
            f"{found['unusable']:.0%} of the samples of {bench.name} hold no usable program "
            f"({found['no_program']:.0%} none at all, {found['syntax_error']:.0%} with a syntax error, "
            f"{found['truncated']:.0%} cut off at the token limit), and {most:.0%} are tolerated: see the texts "
            f"({place / 'samples.jsonl'}), try another --style or --max-new-tokens, or accept it with --max-unusable"
        )


def report(
    bench: Bench,
    checkpoint: str,
    tasks: Sequence[Task],
    judged: Sequence[Judged],
    settings: Settings | None,
    record: dict[str, Any],
) -> Report:
    """Score judged samples.

    Args:
        tasks: those that could be judged here.
        settings: None for samples from elsewhere.
        record: kept in the report, with the breakdown by the tasks' traits added.
    """
    of: dict[str, list[Judged]] = {}
    for one in judged:
        of.setdefault(one.task_id, []).append(one)
    tasks = [task for task in tasks if task.id in of]
    n, most = min(map(len, of.values())), max(map(len, of.values()))
    samples = str(n) if n == most else f"{n} to {most}"
    scores, shares, by = [], dict[str, dict[str, float]](), dict[str, dict[str, dict[str, list[float]]]]()
    passed = {
        name: {task.id: [one.passed(parts) for one in of[task.id]] for task in tasks}
        for name, parts in bench.scores.items()
    }
    for name in bench.scores:
        for k in (k for k in KS if k <= n):
            found = {i: pass_at_k(len(flags), sum(flags), k) for i, flags in passed[name].items()}
            value, interval = mean_percent(list(found.values()))
            score = Score(checkpoint, name, metric(k, settings, samples), value, interval, len(tasks))
            scores.append(score)
            shares[score.key] = found
            for task in tasks:
                for trait, what in task.traits.items():
                    by.setdefault(score.key, {}).setdefault(trait, {}).setdefault(what, []).append(found[task.id])
    groups = {
        key: {trait: {what: figure(found) for what, found in group.items()} for trait, group in traits.items()}
        for key, traits in by.items()
    }
    rows = [
        {
            "task_id": task.id,
            **task.traits,
            "passed": {name: passed[name][task.id] for name in bench.scores},
            "outcomes": [{part: outcome.value for part, outcome in one.outcomes.items()} for one in of[task.id]],
            "messages": [one.messages for one in of[task.id]],
            "seconds": [one.seconds for one in of[task.id]],
        }
        for task in tasks
    ]
    return Report(scores, shares, record | {"by": groups}, rows)


def metric(k: int, settings: Settings | None, n: str) -> str:
    """The name of a figure: `pass@1` for one greedy text, else with temperature and number of samples."""
    if settings is None:
        return f"pass@{k}" if n == "1" else f"pass@{k} (n={n})"
    if settings.temperature == 0 and k == 1:
        return "pass@1"
    return f"pass@{k} (T={settings.temperature:g}, n={n})"


def words(found: Report) -> str:
    """A report for a person: a line a score, what it is broken down by, and what went wrong."""
    lines = []
    for score in found.scores:
        lines.append(f"{score.key}: {score.value:.1f} % ({score.ci95[0]:.1f} to {score.ci95[1]:.1f}), {score.n} tasks")
        for groups in found.record["by"].get(score.key, {}).values():
            parts = (f"{what} {one['value']:.1f} % of {one['n']}" for what, one in sorted(groups.items()))
            lines.append(f"  {', '.join(parts)}")
    found_rates = found.record["rates"]
    lines.append("  samples: " + ", ".join(f"{name} {share:.1%}" for name, share in found_rates.items()))
    if wrong := found.record["references"]["failing"]:
        first = ", ".join(list(wrong)[:5])
        lines.append(f"  left out, as their references do not pass here: {len(wrong)} tasks ({first})")
    if found.record["partial"]:
        lines.append(f"  not the whole benchmark: {found.record['partial']}")
    lines.append(f"  in {found.record['folder']}")
    return "\n".join(lines)


def save(found: Report, path: Path) -> None:
    """Write a report as one JSON file, all at once."""
    part = path.with_suffix(".part")
    value = {
        "scores": [score.as_json() for score in found.scores],
        "shares": found.shares,
        "record": found.record,
        "rows": found.rows,
    }
    part.write_text(json.dumps(value))
    part.replace(path)


def read(path: Path) -> Report:
    """What `save` wrote."""
    value = json.loads(path.read_text())
    scores = [Score(**{**score, "ci95": tuple(score["ci95"])}) for score in value["scores"]]
    return Report(scores, value["shares"], value["record"], value["rows"])


def outcome_counts(judged: Sequence[Judged]) -> dict[str, dict[str, int]]:
    """Part -> outcome -> number of samples."""
    found: dict[str, Counter[str]] = {}
    for one in judged:
        for part, outcome in one.outcomes.items():
            found.setdefault(part, Counter())[outcome.value] += 1
    return {part: dict(sorted(counts.items())) for part, counts in found.items()}
