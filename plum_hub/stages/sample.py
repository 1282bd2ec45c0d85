"""Stage 2, sample: K completions of the policy an instruction, each with the program in it.

PLUM section 4.1: K = 20 at temperature 1 (50 for Evol-Instruct). Rows of one instruction stand together, in order.
Generations that exist already are imported by the same function: the texts come from a file instead of an engine.
DSTC's answers hold program and tests in one (`from_tests`): the sample is the program alone, in a code block, under the
prompt that training uses; what the policy was asked and wrote is in `tests`, by the same number.
"""

from __future__ import annotations

from typing import Any

from datasets import Features, List, Value

from plum_hub.generate import Completion
from plum_hub.stages import columns, rows
from plum_hub.stages.extract import cut, extract, fill

MESSAGES = List({"role": Value("string"), "content": Value("string")})

FEATURES = Features(
    {
        "instruction_id": Value("string"),
        "sample_id": Value("string"),
        "messages": MESSAGES,
        "completion": Value("string"),
        "code": Value("string"),
        "extraction": Value("string"),  # where in the completion the code was; see `extract.Extracted`
        "truncated": Value("bool"),  # the code stops before its end
        "policy": Value("string"),
        "policy_revision": Value("string"),
        "temperature": Value("float32"),
        "top_p": Value("float32"),
        "top_k": Value("int32"),
        "max_new_tokens": Value("int32"),
        "seed": Value("int64"),
        "finish_reason": Value("string"),
        "tokens": Value("int32"),
    }
)


def to_messages(instruction: dict[str, Any], prompt: str, system: str | None) -> list[dict[str, str]]:
    """The conversation that asks for a solution; `prompt` may name {instruction} and {entry_point}."""
    head = [{"role": "system", "content": system}] if system else []
    return [*head, {"role": "user", "content": fill(prompt, instruction)}]


def make_samples(
    batch: dict[str, list[Any]],
    completions: list[list[dict[str, Any]]],
    prompt: str,
    system: str | None,
    continuation: bool,
    stop: tuple[str, ...],
    record: dict[str, Any],
) -> dict[str, list[Any]]:
    """One row a completion.

    Args:
        batch: instructions: `id`, `instruction`, `entry_point`.
        completions: per instruction, `plum_hub.generate.Completion`s as dicts.
        continuation: the text goes on where the instruction (code) ends; it is cut at the first of `stop`, and the
            completion that training sees is the whole program in a code block, as a chat model would write it.
        record: policy, its revision, sampling parameters and seed, the same for every row.
    """
    made = []
    for instruction, group in zip(rows(batch), completions, strict=True):
        messages = to_messages(instruction, prompt, system)
        for i, completion in enumerate(group):
            text = completion["text"]
            how, truncated = "continuation", completion["finish_reason"] == "length"
            if continuation:
                code = instruction["instruction"] + cut(text, stop).rstrip() + "\n"
                text = f"```python\n{code}```"
            else:
                found = extract(text, instruction["entry_point"])
                code, how, truncated = found.code, found.how, found.truncated
            made.append(
                {
                    "instruction_id": instruction["id"],
                    "sample_id": f"{instruction['id']}#{i}",
                    "messages": messages,
                    "completion": text,
                    "code": code,
                    "extraction": how,
                    "truncated": truncated,
                    "finish_reason": completion["finish_reason"],
                    "tokens": completion["tokens"],
                    **record,
                }
            )
    return columns(made, FEATURES)


def from_tests(made: list[dict[str, Any]], ids: list[str]) -> list[list[Completion]]:
    """The programs of the answers that brought the tests, by instruction in the order of `ids`.

    Args:
        made: rows of `plum_hub.stages.tests.FEATURES`.
    """
    groups: dict[str, list[Completion]] = {instruction_id: [] for instruction_id in ids}
    for row in made:
        text = f"```python\n{row['solution'].rstrip()}\n```" if row["solution"].strip() else ""
        reason = "length" if "truncated" in row["notes"] else "stop"
        groups[row["instruction_id"]].append(Completion(text, -1, reason))
    return [groups[instruction_id] for instruction_id in ids]
