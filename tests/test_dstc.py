"""DSTC: minimax selection against a literal reading of its equations, the training views, the prompt and its parser."""

import ast
import itertools
import random
from collections.abc import Iterator
from typing import Any

import pytest
from datasets import Dataset

from plum_hub.recipe import Dstc
from plum_hub.sandbox import Job, Limits, Sandbox
from plum_hub.stages import dstc_prompt, judge
from plum_hub.stages.dstc import DPO, KTO, Selection, baseline, dstc, own_test, response, select
from plum_hub.stages.dstc_examples import EXAMPLES, Example
from plum_hub.stages.dstc_prompt import OPENING, answer, entry_point, parse, prompt, suite
from plum_hub.stages.extract import fenced_blocks
from plum_hub.stages.prefer import is_kto_safe

Matrix = list[list[bool]]
NOTHING = Selection(None, None, None, None)


def matrix(*lines: str) -> Matrix:
    """`110` is a program that passes the first two of three tests."""
    return [[mark == "1" for mark in line] for line in lines]


# ------------------------------------------------------------------------------------------------------ selection


def literal(passed: Matrix) -> Selection:
    """Equations 3.1-3.4 word by word, by trying everything; of several solutions the first."""
    codes, tests = list(range(len(passed))), list(range(len(passed[0]) if passed else 0))
    r = {(c, t): 1 if passed[c][t] else 0 for c in codes for t in tests}

    def score(code: int) -> int:
        return sum(r[code, t] for t in tests)

    def ease(test: int) -> int:
        return sum(r[c, test] for c in codes)

    def first(candidates: list[int], is_better: Any) -> int | None:
        best = [x for x in candidates if not any(is_better(y, x) for y in candidates)]
        return best[0] if best else None

    y_plus = first(codes, lambda a, b: score(a) > score(b))  # (3.1) most tests passed
    z_plus = first([t for t in tests if r[y_plus, t] == 1], lambda a, b: ease(a) < ease(b)) if codes else None  # (3.2)
    z_minus = first([t for t in tests if any(r[c, t] == 0 for c in codes)], lambda a, b: ease(a) > ease(b))  # (3.3)
    y_minus = None  # (3.4)
    if z_minus is not None:
        y_minus = first([c for c in codes if r[c, z_minus] == 0], lambda a, b: score(a) < score(b))
    return Selection(y_plus, z_plus, z_minus, y_minus)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.7, 0.95])
def test_selection_solves_the_four_equations(share: float) -> None:
    rng = random.Random(share)
    for _ in range(400):
        codes, tests = rng.randint(0, 8), rng.randint(0, 8)
        passed = [[rng.random() < share for _ in range(tests)] for _ in range(codes)]
        assert select(passed) == literal(passed), passed


def test_selection_solves_the_four_equations_for_every_small_matrix() -> None:
    for codes, tests in itertools.product(range(1, 4), range(1, 4)):
        for bits in itertools.product([False, True], repeat=codes * tests):
            passed = [list(bits[i * tests : (i + 1) * tests]) for i in range(codes)]
            found = select(passed)
            assert found == literal(passed), passed
            if found.has_chosen:
                assert found.chosen is not None
                assert found.chosen_test is not None
                assert passed[found.chosen][found.chosen_test]
            if found.has_rejected:
                assert found.rejected is not None
                assert found.rejected_test is not None
                assert not passed[found.rejected][found.rejected_test]
            # something passes, something fails: both sides exist
            assert found.has_chosen == any(bits)
            assert found.has_rejected == (not all(bits))


@pytest.mark.parametrize(
    ("passed", "selection"),
    [
        (matrix(), NOTHING),
        ([[], []], Selection(0, None, None, None)),  # no tests: each program passes as many as any other
        (matrix("1"), Selection(0, 0, None, None)),
        (matrix("0"), Selection(0, None, 0, 0)),
        (matrix("11", "11"), Selection(0, 0, None, None)),  # everything passes: nothing to reject
        (matrix("00", "00"), Selection(0, None, 0, 0)),  # everything fails: nothing to choose
        (matrix("10"), Selection(0, 0, 1, 0)),  # one program is both, with two tests
        # tests 0 and 1 are as hard, tests 0 to 2 as easy, programs 1 and 2 as weak: the lowest index
        (matrix("111", "100", "010", "001"), Selection(0, 0, 0, 2)),
        # A wrong test (3) that only wrong programs pass; an easy one (0) that one program fails.
        (matrix("1110", "1110", "1001", "0001"), Selection(0, 1, 0, 3)),
    ],
)
def test_selection_at_its_limits(passed: Matrix, selection: Selection) -> None:
    assert select(passed) == selection


