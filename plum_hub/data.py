"""The data half of a run, shard by shard: instructions -> tests -> samples -> judgements -> what trainers read.

A shard is `shard_size` instructions; shard k of every stage holds the same instructions. Each shard's file is named by
a fingerprint of everything that shaped it, down to the source of the code, so what is there is right or not there.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import plum_hub.sandbox
from plum_hub import shards, stages
from plum_hub.errors import UserError
from plum_hub.evaluate import labels as labels_check
from plum_hub.instructions import prepare
from plum_hub.progress import say
from plum_hub.sandbox import Limits, Sandbox
from plum_hub.stages import counts
from plum_hub.views import make_views

if TYPE_CHECKING:
    from datasets import Dataset

    from plum_hub.recipe import Recipe
    from plum_hub.run import Run


def make_dataset(state: Run) -> tuple[dict[str, Dataset], dict[str, Any]]:
    """Run the four stages.

    Returns:
        The configs, and the facts for the card.
    """
    from datasets import concatenate_datasets

    recipe = state.recipe
    assert recipe.instructions
    assert recipe.tests
    assert recipe.sample
    _sweep(state.folder)
    instructions, dropped, state.counts["instructions"] = prepare(recipe, state.folder / "instructions")
    size = recipe.shard_size
    parts = [instructions.select(range(i, min(i + size, len(instructions)))) for i in range(0, len(instructions), size)]
    limits = Limits(recipe.judge.seconds, recipe.judge.total_seconds, recipe.judge.memory_mb, recipe.judge.output_bytes)
    writers = shards.Writers()
    with Sandbox(limits, recipe.judge.workers) as sandbox:
        made_tests, generator, used = shards.make_tests(state, parts, sandbox, writers)
        state.counts["tests"] = {**counts.count_tests(made_tests.shards, recipe.tests.consistency), "usage": used}
        if not any(any(shard["kept"]) for shard in made_tests.shards):
            why = ", ".join(f"{reason} {n}" for reason, n in state.counts["tests"]["dropped"].items())
            nothing = f"no tests: of {state.counts['tests']['in']} responses none is usable ({why})"
            if recipe.methods:
                raise UserError(f"{nothing}; look at what {generator} wrote, in {state.folder / 'tests'}")
            say(f"warning: {nothing}; nothing can be judged")
        samples, judged, policy = shards.sample_and_judge(state, parts, made_tests, sandbox, writers)
        writers.close()
        state.counts["sample"] = counts.count_samples(samples.shards, len(instructions))
        all_samples, judgements = concatenate_datasets(samples.shards), concatenate_datasets(judged.shards)
        state.counts["judge"] = counts.count_judgements(judgements)
        views, key = make_views(state, instructions, made_tests, all_samples, judgements, judged.keys)
        pair_quality = {}
        if recipe.truth and "kto" in views:
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
    views = {
        "tests": concatenate_datasets(made_tests.shards),
        "samples": all_samples,
        "judgements": judgements,
        **views,
    }
    if len(dropped):
        views["instructions_dropped"] = dropped
    facts = {
        "counts": state.counts,
        "histogram": counts.pass_ratio_histogram(judgements),
        "examples": counts.examples(instructions, all_samples, judgements, made_tests.shards),
        "generator": generator,
        "policy": policy,
        "instructions_from": _name(recipe.instructions),
        "sampling": _sampling(recipe),
        "consistency": {
            "reference": "those of responses whose own solution passes them",
            "consensus": "those that the samples' best consensus set passes (CodeT, arXiv 2207.10397)",
            "none": "all of them, right or wrong",
        }[recipe.tests.consistency],
        "pair_quality": pair_quality,
    }
    return views, facts


def _sampling(recipe: Recipe) -> str:
    """The sampling parameters in words, for the card."""
    source = recipe.sample
    assert source
    if source.from_tests and recipe.tests:
        wrote = recipe.tests
        words = [f"programs and tests in one answer, K = {wrote.responses}", f"temperature {wrote.temperature}"]
        words += [f"at most {wrote.max_new_tokens} new tokens"]
        return ("imported; " if wrote.import_ else "") + ", ".join(words)
    words = [f"K = {source.n}", f"temperature {source.temperature}", f"top_p {source.top_p}"]
    words += [f"top_k {source.top_k or 'off'}", f"at most {source.max_new_tokens} new tokens"]
    return ("imported; " if source.import_ else "") + ", ".join(words)


def _sweep(folder: Path) -> None:
    """Remove the temporary files of shards that a killed run left unfinished."""
    for stage in ("responses", "tests", "samples", "judgements"):
        for part in (folder / stage).glob("tmp*"):
            part.unlink()


def _name(source: Any) -> str:
    name = f"`{source.dataset or source.file}`"
    return f"{name}, config `{source.config}`" if source.config else name
