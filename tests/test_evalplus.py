"""HumanEval(+) and MBPP(+): evalplus' data, prompts, extraction, verdicts and limits."""

import importlib.util
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("evalplus", reason="evalplus is not installed: pip install 'plum-hub[eval]'")

from plum_hub import evaluate
from plum_hub.errors import UserError
from plum_hub.evaluate import evalplus, samples
from plum_hub.evaluate import sanitize as ours
from plum_hub.evaluate.samples import Sample
from plum_hub.evaluate.tasks import Bench, Options
from plum_hub.sandbox import Calls, Job, Record, Sandbox
from plum_hub.sandbox.inside import digests, oracles

STARCODER = "starcoder2_instruct_evalplus/evalplus-starcoder2-15b-instruct-v0.1"


def source(module: str) -> str:
    """The text of one of evalplus' files, which may need more than is installed."""
    (package,) = importlib.util.find_spec("evalplus").submodule_search_locations  # type: ignore[union-attr]
    return (Path(package) / module).read_text()


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUM_CACHE", str(tmp_path_factory.getbasetemp() / "plum-cache"))
    for variable in evalplus.OVERRIDES.values():
        monkeypatch.delenv(variable, raising=False)


def task(number: int, name: str, body: str, base: list[Any], plus: list[Any]) -> dict[str, Any]:
    """A row as in HumanEvalPlus.jsonl."""
    return {
        "task_id": f"HumanEval/{number}",
        "prompt": f'\n\ndef {name}(n):\n    """ What the task is. """\n',
        "entry_point": name,
        "canonical_solution": f"    {body}\n",
        "contract": "",
        "base_input": base,
        "plus_input": plus,
        "atol": 0,
    }


ROWS = [
    task(0, "double", "return 2 * n", [[1], [2]], [[n] for n in range(200)]),
    task(1, "halves", "return [k / 2 for k in range(n)]", [[3]], [[1], [300]]),
    task(2, "rows", "return [('red', 'blue') * 20] * n", [[2]], [[1], [20_000]]),
    task(3, "numbers", "return list(range(n))", [[2]], [[120_000]]),
]