def test_baseline_looks_at_own_tests_alone() -> None:
    passed = matrix("100", "010", "110", "111")
    own = [0, 1, 2, None]  # the third fails its own, the fourth brought none
    drawn = {baseline(passed, own, random.Random(seed)) for seed in range(40)}
    assert drawn == {Selection(0, 0, 2, 2), Selection(1, 1, 2, 2)}
    assert baseline(passed, own, random.Random(1)) == baseline(passed, own, random.Random(1))
    assert baseline(passed, [0, 1, None, None], random.Random(0)).has_rejected is False
    assert baseline(passed, [None, 0, 2, None], random.Random(0)).has_chosen is False
    assert baseline([], [], random.Random(0)) == NOTHING


# ---------------------------------------------------------------------------------------------------------- views


def judged(
    instructions: dict[str, Matrix],
    codes: dict[str, str] | None = None,
    outcomes: dict[tuple[str, str], str] | None = None,
) -> tuple[Dataset, Dataset, dict[str, dict[str, str]], dict[str, list[dict[str, str]]]]:
    """Samples, judgements, tests and prompts that have these matrices; `outcomes`: (sample, test) -> instead."""
    samples, judgements, tests, prompts = [], [], {}, {}
    for name, passed in instructions.items():
        width = len(passed[0]) if passed else 0
        tests[name] = {f"{j}:0": f"assert f({j}) == {j}" for j in range(width)}
        prompts[name] = [{"role": "user", "content": f"Do {name}."}]
        for i, row in enumerate(passed):
            sample_id = f"{name}#{i}"
            code = (codes or {}).get(sample_id, f"def f(n):\n    return n + {i}\n")
            marks = {f"{j}:0": "passed" if mark else "failed" for j, mark in enumerate(row)}
            marks |= {test: to for (sample, test), to in (outcomes or {}).items() if sample == sample_id}
            samples.append({"instruction_id": name, "sample_id": sample_id, "code": code})
            judgements.append(
                {
                    "instruction_id": name,
                    "sample_id": sample_id,
                    "outcome": "passed" if all(row) else "failed",
                    "tests": [{"test_id": test, "outcome": mark} for test, mark in marks.items()],
                }
            )
    return Dataset.from_list(samples), Dataset.from_list(judgements), tests, prompts


def views(
    instructions: dict[str, Matrix], seed: int = 0, settings: Dstc | None = None, **more: Any
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Any]]:
    """The rows of both views, and the counts."""
    samples, judgements, tests, prompts = judged(instructions, **more)
    made, counts = dstc(samples, judgements, tests, settings or Dstc(), prompts, seed, 2, "print")
    assert made["dstc_dpo"].features == DPO
    assert made["dstc_kto"].features == KTO
    return list(made["dstc_dpo"]), list(made["dstc_kto"]), counts


GOOD = matrix("111", "110", "000")


def test_views_hold_what_was_selected() -> None:
    dpo, kto, counts = views(dict.fromkeys("abcd", GOOD))
    row = next(row for row in dpo if row["instruction_id"] == "a")
    assert (row["chosen_sample_id"], row["rejected_sample_id"]) == ("a#0", "a#2")
    assert (row["chosen_test_id"], row["rejected_test_id"]) == ("2:0", row["rejected_test_id"])
    assert row["rejected_test_id"] in ("0:0", "1:0")  # as easy: either
    assert row["prompt"] == [{"role": "user", "content": "Do a."}]
    (chosen,) = row["chosen"]
    assert chosen["role"] == "assistant"
    bodies = [block.body for block in fenced_blocks(chosen["content"])]
    assert bodies == ["def f(n):\n    return n + 0\n", "assert f(2) == 2\n"]
    assert {(r["instruction_id"], r["label"]) for r in kto} == set(itertools.product("abcd", [True, False]))
    for r in kto:
        side = "chosen" if r["label"] else "rejected"
        other = next(d for d in dpo if d["instruction_id"] == r["instruction_id"])
        assert r["completion"] == other[side]
        assert (r["sample_id"], r["test_id"]) == (other[f"{side}_sample_id"], other[f"{side}_test_id"])
    assert counts["feasible"] == {"chosen": 4, "rejected": 4}
    assert (counts["pairs"], counts["chosen"], counts["rejected"]) == (4, 4, 4)
    assert counts["dropped"] == counts["left_out"] == {}


