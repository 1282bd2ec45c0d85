"""Online rounds: what each round's recipe says, when they end, and two rounds of a tiny policy with kills between."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from datasets import load_dataset
from huggingface_hub import DatasetCard, HfApi, ModelCard
from tiny import TASKS, publish_tiny, write_recipe

from plum_hub import recipe
from plum_hub.errors import UserError
from plum_hub.online import best, rises, round_recipes


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return publish_tiny(tmp_path_factory.mktemp("tiny"))


def load(tmp_path: Path, *settings: str) -> recipe.Recipe:
    path = write_recipe(tmp_path / "recipe.yaml", "plum/tasks@v1", "plum/init@v1")
    return recipe.load(path, list(settings))


def test_a_round_is_a_plain_recipe(tmp_path: Path) -> None:
    whole = load(tmp_path, "rounds=3", "tests.import=null", "tests.generator=self")
    one, two, three = round_recipes(whole)
    name = f"plum/{whole.name}"
    assert [r.rounds for r in (one, two, three)] == [1, 1, 1]
    assert [r.tag for r in (one, two, three)] == ["v1-round1", "v1-round2", "v1-round3"]
    assert [r.policy for r in (one, two, three)] == [
        f"{name}-policy@v1",
        f"{name}-kto@v1-round1",
        f"{name}-kto@v1-round2",
    ]
    assert [r.seed_policy is None for r in (one, two, three)] == [False, True, True]
    assert [r.sampler for r in (two, three)] == [f"hf:{two.policy}", f"hf:{three.policy}"]
    assert {r.generator for r in (one, two, three)} == {f"hf:{name}-policy@v1"}, "tests are kept: the first policy's"
    assert {r.instructions.part for r in (one, two, three) if r.instructions} == {None}
    assert [r.train["kto"].reference for r in (one, two, three)] == [None] * 3, "the policy of the round"
    for made in (one, two, three):  # each can be run on its own
        path = tmp_path / f"{made.tag}.yaml"
        path.write_text(recipe.dump(made))
        assert recipe.load(path) == made


def test_the_settings_of_rounds(tmp_path: Path) -> None:
    settings = ["rounds=3", "online={instructions: fresh, tests: top_up, reference: first}"]
    whole = load(tmp_path, *settings, "sample.engine=vllm?max_model_len=64")
    one, two, three = round_recipes(whole)
    assert [r.instructions.part for r in (one, two, three) if r.instructions] == ["1/3", "2/3", "3/3"]
    assert [r.tests.top_up for r in (one, two, three) if r.tests] == [
        (),
        (f"vllm:{two.policy}?max_model_len=64",),
        (f"vllm:{two.policy}?max_model_len=64", f"vllm:{three.policy}?max_model_len=64"),
    ]
    assert [r.train["kto"].reference for r in (one, two, three)] == [None, one.policy, one.policy]
    single = load(tmp_path)
    assert round_recipes(single) == [single]


def test_when_rounds_end() -> None:
    def row(before: float, after: float) -> dict[str, Any]:
        return {"before": {"nano-dev pass@1": before}, "scores": {"nano-dev pass@1": after}}

    rising = [row(10, 20), row(20, 30)]
    assert rises(rising, "nano-dev")
    assert best(rising, "nano-dev") == 2
    falling = [*rising, row(30, 29)]
    assert not rises(falling, "nano-dev")
    assert best(falling, "nano-dev") == 2
    assert not rises([row(10, 10)], "nano-dev"), "equal is no rise"
    assert rises(falling, None)
    assert best(falling, None) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["methods=[kto,dpo]"], "one of `methods`"),
        (["sample.engine=openai:any@http://127.0.0.1:9/v1"], "samples of the policy itself"),
        (["online.stop_on=nano-dev"], "is not one of `evaluate.benches`"),
        (["online.stopon=nano"], "did you mean `stop_on`?"),
        (["rounds=0"], "greater than or equal to 1"),
    ],
)
def test_mistakes(tmp_path: Path, settings: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("?", r"\?")):
        load(tmp_path, "rounds=2", *settings)


def go(path: Path, runs: Path) -> Any:
    command = [sys.executable, "-m", "plum_hub.cli", "run", str(path), "--runs", str(runs), "--json"]
    command += ["--set", "rounds=2", "--set", "online={tests: top_up, reference: first}"]
    return subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: Any) -> tuple[dict[str, Any], str]:
    out, err = process.communicate()
    assert process.returncode == 0, err[-3000:]
    return json.loads(out), err


def test_two_rounds_killed_in_the_second(published: tuple[str, str], tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "recipe.yaml", *published)
    name = recipe.load(path).name
    folder = tmp_path / "runs" / name
    for moment in ("samples/*.arrow", "checkpoints/kto-round2.trainer-*/checkpoint-2/trainer_state.json"):
        process = go(path, tmp_path / "runs")
        few = 3 * ("samp" in moment)  # shards of the first round
        while not ((folder / "recipe-round2.yaml").exists() and len(list(folder.glob(moment))) > few):
            assert process.poll() is None, process.stderr.read()[-3000:]
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*.arrow")}
    result, _ = finish(go(path, tmp_path / "runs"))
    assert {p: p.stat().st_mtime_ns for p in before} == before, "finished shards were not made again"

    tags = {ref.name: ref.target_commit for ref in HfApi().list_repo_refs(f"plum/{name}", repo_type="dataset").tags}
    assert set(tags) == {"v1", "v1-round1", "v1-round2"}
    assert tags["v1"] == tags["v1-round2"] == result["dataset"]["commit"]
    models = {ref.name: ref.target_commit for ref in HfApi().list_repo_refs(f"plum/{name}-kto").tags}
    assert set(models) == {"v1", "v1-round1", "v1-round2"}
    assert models["v1"] == models["v1-round2"] != models["v1-round1"]

    # round 2 samples from round 1's checkpoint, trains it, and is held to the first policy
    samples = load_dataset(f"plum/{name}", "samples", revision="v1-round2", split="train")
    assert set(samples["policy_revision"]) == {models["v1-round1"]}
    record = json.loads(Path(HfApi().hf_hub_download(f"plum/{name}-kto", "training.json", revision="v1")).read_text())
    assert record["base"]["commit"] == models["v1-round1"]
    assert record["data"]["commit"] == tags["v1-round2"]
    assert record["reference"]["repo"] == f"plum/{name}-policy"
    one = load_dataset(f"plum/{name}", "samples", revision="v1-round1", split="train")
    assert samples["completion"][:] != one["completion"][:]
    tests = [load_dataset(f"plum/{name}", "tests", revision=f"v1-round{r}", split="train").to_list() for r in (1, 2)]
    assert tests[0] == tests[1], "kept, and there is nothing to top up"
    assert len(tests[0]) == len(TASKS)

    assert [row["round"] for row in result["rounds"]] == [1, 2]
    for card in (DatasetCard.load(f"plum/{name}"), ModelCard.load(f"plum/{name}-kto")):
        for number in (1, 2):
            assert f"| {number} | `v1-round{number}` |" in card.text
    again, words = finish(go(path, tmp_path / "runs"))
    assert "published " not in words, "nothing was changed"
    assert again["checkpoints"] == result["checkpoints"]
    assert again["rounds"] == result["rounds"]