@pytest.fixture
def own(tmp_path: Path) -> Bench:
    """A benchmark of four tasks in evalplus' format; two have values too large to travel."""
    folder = tmp_path / "humanevalplus"
    folder.mkdir()
    (folder / "HumanEvalPlus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return evalplus.load("humaneval", tmp_path)


def judged(bench: Bench, programs: dict[int, str], tmp_path: Path) -> dict[str, dict[str, Any]]:
    """Task id -> the row of the report."""
    made = [Sample(f"HumanEval/{number}", 0, program) for number, program in programs.items()]
    report = evaluate.score_samples(made, bench, Options(tmp_path / "runs", max_unusable=1.0, workers=2), "test")
    return {row["task_id"]: row for row in report.rows}


def test_the_data_are_the_default_release_of_a_folder(data: Path) -> None:
    humaneval, mbpp = (evalplus.load(name, data) for name in ("humaneval", "mbpp"))
    assert (len(humaneval.tasks), len(mbpp.tasks)) == (164, 378)
    assert (humaneval.version.split(",")[0], mbpp.version.split(",")[0]) == ("v0.1.10", "v0.2.0")
    older = evalplus.load("mbpp", data / "mbppplus" / "v0.1.0")
    assert (len(older.tasks), older.version.split(",")[0]) == (399, "v0.1.0")


def test_a_folder_with_several_releases_gives_its_newest(tmp_path: Path) -> None:
    for name in ("HumanEvalPlus-v0.1.9.jsonl", "HumanEvalPlus-v0.1.10.jsonl", "HumanEvalPlus-Mini-v0.1.10.jsonl"):
        (tmp_path / name).write_text("")
    assert evalplus.find("humaneval", tmp_path).name == "HumanEvalPlus-v0.1.10.jsonl"
    with pytest.raises(UserError, match=r"no MbppPlus\.jsonl"):
        evalplus.find("mbpp", tmp_path)


def test_the_variables_of_evalplus_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MBPP_OVERRIDE_PATH", str(tmp_path / "none.jsonl"))
    with pytest.raises(UserError, match=r"MBPP_OVERRIDE_PATH names .*none\.jsonl, which is no file"):
        evalplus.load("mbpp")
    (tmp_path / "none.jsonl").write_text('{"task_id": "Mbpp/2"}\n')
    with pytest.raises(UserError, match="is not a file of MbppPlus"):
        evalplus.load("mbpp")


def test_prompts_are_those_that_evalplus_sends(own: Bench) -> None:
    from evalplus.provider.utility import EOS, extra_eos_for_direct_completion, make_raw_chat_prompt

    class Template:
        """Two turns between marks, as evalplus asks a tokenizer for them."""

        chat_template = "there is one"

        def apply_chat_template(self, turns: list[dict[str, str]], tokenize: bool) -> str:
            return "".join(f"<{turn['role']}>{turn['content']}</{turn['role']}>" for turn in turns)

    first = own.tasks[0]
    prompt = ROWS[0]["prompt"].strip() + "\n"  # evalplus.codegen
    sent = make_raw_chat_prompt(prompt, evalplus.INSTRUCTION, evalplus.RESPONSE, Template())
    user, begun = first.prompts["prefill"]
    assert sent == f"<user>{user['content']}</user><assistant>{begun['content']}"
    assert first.prompts["text"] == [{"role": "text", "content": prompt}]
    assert f'instruction_prefix = "{evalplus.INSTRUCTION}"' in source("codegen.py")
    assert f'response_prefix = "{evalplus.RESPONSE}"' in source("codegen.py")
    assert f'system_msg = "{evalplus.SYSTEM}"' in source("gen/util/openai_request.py")
    assert 'self.instruction_prefix + f"\\n```python\\n{prompt.strip()}\\n```"' in source("provider/openai.py")
    assert first.prompts["chat"][1]["content"] == f"{evalplus.INSTRUCTION}\n```python\n{prompt.strip()}\n```"
    assert own.stop["text"] == (*EOS, *extra_eos_for_direct_completion("humaneval"))
    assert own.stop["prefill"] == (*EOS, "\n```\n")
    assert f"max_new_tokens: int = {own.max_new_tokens}," in source("provider/base.py")


@pytest.mark.parametrize("style", ["prefill", "text", "chat"])
def test_programs_are_what_evalplus_extracts(own: Bench, style: Any) -> None:
    from evalplus.sanitize import sanitize

    text = {"prefill": "import os\ndef double(n):\n\treturn 2 * n\n```\nIt doubles.", "text": "\treturn 2 * n\nx = 1\n"}
    said = text.get(style, "Here:\n```python\ndef double(n):\n    return 2 * n\n```\nIt doubles.")
    whole = said.replace("\t", "    ") if style != "chat" else said
    if style == "text":
        whole = ROWS[0]["prompt"].strip() + "\n" + whole
    found = own.program(own.tasks[0], said, style)
    assert found == sanitize(whole, "double")
    assert "return 2 * n" in found
    assert "It doubles" not in found


def test_extraction_finds_what_evalplus_finds() -> None:
    from evalplus.sanitize import code_extract

    rng = random.Random(0)
    lines = [
        "",
        "  ",
        "def f(x):",
        "    return x",
        "x = 1",
        "```",
        "Here is code",
        "if x:",
        "'''",
        "(",
        ")",
        "\\",
        "x = 2 \\",
        "x)",
    ]
    texts = ["\n".join(rng.choices(lines, k=rng.randint(1, 9))) for _ in range(1500)]
    assert [ours.longest(text) for text in texts] == [code_extract(text) for text in texts]


def test_extraction_of_real_answers_is_evalplus_own(data: Path) -> None:
    from evalplus.sanitize import sanitize

    with (data / f"{STARCODER}-humaneval.jsonl").open() as file:
        rows = [json.loads(line) for line in file][::6]
    for row in rows:
        text = f"Sure:\n```python\n{row['completion']}\n```\nIt works as follows.\n\n1. one\n2. two"
        assert ours.sanitize(text, "f") == sanitize(text, "f")


@pytest.mark.parametrize("text", ["x = (\n" * 3000, "a b\n" * 2000, "(" * 100_000, "\0\nx", "\ud800 a\nb = 1\nc = 2"])
def test_extraction_of_hostile_texts_ends(text: str) -> None:
    began = time.process_time()
    ours.sanitize(text, "f")
    assert time.process_time() - began < 20


def test_right_and_wrong_programs_and_large_values(own: Bench, tmp_path: Path) -> None:
    right = {
        0: "def double(n):\n    return n + n",
        1: "def halves(n):\n    return [0.5 * k + 1e-9 for k in range(n)]",  # evalplus has a tolerance for floats
        2: "def rows(n):\n    return [tuple(['red', 'blue'] * 20) for _ in range(n)]",
        3: "def numbers(n):\n    return [float(k) for k in range(n)]",  # equal, if not the same
    }
    found = judged(own, right, tmp_path)
    assert {number: row["passed"] for number, row in found.items()} == {
        f"HumanEval/{number}": {"humaneval": [True], "humaneval+": [True]} for number in right
    }, found
    wrong = {
        0: "def double(n):\n    return 2 * n if n < 150 else 0",
        1: "def halves(n):\n    return [k // 2 for k in range(n)]",
        2: "def rows(n):\n    return [tuple(['red', 'blue'] * 20) for _ in range(n - 1)] + [('red', 'red') * 20]",
        3: "def numbers(n):\n    return list(range(n)) if n < 9 else list(range(n - 1)) + [0.5]",
    }
    found = judged(own, wrong, tmp_path)
    assert {number: row["passed"]["humaneval+"] for number, row in found.items()} == {key: [False] for key in found}
    assert found["HumanEval/0"]["passed"]["humaneval"] == found["HumanEval/3"]["passed"]["humaneval"] == [True]


def test_arrays_are_as_good_as_sets() -> None:
    """Where evalplus compares sets (Mbpp/2), what `==` says of arrays is not asked for."""
    np = pytest.importorskip("numpy")
    assert oracles.Evalplus("mbpp", "similar_elements", 0).agrees(np.array([5, 4]), (4, 5), [])
    assert not oracles.Evalplus("mbpp", "similar_elements", 0).agrees(np.array([5, 6]), (4, 5), [])
    with pytest.raises(ValueError, match="ambiguous"):
        oracles.Evalplus("mbpp", "another", 0).agrees(np.array([5, 4]), (5, 4), [])


def test_expected_outputs_are_kept(own: Bench) -> None:
    problems = list(evalplus.parse("humaneval", evalplus.read(evalplus._paths[own.version[-32:]]), Path()).values())
    with Sandbox(own.limits, 1) as box:
        first, wrong = evalplus.references("humaneval", own.version[-32:], problems, box)
    assert not wrong
    # A closed sandbox runs nothing.
    second, wrong = evalplus.references("humaneval", own.version[-32:], [*problems], _Never())  # type: ignore[arg-type]
    assert (second, wrong) == (first, {})
    assert first["HumanEval/2"]["plus"].digested == (1,)
    assert first["HumanEval/3"]["plus"].digested == (0,)
    assert first["HumanEval/1"]["plus"].digested == ()


class _Never:
    """Is asked for nothing."""

    def run(self, jobs: Iterator[Job]) -> Iterator[Any]:
        assert not list(jobs)
        return iter(())


HANGS = {
    "computing": "while True:\n        pass",
    "sleeping": "import time\n    time.sleep(10_000)",
    "a product without end": "import itertools\n    return list(itertools.product([1, 2, 3], repeat=1000))",
    "a product that is not kept": "import itertools\n    return sum(1 for _ in itertools.product([1, 2], repeat=1000))",
    "output": "while True:\n        print('x' * 10_000)",
    "a lock": "import threading\n    lock = threading.Lock()\n    lock.acquire()\n    lock.acquire()",
    "swallowing": "while True:\n        try:\n            while True: pass\n        except BaseException: pass",
}


@pytest.mark.parametrize(
    ("how", "where"),
    [*((how, "in a call") for how in HANGS), *((how, "at the load") for how in ("computing", "sleeping", "output"))],
)
def test_a_hang_costs_no_more_than_its_limit(how: str, where: str) -> None:
    """200 inputs: the limit of all is a minute, that of a call 0.3 seconds, that of the load 1.5."""
    inputs = [[n] for n in range(200)]
    program = f"def f(n):\n    if n == 100:\n        g()\n    return n\ndef g():\n    {HANGS[how]}\n"
    if where == "at the load":
        program += "g()\n"
    hang = Job(program, (Calls("f", inputs, list(range(200)), limits=[0.3] * 200),), 60.0)
    right = Job("def f(n): return n", hang.tests, 60.0)
    with Sandbox(evalplus.LIMITS, 2) as box:
        began = time.monotonic()
        results = [result.outcome.value for result in box.run([right, hang, right, hang, right])]
        spent = time.monotonic() - began
    assert results[::2] == ["passed"] * 3
    assert set(results[1::2]) <= {"timeout", "output_limit", "memory"}, results
    assert spent < 40, results  # far from twice a minute, on a busy machine, too


def test_a_program_slow_on_every_input_passes() -> None:
    program = (
        "import time\ndef f(n):\n    end = time.process_time() + 0.05\n    while time.process_time() < end: pass\n"
    )
    calls = Calls("f", [[n] for n in range(12)], [None] * 12, limits=[0.4] * 12)
    with Sandbox(evalplus.LIMITS, 1) as box:
        (result,) = box.run([Job(program, (calls,), 5.0)])
    assert result.outcome.value == "passed", result


def test_equal_values_have_equal_digests_and_others_have_not() -> None:
    same = [[1, 2.0, True], [1.0, 2, 1], [True, 2, 1.0]]
    assert len({digests.digest(value) for value in same}) == 1
    other: list[Any] = [1, "1", [1], (1,), [[1]], [1, 1], "", [], (), [[]], [[], []], [[1], [2, 3]], [[1, 2], [3]]]
    other += ["a\0b", ["a", "b"], ["a\0b", "c"], ["a", "b\0c"], None, [None], [None, None], 0.5, -0.5, 1 << 80, 10**9]
    assert len({digests.digest(value) for value in other}) == len(other)
    for value in ({1: 2}, {1}, b"x", float("nan"), [1.5, float("nan")], 1j, object()):
        assert digests.digest(value) is None


def test_a_large_value_without_a_digest_is_recorded_whole() -> None:
    program = "def f(n): return {k: k for k in range(n)}"
    with Sandbox(evalplus.LIMITS, 1) as box:
        (result,) = box.run([Job(program, (Record("f", [[120_000]], True),))])
    (verdict,) = result.tests
    assert verdict.values == [{k: k for k in range(120_000)}]
    assert not verdict.digested
    assert len(verdict.times) == 1


def test_evalplus_itself_gives_the_same_scores(data: Path, tmp_path: Path) -> None:
    bench = evalplus.load("humaneval", data / "humanevalplus" / "v0.1.9")
    chosen = {f"HumanEval/{number}" for number in (0, 1, 6, 7, 32, 33, 38, 46, 65, 74, 91, 119)}
    found, _ = samples.from_file(data / f"{STARCODER}-humaneval.jsonl", bench)
    found = [sample for sample in found if sample.task_id in chosen]
    options = Options(tmp_path / "runs", workers=2)
    report = evaluate.score_samples(found, bench, options, "starcoder")
    theirs = evalplus.official(bench, found, tmp_path)
    assert {score.bench: score.value for score in report.scores} == pytest.approx(theirs, abs=0.01)
    assert 0 < theirs["humaneval+"] < 100