def test_what_is_infeasible_is_dropped_and_counted() -> None:
    others = [f"other {i}" for i in range(8)]
    instructions = {
        **dict.fromkeys(others, GOOD),
        "all right": matrix("11", "11"),
        "all wrong": matrix("00", "00"),
        "no tests": [[], []],
        "no code": matrix("1"),
    }
    dpo, kto, counts = views(instructions, codes={"no code#0": "\n"})
    assert {row["instruction_id"] for row in dpo} == {*others}  # DPO needs both sides ...
    assert {row["instruction_id"] for row in kto} == {*others, "all right"}  # ... KTO a chosen one
    assert [row["label"] for row in kto if row["instruction_id"] == "all right"] == [True]
    assert counts["instructions"] == 12
    assert counts["feasible"] == {"chosen": 9, "rejected": 9}
    assert counts["dropped"] == {"no_test": 1, "no_program": 1, "no_chosen": 1, "no_rejected": 1}
    assert counts["left_out"] == {"no_code": 1}


def test_without_anything_the_views_are_empty() -> None:
    dpo, kto, counts = views({"a": matrix("0")})
    assert dpo == kto == []
    assert counts["dropped"] == {"no_chosen": 1}


def test_samples_that_did_not_run_fail_all_and_our_faults_do_not_count() -> None:
    # The verdicts of b#1 would make it the rejected one, had they not been our fault.
    dpo, _, counts = views(
        {"a": matrix("11", "10", "11"), "b": matrix("11", "00", "10")},
        outcomes={("b#1", "0:0"): "infra_error", ("b#1", "1:0"): "infra_error"},
    )
    assert {row["rejected_sample_id"] for row in dpo} == {"a#1", "b#2"}
    assert counts["left_out"] == {"infra_error": 1}
    # A program that used up its time on the first test is to blame for the second.
    late = {("a#1", "0:0"): "timeout", ("a#1", "1:0"): "infra_error"}
    dpo, _, counts = views({"a": matrix("11", "00", "10"), "b": GOOD}, outcomes=late)
    assert {row["rejected_sample_id"] for row in dpo} == {"a#1", "b#2"}
    assert counts["left_out"] == {}
    samples, judgements, tests, prompts = judged({"a": matrix("11", "10"), "b": GOOD})
    unrun = [row | ({"tests": []} if row["sample_id"] == "a#1" else {}) for row in judgements]  # a syntax error
    judgements = Dataset.from_list(unrun, features=judgements.features)
    made, _ = dstc(samples, judgements, tests, Dstc(), prompts, 0, 2, "print")
    assert set(made["dstc_dpo"]["rejected_sample_id"]) == {"a#1", "b#2"}


def test_texts_that_are_equal_are_no_pair() -> None:
    codes = {f"{name}#{i}": "def f(n):\n    return n\n" for name in "ab" for i in range(2)}
    both = {"a": matrix("10", "01"), "b": matrix("11", "11"), **dict.fromkeys("cdefgh", GOOD)}
    dpo, kto, counts = views(both, codes=codes)  # one program, but two tests
    assert {row["instruction_id"] for row in dpo} == {"a", *"cdefgh"}
    assert counts["same_program"] == 1
    dpo, kto, counts = views(both, codes=codes, settings=Dstc(concatenate=False))
    assert {row["instruction_id"] for row in dpo} == {*"cdefgh"}
    assert [row["label"] for row in kto if row["instruction_id"] == "a"] == [True]  # not right and wrong at once
    assert counts["dropped"] == {"no_rejected": 1, "chosen_equals_rejected": 1}
    assert counts["same_program"] == 0


def test_without_concatenation_a_response_is_the_program() -> None:
    dpo, kto, _ = views({"a": GOOD, "b": GOOD}, settings=Dstc(concatenate=False))
    texts = [row[side][0]["content"] for row in dpo for side in ("chosen", "rejected")]
    texts += [row["completion"][0]["content"] for row in kto]
    assert all("assert" not in text and len(fenced_blocks(text)) == 1 for text in texts)
    assert all(row["chosen_test_id"] and row["rejected_test_id"] for row in dpo)  # still the evidence


