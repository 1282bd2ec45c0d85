"""How many planted copies of benchmark tasks are found, what real instruction sets lose, and how fast it goes.

    python tests/benchmarks/decontamination.py [--show REASON]

Needs the data in PLUM_DATA, by default ../shared/data from the project's root: the four benchmarks, and two rounds of
Evol-Instruct-Code with their seeds. Prints, for each benchmark and kind of copy, how many of the tasks are found; for
each file and for all of them together, rows in, out and dropped by reason, and rows a second for each filter on one
core. With --show, the rows dropped for a reason (such as contaminated), to be read by hand.
"""

from __future__ import annotations

import argparse
import builtins
import html
import json
import keyword
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # runs from a checkout, installed or not

from plum_hub.instructions import benchmarks, filters, prepare  # noqa: E402
from plum_hub.instructions.decontaminate import Index, Task, build  # noqa: E402
from plum_hub.recipe import Recipe  # noqa: E402

DATA = Path(os.environ.get("PLUM_DATA") or ROOT.parent / "shared" / "data")
SETS = ("converted_alpaca_2k.json", "evol-codealpaca-2k-1.json", "evol-codealpaca-2k-2.json")
KEPT = {*keyword.kwlist, *dir(builtins)}


def copies(task: Task) -> Iterator[tuple[str, str]]:
    """Kind and text of every copy."""
    # MBPP's asserts are part of what a model is shown
    prompt = "\n".join(task.prompts) if task.name.startswith("mbpp") else task.prompts[0]
    yield "exact", task.prompts[0]
    yield "wrapped", f"Please help me with this task in Python.\n\n{task.prompts[0]}\n\nExplain each step."
    yield "re-spaced", respaced(task.prompts[0])
    yield "translated", translated(prompt)
    yield "function renamed", function_renamed(prompt)
    yield "HTML", html.escape(task.prompts[0])
    yield "JSON", json.dumps(task.prompts[0], ensure_ascii=False)
    yield "numbered lines", numbered(task.prompts[0])
    yield "full-width", "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in task.prompts[0])
    if docstring := re.search(r'"""(.*?)"""', task.prompts[0], re.DOTALL):
        yield "docstring alone", f"Write a function. {docstring[1]}"
        yield "docstring's prose", re.split(r">>>|[Ee]xample|\n\s*\w+\(", docstring[1])[0]
    if task.program:
        yield "program", f"Fix this:\n```python\n{task.program}\n```"
        yield "program, re-spaced", respaced(task.program)
        yield "program, numbered lines", f"Why does this fail?\n{numbered(task.program)}"
        yield "program, renamed", f"What does this do?\n{renamed(task.program)}"


def respaced(text: str) -> str:
    """Other indentation, blank lines, line ends and spaces."""
    return re.sub(r"[ \t]+", "   ", re.sub(r"\n\s*", "\r\n\r\n\t", text))


def numbered(text: str) -> str:
    """Every line with its number."""
    return "\n".join(f"{i}. {line}" for i, line in enumerate(text.splitlines(), 1))


def function_renamed(prompt: str) -> str:
    """The function that a prompt defines or tests has another name."""
    names = {*re.findall(r"(?:\bdef|\bassert|>>>) (\w+)\(", prompt)} - KEPT
    return re.sub(r"[A-Za-z_]\w*", lambda word: "solve_this" if word[0] in names else word[0], prompt)


def translated(prompt: str) -> str:
    """Every line of prose in words that nobody knows; code, doctests and data stay."""
    code = re.compile(r"\s*(>>>|def |class |import |from |assert|@)")
    return "\n".join(
        line
        if code.match(line) or not re.search(r"[a-z]{2,}( [a-z]+){2,}", line, re.IGNORECASE)
        else re.sub(r"[A-Za-z]+", lambda word: "ж" + word[0][::-1], line)
        for line in prompt.splitlines()
    )


def renamed(program: str) -> str:
    """Without docstrings, every name that the program gave replaced."""
    names: dict[str, str] = {}
    bare = re.sub(r'("""|\'\'\').*?\1', "", program, flags=re.DOTALL)
    return re.sub(
        r"(?<![.\w\"'])[A-Za-z_]\w*",
        lambda name: name[0] if name[0] in KEPT else names.setdefault(name[0], f"var{len(names)}"),
        bare,
    )


def recipe(file: str, **settings: Any) -> Recipe:
    """A recipe for a file of Evol-Instruct-Code's layout."""
    return Recipe.model_validate(
        {
            "name": "decontamination",
            "namespace": "me",
            "policy": "me/model",
            "data_dir": str(DATA),
            "instructions": {"source": "evol-instruct-code", "file": file, **settings},
            "tests": {"generator": "hf:me/generator"},
            "sample": {},
        }
    )


def recall(tasks: dict[str, list[Task]], index: Index) -> None:
    """Print how many copies of each kind are found."""
    for name, some in tasks.items():
        planted, found = Counter[str](), Counter[str]()
        for task in some:
            for kind, text in copies(task):
                planted[kind] += 1
                found[kind] += index.find(text) is not None
        print(f"{name}: " + ", ".join(f"{kind} {found[kind]}/{n}" for kind, n in planted.items()))


def speed(texts: list[str], index: Index) -> None:
    """Print rows a second for each filter."""
    ids = [str(i) for i in range(len(texts))]
    steps: dict[str, Callable[[], Any]] = {
        "not_python": lambda: filters.other_language(texts),
        "duplicate": lambda: filters.duplicates(texts, ids),
        "near_duplicate": lambda: filters.near_duplicates(texts, ids),
        "contaminated": lambda: filters.contaminated(texts, index),
    }
    for name, step in steps.items():
        start = time.perf_counter()
        step()
        print(f"{name}: {len(texts) / (time.perf_counter() - start):,.0f} rows/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", metavar="REASON", default="")
    args = parser.parse_args()
    tasks = benchmarks.load(recipe(SETS[0]))
    start = time.perf_counter()
    index = build(task for some in tasks.values() for task in some)
    print(f"index of {sum(map(len, tasks.values()))} tasks: {time.perf_counter() - start:.1f} s")
    recall(tasks, index)
    texts = [text for file in SETS for text in prepare(recipe(file, clean=False)).rows["instruction"]]
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as together:
        together.writelines(json.dumps({"instruction": text}) + "\n" for text in texts)
        together.flush()
        for file in (*SETS, together.name):
            done = prepare(recipe(file))
            print(f"{'all' if file == together.name else file}: {json.dumps(done.counts)}")
            for row in done.dropped:
                if row["reason"] == args.show:
                    print(f"  {row['id']} {row['detail']} | {' '.join(row['instruction'].split())[:200]}")
    speed(texts, index)


if __name__ == "__main__":
    main()
