"""The loop: from a recipe to a published dataset, checkpoints and scores.

    plum run recipes/quickstart.yaml

    [nano] -> [seed policy] -> tests -> sample -> judge -> prefer -> publish -> train -> evaluate -> publish

Everything made lies under `runs/<name>/`, in files whose names say what they hold (`stages.map_shard`). A run that was
killed and is started again finds its finished shards, checkpoints and scores, and goes on with the next one.
One process works on a run at a time. Not covered yet: online rounds.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from plum_hub import stages
from plum_hub.errors import UserError
from plum_hub.evaluate.statistics import Score, paired_difference
from plum_hub.hub.publish import Published, check_target
from plum_hub.names import RepoType, split_revision
from plum_hub.progress import console, say
from plum_hub.recipe import Recipe, dump


@dataclass
class Run:
    """One run at work: its recipe, its folder, and what it has found out so far."""

    recipe: Recipe
    folder: Path
    lock: IO[str]
    seconds: dict[str, float] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    scores: list[Score] = field(default_factory=list)
    shares: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # checkpoint -> metric -> per task

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the wall-clock seconds of a block to those of `stage`."""
        start = time.monotonic()
        yield
        self.seconds[stage] = round(self.seconds.get(stage, 0) + time.monotonic() - start, 1)


def run(recipe: Recipe, runs: Path) -> dict[str, Any]:
    """Run a whole recipe; return the object that `plum run --json` prints.

    Raises:
        UserError: the user's mistake; nothing is half-published, and a later run goes on from here.
    """
    from plum_hub.data import make_dataset
    from plum_hub.hub.cards import publish_dataset

    folder = runs / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        _take(lock, folder)
        state = Run(recipe, folder, lock)
        _check_tags(state)
        (folder / "recipe.yaml").write_text(dump(recipe))
        if recipe.nano:
            with state.timed("nano"):
                _publish_nano(recipe)
        checkpoints = []
        if recipe.seed_policy:
            checkpoints.append(_make_checkpoint(state, "seed_policy"))
        elif recipe.policy and recipe.methods:
            from plum_hub.names import resolve

            _evaluate(state, recipe.policy, recipe.policy, resolve(recipe.policy, "model")[1])

        dataset: Published | None = None
        pair_quality: dict[str, Any] = {}
        if recipe.instructions:
            views, facts = make_dataset(state)
            pair_quality = facts["pair_quality"]
            with state.timed("publish"):
                _intend(state, "dataset")
                dataset = publish_dataset(recipe, views, facts)
            say(f"published {dataset.repo}@{dataset.tag} ({dataset.commit[:8]})")

        checkpoints += [_make_checkpoint(state, method) for method in recipe.methods]

    differences = {}
    for method in recipe.methods:
        checkpoint = f"{recipe.model_repo(method)}@{recipe.tag}"
        found = _differences(state, checkpoint)
        differences[checkpoint] = {m: {"value": value, "ci95": list(ci)} for m, (value, ci) in found.items()}
    return {
        "dataset": asdict(dataset) if dataset else None,
        "checkpoints": checkpoints,
        "scores": [score.as_json() for score in state.scores],
        "differences": differences,
        **({"pair_quality": pair_quality} if pair_quality else {}),
        "counts": state.counts,
        "seconds": state.seconds,
    }


def _take(lock: IO[str], folder: Path) -> None:
    """Lock the run's folder; a training that dies with its killed parent may hold it for a moment longer."""
    for _ in range(50):
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(0.1)
    raise UserError(f"another process is working on {folder}; wait for it, or end it")


def _checkpoint(state: Run, name: str) -> Path:
    return state.folder / "checkpoints" / name