def test_without_minimax_answers_are_judged_by_their_own_tests() -> None:
    passed = matrix("1000", "0100", "1101", "1111")  # programs 0, 1 and 3 pass their own, program 2 does not
    seen = set()
    for seed in range(20):
        dpo, _, _ = views({"a": passed, "b": passed}, seed, Dstc(minimax=False))
        row = next(row for row in dpo if row["instruction_id"] == "a")
        seen.add((row["chosen_sample_id"], row["chosen_test_id"]))
        assert (row["rejected_sample_id"], row["rejected_test_id"]) == ("a#2", "2:0")
    assert seen == {("a#0", "0:0"), ("a#1", "1:0"), ("a#3", "3:0")}
    assert own_test("HumanEval/3#12") == "12:0"


def test_ties_do_not_follow_the_order_of_the_samples() -> None:
    passed = matrix(*["11"] * 10, *["00"] * 10)
    dpo, _, _ = views({f"{i:02}": passed for i in range(60)})
    chosen = [int(row["chosen_sample_id"].rpartition("#")[2]) for row in dpo]
    rejected = [int(row["rejected_sample_id"].rpartition("#")[2]) for row in dpo]
    assert all(i < 10 for i in chosen)
    assert all(i >= 10 for i in rejected)
    assert len(set(chosen)) > 7
    assert len(set(rejected)) > 7
    assert dpo == views({f"{i:02}": passed for i in range(60)})[0]
    assert dpo != views({f"{i:02}": passed for i in range(60)}, seed=1)[0]


def test_kto_rows_stand_in_a_safe_order() -> None:
    rng = random.Random(0)
    instructions = {
        f"i{k}": [[rng.random() < rng.choice([0.1, 0.5, 0.9, 1.0]) for _ in range(6)] for _ in range(6)]
        for k in range(60)
    }
    _, kto, counts = views(instructions)
    prompts, labels = [str(row["prompt"]) for row in kto], [row["label"] for row in kto]
    assert len(kto) > 60
    assert is_kto_safe(prompts, labels, counts["kto_block"])
    assert "no_place_in_kto_order" not in counts["dropped"]


def test_views_have_fingerprints_of_their_inputs() -> None:
    samples, judgements, tests, prompts = judged({"a": GOOD, "b": GOOD})
    made, _ = dstc(samples, judgements, tests, Dstc(), prompts, 0, 2, "f00d")
    assert {name: view._fingerprint for name, view in made.items()} == {
        "dstc_dpo": "f00d-dstc_dpo",
        "dstc_kto": "f00d-dstc_kto",
    }


def test_code_blocks_in_programs_do_not_end_the_response() -> None:
    program = 'def f():\n    """Use:\n\n    ```python\n    f()\n    ```\n    """\n'
    text = response(program, "assert f({test}) is None")
    assert [block.body for block in fenced_blocks(text)] == [program, "assert f({test}) is None\n"]
    assert response("a = '{test}{program}'\n", "assert a").count("assert a") == 1


# ---------------------------------------------------------------------------------------------- prompt and answers


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Limits(seconds=2.0, total_seconds=5.0), workers=1) as running:
        yield running


def test_examples_pass_their_own_tests(sandbox: Sandbox) -> None:
    assert len(EXAMPLES) == len({example.instruction for example in EXAMPLES}) == 10
    jobs = []
    for example in EXAMPLES:
        parts, reason = parse(answer(example), example.entry_point)
        assert reason == ""
        assert parts["solution"] == example.implementation
        assert parts["test_code"] == example.tests
        assert example.entry_point in dstc_prompt.with_entry_point(example.instruction, example.entry_point)
        assert sum(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(example.tests))) >= 7
        jobs.append(Job(parts["solution"], (suite(parts["test_code"]),)))
    for example, result in zip(EXAMPLES, sandbox.run(jobs), strict=True):
        assert result.outcome == "passed", (example.entry_point, result)


def test_tests_of_the_examples_can_fail(sandbox: Sandbox) -> None:
    jobs = [
        Job(f"def {example.entry_point}(*args, **kwargs):\n    return []\n", (suite(example.tests),))
        for example in EXAMPLES
    ]
    assert all(result.outcome != "passed" for result in sandbox.run(jobs))


