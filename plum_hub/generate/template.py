"""A chat template for checkpoints that have none: Magicoder's, which base models of code follow well.

A base model has never seen a chat. What it has seen is documents, and in this one a response follows an instruction:

    <system text, if any>

    @@ Instruction
    <user>

    @@ Response
    <assistant>

Such a model ends its answer by writing the next instruction rather than an end token, hence the extra stop string.
"""

from __future__ import annotations

from typing import Any

BASE_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'system' -%}{{ message['content'] + '\n\n' }}"
    "{%- elif message['role'] == 'user' -%}{{ '@@ Instruction\n' + message['content'] + '\n\n' }}"
    "{%- elif message['role'] == 'assistant' -%}{{ '@@ Response\n' + message['content'] }}{{ eos_token }}{{ '\n\n' }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '@@ Response\n' }}{%- endif -%}"
)
STOP = ("@@ Instruction",)


def with_template(tokenizer: Any) -> tuple[str, ...]:
    """Give the tokenizer `BASE_TEMPLATE` if it has no chat template.

    Returns:
        The stop strings that the template needs: `STOP`, or none where the checkpoint has a template of its own.
    """
    if tokenizer.chat_template:  # a checkpoint trained from a base model may have been given ours already
        return STOP if tokenizer.chat_template.endswith(BASE_TEMPLATE) else ()
    # `apply_chat_template` adds no special tokens. A model trained to see a first token (Llama, DeepSeek) must see it,
    # and one whose tokenizer merely names one (StarCoder2) must not.
    begins = tokenizer.bos_token is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    tokenizer.chat_template = ("{{ bos_token }}" if begins else "") + BASE_TEMPLATE
    return STOP