def _check_tags(state: Run) -> None:
    """Find out before hours of work that a tag is taken: by anybody else than an earlier go at this very run."""
    recipe = state.recipe
    targets: list[tuple[str, str, str, RepoType]] = []
    if recipe.seed_policy and recipe.policy:
        repo, tag = split_revision(recipe.policy)
        targets.append(("seed_policy", repo, tag or recipe.tag, "model"))
    if recipe.instructions:
        targets.append(("dataset", recipe.dataset_repo, recipe.tag, "dataset"))
    targets += [(method, recipe.model_repo(method), recipe.tag, "model") for method in recipe.methods]
    for what, repo, tag, repo_type in targets:
        free = check_target(repo, tag, repo_type)
        if not free and _noted(state, what) != dump(recipe.only(what)):
            raise UserError(
                f"{repo_type} {repo} has a tag {tag} already, and a tag never moves: "
                "publish under another one with --set tag=..., or under another --set name=..."
            )


def _note(state: Run, what: str) -> Path:
    return state.folder / "published" / f"{what}-{state.recipe.tag}.yaml"


def _noted(state: Run, what: str) -> str | None:
    note = _note(state, what)
    return note.read_text() if note.exists() else None


def _intend(state: Run, what: str) -> None:
    """Note, before it is done, that this run publishes `what`, and from which part of the recipe: see `_check_tags`."""
    note = _note(state, what)
    note.parent.mkdir(exist_ok=True)
    part = note.with_suffix(".part")
    part.write_text(dump(state.recipe.only(what)))
    os.replace(part, note)


def _publish_nano(recipe: Recipe) -> None:
    from plum_hub.nano.artefacts import publish_nano

    assert recipe.nano
    for published in publish_nano(recipe.nano.tasks, recipe.nano.init, recipe.seed, recipe.private):
        say(f"published {published.repo}@{published.tag} ({published.commit[:8]})")


def _make_checkpoint(state: Run, name: str) -> dict[str, str]:
    """Train, score and publish `seed_policy` or an entry of `train`; return what `plum run --json` says of it."""
    from plum_hub.hub.cards import publish_checkpoint

    recipe = state.recipe
    target = (recipe.policy or "") if name == "seed_policy" else f"{recipe.model_repo(name)}@{recipe.tag}"
    record = _train(state, name)
    folder = _checkpoint(state, name)
    scores = _evaluate(state, folder, target, record["fingerprint"])
    before = [score for score in state.scores if score.checkpoint == recipe.policy != target]
    differences = _differences(state, target) if before else {}
    with state.timed("publish"):
        _intend(state, name)
        published = publish_checkpoint(recipe, name, folder, record, scores, before, differences)
    say(f"published {published.repo}@{published.tag} ({published.commit[:8]})")
    return {"method": name, **asdict(published)}


def _train(state: Run, name: str) -> dict[str, Any]:
    """Train one entry in a process of its own, as `accelerate launch` would start it; return its record.

    With one device, or none, that process is started directly, which spares the launcher's own seconds. The lock goes
    along: should this process be killed, nobody can start on the same run until the training has ended as well.
    """
    from plum_hub.train import finished, plan

    output = _checkpoint(state, name)
    _, _, planned = plan(state.recipe, name)
    if done := finished(output, planned):
        return done
    import torch

    command = [sys.executable, "-m", "plum_hub.train"]
    if torch.cuda.device_count() > 1:
        command = [sys.executable, "-m", "accelerate.commands.launch", "-m", "plum_hub.train"]
    output.parent.mkdir(parents=True, exist_ok=True)
    command += [str(state.folder / "recipe.yaml"), "--entry", name, "--runs", str(state.folder.parent), "--no-push"]
    with state.timed(f"train_{name}"):
        code = subprocess.run(
            command,
            stdout=sys.stderr,
            stdin=subprocess.DEVNULL,
            pass_fds=(state.lock.fileno(),),
            env={**os.environ, "PLUM_RUN": str(os.getpid())},
            check=False,
        ).returncode
    record = finished(output, planned)
    if code or not record:
        raise UserError(f"training `{name}` ended with exit code {code}; what it said stands above")
    say(f"trained {name}: {record['method']}, {record['steps']} steps, {record['data']['rows']} rows")
    return record


