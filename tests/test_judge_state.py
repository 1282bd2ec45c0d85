"""Programs and tests with a memory: what one response's tests leave behind must not decide another's."""

from collections.abc import Iterator
from typing import Any

import pytest
from datasets import Dataset

from plum_hub.outcomes import Outcome
from plum_hub.recipe import Tests as Settings  # pytest would take `Tests` for a class of tests
from plum_hub.sandbox import Job, Limits, Result, Sandbox, Verdict
from plum_hub.sandbox.state import keeps_state
from plum_hub.stages import judge, tests

SECONDS = Limits(seconds=1.0, total_seconds=5.0)
IDS = """\
ids = {}
def number_of(name):
    if name not in ids:
        ids[name] = len(ids) + 1
    return ids[name]
"""
ACCOUNT = """\
class Account:
    count = 0
    def __init__(self, owner):
        self.owner = owner
        Account.count += 1
        self.number = Account.count
"""
MEMO = "def fib(n, memo={}):\n    memo.setdefault('calls', 0)\n    memo['calls'] += 1\n    return memo['calls']\n"
COUNTER = "count = 0\ndef tick():\n    global count\n    count += 1\n    return count\n"
RATE = "class Account:\n    rate = 2\n    def interest(self, n):\n        return self.rate * n\n"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(SECONDS, workers=1) as running:
        yield running


def response(solution: str, suite: str) -> str:
    return f"[Analysis]\nx\n[Solution]\n{solution}\n[Start Code]\npass\n[Test Code]\n{suite}\n"


def make_tests(texts: list[Any], sandbox: Sandbox, **settings: Any) -> list[dict[str, Any]]:
    chosen = Settings.model_validate({"generator": "hf:a/b", "reruns": 0, "mutants": 0, **settings})
    asked = {"id": ["q"], "instruction": ["Do it."], "entry_point": [""]}
    return list(Dataset.from_dict(tests.make_tests(asked, [texts], "g", "r", sandbox, chosen), features=tests.FEATURES))


def judged(made: list[dict[str, Any]], codes: list[str], sandbox: Any) -> list[dict[str, Any]]:
    samples = {"instruction_id": ["q"] * len(codes), "sample_id": [f"q#{i}" for i in range(len(codes))], "code": codes}
    known = tests.kept_tests(made)
    verdicts = judge.judge(samples, known, tests.references(made), "reference", "syntax", sandbox)
    return list(Dataset.from_dict(verdicts, features=judge.FEATURES))


@pytest.mark.parametrize(
    ("code", "first", "second"),
    [
        (IDS, "assert number_of('a') == 1\nassert number_of('b') == 2", "assert number_of('x') + number_of('y') == 3"),
        (ACCOUNT, "assert Account('a').number == 1", "assert Account('x').number == 1"),
        (MEMO, "assert fib(1) == 1\nassert fib(1) == 2", "assert fib(2) == 1\nassert fib(2) == 2"),
        (
            COUNTER,
            "assert tick() == 1\nassert tick() == 2\nassert tick() == 3",
            "assert tick() == 1\nassert tick() == 2",
        ),
        (RATE, "Account.rate = 3\nassert Account().interest(2) == 6", "assert Account().interest(2) == 4"),
    ],
)
def test_a_program_that_its_own_tests_accept_is_chosen(sandbox: Sandbox, code: str, first: str, second: str) -> None:
    made = make_tests([response(code, first), response(code, second), response(code, first)], sandbox)
    assert [row["kept"] for row in made] == [True] * 3
    (row,) = judged(made, [code], sandbox)
    suite = tests.kept_tests(made)["q"]
    assert [test["test_id"] for test in row["tests"]] == list(suite)
    assert {test["outcome"] for test in row["tests"]} == {"passed"}
    assert (row["label"], row["passed"], row["counted"]) == ("chosen", len(suite), len(suite))


def test_a_program_with_state_that_is_wrong_is_rejected_by_the_test_that_it_fails(sandbox: Sandbox) -> None:
    suites = [f"assert number_of('{name}') == 1\nassert number_of('y') == 2" for name in "ab"]
    made = make_tests([response(IDS, suite) for suite in suites], sandbox)
    wrong = IDS.replace("len(ids) + 1", "len(ids) + (name != 'b')")
    row, broken = judged(made, [wrong, "ids = {}\nraise ValueError\n"], sandbox)
    assert (row["label"], row["outcome"]) == ("rejected", "failed")
    assert [test["outcome"] for test in row["tests"]] == ["passed", "passed", "failed", "passed"]
    assert (broken["reason"], broken["outcome"]) == ("load_error", "load_error")
    assert len(broken["tests"]) == 4


