"""Tokens per second of our engines against the plain calls they wrap, on the same prompts in one run.

    python tests/benchmarks/generation.py [--model FOLDER] [--n 20] [--prompts 60] [--repeats 3]

Prints a markdown table: vLLM (where it is installed) against `vllm.LLM.generate`, alone and while the sandbox judges
programs in another thread; transformers against a loop that calls `model.generate` once a prompt, and its continuous
batches against plain ones (`--batch-size` at a time, on texts of mixed and of equal length). Each pair alternates,
which side goes first as well, and the table gives medians. Without --model a tiny one is trained first.
"""

import argparse
import functools
import itertools
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
import speaker
import torch
from tiny import TASKS, instruction, program
from transformers import GenerationConfig

from plum_hub import generate
from plum_hub.errors import UserError
from plum_hub.generate import Sampling
from plum_hub.generate.hf import TransformersEngine
from plum_hub.generate.names import parse
from plum_hub.sandbox import Job, Limits, Sandbox

Conversations = list[list[dict[str, str]]]


@contextmanager
def judging() -> Iterator[list[int]]:
    """The sandbox runs programs in another thread meanwhile; the list ends up with how many it ran."""
    ending, ran = threading.Event(), [0]
    jobs = [Job(program(right), (f"assert f({n}) == {result}",)) for right, _, n, result in TASKS.values()]

    def judge(sandbox: Sandbox) -> None:
        endless = itertools.takewhile(lambda _: not ending.is_set(), itertools.cycle(jobs))
        for _ in sandbox.run(endless):
            ran[0] += 1

    with Sandbox(Limits(seconds=2.0)) as sandbox:
        thread = threading.Thread(target=judge, args=(sandbox,))
        thread.start()
        yield ran
        ending.set()
        thread.join()


def compare(sides: dict[str, Callable[[], int]], repeats: int) -> dict[str, float]:
    """Median tokens per second of each side; the sides take turns, after one turn each that does not count."""
    for run in sides.values():
        run()
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for k in range(repeats):
        for name in sorted(sides, reverse=bool(k % 2)):
            start = time.perf_counter()
            tokens = sides[name]()
            rates[name].append(tokens / (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in rates.items()}


def ours(engine: Any, conversations: Conversations, sampling: Sampling) -> int:
    return sum(text.tokens for group in engine.generate(conversations, sampling, 0) for text in group)


def plain_vllm(engine: Any, conversations: Conversations, sampling: Sampling, seed: int | None) -> int:
    """`LLM.generate` on the same tokens, without our seeds, order and checks."""
    from vllm import SamplingParams

    prompts = [{"prompt_token_ids": ids} for ids in encoded(engine, conversations)]
    params = SamplingParams(
        n=sampling.n, max_tokens=sampling.max_new_tokens, seed=seed, stop_token_ids=engine.ends, temperature=1.0
    )
    outputs = engine.llm.generate(prompts, params, use_tqdm=False)
    return sum(len(text.token_ids) - (text.token_ids[-1] in engine.ends) for each in outputs for text in each.outputs)


def naive(engine: Any, conversations: Conversations, sampling: Sampling) -> int:
    """What one writes first: a loop over the prompts, n texts each."""
    config = GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        num_return_sequences=sampling.n,
        do_sample=True,
        top_k=0,
        eos_token_id=engine.ends,
        pad_token_id=engine.tokenizer.pad_token_id,
    )
    tokens = 0
    for ids in encoded(engine, conversations):
        with torch.inference_mode():
            given = torch.tensor([ids], device=engine.model.device)
            made = engine.model.generate(given, attention_mask=torch.ones_like(given), generation_config=config)
        for row in made[:, len(ids) :].tolist():
            tokens += next((at for at, token in enumerate(row) if token in engine.ends), len(row))
    return tokens


def continuous(
    model: str, plain: Any, conversations: Conversations, args: argparse.Namespace
) -> list[tuple[str, str, float, float]]:
    """Continuous batches against plain ones; lengths are mixed by letting one token in 32 end a text, drawn hot."""
    other = TransformersEngine(parse(f"hf:{model}?continuous_batching=true"))
    size = len(plain.tokenizer)
    rows = []
    for what, ends in (("mixed", list(range(0, size, 32))), ("equal", [])):
        plain.ends = other.ends = ends
        sampling = Sampling(1, 100.0, max_new_tokens=4 * args.max_new_tokens, batch_size=args.batch_size)
        rates = compare(
            {
                "continuous": functools.partial(ours, other, conversations, sampling),
                "plain": functools.partial(ours, plain, conversations, sampling),
            },
            args.repeats,
        )
        where = f"transformers, continuous, {args.batch_size} at a time, {what} lengths"
        rows.append((where, "plain batches", rates["continuous"], rates["plain"]))
    return rows


def encoded(engine: Any, conversations: Conversations) -> list[list[int]]:
    template = engine.tokenizer.apply_chat_template
    return [list(template(each, add_generation_prompt=True, return_dict=True)["input_ids"]) for each in conversations]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a checkpoint (default: a tiny one, trained here)")
    parser.add_argument("--n", type=int, default=20, help="texts a prompt")
    parser.add_argument("--prompts", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16, help="of continuous batches and plain ones")
    args = parser.parse_args()
    names = itertools.islice(itertools.cycle(TASKS), args.prompts)
    # A number in each, so that no two prompts are the same.
    asked = [[{"role": "user", "content": f"{instruction(name)} ({i})"}] for i, name in enumerate(names)]
    sampling = Sampling(args.n, max_new_tokens=args.max_new_tokens, batch_size=256)
    rows: list[tuple[str, str, float, float]] = []
    with tempfile.TemporaryDirectory() as scratch:
        model = args.model or str(speaker.train(Path(scratch)))
        try:
            engine: Any = generate.load(f"vllm:{model}")
        except UserError as error:
            print(error, file=sys.stderr)
        else:
            sides = {
                "ours": lambda: ours(engine, asked, sampling),
                "seeded": lambda: plain_vllm(engine, asked, sampling, 0),
                "unseeded": lambda: plain_vllm(engine, asked, sampling, None),
            }
            rates = compare(sides, args.repeats)
            rows.append(("vLLM, alone", "`LLM.generate`, seeded", rates["ours"], rates["seeded"]))
            rows.append(("vLLM, alone", "`LLM.generate`, no seed", rates["ours"], rates["unseeded"]))
            with judging() as ran:
                start = time.perf_counter()
                rates = compare({"ours": sides["ours"], "seeded": sides["seeded"]}, args.repeats)
                beside = f"vLLM, the sandbox beside it ({ran[0] / (time.perf_counter() - start):.0f} programs/s)"
            rows.append((beside, "`LLM.generate`, seeded", rates["ours"], rates["seeded"]))
            engine.close()
        engine = generate.load(f"hf:{model}")
        rates = compare(
            {"ours": lambda: ours(engine, asked, sampling), "naive": lambda: naive(engine, asked, sampling)},
            args.repeats,
        )
        rows.append(("transformers", "`model.generate` a prompt", rates["ours"], rates["naive"]))
        rows += continuous(model, engine, asked, args)
    print(f"{args.prompts} prompts, {args.n} texts each, median of {args.repeats} alternating repeats\n")
    print("| what | ours, tokens/s | against | tokens/s | ratio |\n| --- | --- | --- | --- | --- |")
    for what, against, mine, theirs in rows:
        print(f"| {what} | {mine:,.0f} | {against} | {theirs:,.0f} | {mine / theirs:.2f} |")


if __name__ == "__main__":
    main()
