"""Train one checkpoint with TRL from a recipe.

    accelerate launch -m plum_hub.train recipes/quickstart.yaml --entry kto      # and push it
    plum run recipes/quickstart.yaml                                             # the loop; calls this module

An entry of the recipe's `train` section names the method (`kto`, `dpo`, `sft`), a dataset as `org/name@tag` and a base
checkpoint; `args` are arguments of TRL's KTOConfig, DPOConfig or SFTConfig under TRL's own names. Dataset and base are
resolved to commits first, and the commits are recorded in `training.json` beside the weights.

TRL defaults changed here, because they would surprise: bf16 only on a GPU; nothing is reported to a tracker unless
`report_to` says so; KTO drops a last, smaller batch, which could hold one label only.

A killed training goes on from the trainer's last whole checkpoint (`save_steps`) and ends with the same weights.
Not covered yet: LoRA, other launch settings than accelerate's own, packing.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plum_hub.errors import UserError
from plum_hub.recipe import Recipe, Train

if TYPE_CHECKING:
    from datasets import Dataset

VERSIONS = ("accelerate", "torch", "transformers", "trl")
RECORD = "training.json"  # written last: a folder that has it is a finished training
VIEWS = {
    "kto": ("prompt", "completion", "label"),
    "dpo": ("prompt", "chosen", "rejected"),
    "sft": ("prompt", "completion"),
}


def trl_classes(method: str) -> tuple[Any, Any]:
    """TRL's trainer and configuration class for `kto`, `dpo` or `sft`."""
    import trl

    classes = {
        "kto": (trl.KTOTrainer, trl.KTOConfig),
        "dpo": (trl.DPOTrainer, trl.DPOConfig),
        "sft": (trl.SFTTrainer, trl.SFTConfig),
    }
    return classes[method]


def config_fields(method: str) -> dict[str, Any]:
    """The arguments of TRL's configuration class for `method`, with their defaults."""
    return {field.name: field.default for field in dataclasses.fields(trl_classes(method)[1]) if field.init}


def kto_weights(labels: Iterable[bool]) -> dict[str, float]:
    """KTO's loss weights from the label counts, so that both labels weigh the same in sum.

    TRL's KTOTrainer advises desirable_weight x n_desirable : undesirable_weight x n_undesirable between 1 and 4/3; the
    rarer label gets the larger weight.

    Raises:
        UserError: there is only one label.
    """
    labels = list(labels)
    desirable = sum(labels)
    undesirable = len(labels) - desirable
    if not desirable or not undesirable:
        raise UserError(
            f"KTO needs both labels; the dataset has {desirable} desirable and {undesirable} undesirable rows"
        )
    if desirable < undesirable:
        return {"desirable_weight": round(undesirable / desirable, 4), "undesirable_weight": 1.0}
    return {"desirable_weight": 1.0, "undesirable_weight": round(desirable / undesirable, 4)}


def load_rows(recipe: Recipe, entry: Train) -> tuple[Dataset, dict[str, Any]]:
    """The rows an entry trains on, and where they came from (`dataset`, `tag`, `commit`, `config`, `rows`).

    Raises:
        UserError: dataset, config or column does not exist, or no rows.
    """
    from plum_hub.hub.pull import pull
    from plum_hub.stages.prefer import is_kto_safe, kto_order

    name = entry.dataset or f"{recipe.dataset_repo}@{recipe.tag}"
    pulled = pull(name, entry.config or entry.method, entry.split)
    rows = pulled.rows
    missing = [column for column in VIEWS[entry.method] if column not in rows.column_names]
    if missing:
        raise UserError(
            f"{name} ({pulled.config}): column `{missing[0]}` is missing; {entry.method} needs "
            f"{', '.join(VIEWS[entry.method])}, and it has {', '.join(rows.column_names)}"
        )
    rows = rows.select_columns(list(VIEWS[entry.method]))
    if entry.rows:
        wanted = entry.rows
        if wanted == "as-sft":
            wanted = len(pull(f"{recipe.dataset_repo}@{recipe.tag}", "sft").rows)
        rows = rows.shuffle(seed=recipe.seed).select(range(min(wanted, len(rows))))
    if not len(rows):
        raise UserError(f"{name} ({pulled.config}) has no rows to train on")
    if entry.method == "kto":
        batch = entry.args.get("per_device_train_batch_size", 8)
        prompts, labels = [str(p) for p in rows["prompt"]], rows["label"][:]
        if not is_kto_safe(prompts, labels, batch):  # published for other batches, or by somebody else
            rows = rows.select(kto_order(prompts, labels, recipe.seed, batch)[0])
    record = {
        "dataset": pulled.repo,
        "tag": pulled.tag,
        "commit": pulled.commit,
        "config": pulled.config,
        "split": pulled.split,
        "rows": len(rows),
    }
    return rows, record


