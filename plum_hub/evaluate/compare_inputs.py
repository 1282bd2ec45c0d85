"""What was evaluated, found again by what a person calls it: for `plum compare`."""

from __future__ import annotations

import glob
import json
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from plum_hub.errors import UserError
from plum_hub.evaluate import ask, report
from plum_hub.evaluate.statistics import pass_at_k
from plum_hub.generate.names import parse

#: What of a row of `--per-task` is not said of the task itself.
RESULTS = {"bench", "task_id", "passed", "outcomes", "messages", "seconds"}
#: Settings that two evaluations should share to be compared, by their names in a report.
SETTINGS = (
    *("style", "n", "temperature", "top_p", "max_new_tokens", "limit"),
    *("engine", "engine_options", "options", "seed", "batch_size"),
)
SCORE_FIRST = "a file of samples is scored first: plum eval --samples FILE --bench NAME --per-task scored.jsonl"


@dataclass(frozen=True)
class Found:
    """What one benchmark found of one checkpoint."""

    label: str
    bench: str
    shares: dict[str, dict[str, float]]  # score, without temperature and number of samples -> task -> 0 to 1
    traits: dict[str, dict[str, str]]  # task -> what the benchmark says of it, such as its difficulty
    record: dict[str, Any]  # of the report; empty for a file of `--per-task`
    path: Path
    note: str = ""  # what to say of its choice

    @property
    def adapter(self) -> str | None:
        """What of a base model's run makes it another model's."""
        asked = self.record.get("asked") or {}
        return (asked.get("engine_options") or asked.get("options") or {}).get("lora")

    @property
    def model(self) -> str:
        """Whose figures these are: model, commit and adapter; of samples from elsewhere their file."""
        asked = self.record.get("asked")
        if not asked:
            return self.label
        return f"{asked['model']}@{self.revision}" + (f" with {self.adapter}" if self.adapter else "")

    @property
    def revision(self) -> str:
        """The commit of its folder, which commits of the same weights share; elsewhere the one evaluated."""
        asked = self.record["asked"]
        folder, start = "".join(self.path.resolve().parts[-4:-3]), ask.slug(asked["model"], "")
        return folder.removeprefix(start) if folder.startswith(start) else asked["revision"][:12]

    @property
    def settings(self) -> dict[str, Any]:
        """How the model was asked; empty where that is not known."""
        asked = self.record.get("asked") or {}
        return {name: asked[name] for name in SETTINGS if name in asked}


def find(what: str, runs: Path) -> list[Found]:
    """All evaluations of one model that this may mean, at least one.

    Args:
        what: a `report.json`, a folder with one or several, a file of `--per-task`, or a model's name.
        runs: where `plum eval` keeps its runs.

    Raises:
        UserError: there is none, or they are of several models.
    """
    path = Path(what)
    if path.is_file():
        return _file(path)
    if (path / "report.json").is_file():
        return [_report(path / "report.json")]
    if path.is_dir() and (inside := sorted(path.rglob("report.json"))):
        found = [_report(one) for one in inside]
        _one(what, {one.model for one in found})
        return found
    return _named(what, runs / "eval")


def _named(what: str, folder: Path) -> list[Found]:
    """The evaluations of a model, given as to `plum eval`; engine and options are no part of its name."""
    name = parse(what)
    found = [_report(one) for one in sorted(folder.glob(f"{glob.escape(ask.slug(name.model, ''))}*/**/report.json"))]
    # With an adapter it is another model, and has to be named as it was then.
    found = [one for one in found if one.label == what or not (one.adapter or "lora" in name.options)]
    if not found:
        raise UserError(f"{what} is no report, and {folder} has no scores of such a model: plum eval {what}")
    if given := name.revision:
        revisions = sorted({one.revision for one in found})
        found = [
            one
            for one in found
            if one.label.partition("?")[0].endswith(f"@{given}")  # as `plum eval` was given it
            or one.record["asked"]["revision"].startswith(given)
            or one.path.relative_to(folder).parts[0].startswith(ask.slug(name.model, given))  # may be a link
        ]
        if not found:
            raise UserError(f"{name.model} was not evaluated at {given}; it was at {', '.join(revisions)}")
    found = [one for _, one in sorted({one.path.resolve(): one for one in found}.items())]  # links lead to it twice
    _one(what, {f"{name.model} with {one.adapter}" if one.adapter else name.model for one in found})
    if len({one.revision for one in found}) > 1:
        words = f"{what} was evaluated at several revisions; this is its newest run, at "
        found = [replace(one, note=words + one.revision) for one in found]
    return found


