"""The data half of a run: instructions -> tests -> samples -> judgements -> kto, dpo, sft, shard by shard.

A shard is `shard_size` instructions; shard k of every stage holds the same instructions. Each shard's file is named by
a fingerprint of everything that shaped it, down to the source of the code, so what is there is right or not there.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import plum_hub.generate
import plum_hub.sandbox
from plum_hub import outcomes, stages
from plum_hub.errors import UserError
from plum_hub.evaluate import labels as labels_check
from plum_hub.instructions import load_instructions, load_texts
from plum_hub.progress import bar
from plum_hub.sandbox import Limits, Sandbox
from plum_hub.stages import counts, extract, judge, prefer, sample, tests

if TYPE_CHECKING:
    from datasets import Dataset

    from plum_hub.generate import Engine
    from plum_hub.recipe import Sample
    from plum_hub.run import Run


def make_dataset(state: Run) -> tuple[dict[str, Dataset], dict[str, Any]]:
    """Run the four stages.

    Returns:
        The six configs, and the facts for the card.
    """
    from datasets import concatenate_datasets

    recipe = state.recipe
    assert recipe.instructions
    assert recipe.tests
    assert recipe.sample
    _sweep(state.folder)
    instructions = load_instructions(recipe)
    size = recipe.shard_size
    shards = [
        instructions.select(range(i, min(i + size, len(instructions)))) for i in range(0, len(instructions), size)
    ]
    limits = Limits(recipe.judge.seconds, recipe.judge.total_seconds, recipe.judge.memory_mb, recipe.judge.output_bytes)
    with Sandbox(limits, recipe.judge.workers) as sandbox:
        with state.timed("tests"):
            made_tests, test_keys, generator = _tests(state, instructions, shards, sandbox)
        state.counts["tests"] = counts.count_tests(made_tests, recipe.tests.consistency)
        with state.timed("sample"):
            made_samples, sample_keys, policy = _samples(state, instructions, shards)
        state.counts["sample"] = counts.count_samples(made_samples, len(instructions))
        with state.timed("judge"):
            judged, judge_keys = _judgements(state, made_samples, sample_keys, made_tests, test_keys, sandbox)
        all_samples, judgements = concatenate_datasets(made_samples), concatenate_datasets(judged)
        state.counts["judge"] = counts.count_judgements(judgements)
        labels = state.counts["judge"]
        if not labels["chosen"] or not labels["rejected"]:
            dropped = ", ".join(f"{reason} {n}" for reason, n in labels["dropped"].items()) or "none"
            raise UserError(
                f"no preferences: of {labels['in']} samples {labels['chosen']} passed their tests and "
                f"{labels['rejected']} failed (dropped: {dropped}); more instructions, more samples or a "
                "stronger policy would help"
            )
        caps = (recipe.prefer.max_chosen, recipe.prefer.max_rejected, recipe.prefer.max_pairs)
        batches = [t.args.get("per_device_train_batch_size", 8) for t in recipe.train.values() if t.method == "kto"]
        settings = (*caps, recipe.seed, max(batches, default=8))
        key = stages.fingerprint("prefer", stages.code_version(prefer), settings, judge_keys)
        with state.timed("prefer"):
            views, chosen = prefer.prefer(all_samples, judgements, *settings, fingerprint=key)
        if not chosen["chosen"] or not chosen["rejected"]:
            raise UserError("no preferences: where a sample passes its tests, none fails: nothing to prefer")
        labelled = state.counts["judge"]["out"]
        state.counts["prefer"] = {"in": labelled, "out": len(views["kto"]), **chosen}
        pair_quality = {}
        if recipe.truth:
            with state.timed("truth"):
                truth = labels_check.load_truth(recipe, recipe.truth)
                checking = stages.code_version(labels_check, plum_hub.sandbox)
                path = state.folder / "truth" / f"{stages.fingerprint('truth', checking, key, truth)}.json"
                if not path.exists():
                    found = labels_check.pair_quality(recipe, truth, all_samples, judgements, views, sandbox)
                    path.parent.mkdir(exist_ok=True)
                    path.with_suffix(".part").write_text(json.dumps(found))
                    os.replace(path.with_suffix(".part"), path)
                pair_quality = json.loads(path.read_text())
    views = {"tests": concatenate_datasets(made_tests), "samples": all_samples, "judgements": judgements, **views}
    facts = {
        "counts": state.counts,
        "histogram": counts.pass_ratio_histogram(judgements),
        "examples": counts.examples(instructions, all_samples, judgements),
        "generator": generator,
        "policy": policy,
        "instructions_from": _name(recipe.instructions),
        "sampling": _sampling(recipe.sample),
        "consistency": {
            "reference": "those of responses whose own solution passes them",
            "consensus": "those that the samples' best consensus set passes (CodeT, arXiv 2207.10397)",
        }[recipe.tests.consistency],
        "pair_quality": pair_quality,
    }
    return views, facts


def _sampling(source: Sample) -> str:
    """The sampling parameters in words, for the card."""
    words = [f"K = {source.n}", f"temperature {source.temperature}", f"top_p {source.top_p}"]
    words += [f"top_k {source.top_k or 'off'}", f"at most {source.max_new_tokens} new tokens"]
    return ("imported; " if source.import_ else "") + ", ".join(words)


def _sweep(folder: Path) -> None:
    """Remove the temporary files of shards that a killed run left unfinished."""
    for stage in ("tests", "samples", "judgements"):
        for part in (folder / stage).glob("tmp*"):
            part.unlink()


def _tests(
    state: Run, instructions: Dataset, shards: list[Dataset], sandbox: Sandbox
) -> tuple[list[Dataset], list[str], str]:
    source = state.recipe.tests
    assert source
    engine: Engine | None = None
    texts: dict[str, list[str]] = {}
    if source.import_:
        texts = load_texts(state.recipe, source.import_, instructions, source.responses)
        generator, revision = source.import_.generator, source.import_.dataset or source.import_.file or ""
    else:
        assert source.generator
        generator, revision = _resolve_engine(source.generator)
    code = stages.code_version(stages, outcomes, tests, extract, plum_hub.sandbox)
    seed = _seed(state.recipe.seed, "tests", 0)
    writing = (
        (stages.code_version(plum_hub.generate), _versions("torch", "transformers"), seed) if source.generator else ()
    )
    made, keys = [], []
    with bar("tests", len(shards)) as advance:
        for k, shard in enumerate(shards):
            own = [texts.get(i, []) for i in shard["id"]]
            parent = stages.rows_fingerprint(shard)
            settings = source.model_dump(mode="json", exclude={"import_"})
            limits = state.recipe.judge.model_dump(mode="json", exclude={"workers"})
            key = stages.fingerprint("tests", code, writing, settings, limits, own, generator, revision, parent)
            path = state.folder / "tests" / f"{k:05d}-{key}.arrow"
            if source.generator and not stages.finished(path):
                engine = engine or plum_hub.generate.load(f"{generator}@{revision}" if revision else generator)
                asked = [
                    [{"role": "user", "content": tests.PROMPT.replace("{instruction}", text)}]
                    for text in shard["instruction"]
                ]
                sampling = plum_hub.generate.Sampling(
                    source.responses, source.temperature, max_new_tokens=source.max_new_tokens
                )
                answers = engine.generate(asked, sampling, _seed(state.recipe.seed, "tests", k))
                own = [[answer.text for answer in group] for group in answers]
            kwargs = {
                "responses": own,
                "generator": generator,
                "generator_revision": revision,
                "format": source.format,
                "max_tests": source.max_tests,
                "sandbox": sandbox,
            }
            made.append(stages.map_shard(shard, tests.make_tests, tests.FEATURES, path, kwargs))
            keys.append(key)
            advance(1)
    return made, keys, f"{generator} ({revision})" if revision else generator


def _samples(state: Run, instructions: Dataset, shards: list[Dataset]) -> tuple[list[Dataset], list[str], str]:
    recipe = state.recipe
    source, where = recipe.sample, recipe.instructions
    assert source
    assert where
    engine: Engine | None = None
    texts: dict[str, list[str]] = {}
    if source.import_:
        texts = load_texts(recipe, source.import_, instructions, source.n)
        policy, revision = source.import_.generator, source.import_.dataset or source.import_.file or ""
    else:
        assert recipe.policy
        policy, revision = _resolve_engine(recipe.policy)
    code = stages.code_version(stages, sample, extract, plum_hub.generate)
    versions = _versions("torch", "transformers")
    made, keys = [], []
    with bar("sample", len(instructions) * source.n) as advance:
        for k, shard in enumerate(shards):
            parent = stages.rows_fingerprint(shard)
            own = [texts.get(i, []) for i in shard["id"]]
            seed = _seed(recipe.seed, "sample", k)
            settings = source.model_dump(mode="json", exclude={"import_"})
            asking = (where.prompt, where.system)
            key = stages.fingerprint("sample", code, versions, settings, asking, own, policy, revision, seed, parent)
            path = state.folder / "samples" / f"{k:05d}-{key}.arrow"
            completions: list[list[dict[str, Any]]] = [
                [{"text": text, "tokens": -1, "finish_reason": "imported"} for text in group] for group in own
            ]
            if not source.import_ and not stages.finished(path):
                engine = engine or plum_hub.generate.load(f"{policy}@{revision}" if revision else policy)
                asked = [sample.to_messages(row, *asking) for row in shard]
                sampling = plum_hub.generate.Sampling(
                    source.n, source.temperature, source.top_p, source.top_k, source.max_new_tokens, source.batch_size
                )
                groups = engine.generate(asked, sampling, seed, advance)
                completions = [[vars(completion) for completion in group] for group in groups]
            else:
                advance(len(shard) * source.n)
            record = {
                "policy": policy,
                "policy_revision": revision,
                "temperature": source.temperature,
                "top_p": source.top_p,
                "top_k": source.top_k,
                "max_new_tokens": source.max_new_tokens,
                "seed": seed,
            }
            kwargs = {
                "completions": completions,
                "prompt": where.prompt,
                "system": where.system,
                "continuation": source.continuation,
                "stop": source.stop,
                "record": record,
            }
            made.append(stages.map_shard(shard, sample.make_samples, sample.FEATURES, path, kwargs))
            keys.append(key)
    return made, keys, f"`{policy}` ({revision})"


def _judgements(
    state: Run,
    samples: list[Dataset],
    sample_keys: list[str],
    made_tests: list[Dataset],
    test_keys: list[str],
    sandbox: Sandbox,
) -> tuple[list[Dataset], list[str]]:
    source, checks = state.recipe.tests, state.recipe.judge
    assert source
    code = (stages.code_version(stages, outcomes, judge, plum_hub.sandbox), _versions("mypy"), sys.version_info[:3])
    settings = checks.model_dump(mode="json", exclude={"workers"})
    made, keys = [], []
    with bar("judge", sum(len(shard) for shard in samples)) as advance:
        for k, shard in enumerate(samples):
            key = stages.fingerprint("judge", code, settings, source.consistency, sample_keys[k], test_keys[k])
            path = state.folder / "judgements" / f"{k:05d}-{key}.arrow"
            rows = list(made_tests[k])
            kwargs = {
                "tests": tests.kept_tests(rows),
                "references": tests.references(rows),
                "consistency": source.consistency,
                "static_check": checks.static_check,
                "sandbox": sandbox,
            }
            columns = shard.select_columns(["instruction_id", "sample_id", "code"])
            made.append(stages.map_shard(columns, judge.judge, judge.FEATURES, path, kwargs))
            keys.append(key)
            advance(len(shard))
    return made, keys


def _resolve_engine(name: str) -> tuple[str, str]:
    """What an engine string names, as repository and commit, without loading the model."""
    from plum_hub.names import resolve

    model = name.partition(":")[2] or name
    if Path(model).is_dir():
        raise UserError(f"{name} is a folder: publish the checkpoint first, so that a run can name its commit")
    return resolve(model, "model")


def _versions(*packages: str) -> list[str]:
    return [importlib.metadata.version(package) for package in packages]


def _seed(seed: int, stage: str, shard: int) -> int:
    """A shard's own seed, so that its texts do not depend on which shards were made before it."""
    return int(stages.fingerprint(seed, stage, shard), 16) % 2**31


def _name(source: Any) -> str:
    name = f"`{source.dataset or source.file}`"
    return f"{name}, config `{source.config}`" if source.config else name
