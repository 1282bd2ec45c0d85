"""LeetCode's two benchmarks: their real problems judged in the sandbox, their extraction, their data from the Hub."""

import ast
import gzip
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import HUB
from huggingface_hub import HfApi, constants

from plum_hub import evaluate
from plum_hub.errors import UserError
from plum_hub.evaluate import leetcode
from plum_hub.evaluate.longest import longest_python
from plum_hub.evaluate.tasks import TESTS, Bench, Options, Task
from plum_hub.hub.tokens import add_token
from plum_hub.outcomes import Outcome
from plum_hub.sandbox import Job, Sandbox

pytest.importorskip("sortedcontainers")

PRELUDE = "from typing import *\nclass ListNode:\n    def __init__(self, val=0, next=None):\n        self.val = val\n"
MADE = {
    "task_id": "double-it",
    "query": "Double it.",
    "prompt": PRELUDE,
    "test": "def check(candidate):\n    assert candidate(n = 2) == 4\n    assert candidate(n = 5) == 10\n",
    "entry_point": "Solution().double",
    "completion": "class Solution:\n    def double(self, n: int) -> int:\n        return 2 * n\n",
    "difficulty": "Easy",
}


def outcomes(bench: Bench, pairs: list[tuple[Task, str]]) -> list[Outcome]:
    with Sandbox(bench.limits) as box:
        suites = [(task.suites[TESTS], program) for task, program in pairs]
        jobs = [Job(suite.source(program), suite.tests, suite.seconds or 3.0) for suite, program in suites]
        return [result.outcome for result in box.run(jobs)]


