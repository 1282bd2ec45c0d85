"""Instructions: each known set's rows, each filter, and benchmark tasks found in whatever clothes they come."""

import gzip
import json
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from benchmarks.decontamination import copies

from plum_hub import instructions
from plum_hub import recipe as recipes
from plum_hub.errors import UserError
from plum_hub.instructions import benchmarks, filters, prepare, sources
from plum_hub.instructions.decontaminate import Task, build

HUMANEVAL = {
    "task_id": "HumanEval/900",
    "prompt": '''from typing import List


def widest_gap(levels: List[int], floor: int) -> int:
    """ Given the water levels of a canal lock, find the widest gap between neighbouring levels above the floor.
    >>> widest_gap([3, 9, 4, 17, 2], 3)
    13
    >>> widest_gap([1, 2], 5)
    0
    """
''',
    "canonical_solution": """    kept = [level for level in levels if level >= floor]
    widest = 0
    for left, right in zip(kept, kept[1:]):
        widest = max(widest, abs(left - right))
    return widest
""",
    "entry_point": "widest_gap",
    "test": "",
}
MBPP = {
    "task_id": 901,
    "text": "Write a function to merge overlapping ferry bookings of a harbour.",
    "code": "def merge_bookings(slots):\r\n  slots = sorted(slots)\r\n  merged = [slots[0]]\r\n"
    "  for start, end in slots[1:]:\r\n    if start <= merged[-1][1]:\r\n"
    "      merged[-1] = (merged[-1][0], max(end, merged[-1][1]))\r\n"
    "    else:\r\n      merged.append((start, end))\r\n  return merged",
    "test_list": ["assert merge_bookings([(1, 4), (3, 6)]) == [(1, 6)]", "assert merge_bookings([(2, 3)]) == [(2, 3)]"],
    "challenge_test_list": [],
    "test_setup_code": "",
}
LIVECODEBENCH = {
    "question_id": "abc990_q",
    "question_content": "There are N lanterns in a row along the quay, and lantern i burns for A_i hours each night.\n"
    "Find how many lanterns still burn after K hours have passed since the lamplighter went home.\n\n"
    "Sample Input 1\n\n5 3\n4 1 7 3 9\n\nSample Output 1\n\n3\n\n"
    "Sample Input 2\n\n4 10\n12 2 11 10\n\nSample Output 2\n\n2",
    "starter_code": "",
    "public_test_cases": "[]",
}
BIGCODEBENCH = {
    "task_id": "BigCodeBench/9000",
    "complete_prompt": '''import csv
import statistics

def task_func(path, column="tonnage"):
    """
    Read the harbour register and return the median tonnage of all ships that moored on more than one quay.

    Example:
    >>> task_func("register.csv", column="draught")
    4.5
    """
''',
    "instruct_prompt": "Read the harbour register and return the median tonnage of all ships that moored on more than "
    "one quay.\nYou should write self-contained code starting with:\n```\nimport csv\nimport statistics\n\n"
    'def task_func(path, column="tonnage"):\n```',
    "code_prompt": 'import csv\nimport statistics\n\ndef task_func(path, column="tonnage"):\n',
    "canonical_solution": """    quays = {}
    with open(path) as file:
        for row in csv.DictReader(file):
            quays.setdefault(row["ship"], {})[row["quay"]] = float(row[column])
    return statistics.median(max(seen.values()) for seen in quays.values() if len(seen) > 1)
""",
}
TASKS = {
    "humaneval": ("HumanEval.jsonl.gz", HUMANEVAL),
    "mbpp": ("mbpp.jsonl", MBPP),
    "livecodebench": ("code_generation_lite/test.jsonl", LIVECODEBENCH),
    "bigcodebench": ("BigCodeBench.jsonl.gz", BIGCODEBENCH),
}
HONEST = [
    "Write a Python function to merge two sorted lists into one sorted list.",
    "Write a function to find the largest gap between two neighbours in a list of levels.",
    "Create a Python program that reads a CSV register of ships and prints the mean tonnage.",
    "Fix this code:\n```python\ndef total(values):\n    result = 0\n    for value in values:\n        result += value\n"
    "    return result\n```",
    "There are N lamps in a row. Given the hours that each burns, print those that burn longest.\n5 3\n1 2 3 4 5",
    "Given a list of integers, write a function that returns the second smallest element, or None if there is none.",
]


