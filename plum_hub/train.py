"""Train one checkpoint with TRL from a recipe.

    accelerate launch -m plum_hub.train recipes/quickstart.yaml --entry kto      # and push it
    plum run recipes/quickstart.yaml                                             # the loop; calls this module

An entry of the recipe's `train` section names the method (`kto`, `dpo`, `sft`, `grpo`), a dataset as `org/name@tag` and
a base checkpoint; `args` are arguments of TRL's configuration class under TRL's own names. Dataset, base and reference
are resolved to commits first, and the commits are recorded in `training.json` beside the weights.

TRL defaults changed here, because they would surprise: bf16 only on a GPU; nothing is reported to a tracker unless
`report_to` says so; KTO drops a last, smaller batch, which could hold one label only.

Weights are float32 in training, with bf16 arithmetic on a GPU: at the papers' learning rates bf16 weights would lose
the updates. What is saved has the base's own precision, so that a checkpoint is no larger than what it was made from.
With `lora` only the adapter is float32; it is merged at the end, and what is saved is a whole model.

A killed training goes on from the trainer's last whole checkpoint (`save_steps`) and ends with the same weights.
Prompts that rows of a batch share are computed once: `plum_hub.shared_prompts`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plum_hub.errors import UserError
from plum_hub.recipe import Recipe, Train
from plum_hub.train_data import kto_weights, load_rows

if TYPE_CHECKING:
    from datasets import Dataset

VERSIONS = ("accelerate", "torch", "transformers", "trl")
RECORD = "training.json"  # written last: a folder that has it is a finished training


def plan(recipe: Recipe, name: str, cache: Path | None = None) -> tuple[Train, Dataset, dict[str, Any]]:
    """What training the entry `name` (or `seed_policy`) would do: the entry, its rows, and the record's first half.

    The record holds all that shapes the weights, and a `fingerprint` of it.

    Args:
        cache: a folder that keeps what cleaning the recipe's instructions left, where the entry asks for them.

    Raises:
        UserError: something the recipe names does not exist or does not fit.
    """
    from plum_hub import shared_prompts, stages, train_data, trainers
    from plum_hub.generate import template
    from plum_hub.names import resolve, split_revision
    from plum_hub.stages import prefer

    entry = recipe.seed_policy if name == "seed_policy" else recipe.train.get(name)
    if entry is None:
        raise UserError(f"the recipe's `train` has no entry `{name}`; it has: {', '.join(recipe.train) or 'none'}")
    base = entry.base or recipe.policy
    if base is None:
        raise UserError(f"train entry `{name}` names no `base`, and the recipe no `policy`")
    trainers.check(name, entry)

    def commit(checkpoint: str) -> dict[str, Any]:
        repo, revision = resolve(checkpoint, "model")
        return {"repo": repo, "tag": split_revision(checkpoint)[1], "commit": revision}

    started = {"base": commit(base), **({"reference": commit(entry.reference)} if entry.reference else {})}
    rows, data = load_rows(recipe, entry, cache)
    args = dict(entry.args)
    if entry.method == "kto" and not {"desirable_weight", "undesirable_weight"} & set(args):
        args |= kto_weights(rows["label"])
    packages = VERSIONS if entry.lora is None else (*VERSIONS, "peft")
    record: dict[str, Any] = {
        "entry": name,
        "method": entry.method,
        **started,
        "data": data,
        "args": args,
        **({"lora": entry.lora} if entry.lora is not None else {}),
        "seed": recipe.seed,
        "versions": {package: importlib.metadata.version(package) for package in packages},
    }
    code = stages.code_version(sys.modules[__name__], train_data, trainers, shared_prompts, template, prefer)
    record["fingerprint"] = stages.fingerprint(record, code)
    return entry, rows, record


def train(recipe: Recipe, name: str, output: Path) -> dict[str, Any]:
    """Train the entry `name` (or `seed_policy`) into `output`; return the record, also in `training.json`.

    A folder that holds a finished training of the same recipe, data, base and versions is returned as it is.

    Raises:
        UserError: something the recipe names does not exist or does not fit.
    """
    entry, rows, record = plan(recipe, name, output.parent.parent / "instructions")
    if done := finished(output, record):
        return done
    import torch

    from plum_hub import trainers
    from plum_hub.generate.hf import spare_threads
    from plum_hub.progress import console, say
    from plum_hub.stages.prefer import kto_block

    repo, revision = record["base"]["repo"], record["base"]["commit"]
    world = os.environ.get("WORLD_SIZE", "1")  # a checkpoint holds the state of as many processes
    work = output.with_name(f"{output.name}.trainer-{record['fingerprint']}-{world}")

    gpu = torch.cuda.is_available()
    settings: dict[str, Any] = {
        "output_dir": str(work),
        "seed": recipe.seed,
        "report_to": "none",
        "run_name": f"{recipe.name}/{name}",
        "bf16": gpu,
        "use_cpu": not gpu,
        "save_strategy": "steps",
        "save_total_limit": 2,
        "logging_steps": 10,
        "disable_tqdm": True,  # the bar is ours, as in every other stage
        **({"dataloader_drop_last": True} if entry.method == "kto" else {}),
        **record["args"],
    }
    if entry.method != "grpo":  # whose batches are prompts times answers
        settings["per_device_train_batch_size"] = min(settings.get("per_device_train_batch_size", 8), len(rows))
    if entry.method == "kto":
        batch, desirable = settings["per_device_train_batch_size"], sum(rows["label"])
        block = kto_block(desirable, len(rows) - desirable, batch)
        if block > batch:
            say(f"note: some batches of {batch} hold one label only; per_device_train_batch_size: {block} would not")

    tokenizer = trainers.load_tokenizer(repo, revision)
    # a base that LoRA leaves as it is needs no more precision on a GPU than it has
    model = trainers.load_model(repo, revision, "auto" if gpu and entry.lora is not None else torch.float32)
    spare_threads(model)
    parts: dict[str, Any] = {"model": model, "train_dataset": rows, "processing_class": tokenizer}
    if entry.lora is not None:
        parts["peft_config"] = trainers.lora_config(name, entry.lora)
    reference = record.get("reference")
    if entry.method in ("kto", "dpo") and entry.lora is None and not settings.get("precompute_ref_log_probs"):
        # left to itself, TRL 1.16 loads the reference by the model's name alone: the newest commit, not this one
        reference = reference or record["base"]
    if reference:
        parts["ref_model"] = trainers.load_model(reference["repo"], reference["commit"], torch.float32)
    if entry.method == "grpo" or (entry.method != "sft" and "ref_model" not in parts):
        # for the same reason; GRPO takes no model, and DPO under FSDP loads one to precompute by
        model.config._name_or_path = trainers.snapshot(repo, revision)
    quiet = {} if console.is_terminal else {"TQDM_DISABLE": "1"}  # TRL's bar for `precompute_ref_log_probs`
    # in its own folder, which goes at the end, tensorboard's files would go as well
    logs = {"TENSORBOARD_LOGGING_DIR": str(output.parent.parent / "logs" / output.name)}
    with trainers.unless_set(quiet | logs):
        trainer = trainers.make_trainer(entry, name, settings, **parts)
    del parts, model  # and with them a reference that is not needed any more
    checkpoint = last_checkpoint(work)
    if checkpoint and trainer.accelerator.is_main_process:
        say(f"train {name}: going on from step {checkpoint.rpartition('-')[2]}")
    trainer.train(resume_from_checkpoint=checkpoint)
    if not trainer.state.global_step:
        raise UserError(f"train entry `{name}`: {len(rows)} rows do not fill one batch; make the batch smaller")

    part, adapter = output.with_name(f"{output.name}.part"), work / "adapter"
    if trainer.accelerator.is_main_process:
        shutil.rmtree(part, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    # on every process: sharded weights are gathered here
    trainer.save_model(str(part if entry.lora is None else adapter))
    if trainer.accelerator.is_main_process:
        if entry.lora is not None:
            trainers.merge(repo, revision, adapter, part, tokenizer.pad_token_id)
        trainers.cast(part, trainers.base_dtype(repo, revision))
        tokenizer.save_pretrained(str(part))
        for extra in ("README.md", "training_args.bin"):  # the card is ours; a pickle of this machine's paths is not
            (part / extra).unlink(missing_ok=True)
        record["steps"] = trainer.state.global_step
        for kind in ("loss", "reward"):  # the latter is GRPO's
            told = [[row["step"], float(row[kind])] for row in trainer.state.log_history if kind in row]
            if told:
                record["losses" if kind == "loss" else "rewards"] = told
        (part / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        (output / RECORD).unlink(missing_ok=True)  # what is left of it if this is cut short counts as unfinished
        shutil.rmtree(output, ignore_errors=True)
        os.replace(part, output)
        shutil.rmtree(work, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    return record


def finished(output: Path, planned: dict[str, Any]) -> dict[str, Any] | None:
    """The record of a finished training in `output`, if it is the one that is planned."""
    path = output / RECORD
    record = json.loads(path.read_text()) if path.is_file() else None
    return record if record and record["fingerprint"] == planned["fingerprint"] else None


def last_checkpoint(work: Path) -> str | None:
    """The newest whole checkpoint of an interrupted training; `trainer_state.json` is what transformers writes last."""
    checkpoints = sorted(work.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for path in checkpoints:
        try:
            json.loads((path / "trainer_state.json").read_text())
        except (OSError, ValueError):
            continue  # cut off while it was written
        return str(path)
    return None


def main() -> None:
    """The command line of `accelerate launch -m plum_hub.train`."""
    parser = argparse.ArgumentParser(
        prog="accelerate launch -m plum_hub.train", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--entry", help="which entry of `train` (default: each that `methods` names)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a recipe key")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where checkpoints and the local Hub lie")
    parser.add_argument("--output", type=Path, help="where the checkpoint goes (default: under --runs)")
    parser.add_argument("--no-push", action="store_true", help="leave the checkpoint in --runs, push nothing")
    args = parser.parse_args()
    from plum_hub import recipe as recipes

    if "PLUM_RUN" in os.environ:
        die_with_parent()
    try:
        recipe = recipes.load(args.recipe, args.set)
        from plum_hub.hub.session import use_hub
        from plum_hub.progress import quiet

        with use_hub(recipe.hub, args.runs):
            quiet()
            recipes.check_trainer_args(recipe)
            for name in [args.entry] if args.entry else recipe.methods:
                output = args.output or args.runs / recipe.name / "checkpoints" / name
                train_and_push(recipe, name, output, push=not args.no_push)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)


def train_and_push(recipe: Recipe, name: str, output: Path, push: bool) -> None:
    """Train one entry into `output`, and publish it unscored unless `push` is off."""
    from plum_hub.hub.cards import publish_checkpoint
    from plum_hub.hub.publish import check_target

    repo = recipe.model_repo(name) if name in recipe.train else ""
    if push and repo and not check_target(repo, recipe.tag, "model"):
        if finished(output, plan(recipe, name)[2]):
            print(f"{repo}@{recipe.tag} is trained and published already", file=sys.stderr)
            return
        raise UserError(
            f"model {repo} has a tag {recipe.tag} already, and a tag never moves: "
            f"publish elsewhere with --set train.{name}.repo=org/name, or only train with --no-push"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    record = train(recipe, name, output)
    if int(os.environ.get("RANK", "0")) == 0:
        print(f"trained {name}: {output}", file=sys.stderr)
        if push:
            published = publish_checkpoint(recipe, name, output, record, scores=[])
            print(f"published {published.repo}@{published.tag} ({published.commit[:8]})", file=sys.stderr)


def die_with_parent() -> None:
    """Have the kernel end this process when `plum run` is killed, so that nothing works on unseen (Linux only)."""
    from plum_hub.sandbox.inside.common import PR_SET_PDEATHSIG, prctl

    parent = int(os.environ["PLUM_RUN"])
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent and "WORLD_SIZE" not in os.environ:
        sys.exit(1)  # it was killed before the line above


if __name__ == "__main__":
    main()
