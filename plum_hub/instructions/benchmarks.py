"""The texts of the benchmarks that instructions must not hold, from files or from the Hub.

    tasks = load(recipe, ("humaneval", "mbpp"))       # {"humaneval": [Task(...), ...], ...}

Files under the recipe's `data_dir` come first, under the names in which the benchmarks are passed around; then the
Hub, under the public names. LiveCodeBench weighs 4.5 GB there (its hidden tests), so it is downloaded only if a recipe
names it; its loading script is not run. All tasks count, not only the test split: the EvalPlus versions of MBPP use
tasks of every split. Not covered: other benchmarks, and the extra tests of HumanEval+ and MBPP+ (their prompts are the
same).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plum_hub.errors import UserError
from plum_hub.instructions.decontaminate import Task
from plum_hub.progress import say

if TYPE_CHECKING:
    from plum_hub.recipe import Recipe


def _humaneval(row: dict[str, Any]) -> Task:
    return Task(f"humaneval/{row['task_id']}", (row["prompt"],), row["prompt"] + row["canonical_solution"])


def _mbpp(row: dict[str, Any]) -> Task:
    text = row["text"] if "text" in row else row["prompt"]  # the full and the sanitized version
    tests = "\n".join([*row["test_list"], *row.get("challenge_test_list", ())])
    return Task(f"mbpp/{row['task_id']}", (text, tests), row["code"])


def _bigcodebench(row: dict[str, Any]) -> Task:
    prompts = (row["complete_prompt"], row["instruct_prompt"])
    return Task(f"bigcodebench/{row['task_id']}", prompts, row["code_prompt"] + row["canonical_solution"])


def _livecodebench(row: dict[str, Any]) -> Task:
    return Task(f"livecodebench/{row['question_id']}", (f"{row['question_content']}\n{row['starter_code']}",))


@dataclass(frozen=True)
class Benchmark:
    """Where a benchmark's tasks lie and how one of its rows becomes a `Task`.

    Attributes:
        dataset: its name on the Hub.
        parts: the configs and splits there; none: all `.jsonl` files of the repository.
        files: groups of files that hold it; the first group of which any file is found counts.
    """

    dataset: str
    task: Callable[[dict[str, Any]], Task]
    files: tuple[tuple[str, ...], ...]
    parts: tuple[tuple[str, str], ...] = ()


BENCHMARKS = {
    "humaneval": Benchmark(
        "openai/openai_humaneval", _humaneval, (("HumanEval.jsonl",),), (("openai_humaneval", "test"),)
    ),
    "mbpp": Benchmark(
        "google-research-datasets/mbpp",
        _mbpp,
        (("mbpp.jsonl", "sanitized-mbpp.json"),),
        tuple((config, s) for config in ("full", "sanitized") for s in ("train", "test", "validation", "prompt")),
    ),
    "livecodebench": Benchmark(
        "livecodebench/code_generation_lite",
        _livecodebench,
        (
            tuple(f"code_generation_lite/test{n}.jsonl" for n in ("", "2", "3", "4", "5", "6")),
            ("livecodebench.jsonl",),
            # the official runner's results hold the statements, too; a published one holds 880 of them
            ("Scenario.codegeneration_1_0.2_eval_all.json",),
            ("O1-Preview-2024-09-12.codegeneration_1_0.2_eval_all.json",),
        ),
    ),
    "bigcodebench": Benchmark(
        "bigcode/bigcodebench", _bigcodebench, (("BigCodeBench.jsonl",),), (("default", "v0.1.4"),)
    ),
}


def load(recipe: Recipe, names: Sequence[str] | None = None) -> dict[str, list[Task]]:
    """The tasks of the benchmarks by name; without `names`, of all that are found (the others have no tasks, and are
    told of).

    Raises:
        UserError: one that is named is nowhere, none at all is found, or a file is not what its name says.
    """
    found = {}
    for name in BENCHMARKS if names is None else names:
        benchmark = BENCHMARKS[name]
        rows: Iterable[dict[str, Any]] | None = _from_files(recipe, benchmark)
        if rows is None and (names is not None or benchmark.parts):
            try:
                rows = _from_hub(benchmark)
            except UserError as error:
                if names is not None:
                    raise UserError(
                        f"instructions.decontaminate: {name} is not under data_dir as {_files(benchmark)}, "
                        f"and not on the Hub: {error}"
                    ) from None
        try:
            found[name] = [benchmark.task(row) for row in rows or ()]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"instructions.decontaminate: {name}: a row is not what it should be: {error!r}") from None
    if names is None and not any(found.values()):
        raise UserError(
            "found none of the benchmarks to decontaminate against ("
            + ", ".join(_files(benchmark) for benchmark in BENCHMARKS.values())
            + "); point to a folder that has them with --set data_dir=DIR, "
            "or go without with --set instructions.decontaminate=[]"
        )
    if missing := [f"{name} ({_files(BENCHMARKS[name])})" for name, tasks in found.items() if not tasks]:
        say(
            f"warning: not decontaminated against {', '.join(missing)}, of which nothing was found; point to a folder "
            "that has the files with --set data_dir=DIR"
        )
    return found


def _files(benchmark: Benchmark) -> str:
    return benchmark.files[0][0]


def _from_files(recipe: Recipe, benchmark: Benchmark) -> Iterator[dict[str, Any]] | None:
    for group in benchmark.files:
        paths = []
        for name in group:
            try:
                paths.append(recipe.find_file(name))
            except UserError:
                continue
        if paths:
            return _rows(paths)
    return None


def _from_hub(benchmark: Benchmark) -> Iterable[dict[str, Any]]:
    if benchmark.parts:
        from plum_hub.hub.pull import pull

        # all of it now: what is missing must be known before the first row is used
        return [row for config, split in benchmark.parts for row in pull(benchmark.dataset, config, split).rows]
    from huggingface_hub import snapshot_download

    from plum_hub.names import explained

    with explained(benchmark.dataset, "dataset"):
        folder = Path(snapshot_download(benchmark.dataset, repo_type="dataset", allow_patterns="*.jsonl"))
    if not (paths := sorted(folder.glob("*.jsonl"))):
        raise UserError(f"dataset {benchmark.dataset} has no .jsonl files")
    return _rows(paths)


def _rows(paths: list[Path]) -> Iterator[dict[str, Any]]:
    """The objects in JSON or JSON lines files, one at a time: a task of LiveCodeBench may weigh megabytes."""
    for path in paths:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            if ".jsonl" in path.suffixes:
                yield from (json.loads(line) for line in file if line.strip())
            else:
                yield from json.load(file)