def write(path: Path, *rows: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """A folder with one task of every benchmark."""
    for name, row in TASKS.values():
        write(tmp_path / name, row)
    return tmp_path


def recipe(folder: Path, *rows: dict[str, Any], **settings: Any) -> recipes.Recipe:
    """A recipe for rows in a file."""
    if rows:
        write(folder / "rows.jsonl", *rows)
        settings["file"] = str(folder / "rows.jsonl")
    return recipes.Recipe.model_validate(
        {
            "name": "tiny",
            "namespace": "me",
            "policy": "me/model",
            "data_dir": str(folder),
            "instructions": settings,
            "tests": {"generator": "hf:me/generator"},
            "sample": {},
        }
    )


def test_the_recipe_knows_the_sources_and_benchmarks_there_are() -> None:
    fields = recipes.Instructions.model_fields
    assert {*get_args(fields["source"].annotation)} == {*sources.SOURCES, "any"}
    literal = get_args(get_args(fields["decontaminate"].annotation)[0])[0]
    assert {*get_args(literal)} == {*benchmarks.BENCHMARKS}


def test_a_named_source_has_its_public_dataset_and_is_cleaned(tmp_path: Path) -> None:
    named = recipe(tmp_path, source="oss-instruct").instructions
    assert named
    assert named.dataset == "ise-uiuc/Magicoder-OSS-Instruct-75K"
    assert named.cleans
    copy = recipe(tmp_path, source="oss-instruct", dataset="me/copy@v1", clean=False).instructions
    assert copy
    assert (copy.dataset, copy.cleans) == ("me/copy@v1", False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give either `dataset"),
        ({"source": "oss"}, "Input should be 'oss-instruct'"),
        ({"file": "x.jsonl", "decontaminate": ["humaneval"]}, "set `clean: true`"),
        ({"source": "sharegpt", "clean": False, "max_chars": 10}, "set `clean: true`"),
        ({"source": "sharegpt", "decontaminate": ["human-eval"]}, "Input should be 'humaneval'"),
    ],
)
def test_mistakes_in_the_recipe(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        recipe(tmp_path, **settings)


def test_any_source_is_taken_as_it_is(tmp_path: Path) -> None:
    rows = [{"instruction": text, "id": i} for i, text in enumerate(["In Java, sort.", "in  java, sort.", "x" * 9000])]
    done = prepare(recipe(tmp_path, *rows))
    assert done.rows[:] == {
        "id": ["0", "1", "2"],
        "instruction": [r["instruction"] for r in rows],
        "entry_point": [""] * 3,
    }
    assert done.counts == {"in": 3, "out": 3, "dropped": {}}
    assert done.dropped.column_names == ["id", "instruction", "reason", "detail"]
    with pytest.raises(UserError, match="row 1: an instruction is a text"):
        prepare(recipe(tmp_path, {"instruction": "a"}, {"instruction": " "}))
    with pytest.raises(UserError, match="`1` occurs more than once"):
        prepare(recipe(tmp_path, {"instruction": "a", "id": 1}, {"instruction": "b", "id": 1}))
    with pytest.raises(UserError, match="column `task` is missing; it has instruction"):
        prepare(recipe(tmp_path, {"instruction": "a"}, columns={"instruction": "task"}))


def test_oss_instruct_rows(tmp_path: Path) -> None:
    row = {"lang": "python", "raw_index": 7, "index": 7, "seed": "x = 1", "openai_fingerprint": "fp"}
    rows = [
        {**row, "problem": "You are tasked with a function that splits a list.", "solution": "```python\n```"},
        {**row, "lang": "cpp", "problem": "Write a matrix class.", "solution": "```cpp\n```"},
        {**row, "lang": "python", "problem": "Mirror this Java class.", "solution": "```python\n```"},
    ]
    done = prepare(recipe(tmp_path, *rows, source="oss-instruct", decontaminate=[]))
    assert done.rows["id"][:] == ["000000", "000002"]  # the set's own column decides, whatever the text names
    assert done.rows["instruction"][0] == rows[0]["problem"]
    assert done.dropped[0] == {
        "id": "000001", "instruction": "Write a matrix class.", "reason": "not_python", "detail": "the set says cpp",
    }  # fmt: skip
    assert done.rows.column_names == ["id", "instruction", "entry_point"]  # no gold solution


def test_evol_instruct_rows(tmp_path: Path) -> None:
    rows = [
        {"instruction": "Reverse the words.", "input": "the quick brown fox", "output": "xof"},
        {"instruction": "Sort the list in Python.", "input": "", "output": "[]"},
    ]
    done = prepare(recipe(tmp_path, *rows, source="evol-instruct-code", decontaminate=[]))
    assert done.rows["instruction"][:] == ["Reverse the words.\nthe quick brown fox", "Sort the list in Python."]
    rows = [{"instruction": "Sort the list in Python.", "response": "[]"}]
    assert prepare(recipe(tmp_path, *rows, source="evol-instruct-code", decontaminate=[])).counts["out"] == 1


def test_sharegpt_rows(tmp_path: Path) -> None:
    def row(*turns: tuple[str, str]) -> dict[str, Any]:
        return {"id": "QWJhYvA_0", "conversations": [{"from": who, "value": text} for who, text in turns]}

    ask = "Can you write a python script that renames my files?"
    rows = [
        row(("human", "Hi, how are you?"), ("gpt", "Fine. Shall I write code?"), ("human", ask), ("gpt", "Sure")),
        row(("system", "You write code."), ("human", "Tell me about Rome."), ("gpt", "Rome is a city.")),
        row(("gpt", "Here is a function you can call.")),
        row(("human", "Create a function in JavaScript that adds."), ("gpt", "ok")),
    ]
    done = prepare(recipe(tmp_path, *rows, source="sharegpt", decontaminate=[]))
    assert done.rows[:] == {"id": ["000000"], "instruction": [ask], "entry_point": [""]}  # their ids are not unique
    assert done.counts["dropped"] == {"empty": 1, "no_coding_request": 1, "not_python": 1}
    assert [row["instruction"] for row in done.dropped if row["id"] == "000001"] == ["Tell me about Rome."]


def test_self_oss_instruct_rows(tmp_path: Path) -> None:
    row = {"fingerprint": None, "sha1": "ab", "seed": "def f(): ...", "response": "```python\n```", "concepts": "a, b"}
    rows = [{**row, "prompt": "few shots", "instruction": "Write a Python function `f` that folds.", "id": 17}]
    done = prepare(recipe(tmp_path, *rows, source="self-oss-instruct", decontaminate=[]))
    assert done.rows["instruction"][:] == [rows[0]["instruction"]]
    done = prepare(recipe(tmp_path, *rows, source="self-oss-instruct", decontaminate=[], columns={"id": "id"}))
    assert done.rows["id"][:] == ["17"]


def test_every_reason_is_counted_and_order_and_ids_stay(places: Path) -> None:
    long = "Write a Python program. " + "It prints lines. " * 20
    near = (
        "Write a Python function that takes the list of all ships in the harbour and returns the names of those that "
        "carry more than ten containers, sorted by the hour at which they arrive at the quay, without any duplicates"
    )
    texts: list[Any] = [
        "Add two numbers.", None, "  ", "Write a Java method that adds two numbers.", long, "add two  NUMBERS.", near,
        f"{near}, please.", f"Solve this.\n{HUMANEVAL['prompt']}", "Print the sum of a list of numbers in reverse.",
    ]  # fmt: skip
    rows = [{"key": f"k{9 - i}", "task": text} for i, text in enumerate(texts)]
    columns = {"id": "key", "instruction": "task"}
    done = prepare(recipe(places, *rows, clean=True, max_chars=300, columns=columns))
    assert done.rows["id"][:] == ["k9", "k3", "k0"]
    assert done.counts == {
        "in": 10,
        "out": 3,
        "dropped": {
            "empty": 2, "not_python": 1, "too_long": 1, "duplicate": 1, "near_duplicate": 1, "contaminated": 1,
        },
        "benchmarks": {"humaneval": 1, "mbpp": 1, "livecodebench": 1, "bigcodebench": 1},
    }  # fmt: skip
    details = {row["id"]: row["detail"] for row in done.dropped}
    assert Counter(done.dropped["reason"]) == done.counts["dropped"]
    assert details["k8"] == "not a text but NoneType"
    assert details["k6"] == "names Java"
    assert details["k5"] == f"{len(long)} characters, more than 300"
    assert details["k4"] == "of k9"
    assert details["k2"].startswith("of k3, Jaccard 0.9")
    assert details["k1"].startswith("humaneval/HumanEval/900, 100% of its prompt: ")
    again = prepare(recipe(places, *rows, clean=True, max_chars=300, columns=columns))
    assert (again.rows[:], again.dropped[:], again.counts) == (done.rows[:], done.dropped[:], done.counts)
    kept = prepare(recipe(places, *rows, clean=True, near_duplicates=1, decontaminate=[], columns=columns))
    assert kept.rows["id"][:] == ["k9", "k5", "k3", "k2", "k1", "k0"]
    with pytest.raises(UserError, match=r"no instruction is left of 1 \(dropped: not_python 1\)"):
        prepare(recipe(places, {"instruction": "Write a Java method."}, clean=True))


def test_a_run_that_is_started_again_does_not_clean_again(
    places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"instruction": text} for text in ("Add two numbers.", None, "Write a Java method.", HUMANEVAL["prompt"])]
    plain = prepare(recipe(places, *rows, clean=True))
    cache = tmp_path / "cache"
    first = prepare(recipe(places, *rows, clean=True), cache)
    calls = []
    monkeypatch.setattr(instructions, "build", lambda tasks: calls.append(1) or build(tasks))
    again = prepare(recipe(places, *rows, clean=True), cache)
    for done in (first, again):
        assert (done.rows[:], done.dropped[:], done.counts) == (plain.rows[:], plain.dropped[:], plain.counts)
    assert not calls, "the index of the benchmarks was not built again"
    changed = [*rows[:3], {"instruction": "Reverse a list."}]
    assert len(prepare(recipe(places, *changed, clean=True), cache).rows) == 2, "other rows"
    assert len(prepare(recipe(places, *rows, clean=True, decontaminate=[]), cache).rows) == 2, "no benchmarks"
    assert len(calls) == 2
    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize("name", TASKS)
def test_planted_copies_are_found(places: Path, name: str) -> None:
    loaded = recipe(places, file="rows.jsonl")
    (task,) = benchmarks.load(loaded, [name])[name]
    index = build([task])
    for kind, text in copies(task):
        found = index.find(text)
        assert found, (kind, text)
        assert found.task == task.name
    kinds = {kind for kind, _ in copies(task)}
    assert kinds >= {"exact", "wrapped", "re-spaced", "translated", "function renamed", "HTML", "JSON", "full-width"}
    assert ("program, renamed" in kinds) == (name != "livecodebench")  # which has no canonical solutions


def test_honest_instructions_are_kept(places: Path) -> None:
    tasks = benchmarks.load(recipe(places, file="rows.jsonl"))
    index = build(task for found in tasks.values() for task in found)
    assert filters.contaminated(HONEST, index) == {}
    assert filters.other_language(HONEST) == {}
    assert filters.near_duplicates(HONEST, list("abcdef")) == {}


def test_stock_phrases_and_numbers_tell_nothing() -> None:
    tasks = [
        Task(f"t/{i}", (f"Write a function that takes a list of numbers as input and returns {word} of them.",))
        for i, word in enumerate(("the mean", "the median", "half", "every third"))
    ]
    index = build([*tasks, Task("t/n", ("1 2 3 4 5 6 7 8 9 10 11 12 13",))])
    assert index.find("Write a function that takes a list of numbers as input and returns the larger half.") is None
    assert index.find("The list is 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16.") is None
    found = index.find("Please write a function that takes a list of numbers as input and returns every third of them.")
    assert found
    assert found.task == "t/3"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Write a C program that prints its own source.", "names C program"),
        ("Implement a queue in Go.", "names in Go"),
        ("Write a SQL query to find all names.", "names SQL query"),
        ("Edit this:\n```javascript\nf();\n```", "a block of javascript"),
        ("What does this print?\nint x = 5;\nx++;", "code: int x = 5;"),
        ("Rewrite this Java code in Python.", ""),
        ("How do I go in and out of a loop with a C major scale?", ""),
        ("Fix this:\n```\ndef f(x):\n    return x\n```\nIt worked in Java.", ""),
        ("Swap two numbers without a third.", ""),
    ],
)
def test_other_languages(text: str, why: str) -> None:
    assert filters.other_language([text]) == ({0: why} if why else {})


def test_files_in_another_encoding_are_told_so_at_once(tmp_path: Path) -> None:
    texts = {
        "rows.jsonl": '{"instruction": "Sort."}\n{"instruction": "Sort caf\xe9s."}\n',
        "rows.json": '[{"instruction": "Sort."},\n{"instruction": "Sort caf\xe9s."}]',
        "rows.csv": "instruction\nSort caf\xe9s.\n",
    }
    for name, text in texts.items():
        for suffix, pack in (("", bytes), (".gz", gzip.compress)):
            path = tmp_path / (name + suffix)
            path.write_bytes(pack(text.encode("latin-1")))
            with pytest.raises(UserError, match=r"is not UTF-8 in line 2; `iconv"):
                prepare(recipe(tmp_path, file=str(path)))
            path.write_bytes(pack(text.encode()))
            assert "Sort cafés." in prepare(recipe(tmp_path, file=str(path))).rows["instruction"][:]


def test_many_ids_take_no_time(tmp_path: Path) -> None:
    rows = [{"instruction": "a", "id": i} for i in range(20_000)]
    start = time.perf_counter()
    with pytest.raises(UserError, match="`19999` occurs more than once"):
        prepare(recipe(tmp_path, *rows, rows[-1]))
    assert time.perf_counter() - start < 4


def test_a_benchmark_that_is_named_must_be_there(
    places: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    (places / "mbpp.jsonl").unlink()
    rows = [{"instruction": "Sort a list."}]
    counts = prepare(recipe(places, *rows, clean=True)).counts
    assert counts["benchmarks"] == {"humaneval": 1, "mbpp": 0, "livecodebench": 1, "bigcodebench": 1}
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert len(said) == 1
    assert said[0].startswith("warning: not decontaminated against mbpp (mbpp.jsonl), ")
    assert "--set data_dir=DIR" in said[0]
    with pytest.raises(UserError, match=r"mbpp is not under data_dir as mbpp\.jsonl, and not on the Hub: .* not exist"):
        prepare(recipe(places, *rows, clean=True, decontaminate=["mbpp"]))
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(UserError, match=r"found none of the benchmarks .*instructions\.decontaminate=\[\]"):
        prepare(recipe(empty, *rows, clean=True))
    write(places / "mbpp.jsonl", {"task_id": 1})
    with pytest.raises(UserError, match="mbpp: a row is not what it should be: KeyError"):
        prepare(recipe(places, *rows, clean=True, decontaminate=["mbpp"]))


def test_benchmarks_come_from_the_hub_where_there_are_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import Dataset
    from huggingface_hub import HfApi

    api = HfApi()
    Dataset.from_list([HUMANEVAL]).push_to_hub("plum/humaneval-copy", "openai_humaneval", split="test")
    api.create_repo("plum/livecodebench-copy", repo_type="dataset")
    for n in ("", "2"):
        text = json.dumps({**LIVECODEBENCH, "question_id": f"q{n}"}).encode() + b"\n"
        api.upload_file(
            path_or_fileobj=text,
            path_in_repo=f"test{n}.jsonl",
            repo_id="plum/livecodebench-copy",
            repo_type="dataset",
        )
    for name in ("humaneval", "livecodebench"):
        copy = replace(benchmarks.BENCHMARKS[name], dataset=f"plum/{name}-copy")
        monkeypatch.setitem(benchmarks.BENCHMARKS, name, copy)
    found = benchmarks.load(recipe(tmp_path, file="rows.jsonl"), ["humaneval", "livecodebench"])
    assert [task.name for task in found["humaneval"]] == ["humaneval/HumanEval/900"]
    assert [task.name for task in found["livecodebench"]] == ["livecodebench/q", "livecodebench/q2"]
    # without being named, LiveCodeBench is not downloaded: 4.5 GB
    assert {name: len(tasks) for name, tasks in benchmarks.load(recipe(tmp_path, file="rows.jsonl")).items()} == {
        "humaneval": 1, "mbpp": 0, "livecodebench": 0, "bigcodebench": 0,
    }  # fmt: skip


def test_real_evol_instruct_rows(data: Path) -> None:
    loaded = recipe(data, source="evol-instruct-code", file="evol-codealpaca-2k-1.json")
    done = prepare(loaded)
    assert done.counts["in"] == 1966
    assert done.counts["benchmarks"] == {
        "humaneval": 164, "mbpp": 974, "livecodebench": 880, "bigcodebench": 1140,
    }  # fmt: skip
    assert 1100 < done.counts["out"] < 1200
    tainted = {row["id"]: row["detail"] for row in done.dropped if row["reason"] == "contaminated"}
    assert set(tainted) == {"001078", "001139"}  # two prompts of MBPP, word for word
    assert tainted["001078"].startswith("mbpp/624, ")
    assert tainted["001139"].startswith("mbpp/374, ")


@pytest.mark.parametrize("name", TASKS)
def test_planted_copies_of_real_tasks_are_found(data: Path, name: str) -> None:
    tasks = benchmarks.load(recipe(data, file="rows.jsonl"), [name])[name]
    index = build(tasks)
    some = tasks[:: max(1, len(tasks) // 150)]
    missed = Counter(kind for task in some for kind, text in copies(task) if not index.find(text))
    for kind in ("exact", "wrapped", "re-spaced", "function renamed", "HTML", "numbered lines", "full-width"):
        assert missed[kind] == 0, kind
    assert missed["JSON"] <= 0.01 * len(some)
    assert missed["program, numbered lines"] <= 0.01 * len(some)
    # some say it in five words
    assert missed["docstring alone"] <= 0.05 * len(some)
    assert missed["docstring's prose"] <= 0.08 * len(some)
    # signatures without examples, and programs of one line under other names
    assert missed["translated"] <= (0.08 * len(some) if name == "humaneval" else 0.01 * len(some))
    assert missed["program, renamed"] <= (0.16 if name == "mbpp" else 0.06) * len(some)


def test_some_of_the_rows_by_seed_and_in_parts(tmp_path: Path) -> None:
    """What is left out is counted, and the parts together are the whole."""
    rows = [{"id": f"t{i}", "instruction": f"Task {i}."} for i in range(20)]

    def ids(seed: int = 0, **settings: Any) -> tuple[list[str], dict[str, int]]:
        done = prepare(recipe(tmp_path, *rows, **settings).model_copy(update={"seed": seed}))
        return done.rows["id"][:], done.counts["dropped"]

    some, dropped = ids(take=7)
    assert len(some) == 7
    assert dropped == {"not_taken": 13}
    assert some == sorted(some, key=lambda name: int(name[1:])), "in the set's order"
    assert ids(take=7)[0] == some
    assert ids(1, take=7)[0] != some
    assert ids(take=70) == ([f"t{i}" for i in range(20)], {})
    parts = [ids(take=7, part=f"{n}/3") for n in (1, 2, 3)]
    assert [len(part) for part, _ in parts] == [3, 2, 2]
    assert sorted(name for part, _ in parts for name in part) == sorted(some)
    assert parts[0][1] == {"not_taken": 13, "other_part": 4}
