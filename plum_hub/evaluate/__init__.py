"""Scores of checkpoints: one file a benchmark, and one for each step from a model to a figure.

    tasks (what a benchmark is) -> ask (samples) | samples (from a file) -> judging -> report (scores, rates) -> push

    from plum_hub import evaluate
    bench = evaluate.load("humaneval")
    report = evaluate.score_model(engine, bench, Settings(), Options(Path("runs/eval")))

`plum eval` is this for the command line. Files of a run lie in `FOLDER/<model>/<bench>/<settings>/`: `prompts.json`,
`samples.jsonl`, `verdicts-*.jsonl`, `report.json`; samples and verdicts are added to as the run goes on, so that a
killed one resumes.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from plum_hub.errors import UserError, nearest

if TYPE_CHECKING:
    from plum_hub.evaluate.report import Report
    from plum_hub.evaluate.samples import Sample
    from plum_hub.evaluate.tasks import Bench, Options, Settings
    from plum_hub.generate import Engine

#: name in `--bench` -> the file that has `load(name, data) -> Bench`, and what it is.
BENCHES = {
    "humaneval": ("evalplus", "HumanEval and HumanEval+, 164 tasks (evalplus)"),
    "mbpp": ("evalplus", "MBPP and MBPP+, 378 tasks (evalplus)"),
    "livecodebench": ("livecodebench", "LiveCodeBench code generation, by release and date window"),
    "bigcodebench": ("bigcodebench", "BigCodeBench, 1,140 tasks; complete for base models, instruct for others"),
    "bigcodebench-hard": ("bigcodebench", "its 148 hard tasks"),
    "leetcode": ("leetcode", "LeetCodeDataset's test split, 228 problems"),
    "leetcode-contest": ("leetcode", "DeepSeek-Coder's 180 LeetCode contest problems"),
    "lm-eval": ("lm_eval", "lm-eval:TASK: any other task of lm-evaluation-harness, such as lm-eval:gsm8k"),
    "nano": ("nano", "the embedded default's held-out split, 300 tasks"),
    "nano-dev": ("nano", "its split to choose settings and rounds by, 300 tasks"),
}


def check(name: str) -> str:
    """The name of a benchmark without what follows a colon, which is the benchmark's own affair.

    Raises:
        UserError: there is no such benchmark.
    """
    base = name.partition(":")[0]
    if base not in BENCHES:
        raise UserError(f"benchmark `{base}` is not known (`plum eval --list` shows them){nearest(base, BENCHES)}")
    return base


def load(name: str, data: Path | None = None) -> Bench:
    """A benchmark's tasks, from the Hub or its release, or from the folder `data`.

    Raises:
        UserError: no such benchmark, or no such data.
    """
    bench: Bench = module(name).load(name, data)
    return bench


def module(name: str) -> ModuleType:
    """The file of a benchmark. Besides `load` it may have `official` (the harness's own command) and `prefetch`."""
    return importlib.import_module(f"plum_hub.evaluate.{BENCHES[check(name)][0]}")


def score_model(
    engine: Engine,
    bench: Bench,
    settings: Settings,
    options: Options,
    checkpoint: str | None = None,
    shaping: Sequence[object] = (),
) -> Report:
    """Sample from a model and score it.

    Args:
        checkpoint: the name that the scores carry; default: the engine's repo and revision.
        shaping: what else of the engine shapes its texts, such as an adapter (`plum_hub.generate.names.shaping`).

    Raises:
        UserError: too few references pass, too many samples are unusable, or the deadline has passed.
    """
    from plum_hub.evaluate import ask
    from plum_hub.generate.names import folder_digest

    revision = engine.revision or folder_digest(Path(engine.repo))  # weights in a folder may change
    name = checkpoint or f"{engine.repo}@{revision}"
    how = ask.style(bench, engine, settings.style)
    asked = {
        "engine": type(engine).__name__,
        "model": engine.repo,
        "revision": revision,
        "style": how,
        "prompts": ask.digest(bench, list(bench.tasks)[: settings.limit], how),
        "n": settings.n,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "max_new_tokens": settings.max_new_tokens or bench.max_new_tokens,
        "seed": settings.seed,
        "batch_size": settings.batch_size or bench.batch_size,
        "limit": settings.limit,
        "chunk": bench.chunk,
        **({"engine_options": shaping[-1]} if shaping and shaping[-1] else {}),
    }
    place = ask.place(options.folder, bench.name, asked)
    place.mkdir(parents=True, exist_ok=True)
    (place / "settings.json").write_text(json.dumps(asked, indent=2, sort_keys=True))
    from plum_hub.progress import bar

    tasks = list(bench.tasks)[: settings.limit]
    (place / "prompts.json").write_text(json.dumps({task.id: task.prompts[how] for task in tasks}))
    record = {"asked": asked, "prompt_example": tasks[0].prompts[how]}
    with _alone(place):
        with bar(f"{bench.name}: sample", len(tasks) * settings.n) as advance:
            made = ask.ask(bench, engine, settings, how, place / "samples.jsonl", advance, options.deadline)
        return _score(bench, name, made, settings, place, record, options)


def score_samples(made: list[Sample], bench: Bench, options: Options, source: str) -> Report:
    """Score samples from elsewhere (`samples.from_file`); see `score_model`.

    Args:
        source: what the scores are called by, a file's name.
    """
    from plum_hub.evaluate import samples

    key = hashlib.sha256(json.dumps([(s.task_id, s.program) for s in made]).encode()).hexdigest()[:12]
    place = options.folder / "samples" / bench.name.replace(":", "-") / key
    place.mkdir(parents=True, exist_ok=True)
    with _alone(place):
        if len(samples.load(place / "samples.jsonl")) < len(made):
            (place / "samples.jsonl").unlink(missing_ok=True)
            samples.append(place / "samples.jsonl", made)
        return _score(bench, source, made, None, place, {"asked": None}, options)


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Keep other processes out of a run's folder. Raises UserError if one is there."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(place / "lock", timeout=0):
            yield
    except Timeout:
        raise UserError(f"another `plum eval` is at work in {place}: wait until it is done, or stop it") from None


def _score(
    bench: Bench,
    checkpoint: str,
    made: list[Sample],
    settings: Settings | None,
    place: Path,
    record: dict[str, Any],
    options: Options,
) -> Report:
    from dataclasses import replace

    from plum_hub import __version__, sandbox, stages
    from plum_hub.evaluate import ask, judging, report
    from plum_hub.progress import bars
    from plum_hub.sandbox import Sandbox

    wanted = {sample.task_id for sample in made}
    partial = ""
    if len(wanted) < len(bench.tasks):
        partial = f"{len(wanted)} of its {len(bench.tasks)} tasks"
        bench = replace(bench, tasks=[task for task in bench.tasks if task.id in wanted])
    version = stages.code_version(sandbox, sys.modules[__name__])
    started = time.monotonic()
    python = bench.python or sys.version_info[:2]
    key = hashlib.sha256(f"{version}{bench.version}{python}".encode()).hexdigest()[:12]
    references, samples = f"{bench.name}: references", f"{bench.name}: judge"
    totals = {references: len(bench.tasks) * len(bench.parts)} if bench.check else {}
    workers = options.workers or bench.per_core * (os.cpu_count() or 1)
    with (
        Sandbox(bench.limits, workers, python=bench.python) as box,
        bars(totals | {samples: len(made)}) as advance,
    ):
        tasks, wrong = list(bench.tasks), dict[str, str]()
        if bench.check:
            told = ask.until(options.deadline, f"the references of {bench.name} not all run", advance[references])
            tasks, wrong = bench.check(bench, box, told)
            judging.enough(bench, wrong)
        judged = judging.judge(tasks, made, box, place / f"verdicts-{key}.jsonl", advance[samples], options.deadline)
    found = report.rates(made, judged)
    if settings or options.max_unusable is not None:  # what a file holds is its own
        most = report.UNUSABLE if options.max_unusable is None else options.max_unusable
        report.tolerable(bench, found, most, place)
    record = record | {
        "bench": bench.name,
        "dataset": bench.dataset,
        "data_version": bench.version,
        "public": bench.public,
        "harness": bench.harness,
        "plum_hub": __version__,
        "references": {"total": len(bench.tasks) if bench.check else 0, "failing": wrong},
        "rates": found,
        "outcomes": report.outcome_counts(judged),
        "partial": partial,
        "folder": str(place),
        "judging_seconds": round(time.monotonic() - started, 1),
    }
    made_report = report.report(bench, checkpoint, tasks, judged, settings, record)
    report.save(made_report, place / "report.json")
    return made_report
