"""Shared prompts are computed once, and nobody can tell by the numbers."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import publish_tiny
from train_parts import entry_recipe, publish_preferences
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Starcoder2Config,
    Starcoder2ForCausalLM,
)

from plum_hub import shared_prompts, train
from plum_hub.shared_prompts import NAME, find_layout, share_prompts

SMALL = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
SHARED: list[tuple[Any, Any]] = [
    (LlamaForCausalLM, LlamaConfig),
    (Qwen2ForCausalLM, Qwen2Config),
    (Qwen3ForCausalLM, Qwen3Config),
    (Starcoder2ForCausalLM, Starcoder2Config),
    (MistralForCausalLM, MistralConfig),
    (Phi3ForCausalLM, Phi3Config),
    (CohereForCausalLM, CohereConfig),
]


def small(model: Any, config: Any, **more: Any) -> Any:
    torch.manual_seed(0)
    return model(config(**{**SMALL, **more})).train()


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Eight rows of three prompts, padded on the right; two answers begin alike, two are the same."""
    draw = torch.Generator().manual_seed(seed)

    def tokens(n: int) -> list[int]:
        return torch.randint(2, 60, (n,), generator=draw).tolist()

    a, b, c, start = tokens(12), tokens(5), tokens(20), tokens(4)
    rows = [a + tokens(6), b + start + tokens(3), a + tokens(9), b + start + tokens(9), c + tokens(2), a + tokens(1)]
    rows += [c + tokens(7), rows[0]]
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask


def loss_and_gradients(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    labels = ids.masked_fill(mask == 0, -100)
    loss = model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False).loss
    loss.backward()
    return loss.item(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=2e-6, msg=lambda m, name=name: f"{name}: {m}")


def test_a_layout_names_every_distinct_token_once() -> None:
    ids, mask = batch()
    layout = find_layout(ids, mask)
    assert layout is not None
    prefixes = {
        tuple(row[: at + 1].tolist()) for row, real in zip(ids, mask, strict=True) for at in range(int(real.sum()))
    }
    assert layout.first.numel() == len(prefixes)
    places = [(row, column) for row, column in product(range(ids.shape[0]), range(ids.shape[1])) if mask[row, column]]
    for row, column in places:
        owner, same_column = divmod(int(layout.first[layout.token[row * ids.shape[1] + column]]), ids.shape[1])
        assert same_column == column
        assert torch.equal(ids[owner, : column + 1], ids[row, : column + 1])


def test_large_batches_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, mask = batch()
    whole = find_layout(ids, mask)
    monkeypatch.setattr(shared_prompts, "_COMPARED", 3 * ids.numel())
    parts = find_layout(ids, mask)
    assert whole is not None
    assert parts is not None
    assert torch.equal(whole.first, parts.first)
    assert torch.equal(whole.token, parts.token)


def test_batches_that_would_gain_nothing_stay_as_they_are() -> None:
    ids = torch.arange(40).view(4, 10)
    assert find_layout(ids, torch.ones_like(ids)) is None, "nothing is shared"
    ids, mask = batch()
    assert find_layout(ids.flip(1), mask.flip(1)) is None, "padded on the left"


@pytest.mark.parametrize(("model_class", "config"), SHARED, ids=lambda value: value.__name__)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_losses_and_gradients_are_those_of_the_plain_forward(
    model_class: Any, config: Any, checkpointing: bool
) -> None:
    model = small(model_class, config)
    ids, mask = batch()
    loss, gradients = loss_and_gradients(model, ids, mask)
    assert share_prompts(model)
    assert model.config._attn_implementation == NAME
    if checkpointing:
        model.gradient_checkpointing_enable()
    computed = []
    model.get_input_embeddings().register_forward_hook(lambda module, args, output: computed.append(args[0].numel()))
    shared_loss, shared_gradients = loss_and_gradients(model, ids, mask)
    layout = find_layout(ids, mask)
    assert layout is not None
    assert computed == [layout.first.numel()]
    assert shared_loss == pytest.approx(loss, rel=1e-5)
    same(gradients, shared_gradients)
    assert NAME not in model.config.to_json_string()


def test_a_window_that_is_shorter_than_the_batch_takes_the_plain_forward() -> None:
    ids, mask = batch()
    model = small(MistralForCausalLM, MistralConfig, sliding_window=8)
    loss, gradients = loss_and_gradients(model, ids, mask)
    assert share_prompts(model)
    shared_loss, shared_gradients = loss_and_gradients(model, ids, mask)
    assert shared_loss == loss
    same(gradients, shared_gradients)


@pytest.mark.parametrize(
    ("model_class", "config", "more"),
    [
        (GPT2LMHeadModel, GPT2Config, {}),
        (GPTNeoXForCausalLM, GPTNeoXConfig, {}),
        (Gemma2ForCausalLM, Gemma2Config, {"head_dim": 8}),
        (LlamaForCausalLM, LlamaConfig, {"attn_implementation": "eager"}),
        (MambaForCausalLM, MambaConfig, {}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_share_is_left_alone_and_what_can_is_right(model_class: Any, config: Any, more: Any) -> None:
    if model_class is GPT2LMHeadModel:
        more = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    torch.manual_seed(0)
    model = small(model_class, config, **more)
    ids, mask = batch()
    before = getattr(model.config, "_attn_implementation", None)
    loss, gradients = loss_and_gradients(model, ids, mask)
    if not share_prompts(model):
        assert getattr(model.config, "_attn_implementation", None) == before
    shared_loss, shared_gradients = loss_and_gradients(model, ids, mask)
    assert shared_loss == pytest.approx(loss, rel=1e-5)
    same(gradients, shared_gradients)


def test_a_model_that_shares_still_writes_the_same_text() -> None:
    model = small(LlamaForCausalLM, LlamaConfig).eval()
    ids, _ = batch()
    plain = model.generate(input_ids=ids[:, :5], max_new_tokens=12, do_sample=False)
    assert share_prompts(model)
    assert torch.equal(model.generate(input_ids=ids[:, :5], max_new_tokens=12, do_sample=False), plain)


@pytest.mark.parametrize("method", ["dpo", "kto", "sft"])
@pytest.mark.parametrize("lora", [None, {"r": 4, "target_modules": "all-linear"}])
def test_trainings_with_and_without_take_the_same_steps(
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    lora: dict[str, Any] | None,
) -> None:
    folder = tmp_path_factory.mktemp("tiny")
    base, data = publish_tiny(folder)[1], publish_preferences(folder)
    entry = {
        "method": method,
        "args": {"max_steps": 4, "gradient_checkpointing": True},
        **({"lora": lora} if lora else {}),
    }
    layouts: list[bool] = []
    original = find_layout

    def watched(*args: torch.Tensor) -> Any:
        layout = original(*args)
        layouts.append(layout is not None)
        return layout

    monkeypatch.setattr(shared_prompts, "find_layout", watched)
    shared = train.train(entry_recipe(tmp_path, base, data, entry), "it", tmp_path / "a" / "b" / "shared")
    assert sum(layouts) >= 4, "the batches of both models were computed once"
    monkeypatch.setattr(shared_prompts, "share_prompts", lambda model: False)
    plain = train.train(entry_recipe(tmp_path, base, data, entry), "it", tmp_path / "a" / "b" / "plain")
    assert [loss for _, loss in shared["losses"]] == pytest.approx([loss for _, loss in plain["losses"]], abs=2e-4)
