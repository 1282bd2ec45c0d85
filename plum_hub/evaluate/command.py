"""What `plum eval` does: benchmarks one after the other, on one engine or on a file of samples."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import cast, get_args

from plum_hub import evaluate
from plum_hub.errors import UserError
from plum_hub.evaluate import lm_eval, samples
from plum_hub.evaluate.ask import DeadlineError
from plum_hub.evaluate.report import Report
from plum_hub.evaluate.tasks import Options, Settings, Style
from plum_hub.names import explained, split_revision
from plum_hub.progress import say


def engine_name(model: str, engine: str) -> str:
    """The engine's string from `plum eval MODEL --engine ENGINE`; ENGINE is `hf`, `vllm` (`vllm:?dtype=float32`) or
    `openai:URL`. A MODEL that is such a string already stays as it is."""
    if model.startswith(("hf:", "vllm:", "openai:")):
        return model
    kind, _, rest = engine.partition(":")
    if kind == "openai":
        if not rest:
            raise UserError("--engine openai:URL needs the server's address, such as openai:http://host:8000/v1")
        return f"openai:{model}@{rest}"
    if kind not in ("hf", "vllm"):
        raise UserError(f"--engine {engine}: there are vllm, hf and openai:URL")
    return f"{kind}:{model}{rest}"


def of_model(
    model: str, engine: str, benches: list[str], settings: Settings, options: Options
) -> tuple[list[Report], list[str]]:
    """Sample and score; the engine is loaded once, after all that may go wrong before.

    Returns:
        The reports, and what is wrong with benchmarks that got no score: one must not take the others' with it.

    Raises:
        UserError: something that concerns all benchmarks.
    """
    from plum_hub.generate import load
    from plum_hub.generate.names import check, pin, shaping

    for name in benches:
        evaluate.check(name)
    whole = pin(engine_name(model, engine))
    check(whole)
    others = [name for name in benches if name.startswith(lm_eval.PREFIX)]
    for name in others:
        lm_eval.check(name)
    if others:
        lm_eval.check_settings(others[0], whole, settings)
    loaded = [evaluate.load(name, options.data) for name in benches if name not in others]
    made, failed = list[Report](), list[str]()
    if others and not loaded:
        return lm_eval.of_model(whole, others, settings, options, model)
    running = load(str(whole))
    try:
        for bench in loaded:
            try:
                made.append(evaluate.score_model(running, bench, settings, options, model, shaping(whole)))
            except UserError as error:
                failed.append(str(error))
                if isinstance(error, DeadlineError):
                    return made, failed
    finally:
        running.close()
    if others:  # after `close`: it loads the model itself
        try:
            theirs, wrong = lm_eval.of_model(whole, others, settings, options, model)
        except UserError as error:
            theirs, wrong = [], [str(error)]
        made, failed = made + theirs, failed + wrong
    return made, failed


def prefetch(benches: list[str], model: str | None) -> None:
    """Download what an evaluation needs, so that it can run later with HF_HUB_OFFLINE=1.

    Raises:
        UserError: no such benchmark, data or model.
    """
    for name in benches:
        evaluate.check(name)
    for name in benches:
        module = evaluate.module(name)
        if hasattr(module, "prefetch"):
            module.prefetch(name)
        say(f"{name}: ready")
    if model:
        from huggingface_hub import snapshot_download

        repo, revision = split_revision(model)
        with explained(model, "model"):
            say(f"{model}: {snapshot_download(repo, revision=revision)}")


def official(found: Report, options: Options) -> dict[str, float]:
    """The same samples through the harness's own command: score -> percent.

    Raises:
        UserError: the benchmark's harness has no command for this, or it fails.
    """
    bench = evaluate.load(found.record["bench"], options.data)
    module = evaluate.module(bench.name)
    if not hasattr(module, "official"):
        raise UserError(f"{bench.name} has no --official: humaneval, mbpp, livecodebench and bigcodebench have one")
    place = Path(found.record["folder"])
    scored: dict[str, float] = module.official(bench, samples.load(place / "samples.jsonl"), place / "official")
    return scored


def officials(made: list[Report], options: Options) -> tuple[list[dict[str, float]], list[str]]:
    """`official` of each report, and what is wrong with those that got no figures (`{}`)."""
    figures, wrong = [], []
    for found in made:
        try:
            figures.append(official(found, options))
        except UserError as error:
            figures.append({})
            wrong.append(str(error))
    return figures, wrong


def beside(made: list[Report], theirs: list[dict[str, float]]) -> list[str]:
    """Our figures beside those of the harnesses' own commands, a line each."""
    lines = []
    for found, figures in zip(made, theirs, strict=False):
        ours = {score.bench: score.value for score in found.scores if score.kind == "pass@1"}
        parts = [f"{name} {value:.2f} (ours {ours[name]:.2f})" for name, value in figures.items()]
        lines += [f"by the harness's own command: {', '.join(parts)}"] if parts else []
    return lines


def ready_to_push(model: str, engine: str, limit: int | None) -> None:
    """Find out what stands in the way of `--push` before anything is sampled. Raises UserError."""
    from plum_hub.evaluate import push as pushing

    pushing.ready(engine_name(model, engine), limit)


def push(model: str, made: list[Report], overwrite: bool) -> None:
    """Put scores on the model's card, and what they come from in a dataset; see `plum_hub.evaluate.push`."""
    from plum_hub.evaluate import push as pushing

    say(str(pushing.push(model, made, overwrite)))


def style(word: str | None) -> Style | None:
    """`--style`, checked."""
    if word is not None and word not in get_args(Style):
        raise UserError(f"--style {word}: there are {', '.join(get_args(Style))}")
    return cast("Style | None", word)


def of_samples(path: Path, names: list[str], options: Options) -> Report:
    """Score samples that somebody else's run wrote."""
    if len(names) > 1:
        raise UserError(f"--samples {path} needs the one --bench that its tasks are of")
    bench = evaluate.load(names[0], options.data)
    found, others = samples.from_file(path, bench)
    if others:
        say(f"{others} rows of {path} are for tasks that {bench.name} ({bench.version}) does not have: left out")
    return evaluate.score_samples(found, bench, options, path.name)


def write_per_task(made: list[Report], path: Path) -> None:
    """One JSON line a task, with the outcome of each of its samples."""
    with path.open("w", encoding="utf-8") as file:
        for one in made:
            for row in one.rows:
                file.write(json.dumps({"bench": one.record["bench"]} | row) + "\n")


def deadline(minutes: float | None) -> float | None:
    """`--deadline MINUTES` by `time.monotonic()`."""
    return None if minutes is None else time.monotonic() + 60 * minutes


def split(benches: str) -> list[str]:
    """`--bench a,b` as names, each once."""
    names = list(dict.fromkeys(name.strip() for name in benches.split(",") if name.strip()))
    if not names:
        raise UserError("--bench names no benchmark; `plum eval --list` shows them")
    return names
