"""A recipe: one YAML file that says everything a run needs, as validated data.

    recipe = load(Path("recipes/quickstart.yaml"), overrides=["seed=1"])

`sections` has what a recipe can say, with all defaults; `file` reads and writes it. Nothing here needs a network or a
heavy import; `check_trainer_args` alone imports TRL, because TRL owns those names.

Not covered: whether repositories and files exist (that is found out when the run opens them).
"""

from plum_hub.recipe.file import check_trainer_args, dump, load
from plum_hub.recipe.sections import (
    SHARD_SIZE,
    Dstc,
    Evaluate,
    Import,
    Instructions,
    Judge,
    Nano,
    Online,
    Prefer,
    Recipe,
    Rows,
    Sample,
    Tests,
    Train,
    Truth,
)

__all__ = [
    "SHARD_SIZE",
    "Dstc",
    "Evaluate",
    "Import",
    "Instructions",
    "Judge",
    "Nano",
    "Online",
    "Prefer",
    "Recipe",
    "Rows",
    "Sample",
    "Tests",
    "Train",
    "Truth",
    "check_trainer_args",
    "dump",
    "load",
]
