"""Online rounds: the recipe of each round, and when to stop.

    plum run recipes/nano/online-fresh.yaml          # rounds: 2

Round r samples from the checkpoint that round r-1 trained, and trains that checkpoint further on its own verdicts. A
round is nothing but a recipe with another policy and another tag (`v1-round2`), so everything that holds for a run
holds for a round: shards that are there are not made again, tags never move, and the round's own recipe is published
beside what it made. Tests are made once: a round's stage 1 finds the files of the first round, since what names them
has not changed.

Which round is best is decided by `online.stop_on`, the greedy figure of a benchmark; the recipe's own tag then goes to
that round's dataset and checkpoint. Choosing by a benchmark is tuning on it: take one that you do not report.

Not covered: several methods side by side (each would need a policy of its own: run one recipe each); mixing rows of
earlier rounds into a later one.
"""

from __future__ import annotations

from typing import Any

from plum_hub.recipe import Online, Recipe


def round_tag(recipe: Recipe, number: int) -> str:
    """The tag of a round's dataset and checkpoint."""
    return f"{recipe.tag}-round{number}"


def round_recipes(recipe: Recipe) -> list[Recipe]:
    """The plain recipe of each round; the recipe itself where there is one round only.

    The first round also makes the seed policy; what a later round starts from is known by name before it exists.
    """
    if recipe.rounds == 1:
        return [recipe]
    assert recipe.policy
    method = recipe.methods[0]
    made = [f"{recipe.model_repo(method)}@{round_tag(recipe, number)}" for number in range(1, recipe.rounds)]
    return [_at(recipe, number, [recipe.policy, *made[: number - 1]]) for number in range(1, recipe.rounds + 1)]


def _at(recipe: Recipe, number: int, policies: list[str]) -> Recipe:
    """Round `number`; `policies[k]` is what round k+1 samples from."""
    assert recipe.instructions
    assert recipe.tests
    assert recipe.sample
    online, method = recipe.online, recipe.methods[0]
    update: dict[str, Any] = {
        "rounds": 1,
        "online": Online(),
        "tag": round_tag(recipe, number),
        "policy": policies[-1],
    }
    if online.instructions == "fresh":
        update["instructions"] = recipe.instructions.model_copy(update={"part": f"{number}/{recipe.rounds}"})
    if number > 1:
        update |= {"nano": None, "seed_policy": None}
        entry: dict[str, Any] = {"base": None}
        if online.reference == "first" and recipe.train[method].method in ("kto", "dpo"):
            entry["reference"] = policies[0]
        update["train"] = {**recipe.train, method: recipe.train[method].model_copy(update=entry)}
    if not recipe.sample.from_tests:  # there, the tests come with the samples, each round anew
        writers = [recipe.model_copy(update={"policy": policy}).sampler for policy in policies]
        tests: dict[str, Any] = {"generator": writers[0]} if recipe.tests.generator == "self" else {}
        if online.tests == "top_up":
            tests["top_up"] = (*recipe.tests.top_up, *writers[1:])
        update["tests"] = recipe.tests.model_copy(update=tests)
    return recipe.model_copy(update=update)


def best(history: list[dict[str, Any]], stop_on: str | None) -> int:
    """The round (from 1) with the highest figure of `stop_on`, the earliest of equals; without it, the last one."""
    if stop_on is None:
        return len(history)
    figures = [row["scores"][f"{stop_on} pass@1"] for row in history]
    return 1 + figures.index(max(figures))


def rises(history: list[dict[str, Any]], stop_on: str | None) -> bool:
    """Whether the last round brought more than what it started from, so that another one may."""
    if stop_on is None:
        return True
    metric = f"{stop_on} pass@1"
    return bool(history[-1]["scores"][metric] > history[-1]["before"][metric])
