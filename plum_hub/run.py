"""The loop: from a recipe to a published dataset, checkpoints and scores.

    plum run recipes/quickstart.yaml

    [nano] -> [seed policy] -> tests -> sample -> judge -> prefer -> publish -> train -> evaluate -> publish

Everything made lies under `runs/<name>/`, in files whose names say what they hold (`stages.map_shard`). A run that was
killed and is started again finds its finished shards, checkpoints and scores, and goes on with the next one.
One process works on a run at a time. With `rounds` the loop goes round: see `plum_hub.online`.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import IO, Any

from plum_hub import online, stages
from plum_hub.errors import UserError
from plum_hub.evaluate.statistics import Score, paired_difference
from plum_hub.hub.publish import Published, check_target, tag_again
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
    shares: dict[str, dict[str, list[float]]] = field(default_factory=dict)  # checkpoint -> `Score.key` -> per task
    records: dict[str, dict[str, Any]] = field(default_factory=dict)  # checkpoint -> `Score.key` -> how it was measured
    number: int = 0  # of the online round; 0: the only one
    history: list[dict[str, Any]] = field(default_factory=list)  # a row each round, for the cards

    @property
    def recipe_file(self) -> Path:
        """Where the recipe lies that this run, or this round of it, follows."""
        return self.folder / (f"recipe-round{self.number}.yaml" if self.number else "recipe.yaml")

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
    folder = runs / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        _take(lock, folder)
        whole = Run(recipe, folder, lock)
        made = online.round_recipes(recipe)
        rounds = [replace(whole, recipe=r, number=n if len(made) > 1 else 0, counts={}) for n, r in enumerate(made, 1)]
        for state in rounds:
            _check_tags(state)
        (folder / "recipe.yaml").write_text(dump(recipe))
        if len(made) == 1:
            results = [_run_once(rounds[0])]
        else:
            final = replace(whole, recipe=recipe.model_copy(update={"seed_policy": None}))  # that is round 1's
            _check_tags(final)
            results = _run_rounds(final, rounds)

    differences = {}
    for checkpoint in (f"{made['repo']}@{made['tag']}" for result in results for made in result["checkpoints"]):
        if checkpoint != recipe.policy:
            found = _differences(whole, checkpoint)
            differences[checkpoint] = {m: {"value": value, "ci95": list(ci)} for m, (value, ci) in found.items()}
    last = results[online.best(whole.history, recipe.online.stop_on) - 1] if whole.history else results[-1]
    return {
        "dataset": last["dataset"],
        "checkpoints": [made for result in results for made in result["checkpoints"]],
        "scores": [score.as_json() for score in whole.scores],
        "differences": differences,
        **({"pair_quality": last["pair_quality"]} if last["pair_quality"] else {}),
        **({"rounds": whole.history} if whole.history else {}),
        "counts": last["counts"],
        "seconds": whole.seconds,
    }


def _run_rounds(whole: Run, rounds: list[Run]) -> list[dict[str, Any]]:
    """The rounds one after the other, until the figure that counts rises no more; the recipe's tag goes to the best."""
    stop_on, results = whole.recipe.online.stop_on, []
    for state in rounds:
        say(f"round {state.number} of at most {len(rounds)}: samples from {state.recipe.policy}")
        results.append(_run_once(state))
        if not online.rises(whole.history, stop_on):
            say(f"round {state.number} did not raise {stop_on}: the rounds end here")
            break
    chosen = online.best(whole.history, stop_on)
    result = results[chosen - 1]
    published: list[tuple[str, RepoType, dict[str, str]]] = [("dataset", "dataset", result["dataset"])]
    published += [(made["method"], "model", made) for made in result["checkpoints"] if made["method"] != "seed_policy"]
    for what, repo_type, made in published:
        _intend(whole, what)
        tag_again(made["repo"], made["commit"], whole.recipe.tag, repo_type)
    say(f"{whole.recipe.tag} is round {chosen}")
    return results


def _run_once(state: Run) -> dict[str, Any]:
    """One pass through the loop."""
    from plum_hub.data import make_dataset
    from plum_hub.hub.cards import publish_dataset

    recipe = state.recipe
    if state.number:
        state.recipe_file.write_text(dump(recipe))
    if recipe.nano:
        with state.timed("nano"):
            _publish_nano(recipe)
    _check_engines(recipe)
    checkpoints = []
    if recipe.seed_policy:
        checkpoints.append(_make_checkpoint(state, "seed_policy"))
    elif recipe.policy and recipe.methods and recipe.policy not in state.shares:
        from plum_hub.names import resolve

        _evaluate(state, recipe.policy, recipe.policy, resolve(recipe.policy, "model")[1])

    dataset: Published | None = None
    pair_quality: dict[str, Any] = {}
    if recipe.instructions:
        views, facts = make_dataset(state)
        pair_quality = facts["pair_quality"]
        if state.number:
            state.history.append(_row(state))
        with state.timed("publish"):
            _intend(state, "dataset")
            dataset = publish_dataset(recipe, views, facts, state.history)
        say(str(dataset))
    checkpoints += [_make_checkpoint(state, method) for method in recipe.methods]
    return {
        "dataset": dataset.as_json() if dataset else None,
        "checkpoints": checkpoints,
        "pair_quality": pair_quality,
        "counts": state.counts,
    }