class Recorder:
    """In place of a sandbox: keeps the jobs, and gives the verdicts that it is told to."""

    limits = SECONDS

    def __init__(self, *ours: int) -> None:
        self.ours, self.asked = ours, list[Job]()

    def run(self, jobs: Any) -> Iterator[Result]:
        for job in jobs:
            outcome = Outcome.INFRA_ERROR if len(self.asked) in self.ours else Outcome.PASSED
            self.asked.append(job)
            yield Result(outcome, 0.25, "", tuple(Verdict(outcome, 0.1, "") for _ in job.tests))


def test_only_programs_that_may_keep_state_are_loaded_for_each_response() -> None:
    suite = {"0:0": "assert f(1)", "0:1": "assert f(2)", "2:0": "assert f(3)"}
    plain = "def f(n):\n    return n\n"
    samples = {"instruction_id": ["q"] * 4, "sample_id": list("abcd"), "code": [plain, COUNTER, plain, COUNTER]}
    recorder = Recorder(2)  # the second part of the counter
    made = judge.judge(samples, {"q": suite}, {}, "none", "syntax", recorder)  # type: ignore[arg-type]
    parts = [(COUNTER, ("assert f(1)", "assert f(2)")), (COUNTER, ("assert f(3)",))]
    asked = [(job.program, tuple(job.tests)) for job in recorder.asked]
    assert asked == [(plain, tuple(suite.values())), *parts, parts[1]], "equal programs once, our error once more"
    assert [len(row) for row in made["tests"]] == [3] * 4
    assert made["seconds"] == [0.25, 0.5, 0.25, 0.5]
    assert made["label"] == ["chosen"] * 4
    one = judge.judge(samples, {"q": {"7:0": "assert f(1)", "7:1": "assert f(2)"}}, {}, "none", "syntax", Recorder())  # type: ignore[arg-type]
    assert one["label"] == ["chosen"] * 4


STATELESS = {
    "function": "import math\nfrom typing import List\n\n\ndef f(xs: List[int], k: int = -1, key=None) -> int:\n"
    "    'Doc.'\n    seen = {}\n    for x in xs:\n        seen[x] = math.floor(x)\n    return len(seen) + k\n",
    "constants": "MOD = 10**9 + 7\nINF = float('inf')\nNAMES = ('a', ('b', 1))\nA, B = 1, 2\nlimit: int = 3\n",
    "usage": "def f(n):\n    return n\n\nprint(f(3))\nif __name__ == '__main__':\n    print(f(4))\n",
    "class": "class Stack:\n    '''Doc.'''\n    limit = 10\n    def __init__(self):\n        self.items = []\n"
    "        self.size: int = 0\n    def push(self, x):\n        self.size += 1\n        self.items.append(x)\n"
    "    @property\n    def top(self):\n        return self.items[-1]\n    @top.setter\n    def top(self, x):\n"
    "        self.items[-1] = x\n    @staticmethod\n    def make():\n        return Stack()\n",
    "dataclass": "from dataclasses import dataclass, field\n@dataclass(frozen=True)\nclass P:\n    x: int = 0\n"
    "    tags: list = field(default_factory=list)\n",
    "closure": "from functools import lru_cache\ndef f(n):\n    calls = 0\n    @lru_cache(maxsize=None)\n"
    "    def go(i, memo={}):\n        nonlocal calls\n        calls += 1\n        return i and go(i - 1)\n"
    "    return go(n)\n",
    "tuples": "from collections import namedtuple\nfrom typing import TypeVar\nP = namedtuple('P', 'x y')\n"
    "T = TypeVar('T')\n",
}
STATEFUL = {
    "list": "seen = []\n",
    "alias": "import collections\nd = collections.defaultdict(int)\n",
    "global": "n = 0\ndef f():\n    global n\n    n += 1\n",
    "default": "def f(x, memo={}):\n    return memo\n",
    "default of a method": "class A:\n    def f(self, seen=[]):\n        return seen\n",
    "default call": "def f(x, now=object()):\n    return now\n",
    "lambda": "f = lambda x, seen=[]: seen\n",
    "class attribute": "class A:\n    items = []\n",
    "counter": "class A:\n    n = 0\n    def f(self):\n        A.n += 1\n",
    "by type": "class A:\n    n = 0\n    def f(self):\n        type(self).n += 1\n",
    "class method": "class A:\n    n = 0\n    @classmethod\n    def f(cls):\n        cls.n += 1\n",
    "singleton": "class A:\n    one = None\n    def __new__(cls):\n        cls.one = cls.one or object.__new__(cls)\n"
    "        return cls.one\n",
    "function attribute": "def f():\n    f.n = getattr(f, 'n', 0) + 1\n    return f.n\n",
    "setattr": "def f():\n    setattr(f, 'n', 1)\n",
    "globals": "def f():\n    globals()['n'] = 1\n",
    "dict": "class A:\n    def f(self):\n        A.__dict__['n'].append(1)\n",
    "cache": "import functools\n@functools.lru_cache(None)\ndef f(n):\n    return object()\n",
    "own decorator": "def memo(f):\n    seen = {}\n    return lambda x: seen.setdefault(x, f(x))\n@memo\n"
    "def f(n):\n    pass\n",
    "closure": "def make():\n    n = 0\n    def f():\n        nonlocal n\n        n += 1\n        return n\n"
    "    return f\nf = make()\n",
    "generator": "import itertools\nids = itertools.count()\n",
    "random": "import random\ndef f():\n    return random.random()\n",
    "inside": "def f():\n    import random\n    return random.random()\n",
    "file": "def f():\n    open('x', 'a').write('1')\n",
    "rebound": "class A:\n    def f(self):\n        self = A\n        self.n = 1\n",
    "metaclass": "class M(type):\n    def __call__(cls):\n        cls.n = 1\n",
    "with": "with open('x') as file:\n    text = file.read()\n",
    "try": "try:\n    x = []\nexcept ValueError:\n    pass\n",
    "a name that misleads": "def field(**kwargs):\n    return []\nclass A:\n    xs = field()\n",
    "misleading import": "from functools import lru_cache as property\n@property\ndef f():\n    return object()\n",
    "base": "def make():\n    class B:\n        seen = []\n    return B\nclass A(make()):\n    pass\n",
    "walrus": "print(seen := [])\n",
    "context": "import decimal\ndef f():\n    decimal.getcontext().prec = 3\n",
    "broken": "def f(:\n",
}  # fmt: skip


