"""`plum compare` on stored verdicts (models and their DPO variants, by evalplus) against figures counted by hand."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from scipy import stats

from plum_hub import evaluate, generate
from plum_hub.errors import UserError
from plum_hub.evaluate import command, report
from plum_hub.evaluate.compare import Comparison, compare
from plum_hub.evaluate.compare_views import png, table
from plum_hub.evaluate.judging import Judged
from plum_hub.evaluate.report import Report
from plum_hub.evaluate.statistics import holm, sign_test, tasks_to_detect
from plum_hub.evaluate.tasks import Bench, Options, Settings, Task
from plum_hub.nano import policy
from plum_hub.outcomes import Outcome
from plum_hub.sandbox import Limits

OUTCOMES = (Outcome.FAILED, Outcome.PASSED)
STORED = "evalplus_llama3_mistral_dpo_fork"
BASE, DPO = "meta-llama--Meta-Llama-3-8B", "custom_finetuned_models--llama3_base_dpo"
INSTRUCT, INSTRUCT_DPO = "meta-llama--Meta-Llama-3-8B-Instruct", "custom_finetuned_models--llama3_instruct_dpo"
ASKED = {"style": "chat", "n": 1, "temperature": 0.0, "top_p": 1.0, "max_new_tokens": 768, "limit": None}


def verdicts(data: Path, bench: str, model: str) -> dict[str, dict[str, Any]]:
    """Task -> its one stored row."""
    stored = json.loads((data / STORED / bench / f"{model}_vllm_temp_0.0-sanitized_eval_results.json").read_text())
    return {task: rows[0] for task, rows in stored["eval"].items()}


def reported(name: str, model: str, judged: list[Judged], **more: Any) -> Report:
    """A report of ours over these verdicts; a task's difficulty is how many digits its number has."""
    ids = list(dict.fromkeys(one.task_id for one in judged))
    tasks = [Task(i, {}, traits={"difficulty": f"{len(i.partition('/')[2])} digits"}) for i in ids]
    bench = Bench(
        name=name,
        tasks=tasks,
        scores={name: ("base",), f"{name}+": ("base", "plus")},
        dataset="",
        version="v1",
        public=True,
        harness="evalplus",
        limits=Limits(),
        max_new_tokens=768,
        program=lambda task, text, style: text,
        styles=("chat",),
    )
    n = len(judged) // len(ids)
    record: dict[str, Any] = {"bench": name, "data_version": "v1", "harness": "evalplus"}
    record |= {"asked": ASKED | {"revision": "0" * 40, "n": n}} | more
    record["asked"] = {"model": model.partition("@")[0]} | record["asked"]
    return report.report(bench, model, tasks, judged, Settings(n), record)


def stored(data: Path, bench: str, model: str, **more: Any) -> Report:
    judged = []
    for task, row in verdicts(data, bench, model.partition("@")[0].replace("/", "--")).items():
        status = {"base": row["base_status"], "plus": row["plus_status"]}
        outcomes = {part: Outcome.PASSED if word == "pass" else Outcome.FAILED for part, word in status.items()}
        judged.append(Judged(task, 0, outcomes, {}, {}))
    return reported(bench, model, judged, **more)


def only(found: Report, tasks: list[str], renamed: dict[str, str]) -> Report:
    """A report of these tasks alone, some under another name."""
    new = {task: task for task in tasks} | renamed
    rows = [row | {"task_id": new[row["task_id"]]} for row in found.rows if row["task_id"] in new]
    shares = {key: {new[task]: share for task, share in of.items() if task in new} for key, of in found.shares.items()}
    return replace(found, rows=rows, shares=shares)


