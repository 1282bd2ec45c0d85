"""A policy small enough to train inside a test, and the few tasks it learns: parts for test_train and test_run.

The model is nano's untrained one; the tasks are one-liners whose demonstrations are right half of the time, so that a
policy trained on them writes both right and wrong programs.
"""

import uuid
from pathlib import Path

from datasets import Dataset
from huggingface_hub import DatasetCard, ModelCard

from plum_hub.hub.publish import publish, write_datasets
from plum_hub.nano import policy

TASKS = {
    "add one": ("n + 1", "n + 2", 3, 4),
    "double": ("n * 2", "n + 3", 5, 10),
    "square": ("n ** 2", "n * 3", 4, 16),
    "negate": ("-n", "n", 4, -4),
    "halve": ("n // 2", "n % 2", 9, 4),
    "take off one": ("n - 1", "1 - n", 9, 8),
}


def instruction(name: str) -> str:
    return f"Write a function f(n) to {name}."


def program(expression: str) -> str:
    return f"def f(n):\n    return {expression}\n"


def response(name: str) -> str:
    right, _, n, result = TASKS[name]
    return (
        f"[Analysis]\n{name}\n[Solution]\n{program(right)}[Start Code]\ndef f(n):\n[Test Code]\n"
        f"assert f({n}) == {result}\nassert f({n}) != {result + 1}\n"
    )


def publish_tiny(tmp_path: Path) -> tuple[str, str]:
    """Publish the tasks and the untrained model under fresh names; return both as `repo@v1`."""
    mark = uuid.uuid4().hex[:8]
    demos = [(name, program(TASKS[name][i % 2])) for name in TASKS for i in range(8)]
    configs = {
        "instructions": Dataset.from_dict(
            {
                "id": list(TASKS),
                "instruction": [instruction(name) for name in TASKS],
                "entry_point": ["f"] * len(TASKS),
            }
        ),
        "responses": Dataset.from_dict({"id": list(TASKS), "response": [response(name) for name in TASKS]}),
        "demos": Dataset.from_dict(
            {
                "prompt": [[{"role": "user", "content": instruction(name)}] for name, _ in demos],
                "completion": [[{"role": "assistant", "content": code}] for _, code in demos],
            }
        ),
    }
    folder = tmp_path / f"tasks-{mark}"
    data = write_datasets(configs, "instructions", folder)
    DatasetCard(f"---\n{data}\n---\n\n# Tiny tasks\n").save(folder / "README.md")
    tasks = publish(folder, f"plum/tasks-{mark}", "v1", "dataset", False, "tiny tasks")
    folder = tmp_path / f"init-{mark}"
    policy.build_initial(folder, seed=0)
    ModelCard("---\nlicense: apache-2.0\n---\n\n# Tiny\n").save(folder / "README.md")
    init = publish(folder, f"plum/init-{mark}", "v1", "model", False, "tiny model")
    return f"{tasks.repo}@v1", f"{init.repo}@v1"


RECIPE = """\
name: tiny-{mark}
namespace: plum
tag: v1
seed: 0
shard_size: 2
seed_policy:
  method: sft
  base: {init}
  dataset: {tasks}
  config: demos
  args: &args
    learning_rate: 5.0e-3
    max_steps: 60
    per_device_train_batch_size: 8
    gradient_checkpointing: false
    save_steps: 20
    max_length: 256
policy: plum/tiny-{mark}-policy@v1
instructions: {{dataset: {tasks}, config: instructions}}
tests:
  import: {{dataset: {tasks}, config: responses, key_column: id, text_column: response, generator: a program}}
sample: {{n: 8, max_new_tokens: 40, batch_size: 16}}
train:
  kto:
    method: kto
    args: &few
      learning_rate: 1.0e-4
      max_steps: 6
      per_device_train_batch_size: 4
      gradient_checkpointing: false
      save_steps: 2
      max_length: 256
  dpo: {{method: dpo, args: *few}}
  rft: {{method: sft, config: sft, args: *few}}
methods: [kto]
"""


def write_recipe(path: Path, tasks: str, init: str) -> Path:
    """The recipe of a tiny run under a name of its own."""
    path.write_text(RECIPE.format(mark=uuid.uuid4().hex[:8], tasks=tasks, init=init))
    return path
