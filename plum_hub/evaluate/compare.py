"""Is +2.3 real? Checkpoints that were evaluated, held against each other task by task.

    plum compare A B [C...] [--bench NAME] [--png FILE] [--json] [--runs DIR]

    from plum_hub.evaluate.compare import compare
    from plum_hub.evaluate.compare_views import png, table
    found = compare(["org/model@v1", "org/model-kto@v1"], bench="humaneval", runs=Path("runs"))
    found.as_json(), rich.print(table(found)), png(found, Path("difference.png"))

Each of A, B, ... is a `report.json`, a folder with one or several of one model, a file of `plum eval --per-task`, or a
model's name as `plum eval` was given it, looked up in RUNS/eval; of several runs the newest counts. The first is what
the others are held against. For every score that both have: both figures on the tasks that both have, their difference
with a 95 % bootstrap interval over tasks (none where all tasks differ alike), the exact sign test (McNemar's, where
each task has one sample), the tasks gained and lost, and the same figures by difficulty and whatever else the benchmark
says of its tasks. With more than two, p values are Holm's over the comparisons of one score.

Not covered: intervals corrected for their number; the chance of another run's samples where there is one a task.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from plum_hub.errors import UserError
from plum_hub.evaluate.compare_inputs import SETTINGS, Found, choose, find, newest
from plum_hub.evaluate.statistics import holm, paired_difference, sign_test, tasks_to_detect

LEVEL = 0.05
MOST_GROUPS = 36  # values of a trait beyond which it is no way to group tasks
ORDER = ("easy", "medium", "hard")


@dataclass(frozen=True)
class Figures:
    """Two checkpoints on the same `n` tasks: percent, and the difference in points with its 95 % interval.

    There is no interval where all tasks differ alike: resampling them says nothing about others.
    """

    n: int
    before: float
    after: float
    difference: float
    ci95: tuple[float, float] | None


@dataclass(frozen=True)
class Pair:
    """One score of two checkpoints."""

    score: str  # benchmark and metric
    before: str  # the checkpoints
    after: str
    overall: Figures
    test: str  # "exact McNemar test" or "exact sign test"
    p: float
    gained: list[str]  # tasks with a greater share of right samples afterwards
    lost: list[str]
    by: dict[str, dict[str, Figures]]  # trait -> value -> figures
    tasks_to_detect: int | None  # see `statistics.tasks_to_detect`
    notes: list[str] = field(default_factory=list)  # what makes the two less than comparable
    p_holm: float | None = None  # corrected for the number of comparisons, where there are several

    @property
    def answer(self) -> str:
        """`yes` if interval and p value (the corrected one, where there is one) agree, `no`, or `unclear`.

        Without an interval the p value alone decides.
        """
        unlikely = (self.p if self.p_holm is None else self.p_holm) < LEVEL
        interval = self.overall.ci95
        aside = not interval[0] <= 0 <= interval[1] if interval else unlikely
        same_way = (len(self.gained) > len(self.lost)) == (self.overall.difference > 0)
        if aside and unlikely and same_way:
            return "yes"
        return "unclear" if aside or unlikely else "no"

    @property
    def words(self) -> str:
        """One plain sentence: is the difference real?"""
        found = self.overall
        if not (self.gained or self.lost):
            return f"No difference: all {found.n} tasks come out the same."
        alike = "no interval can be estimated, as all tasks differ alike"
        shown = f"95 % interval {found.ci95[0]:+.1f} to {found.ci95[1]:+.1f}" if found.ci95 else alike
        shown += f", {self.test} p {small(self.p)}"
        if self.p_holm is not None:
            shown += f" ({small(self.p_holm)} after Holm)"
        verdict = {
            "yes": f"{found.difference:+.1f} is more than chance",
            "no": f"{found.difference:+.1f} may well be chance",
            "unclear": f"{found.difference:+.1f} is on the border, as interval and test do not agree",
        }[self.answer]
        need = self.tasks_to_detect if self.answer != "yes" else None
        more = f" To see such a difference four times in five would take about {need:,} such tasks." if need else ""
        return f"{verdict}: {shown}.{more}"

    def as_json(self) -> dict[str, Any]:
        """Pure JSON, with the answer and the sentence."""
        return json.loads(json.dumps(asdict(self))) | {"answer": self.answer, "words": self.words}


@dataclass(frozen=True)
class Comparison:
    """The first checkpoint against each of the others, score by score."""

    checkpoints: list[str]
    pairs: list[Pair]

    def as_json(self) -> dict[str, Any]:
        """As `plum compare --json` prints it."""
        return {"checkpoints": self.checkpoints, "comparisons": [pair.as_json() for pair in self.pairs]}


def compare(given: Sequence[str], bench: str | None = None, runs: Path = Path("runs")) -> Comparison:
    """Hold the first of several evaluated checkpoints against each of the others.

    Args:
        given: see the head of this module.
        bench: names as in `--bench`, with commas; None: all that two of them have.
        runs: where `plum eval` keeps its runs.

    Raises:
        UserError: nothing was found, nothing in common, or several models or evaluations that could be meant.
    """
    if len(given) < 2:
        raise UserError("plum compare needs at least two: plum compare A B")
    sides = [_by_bench(what, bench, runs) for what in given]
    labels = [_label(what, by_bench) for what, by_bench in zip(given, sides, strict=True)]
    if len(set(labels)) < len(labels):  # two evaluations of one checkpoint
        labels = list(given)
    if len(set(labels)) < len(labels):
        raise UserError(f"{labels[0]} is given twice")
    first, pairs = sides[0], list[Pair]()
    for label, other in zip(labels[1:], sides[1:], strict=True):
        common = [name for name in first if name in other]
        if not common:
            have = "; ".join(f"{name} has {', '.join(s)}" for name, s in ((labels[0], first), (label, other)))
            raise UserError(f"no benchmark in common: {have}")
        for name in common:
            before, after = choose(first[name], other[name])
            if not (new := list(_pairs(labels[0], label, before, after))):
                have = f"{', '.join(before.shares) or 'none'}; {', '.join(after.shares) or 'none'}"
                raise UserError(f"{name}: {labels[0]} and {label} have no score in common: {have}")
            pairs += new
    return Comparison(labels, _corrected(pairs) if len(given) > 2 else pairs)


def _by_bench(what: str, bench: str | None, runs: Path) -> dict[str, list[Found]]:
    """The evaluations that are meant, by benchmark: all, or those of `bench`."""
    have: dict[str, list[Found]] = {}
    for found in find(what, runs):
        have.setdefault(found.bench, []).append(found)
    if bench is None:
        return have
    kept: dict[str, list[Found]] = {}
    for wanted in filter(None, map(str.strip, bench.split(","))):
        names = [name for name in have if wanted in (name, name.partition(":")[0])]
        if not names:
            raise UserError(f"{what} was not evaluated on {wanted}; it has {', '.join(have)}")
        kept |= {name: have[name] for name in names}
    return kept


def _label(what: str, by_bench: dict[str, list[Found]]) -> str:
    """What the runs that count are called, or as the user calls them where that differs."""
    labels = {newest(found).label for found in by_bench.values()}
    return labels.pop() if len(labels) == 1 else what


def _corrected(pairs: list[Pair]) -> list[Pair]:
    """Ordered by score, with Holm's p values over the comparisons of each."""
    found = []
    for score in dict.fromkeys(pair.score for pair in pairs):
        group = [pair for pair in pairs if pair.score == score]
        corrected = holm([pair.p for pair in group])
        found += [replace(pair, p_holm=p) for pair, p in zip(group, corrected, strict=True)]
    return found