def test_prompt_shows_one_example_and_ends_with_the_task() -> None:
    task = "Reverse the words of a sentence."
    text = prompt(task, "reverse_words", 0)
    assert text == prompt(task, "reverse_words", 0)
    assert f"{task}\nThe main function name is `reverse_words`.\n\n### Answer\n\n{OPENING}" in text
    assert text.endswith(OPENING)
    assert sum(example.instruction in text for example in EXAMPLES) == 1
    assert text.count("main function name") == 2
    assert prompt(task, "", 0).count("main function name") == 1  # the example's
    texts = [prompt(f"Task {i}.", "f", 0) for i in range(300)]
    shown = [sum(example.instruction in text for text in texts) for example in EXAMPLES]
    assert min(shown) > 10, "each example is used"
    assert any(prompt(f"Task {i}.", "f", 0) != prompt(f"Task {i}.", "f", 1) for i in range(5))


PROGRAM = "def double(n):\n    return 2 * n\n"
TESTS = "assert double(2) == 4\nassert double(0) == 0\n"


def four_parts(program: str = PROGRAM, tests: str = TESTS, head: str = "[{}]") -> str:
    heads = [head.format(name) for name in ("Reasoning", "Implementation", "Explanation", "Tests")]
    return (
        f"{heads[0]}\nTwice the number.\n\n{heads[1]}\nHere it is:\n```python\n{program}```\n\n"
        f"{heads[2]}\nIt multiplies.\n\n{heads[3]}\nSome tests:\n```python\n{tests}```\nThese cover it.\n"
    )


UNFENCED = f"[Reasoning]\nTwice.\n[Implementation]\n{PROGRAM}\n[Explanation]\nIt multiplies.\n[Tests]\n{TESTS}"
NO_HEADS = f"Twice it is:\n\n```python\n{PROGRAM}```\n\nTests:\n\n```python\n{TESTS}```\n"


@pytest.mark.parametrize(
    "text",
    [
        four_parts(),
        f"{OPENING}\n\n{four_parts()}",
        four_parts(head="### {}"),
        four_parts(head="**{}**"),
        four_parts(head="## [{}]"),
        four_parts().replace("```python", "```"),
        f"<think>\n[Implementation]\n```python\nx = 1\n```\nHm.\n</think>\n{four_parts()}",
        UNFENCED,
        NO_HEADS,
        four_parts().replace("[Tests]\n", ""),
        four_parts().replace("[Implementation]\n", ""),
        four_parts() + "\n## Example 3\n\n### Task\nTriple it.\n\n[Implementation]\n```python\ndef t(): ...\n```\n",
        four_parts() + "\n### Task\n\nTriple it.\n```python\nassert triple(1) == 3\n```\n",
        four_parts(tests=f"from double import double\n{TESTS}"),
        four_parts(tests=f"from your_module import double\n\n{TESTS}"),
        four_parts(tests=f"{PROGRAM}\n{TESTS}"),  # the copy would be what is tested
        four_parts(tests=f"@staticmethod\n{PROGRAM}\n{TESTS}"),
        four_parts().replace("\n", "\r\n"),
    ],
)
def test_answers_are_taken_apart(text: str) -> None:
    parts, reason = parse(text, "double")
    assert reason == ""
    assert parts["solution"] == PROGRAM
    assert parts["test_code"] == TESTS
    assert parts["start_code"] == ""
    assert suite(parts["test_code"]) == TESTS


def test_reasoning_is_kept_as_the_analysis() -> None:
    assert parse(four_parts(), "double")[0]["analysis"] == "Twice the number."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I cannot help with that.", "unparsable"),
        ("", "unparsable"),
        ("[Reasoning]\nHm.\n[Tests]\n```python\nassert double(1) == 2\n```\n", "no_solution"),
        (f"[Implementation]\n```python\n{PROGRAM}```\n[Explanation]\nDone.\n", "no_test_code"),
        (f"[Implementation]\n```python\n{PROGRAM}```\n[Tests]\nNone needed.\n", "no_test_code"),
        (four_parts(tests=PROGRAM), "no_test_code"),  # nothing is left
        (f"<think>\n{four_parts()}", "unparsable"),  # it never came to its answer
    ],
)
def test_answers_that_lack_something_say_what(text: str, reason: str) -> None:
    assert parse(text, "double")[1] == reason


@pytest.mark.parametrize(
    "tests",
    [
        "def test_double():\n    assert double(2) == 4\n",
        "def check(candidate):\n    assert candidate(2) == 4\n",
        "def check(f):\n    assert f(2) == 4\n\ncheck(double)\n",
        "import math\n\nfor n in range(3):\n    assert double(n) == n + n + math.floor(0.5)\n",
        "expected = 4\nassert double(2) == expected\n",
        "assert double(2) == 4  # yes\n",
        "def twice(n):\n    return n + n\n\nassert double(2) == twice(2)\n",
    ],
)
def test_suites_run_on_other_programs(tests: str, sandbox: Sandbox) -> None:
    parts, reason = parse(four_parts(tests=tests), "double")
    assert reason == ""
    test = suite(parts["test_code"])
    wrong = Job("def double(n):\n    return n * n + 1\n", (test,))
    right, failed = sandbox.run([Job(PROGRAM, (test,)), wrong])
    assert right.outcome == "passed"
    assert failed.outcome == "failed"


