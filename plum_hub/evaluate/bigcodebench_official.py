"""`bigcodebench.evaluate --execution local` on samples of ours, in an environment of its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

from plum_hub.errors import UserError
from plum_hub.evaluate import environments
from plum_hub.evaluate.bigcodebench_libraries import HEAD, PASS, PINNED
from plum_hub.evaluate.samples import Sample
from plum_hub.evaluate.tasks import TESTS, Bench, Task
from plum_hub.progress import say
from plum_hub.sandbox import Unittest

#: What its `evaluate` imports. The package itself comes without its requirements, vLLM and all.
HARNESS = (
    "appdirs datasets==2.17.0 pyarrow==14.0.1 fire gradio-client httpx multipledispatch pqdm rich tempdir termcolor "
    "tqdm transformers==4.46.3 tree_sitter tree-sitter-python wget"
).split()
ALONE = ("bigcodebench==0.2.5",)

#: Imported at its top for another way of running, which is not asked for; e2b wants another protobuf than TensorFlow.
E2B = "class Sandbox:\n    pass\n"


def pass_at_1(bench: Bench, samples: list[Sample], folder: Path) -> float:
    """Percent. Files go to `folder`; see `bigcodebench.official`.

    Raises:
        UserError: the environment cannot be built, or the command fails.
    """
    base = environments.find("3.10")
    if base is None:
        raise UserError("bigcodebench's own command needs Python 3.10 with its pinned libraries: install one (uv does)")
    python = environments.ensure("bigcodebench-official", [*PINNED, *HARNESS], base, alone=ALONE)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {sample.task_id for sample in samples}
    problems = [_problem(task) for task in bench.tasks if task.id in wanted]
    _write(folder / "tasks.jsonl", problems)
    _write(folder / "samples.jsonl", [{"task_id": s.task_id, "solution": s.program} for s in samples])
    for old in folder.glob("samples_*.json"):
        old.unlink()
    (folder / "e2b.py").write_text(E2B)
    name, _, variant = bench.name.partition(":")
    arguments = {
        "split": variant or "instruct",
        "subset": "hard" if name.endswith("-hard") else "full",
        "execution": "local",
        "samples": "samples.jsonl",
        "parallel": str(os.cpu_count() or 1),
    }
    command: list[str | Path] = [python, "-c", "import bigcodebench.evaluate as e; e.main()"]
    for key, value in arguments.items():
        command += [f"--{key}", value]
    status, lines = environments.run(
        command,
        say,
        folder,
        BIGCODEBENCH_OVERRIDE_PATH="tasks.jsonl",
        XDG_CACHE_HOME=str(folder.absolute() / "cache"),  # times of references of other tasks lie in the user's
    )
    (folder / "log.txt").write_text("\n".join(lines))
    found = folder / "samples_pass_at_k.json"
    if status or not found.exists():
        raise UserError(f"bigcodebench.evaluate failed: {(lines or [''])[-1][:300]} (all of it: {folder / 'log.txt'})")
    return 100.0 * float(json.loads(found.read_text())["pass@1"])


def _problem(task: Task) -> dict[str, str]:
    suite = task.suites[TESTS]
    (test,) = suite.tests
    assert isinstance(test, Unittest)
    return {
        "task_id": task.id,
        "complete_prompt": task.prefix,
        "instruct_prompt": "",
        "canonical_solution": task.reference[len(task.prefix) + 1 :],
        "code_prompt": suite.source("").removeprefix(HEAD).removesuffix(PASS),
        "test": test.code,
        "entry_point": "task_func",
    }


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
