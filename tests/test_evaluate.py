"""From a model or a file of samples to scores: asking, judging, gates, resuming, the formats of other harnesses."""

import contextlib
import gzip
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import plum
from conftest import ROOT
from filelock import FileLock
from huggingface_hub import hf_hub_download
from speaker import publish_speaker
from tiny import TASKS, instruction, program

from plum_hub import evaluate, generate
from plum_hub.errors import UserError
from plum_hub.evaluate import ask, command, judging, report, samples
from plum_hub.evaluate.statistics import pass_at_k
from plum_hub.evaluate.tasks import TESTS, Bench, Options, Settings, Suite, Task
from plum_hub.nano import tasks as nano
from plum_hub.sandbox import Limits, Sandbox
from plum_hub.stages.extract import extract_code


def task(name: str) -> Task:
    right, _, n, result = TASKS[name]
    return Task(
        f"tiny/{name}",
        {"chat": [{"role": "user", "content": instruction(name)}]},
        {TESTS: Suite((f"assert f({n}) == {result}",))},
        program(right),
        "def f(n):\n",
        {"difficulty": "hard" if "a" in name else "easy"},
    )


BENCH = Bench(
    name="nano",  # whose file counts as the one that made it
    tasks=[task(name) for name in TASKS],
    scores={"tiny": (TESTS,)},
    dataset="plum/tiny",
    version="1",
    public=True,
    harness="ours",
    limits=Limits(seconds=1.0),
    max_new_tokens=64,
    program=lambda task, text, style: extract_code(text),
    styles=("chat",),
    check=judging.by_references,
    batch_size=1,
    chunk=8,
)
SETTINGS = Settings(n=4, temperature=1.0, seed=3)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[generate.Engine]:
    running = generate.load(publish_speaker(tmp_path_factory.mktemp("speaker")))
    yield running
    running.close()


