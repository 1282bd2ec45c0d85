"""Compute what the rows of a batch have in common once: chosen and rejected answers share their prompt.

    model = AutoModelForCausalLM.from_pretrained(...)
    share_prompts(model)          # False, and nothing changed, where the architecture does not allow it
    DPOTrainer(model=model, ...)  # unchanged

TRL puts a prompt into the batch once for every answer to it, and pads all rows to the longest. Here the backbone of the
model sees every distinct token once: tokens with the same text before them are the same token, wherever the rows part,
and padding is left out. Only attention works on the batch as it was: queries, keys and values are spread out to it
before, and collected after. The hidden states that the model returns have the batch's layout again, so that whoever
calls the model need not know. Losses and gradients are those of the plain forward up to the rounding of float32.

Gradient checkpointing works: the layout travels with each layer's own arguments, and is there when a layer is computed
again. Each batch decides whether it is worth it (`PAYS`). The plain forward stays for batches that are padded on the
left or packed, with a cache, and longer than a sliding window. Not used: attention other than PyTorch's own (`sdpa`),
models whose weights are spread over processes (FSDP, ZeRO 3).
"""

from __future__ import annotations

import functools
import types
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa_shared_prompts"  # of the attention function, to transformers
PAYS = 0.9  # distinct tokens by places in the batch, from which on the plain forward is taken
_COMPARED = 2**26  # tokens compared at once when rows are held against each other: memory


@dataclass(frozen=True)
class Layout:
    """How distinct tokens and the places of a batch belong together.

    Attributes:
        first: per distinct token, the place in the batch where it stands first, as an index into the flat batch.
        token: per place in the flat batch, its distinct token; padding has that of the first place.
        rows, columns: the batch's shape.
    """

    first: torch.Tensor
    token: torch.Tensor
    rows: int
    columns: int

    def spread(self, states: torch.Tensor) -> torch.Tensor:
        """(1, heads, distinct tokens, size) -> (rows, heads, columns, size)."""
        flat = states[0].transpose(0, 1).index_select(0, self.token)
        return flat.view(self.rows, self.columns, *flat.shape[1:]).transpose(1, 2)

    def collect(self, states: torch.Tensor) -> torch.Tensor:
        """(rows, columns, heads, size) -> (1, distinct tokens, heads, size)."""
        return states.flatten(0, 1).index_select(0, self.first)[None]


def find_layout(input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Layout | None:
    """The layout of a batch, or None where the plain forward is as good.

    Args:
        input_ids, attention_mask: (rows, columns), padded on the right.
    """
    rows, columns = input_ids.shape
    real = attention_mask.bool()
    # `parts[b, a]` is where row b and row a part: every token of row b before that is row a's token as well
    parts = torch.empty(rows, rows, dtype=torch.long, device=input_ids.device)
    ids = torch.where(real, input_ids, -1)
    step = max(1, _COMPARED // (rows * columns))
    for start in range(0, rows, step):
        same = ids[start : start + step, None] == ids[None]
        parts[start : start + step] = torch.where(same.all(-1), columns, same.long().argmin(-1))
    places = torch.arange(columns, device=input_ids.device)
    owner = torch.empty_like(input_ids)
    for start in range(0, rows, step):
        owner[start : start + step] = (parts[start : start + step, :, None] > places).long().argmax(1)
    owned = real & (owner == torch.arange(rows, device=input_ids.device)[:, None])
    flat = owned.flatten()
    first = flat.nonzero().squeeze(1)
    if first.numel() > PAYS * flat.numel() or not bool((real[:, 1:] <= real[:, :-1]).all() & real[:, 0].all()):
        return None
    number = flat.cumsum(0) - 1
    token = number.view(rows, columns).gather(0, owner).where(real, 0).flatten()
    return Layout(first, token, rows, columns)


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    layout: Layout | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Transformers' sdpa attention; of distinct tokens, on the batch they stand for."""
    if layout is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    # padding stands on the right, where no real token looks: plain causal attention needs no mask
    query, key, value = layout.spread(query), layout.spread(key), layout.spread(value)
    output, _ = sdpa_attention_forward(module, query, key, value, None, **{**kwargs, "is_causal": True})
    return layout.collect(output), None


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def share_prompts(model: PreTrainedModel) -> bool:
    """Have a causal language model compute shared prompts once, from now on; whether it can.

    What it can do is tried out on a few tokens: the architectures that mix tokens elsewhere than in attention, or do
    not hand arguments down to it, give other numbers or errors, and are left as they were.
    """
    backbone = model.base_model
    if backbone is model or getattr(model.config, "_attn_implementation", None) != "sdpa":
        return False
    plain = backbone.forward
    windows = [getattr(model.config, key, None) for key in ("sliding_window", "attention_chunk_size")]
    longest = min((window for window in windows if window), default=None)

    @functools.wraps(plain)
    def forward(self: Any, input_ids: Any = None, attention_mask: torch.Tensor | None = None, **kwargs: Any) -> Any:
        asked = [k for k, value in kwargs.items() if value is not None and (value is not False or k == "return_dict")]
        layout = None
        fits = input_ids is not None and not asked and not (longest and input_ids.shape[1] > longest)
        if fits and attention_mask is not None and attention_mask.shape == input_ids.shape:
            layout = find_layout(input_ids, attention_mask)
        if layout is None:
            return plain(input_ids=input_ids, attention_mask=attention_mask, **kwargs)
        output = plain(
            input_ids=input_ids.flatten()[layout.first][None],
            position_ids=(layout.first % layout.columns)[None],
            attention_mask=input_ids.new_zeros(1, 1, 1, 1),  # of four dimensions: handed on to `_attention` as it is
            use_cache=False,
            layout=layout,
        )
        states = output.last_hidden_state[0].index_select(0, layout.token)
        output.last_hidden_state = states.view(layout.rows, layout.columns, -1)
        return output

    model.set_attn_implementation(NAME)
    shared = types.MethodType(forward, backbone)
    if not _agree(model, plain, shared):
        model.set_attn_implementation("sdpa")
        return False
    backbone.forward = shared
    return True


def _agree(model: PreTrainedModel, plain: Any, shared: Any) -> bool:
    """Whether both forwards give the same hidden states on a small batch with a shared prompt and padding."""
    ids = torch.arange(1, 13, device=model.device).view(2, 6) % model.config.get_text_config().vocab_size
    ids[1, :4] = ids[0, :4]
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            one, two = (f(input_ids=ids, attention_mask=mask, use_cache=False)[0] for f in (plain, shared))
    except Exception:  # whatever an architecture makes of arguments that it does not expect
        return False
    finally:
        model.train(training)
    real = mask.bool()
    rounding = 0.01 if one.dtype == torch.float32 else 0.05
    return one.shape == two.shape and bool((one[real] - two[real]).abs().max() <= rounding * one[real].abs().max())
