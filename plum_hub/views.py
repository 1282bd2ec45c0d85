"""What trainers read, made of judged samples: the configs kto, dpo, sft, grpo, dstc_dpo and dstc_kto of a run.

Called by `plum_hub.data`; the rows themselves are chosen in `plum_hub.stages.prefer` (PLUM) and `.dstc` (DSTC).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plum_hub import stages
from plum_hub.errors import UserError
from plum_hub.progress import say
from plum_hub.stages import dstc, extract, prefer, sample, tests

if TYPE_CHECKING:
    from datasets import Dataset

    from plum_hub.run import Run
    from plum_hub.shards import Made


def make_views(
    state: Run,
    instructions: Dataset,
    made_tests: Made,
    samples: Dataset,
    judgements: Dataset,
    judge_keys: list[str],
) -> tuple[dict[str, Dataset], str]:
    """The configs, and the fingerprint of what they were chosen from; `state.counts` is told of them.

    Without any preference there are no `kto`, `dpo`, `sft`; the evidence may be worth publishing all the same.

    Raises:
        UserError: a method of the recipe would have nothing to train on.
    """
    recipe = state.recipe
    where, written = recipe.instructions, recipe.tests
    assert where
    assert written
    batches = [t.args.get("per_device_train_batch_size", 8) for t in recipe.train.values() if t.method == "kto"]
    largest = max(batches, default=8)
    key = stages.fingerprint(
        "prefer", stages.code_version(prefer), recipe.prefer.model_dump(), recipe.seed, largest, judge_keys
    )
    with state.timed("prefer"):
        views, chosen = prefer.prefer(samples, judgements, recipe.prefer, recipe.seed, largest, key)
    labels = state.counts["judge"]
    state.counts["prefer"] = {"in": labels["out"], "out": len(views["kto"]), **chosen}
    nothing = _nothing(labels, chosen)
    if nothing:
        views = {}
    prompts = {row["id"]: sample.to_messages(row, where.prompt, where.system) for row in instructions}
    known = {k: v for shard in made_tests.shards for k, v in tests.kept_tests(list(shard)).items()}
    if known and written.consistency != "consensus":  # there, which tests are right depends on the samples
        views["grpo"] = prefer.with_tests(prompts, known)
    if recipe.dstc:
        shaping = (recipe.dstc.model_dump(), prompts, made_tests.keys, stages.code_version(dstc, prefer, extract))
        own = stages.fingerprint("dstc", key, shaping)
        with state.timed("dstc"):
            made, found = dstc.dstc(samples, judgements, known, recipe.dstc, prompts, recipe.seed, largest, own)
        state.counts["dstc"] = {"in": found["instructions"], "out": found["pairs"], **found}
        views |= made
    for method in recipe.methods:
        entry = recipe.train[method]
        config = entry.config or entry.method
        if entry.dataset is None and not len(views.get(config, ())):
            is_dstc = recipe.dstc and config.startswith("dstc")
            why = state.counts["dstc" if is_dstc else "prefer"]["dropped"]
            dropped = ", ".join(f"{reason} {n}" for reason, n in why.items()) or "none"
            words = f"`{method}` has no rows to train on in the config `{config}` (dropped: {dropped})"
            raise UserError(words if is_dstc else nothing or words)
    if nothing and not any(map(len, views.values())):
        say(f"warning: {nothing}; the evidence is published without")
    return views, key


def _nothing(labels: dict[str, Any], chosen: dict[str, Any]) -> str:
    """Why there are no preferences; empty if there are."""
    if not labels["chosen"] or not labels["rejected"]:
        dropped = ", ".join(f"{reason} {n}" for reason, n in labels["dropped"].items()) or "none"
        return (
            f"no preferences: of {labels['in']} samples {labels['chosen']} passed their tests and "
            f"{labels['rejected']} failed (dropped: {dropped}); more instructions, more samples or a "
            "stronger policy would help"
        )
    if not chosen["chosen"] or not chosen["rejected"]:
        return "no preferences: where a sample passes its tests, none fails: nothing to prefer"
    return ""