def counted(engine: generate.Engine, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of conversations that the engine is asked from now on."""
    asked: list[int] = []
    whole = engine.generate

    def generate(conversations: list[Any], *more: Any) -> Any:
        asked.append(len(conversations))
        return whole(conversations, *more)

    monkeypatch.setattr(engine, "generate", generate)
    return asked


def test_a_model_is_scored(engine: generate.Engine, tmp_path: Path) -> None:
    found = evaluate.score_model(engine, BENCH, SETTINGS, Options(tmp_path), "it")
    made = samples.load(Path(found.record["folder"]) / "samples.jsonl")
    assert [(s.task_id, s.index) for s in made] == [(f"tiny/{name}", i) for name in TASKS for i in range(4)]
    right = {name: [program(TASKS[name][0]).strip() == s.program.strip() for s in made if s.task_id == f"tiny/{name}"]
             for name in TASKS}  # fmt: skip
    assert 0 < sum(map(sum, right.values())) < 24, "a speaker that is always right or wrong tests nothing"
    (score,) = found.scores
    assert (score.checkpoint, score.key, score.n) == ("it", "tiny pass@1 (T=1, n=4)", 6)
    assert score.value == round(100 * sum(map(sum, right.values())) / 24, 2)
    assert found.shares[score.key] == {f"tiny/{name}": sum(flags) / 4 for name, flags in right.items()}
    assert [row["passed"]["tiny"] for row in found.rows] == list(right.values())
    groups = found.record["by"][score.key]["difficulty"]
    assert {name: group["n"] for name, group in groups.items()} == {"hard": 5, "easy": 1}
    assert report.read(Path(found.record["folder"]) / "report.json") == found
    assert "tiny pass@1 (T=1, n=4)" in report.words(found)


def test_what_was_killed_goes_on(engine: generate.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = counted(engine, monkeypatch)
    whole = evaluate.score_model(engine, BENCH, SETTINGS, Options(tmp_path / "whole"))
    assert asked == [2, 2, 2]
    place = Path(whole.record["folder"])
    lines = (place / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (verdicts,) = place.glob("verdicts-*.jsonl")
    judged = verdicts.read_bytes()

    broken = tmp_path / "broken" / place.relative_to(tmp_path / "whole")
    broken.mkdir(parents=True)
    (broken / "samples.jsonl").write_bytes(b"".join(lines[:8]) + lines[8][:30])
    (broken / verdicts.name).write_bytes(judged[: len(judged) // 2])
    asked.clear()
    again = evaluate.score_model(engine, BENCH, SETTINGS, Options(tmp_path / "broken"))
    assert asked == [2, 2]
    assert (broken / "samples.jsonl").read_bytes() == (place / "samples.jsonl").read_bytes()
    assert len((broken / verdicts.name).read_bytes().splitlines()) == len(judged.splitlines())
    assert (again.scores, again.shares) == (whole.scores, whole.shares)
    asked.clear()
    evaluate.score_model(engine, BENCH, SETTINGS, Options(tmp_path / "broken"))
    assert asked == []


def test_a_deadline_ends_it_and_keeps_what_is_done(engine: generate.Engine, tmp_path: Path) -> None:
    small = replace(BENCH, batch_size=4, chunk=1)
    with pytest.raises(ask.DeadlineError, match="4 of 24 texts written"):  # a chunk at least
        evaluate.score_model(engine, small, SETTINGS, Options(tmp_path, deadline=time.monotonic() - 1))
    made = [samples.Sample(t.id, 0, t.reference) for t in BENCH.tasks]
    late = Options(tmp_path, deadline=time.monotonic() - 1)
    with pytest.raises(ask.DeadlineError, match="the references of nano not all run"):
        evaluate.score_samples(made, BENCH, late, "file")
    with pytest.raises(ask.DeadlineError, match=r"1 of 6 programs judged \(tests\), tiny/.* the oldest"):
        evaluate.score_samples(made, replace(BENCH, check=None), late, "file")
    assert evaluate.score_samples(made, BENCH, Options(tmp_path), "file").scores[0].value == 100


def test_a_greedy_text_is_written_once(
    engine: generate.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted_settings: list[int] = []
    whole = engine.generate
    monkeypatch.setattr(
        engine, "generate", lambda c, sampling, *more: counted_settings.append(sampling.n) or whole(c, sampling, *more)
    )
    found = evaluate.score_model(engine, BENCH, Settings(n=3), Options(tmp_path))
    assert counted_settings == [1]
    assert all(len(set(row["passed"]["tiny"])) == 1 and len(row["passed"]["tiny"]) == 3 for row in found.rows)


def test_too_few_references_or_usable_programs_are_no_score(tmp_path: Path) -> None:
    made = [samples.Sample(t.id, 0, t.reference) for t in BENCH.tasks]
    wrong = [replace(task, reference="def f(n):\n    return None\n") for task in BENCH.tasks[:2]]
    with pytest.raises(
        UserError, match=r"only 4 of 6 reference solutions of nano pass .*\(tiny/add one: tests: failed"
    ):
        evaluate.score_samples(made, replace(BENCH, tasks=[*wrong, *BENCH.tasks[2:]]), Options(tmp_path), "file")
    one = evaluate.score_samples(made, replace(BENCH, tasks=[wrong[0], *BENCH.tasks[1:]]), Options(tmp_path), "file")
    assert one.scores[0].n == 5  # of few tasks one may fail
    with pytest.raises(UserError, match="only 0 of 1 reference"):
        evaluate.score_samples(made[:1], replace(BENCH, tasks=wrong[:1]), Options(tmp_path), "file")
    broken = [replace(s, program="" if i == 0 else "def f(" if i == 1 else s.program) for i, s in enumerate(made)]
    with pytest.raises(UserError, match=r"33% of the samples of nano hold no usable .* \(17% none at all, 17% with"):
        evaluate.score_samples(broken, BENCH, Options(tmp_path, max_unusable=report.UNUSABLE), "file")
    found = evaluate.score_samples(broken, BENCH, Options(tmp_path, max_unusable=0.5), "file")
    assert found.scores[0].value == 66.67
    assert found.record["rates"] == {
        "no_program": 0.1667, "syntax_error": 0.1667, "truncated": 0.0, "timeout": 0.0, "unusable": 0.3333
    }  # fmt: skip
    assert found.record["outcomes"][TESTS]["passed"] == 4


def test_a_task_whose_reference_fails_is_left_out_and_named(tmp_path: Path) -> None:
    many = [replace(t, id=f"{t.id} {i}") for i in range(5) for t in BENCH.tasks]
    many[7] = replace(many[7], reference="def f(n):\n    return None\n")
    made = [samples.Sample(t.id, 0, t.reference) for t in many]
    found = evaluate.score_samples(made, replace(BENCH, tasks=many), Options(tmp_path), "file")
    assert (found.scores[0].value, found.scores[0].n) == (100, 29)
    assert list(found.record["references"]["failing"]) == [many[7].id]
    assert f"left out, as their references do not pass here: 1 tasks ({many[7].id})" in report.words(found)


def test_time_limits_come_from_the_references() -> None:
    waits = "    t = time.process_time()\n    while time.process_time() - t < 0.3: pass\n"
    reference = f"import time\ndef f(n):\n{waits}    return n + 1\n"
    slow = Task("slow", {}, {TESTS: Suite(("assert f(1) == 2",))}, reference)
    bench = replace(BENCH, tasks=[BENCH.tasks[0], slow], limits=Limits(seconds=9.0))
    with Sandbox(bench.limits, 1) as sandbox:
        ready, wrong = judging.by_references(bench, sandbox, lambda done: None)
    assert not wrong
    quick, slower = (one.suites[TESTS].seconds for one in ready)
    assert quick == judging.FLOOR
    assert slower is not None
    assert 3.0 <= slower <= 9.0


def test_tasks_may_have_different_numbers_of_samples(tmp_path: Path) -> None:
    first, second = BENCH.tasks[:2]
    wrong = "def f(n):\n    return None\n"
    rows = [(first, first.reference), (second, second.reference), (second, wrong), (second, wrong)]
    lines = (json.dumps({"task_id": task.id, "solution": program}) + "\n" for task, program in rows)
    (tmp_path / "samples.jsonl").write_text("".join(lines))
    found, _ = samples.from_file(tmp_path / "samples.jsonl", BENCH)
    (score,) = evaluate.score_samples(found, BENCH, Options(tmp_path), "file").scores
    assert (score.metric, score.value, score.n) == ("pass@1 (n=1 to 3)", 66.67, 2)


def test_references_that_passed_here_are_not_run_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PLUM_CACHE", str(tmp_path))
    wrong = replace(BENCH.tasks[0], id="wrong", reference="def f(n):\n    return None\n")
    bench = replace(BENCH, tasks=[*BENCH.tasks, wrong])
    with Sandbox(bench.limits, 1) as sandbox:
        first = judging.by_references(bench, sandbox, lambda done: None)
        ran: list[int] = []
        real = sandbox.run
        monkeypatch.setattr(sandbox, "run", lambda jobs: (ran.append(len(made := list(jobs))), real(made))[1])
        done: list[int] = []
        assert judging.by_references(bench, sandbox, done.append) == first
        assert ran == [1]  # the one that failed
        assert done == [len(BENCH.tasks), 1]
        other = replace(wrong, reference=BENCH.tasks[0].reference + "# another\n")
        assert not judging.by_references(replace(bench, tasks=[other]), sandbox, done.append)[1]
        assert ran == [1, 1]


def rows_of(write: Callable[[str, str], dict[str, Any]]) -> list[dict[str, Any]]:
    return [write(one.id, one.reference) for one in BENCH.tasks]


FORMATS = {
    "solution": rows_of(lambda i, code: {"task_id": i, "solution": code, "_identifier": "x"}),
    "completion": rows_of(lambda i, code: {"task_id": i, "completion": code.removeprefix("def f(n):\n")}),
    "code_list": rows_of(lambda i, code: {"question_id": i, "code_list": [code], "output_list": ["words"]}),
    "eval": [
        {"eval": {t.id: [{"task_id": t.id, "solution": t.reference, "base_status": "pass"}] for t in BENCH.tasks}}
    ],
}


@pytest.mark.parametrize("written", FORMATS)
@pytest.mark.parametrize("how", ["lines", "list", "gzip"])
def test_samples_of_other_harnesses_are_read(written: str, how: str, tmp_path: Path) -> None:
    rows = FORMATS[written]
    whole = rows[0] if written == "eval" else rows
    text = json.dumps(whole) if how == "list" else "\n\n".join(map(json.dumps, rows)) + "\n"
    path = tmp_path / "samples"
    path.write_bytes(gzip.compress(text.encode()) if how == "gzip" else text.encode())
    found, others = samples.from_file(path, BENCH)
    assert [(s.task_id, s.index, s.program) for s in found] == [(t.id, 0, t.reference) for t in BENCH.tasks]
    assert others == 0


def test_folders_of_samples_are_read(tmp_path: Path) -> None:
    bench = replace(BENCH, tasks=[replace(t, id=f"Tiny/{i}") for i, t in enumerate(BENCH.tasks)])
    for i, one in enumerate(bench.tasks):
        (tmp_path / f"Tiny_{i}").mkdir()
        for k in range(2):
            (tmp_path / f"Tiny_{i}" / f"{k}.py").write_text(one.reference)
    found, _ = samples.from_file(tmp_path, bench)
    assert [(s.task_id, s.index) for s in found] == [(t.id, k) for t in bench.tasks for k in range(2)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not json", "is neither JSON nor JSON lines"),
        ('{"id": 1}', "row 1: no task_id .* and no question_id"),
        ('{"task_id": "tiny/double"}', "neither solution, completion nor code_list; it has task_id"),
        ('{"task_id": "tiny/double", "solution": 3}', "a program must be text"),
        ('{"task_id": "HumanEval/0", "solution": ""}', "has no sample of nano; its tasks are called 'tiny/add one'"),
        ('["a"]', "a sample is an object"),
        ('{"eval": {"tiny/double": [["pass", [true]]]}}', "results without programs: tiny/double"),
        ('{"question_id": "tiny/double", "code_list": []}', "code_list is empty"),
    ],
)  # fmt: skip
def test_files_that_are_no_samples_are_explained(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        samples.from_file(tmp_path / "samples.jsonl", BENCH)


def test_the_command_scores_a_file(tmp_path: Path) -> None:
    tasks = nano.heldout()
    with (tmp_path / "half.jsonl").open("w") as file:
        for i, one in enumerate(tasks):
            file.write(json.dumps({"task_id": one.id, "solution": one.solution if i % 2 else "def f(): pass"}) + "\n")
        file.write('{"task_id": "elsewhere", "solution": "x"}\n')
    done = plum("eval", "--samples", tmp_path / "half.jsonl", "--bench", "nano", "--runs", tmp_path, "--json",
                "--per-task", tmp_path / "out.jsonl")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 rows of" in done.stderr
    (score,) = json.loads(done.stdout)["scores"]
    assert (score["bench"], score["metric"], score["value"], score["n"]) == ("nano", "pass@1", 50.0, 300)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["passed"]["nano"] for row in rows] == [[bool(i % 2)] for i in range(300)]
    part = (tmp_path / "half.jsonl").read_text().splitlines(keepends=True)[:10]
    (tmp_path / "part.jsonl").write_text("".join(part))
    words = plum("eval", "--samples", tmp_path / "part.jsonl", "--bench", "nano", "--runs", tmp_path).stdout
    assert "not the whole benchmark: 10 of its 300 tasks" in words
    done = plum("eval", "--samples", tmp_path / "part.jsonl", "--bench", "nano", "--runs", tmp_path, "--push")
    assert done.stderr.startswith("error: --push needs a model on the Hub")
    done = plum("eval", "--samples", tmp_path / "part.jsonl", "--bench", "nano,nano-dev", "--runs", tmp_path)
    assert "needs the one --bench that its tasks are of" in done.stderr
    done = plum("eval", "--samples", tmp_path / "part.jsonl", "--bench", "nano", "--runs", tmp_path, "--official")
    assert "nano has no --official" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval"], "name one of the two"),
        (["eval", "a/b", "--samples", "x"], "name one of the two"),
        (["eval", "a/b", "--bench", ","], "--bench names no benchmark"),
        (["eval", "a/b", "--bench", "nano", "--style", "caht"], "--style caht: there are chat, prefill, text"),
        (["eval", "a/b", "--bench", "nano", "--engine", "openai"], "--engine openai:URL needs the server's address"),
        (["eval", "a/b", "--bench", "nano", "--engine", "tgi"], "--engine tgi: there are vllm, hf and openai:URL"),
    ],
)
def test_mistakes_of_the_command_line_are_one_line(arguments: list[str], message: str) -> None:
    done = plum(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_one_benchmark_without_a_score_does_not_take_the_others(engine: generate.Engine, tmp_path: Path) -> None:
    assert command.engine_name("org/m@v1", "vllm:?dtype=float32") == "vllm:org/m@v1?dtype=float32"
    model = f"{engine.repo}@{engine.revision}"
    made, failed = command.of_model(
        model, "hf", ["nano", "nano-dev"], Settings(limit=2, max_new_tokens=1), Options(tmp_path)
    )
    assert not made
    assert ["the samples of nano hold" in failed[0], "the samples of nano-dev hold" in failed[1]] == [True, True], (
        failed
    )


def test_a_recipe_names_benchmarks_that_exist(tmp_path: Path) -> None:
    done = plum("run", "recipes/quickstart.yaml", "--check", "--set", "evaluate.benches=[humanevl]")
    assert "humanevl is not known; did you mean `humaneval`?" in done.stderr


def test_pass_at_k_is_the_share_of_subsets_with_a_right_one() -> None:
    random.seed(0)
    for n, c, k in {(n, random.randint(0, n), random.randint(1, n)) for n in range(1, 9) for _ in range(4)}:
        flags = [i < c for i in range(n)]
        subsets = list(itertools.combinations(flags, k))
        assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))
    assert pass_at_k(100000, 1, 1) == pytest.approx(1e-5)
    for n, c, k in ((1, 0, 2), (3, 4, 1), (3, 1, 0)):
        with pytest.raises(ValueError, match="cannot be estimated"):
            pass_at_k(n, c, k)


def test_a_chunk_that_was_half_written_is_asked_again(
    engine: generate.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = replace(BENCH, tasks=BENCH.tasks[:5])  # the last chunk is shorter than the others
    whole = evaluate.score_model(engine, bench, SETTINGS, Options(tmp_path))
    place = Path(whole.record["folder"])
    lines = (place / "samples.jsonl").read_bytes().splitlines(keepends=True)
    asked = counted(engine, monkeypatch)
    for cut, expected in ((20, []), (18, [1]), (10, [2, 1]), (16, [1]), (1, [2, 2, 1])):
        (place / "samples.jsonl").write_bytes(b"".join(lines[:cut]))
        asked.clear()
        assert evaluate.score_model(engine, bench, SETTINGS, Options(tmp_path)).shares == whole.shares
        assert asked == expected
        assert (place / "samples.jsonl").read_bytes() == b"".join(lines)


def test_a_short_deadline_gets_somewhere_each_time(engine: generate.Engine, tmp_path: Path) -> None:
    whole = engine.generate
    for _ in range(3):

        def slowly(*more: Any) -> Any:
            done = whole(*more)
            time.sleep(0.6)
            return done

        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(ask.DeadlineError):
            patch.setattr(engine, "generate", slowly)
            evaluate.score_model(engine, BENCH, SETTINGS, Options(tmp_path, deadline=time.monotonic() + 0.5))
    (path,) = tmp_path.glob("**/samples.jsonl")
    assert len(samples.load(path)) == 24


def test_an_adapter_is_another_model(engine: generate.Engine, tmp_path: Path) -> None:
    folders = {
        evaluate.score_model(engine, BENCH, SETTINGS, Options(tmp_path), shaping=shaping).record["folder"]
        for shaping in ((), ["hf", "m", "r", {}], ["hf", "m", "r", {"lora": "a"}], ["hf", "m", "r", {"lora": "b"}])
    }
    assert len(folders) == 3


def test_a_run_s_folder_is_one_process_s(engine: generate.Engine, tmp_path: Path) -> None:
    place = Path(evaluate.score_model(engine, BENCH, SETTINGS, Options(tmp_path)).record["folder"])
    with FileLock(place / "lock"), pytest.raises(UserError, match="another `plum eval` is at work in"):
        evaluate.score_model(engine, BENCH, SETTINGS, Options(tmp_path))


def test_programs_of_a_file_are_scored_whatever_they_are(tmp_path: Path) -> None:
    made = [samples.Sample(t.id, 0, t.reference if i else "def f(") for i, t in enumerate(BENCH.tasks[:3])]
    found = evaluate.score_samples(made, BENCH, Options(tmp_path), "file")
    assert found.record["rates"]["unusable"] == 0.3333
    assert found.scores[0].value == 66.67
    with pytest.raises(UserError, match="hold no usable program"):
        evaluate.score_samples(made, BENCH, Options(tmp_path, max_unusable=0.2), "file")


def test_a_revision_is_known_offline_once_it_was_downloaded(tmp_path: Path) -> None:
    code = (
        "from huggingface_hub import HfApi, hf_hub_download\nimport sys\n"
        "from plum_hub.generate.names import pin\nprint(pin(sys.argv[1]).revision)\n"
    )

    def pinned(name: str, **extra: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "HF_HUB_CACHE": str(tmp_path), **extra}
        return subprocess.run([sys.executable, "-c", code, name], env=env, capture_output=True, text=True, cwd=ROOT)

    name = publish_speaker(tmp_path / "model")
    repo, _, tag = name.partition("@")
    online = pinned(name)
    assert online.returncode == 0, online.stderr
    hf_hub_download(repo, "config.json", revision=tag, cache_dir=tmp_path)
    offline = pinned(name, HF_HUB_OFFLINE="1")
    assert (offline.stdout, offline.returncode) == (online.stdout, 0), offline.stderr
    assert pinned(f"{repo}@{online.stdout.strip()}", HF_HUB_OFFLINE="1").stdout == online.stdout
    assert "no answer from" in pinned(f"{repo}@v9", HF_HUB_OFFLINE="1").stderr


@pytest.mark.parametrize("content", [b"\xff\xfe\x00a", gzip.compress(b'{"a": 1}' * 99)[:-9], b"PK\x03\x04\xfa"])
def test_files_that_are_no_text_are_explained(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_bytes(content)
    with pytest.raises(UserError, match="is not text in UTF-8, gzipped or not"):
        samples.from_file(tmp_path / "samples.jsonl", BENCH)
