"""TRL's trainers as a recipe wants them: which class, its arguments, LoRA, models in and weights out, the progress bar.

The trainers themselves are TRL's, untouched. Not covered: quantised models, adapters on top of adapters.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plum_hub.errors import UserError, nearest
from plum_hub.names import explained
from plum_hub.recipe import Train

if TYPE_CHECKING:
    import torch

PACKAGES = {  # what the values of `report_to` need: any of these
    "clearml": ("clearml",),
    "comet_ml": ("comet_ml",),
    "mlflow": ("mlflow",),
    "neptune": ("neptune",),
    "swanlab": ("swanlab",),
    "tensorboard": ("tensorboard", "tensorboardX"),
    "trackio": ("trackio",),
    "wandb": ("wandb",),
}


def trl_classes(method: str) -> tuple[Any, Any]:
    """TRL's trainer and configuration class for `kto`, `dpo`, `sft` or `grpo`."""
    import trl

    return getattr(trl, f"{method.upper()}Trainer"), getattr(trl, f"{method.upper()}Config")


def config_fields(method: str) -> dict[str, Any]:
    """The arguments of TRL's configuration class for `method`, with their defaults."""
    return {field.name: field.default for field in dataclasses.fields(trl_classes(method)[1]) if field.init}


def check(name: str, entry: Train, here: bool = True) -> None:
    """Check what an entry asks for besides TRL's argument names, without a network.

    Args:
        here: it is this machine that will train, so that the packages it needs must be installed.

    Raises:
        UserError: a setting that its method does not have, a package that is not installed, a key LoRA does not have.
    """
    if entry.reference and entry.method not in ("kto", "dpo"):
        raise UserError(f"train entry `{name}`: `reference` belongs to kto and dpo; {entry.method} does not take one")
    if entry.lora is not None and (here or importlib.util.find_spec("peft")):
        lora_config(name, entry.lora)
    if not here:
        return
    if entry.args.get("use_liger_kernel") and not importlib.util.find_spec("liger_kernel"):
        raise UserError(
            f"train entry `{name}`: args.use_liger_kernel needs the package liger-kernel: pip install liger-kernel"
        )
    wanted = entry.args.get("report_to") or []
    for tracker in [wanted] if isinstance(wanted, str) else wanted:
        packages = PACKAGES.get(tracker, ())
        if packages and not any(importlib.util.find_spec(package) for package in packages):
            raise UserError(
                f"train entry `{name}`: args.report_to: {tracker} needs a package: pip install {packages[0]}"
            )
        if not packages and tracker not in ("none", "all", "azure_ml", "codecarbon", "dagshub", "dvclive", "flyte"):
            raise UserError(f"train entry `{name}`: args.report_to: no `{tracker}`{nearest(tracker, PACKAGES)}")
    if entry.args.get("use_vllm") and not importlib.util.find_spec("vllm"):
        raise UserError(f'train entry `{name}`: args.use_vllm needs vLLM: pip install "plum-hub[vllm]"')


def lora_config(name: str, settings: dict[str, Any]) -> Any:
    """`lora` of a recipe as a `peft.LoraConfig`.

    Raises:
        UserError: peft is not installed, or does not know a key or value.
    """
    if not importlib.util.find_spec("peft"):
        raise UserError(f'train entry `{name}`: `lora` needs the package peft: pip install "plum-hub[lora]"')
    import peft

    known = [field.name for field in dataclasses.fields(peft.LoraConfig) if field.init]
    for key in settings:
        if key not in known:
            raise UserError(f"train entry `{name}`: peft's LoraConfig has no argument `{key}`{nearest(key, known)}")
    try:
        return peft.LoraConfig(**{"task_type": "CAUSAL_LM", **settings})
    except (TypeError, ValueError) as error:
        raise UserError(f"train entry `{name}`: lora: {_line(error)}") from None


def _line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__


def load_model(repo: str, revision: str, dtype: Any) -> Any:
    """A causal language model of the Hub at one commit.

    Raises:
        UserError: it is none, or one that transformers does not know.
    """
    from huggingface_hub.errors import HfHubHTTPError
    from transformers import AutoModelForCausalLM

    with explained(f"{repo}@{revision}", "model"):
        try:
            return AutoModelForCausalLM.from_pretrained(repo, revision=revision, dtype=dtype)
        except (ValueError, KeyError, OSError) as error:
            if isinstance(error, HfHubHTTPError):
                raise
            raise UserError(
                f"{repo} is not a causal language model that transformers can load: {_line(error)}"
            ) from None