def saved(found: Report, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    report.save(found, folder / "report.json")
    return folder / "report.json"


@pytest.fixture
def runs(data: Path, tmp_path: Path) -> Path:
    """A folder of runs with four models on two benchmarks, as `plum eval` leaves it."""
    for model in (BASE, DPO, INSTRUCT, INSTRUCT_DPO):
        for bench in ("humaneval", "mbpp"):
            name = model.replace("--", "/")
            saved(stored(data, bench, f"{name}@v1"), tmp_path / "eval" / f"{model}@{'0' * 12}" / bench / "a1b2c3")
    return tmp_path


def shown(found: Comparison) -> str:
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(table(found))
    return console.export_text()


@pytest.mark.parametrize("bench", ["humaneval", "mbpp"])
@pytest.mark.parametrize(("before", "after"), [(BASE, DPO), (INSTRUCT, INSTRUCT_DPO)])
def test_figures_are_those_that_are_counted_by_hand(
    data: Path, runs: Path, bench: str, before: str, after: str
) -> None:
    found = compare([before.replace("--", "/"), f"{after.replace('--', '/')}@v1"], bench, runs)
    assert [pair.score for pair in found.pairs] == [f"{bench} pass@1", f"{bench}+ pass@1"]
    old, new = verdicts(data, bench, before), verdicts(data, bench, after)
    for pair, parts in zip(found.pairs, (["base"], ["base", "plus"]), strict=True):
        was, now = (
            {task for task, row in rows.items() if all(row[f"{part}_status"] == "pass" for part in parts)}
            for rows in (old, new)
        )
        assert (set(pair.gained), set(pair.lost)) == (now - was, was - now)
        assert len(pair.gained + pair.lost) == len(now ^ was)
        n = len(old)
        assert pair.overall.n == n == {"humaneval": 164, "mbpp": 378}[bench]
        assert pair.overall.before == pytest.approx(100 * len(was) / n, abs=0.006)
        assert pair.overall.after == pytest.approx(100 * len(now) / n, abs=0.006)
        assert pair.overall.difference == pytest.approx(100 * (len(now) - len(was)) / n, abs=0.006)
        # McNemar's exact test is the binomial one on the tasks that differ.
        b, c = len(now - was), len(was - now)
        assert pair.test == "exact McNemar test"
        assert pair.p == pytest.approx(stats.binomtest(b, b + c).pvalue)
        # The interval against the normal one of a paired difference (Wald): a bootstrap over 164 tasks is close to it.
        middle, half = (b - c) / n, 1.96 * ((b + c) / n - ((b - c) / n) ** 2) ** 0.5 / n**0.5
        assert pair.overall.ci95 == pytest.approx((100 * (middle - half), 100 * (middle + half)), abs=0.7)
        groups = pair.by["difficulty"]
        assert sum(figures.n for figures in groups.values()) == n
        for value, figures in groups.items():
            mine = {task for task in old if f"{len(task.partition('/')[2])} digits" == value}
            assert (figures.n, figures.difference) == (
                len(mine),
                pytest.approx(100 * (len(now & mine) - len(was & mine)) / len(mine), abs=0.006),
            )
        assert not pair.notes
        assert pair.p_holm is None


def test_the_question_is_answered_in_a_sentence(runs: Path) -> None:
    base, dpo, instruct, instruct_dpo = (name.replace("--", "/") for name in (BASE, DPO, INSTRUCT, INSTRUCT_DPO))
    pairs = {pair.score: pair for pair in compare([base, dpo], None, runs).pairs}
    assert len(pairs) == 4
    # 64 against 45 of 164, and 232 against 228 of 378.
    assert pairs["humaneval pass@1"].answer == "yes"
    assert pairs["humaneval pass@1"].words.startswith("+11.6 is more than chance: 95 % interval +")
    assert pairs["mbpp pass@1"].answer == "no"
    assert pairs["mbpp pass@1"].words.startswith("+1.1 may well be chance: 95 % interval -")
    assert "take about" in pairs["mbpp pass@1"].words
    same = compare([base, str(next((runs / "eval").glob(f"{BASE}@*/humaneval/*/report.json")))], None, runs)
    assert same.pairs[0].words == "No difference: all 164 tasks come out the same."
    text = shown(compare([instruct, instruct_dpo], "humaneval", runs))
    assert "humaneval+ pass@1: custom_finetuned_models/llama3_instruct_dpo@v1 against meta-llama" in text
    assert "difficulty 3 digits" in text
    assert " lost " in text
    assert "more (--json has all)" in text


def test_more_than_two_are_corrected_for_their_number(runs: Path) -> None:
    names = [name.replace("--", "/") for name in (BASE, DPO, INSTRUCT, INSTRUCT_DPO)]
    found = compare(names, "humaneval", runs)
    assert [pair.before for pair in found.pairs] == [f"{BASE.replace('--', '/')}@v1"] * 6
    alone = {pair.after: pair for name in names[1:] for pair in compare([names[0], name], "humaneval", runs).pairs}
    for score in ("humaneval pass@1", "humaneval+ pass@1"):
        group = sorted((pair for pair in found.pairs if pair.score == score), key=lambda pair: pair.p)
        assert len(group) == 3
        want = [min(1.0, (3 - rank) * pair.p) for rank, pair in enumerate(group)]
        assert [pair.p_holm for pair in group] == [pytest.approx(max(want[: k + 1])) for k in range(3)]
    for pair in found.pairs:
        if pair.score == "humaneval+ pass@1":
            assert replace(pair, p_holm=None) == alone[pair.after]
    assert "after Holm are corrected for the 3 comparisons" in shown(found)


def test_files_and_folders_say_the_same(data: Path, runs: Path, tmp_path: Path) -> None:
    want = compare([BASE.replace("--", "/"), DPO.replace("--", "/")], None, runs)
    folders = [str(next((runs / "eval").glob(f"{model}@*"))) for model in (BASE, DPO)]
    assert compare(folders, None, tmp_path / "elsewhere") == want
    files = []
    for model in (BASE, DPO):
        files.append(str(tmp_path / f"{model}.jsonl"))
        command.write_per_task([stored(data, bench, model) for bench in ("humaneval", "mbpp")], Path(files[-1]))
    found = compare(files, None, tmp_path / "elsewhere")
    assert found.checkpoints == [BASE, DPO]
    assert [replace(pair, before="", after="") for pair in found.pairs] == [
        replace(pair, before="", after="") for pair in want.pairs
    ]
    assert len(compare([files[0], folders[1]], "mbpp", runs).pairs) == 2
    answer = json.loads(json.dumps(found.as_json()))
    assert answer["comparisons"][0]["gained"] == want.pairs[0].gained
    assert answer["comparisons"][0]["answer"] == want.pairs[0].answer


def test_several_samples_a_task_are_compared_by_their_shares(tmp_path: Path) -> None:
    passing = {
        "a": [(1, 4), (1, 2), (0, 5), (5, 5), (2, 3), (0, 0)],
        "b": [(2, 8), (4, 9), (5, 9), (10, 10), (6, 8), (0, 1)],
    }
    paths = []
    for model, n, at in (("m", 5, 1), ("k", 10, 1)):
        judged = []
        for task, counts in enumerate(passing["a" if model == "m" else "b"]):
            for i in range(n):
                outcome = Outcome.PASSED if i < counts[at] else Outcome.FAILED
                judged.append(Judged(f"t/{task}", i, {"base": outcome, "plus": outcome}, {}, {}))
        paths.append(str(saved(reported("x", model, judged), tmp_path / model)))
    found = compare(paths)
    one, five, *_ = found.pairs
    assert [pair.score for pair in found.pairs] == ["x pass@1", "x pass@5", "x+ pass@1", "x+ pass@5"]
    assert one.test == "exact sign test"
    # Shares 0.8 0.4 1 1 0.6 0 and 0.8 0.9 0.9 1 0.8 0.1: the first is the same in both.
    assert (one.overall.before, one.overall.after) == (63.33, 75.0)
    assert (one.gained, one.lost) == (["t/1", "t/4", "t/5"], ["t/2"])
    assert one.p == pytest.approx(0.625)  # (1 + 4) / 16, twice
    assert (five.overall.before, five.overall.after) == (83.33, 91.67)
    assert one.notes == ["not asked alike: n 5 and 10"]
    command.write_per_task([report.read(Path(paths[1]))], tmp_path / "k.jsonl")
    assert compare([paths[0], str(tmp_path / "k.jsonl")]).pairs == [replace(pair, notes=[]) for pair in found.pairs]


def test_what_is_not_comparable_is_said(data: Path, tmp_path: Path) -> None:
    whole = stored(data, "humaneval", BASE)
    part = stored(data, "humaneval", DPO, data_version="v2", asked=ASKED | {"temperature": 0.8})
    part = only(part, [row["task_id"] for row in part.rows[:100]], {part.rows[100]["task_id"]: "HumanEval/999"})
    paths = [str(saved(found, tmp_path / name)) for name, found in (("a", whole), ("b", part))]
    first = compare(paths).pairs[0]
    assert first.overall.n == 100
    assert first.notes == [
        "not the same tasks: 164 and 101, of which the 100 in common count",
        "not the same data: v1 and v2",
        "not asked alike: temperature 0.0 and 0.8",
    ]
    assert "note: not the same tasks: 164 and 101" in shown(compare(paths))
    none = only(whole, [], {row["task_id"]: f"x{row['task_id']}" for row in whole.rows})
    with pytest.raises(UserError, match="no task in common"):
        compare([paths[0], str(saved(none, tmp_path / "c"))])


def test_a_wrong_name_is_one_line(data: Path, runs: Path, tmp_path: Path) -> None:
    base, dpo = (name.replace("--", "/") for name in (BASE, DPO))
    place = next((runs / "eval").glob(f"{BASE}@*/humaneval/*"))
    broken, empty, odd = (tmp_path / name for name in ("broken.json", "empty.jsonl", "odd.jsonl"))
    broken.write_text('{"scores": []}')
    empty.write_text("")
    odd.write_text('{"task_id": "a", "solution": "b"}\n')
    latin, listed = tmp_path / "latin.jsonl", tmp_path / "listed.json"
    latin.write_bytes('{"bench": "caf\u00e9"}\n'.encode("latin-1"))
    listed.write_text('[{"question_id": "a", "code_list": ["b"]}]')
    score_first = "a file of samples is scored first: plum eval --samples FILE --bench NAME --per-task scored.jsonl"
    rows = tmp_path / "rows.jsonl"
    command.write_per_task([stored(data, "humaneval", BASE), stored(data, "mbpp", BASE)], rows)
    cases: list[tuple[list[str], str | None, str]] = [
        ([base], None, "needs at least two"),
        (
            [base, "org/other"],
            None,
            "org/other is no report, and .* has no scores of such a model: plum eval org/other",
        ),
        ([base, f"{dpo}@v2"], None, "was not evaluated at v2; it was at 0000"),
        ([base, dpo], "livecodebench", "was not evaluated on livecodebench; it has humaneval, mbpp$"),
        ([str(rows), dpo], "humaneval+", r"rows.jsonl was not evaluated on humaneval\+; it has humaneval, mbpp$"),
        ([base, dpo], "humaneval,mbbp", "was not evaluated on mbbp; it has"),
        ([base, base], None, "is given twice"),
        ([base, str(broken)], None, "is no report of plum eval's"),
        ([base, str(listed)], None, f"is no report of plum eval's .*; {score_first}"),
        ([base, str(latin)], None, r"latin.jsonl, line 1 is no row of .* \(UnicodeDecodeError"),
        ([base, str(empty)], None, "is empty"),
        ([base, str(odd)], None, f"line 1 is no row of plum eval --per-task .*; {score_first}"),
        ([str(next((runs / "eval").glob(f"{DPO}@*/mbpp"))), str(place)], None, "no benchmark in common: .* has mbpp; "),
    ]
    for given, bench, words in cases:
        with pytest.raises(UserError, match=words):
            compare(given, bench, runs)


def test_the_newest_counts_and_another_way_of_asking_is_an_error(data: Path, runs: Path) -> None:
    base, dpo = (name.replace("--", "/") for name in (BASE, DPO))
    place = next((runs / "eval").glob(f"{BASE}@*/humaneval"))
    want = compare([base, dpo], "humaneval", runs)
    # The same settings a second time, with DPO's own verdicts: the newest counts, by the clock and not by the name.
    again = saved(stored(data, "humaneval", f"{base}@v1"), place / "000000")
    swapped = stored(data, "humaneval", DPO)
    report.save(replace(report.read(again), shares=swapped.shares), again)
    os.utime(again, (2e9, 2e9))
    assert compare([base, dpo], "humaneval", runs).pairs[0].overall.difference == 0
    os.utime(again, (1e9, 1e9))
    assert compare([base, dpo], "humaneval", runs) == want
    warm = stored(data, "humaneval", f"{base}@v1", asked=ASKED | {"temperature": 0.8, "revision": "0" * 40})
    os.utime(saved(warm, place / "111111"), (2e9, 2e9))
    with pytest.raises(UserError, match=r"evaluated in several ways(.|\n)*111111/report.json: .*temperature 0.8"):
        compare([base, dpo], "humaneval", runs)
    assert compare([str(place / "a1b2c3"), dpo], "humaneval", runs) == want


def test_of_several_revisions_the_newest_run_counts_and_is_noted(data: Path, runs: Path) -> None:
    base, dpo = (name.replace("--", "/") for name in (BASE, DPO))
    want = compare([base, dpo], "humaneval", runs)
    # A later commit's run, with DPO's verdicts.
    other = stored(data, "humaneval", base, asked=ASKED | {"revision": "1" * 40})
    other = replace(other, shares=stored(data, "humaneval", DPO).shares)
    later = saved(other, runs / "eval" / f"{BASE}@{'1' * 12}" / "humaneval" / "a")
    os.utime(later, (2e9, 2e9))
    found = compare([base, dpo], "humaneval", runs)
    assert found.pairs[0].overall.difference == 0
    note = f"{base} was evaluated at several revisions; this is its newest run, at "
    assert [pair.notes for pair in found.pairs] == [[note + "1" * 12]] * 2
    os.utime(later, (1e9, 1e9))
    found = compare([base, dpo], "humaneval", runs)
    assert found.pairs[0].notes == [note + "0" * 12]
    assert found.pairs[0].overall == want.pairs[0].overall
    for revision, difference in (("1111", 0), ("0" * 40, want.pairs[0].overall.difference)):
        pair = compare([f"{base}@{revision}", dpo], "humaneval", runs).pairs[0]
        assert (pair.overall.difference, pair.notes) == (difference, [])
    # Both of its benchmarks now, of which one was run at one commit alone.
    assert [pair.notes for pair in compare([base, dpo], None, runs).pairs] == [[note + "0" * 12]] * 4


def test_a_link_from_a_newer_commit_is_the_same_run(data: Path, runs: Path) -> None:
    base, dpo = (name.replace("--", "/") for name in (BASE, DPO))
    want = compare([base, dpo], None, runs)
    (runs / "eval" / f"{BASE}@{'2' * 12}").symlink_to(f"{BASE}@{'0' * 12}")
    # What is run through the link names the newer commit, and its weights are the same all the same.
    mbpp = stored(data, "mbpp", f"{base}@v1", asked=ASKED | {"revision": "2" * 40})
    saved(mbpp, runs / "eval" / f"{BASE}@{'2' * 12}" / "mbpp" / "a1b2c3")
    for name in (base, f"{base}@v1", f"{base}@{'2' * 40}", f"{base}@{'0' * 40}", f"{base}@22222222"):
        assert compare([name, dpo], None, runs) == want
    for commit in "02":
        assert compare([str(runs / "eval" / f"{BASE}@{commit * 12}"), dpo], None, runs) == want
    with pytest.raises(UserError, match=r"was not evaluated at 3333; it was at 000000000000$"):
        compare([f"{base}@3333", dpo], None, runs)
    # Their settings differ now; with a run counted twice there would be several to choose from.
    warm = stored(data, "humaneval", f"{base}@v1", asked=ASKED | {"temperature": 0.8, "revision": "0" * 40})
    saved(warm, runs / "eval" / f"{BASE}@{'0' * 12}" / "humaneval" / "a1b2c3")
    assert compare([base, dpo], "humaneval", runs).pairs[0].notes == ["not asked alike: temperature 0.8 and 0.0"]


def test_one_models_figures_never_stand_under_anothers_name(data: Path, runs: Path, tmp_path: Path) -> None:
    base, dpo = (name.replace("--", "/") for name in (BASE, DPO))
    mix = tmp_path / "mix"
    saved(stored(data, "humaneval", f"{base}@v1"), mix / "a")
    saved(stored(data, "humaneval", f"{dpo}@v1"), mix / "b")
    for folder in (mix, runs / "eval"):
        with pytest.raises(UserError, match=rf"{folder} has scores of several models.*{dpo}@0{{12}}.*{base}@0{{12}}"):
            compare([str(folder), f"{dpo}@v1"], None, runs)
    # Runs of one model under two names: the figures stand under the name that the user gave.
    saved(stored(data, "mbpp", base), runs / "eval" / f"{BASE}@{'0' * 12}" / "mbpp" / "a1b2c3")
    given = f"hf:{base}"
    assert {pair.before for pair in compare([given, dpo], None, runs).pairs} == {given}
    assert {pair.before for pair in compare([given, dpo], "mbpp", runs).pairs} == {base}
    # An adapter makes another model of the same weights.
    asked = ASKED | {"model": base, "revision": "0" * 40, "engine_options": {"lora": "org/adapter@v1"}}
    adapted = replace(
        stored(data, "humaneval", f"{base}@v1", asked=asked), shares=stored(data, "humaneval", DPO).shares
    )
    name = f"vllm:{base}?lora=org/adapter@v1"
    adapted = replace(adapted, scores=[replace(score, checkpoint=name) for score in adapted.scores])
    place = runs / "eval" / f"{BASE}@{'0' * 12}" / "humaneval"
    os.utime(saved(adapted, place / "000000"), (2e9, 2e9))
    want = compare([f"{base}@v1", dpo], "humaneval", runs)
    (pair, _) = compare([base, name], "humaneval", runs).pairs
    assert (pair.before, pair.after) == (f"{base}@v1", name)
    assert pair.overall == want.pairs[0].overall
    with pytest.raises(UserError, match="no scores of such a model"):
        compare([base, f"vllm:{base}?lora=org/other"], "humaneval", runs)


def test_engine_and_options_are_no_part_of_a_models_name(data: Path, runs: Path) -> None:
    base, dpo = (name.replace("--", "/") for name in (BASE, DPO))
    want = compare([base, dpo], None, runs)
    for options in ("?continuous_batching=true", "@v1?continuous_batching=true"):
        assert compare([f"hf:{base}{options}", dpo], None, runs) == want
    assert compare([f"vllm:{base}?max_model_len=4096&dtype=float32", dpo], None, runs) == want
    # And where the run itself was called so.
    label = f"hf:{base}@v2?continuous_batching=true"
    found = stored(data, "humaneval", base, asked=ASKED | {"revision": "3" * 40})
    found = replace(found, scores=[replace(score, checkpoint=label) for score in found.scores])
    saved(found, runs / "eval" / f"{BASE}@{'3' * 12}" / "humaneval" / "a")
    for name in (label, f"{base}@v2"):
        assert compare([name, dpo], "humaneval", runs).checkpoints[0] == label


def test_another_engine_seed_or_prompt_is_noted(data: Path, tmp_path: Path) -> None:
    asked = ASKED | {"engine": "TransformersEngine", "seed": 0, "batch_size": 64, "prompts": "1a"}
    other = asked | {"engine": "VllmEngine", "seed": 1, "batch_size": 8, "prompts": "2b"}
    other["engine_options"] = {"dtype": "float32"}
    paths = []
    for name, how in (("a", asked), ("b", other)):
        found = stored(data, "humaneval", BASE, asked=how | {"revision": "0" * 40})
        paths.append(str(saved(found, tmp_path / name)))
    assert compare(paths).pairs[0].notes == [
        "not asked alike: engine TransformersEngine and VllmEngine",
        "not asked alike: engine_options None and {'dtype': 'float32'}",
        "not asked alike: seed 0 and 1",
        "not asked alike: batch_size 64 and 8",
        "not the same prompts",
    ]


def graded(model: str, passing: dict[str, bool], folder: Path) -> str:
    """A report on tasks whose names begin with their difficulty."""
    judged = [Judged(i, 0, dict.fromkeys(("base", "plus"), OUTCOMES[passed]), {}, {}) for i, passed in passing.items()]
    found = reported("x", model, judged)
    rows = [row | {"difficulty": row["task_id"].partition("/")[0]} for row in found.rows]
    return str(saved(replace(found, rows=rows), folder / model))


def test_no_interval_is_better_than_one_without_width(tmp_path: Path) -> None:
    tasks = [f"{word}/{i}" for word in ("Hard", "Easy", "Medium") for i in range(2)]
    never = graded("never", dict.fromkeys(tasks, False), tmp_path)
    always = graded("always", dict.fromkeys(tasks, True), tmp_path)
    found = compare([never, always])
    pair = found.pairs[0]
    assert (pair.overall.difference, pair.overall.ci95, pair.p) == (100, None, 2 / 64)
    assert pair.answer == "yes"
    assert "+100.0 is more than chance: no interval can be estimated, as all tasks differ alike" in pair.words
    figures = json.loads(json.dumps(found.as_json(), allow_nan=False))["comparisons"][0]
    assert figures["overall"]["ci95"] is None
    assert list(pair.by["difficulty"]) == list(figures["by"]["difficulty"]) == ["Easy", "Medium", "Hard"]
    text = shown(found)
    assert "unknown" in text
    assert text.index("Easy") < text.index("Medium") < text.index("Hard")
    pytest.importorskip("matplotlib")
    png(found, tmp_path / "alike.png")
    # Two tasks alone are no proof, whatever they say; where they differ unlike there is an interval.
    few = [graded(name, dict.fromkeys(tasks[:2], name == "p"), tmp_path) for name in ("o", "p")]
    assert compare(few).pairs[0].answer == "no"
    mixed = graded("mixed", {task: task.startswith("Easy") for task in tasks}, tmp_path)
    pair = compare([never, mixed]).pairs[0]
    assert pair.overall.ci95
    assert pair.overall.ci95[0] < pair.overall.difference < pair.overall.ci95[1]
    assert [figures.ci95 for figures in pair.by["difficulty"].values()] == [None] * 3


def test_a_per_task_file_may_have_any_name(data: Path, runs: Path, tmp_path: Path) -> None:
    want = compare([name.replace("--", "/") for name in (BASE, DPO)], "humaneval", runs)
    for suffix in (".txt", ".json", ""):
        path = tmp_path / f"out{suffix}"
        command.write_per_task([stored(data, "humaneval", BASE)], path)
        found = compare([str(path), DPO.replace("--", "/")], "humaneval", runs)
        assert [pair.overall for pair in found.pairs] == [pair.overall for pair in want.pairs]


def test_models_are_found_where_plum_eval_leaves_them(tmp_path: Path) -> None:
    options = Options(tmp_path / "runs" / "eval", max_unusable=1.0)
    settings = Settings(limit=6, max_new_tokens=4)
    names = []
    for seed in (0, 1):
        policy.build_initial(tmp_path / f"model-{seed}", seed)
        names.append(str(tmp_path / f"model-{seed}"))
        engine = generate.load(names[-1])
        evaluate.score_model(engine, evaluate.load("nano-dev"), settings, options, names[-1])
        engine.close()
    (pair,) = compare(names, None, tmp_path / "runs").pairs
    assert (pair.score, pair.before, pair.after) == ("nano-dev pass@1", *names)
    assert (pair.overall.n, pair.overall.before, pair.notes) == (6, 0, [])  # it has learnt nothing


def test_a_picture(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = pytest.importorskip("matplotlib.image")
    found = compare([name.replace("--", "/") for name in (BASE, DPO, INSTRUCT)], "humaneval", runs)
    png(found, tmp_path / "four.png")
    png(Comparison(found.checkpoints[:2], found.pairs[:1]), tmp_path / "one.png")
    four, one = (image.imread(tmp_path / f"{name}.png") for name in ("four", "one"))
    assert four.shape[0] > 1.5 * one.shape[0] > 100
    assert four[..., :3].min() < 0.2 < 0.99 < four[..., :3].mean() + 0.2  # black on white
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(UserError, match=r"four.jpg: the picture is a PNG; give it a name in .png"):
        png(found, tmp_path / "four.jpg")
    with pytest.raises(UserError, match=r'pip install "plum-hub\[plot\]"'):
        png(found, tmp_path / "never.png")


def by_definition(p_values: list[float]) -> Callable[[int], float]:
    """Holm's p value of one hypothesis: the least level at which the step-down procedure rejects it."""

    def rejected(level: float) -> set[int]:
        found: set[int] = set()
        for rank, at in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
            if p_values[at] * (len(p_values) - rank) > level + 1e-12:
                break
            found.add(at)
        return found

    return lambda at: next((level / 1000 for level in range(1001) if at in rejected(level / 1000)), 1.0)


@pytest.mark.parametrize("p_values", [[0.01, 0.04, 0.03], [0.2, 0.001, 0.2, 0.015], [0.5, 0.9], [0.02]])
def test_holm_is_the_step_down_procedure(p_values: list[float]) -> None:
    assert holm(p_values) == [pytest.approx(by_definition(p_values)(at)) for at in range(len(p_values))]


def test_the_sign_test_is_exact() -> None:
    assert sign_test([0, 0, 0, 0, 0, 0, 1], [1, 1, 1, 1, 1, 1, 1]) == pytest.approx(2 / 64)
    assert sign_test([0.5, 1], [0.5, 1]) == 1
    assert sign_test([0, 1], [1, 0]) == 1


def test_so_many_tasks_detect_the_difference_four_times_in_five() -> None:
    import numpy as np

    before, after = [0] * 60 + [1] * 40, [1] * 12 + [0] * 48 + [0] * 4 + [1] * 36
    needed = tasks_to_detect(before, after)
    assert needed
    differences = np.array(after) - np.array(before)
    draws = np.random.default_rng(0).choice(differences, (4000, needed))
    z = draws.mean(1) / (draws.std(1, ddof=1) / needed**0.5)
    assert 0.76 < (z > 1.96).mean() < 0.86
    assert tasks_to_detect([0, 1], [1, 0]) is None
    assert tasks_to_detect([0, 0], [1, 1]) is None