def _check_engines(recipe: Recipe) -> None:
    """Find out before anything is written, and perhaps paid for, that a later stage's engine cannot be had."""
    from plum_hub.generate import names

    wanted = []
    if recipe.tests and not recipe.tests.import_:
        wanted.append(recipe.generator)
    if recipe.tests:
        wanted += recipe.tests.top_up
    if recipe.sample and not recipe.sample.import_ and not recipe.sample.from_tests:
        wanted.append(recipe.sampler)
    for engine in wanted:
        name = names.parse(engine)
        names.check(name)
        if not (recipe.seed_policy and name.where == recipe.policy):  # that one is made first
            names.pin(engine)


def _row(state: Run) -> dict[str, Any]:
    """What the cards say of a round, before it is trained."""
    counts = state.counts["prefer"]
    return {
        "round": state.number,
        "tag": state.recipe.tag,
        "policy": state.recipe.policy,
        **{key: counts[key] for key in ("instructions", "chosen", "rejected", "pairs")},
        "before": {s.key: s.value for s in state.scores if s.checkpoint == state.recipe.policy},
        "scores": {},
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
    return state.folder / "checkpoints" / (f"{name}-round{state.number}" if state.number else name)


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
        say(str(published))


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
    if state.number and name != "seed_policy":
        state.history[-1]["scores"] = {score.key: score.value for score in scores}
    with state.timed("publish"):
        _intend(state, name)
        measured = state.records.get(target)
        published = publish_checkpoint(
            recipe, name, folder, record, scores, before, differences, state.history, measured
        )
    say(str(published))
    return {"method": name, **published.as_json()}


def _train(state: Run, name: str) -> dict[str, Any]:
    """Train one entry in a process of its own, as `accelerate launch` would start it; return its record.

    With one device, or none, that process is started directly, which spares the launcher's own seconds. The lock goes
    along: should this process be killed, nobody can start on the same run until the training has ended as well.
    """
    from plum_hub.train import finished, plan

    output = _checkpoint(state, name)
    _, _, planned = plan(state.recipe, name, state.folder / "instructions")
    if done := finished(output, planned):
        return done
    import torch

    command = [sys.executable, "-m", "plum_hub.train"]
    if torch.cuda.device_count() > 1:
        command = [sys.executable, "-m", "accelerate.commands.launch", "-m", "plum_hub.train"]
    output.parent.mkdir(parents=True, exist_ok=True)
    command += [str(state.recipe_file), "--entry", name, "--runs", str(state.folder.parent), "--no-push"]
    command += ["--output", str(output)]
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
    from plum_hub.evaluate import report
    from plum_hub.evaluate.tasks import Options, Settings
    from plum_hub.stages import extract

    wanted, seed = state.recipe.evaluate, state.recipe.seed
    settings = [Settings(seed=seed), *([Settings(wanted.n, 1.0, seed=seed)] if wanted.n else [])]
    version = stages.code_version(plum_hub.evaluate, plum_hub.generate, plum_hub.sandbox, plum_hub.nano, extract)
    made: list[Score] = []
    # A seed policy may well write no programs yet.
    options = Options(state.folder / "scores" / "eval", max_unusable=1.0)
    engine = None
    with ExitStack() as opened:
        for bench, setting in product(wanted.benches, settings):
            key = stages.fingerprint(bench, checkpoint, digest, asdict(setting), version)
            kept = state.folder / "scores" / f"{bench}-{key}.json"
            with state.timed("evaluate"):
                if not kept.exists():
                    if engine is None:
                        engine = plum_hub.generate.load(str(model))
                        opened.callback(engine.close)
                    loaded = plum_hub.evaluate.load(bench)
                    report.save(plum_hub.evaluate.score_model(engine, loaded, setting, options, checkpoint), kept)
                found = report.read(kept)
            state.shares.setdefault(checkpoint, {}).update(
                {name: list(shares.values()) for name, shares in found.shares.items()}
            )
            state.records.setdefault(checkpoint, {}).update((score.key, found.record) for score in found.scores)
            made += found.scores
    for score in made:
        low, high = score.ci95
        say(f"{checkpoint}: {score.bench} {score.metric} {score.value:.1f} % ({low:.1f} to {high:.1f})")
    state.scores += made
    return made


def _differences(state: Run, checkpoint: str) -> dict[str, tuple[float, tuple[float, float]]]:
    """Paired differences of a checkpoint to the policy it started from, by `Score.key`."""
    before = state.shares.get(state.recipe.policy or "", {})
    after = state.shares.get(checkpoint, {})
    return {metric: paired_difference(before[metric], after[metric]) for metric in after if metric in before}


def summary(result: dict[str, Any]) -> None:
    """Print what a run came to, for a person."""
    from rich.table import Table

    if result["scores"]:
        table = Table("checkpoint", "benchmark, metric", "% (95 % interval)", "against the policy, paired")
        for score in result["scores"]:
            difference = result["differences"].get(score["checkpoint"], {}).get(f"{score['bench']} {score['metric']}")
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
    for row in result.get("rounds", ()):
        figures = ", ".join(f"{key} {row['before'].get(key)} -> {value}" for key, value in row["scores"].items())
        rows = f"{row['chosen']} chosen, {row['rejected']} rejected of {row['instructions']} instructions"
        say(f"round {row['round']}: {rows}; {figures}")
    for stage, counts in result["counts"].items():
        dropped = ", ".join(f"{reason} {n}" for reason, n in counts["dropped"].items()) or "none"
        say(f"{stage}: {counts['in']} in, {counts['out']} out; dropped: {dropped}")
    say("seconds: " + ", ".join(f"{stage} {seconds:.0f}" for stage, seconds in result["seconds"].items()))
    if result["dataset"]:
        say(f"dataset:    {result['dataset']['repo']}@{result['dataset']['tag']}")
    for checkpoint in result["checkpoints"]:
        say(f"checkpoint: {checkpoint['repo']}@{checkpoint['tag']}")