def test_a_suite_in_which_nothing_runs_is_none() -> None:
    assert suite("def helper(x):\n    assert x\n") == ""
    assert suite("print(double(2))\n") == ""
    with pytest.raises(SyntaxError):
        suite("assert double(2) == \n")


def test_answers_become_views(sandbox: Sandbox) -> None:
    """From texts to pairs, through the real judge."""
    wrong, almost = "def double(n):\n    return n * n\n", "def double(n):\n    return abs(2 * n)\n"
    answers = [
        four_parts(tests="assert double(5) == 10\n"),
        four_parts(wrong, "assert double(5) == 10\n"),  # fails its own test, which is right
        four_parts(tests="assert double(3) == 6\nassert double(-1) == -2\n"),
        four_parts(wrong, "assert double(2) == 4\nassert double(3) == 9\n"),  # a wrong test that its program passes
        four_parts(almost, "assert double(4) == 8\n"),
    ]
    parts = [parse(text, "double")[0] for text in answers]
    ids = [f"t#{i}" for i in range(len(answers))]
    tests = {"t": {f"{i}:0": suite(part["test_code"]) for i, part in enumerate(parts)}}
    batch = {"instruction_id": ["t"] * len(ids), "sample_id": ids, "code": [part["solution"] for part in parts]}
    verdicts = judge.judge(batch, tests, {}, "consensus", "syntax", sandbox)
    judgements = Dataset.from_dict(verdicts, features=judge.FEATURES)
    prompts = {"t": [{"role": "user", "content": "Double it."}]}
    made, counts = dstc(Dataset.from_dict(batch), judgements, tests, Dstc(), prompts, 0, 2, "print")
    (row,) = made["dstc_dpo"]
    assert row["chosen_sample_id"] in ("t#0", "t#2")
    assert row["chosen_test_id"] == "2:0"  # the hardest
    assert row["rejected_sample_id"] in ("t#1", "t#3")
    assert "main function name" not in row["prompt"][0]["content"]
    assert counts["pairs"] == 1


# ------------------------------------------------------------------------------------- names of gold responses


def gold(*blocks: str, instruction: str = "Write a function.") -> dict[str, Any]:
    text = "Let us see.\n\n" + "\n\nThen:\n\n".join(f"```python\n{block}```" for block in blocks)
    return {"instruction": instruction, "response": text, "seed": "def seed_function(): ...", "id": 1}


HELPED = "def helper(n):\n    return n\n\n\ndef main_thing(n):\n    return helper(n)\n"


@pytest.mark.parametrize(
    ("row", "name"),
    [
        (gold(PROGRAM, TESTS), "double"),
        (gold(PROGRAM), "double"),
        (gold(HELPED), "main_thing"),
        (gold(HELPED, "assert main_thing(1) == 1\n"), "main_thing"),
        (gold(HELPED, "assert helper(1) == 1\nassert helper(2) == 2\nassert main_thing(1) == 1\n"), "helper"),
        (gold(HELPED, instruction="Write `helper`, please."), "helper"),
        (gold("class Box:\n    def size(self):\n        return 1\n", "box = Box()\nassert box.size() == 1\n"), "Box"),
        (gold("def main_thing(n):\n    return _inner(n)\n\n\ndef _inner(n):\n    return n\n"), "main_thing"),
        (gold("print('hello')\n"), ""),
        ({"instruction": "Do it.", "response": "No code."}, ""),
        ({"instruction": "Do it.", "response": None}, ""),
        ({"instruction": "", "response": answer(EXAMPLES[3])}, "RecentFiles"),
    ],
)
def test_the_name_is_what_the_gold_tests_call(row: dict[str, Any], name: str) -> None:
    assert entry_point(row) == name


def test_examples_are_whole() -> None:
    for example in EXAMPLES:
        assert all(vars(example).values())
        assert isinstance(example, Example)
        assert entry_point({"instruction": example.instruction, "response": answer(example)}) == example.entry_point