def _one(what: str, models: set[str]) -> None:
    """Raises UserError where there are several: figures of one must not stand under another's name."""
    if len(models) > 1:
        raise UserError(
            f"{what} has scores of several models; name one, its folder or its report.json: {', '.join(sorted(models))}"
        )


def newest(found: list[Found]) -> Found:
    """The one that was written last."""
    return max(found, key=lambda one: one.path.stat().st_mtime)


def choose(befores: list[Found], afters: list[Found]) -> tuple[Found, Found]:
    """The newest of each, where their settings agree or there is nothing else to choose.

    Raises:
        UserError: there are several, and the newest were asked differently.
    """
    before, after = newest(befores), newest(afters)
    if before.settings != after.settings and len(befores) + len(afters) > 2:
        lines = "\n".join(f"  {one.path}: {_said(one.settings)}" for one in befores + afters)
        raise UserError(
            f"{before.bench} was evaluated in several ways, and the newest of {before.label} and of {after.label} were "
            f"not asked alike; name the two report.json that you mean:\n{lines}"
        )
    return before, after


def _file(path: Path) -> list[Found]:
    """A report, or a file of `--per-task`, which may be called anything."""
    if path.suffix != ".json":
        return _per_task(path)
    try:
        return [_report(path)]
    except UserError:
        with suppress(UserError):
            return _per_task(path)
        raise


def _report(path: Path) -> Found:
    try:
        found = report.read(path)
        shares = {re.sub(r" \((T=.*, )?n=[\d to]+\)$", "", key): _even(tasks) for key, tasks in found.shares.items()}
        return Found(found.scores[0].checkpoint, found.record["bench"], shares, _traits(found.rows), found.record, path)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{path} is no report of plum eval's ({reason}); {SCORE_FIRST}") from None


def _per_task(path: Path) -> list[Found]:
    by_bench: dict[str, list[dict[str, Any]]] = {}
    for at, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = json.loads(line)
            if not (row["task_id"] and all(row["passed"].values())):
                raise ValueError("no samples")
            by_bench.setdefault(row["bench"], []).append(row)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise UserError(f"{path}, line {at} is no row of plum eval --per-task ({reason}); {SCORE_FIRST}") from None
    if not by_bench:
        raise UserError(f"{path} is empty")
    return [Found(path.stem, name, _shares(name, rows), _traits(rows), {}, path) for name, rows in by_bench.items()]


def _shares(bench: str, rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """What a report calls its scores, from the rows alone."""
    found: dict[str, dict[str, float]] = {}
    n = min((len(flags) for row in rows for flags in row["passed"].values()), default=0)
    for row in rows:
        for name, flags in row["passed"].items():
            for k in (k for k in report.KS if k <= n):
                key = f"{bench} {name}" if bench.startswith("lm-eval:") else f"{name} pass@{k}"
                found.setdefault(key, {})[row["task_id"]] = pass_at_k(len(flags), sum(flags), k)
    return {key: _even(shares) for key, shares in found.items()}


def _even(shares: dict[str, float]) -> dict[str, float]:
    """To twelve digits: 2 right of 10 is what 1 right of 5 is."""
    return {task: round(share, 12) for task, share in shares.items()}


def _traits(rows: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    return {
        row["task_id"]: {name: str(value) for name, value in row.items() if name not in RESULTS and value}
        for row in rows
    }


def _said(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items() if value is not None) or "unknown"
