"""Samples: what a model wrote for a task, ours or from a file in a harness's own format.

A file may be evalplus' or BigCodeBench's JSON lines (`task_id` with `solution`, or with `completion`, which goes on
from the task's prompt), evalplus' folders (`HumanEval_0/0.py`), LiveCodeBench's (`question_id` with `code_list`, as
JSON lines or as one list), or what any of them wrote as results (`eval`: task id -> samples). Other columns do not
matter.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from plum_hub.errors import UserError
from plum_hub.evaluate.tasks import Bench


@dataclass(frozen=True)
class Sample:
    """One text for one task, and the program in it."""

    task_id: str
    index: int  # 0, 1, ... among the samples of its task
    program: str
    text: str | None = None  # None: the program came from a file
    finish_reason: str | None = None
    tokens: int | None = None


def append(path: Path, samples: list[Sample]) -> None:
    """Add lines to a file of samples."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(sample)) + "\n" for sample in samples)


def load(path: Path) -> list[Sample]:
    """What `append` wrote; a last line that a kill cut off is dropped from the file as well."""
    return [Sample(**row) for row in read_lines(path)]


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of our own that is only added to; what a kill cut off is dropped from the file as well."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("r+b") as file:
            file.truncate(whole)
    return [json.loads(line) for line in data[:whole].decode().splitlines()]


def from_file(path: Path, bench: Bench) -> tuple[list[Sample], int]:
    """Read samples from elsewhere.

    Returns:
        The samples of the benchmark's tasks, in the tasks' order, and the number of rows for other tasks.

    Raises:
        UserError: no such file, a row that is in none of the formats, or no sample of this benchmark.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    tasks = {task.id: task for task in bench.tasks}
    found: dict[str, list[str]] = {}
    others = 0
    for at, row in enumerate(_rows(path), 1):
        task_id, programs = _programs(row, f"{path}, row {at}", {i: task.prefix for i, task in tasks.items()})
        if task_id in tasks:
            found.setdefault(task_id, []).extend(programs)
        else:
            others += 1
    if not found:
        raise UserError(f"{path} has no sample of {bench.name}; its tasks are called {next(iter(tasks))!r} and so on")
    samples = [Sample(i, k, code) for i in tasks if i in found for k, code in enumerate(found[i])]
    return samples, others


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_dir():
        files = [file for folder in sorted(path.iterdir()) if folder.is_dir() for file in sorted(folder.glob("*.py"))]
        for file in files:
            yield {"task_id": file.parent.name.replace("_", "/"), "solution": file.read_text(encoding="utf-8")}
        return
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
    except (UnicodeDecodeError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is not text in UTF-8, gzipped or not: {error}") from None
    try:
        try:
            whole = json.loads(text)
        except json.JSONDecodeError:  # JSON lines
            whole = [json.loads(line) for line in text.split("\n") if line.strip()]
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is neither JSON nor JSON lines: {error}") from None
    if isinstance(whole, dict) and isinstance(whole.get("eval"), dict):
        for task_id, rows in whole["eval"].items():
            for row in rows if isinstance(rows, list) else [rows]:
                if not isinstance(row, dict):
                    raise UserError(f"{path}: results without programs: {task_id} has {str(row)[:40]!r}")
                yield {"task_id": task_id} | row
        return
    for row in whole if isinstance(whole, list) else [whole]:
        if not isinstance(row, dict):
            raise UserError(f"{path}: a sample is an object with task_id and solution, not {str(row)[:40]!r}")
        yield row


def _programs(row: dict[str, Any], where: str, prefixes: dict[str, str]) -> tuple[str, list[str]]:
    task_id = row.get("task_id", row.get("question_id"))
    if not isinstance(task_id, str | int):
        raise UserError(f"{where}: no task_id (evalplus, BigCodeBench) and no question_id (LiveCodeBench)")
    task_id = str(task_id)
    if isinstance(row.get("code_list"), list):
        programs = row["code_list"]
        if not programs:
            raise UserError(f"{where}: code_list is empty")
    elif "solution" in row:
        programs = [row["solution"]]
    elif "completion" in row:
        programs = [row["completion"]]
        if isinstance(row["completion"], str):
            programs = [prefixes.get(task_id, "") + row["completion"]]
    else:
        raise UserError(f"{where}: neither solution, completion nor code_list; it has {', '.join(row)}")
    if not all(isinstance(program, str) for program in programs):
        raise UserError(f"{where}: a program must be text; for several samples of a task repeat the row")
    return task_id, programs