def plan(recipe: Recipe, name: str) -> tuple[Train, Dataset, dict[str, Any]]:
    """What training the entry `name` (or `seed_policy`) would do: the entry, its rows, and the record's first half.

    The record holds all that shapes the weights, and a `fingerprint` of it.

    Raises:
        UserError: something the recipe names does not exist or does not fit.
    """
    from plum_hub import stages
    from plum_hub.names import resolve, split_revision
    from plum_hub.stages import prefer

    entry = recipe.seed_policy if name == "seed_policy" else recipe.train.get(name)
    if entry is None:
        raise UserError(f"the recipe's `train` has no entry `{name}`; it has: {', '.join(recipe.train) or 'none'}")
    base = entry.base or recipe.policy
    if base is None:
        raise UserError(f"train entry `{name}` names no `base`, and the recipe no `policy`")
    repo, revision = resolve(base, "model")
    rows, data = load_rows(recipe, entry)
    args = dict(entry.args)
    if entry.method == "kto" and not {"desirable_weight", "undesirable_weight"} & set(args):
        args |= kto_weights(rows["label"])
    record: dict[str, Any] = {
        "entry": name,
        "method": entry.method,
        "base": {"repo": repo, "tag": split_revision(base)[1], "commit": revision},
        "data": data,
        "args": args,
        "seed": recipe.seed,
        "versions": {package: importlib.metadata.version(package) for package in VERSIONS},
    }
    record["fingerprint"] = stages.fingerprint(record, stages.code_version(sys.modules[__name__], prefer))
    return entry, rows, record


def train(recipe: Recipe, name: str, output: Path) -> dict[str, Any]:
    """Train the entry `name` (or `seed_policy`) into `output`; return the record, also in `training.json`.

    A folder that holds a finished training of the same recipe, data, base and versions is returned as it is.

    Raises:
        UserError: something the recipe names does not exist or does not fit.
    """
    entry, rows, record = plan(recipe, name)
    if done := finished(output, record):
        return done
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from plum_hub.generate.hf import spare_threads
    from plum_hub.progress import say
    from plum_hub.stages.prefer import kto_block

    repo, revision = record["base"]["repo"], record["base"]["commit"]
    world = os.environ.get("WORLD_SIZE", "1")  # a checkpoint holds the state of as many processes
    work = output.with_name(f"{output.name}.trainer-{record['fingerprint']}-{world}")

    gpu = torch.cuda.is_available()
    settings: dict[str, Any] = {
        "output_dir": str(work),
        "seed": recipe.seed,
        "report_to": "none",
        "bf16": gpu,
        "use_cpu": not gpu,
        "save_strategy": "steps",
        "save_total_limit": 2,
        "logging_steps": 50,
        "disable_tqdm": True,  # the bar is ours, as in every other stage
        **({"dataloader_drop_last": True} if entry.method == "kto" else {}),
        **record["args"],
    }
    settings["per_device_train_batch_size"] = min(settings.get("per_device_train_batch_size", 8), len(rows))
    trainer_class, config = trl_classes(entry.method)
    if entry.method == "kto":
        batch, desirable = settings["per_device_train_batch_size"], sum(rows["label"])
        block = kto_block(desirable, len(rows) - desirable, batch)
        if block > batch:
            say(f"note: some batches of {batch} hold one label only; per_device_train_batch_size: {block} would not")
    tokenizer = AutoTokenizer.from_pretrained(repo, revision=revision)
    # float32 weights, with bf16 arithmetic on a GPU: at the papers' learning rates bf16 weights would lose the updates
    model = AutoModelForCausalLM.from_pretrained(repo, revision=revision, dtype=torch.float32)
    spare_threads(model)
    reference = {}
    if entry.method != "sft" and not settings.get("precompute_ref_log_probs"):
        # left to itself, TRL 1.16 loads the reference by the model's name alone: the newest commit, not this one
        reference["ref_model"] = AutoModelForCausalLM.from_pretrained(repo, revision=revision, dtype=torch.float32)
    trainer = trainer_class(
        model=model, args=config(**settings), train_dataset=rows, processing_class=tokenizer, **reference
    )
    show_progress(trainer, name)
    checkpoint = last_checkpoint(work)
    if checkpoint and trainer.accelerator.is_main_process:
        say(f"train {name}: going on from step {checkpoint.rpartition('-')[2]}")
    trainer.train(resume_from_checkpoint=checkpoint)

    part = output.with_name(f"{output.name}.part")
    if trainer.accelerator.is_main_process:
        shutil.rmtree(part, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    trainer.save_model(str(part))  # on every process: sharded weights are gathered here
    if trainer.accelerator.is_main_process:
        tokenizer.save_pretrained(str(part))
        for extra in ("README.md", "training_args.bin"):  # the card is ours; a pickle of this machine's paths is not
            (part / extra).unlink(missing_ok=True)
        record["steps"] = trainer.state.global_step
        record["losses"] = [[row["step"], float(row["loss"])] for row in trainer.state.log_history if "loss" in row]
        (part / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        (output / RECORD).unlink(missing_ok=True)  # what is left of it if this is cut short counts as unfinished
        shutil.rmtree(output, ignore_errors=True)
        os.replace(part, output)
        shutil.rmtree(work, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    return record


def show_progress(trainer: Any, name: str) -> None:
    """Show a trainer's steps as every other stage shows its items, in place of its bar and its printed dicts."""
    from contextlib import ExitStack

    from transformers import PrinterCallback, TrainerCallback

    from plum_hub.progress import bar

    class Steps(TrainerCallback):
        def __init__(self) -> None:
            self.stack = ExitStack()

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.is_world_process_zero:
                left = state.max_steps - state.global_step
                self.advance = self.stack.enter_context(bar(f"train {name}", left))

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.is_world_process_zero:
                self.advance(1)

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.stack.close()

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Steps())


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
                train_and_push(recipe, name, args.runs, push=not args.no_push)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)


def train_and_push(recipe: Recipe, name: str, runs: Path, push: bool) -> None:
    """Train one entry into `runs`, and publish it unscored unless `push` is off."""
    from plum_hub.hub.cards import publish_checkpoint
    from plum_hub.hub.publish import check_target

    repo = recipe.model_repo(name) if name in recipe.train else ""
    output = runs / recipe.name / "checkpoints" / name
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