@pytest.mark.parametrize("name", STATELESS)
def test_programs_that_keep_no_state(name: str) -> None:
    assert not keeps_state(STATELESS[name])


@pytest.mark.parametrize("name", STATEFUL)
def test_programs_that_may_keep_state(name: str) -> None:
    assert keeps_state(STATEFUL[name])
    plain = STATELESS["function"]
    assert keeps_state(f"{plain}\n{STATEFUL[name]}")


STACK = """\
class Stack:
    def __init__(self):
        self.items = []
    def push(self, x):
        self.items.append(x)
    def pop(self):
        return self.items.pop()
"""


@pytest.mark.parametrize(
    ("code", "suite"),
    [
        (STACK, "s = Stack()\ns.push(1)\ns.push(2)\nassert s.pop() == 2\nassert s.pop() == 1\nassert not s.items"),
        ("def gen():\n    yield 1\n    yield 2\n", "g = gen()\nassert next(g) == 1\nassert next(g) == 2"),
        ("def s(x):\n    x.sort()\n    return x\n", "l = [2, 1]\nassert s(l) == [1, 2]\nassert l == [1, 2]"),
    ],
)
def test_a_suite_that_passes_only_as_a_whole_stays_whole(sandbox: Sandbox, code: str, suite: str) -> None:
    wrong = suite.replace("== 2", "== 7").replace("== [1, 2]", "== [7]")
    made = make_tests([response(code, suite), response(code, wrong)], sandbox, reruns=1, mutants=5)
    assert [(row["kept"], row["reason"]) for row in made] == [(True, ""), (False, "inconsistent:failed")]
    assert [test.strip() for test in made[0]["tests"]] == [suite]
    assert made[0]["test_outcomes"] == ["passed"]
    assert "one_test" in made[0]["notes"]
    assert made[0]["mutation_score"] is not None
    (row,) = judged(made, [code], sandbox)
    assert row["label"] == "chosen"


def test_only_suites_that_failed_after_a_first_success_are_run_again(sandbox: Sandbox) -> None:
    class Counting(Recorder):
        def run(self, jobs: Any) -> Iterator[Result]:
            some = list(jobs)
            batches.append(len(some))
            return sandbox.run(some)

    batches: list[int] = []
    counting = Counting()
    square = "def square(n):\n    return n * n\n"
    suites = ["assert square(2) == 4\nassert square(3) == 9", "assert square(2) == 5\nassert square(3) == 9"]
    suites += ["assert square(2) == 4\nassert square(3) == 8", "assert square(3) == 9\n" * 3 + "assert square(3) == 8"]
    made = make_tests([response(square, suite) for suite in suites], counting, max_tests=3)  # type: ignore[arg-type]
    assert [row["reason"] for row in made] == ["", "inconsistent:failed", "inconsistent:failed", ""]
    assert list(filter(None, batches))[:2] == [4, 1], "all of them, and the third as a whole"
    assert made[3]["notes"] == ["capped"]


def test_what_was_left_out_of_a_suite_may_not_be_wanted_by_the_rest(sandbox: Sandbox) -> None:
    suite = "assert tick() or True\nassert tick() == 2\nassert tick() == 3"
    text = response(COUNTER, suite).replace("pass\n", "def tick():\n")
    made = make_tests([text], sandbox, reruns=1, mutants=5)
    assert [test["reason"] for test in made[0]["dropped_tests"]] == ["vacuous"], "the first says nothing"
    assert (made[0]["kept"], made[0]["reason"]) == (False, "vacuous")