def _pairs(before_label: str, after_label: str, before: Found, after: Found) -> Iterator[Pair]:
    """A pair for each score that both have."""
    for score in (score for score in before.shares if score in after.shares):
        old, new = before.shares[score], after.shares[score]
        common = [task for task in old if task in new]
        if not common:
            raise UserError(
                f"{score}: {before_label} and {after_label} have no task in common; theirs are {next(iter(old))} and "
                f"{next(iter(new))} and so on"
            )
        notes = list(_notes(before, after))
        if not len(old) == len(new) == len(common):
            notes.insert(
                0, f"not the same tasks: {len(old)} and {len(new)}, of which the {len(common)} in common count"
            )
        ours, theirs = [old[task] for task in common], [new[task] for task in common]
        yield Pair(
            score=score,
            before=before_label,
            after=after_label,
            overall=_figures(common, old, new),
            test="exact McNemar test" if {*ours, *theirs} <= {0.0, 1.0} else "exact sign test",
            p=sign_test(ours, theirs),
            gained=[task for task in common if new[task] > old[task]],
            lost=[task for task in common if new[task] < old[task]],
            by={
                trait: {value: _figures(tasks, old, new) for value, tasks in sorted(values.items(), key=_order)}
                for trait, values in _groups(before, common).items()
                if 1 < len(values) <= MOST_GROUPS
            },
            tasks_to_detect=tasks_to_detect(ours, theirs),
            notes=notes,
        )


def _groups(found: Found, tasks: list[str]) -> dict[str, dict[str, list[str]]]:
    """Trait -> value -> tasks."""
    groups: dict[str, dict[str, list[str]]] = {}
    for task in tasks:
        for trait, value in found.traits.get(task, {}).items():
            groups.setdefault(trait, {}).setdefault(value, []).append(task)
    return groups


def _order(item: tuple[str, object]) -> tuple[int, str]:
    """Difficulties from easy to hard, all else by the alphabet."""
    word = item[0].lower()
    return (ORDER.index(word) if word in ORDER else len(ORDER)), item[0]


def _figures(tasks: list[str], old: dict[str, float], new: dict[str, float]) -> Figures:
    before, after = [old[task] for task in tasks], [new[task] for task in tasks]
    difference, interval = paired_difference(before, after)
    means = [round(100 * sum(shares) / len(shares), 2) for shares in (before, after)]
    alike = len({round(b - a, 9) for a, b in zip(before, after, strict=True)}) == 1
    return Figures(len(tasks), means[0], means[1], difference, None if alike else interval)


def _notes(before: Found, after: Found) -> Iterator[str]:
    yield from (found.note for found in (before, after) if found.note)
    for name, words in (("data_version", "data"), ("harness", "harness")):
        versions = [found.record.get(name) for found in (before, after)]
        if None not in versions and versions[0] != versions[1]:
            yield f"not the same {words}: {versions[0]} and {versions[1]}"
    if before.settings and after.settings:
        for name in SETTINGS:
            values = [found.settings.get(name) for found in (before, after)]
            if values[0] != values[1]:
                yield f"not asked alike: {name} {values[0]} and {values[1]}"
        prompts = [found.record["asked"].get("prompts") for found in (before, after)]  # digests
        if None not in prompts and prompts[0] != prompts[1]:
            yield "not the same prompts"


def small(p: float) -> str:
    """A p value for a person."""
    return f"{p:.3g}" if p >= 0.0001 else "below 0.0001"
