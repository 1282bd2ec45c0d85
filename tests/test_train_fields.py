"""What an entry of `train` may ask for: methods and losses, columns, instructions, references, LoRA, templates."""

import gc
import json
import os
import re
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from tiny import TASKS, instruction, publish_tiny
from train_parts import entry_recipe, publish_preferences
from transformers import AutoModelForCausalLM, AutoTokenizer

from plum_hub import progress, train, trainers
from plum_hub.errors import UserError
from plum_hub.generate.template import BASE_TEMPLATE
from plum_hub.hub.publish import publish
from plum_hub.names import resolve
from plum_hub.nano import policy
from plum_hub.recipe import Recipe, check_trainer_args


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return publish_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return publish_preferences(tmp_path_factory.mktemp("preferences"))


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A base model in bf16, of other weights, without chat template and pad token."""
    folder = tmp_path_factory.mktemp("raw") / "raw"
    policy.build_initial(folder, seed=7)
    AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    (folder / "chat_template.jinja").unlink()
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    del tokenizer["pad_token"]
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    ModelCard("---\nlicense: apache-2.0\n---\n\n# Raw\n").save(folder / "README.md")
    return f"{publish(folder, f'plum/raw-{folder.parent.name}', 'v1', 'model', False, 'raw').repo}@v1"


def go(recipe: Recipe, folder: Path) -> dict[str, Any]:
    check_trainer_args(recipe)
    record = train.train(recipe, "it", folder / "checkpoints" / "it")
    assert train.finished(folder / "checkpoints" / "it", train.plan(recipe, "it")[2]) == record
    return record


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("kto", {"loss_type": "apo_zero_unpaired"}),
        ("dpo", {"loss_type": "ipo"}),
        ("dpo", {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]}),
        ("sft", {"packing": True}),
        ("sft", {"packing": True, "gradient_checkpointing": True}),
    ],
)
def test_losses_and_packing_run_through(
    tiny: tuple[str, str], data: str, tmp_path: Path, method: str, args: dict[str, Any]
) -> None:
    record = go(entry_recipe(tmp_path, tiny[1], data, {"method": method, "args": args}), tmp_path)
    assert record["steps"] == 2
    assert all(loss == loss for _, loss in record["losses"])


def test_packed_rows_do_not_see_each_other(tiny: tuple[str, str], data: str, tmp_path: Path) -> None:
    losses = {}
    for packing, strategy in ((False, "bfd"), (True, "bfd"), (True, "wrapped")):
        args = {"max_steps": 1, "per_device_train_batch_size": 24, "packing": packing, "packing_strategy": strategy}
        record = go(entry_recipe(tmp_path, tiny[1], data, {"method": "sft", "args": args}), tmp_path / f"{args}")
        losses[packing, strategy] = record["losses"][0][1]
    assert losses[True, "bfd"] == pytest.approx(losses[False, "bfd"], abs=2e-6)
    assert abs(losses[True, "wrapped"] - losses[False, "bfd"]) > 1e-5, "a strategy that cuts rows up shows"


@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_dstc_configs_train_like_their_plum_counterparts(
    tiny: tuple[str, str], data: str, tmp_path: Path, method: str
) -> None:
    plum = go(entry_recipe(tmp_path, tiny[1], data, {"method": method}), tmp_path / "plum")
    dstc = go(entry_recipe(tmp_path, tiny[1], data, {"method": method, "config": f"dstc_{method}"}), tmp_path / "dstc")
    assert dstc["data"]["config"] == f"dstc_{method}"
    assert dstc["losses"] == plum["losses"]
    assert dstc["fingerprint"] != plum["fingerprint"]


def test_plain_columns_under_other_names_train_like_messages(tiny: tuple[str, str], data: str, tmp_path: Path) -> None:
    args = {"args": {"train_sampling_strategy": "sequential"}}
    messages = go(entry_recipe(tmp_path, tiny[1], data, {"method": "dpo", **args}), tmp_path / "messages")
    columns = {"prompt": "problem", "chosen": "solution", "rejected": "worse"}
    entry = {"method": "dpo", "config": "plain", "columns": columns, **args}
    plain = go(entry_recipe(tmp_path, tiny[1], data, entry), tmp_path / "plain")
    assert plain["losses"] == messages["losses"]
    assert plain["data"]["columns"] == columns


def test_labels_may_be_numbers(tiny: tuple[str, str], data: str, tmp_path: Path) -> None:
    columns = {"prompt": "problem", "completion": "solution", "label": "good"}
    entry = {"method": "kto", "config": "plain", "columns": columns}
    rows = train.plan(entry_recipe(tmp_path, tiny[1], data, entry), "it")[1]
    assert sorted(rows["label"][:]) == [False] * 12 + [True] * 12
    assert rows[0]["prompt"][0]["role"] == "user"
    assert rows[0]["completion"][0]["role"] == "assistant"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"method": "sft", "reference": "plum/x@v1"}, "`reference` belongs to kto and dpo; sft does not"),
        ({"method": "grpo", "reference": "plum/x@v1"}, "`reference` belongs to kto and dpo; grpo does not"),
        ({"method": "kto", "reference": "plum/none@v1"}, "model plum/none@v1 does not exist"),
        ({"method": "sft", "lora": {"rank": 4}}, "LoraConfig has no argument `rank`; did you mean `rank_pattern`"),
        ({"method": "sft", "lora": {"r": 4, "lora_alhpa": 4}}, "no argument `lora_alhpa`; did you mean `lora_alpha`"),
        ({"method": "sft", "lora": {"r": 4, "target_modules": ["nothing"]}}, "Target modules .*nothing.* not found"),
        ({"method": "kto", "lora": {"target_modules": ["lm_head"]}}, "adapter to `lm_head` is not supported"),
        ({"method": "sft", "args": {"use_liger_kernel": True}}, "pip install liger-kernel"),
        (
            {"method": "sft", "args": {"report_to": "trackio"}},
            "report_to: trackio needs a package: pip install trackio",
        ),
        ({"method": "sft", "args": {"report_to": ["wand"]}}, "report_to: no `wand`; did you mean `wandb`"),
        ({"method": "sft", "config": "plain"}, "column `prompt` is missing; .* `columns:` maps other names"),
        (
            {"method": "sft", "config": "plain", "columns": {"prompt": "number", "completion": "solution"}},
            "column `number` holds neither texts nor messages",
        ),
        ({"method": "sft", "columns": {"chosen": "solution"}}, "columns.chosen: sft has no such column; it needs prom"),
        (
            {
                "method": "kto",
                "config": "plain",
                "columns": {"prompt": "problem", "completion": "worse", "label": "number"},
            },
            "column `number` is true or false, or 1 or 0",
        ),
        ({"method": "grpo", "args": {"num_generations": 3}}, "(?i)num_generations|divisible"),
        ({"method": "kto", "args": {"train_sampling_strategy": "random"}}, "requires `train_sampling_strategy="),
    ],
)
def test_mistakes_are_one_clear_line(
    tiny: tuple[str, str], data: str, tmp_path: Path, entry: dict[str, Any], message: str
) -> None:
    recipe = entry_recipe(tmp_path, tiny[1], data, entry)
    with pytest.raises(UserError, match=message) as error:
        train.train(recipe, "it", tmp_path / "checkpoints" / "it")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "checkpoints" / "it").exists()


def with_instructions(tmp_path: Path, tiny: tuple[str, str], data: str, which: str, **instructions: Any) -> Recipe:
    tests = {"dataset": tiny[0], "config": "responses", "key_column": "id", "text_column": "response", "generator": "x"}
    return entry_recipe(
        tmp_path,
        tiny[1],
        data,
        {"method": "sft", "instructions": which},
        policy=tiny[1],
        instructions={"dataset": tiny[0], "config": "instructions", **instructions},
        tests={"import": tests},
        sample={"n": 1},
    )


def test_rows_of_the_same_and_of_other_instructions(tiny: tuple[str, str], data: str, tmp_path: Path) -> None:
    first = list(TASKS)[:2]
    names = {}
    for which in ("same", "other"):
        _, rows, record = train.plan(with_instructions(tmp_path, tiny, data, which, limit=2), "it")
        assert record["data"]["instructions"] == which
        names[which] = {prompt[0]["content"] for prompt in rows["prompt"]}
    assert names["same"] == {instruction(name) for name in first}
    assert names["other"] == {instruction(name) for name in TASKS if name not in first}
    # an instruction that is sampled inside of other words is the same instruction, bare or not
    _, rows, _ = train.plan(with_instructions(tmp_path, tiny, data, "same", prompt="Hello. {instruction}"), "it")
    assert len(rows) == 24
    with pytest.raises(UserError, match="of 24 rows, none has a prompt that is another than the recipe's instructions"):
        train.plan(with_instructions(tmp_path, tiny, data, "other"), "it")


@pytest.mark.parametrize("method", ["kto", "dpo"])
@pytest.mark.parametrize("precomputed", [False, True])
def test_a_reference_other_than_the_base(
    tiny: tuple[str, str], raw: str, data: str, tmp_path: Path, method: str, precomputed: bool
) -> None:
    args = {"args": {"precompute_ref_log_probs": precomputed}}
    plain = go(entry_recipe(tmp_path, tiny[1], data, {"method": method, **args}), tmp_path / "plain")
    entry = {"method": method, "reference": raw, **args}
    other = go(entry_recipe(tmp_path, tiny[1], data, entry), tmp_path / "other")
    assert other["reference"] == {"repo": raw[:-3], "tag": "v1", "commit": resolve(raw, "model")[1]}
    assert "reference" not in plain
    assert other["fingerprint"] != plain["fingerprint"]
    if method == "dpo":  # log 2 exactly where policy and reference are one model
        assert plain["losses"][0][1] == pytest.approx(0.6931, abs=1e-4)
    assert other["losses"][0] != plain["losses"][0]


@pytest.mark.parametrize("method", ["kto", "dpo"])
def test_reference_values_computed_ahead_are_the_same(
    tiny: tuple[str, str], data: str, tmp_path: Path, method: str
) -> None:
    losses = []
    for precomputed in (False, True):
        entry = {"method": method, "args": {"precompute_ref_log_probs": precomputed, "max_steps": 4}}
        losses.append(go(entry_recipe(tmp_path, tiny[1], data, entry), tmp_path / str(precomputed))["losses"])
    assert [loss for _, loss in losses[0]] == pytest.approx([loss for _, loss in losses[1]], abs=1e-4)


def test_no_second_model_is_kept_where_none_is_needed(
    tiny: tuple[str, str], raw: str, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[weakref.ref[Any]] = []
    kept: list[list[int]] = []
    load, look = trainers.load_model, train.last_checkpoint

    def watched(*args: Any) -> Any:
        model = load(*args)
        loaded.append(weakref.ref(model))
        return model

    def count(work: Path) -> str | None:  # called between making the trainer and its first step
        gc.collect()
        kept.append([len(loaded), sum(model() is not None for model in loaded)])
        return look(work)

    monkeypatch.setattr(trainers, "load_model", watched)
    monkeypatch.setattr(train, "last_checkpoint", count)
    ahead = {"precompute_ref_log_probs": True}
    entries: list[tuple[dict[str, Any], int, int]] = [
        ({"method": "dpo"}, 2, 2),
        ({"method": "dpo", "args": ahead}, 1, 1),
        ({"method": "kto", "args": ahead, "reference": raw}, 2, 1),
        ({"method": "kto", "lora": {"r": 2}}, 1, 1),
    ]
    for entry, _, _ in entries:
        loaded.clear()
        go(entry_recipe(tmp_path, tiny[1], data, entry), tmp_path / str(len(kept)))
    assert kept == [numbers for _, *numbers in entries]


@pytest.mark.parametrize("method", ["kto", "dpo", "sft"])
def test_lora_ends_as_a_whole_model(tiny: tuple[str, str], data: str, tmp_path: Path, method: str) -> None:
    entry = {"method": method, "lora": {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}}
    record = go(entry_recipe(tmp_path, tiny[1], data, entry), tmp_path)
    assert record["lora"] == entry["lora"]
    assert "peft" in record["versions"]
    folder = tmp_path / "checkpoints" / "it"
    assert not list(folder.glob("adapter*"))
    model = AutoModelForCausalLM.from_pretrained(folder)
    base = AutoModelForCausalLM.from_pretrained(tiny[1][:-3], revision="v1")
    moved = {name for name, weights in model.named_parameters() if not torch.equal(weights, base.get_parameter(name))}
    assert len(moved) == 14, "the seven matrices of both layers, and nothing else"
    if method == "dpo":  # the reference is the base: at the first step there is no difference
        assert record["losses"][0][1] == pytest.approx(0.6931, abs=1e-4)


def test_progress_tells_rate_time_left_and_loss(
    tiny: tuple[str, str],
    data: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", -1)
    go(entry_recipe(tmp_path, tiny[1], data, {"method": "sft", "args": {"max_steps": 3}}), tmp_path)
    assert re.search(r"train it: 2 of 3, [0-9.]+/s, about \d+ s left, loss 7\.\d+", capsys.readouterr().err)
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ


@pytest.mark.parametrize("lora", [None, {"r": 4}])
def test_a_base_without_template_is_saved_with_the_one_it_was_trained_on(
    raw: str, data: str, tmp_path: Path, lora: dict[str, Any] | None
) -> None:
    entry = {"method": "sft", **({"lora": lora} if lora else {})}
    go(entry_recipe(tmp_path, raw, data, entry), tmp_path)
    folder = tmp_path / "checkpoints" / "it"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == BASE_TEMPLATE
    assert tokenizer.pad_token == tokenizer.eos_token
    # published in the base's own precision, though it was trained in float32
    assert {weights.dtype for weights in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.dtype == torch.bfloat16
    assert model.config.pad_token_id == tokenizer.pad_token_id
    assert sorted(path.name for path in folder.iterdir()) == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "training.json",
    ]
    assert str(tmp_path) not in (folder / "config.json").read_text()


@pytest.mark.parametrize("more", [{}, {"lora": {"r": 4}}, {"beta": 0.1}])
def test_grpo_is_rewarded_by_tests_that_pass(
    tiny: tuple[str, str], data: str, tmp_path: Path, more: dict[str, Any]
) -> None:
    beta = {"beta": more.get("beta", 0.0)}
    lora = {"lora": more["lora"]} if "lora" in more else {}
    args = {"num_generations": 4, "per_device_train_batch_size": 8, "max_completion_length": 8, **beta}
    record = go(entry_recipe(tmp_path, tiny[1], data, {"method": "grpo", "args": args, **lora}), tmp_path)
    assert record["data"]["config"] == "grpo"
    assert record["steps"] == 2
    assert [step for step, reward in record["rewards"] if 0 <= reward <= 1] == [1, 2]
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoints" / "it").config.vocab_size == 1600
    assert "snapshots" not in (tmp_path / "checkpoints" / "it" / "config.json").read_text()