class OtherReturn(ast.NodeTransformer):
    """`return x` -> `return [x]`, which equals nothing that is expected."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node if not any(a.arg == "self" for a in node.args.args) else self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> ast.AST:
        return ast.Return(ast.List([node.value], ast.Load())) if node.value else node


def broken(program: str) -> str:
    return ast.unparse(ast.fix_missing_locations(OtherReturn().visit(ast.parse(program))))


def test_references_pass_and_wrong_programs_fail(data: Path) -> None:
    """Easy problems, one with a tree and one with sorted containers; all 228 pass, but take minutes."""
    bench = leetcode.load("leetcode", data)
    assert len(bench.tasks) == 228
    levels = [task.traits["difficulty"] for task in bench.tasks]
    assert [levels.count(level) for level in ("Easy", "Medium", "Hard")] == [48, 101, 79]
    some = [task for task in bench.tasks if task.traits["difficulty"] == "Easy"][::2]
    some += [task for task in bench.tasks if "tree_node" in str(task.suites[TESTS].tests)]
    some += [task for task in bench.tasks if task.id == "find-x-sum-of-all-k-long-subarrays-i"]
    assert bench.check
    with Sandbox(bench.limits) as box:
        ready, wrong = bench.check(replace(bench, tasks=some), box, lambda n: None)
    assert not wrong
    assert all((task.suites[TESTS].seconds or 0) >= 3.0 for task in ready)
    fast = [task for task in ready if task.suites[TESTS].seconds == 3.0]
    assert len(fast) > 10
    found = outcomes(bench, [(task, broken(task.reference)) for task in fast])
    assert Outcome.PASSED not in found


def test_answers_of_a_model_are_extracted_and_pass(data: Path) -> None:
    path = data / "leetcode/LeetCodeDataset-v0.3.1-test.jsonl.gz"
    with gzip.open(path, "rt") as file:
        answers = {row["task_id"]: row["response"] for row in map(json.loads, file) if row["response"]}
    bench = leetcode.load("leetcode", data)
    tasks = [task for task in bench.tasks if task.id in answers and task.traits["difficulty"] == "Easy"][:20]
    pairs = [(task, bench.program(task, answers[task.id], "chat")) for task in tasks]
    assert set(outcomes(bench, pairs)) == {Outcome.PASSED}


def test_contest_problems_take_right_programs_and_refuse_wrong_ones(data: Path) -> None:
    bench = leetcode.load("leetcode-contest", data)
    assert len(bench.tasks) == 180
    tasks = {task.id: task for task in bench.tasks}
    pushes = tasks["weekly-contest-381-minimum-number-of-pushes-to-type-word-i"]
    linked = tasks["weekly-contest-358-double-a-number-represented-as-a-linked-list"]
    body = "        return sum(i // 8 + 1 for i in range(len(word)))\n"
    head = "class Solution:\n    def minimumPushes(self, word: str) -> int:\n"
    double = (
        "class ListNode:\n    def __init__(self, val=0, next=None):\n        self.val = val\n        self.next = next\n"
        "class Solution:\n    def doubleIt(self, head: Optional[ListNode]) -> Optional[ListNode]:\n"
        "        n = 0\n        while head:\n            n = n * 10 + head.val\n            head = head.next\n"
        "        out = None\n        for digit in reversed(str(2 * n)):\n            out = ListNode(int(digit), out)\n"
        "        return out\n"
    )
    answer = f"Sure:\n```python\n{head}{body}```\nIt counts."
    made = [
        (pushes, bench.program(pushes, answer, "chat")),
        (pushes, bench.program(pushes, "\n" + body, "chat")),  # only the body
        (pushes, bench.program(pushes, "\n" + body, "text")),
        (
            pushes,
            head + body.replace("sum(", "int(np.sum([*(").replace("word)))", "word)))]))").replace("([*((", "([*("),
        ),
        (linked, double),
    ]
    assert outcomes(bench, made) == [Outcome.PASSED] * len(made)
    bad = [(pushes, head + body.replace("8", "9")), (linked, double.replace("2 * n", "3 * n")), (pushes, "")]
    assert Outcome.PASSED not in outcomes(bench, bad)


def test_extraction_is_the_harness_s(data: Path) -> None:
    """LeetCodeDataset's own rule is also in evalplus, whose package is at hand."""
    theirs = pytest.importorskip("evalplus.sanitize").code_extract
    with gzip.open(data / "leetcode/LeetCodeDataset-v0.3.1-test.jsonl.gz", "rt") as file:
        texts = [row["response"] for row in map(json.loads, file) if row["response"]]
    texts = [text[: 300 + 7 * i] for i, text in enumerate(texts) if text.count("\n") < 40][:60]
    texts += [text[len(text) // 3 :] for text in texts[:30]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for text in texts:
            mine, other = longest_python(text) or "", theirs(text)
            assert mine.strip() == other.strip() or (mine == "" and other == text.split("\n")[0])


def test_extraction_finds_the_longest_and_nothing_in_prose() -> None:
    text = "I think:\n```python\nx = 1\ny = 2\n```\nor\n```python\na = 1\n\nb = 2\nc = 3\n\n```\n"
    assert longest_python(text) == "\na = 1\n\nb = 2\nc = 3".lstrip("\n")
    assert longest_python("I cannot help you\nwith that, sorry.") is None
    assert longest_python("") is None
    assert leetcode.contest_block("[PYTHON]\nx = 1\n[/PYTHON]") == "x = 1"
    assert leetcode.contest_block("    return 1\n\nprint(f(1))") == "    return 1\n"


def upload(repo: str, path: str, rows: list[dict[str, Any]]) -> HfApi:
    api = HfApi(token=add_token(HUB.root, repo.partition("/")[0]))
    api.create_repo(repo, repo_type="dataset", exist_ok=True)
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    api.upload_file(path_or_fileobj=content, path_in_repo=path, repo_id=repo, repo_type="dataset")
    return api


def test_data_come_from_the_hub_at_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    repo = leetcode.SOURCES["leetcode"][0]
    token = add_token(HUB.root, repo.partition("/")[0])
    HfApi(token=token).delete_repo(repo, repo_type="dataset", missing_ok=True)  # of another test
    with pytest.raises(UserError, match="does not exist on http://127"):
        leetcode.load("leetcode")
    upload(repo, "README.md", [{}])
    with pytest.raises(UserError, match=r"has no LeetCodeDataset-test.jsonl; .*--data DIR") as error:
        leetcode.load("leetcode")
    assert "\n" not in str(error.value)
    # The name of the file was another one once.
    api = upload(repo, "LeetCodeDataset-v0.3.1-test.jsonl", [MADE])
    sha = str(api.repo_info(repo, repo_type="dataset").sha)
    assert leetcode.load("leetcode").version.startswith(f"LeetCodeDataset-v0.3.1-test.jsonl@{sha[:12]}, sha256 ")
    with monkeypatch.context() as offline:
        offline.setattr(constants, "HF_HUB_OFFLINE", True)
        assert len(leetcode.load("leetcode").tasks) == 1
    upload(repo, "LeetCodeDataset-test.jsonl", [MADE, MADE | {"task_id": "again", "difficulty": "Hard"}])
    bench = evaluate.load("leetcode")
    assert [task.id for task in bench.tasks] == ["double-it", "again"]
    made = tmp_path / "samples.jsonl"
    wrong = MADE["completion"].replace("2 * n", "n + 2")
    made.write_text(
        json.dumps({"task_id": "double-it", "completion": MADE["completion"]})
        + "\n"
        + json.dumps({"task_id": "again", "solution": wrong})
    )
    from plum_hub.evaluate import command

    found = command.of_samples(made, ["leetcode"], Options(tmp_path / "runs"))
    assert [(score.key, score.value, score.n) for score in found.scores] == [("leetcode pass@1", 50.0, 2)]
    by = found.record["by"]["leetcode pass@1"]["difficulty"]
    assert (by["Easy"]["value"], by["Hard"]["value"]) == (100.0, 0.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"has no LeetCodeDataset-test.jsonl \(also with .gz\)"),
        ('{"task_id": 1}\n', "is not the benchmark's file: .*query.* missing"),
        ("no json\n", "is not JSON lines"),
        ("", "is not the benchmark's file"),
    ],
)
def test_wrong_files_are_one_line(tmp_path: Path, content: str | None, message: str) -> None:
    (tmp_path / "leetcode").mkdir()
    if content is not None:
        (tmp_path / "leetcode/LeetCodeDataset-test.jsonl").write_text(content)
    with pytest.raises(UserError, match=message) as error:
        leetcode.load("leetcode", tmp_path)
    assert "\n" not in str(error.value)
