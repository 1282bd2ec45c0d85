"""Engines that write text: conversations in, completions out. An engine knows nothing of stages or recipes.

An engine is chosen by one string: `hf:org/model@revision` (transformers, in this process). An engine has

    engine.repo, engine.revision          # revision: the commit that was resolved
    engine.generate(conversations, sampling, seed, progress) -> list[list[Completion]]

Not covered yet: vLLM in process and OpenAI-compatible servers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from plum_hub.errors import UserError

Message = dict[str, str]


@dataclass(frozen=True)
class Sampling:
    """How to sample. `temperature` 0 is greedy; `top_k` 0 is no top-k."""

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 512
    batch_size: int = 64  # sequences at a time; shapes the random numbers, hence part of what reproduces a run


@dataclass(frozen=True)
class Completion:
    """One text, its number of tokens, and why it ended: `stop` or `length`."""

    text: str
    tokens: int
    finish_reason: str


class Engine(Protocol):
    """What a stage needs of an engine."""

    repo: str
    revision: str

    def generate(
        self,
        conversations: list[list[Message]],
        sampling: Sampling,
        seed: int,
        progress: Callable[[int], None] | None = None,
    ) -> list[list[Completion]]:
        """`sampling.n` completions for each conversation, in order; `progress` is told of finished ones."""
        ...


def load(name: str) -> Engine:
    """The engine that a string such as `hf:org/model@v1` names (a bare `org/model@v1` means `hf:`).

    Raises:
        UserError: an engine that does not exist.
    """
    kind, colon, model = name.partition(":")
    if not colon:
        kind, model = "hf", name
    if kind != "hf":
        raise UserError(f"engine `{kind}:` is not known; use hf:org/model@revision")
    from plum_hub.generate.hf import TransformersEngine

    return TransformersEngine(model)
