"""`plum eval` as a user runs it: a policy on the local Hub, several benchmarks, scores on its card, read back.

BigCodeBench is not among them here: its libraries take gigabytes.
"""

import json
from pathlib import Path

from commands import plum
from conftest import HUB
from datasets import load_dataset
from huggingface_hub import model_info
from public import put
from tiny import publish_tiny

BENCHES = ("humaneval", "livecodebench:release_v5", "leetcode", "nano")


def test_one_command_scores_a_checkpoint_on_all_benchmarks_and_pushes(data: Path, tmp_path: Path) -> None:
    variables = put(HUB.root, data, tmp_path / "data", 4)
    variables["HUMANEVAL_OVERRIDE_PATH"] = str(data / "humanevalplus/HumanEvalPlus.jsonl.gz")  # a part is not pushed
    _, policy = publish_tiny(tmp_path / "tiny")
    arguments = ["eval", policy, "--bench", ",".join(BENCHES), "--runs", tmp_path / "runs", "--max-unusable", "1"]
    done = plum(*arguments, "--max-new-tokens", "16", "--push", "--json", **variables)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    tasks = {score["bench"]: score["n"] for score in result["scores"]}
    small = {"livecodebench:release_v5": 4, "leetcode": 4}
    assert tasks == {"humaneval": 164, "humaneval+": 164, **small, "nano": 300}
    failing = {record["bench"]: record["references"] for record in result["records"]}
    assert failing["humaneval"] == {"total": 164, "failing": {}}
    assert failing["leetcode"] == {"total": 4, "failing": {}}

    repo = policy.partition("@")[0]
    card = model_info(repo).card_data
    assert card is not None
    entries = {entry.metric_name: entry for entry in card.eval_results or []}
    assert entries.keys() == {f"{bench} pass@1" for bench in tasks}
    for score in result["scores"]:
        entry = entries[f"{score['bench']} pass@1"]
        assert (entry.metric_value, entry.metric_args["tasks"]) == (score["value"], score["n"])
    evidence, _, tag = entries["humaneval+ pass@1"].metric_args["evidence"].partition("@")
    rows = load_dataset(evidence, "humaneval", revision=tag, split="samples")
    assert len(rows) == 164
    assert {"task_id", "text", "program", "finish_reason"} <= set(rows.column_names)

    part = plum("eval", policy, "--bench", "mbpp", *arguments[4:], "--max-new-tokens", "16", "--push", **variables)
    assert "mbpp+ pass@1" in part.stdout
    assert "mbpp's data are not the public release" in part.stderr

    offline = ["eval", policy, "--bench", "mbpp,livecodebench:release_v5,leetcode"]
    home = variables | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_CACHE": str(tmp_path / "home/hub")}
    assert "no answer from" in plum(*offline, HF_HUB_OFFLINE="1", **home).stderr
    ready = plum(*offline, "--prefetch", **home)
    assert (ready.returncode, "leetcode: ready" in ready.stderr) == (0, True), ready.stderr
    options = ["--runs", tmp_path / "offline", "--max-unusable", "1", "--max-new-tokens", "16", "--json"]
    away = plum(*offline, *options, HF_HUB_OFFLINE="1", **home)
    assert away.returncode == 0, away.stderr
    there = {score["bench"]: score for score in json.loads(away.stdout)["scores"]}
    assert there.keys() == {"mbpp", "mbpp+", *small}
    assert [there[bench] for bench in small] == [s for s in result["scores"] if s["bench"] in small]

    again = plum(*arguments, "--max-new-tokens", "16", "--push", "--json", **variables)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["scores"] == result["scores"]