def load_tokenizer(repo: str, revision: str) -> Any:
    """A checkpoint's tokenizer, with a chat template and a pad token where it has none of its own.

    They are saved with what is trained, so that whoever loads it asks it in the words that it was trained on.
    """
    from transformers import AutoTokenizer

    from plum_hub.generate.template import with_template

    with explained(f"{repo}@{revision}", "model"):
        tokenizer = AutoTokenizer.from_pretrained(repo, revision=revision)
    with_template(tokenizer)
    if tokenizer.pad_token_id is None:  # what is padded is masked, in the loss as well
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def snapshot(repo: str, revision: str) -> str:
    """The folder of a commit's files, after `load_model` has fetched them."""
    from transformers.utils import cached_file

    return str(Path(cached_file(repo, "config.json", revision=revision)).parent)


@contextmanager
def unless_set(variables: dict[str, str]) -> Iterator[None]:
    """Environment variables for a block, where the user has not set them."""
    missing = {key: value for key, value in variables.items() if key not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for key in missing:
            os.environ.pop(key, None)


def _is_sharded() -> bool:
    """Whether the launcher has weights spread over processes (FSDP, DeepSpeed ZeRO 3)."""
    from transformers.integrations import is_deepspeed_zero3_enabled

    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true" or bool(is_deepspeed_zero3_enabled())


def make_trainer(entry: Train, name: str, settings: dict[str, Any], **parts: Any) -> Any:
    """TRL's trainer for an entry, with shared prompts computed once where that can be, and our progress bar.

    Args:
        settings: arguments of TRL's configuration class.
        parts: `model`, `train_dataset`, `processing_class`, and what else the trainer takes.

    Raises:
        UserError: TRL or PEFT refuses the arguments, in their own words.
    """
    from plum_hub.shared_prompts import share_prompts

    trainer_class, config = trl_classes(entry.method)
    if entry.method == "grpo":
        from plum_hub.rewards import passes_tests

        parts["reward_funcs"] = passes_tests
    elif not (_is_sharded() or settings.get("torch_compile")):
        for model in filter(None, (parts["model"], parts.get("ref_model"))):
            share_prompts(model)
    try:
        trainer = trainer_class(args=config(**settings), **parts)
    except (ValueError, NotImplementedError, ImportError) as error:
        raise UserError(f"train entry `{name}`: {_line(error)}") from None
    if settings.get("precompute_ref_log_probs"):
        trainer.ref_model = None  # its work is done, and nobody should keep it in memory
        trainer.accelerator._models = [m for m in trainer.accelerator._models if m is not parts.get("ref_model")]
    show_progress(trainer, name)
    return trainer


def base_dtype(repo: str, revision: str) -> torch.dtype:
    """The precision a checkpoint is published in, by its config; float32 where that says nothing."""
    import torch
    from transformers import AutoConfig

    with explained(f"{repo}@{revision}", "model"):
        found = getattr(AutoConfig.from_pretrained(repo, revision=revision), "dtype", None)
    return found if isinstance(found, torch.dtype) else torch.float32


def merge(repo: str, revision: str, adapter: Path, output: Path, pad_token_id: int) -> None:
    """Write the whole model that a base and a trained adapter make, in float32."""
    import torch
    from peft import PeftModel

    model = load_model(repo, revision, torch.float32)
    model.config.pad_token_id = model.generation_config.pad_token_id = pad_token_id  # as TRL sets them otherwise
    PeftModel.from_pretrained(model, str(adapter)).merge_and_unload().save_pretrained(output)


def cast(folder: Path, dtype: torch.dtype) -> None:
    """Rewrite a saved model's weights in another precision, one file at a time."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    if dtype == torch.float32:
        return
    size = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
            about = file.metadata()
        tensors = {key: value.to(dtype) if value.is_floating_point() else value for key, value in tensors.items()}
        size += sum(value.numel() * value.element_size() for value in tensors.values())
        part = path.with_suffix(".part")
        save_file(tensors, part, metadata=about)
        os.replace(part, path)
    index = folder / "model.safetensors.index.json"
    if index.exists():
        content = json.loads(index.read_text())
        content["metadata"]["total_size"] = size
        index.write_text(json.dumps(content, indent=2) + "\n")
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = str(dtype).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def show_progress(trainer: Any, name: str) -> None:
    """Show a trainer's steps and last loss as every other stage shows its items, in place of its own bar and dicts."""
    from transformers import PrinterCallback, TrainerCallback

    from plum_hub.progress import bar

    class Steps(TrainerCallback):
        def __init__(self) -> None:
            self.stack, self.loss = ExitStack(), ""

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.is_world_process_zero:
                left = state.max_steps - state.global_step
                self.advance = self.stack.enter_context(bar(f"train {name}", left))

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if logs and "loss" in logs:
                self.loss = f"loss {float(logs['loss']):.4g}"

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.is_world_process_zero:
                self.advance(1, self.loss)

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.stack.close()

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(Steps())
