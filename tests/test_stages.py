"""The stages on real programs in the real sandbox: verdicts, labels, counted reasons, fingerprints, resuming."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
from datasets import Dataset

from plum_hub import stages
from plum_hub.generate import Completion
from plum_hub.recipe import Tests as Settings  # pytest would take `Tests` for a class of tests
from plum_hub.sandbox import Limits, Sandbox
from plum_hub.stages import counts, judge, sample, tests

INSTRUCTION = {"id": "t0", "instruction": "Write `square(n)`.", "entry_point": "square"}
GOOD = "def square(n):\n    return n * n\n"
LUCKY = "assert random.random() > 0.8"  # with the sandbox's seed 0 it is 0.844
TESTS = {"0:0": "assert square(2) == 4", "0:1": "assert square(3) == 9", "0:2": "assert square(-1) == 1"}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    # seconds are of the processor, the total is by the clock: they are far apart, for a busy machine
    with Sandbox(Limits(seconds=0.5, total_seconds=2.0), workers=1) as running:
        yield running


def response(solution: str, *asserts: str) -> str:
    return f"[Analysis]\nSquare it.\n[Solution]\n{solution}\n[Start Code]\ndef square(n):\n[Test Code]\n" + "\n".join(
        asserts
    )


def batch(*rows: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def make_tests(texts: list[Any], sandbox: Sandbox, **settings: Any) -> list[dict[str, Any]]:
    chosen = Settings.model_validate(
        {"generator": "hf:a/b", "reruns": 0, "mutants": 0, "consistency": "consensus", **settings}
    )
    made = tests.make_tests(batch(INSTRUCTION), [texts], "generator", "r1", sandbox, chosen)
    return list(Dataset.from_dict(made, features=tests.FEATURES))


def test_a_response_is_kept_only_if_its_solution_passes_its_tests(sandbox: Sandbox) -> None:
    rows = make_tests(
        [
            response(GOOD, "assert square(2) == 4", "assert square(3) == 9"),
            response(GOOD, "assert square(2) == 5"),
            response("def square(n):\n    while True: pass\n", "assert square(2) == 4"),
            response(GOOD, "print(square(2))"),
            response(GOOD, "assert square(2) == "),
            "I cannot help with that.",
            response("def square(n: int) -> int\n    return 4\n", "assert square(2) == 4"),
        ],
        sandbox,
    )
    assert [row["reason"] for row in rows] == [
        "",
        "inconsistent:failed",
        "inconsistent:timeout",
        "no_assertion_runs",
        "test_syntax_error",
        "unparsable",
        "solution_syntax_error",
    ]
    assert [row["kept"] for row in rows] == [True] + [False] * 6
    assert tests.kept_tests(rows) == {"t0": {"0:0": "assert square(2) == 4", "0:1": "assert square(3) == 9"}}


def test_candidate_assertions_are_distinct_and_the_most_frequent(sandbox: Sandbox) -> None:
    texts = ["assert square(2) == 4\n", "assert square(2)==4\nassert square(3) == 9\n", "assert square(5) == 1\n", "\n"]
    rows = make_tests(texts, sandbox, format="assertions", max_tests=2)
    assert [row["tests"] for row in rows] == [["assert square(2) == 4"], ["assert square(3) == 9"], [], []]
    assert [row["reason"] for row in rows] == ["", "", "duplicate_or_rare", "empty"]
    (row,) = make_tests(["Sorry.\n"], sandbox, format="assertions")
    assert row["reason"] == "no_assertion_runs"


@pytest.mark.parametrize("form", ["plum", "dstc", "assertions"])
def test_a_generator_that_gives_nothing_says_why(sandbox: Sandbox, form: str) -> None:
    ends = ["stop", "prompt_too_long", "content_filter", "refused", "server_error", "length", "imported"]
    rows = make_tests([*(Completion("", 0, end) for end in ends), " \n"], sandbox, format=form)
    reasons = ["empty", "prompt_too_long", "content_filter", "refused", "server_error", "truncated", "empty", "empty"]
    assert [row["reason"] for row in rows] == reasons
    counted = counts.count_tests([Dataset.from_list(rows, features=tests.FEATURES)], "reference")
    assert counted["dropped"]["prompt_too_long"] == 1
    assert counted["consistency_rate"] is None, "there is no solution to be consistent"
    (row,) = make_tests([Completion("No.", 1, "content_filter")], sandbox, format=form)
    assert row["reason"] in ("unparsable", "no_assertion_runs")


def test_a_least_mutation_score_needs_mutants() -> None:
    with pytest.raises(ValueError, match="needs `mutants`"):
        Settings(generator="hf:a/b", mutants=0, min_mutation_score=0.5)


def test_a_suite_gets_a_mutation_score_unless_the_recipe_says_otherwise(sandbox: Sandbox) -> None:
    text = response(GOOD, "assert square(2) == 4", "assert square(3) == 9")
    made = tests.make_tests(
        batch(INSTRUCTION), [[text]], "generator", "r1", sandbox, Settings.model_validate({"generator": "hf:a/b"})
    )
    assert made["kept"] == [True]
    assert made["mutants"][0] >= 2


def test_a_response_that_was_cut_off_loses_its_last_statement_or_is_dropped_for_it(sandbox: Sandbox) -> None:
    whole = response(GOOD, "assert square(2) == 4", "assert square(3) == 9", "assert square(11) == 12")
    texts = [whole, whole[: whole.index("[Test Code]")], whole[: whole.index("assert square(3)")], whole]
    reasons = ["length", "length", "length", "stop"]
    rows = make_tests([Completion(t, 1, r) for t, r in zip(texts, reasons, strict=True)], sandbox)
    assert [row["reason"] for row in rows] == ["", "truncated", "truncated", "inconsistent:failed"]
    assert rows[0]["tests"] == ["assert square(2) == 4", "assert square(3) == 9"]
    assert rows[0]["notes"] == ["truncated", "fewer_than_3"]


def test_more_tests_than_the_cap_are_cut_and_few_are_noted(sandbox: Sandbox) -> None:
    many = [f"assert square({i}) == {i * i}" for i in range(2, 9)]
    one = "def test_all():\n    assert square(2) == 4\n    assert square(3) == 9\n    assert square(0) == 0"
    rows = make_tests([response(GOOD, *many), response(GOOD, *many[:2]), response(GOOD, one)], sandbox, max_tests=5)
    assert [len(row["tests"]) for row in rows] == [5, 2, 1]
    assert [row["notes"] for row in rows] == [["capped"], ["fewer_than_3"], []]


def test_examined_suites_lose_their_flaky_and_vacuous_tests(sandbox: Sandbox) -> None:
    rows = make_tests(
        [
            response(GOOD, "assert square(2) == 4", "assert square(3) == 9", "assert square is not None"),
            response("import random\n" + GOOD, "import random", "assert square(3) == 9", LUCKY),
            response(GOOD, "assert square(0) == 0", "assert square(0) + 0 == 0"),
            response(GOOD, "import random", LUCKY),
            response(GOOD, "assert square(2) == 4"),
            response(GOOD, "assert square(3) == 9"),
        ],
        sandbox,
        reruns=2,
        mutants=20,
        min_mutation_score=0.9,
    )
    assert [(row["kept"], row["reason"]) for row in rows] == [
        (True, ""),
        (True, ""),
        (False, "vacuous"),
        (False, "flaky"),
        (False, "weak_tests"),  # 2 * 2 == 2 + 2
        (True, ""),
    ]
    assert rows[0]["dropped_tests"] == [{"test": "assert square is not None", "reason": "vacuous"}]
    assert [t["reason"] for t in rows[1]["dropped_tests"]] == ["flaky"]
    assert [len(row["test_outcomes"]) for row in rows[:2]] == [2, 1]
    assert rows[4]["killed"] < rows[4]["mutants"] == rows[5]["killed"]
    assert rows[5]["mutation_score"] == 1.0
    assert rows[3]["mutation_score"] is None
    counted = counts.count_tests([Dataset.from_list(rows, features=tests.FEATURES)], "reference")
    assert counted["out"] == 3
    assert counted["consistency_rate"] == 100, "all pass their own tests"
    assert counted["dropped"] == {"vacuous": 1, "flaky": 1, "weak_tests": 1}
    assert counted["dropped_tests"] == {"vacuous": 1, "flaky": 1}
    assert counted["notes"] == {"fewer_than_3": 2}
    assert counted["mutation"]["suites"] == counted["mutation"]["histogram"]["all"] == 3
    assert counts._tenths([0.0, 0.1, 0.29, 0.3, 0.999])["histogram"] == {
        **dict.fromkeys(counted["mutation"]["histogram"], 0),
        **dict.fromkeys(("0 to 10 %", "10 to 20 %", "20 to 30 %", "30 to 40 %", "90 to 100 %"), 1),
    }


def test_the_consistency_rate_is_of_responses_with_a_solution_and_tests(sandbox: Sandbox) -> None:
    rows = make_tests(
        [
            response(GOOD, "assert square(2) == 4"),
            response(GOOD, "assert square(2) == 5"),
            response("def square(n)\n", "assert square(2) == 4"),
            response(GOOD, "assert square(2) == "),
            "No.",
        ],
        sandbox,
    )
    counted = counts.count_tests([Dataset.from_list(rows, features=tests.FEATURES)], "reference")
    assert counted["consistency_rate"] == pytest.approx(100 / 3)
    ours = {**rows[1], "reason": "inconsistent:infra_error", "outcome": "infra_error"}
    both = [Dataset.from_list([*rows, ours], features=tests.FEATURES)]
    assert counts.count_tests(both, "reference")["consistency_rate"] == pytest.approx(100 / 3), "our fault, not theirs"
    assert counted["mutation"] is None


class RecipeStub:
    """Whatever the card asks of a recipe."""

    notes = ""

    def __getattr__(self, name: str) -> "RecipeStub":
        return self


CARD = Path(__file__).parent.parent / "cards" / "dataset.md.jinja"


def render(made: Dataset, samples: Dataset, judgements: Dataset, examples: list[dict[str, Any]]) -> str:
    """The card of a small dataset."""
    return jinja2.Template(CARD.read_text()).render(
        recipe=RecipeStub(),
        counts={
            "tests": counts.count_tests([made], "reference"),
            "sample": counts.count_samples([samples], 1),
            "judge": counts.count_judgements(judgements),
            "prefer": {"in": 2, "out": 2, "dropped": {}},
        },
        examples=examples,
        histogram={},
        configs={},
    )


def test_examples_are_complete_and_fenced_safely(sandbox: Sandbox) -> None:
    answer = "Ok:\n````python\n" + GOOD + "````\nDone."
    rows = make_tests([response(GOOD, "assert square(2) == 4", "assert square(3) == 9")], sandbox)
    made = Dataset.from_list(rows, features=tests.FEATURES)
    answers = ((answer, "stop"), ("def square(n):\n    return 4\n", "stop"), ("", "content_filter"))
    texts = [{"text": text, "tokens": 3, "finish_reason": end} for text, end in answers]
    record = dict.fromkeys(("policy", "policy_revision"), "p") | dict.fromkeys(
        ("temperature", "top_p", "top_k", "max_new_tokens", "seed"), 1
    )
    samples = Dataset.from_dict(
        sample.make_samples(batch(INSTRUCTION), [texts], "{instruction}", "Be brief.", False, (), record),
        features=sample.FEATURES,
    )
    wanted = samples.select_columns(["instruction_id", "sample_id", "code"])
    verdicts = judge.judge(wanted.to_dict(), tests.kept_tests(rows), {}, "reference", "mypy", sandbox)
    judgements = Dataset.from_dict(verdicts, features=judge.FEATURES)
    found = counts.examples(Dataset.from_list([INSTRUCTION]), samples, judgements, [made])
    assert [example["label"] for example in found] == ["chosen", "rejected", ""]
    blocks = dict(found[0]["blocks"])
    assert blocks["Prompt"] == "```\n[system]\nBe brief.\n\n[user]\nWrite `square(n)`.\n```"
    assert blocks["Completion"] == f"`````\n{answer}\n`````"
    assert "# 0:1: failed\nassert square(3) == 9" in dict(found[1]["blocks"])["Tests"]
    card = render(made, samples, judgements, found)
    assert f"\nCompletion:\n\n`````\n{answer}\n`````\n" in card
    assert "kept responses noted as `fewer_than_3`: 1." in card
    assert "noticed" not in card, "no mutation score was measured"
    assert "Where the programs were found: fence 1, bare 1, none 1.\n\nPreferences" in card
    assert "cut off by `max_new_tokens`: 0; ended by `content_filter`: 1; without a program in them: 1.\n" in card
    assert "Outcomes of the samples: passed 1, failed 1, syntax_error 1.\n" in card
    assert "\n\n\n\n" not in card.partition("## Three examples")[2]
    counted = counts.count_samples([samples], 1)
    assert (counted["truncated"], counted["truncation_rate"], counted["no_code"]) == (0, 0, 1)
    assert counted["finish"] == {"content_filter": 1}


@pytest.mark.parametrize("dropped", [{}, {"not_python": 2}])
def test_the_card_names_the_config_of_what_was_dropped_only_where_there_is_one(dropped: dict[str, int]) -> None:
    template = jinja2.Template(CARD.read_text().partition("## Counts")[2].partition("{% if counts.tests.usage")[0])
    benchmarks = {"humaneval": 164, "mbpp": 974}
    text = template.render(counts={"instructions": {"in": 9, "out": 7, "dropped": dropped, "benchmarks": benchmarks}})
    assert "compared with 164 tasks of humaneval, 974 tasks of mbpp" in text
    assert ("`instructions_dropped`.\n" in text) == bool(dropped)
    assert text.strip()[-1] == "."


def test_samples_without_tests_have_no_outcome(sandbox: Sandbox) -> None:
    rows = judged([GOOD, "def square(n:\n", ""], sandbox, suite={})
    assert [(row["outcome"], row["reason"]) for row in rows] == [
        ("", "no_tests"),
        ("syntax_error", "syntax_error"),
        ("syntax_error", "no_code"),
    ]
    judgements = Dataset.from_list(rows, features=judge.FEATURES)
    assert counts.count_judgements(judgements)["outcomes"] == {"syntax_error": 2}
    assert counts.count_judgements(judgements.select([0]))["outcomes"] == {}
    made = Dataset.from_list(make_tests([response(GOOD, "assert square(2) == 5")], sandbox), features=tests.FEATURES)
    samples = Dataset.from_list(
        [
            {"instruction_id": "t0", "messages": [], "completion": GOOD, "code": GOOD, "finish_reason": "stop"}
            | {"sample_id": "t0#0", "extraction": "bare"}
        ]
    )
    found = counts.examples(Dataset.from_list([INSTRUCTION]), samples, judgements.select([0]), [made])
    card = render(made, samples, judgements.select([0]), found)
    assert "Outcomes of the samples: none was run.\n" in card
    assert "**no_tests** (not run, 0 of 0 tests)" in card
    assert "passed" not in card.partition("Outcomes of the samples")[2].partition("## Limits")[0]


def judged(
    codes: list[str], sandbox: Sandbox, consistency: str = "reference", suite: dict[str, str] = TESTS
) -> list[Any]:
    rows = [{"instruction_id": "t0", "sample_id": f"t0#{i}", "code": code} for i, code in enumerate(codes)]
    made = judge.judge(batch(*rows), {"t0": suite}, {}, consistency, "mypy", sandbox)
    return list(Dataset.from_dict(made, features=judge.FEATURES))


def test_labels_follow_plum(sandbox: Sandbox) -> None:
    codes = {
        GOOD: ("chosen", "", "passed"),
        "def square(n):\n    return n * 2\n": ("rejected", "", "failed"),
        "def square(n: int) -> int:\n    return n + 'x'\n": ("", "static_error", "static_error"),
        "def square(n: int) -> int:\n    return missing_name\n": ("", "static_error", "static_error"),
        "def square(n):\n    return [n][n]\n": ("rejected", "", "error"),
        "def square(n):\n    while n > 1: pass\n    return n * n\n": ("rejected", "", "timeout"),
        "def square(n):\n    return [0] * 10**12\n": ("rejected", "", "memory"),
        "def square(n)\n    return n * n\n": ("", "syntax_error", "syntax_error"),
        "import no_such_module\n" + GOOD: ("", "load_error", "load_error"),
        "import sys\nsys.exit(0)\n" + GOOD: ("", "load_error", "load_error"),
        "def square(n):\n    import os\n    print('PASSED')\n    os._exit(0)\n": ("rejected", "", "crashed"),
    }
    rows = judged(list(codes), sandbox)
    assert [(r["label"], r["reason"], r["outcome"]) for r in rows] == list(codes.values())
    assert rows[0]["passed"] == rows[0]["counted"] == 3
    assert [t["outcome"] for t in rows[1]["tests"]] == ["passed", "failed", "failed"]
    assert "missing_name" in rows[3]["static_messages"][0]


def test_a_slow_program_is_not_rejected_for_want_of_our_time(sandbox: Sandbox) -> None:
    suite = {f"0:{i}": f"import time; time.sleep(0.7); assert square({i}) == {i * i}" for i in range(4)}
    slow, wrong = judged([GOOD, "def square(n):\n    return n + 2\n"], sandbox, suite=suite)
    assert {t["outcome"] for t in slow["tests"]} == {"passed", "infra_error"}, "2 seconds in all are too few for four"
    assert (slow["label"], slow["reason"]) == ("", "infra_error")
    assert (wrong["label"], wrong["outcome"]) == ("rejected", "failed"), "one failed test is enough"


def test_without_tests_there_is_no_label(sandbox: Sandbox) -> None:
    (row,) = judged([GOOD], sandbox, suite={})
    assert (row["label"], row["reason"]) == ("", "no_tests")


def test_consensus_counts_the_tests_that_the_best_group_passes(sandbox: Sandbox) -> None:
    suite = {**TESTS, "1:0": "assert square(2) == 5", "2:0": "assert square(3) == 6"}
    double = "def square(n):\n    return n * 2\n"  # passes square(2) == 4 and square(3) == 6
    odd = "def square(n):\n    return 5\n"
    rows = judged([GOOD, GOOD, double, odd], sandbox, "consensus", suite)
    # groups: 2 samples x 3 tests = 6; 1 x 2 = 2; 1 x 1 = 1
    assert [t["counted"] for t in rows[0]["tests"]] == [True, True, True, False, False]
    assert [row["label"] for row in rows] == ["chosen", "chosen", "rejected", "rejected"]
    (alone,) = judged(["def square(n):\n    return None\n"], sandbox, "consensus")
    assert (alone["label"], alone["reason"]) == ("", "no_consensus")


def test_samples_keep_their_order_and_a_continuation_is_cut() -> None:
    record = dict.fromkeys(("policy", "policy_revision"), "p") | {
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "max_new_tokens": 9,
        "seed": 1,
    }
    code = {**INSTRUCTION, "instruction": "def square(n):\n"}
    texts = [{"text": t, "tokens": 3, "finish_reason": "stop"} for t in ("    return n * n\n\nprint(1)", "    pass")]
    made = sample.make_samples(
        batch(code), [texts], "Complete:\n{instruction}", "Be brief.", True, ("\nprint",), record
    )
    rows = list(Dataset.from_dict(made, features=sample.FEATURES))
    assert [row["sample_id"] for row in rows] == ["t0#0", "t0#1"]
    assert rows[0]["code"] == GOOD
    assert rows[0]["completion"] == f"```python\n{GOOD}```"
    assert rows[0]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Complete:\ndef square(n):\n"},
    ]


def test_a_finished_shard_is_loaded_and_an_unfinished_one_is_made_again(tmp_path: Path) -> None:
    calls = []

    def double(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        calls.append(len(rows["x"]))
        return {"y": [2 * x for x in rows["x"]]}

    from datasets import Features, Value

    shard, features = Dataset.from_dict({"x": [1, 2, 3]}), Features({"y": Value("int64")})
    path = tmp_path / "stage" / "00000-abc.arrow"
    for _ in range(2):
        assert stages.map_shard(shard, double, features, path, {})["y"][:] == [2, 4, 6]
    assert calls == [3]
    path.unlink()
    stages.map_shard(shard, double, features, path, {})
    assert calls == [3, 3]
    assert [p.name for p in path.parent.iterdir()] == [path.name], "nothing temporary stays"


def test_fingerprints_see_an_edit_of_the_code_and_are_the_same_in_every_process(tmp_path: Path) -> None:
    module = tmp_path / "stage_of_a_test.py"
    probe = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import stage_of_a_test as m; from plum_hub import stages; "
        "print(json.dumps([stages.code_version(m), stages.fingerprint('s', {'b': 1, 'a': [1.5, None]}, 'parent')]))"
    )

    def ask(source: str, seed: str) -> list[str]:
        module.write_text(source)
        env = {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parent.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        return json.loads(subprocess.check_output([sys.executable, "-c", probe, str(tmp_path)], env=env))

    first, again = ask("def f(x):\n    return x * 2\n", "1"), ask("def f(x):\n    return x * 2\n", "2")
    edited = ask("def f(x):\n    return x * 3\n", "1")
    assert first == again
    assert first[0] != edited[0]
    assert first[1] == edited[1] != stages.fingerprint("s", {"b": 2, "a": [1.5, None]}, "parent")
