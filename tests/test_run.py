"""`plum run` from end to end on a tiny policy: every stage, publishing, scores, kill -9 and resume, and mistakes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import HUB, ROOT
from datasets import Dataset, load_dataset
from huggingface_hub import DatasetCard, HfApi, ModelCard
from tiny import TASKS, instruction, program, publish_tiny, response, write_recipe

from plum_hub import recipe
from plum_hub.hub.local import environment
from plum_hub.stages.prefer import is_kto_safe


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return publish_tiny(tmp_path_factory.mktemp("tiny"))


def plum(*arguments: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **extra}
    command = [sys.executable, "-m", "plum_hub.cli", *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def result_of(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def first(published: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any]]:
    """A whole run, uninterrupted: recipe, runs folder, result."""
    folder = tmp_path_factory.mktemp("first")
    path = write_recipe(folder / "recipe.yaml", *published)
    done = plum("run", path, "--runs", folder / "runs", "--json", "--set", "methods=[kto,dpo,rft]")
    return path, folder / "runs", result_of(done)


def test_the_result_names_what_was_published(first: tuple[Path, Path, dict[str, Any]]) -> None:
    path, _, result = first
    name = recipe.load(path).dataset_repo
    assert result["dataset"]["repo"] == name
    assert result["dataset"]["tag"] == "v1"
    assert result["dataset"]["commit"] == HfApi().dataset_info(name, revision="v1").sha
    assert [c["method"] for c in result["checkpoints"]] == ["seed_policy", "kto", "dpo", "rft"]
    for checkpoint in result["checkpoints"]:
        assert checkpoint["commit"] == HfApi().model_info(checkpoint["repo"], revision="v1").sha
    counts = result["counts"]
    assert counts["tests"]["out"] == len(TASKS)
    assert counts["sample"]["out"] == counts["judge"]["in"] == 8 * len(TASKS)
    for stage in ("judge", "prefer"):
        assert counts[stage]["in"] == counts[stage]["out"] + sum(counts[stage]["dropped"].values())
    assert counts["prefer"]["chosen"] > 0 < counts["prefer"]["rejected"]
    assert {"tests", "sample", "judge", "prefer", "publish", "train_kto"} <= set(result["seconds"])


def test_the_dataset_holds_the_whole_evidence(first: tuple[Path, Path, dict[str, Any]]) -> None:
    repo = first[2]["dataset"]["repo"]
    names = ("tests", "samples", "judgements", "kto", "dpo", "sft")
    rows = {name: load_dataset(repo, name, revision="v1", split="train") for name in names}
    assert load_dataset(repo, revision="v1", split="train").column_names == rows["kto"].column_names, (
        "kto is the default"
    )
    samples = {row["sample_id"]: row for row in rows["samples"]}
    verdicts = {row["sample_id"]: row for row in rows["judgements"]}
    for row in rows["kto"]:
        assert verdicts[row["sample_id"]]["label"] == ("chosen" if row["label"] else "rejected")
        assert row["completion"][0]["content"] == samples[row["sample_id"]]["completion"]
    for verdict in verdicts.values():
        passed = [test["outcome"] == "passed" for test in verdict["tests"]]
        assert (verdict["label"] == "chosen") == (bool(passed) and all(passed))
    block = first[2]["counts"]["prefer"]["kto_block"]
    assert is_kto_safe([str(p) for p in rows["kto"]["prompt"]], rows["kto"]["label"][:], block)
    gold = {row["solution"].strip() for row in rows["tests"]}
    assert gold, "the reference solutions are in `tests` ..."
    for name in ("kto", "dpo", "sft"):
        assert not {"solution", "test_code", "tests"} & set(rows[name].column_names), "... and in no training config"


def test_cards_lead_from_checkpoint_to_data_to_base(first: tuple[Path, Path, dict[str, Any]]) -> None:
    result = first[2]
    kto = next(c for c in result["checkpoints"] if c["method"] == "kto")
    policy = next(c for c in result["checkpoints"] if c["method"] == "seed_policy")
    card = ModelCard.load(kto["repo"])
    assert card.data.base_model == policy["repo"]
    assert card.data.datasets == [result["dataset"]["repo"]]
    for commit in (policy["commit"], result["dataset"]["commit"]):
        assert commit in card.content
    assert "desirable_weight" in card.content


def test_the_lines_on_the_cards_work_as_pasted(first: tuple[Path, Path, dict[str, Any]], tmp_path: Path) -> None:
    """In a process of its own, without plum_hub, with an empty cache."""
    import re

    result = first[2]
    kto = next(c for c in result["checkpoints"] if c["method"] == "kto")
    for repo, repo_type, ending in (
        (result["dataset"]["repo"], "dataset", "\nprint(rows.num_rows)"),
        (kto["repo"], "model", ""),
    ):
        path = HfApi().hf_hub_download(repo, "README.md", repo_type=repo_type, revision="v1")
        code = re.search(r"```python\n(.*?)```", Path(path).read_text(), re.DOTALL)
        assert code
        caches = {
            "HF_HOME": str(tmp_path),
            "HF_HUB_CACHE": str(tmp_path / "h"),
            "HF_DATASETS_CACHE": str(tmp_path / "d"),
        }
        env = {**os.environ, **environment(HUB), **caches, "PYTHONPATH": ""}
        done = subprocess.run(
            [sys.executable, "-c", code[1] + ending], env=env, capture_output=True, text=True, cwd="/"
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


def test_running_again_redoes_nothing(first: tuple[Path, Path, dict[str, Any]]) -> None:
    path, runs, result = first
    files = {p: p.stat().st_mtime_ns for p in runs.rglob("*.arrow")} | {
        p: p.stat().st_mtime_ns for p in runs.rglob("model.safetensors")
    }
    assert len([p for p in files if p.suffix == ".arrow"]) == 4 * 3, "texts, tests, samples, verdicts of three shards"
    done = plum("run", path, "--runs", runs, "--json", "--set", "methods=[kto,dpo,rft]")
    again = result_of(done)
    assert "published " not in done.stderr, "nothing was changed"
    assert done.stderr.count(" was there already, with the same files") == 1 + len(result["checkpoints"])
    assert {p: p.stat().st_mtime_ns for p in files} == files
    for key in ("dataset", "checkpoints", "counts"):
        assert again[key] == result[key]


def without_seconds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for row in rows:
        row.pop("seconds", None)
        for test in row.get("tests", []):
            if isinstance(test, dict):
                test.pop("seconds")
    return rows


def test_killed_again_and_again_it_ends_with_the_same_result(
    first: tuple[Path, Path, dict[str, Any]], published: tuple[str, str], tmp_path: Path
) -> None:
    """kill -9 once each moment below has come; the run that goes through publishes what an unbroken run publishes."""
    text = first[0].read_text()
    name = recipe.load(first[0]).name
    other = f"{name}-killed"
    path = tmp_path / "recipe.yaml"
    path.write_text(text.replace(name, other))
    runs = tmp_path / "runs"
    moments = (
        "checkpoints/seed_policy.trainer-*/checkpoint-20/trainer_state.json",
        "published/seed_policy-v1.yaml",
        "samples/00000-*.arrow",
        "samples/00001-*.arrow",
        "judgements/00000-*.arrow",
        "published/dataset-v1.yaml",
        "checkpoints/kto.trainer-*/checkpoint-2/trainer_state.json",
    )
    command = [sys.executable, "-m", "plum_hub.cli", "run", str(path), "--runs", str(runs), "--json"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    for moment in moments:
        process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        while not list((runs / other).glob(moment)):
            assert process.poll() is None, process.stderr and process.stderr.read()[-3000:]
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    finished = {p: p.stat().st_mtime_ns for p in (runs / other).rglob("*.arrow")}
    result = result_of(plum("run", path, "--runs", runs, "--json"))
    assert {p: p.stat().st_mtime_ns for p in finished} == finished, "finished shards were not made again"

    for config in ("tests", "samples", "judgements", "kto", "dpo", "sft"):
        one = load_dataset(f"plum/{name}", config, revision="v1", split="train").to_list()
        two = load_dataset(f"plum/{other}", config, revision="v1", split="train").to_list()
        ours = json.dumps(without_seconds(two)).replace(other, name)
        theirs = json.dumps(without_seconds(one))
        for repo in ("policy",):  # the two runs' policies have the same weights, and cards of their own
            for rows in (one, two):
                revisions = {row.get(f"{repo}_revision") for row in rows}
                assert len(revisions) == 1
                theirs, ours = (t.replace(str(next(iter(revisions))), "R") for t in (theirs, ours))
        assert ours == theirs, config
    assert {c["method"] for c in result["checkpoints"]} == {"seed_policy", "kto"}
    weights = [
        HfApi().get_paths_info(f"plum/{n}-kto", "model.safetensors", revision="v1")[0].lfs for n in (name, other)
    ]
    assert weights[0]
    assert weights[0] == weights[1]
    assert len(HfApi().list_repo_commits(f"plum/{other}", repo_type="dataset")) <= 3, "nothing was published twice"


@pytest.mark.parametrize("moment", ["before the tag", "after the tag"])
def test_killed_while_it_publishes_it_publishes_once(
    first: tuple[Path, Path, dict[str, Any]], tmp_path: Path, moment: str
) -> None:
    """kill -9 from inside the client's own `create_tag` of the dataset: nothing is lost, doubled or half there."""
    name = recipe.load(first[0]).name
    other = f"{name}-{moment.split()[0]}"
    path = tmp_path / "recipe.yaml"
    path.write_text(
        first[0].read_text().replace(f"name: {name}", f"name: {other}")
    )  # the same policy, not trained again
    overrides = ["--set", "seed_policy=null", "--set", "methods=[]", "--runs", str(tmp_path / "runs"), "--json"]
    code = (
        "import os, signal, sys\n"
        "from huggingface_hub import HfApi\n"
        "real = HfApi.create_tag\n"
        "def create_tag(self, *args, **kwargs):\n"
        f"    if {moment == 'after the tag'}:\n"
        "        real(self, *args, **kwargs)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "HfApi.create_tag = create_tag\n"
        f"sys.argv = ['plum', 'run', {str(path)!r}, *{overrides!r}]\n"
        "from plum_hub.cli import main; main()\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    tags = [ref.name for ref in HfApi().list_repo_refs(f"plum/{other}", repo_type="dataset").tags]
    assert tags == (["v1"] if moment == "after the tag" else [])
    result = result_of(plum("run", path, *overrides))
    assert result["dataset"]["commit"] == HfApi().dataset_info(f"plum/{other}", revision="v1").sha
    uploads = [c for c in HfApi().list_repo_commits(f"plum/{other}", repo_type="dataset") if c.title.startswith(other)]
    assert len(uploads) == 1


def test_the_training_ends_with_a_killed_run(published: tuple[str, str], tmp_path: Path) -> None:
    """kill -9 of `plum run` alone, as the kernel's out-of-memory killer would: its training does not work on unseen."""
    path = write_recipe(tmp_path / "recipe.yaml", *published)
    loaded = recipe.load(path)
    runs = tmp_path / "runs"
    flags = ["--runs", str(runs), "--json", "--set", "seed_policy.args.max_steps=5000", "--set", "methods=[]"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "plum_hub.cli", "run", str(path), *flags]
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    trainer = runs / loaded.name / "checkpoints"
    while not list(trainer.glob("seed_policy.trainer-*/checkpoint-20/trainer_state.json")):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    time.sleep(1)
    children = subprocess.run(["pgrep", "-f", f"plum_hub.train {runs}"], capture_output=True, text=True).stdout.split()
    assert children == []


def test_two_processes_do_not_work_on_one_run(first: tuple[Path, Path, dict[str, Any]]) -> None:
    import fcntl

    path, runs, _ = first
    with (runs / recipe.load(path).name / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = plum("run", path, "--runs", runs)
    assert done.returncode == 1
    assert "another process is working on" in done.stderr


def test_a_taken_tag_is_told_before_any_work(first: tuple[Path, Path, dict[str, Any]], tmp_path: Path) -> None:
    done = plum("run", first[0], "--runs", tmp_path / "elsewhere", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "has a tag v1 already, and a tag never moves" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.rglob("*.arrow"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["instructions.dataset=plum/none@v1"], "dataset plum/none@v1 does not exist"),
        (["instructions.columns.id=uid"], "column `uid` is missing; it has id, instruction, entry_point"),
        (["tests.import.key_column=nope"], "column `nope` is missing; it has id, response"),
        (["tests.import.key=x{{id}}".replace("{{", "{").replace("}}", "}")], "check `key` and `key_column`"),
        (["sample.nn=3"], "unknown key `sample.nn`; did you mean `n`?"),
        (["train.kto.args.bet=3"], "did you mean `beta`?"),
        (["policy=plum/none@v1", "seed_policy=null"], "model plum/none@v1 does not exist"),
    ],
)
def test_mistakes_end_in_one_clear_line(
    published: tuple[str, str], tmp_path: Path, settings: list[str], message: str
) -> None:
    path = write_recipe(tmp_path / "recipe.yaml", *published)
    flags = [flag for setting in ["seed_policy.args.max_steps=1", *settings] for flag in ("--set", setting)]
    if "seed_policy=null" in settings:
        flags = flags[2:]
    done = plum("run", path, "--runs", tmp_path / "runs", *flags)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in done.stderr
    assert not HfApi().repo_exists(recipe.load(path).dataset_repo, repo_type="dataset"), "nothing half-published"


class Answers(BaseHTTPRequestHandler):
    """A server in OpenAI's manner that knows the tiny tasks, right and wrong by turns, and fails every third time."""

    asked = 0

    def do_POST(self) -> None:
        Answers.asked += 1
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if Answers.asked % 3 == 0:
            return self.reply(503, {"error": {"message": "later"}})
        text = body["messages"][-1]["content"]
        name = next(name for name in TASKS if instruction(name) in text)
        texts = [response(name) if "[Test Code]" in text else program(TASKS[name][i % 2]) for i in range(body["n"])]
        choices = [{"index": i, "message": {"content": text}, "finish_reason": "stop"} for i, text in enumerate(texts)]
        usage = {"prompt_tokens": 10, "completion_tokens": 5 * len(texts)}
        return self.reply(200, {"choices": choices, "usage": usage})

    def reply(self, status: int, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


def test_servers_write_tests_and_samples(published: tuple[str, str], tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "recipe.yaml", *published)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    where = f"http://127.0.0.1:{server.server_port}/v1"
    settings = ["seed_policy=null", "methods=[]", f"policy={published[1]}", "sample.n=4", "tests.import=null"]
    settings += [f"tests.generator=openai:writer@{where}?input_price=1", f"sample.engine=openai:coder@{where}"]
    done = plum("run", path, "--runs", tmp_path, "--json", *[flag for s in settings for flag in ("--set", s)])
    server.shutdown()
    counts = result_of(done)["counts"]
    total = len(TASKS)
    assert (counts["tests"]["in"], counts["tests"]["out"]) == (3 * total, 3 * total)
    assert counts["tests"]["usage"] == {"prompt_tokens": 10 * total, "completion_tokens": 15 * total}
    assert (counts["judge"]["chosen"], counts["judge"]["rejected"]) == (2 * total, 2 * total)
    repo = recipe.load(path).dataset_repo
    assert set(load_dataset(repo, "samples", split="train")["policy"]) == {"coder"}
    assert len(load_dataset(repo, "dpo", split="train")) >= total
    card = DatasetCard.load(repo).text
    assert f"`openai:coder@{where}`" in card
    assert f"read {10 * total} tokens and wrote {15 * total}" in card


def test_a_dry_run_counts_and_makes_nothing(published: tuple[str, str], tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "recipe.yaml", *published)
    engine = "openai:any@http://127.0.0.1:9/v1?input_price=2&output_price=10"
    settings = ["seed_policy=null", f"policy={published[1]}", "tests.import=null", f"tests.generator={engine}"]
    settings += ["tests.responses=3", "tests.max_new_tokens=100", "sample.n=5", "sample.max_new_tokens=7"]
    flags = [flag for setting in settings for flag in ("--set", setting)]
    done = plum("run", path, "--runs", tmp_path / "runs", "--dry-run", "--json", *flags)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    tests, sample = figures["steps"]
    count = len(TASKS)
    assert figures["instructions"] == count
    # a reference, twice with other seeds, emptied in eight ways, 20 mutants and the reference again; then the samples
    assert figures["programs_at_most"] == count * (3 * (1 + 2 + 8 + 20 + 1) + 5 * 3)
    assert (tests["completion_tokens_at_most"], sample["completion_tokens_at_most"]) == (count * 300, count * 35)
    cost = (3 * 2 * tests["prompt_tokens"] + 10 * count * 300) / 1e6
    assert tests["cost_usd_at_most"] == pytest.approx(cost, abs=1e-4)
    assert (sample["cost_usd_at_most"], len(sample["engine"].partition("@")[2])) == (0, 40)
    assert sample["prompt_tokens"] > count
    assert figures["disk_bytes_at_most"] > 0
    assert not list((tmp_path / "runs").rglob("*.arrow")), "nothing was made"


def test_a_model_as_test_generator_is_asked_for_every_instruction(published: tuple[str, str], tmp_path: Path) -> None:
    """An untrained model: what it writes has not the four parts, and each response is kept with the reason for that."""
    path = write_recipe(tmp_path / "recipe.yaml", *published)
    settings = ["seed_policy=null", f"policy={published[1]}", "methods=[]", "sample.n=1", "sample.max_new_tokens=9"]
    settings += ["tests.import=null", f"tests.generator=hf:{published[1]}", "tests.max_new_tokens=9"]
    done = plum("run", path, "--runs", tmp_path, *[flag for setting in settings for flag in ("--set", setting)])
    assert done.returncode == 0, "what it wrote is worth looking at, and was asked for"
    assert "warning: no tests: of 18 responses none is usable (truncated 18); nothing can be judged" in done.stderr
    assert "warning: no preferences: of 6 samples 0 passed their tests and 0 failed" in done.stderr
    repo = recipe.load(path).dataset_repo
    assert {len(load_dataset(repo, name, split="train")) for name in ("samples", "judgements")} == {6}
    card = DatasetCard.load(repo)
    assert "There are no preferences" in card.text
    assert "truncated 18" in card.text
    done = plum(
        "run",
        path,
        "--runs",
        tmp_path,
        *[flag for setting in [*settings, "methods=[kto]", "tag=v2"] for flag in ("--set", setting)],
    )
    assert done.returncode == 1, "nothing to train on"
    assert "error: no tests: of 18 responses none is usable (truncated 18)" in done.stderr
    shards = sorted((tmp_path / recipe.load(path).name / "tests").glob("*.arrow"))
    rows = [row for shard in shards for row in Dataset.from_file(str(shard))]
    assert [row["response_id"] for row in rows] == [0, 1, 2] * len(TASKS), "PLUM: 3 responses an instruction"
    assert {row["reason"] for row in rows} == {"truncated"}, "nine tokens"
    assert all(row["response"] for row in rows)
    assert {row["generator"] for row in rows} == {published[1].partition("@")[0]}
    assert {len(row["generator_revision"]) for row in rows} == {40}