def _evaluate(state: Run, model: Path | str, checkpoint: str, digest: str) -> list[Score]:
    """Score a checkpoint on the recipe's benchmarks, or read the scores an earlier run measured."""
    import plum_hub.evaluate
    import plum_hub.generate
    import plum_hub.nano
    import plum_hub.sandbox
    from plum_hub.stages import extract

    settings = state.recipe.evaluate
    made: list[Score] = []
    for bench in settings.benches:
        version = stages.code_version(plum_hub.evaluate, plum_hub.generate, plum_hub.sandbox, plum_hub.nano, extract)
        key = stages.fingerprint(
            bench, checkpoint, digest, settings.model_dump(mode="json"), state.recipe.seed, version
        )
        kept = state.folder / "scores" / f"{bench}-{key}.json"
        with state.timed("evaluate"):
            if not kept.exists():
                scores, shares = plum_hub.evaluate.evaluate(
                    str(model), bench, settings.n, state.recipe.seed, checkpoint
                )
                kept.parent.mkdir(exist_ok=True)
                part = kept.with_suffix(".part")
                part.write_text(json.dumps({"scores": [s.as_json() for s in scores], "shares": shares}))
                os.replace(part, kept)
            stored = json.loads(kept.read_text())
        scores = [Score(**{**s, "ci95": tuple(s["ci95"])}) for s in stored["scores"]]
        state.shares[checkpoint] = stored["shares"]
        state.scores += scores
        made += scores
        for score in scores:
            low, high = score.ci95
            say(f"{checkpoint}: {score.bench} {score.metric} {score.value:.1f} % ({low:.1f} to {high:.1f})")
    return made


def _differences(state: Run, checkpoint: str) -> dict[str, tuple[float, tuple[float, float]]]:
    """Paired differences of a checkpoint to the policy it started from, by metric."""
    before = state.shares.get(state.recipe.policy or "", {})
    after = state.shares.get(checkpoint, {})
    return {metric: paired_difference(before[metric], after[metric]) for metric in after if metric in before}


def summary(result: dict[str, Any]) -> None:
    """Print what a run came to, for a person."""
    from rich.table import Table

    if result["scores"]:
        table = Table("checkpoint", "benchmark, metric", "% (95 % interval)", "against the policy, paired")
        for score in result["scores"]:
            difference = result["differences"].get(score["checkpoint"], {}).get(score["metric"])
            table.add_row(
                score["checkpoint"],
                f"{score['bench']} {score['metric']}",
                "{:.1f} ({:.1f} to {:.1f})".format(score["value"], *score["ci95"]),
                "{:+.1f} ({:+.1f} to {:+.1f})".format(difference["value"], *difference["ci95"]) if difference else "",
            )
        console.print(table)
    if result.get("pair_quality"):
        table = Table("rule", "chosen that are right", "rejected that are wrong", "pairs in the right order", "pairs")
        for rule, q in result["pair_quality"].items():
            shares = [q[name] for name in ("chosen_right", "rejected_right", "ordered")]
            table.add_row(rule, *("none" if share is None else f"{share} %" for share in shares), str(q["pairs"]))
        console.print(table)
    for stage, counts in result["counts"].items():
        dropped = ", ".join(f"{reason} {n}" for reason, n in counts["dropped"].items()) or "none"
        say(f"{stage}: {counts['in']} in, {counts['out']} out; dropped: {dropped}")
    say("seconds: " + ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in result["seconds"].items()))
    if result["dataset"]:
        say(f"dataset:    {result['dataset']['repo']}@{result['dataset']['tag']}")
    for checkpoint in result["checkpoints"]:
        say(f"checkpoint: {checkpoint['repo']}@{checkpoint['tag']}")
