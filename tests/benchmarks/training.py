"""Tokens a second in training: ours against the plain TRL script, on the same rows, model and arguments.

    python tests/benchmarks/training.py                                        # a small model on the CPU
    python tests/benchmarks/training.py --model-size 0.5b --device-rows 16     # one GPU, bf16 arithmetic

Plain is `KTOTrainer(model, args, train_dataset, ref_model).train()` and its kin, ours what `plum_hub.train` makes of
the same parts. The model is a Llama with random weights. Rows are drawn as a run makes them: four answers to a
prompt, of lengths from half to one and a half of `--completion` tokens, KTO's in the order of `kto_order`. Both go
over the same rows, in turn, `--repeats` times; the table has medians. A GPU's time is that of the clock. On the CPU
one thread works, and its own processor time counts, so that other work on the machine does not blur the ratio. Not
measured: loading and tokenizing, which are the same for both.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PrinterCallback

from plum_hub.nano.policy import build_tokenizer
from plum_hub.progress import quiet
from plum_hub.recipe import Train
from plum_hub.stages.prefer import kto_order
from plum_hub.trainers import make_trainer, trl_classes

SIZES = {  # width, feed-forward width, layers, heads, key-value heads, vocabulary
    "nano": (96, 256, 2, 3, 3, 1600),  # the quickstart's
    "small": (256, 688, 4, 4, 2, 1600),  # 3 million parameters
    "0.5b": (896, 4864, 24, 14, 2, 151936),
    "1.5b": (1536, 8960, 28, 12, 2, 151936),
}
PROMPTS = {"short": 0.25, "as long": 1.0, "3 times": 3.0}  # prompt tokens by those of the mean completion


def make_rows(method: str, prompt: int, completion: int, rows: int, batch: int) -> Dataset:
    """Preferences of random digits, each of which is a token."""
    draw = random.Random(0)

    def message(role: str, tokens: int) -> list[dict[str, str]]:
        return [{"role": role, "content": "".join(draw.choice("0123456789") for _ in range(tokens))}]

    def answer() -> list[dict[str, str]]:
        return message("assistant", draw.randint(completion // 2, completion * 3 // 2))

    prompts = [message("user", prompt) for _ in range((rows + 3) // 4)]
    made = [{"prompt": prompts[i // 4], "completion": answer(), "label": i % 2 == 0} for i in range(rows)]
    if method == "kto":
        order, _ = kto_order([str(row["prompt"]) for row in made], [bool(row["label"]) for row in made], 0, batch)
        return Dataset.from_list([made[i] for i in order])
    draw.shuffle(made)
    if method == "dpo":
        return Dataset.from_list(
            [{"prompt": r["prompt"], "chosen": r["completion"], "rejected": answer()} for r in made]
        )
    return Dataset.from_list(made).select_columns(["prompt", "completion"])


def seconds(entry: Train, ours: bool, rows: Dataset, folder: Path, device_rows: int, checkpointing: bool) -> float:
    """What one training over the rows takes, the first steps for warming up left out."""
    gpu = torch.cuda.is_available()
    settings = {
        "output_dir": str(folder / "out"),
        "per_device_train_batch_size": device_rows,
        "gradient_checkpointing": checkpointing,
        "num_train_epochs": 1,
        "max_length": 8192,
        "save_strategy": "no",
        "report_to": "none",
        "bf16": gpu,
        "use_cpu": not gpu,
        "disable_tqdm": True,
        "dataloader_drop_last": True,
    }
    parts: dict[str, Any] = {
        "model": AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        "train_dataset": rows,
        "processing_class": AutoTokenizer.from_pretrained(folder),
    }
    if entry.method != "sft":
        parts["ref_model"] = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if ours:
        trainer = make_trainer(entry, entry.method, settings, **parts)
    else:
        trainer_class, config = trl_classes(entry.method)
        trainer = trainer_class(args=config(**settings), **parts)
        trainer.remove_callback(PrinterCallback)
    if gpu:
        torch.cuda.synchronize()
    clock = time.perf_counter if gpu else time.process_time
    start = clock()
    trainer.train()
    if gpu:
        torch.cuda.synchronize()
    return clock() - start


def tokens(rows: Dataset, tokenizer: Any) -> int:
    """Tokens of all conversations in the rows, shared prompts as often as they occur."""
    answers = [name for name in ("completion", "chosen", "rejected") if name in rows.column_names]
    texts = [row["prompt"] + row[name] for row in rows for name in answers]
    return sum(map(len, tokenizer.apply_chat_template(texts, return_dict=False)))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--methods", nargs="+", choices=("kto", "dpo", "sft"), default=("kto", "dpo", "sft"))
    parser.add_argument("--prompts", nargs="+", choices=tuple(PROMPTS), default=tuple(PROMPTS))
    parser.add_argument("--model-size", choices=tuple(SIZES), default="small")
    parser.add_argument("--completion", type=int, default=96, help="mean tokens of an answer")
    parser.add_argument("--device-rows", type=int, default=8, help="per_device_train_batch_size: DPO's are pairs")
    parser.add_argument("--steps", type=int, default=4, help="batches a training")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--gradient-checkpointing", action="store_true")
    args = parser.parse_args()
    quiet()
    torch.set_num_threads(1)
    print("| method | prompt | rows a batch | plain TRL, tokens/s | plum-hub, tokens/s | ratio (lowest to highest) |")
    print("| --- | --- | ---: | ---: | ---: | ---: |", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        width, inner, layers, heads, key_values, vocabulary = SIZES[args.model_size]
        tokenizer = build_tokenizer()
        tokenizer.model_max_length = 8192
        tokenizer.save_pretrained(folder)
        LlamaForCausalLM(
            LlamaConfig(
                vocab_size=vocabulary,
                hidden_size=width,
                intermediate_size=inner,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                num_key_value_heads=key_values,
                max_position_embeddings=8192,
                bos_token_id=None,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        ).save_pretrained(folder)
        for method in args.methods:
            entry = Train(method=method)
            for words in args.prompts:
                prompt = round(PROMPTS[words] * args.completion)
                rows = make_rows(method, prompt, args.completion, args.steps * args.device_rows, args.device_rows)
                took: dict[bool, list[float]] = {False: [], True: []}
                for repeat in range(args.repeats + 1):  # the first goes to caches and kernels
                    for ours in (repeat % 2 == 0, repeat % 2 == 1):
                        one = seconds(entry, ours, rows, folder, args.device_rows, args.gradient_checkpointing)
                        if repeat:
                            took[ours].append(one)
                count = tokens(rows, tokenizer)
                plain, shared = (statistics.median(took[ours]) for ours in (False, True))
                ratios = [a / b for a, b in zip(took[False], took[True], strict=True)]
                print(
                    f"| {method} | {words} ({prompt} of {prompt + args.completion}) | {args.device_rows} "
                    f"| {count / plain:,.0f} | {count / shared:,.0f} "
                    f"| {plain / shared:.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
