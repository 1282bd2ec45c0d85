"""LeetCode: LeetCodeDataset's test split (228 problems of 2024-08 and later) and DeepSeek-Coder's 180 contest problems.

    plum eval org/model --bench leetcode,leetcode-contest
    plum eval org/model --bench leetcode --data DIR     # DIR/leetcode/LeetCodeDataset-test.jsonl, also with .gz

PLUM's texts do not name their LeetCode set; what they cite for it is DeepSeek-Coder's paper, hence `leetcode-contest`.

What is sent, extracted, put in front and called is as in the two harnesses, to the letter:

- `leetcode`: github.com/newfacade/LeetCodeDataset (MIT), `eval_lcd`: the row's `query`; the longest run of lines that
  is Python; `prompt` (imports, ListNode, TreeNode and their helpers) in front; `test`, then `check(Solution().method)`.
  Only the text for models without a chat format is ours, as that harness has none: `query` and an opened code block.
- `leetcode-contest`: github.com/deepseek-ai/DeepSeek-Coder, Evaluation/LeetCode (MIT), `prompt_sft` without chain of
  thought; its code block; its imports in front. Its data are taken from a copy on the Hub, TechxGenus/LeetCode-Contest.
  For models without a chat format its `prompt` goes on, up to the marks at which that harness cuts such a text.

Time limits: the harnesses have 3 (`eval_lcd`) and 10 seconds by the wall clock. Here it is processor time, and where a
problem's reference takes longer than a third of its 3 seconds, three times that: two of the 228 references take 17 and
30 s on a slow machine, and fail under the harness's own limit.

Not covered: LeetCode's own judge and hidden tests; other languages. `tree_node` and the like, which tests use, are of
the program's process, see `plum_hub/sandbox/__init__.py`.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from plum_hub.errors import UserError
from plum_hub.evaluate.judging import by_references
from plum_hub.evaluate.longest import longest_python
from plum_hub.evaluate.tasks import TESTS, Bench, Style, Suite, Task
from plum_hub.names import explained
from plum_hub.sandbox import Limits

#: Benchmark -> its public name on the Hub and its file there, the newest name first.
SOURCES = {
    "leetcode": ("newfacade/LeetCodeDataset", ("LeetCodeDataset-test.jsonl", "LeetCodeDataset-v0.3.1-test.jsonl")),
    "leetcode-contest": ("TechxGenus/LeetCode-Contest", ("20240121-Jul.jsonl",)),
}

#: What each row must have.
COLUMNS = {
    "leetcode": ("task_id", "query", "prompt", "test", "entry_point", "completion", "difficulty"),
    "leetcode-contest": ("task_id", "prompt", "prompt_sft", "test", "meta"),
}

LEETCODE_SECONDS, SLOWER = 3.0, 3.0  # at least so many, and so many times those of the reference
CONTEST_SECONDS = 10.0

#: DeepSeek-Coder's imports, numpy apart: it takes a tenth of a second, and is imported where a program names it.
CONTEST_IMPORTS = """\
import math
import re
import sys
import copy
import datetime
import itertools
import collections
import heapq
import functools
import hashlib
import string
from typing import *
from collections import *
from functools import *
"""
NUMPY = "import numpy\nimport numpy as np\n"
CONTEST_STOP = ("\ndef", "\nclass", "\nif", "\n#", "\nprint")


def load(name: str, data: Path | None = None) -> Bench:
    """`leetcode` or `leetcode-contest`, from the Hub or from the folder `data`.

    Raises:
        UserError: no such file or repository, a file of another kind, or a package that the problems need is missing.
    """
    if importlib.util.find_spec("sortedcontainers") is None:
        raise UserError(
            f"{name} needs a package that LeetCode has, and its solutions use: pip install 'plum-hub[eval]'"
        )
    repo, files = SOURCES[name]
    path, where = _in_folder(data, files) if data else _on_hub(repo, files)
    rows, digest = _rows(path, COLUMNS[name])
    version = f"{where}, sha256 {digest[:12]}"
    bench = _leetcode(rows, repo, version) if name == "leetcode" else _contest(rows, repo, version)
    return replace(bench, public=not data)


def prefetch(name: str) -> None:
    """Download the file, for use without a network."""
    _on_hub(*SOURCES[name])


def _in_folder(data: Path, files: tuple[str, ...]) -> tuple[Path, str]:
    known = [found for name in files for found in sorted((data / "leetcode").glob(f"*{name}*")) if found.is_file()]
    if not known:
        raise UserError(f"{data / 'leetcode'} has no {files[0]} (also with .gz); without --data it comes from the Hub")
    return known[0], known[0].name


def _on_hub(repo: str, files: tuple[str, ...]) -> tuple[Path, str]:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    with explained(repo, "dataset"):
        for file in files:
            try:
                path = Path(hf_hub_download(repo, file, repo_type="dataset"))
            except RemoteEntryNotFoundError:
                continue
            except LocalEntryNotFoundError:  # without a network it is not told apart from one that is not cached
                if file == files[-1]:
                    raise
                continue
            return path, f"{file}@{path.parent.name[:12]}"
    raise UserError(f"dataset {repo} has no {files[0]}; give the file with --data DIR, in DIR/leetcode")


def _rows(path: Path, columns: tuple[str, ...]) -> tuple[list[dict[str, Any]], str]:
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    try:
        rows = [json.loads(line) for line in content.decode().splitlines() if line.strip()]
    except ValueError as error:
        raise UserError(f"{path} is not JSON lines: {error}") from None
    if lost := sorted({column for row in rows for column in columns if column not in row}) if rows else columns:
        raise UserError(f"{path} is not the benchmark's file: {', '.join(lost)} missing")
    return rows, hashlib.sha256(content).hexdigest()


def _leetcode(rows: list[dict[str, Any]], repo: str, version: str) -> Bench:
    tasks = [
        Task(
            row["task_id"],
            {
                "chat": [{"role": "user", "content": row["query"]}],
                "text": [{"role": "text", "content": row["query"] + "```python\n"}],
            },
            {TESTS: Suite((f"{row['test']}\ncheck({row['entry_point']})\n",), source=partial(_below, row["prompt"]))},
            row["completion"],
            traits={"difficulty": row["difficulty"]},
        )
        for row in rows
    ]
    return Bench(
        name="leetcode",
        tasks=tasks,
        scores={"leetcode": (TESTS,)},
        dataset=repo,
        version=version,
        public=True,
        harness="LeetCodeDataset 182cd19",
        limits=Limits(seconds=60.0, total_seconds=300.0),
        max_new_tokens=4096,
        program=_leetcode_program,
        styles=("chat", "text"),
        stop={"text": ("\n```",)},
        check=partial(by_references, factor=SLOWER, floor=LEETCODE_SECONDS),
    )


def _leetcode_program(task: Task, text: str, style: Style) -> str:
    return text if style == "text" else longest_python(text) or ""


def _below(imports: str, program: str) -> str:
    return f"{imports}\n{program}"


def _contest(rows: list[dict[str, Any]], repo: str, version: str) -> Bench:
    tasks = [
        Task(
            row["task_id"],
            {
                "chat": [{"role": "user", "content": row["prompt_sft"]}],
                "text": [{"role": "text", "content": row["prompt"].rstrip()}],
            },
            {TESTS: Suite((row["test"],), source=_with_imports)},
            traits={"difficulty": row["meta"]["difficulty"]},
        )
        for row in rows
    ]
    return Bench(
        name="leetcode-contest",
        tasks=tasks,
        scores={"leetcode-contest": (TESTS,)},
        dataset=repo,
        version=version,
        public=True,
        harness="DeepSeek-Coder 2f9fd85",
        limits=Limits(seconds=CONTEST_SECONDS, total_seconds=60.0),
        max_new_tokens=1024,
        program=_contest_program,
        styles=("chat", "text"),
        stop={"text": CONTEST_STOP},
    )


def _contest_program(task: Task, text: str, style: Style) -> str:
    if style == "text":
        return task.prompts["text"][0]["content"] + text
    if text.startswith("\n        "):  # only the body
        return contest_block(task.prompts["chat"][0]["content"]).strip() + "\n" + text
    return contest_block(text)


def _with_imports(program: str) -> str:
    return CONTEST_IMPORTS + (NUMPY if re.search(r"\bnp\b|\bnumpy\b", program) else "") + program


def contest_block(text: str) -> str:
    """The program in a text, by DeepSeek-Coder's rule: the first Python block; without one, what stands before the
    first line that begins something else; the text as it is where the block never ends."""
    text = text.replace("[PYTHON]", "```python").replace("[/PYTHON]", "```")
    if "```python" not in text:
        return re.split("|".join(CONTEST_STOP), text)[0]
    found = re.search(r"```python\n(.*?)\n```", text, re.DOTALL)
    return found[1] if found else text
