"""Recipes: every file that ships is valid, and each mistake is one line that says where and what instead."""

import re
from pathlib import Path

import pytest

from plum_hub import recipe
from plum_hub.errors import UserError

ROOT = Path(__file__).parent.parent
RECIPES = sorted(p for p in (ROOT / "recipes").rglob("*.yaml") if p.parent.name != "accelerate" and p.name[0] != "_")

MINIMAL = """\
name: tiny-{seed}
namespace: me
tag: v1
seed: 3
policy: me/model@v1
instructions:
  file: tasks.jsonl
tests:
  generator: hf:me/generator
sample:
  n: 2
train:
  kto:
    method: kto
methods: [kto]
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_shipped_recipes_are_valid_and_survive_a_dump(path: Path, tmp_path: Path) -> None:
    loaded = recipe.load(path)
    recipe.check_trainer_args(loaded, here=False)
    assert recipe.load(write(tmp_path, recipe.dump(loaded))) == loaded


def test_the_recipe_in_the_readme_is_valid(tmp_path: Path) -> None:
    text = (Path(__file__).parent.parent / "README.md").read_text()
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    loaded = recipe.load(write(tmp_path, block))
    recipe.check_trainer_args(loaded)
    assert loaded.methods == ("kto",)


def test_names_are_filled_in_and_overrides_win(tmp_path: Path) -> None:
    loaded = recipe.load(write(tmp_path, MINIMAL), ["seed=7", "sample.temperature=0.5", "train.kto.args.beta=0.3"])
    assert loaded.dataset_repo == "me/tiny-7"
    assert loaded.model_repo("kto") == "me/tiny-7-kto"
    assert loaded.sample
    assert loaded.sample.temperature == 0.5
    assert loaded.train["kto"].args == {"beta": 0.3}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("  n: 2", "  temprature: 1", "recipe.yaml:11: unknown key `sample.temprature`; did you mean `temperature`?"),
        ("namespace: me", "namespce: me", "unknown key `namespce`; did you mean `namespace`?"),
        ("    method: kto", "    metod: kto", "recipe.yaml:14: unknown key `train.kto.metod`; did you mean `method`?"),
        (
            "    method: kto",
            "    method: kto\n    agrs: {}",
            "recipe.yaml:15: unknown key `train.kto.agrs`; did you mean `args`?",
        ),
        ("    method: kto", "    method: ppo", "`train.kto.method`: Input should be 'kto', 'dpo', 'sft' or 'grpo'"),
        ("  n: 2", "  n: many", "`sample.n`"),
        ("methods: [kto]", "methods: [kot]", "did you mean `kto`?"),
        ("policy: me/model@v1", "", "`policy: org/model@tag` is missing"),
        ("    method: kto", "    method: kto\n    args: {per_device_train_batch_size: 1}", ">= 2"),
        ("  file: tasks.jsonl", "  split: train", "either `dataset: org/name@tag` or `file: name`"),
        ("seed: 3", "seed: [", "not valid YAML"),
        ("  file: tasks.jsonl", "  dataset: tasks.jsonl", "for a file write `file: tasks.jsonl`"),
        ("policy: me/model@v1", "policy: model", "`policy: model` is not org/name@tag"),
        ("seed: 3", "seed: &a [*a]", "cannot be read as a recipe"),
        ("tag: v1", "tag: 2024-13-45", "cannot be read as a recipe"),
        ("name: tiny-{seed}", "name: ../../etc", "`name`: letters, digits, `.`, `_` and `-` only (and {seed}, "),
        ("    method: kto", "    method: kto\n    args: {per_device_train_batch_size: '8'}", "a whole number, not '8'"),
        ("seed: 3", "seed_policy: {method: sft, base: a/b}", "`seed_policy` needs its own `base` and `dataset`"),
    ],
)
def test_mistakes_are_one_clear_line(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in MINIMAL
    with pytest.raises(UserError) as error:
        recipe.load(write(tmp_path, MINIMAL.replace(old, new)))
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_an_argument_that_trl_does_not_have_is_named_with_the_nearest(tmp_path: Path) -> None:
    loaded = recipe.load(write(tmp_path, MINIMAL), ["train.kto.args.learning_rat=1e-4"])
    with pytest.raises(UserError, match=r"`learning_rat`; did you mean `learning_rate`\?"):
        recipe.check_trainer_args(loaded)


def test_numbers_are_numbers(tmp_path: Path) -> None:
    loaded = recipe.load(write(tmp_path, MINIMAL), ["train.kto.args={learning_rate: 1e-3, num_train_epochs: 2}"])
    assert loaded.train["kto"].args == {"learning_rate": 0.001, "num_train_epochs": 2}
    assert isinstance(loaded.train["kto"].args["num_train_epochs"], int)
    recipe.check_trainer_args(loaded)
    loaded = recipe.load(write(tmp_path, MINIMAL), ["train.kto.args.learning_rate=fast"])
    with pytest.raises(UserError, match=r"args.learning_rate is a number such as 1e-06, not 'fast'"):
        recipe.check_trainer_args(loaded)


def test_setting_one_of_two_sections_that_share_a_yaml_anchor_leaves_the_other(tmp_path: Path) -> None:
    text = MINIMAL.replace(
        "    method: kto", "    method: kto\n    args: &a {beta: 0.1}\n  dpo: {method: dpo, args: *a}"
    )
    loaded = recipe.load(write(tmp_path, text), ["train.kto.args.beta=0.9"])
    assert (loaded.train["kto"].args["beta"], loaded.train["dpo"].args["beta"]) == (0.9, 0.1)


def test_the_part_that_makes_an_artefact_does_not_change_with_the_rest(tmp_path: Path) -> None:
    one = recipe.load(write(tmp_path, MINIMAL))
    two = recipe.load(write(tmp_path, MINIMAL), ["train.dpo.method=dpo", "methods=[dpo, kto]"])
    assert recipe.dump(one.only("dataset")) == recipe.dump(two.only("dataset"))
    assert recipe.dump(one.only("kto")) == recipe.dump(two.only("kto"))
    assert recipe.load(write(tmp_path, recipe.dump(two.only("dpo")))).methods == ("dpo",)
    three = recipe.load(write(tmp_path, MINIMAL), ["sample.n=3"])
    assert recipe.dump(one.only("dataset")) != recipe.dump(three.only("dataset"))


def test_a_missing_recipe_suggests_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL)
    with pytest.raises(UserError, match=r"recipe.yml does not exist; did you mean `.*recipe.yaml`\?"):
        recipe.load(tmp_path / "recipe.yml")


def test_files_are_found_in_sub_folders_and_gzipped(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "rows.jsonl.gz").touch()
    loaded = recipe.load(write(tmp_path, MINIMAL), [f"data_dir=[{tmp_path}/none, {tmp_path}/deep]"])
    assert loaded.find_file("rows.jsonl") == tmp_path / "deep" / "er" / "rows.jsonl.gz"
    with pytest.raises(UserError, match="--set data_dir=DIR"):
        loaded.find_file("other.jsonl")
