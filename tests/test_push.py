"""Scores onto cards, with the real clients against the real local Hub: what is written is what others read."""

import base64
import json
import shutil
import threading
import urllib.request
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import HUB
from datasets import get_dataset_config_names, load_dataset
from huggingface_hub import CommitOperationAdd, DatasetCard, EvalResult, HfApi, ModelCard, constants, metadata_update
from huggingface_hub.repocard_data import eval_results_to_model_index
from speaker import teach
from transformers import AutoModelForCausalLM, AutoTokenizer

from plum_hub import evaluate
from plum_hub.errors import UserError
from plum_hub.evaluate import ask
from plum_hub.evaluate import push as pushing
from plum_hub.evaluate.push import push, ready
from plum_hub.evaluate.report import Report
from plum_hub.evaluate.tasks import Bench, Options, Settings
from plum_hub.generate import load
from plum_hub.hub import readme
from plum_hub.hub.publish import publish
from plum_hub.hub.scores import merge, result
from plum_hub.hub.tokens import add_token
from plum_hub.nano import policy


def some_of_nano() -> Bench:
    """A benchmark of 60 tasks."""
    nano = evaluate.load("nano")
    return replace(nano, tasks=nano.tasks[:60])


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that has learnt the answers to a few of nano's tasks by heart."""
    folder = tmp_path_factory.mktemp("weights")
    policy.build_initial(folder, seed=0)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    known = some_of_nano().tasks[:12]
    teach(model, tokenizer, [(task.prompts["chat"][0]["content"], task.reference) for task in known], 60)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def measured(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """What `plum eval` measures: nano greedy, nano at T = 1, and a part of nano."""
    engine, options = load(str(weights)), Options(tmp_path_factory.mktemp("eval"), max_unusable=1.0)
    bench = some_of_nano()
    settings = {"greedy": Settings(), "warm": Settings(2, 1.0), "part": Settings(limit=5)}
    found = {name: evaluate.score_model(engine, bench, one, options) for name, one in settings.items()}
    engine.close()
    assert 0 < found["greedy"].scores[0].value < 100
    return found


@pytest.fixture
def model(weights: Path, tmp_path: Path) -> str:
    """The model on the Hub, with the card of somebody who has scores already."""
    folder = shutil.copytree(weights, tmp_path / "weights")
    theirs = [
        EvalResult("text-generation", "plum-hub/nano", "nano", "pass@1", 12.5, metric_name="pass@1"),
        EvalResult("text-generation", "openai_humaneval", "HumanEval", "pass@1", 9.0, source_url="https://a.org"),
    ]
    card = ModelCard("---\nlicense: mit\nwidget:\n- text: a\n---\n\n# Mine\n\nWords.\n")
    card.data["model-index"] = eval_results_to_model_index("Mine", theirs)
    card.save(folder / "README.md")
    return publish(folder, f"plum/pushed-{uuid.uuid4().hex[:8]}", "v1", "model", False, "weights").repo


@pytest.fixture
def reports(model: str, measured: dict[str, Report]) -> dict[str, Report]:
    """The reports as if the weights had been loaded from the Hub."""
    sha = HfApi().model_info(model).sha
    return {
        name: replace(one, record=one.record | {"asked": one.record["asked"] | {"model": model, "revision": sha}})
        for name, one in measured.items()
    }


def other(found: Report, value: float) -> Report:
    return replace(found, scores=[replace(found.scores[0], value=value), *found.scores[1:]])


def results(repo: str, revision: str | None = None) -> dict[tuple[str, Any], EvalResult]:
    data = HfApi().model_info(repo, revision=revision).card_data
    assert data
    return {(str(one.metric_name), one.metric_value): one for one in data.eval_results or []}


def test_scores_and_samples_are_there_for_others(model: str, reports: dict[str, Report]) -> None:
    greedy, warm = reports["greedy"], reports["warm"]
    done = push(f"{model}@v1", [greedy, warm])
    assert "pushed to the card of" in str(done)
    assert str(done).count("nano: the benchmark plum-hub/nano is not registered here: no .eval_results for it") == 1
    found = results(model)
    value = greedy.scores[0].value
    assert {key for key in found if key[0] != "nano pass@1"} == {
        ("pass@1", 12.5),
        ("None", 9.0),  # it had no name
        ("nano pass@1 (T=1, n=2)", warm.scores[0].value),
    }
    ours = found["nano pass@1", value]
    assert ours.dataset_type == "plum-hub/nano"
    arguments = ours.metric_args
    assert arguments
    assert arguments["ci95"] == list(greedy.scores[0].ci95)
    assert (arguments["tasks"], arguments["samples_per_task"], arguments["temperature"]) == (60, 1, 0.0)
    assert arguments["harness"] == "plum-hub"
    card = ModelCard.load(model)
    assert "# Mine\n\nWords." in card.content
    assert card.data.to_dict()["widget"] == [{"text": "a"}]
    assert HfApi().list_repo_refs(model).tags[0].target_commit != HfApi().model_info(model).sha, "tags stay"

    evidence, _, tag = arguments["evidence"].partition("@")
    assert evidence == f"{model}-evals"
    assert str(ours.source_url).endswith(f"/datasets/{evidence}/tree/{tag}")
    rows = load_dataset(evidence, "nano", revision=tag, split="samples")
    assert len(rows) == 60
    assert 100 * sum(row["passed"]["nano"] for row in rows) / 60 == pytest.approx(value, abs=0.01)
    bench = some_of_nano()
    assert rows["prompt"][0] == bench.tasks[0].prompts["chat"]
    assert all(row["outcomes"]["tests"] == "passed" for row in rows if row["passed"]["nano"])
    assert get_dataset_config_names(evidence) == ["nano", "nano-t1-n2"], "main lists both"
    assert len(load_dataset(evidence, "nano-t1-n2", split="samples")) == 120
    files = HfApi().snapshot_download(evidence, repo_type="dataset")
    texts = [path.read_text() for path in Path(files).rglob("*") if path.suffix in (".md", ".json")]
    assert not any(greedy.record["folder"] in text for text in texts), "nothing of this machine"
    tests = {test for task in bench.tasks for suite in task.suites.values() for test in map(str, suite.tests)}
    assert not [test for test in tests for text in [*texts, json.dumps(rows[:])] if json.dumps(test)[1:-1] in text]


def test_again_is_nothing_new_and_another_value_is_refused(model: str, reports: dict[str, Report]) -> None:
    api, greedy = HfApi(), reports["greedy"]
    first = push(model, [greedy])
    sha, evidence = api.model_info(model).sha, api.dataset_info(f"{model}-evals").sha
    again = push(model, [greedy])
    assert (again.new, again.url) == ([], None)
    assert "on the card" in str(again)
    assert (api.model_info(model).sha, api.dataset_info(f"{model}-evals").sha) == (sha, evidence)

    changed = other(greedy, 99.0)
    with pytest.raises(UserError, match=rf"nano pass@1 is {greedy.scores[0].value} there .* and 99.0 now; see --over"):
        push(model, [reports["warm"], changed])
    assert (api.model_info(model).sha, api.dataset_info(f"{model}-evals").sha) == (sha, evidence), "all or nothing"
    done = push(model, [reports["warm"], changed], overwrite=True)
    found = results(model)
    assert ("nano pass@1", 99.0) in found
    assert ("nano pass@1", greedy.scores[0].value) not in found
    assert ("nano pass@1 (T=1, n=2)", reports["warm"].scores[0].value) in found
    assert {key for key in found if key[0] == "pass@1"} == {("pass@1", 12.5)}, "somebody else's, for the same benchmark"
    tags = {first.evidence[0].tag, *(one.tag for one in done.evidence)}
    assert len(tags) == 3
    for tag in tags:  # the earlier samples stay readable
        assert len(load_dataset(f"{model}-evals", tag.rpartition("-")[0], revision=tag, split="samples")) in (60, 120)


def test_ours_survive_a_client_that_groups_entries(model: str, reports: dict[str, Report]) -> None:
    push(model, [reports["greedy"], reports["warm"]])
    before = {key: one.metric_args for key, one in results(model).items()}
    theirs = EvalResult("text-generation", "plum-hub/nano", "nano", "speed", 1.0, metric_name="speed")
    metadata_update(model, {"model-index": eval_results_to_model_index("Mine", [theirs])})
    after = {key: one.metric_args for key, one in results(model).items()}
    assert after == before | {("speed", 1.0): None}
    assert push(model, [reports["greedy"], reports["warm"]]).url is None


def test_parts_files_and_other_weights_are_refused(model: str, reports: dict[str, Report], tmp_path: Path) -> None:
    greedy = reports["greedy"]
    with pytest.raises(UserError, match=r"only 5 of its 60 tasks of nano were asked"):
        push(model, [greedy, reports["part"]])
    with pytest.raises(UserError, match="the samples of nano are from a file"):
        push(model, [replace(greedy, record=greedy.record | {"asked": None})])
    with pytest.raises(UserError, match="needs a model on the Hub"):
        push(str(tmp_path), [greedy])
    with pytest.raises(UserError, match="LoRA adapter"):
        push(f"vllm:{model}?lora=plum/adapter", [greedy])
    HfApi().upload_file(path_or_fileobj=b"other", path_in_repo="model.safetensors", repo_id=model)
    with pytest.raises(UserError, match=r"whose model.safetensors is not that of v1"):
        push(f"{model}@v1", [greedy])
    with pytest.raises(UserError, match=r"nano's data are not the public release \(.+\)"):
        push(model, [replace(greedy, record=greedy.record | {"public": False})])
    assert not HfApi().repo_exists(f"{model}-evals", repo_type="dataset"), "nothing was published"


def test_registered_benchmarks_get_a_file_each(model: str, reports: dict[str, Report]) -> None:
    api, mark = HfApi(), uuid.uuid4().hex[:8]
    dataset = api.create_repo(f"plum/bench-{mark}", repo_type="dataset").repo_id
    greedy = replace(reports["greedy"], record=reports["greedy"].record | {"dataset": dataset})
    tasks = b"name: Nano\ntasks:\n- id: other\n- id: Nano\n"
    api.upload_file(path_or_fileobj=tasks, path_in_repo="eval.yaml", repo_id=dataset, repo_type="dataset")
    done = push(model, [greedy])
    assert not done.notes
    (entry,) = api.model_info(model, expand=["evalResults"]).eval_results or []
    assert (entry.dataset_id, entry.task_id, entry.value) == (dataset, "Nano", greedy.scores[0].value)
    assert entry.source_url == f"{HUB.endpoint}/datasets/{model}-evals/tree/{done.evidence[0].tag}"
    assert "temperature 0" in str(entry.notes)
    assert "harness plum-hub" in str(entry.notes)
    rates, asked = greedy.record["rates"], greedy.record["asked"]
    assert str(entry.notes).startswith("pass@1 in percent, 60 tasks; ")
    assert f"at most {asked['max_new_tokens']} tokens" in str(entry.notes)
    assert f"{rates['unusable']:.1%} of them without a usable program" in str(entry.notes)
    assert len(api.list_repo_commits(model)) == 3, "weights, and one commit for card and file"


@pytest.fixture
def guest(monkeypatch: pytest.MonkeyPatch) -> HfApi:
    token = add_token(HUB.root, f"guest{uuid.uuid4().hex[:6]}")
    monkeypatch.setenv("HF_TOKEN", token)
    return HfApi(token=token)


def test_a_model_of_somebody_else_gets_a_pull_request(
    model: str, reports: dict[str, Report], guest: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    me, head = guest.whoami()["name"], guest.model_info(model).sha
    done = push(model, [reports["greedy"]])
    assert done.pull_request
    assert f"{HUB.endpoint}/{model}/discussions/1" in str(done)
    assert guest.model_info(model).sha == head
    key = ("nano pass@1", reports["greedy"].scores[0].value)
    evidence = results(model, "refs/pr/1")[key].metric_args
    assert evidence
    assert evidence["evidence"].startswith(f"{me}/{model.replace('/', '-')}-evals@")
    again = push(model, [reports["greedy"]])
    assert f"open: {HUB.endpoint}/{model}/discussions/1" in str(again)
    assert len(list(guest.get_repo_discussions(model))) == 1

    monkeypatch.setenv("HF_TOKEN", HUB.token)
    HfApi().merge_pull_request(model, 1)
    assert key in results(model)
    assert push(model, [reports["greedy"]]).url is None, "merged: there is nothing to add"


def test_a_second_pull_request_that_contradicts_the_first_is_refused(
    model: str, reports: dict[str, Report], guest: HfApi
) -> None:
    push(model, [reports["greedy"]])
    changed = other(reports["greedy"], 99.0)
    value, url = reports["greedy"].scores[0].value, f"{HUB.endpoint}/{model}/discussions/1"
    with pytest.raises(UserError, match=rf"in your pull request {url} has .* is {value} there .* and 99.0 now"):
        push(model, [changed])
    assert len(list(guest.get_repo_discussions(model))) == 1
    assert push(model, [changed], overwrite=True).pull_request
    again = push(model, [changed])
    assert f"is open: {HUB.endpoint}/{model}/discussions/2" in str(again)


@pytest.mark.parametrize(
    "damaged",
    [
        b"---\nmodel-index:\n- name: a\n  results: none\n---\n",
        b"---\n[\n---\n",
        b"---\n- a\n---\n",
        b"---\nlicense: mit\n---\n\n# caf\xe9\n",
    ],
)
def test_a_damaged_card_is_told(model: str, reports: dict[str, Report], damaged: bytes) -> None:
    put_card(model, damaged)
    with pytest.raises(UserError, match=r"metadata of .* cannot be read"):
        push(model, [reports["greedy"]])
    with pytest.raises(UserError, match=r"metadata of .* cannot be read"):
        ready(model, None)


def put_card(model: str, content: bytes) -> None:
    """Without the client's own check of it."""
    url = f"{HUB.endpoint}/api/models/{model}/commit/main"
    file = {"path": "README.md", "content": base64.b64encode(content).decode(), "encoding": "base64"}
    lines = [{"key": "header", "value": {"summary": "card"}}, {"key": "file", "value": file}]
    body = "\n".join(map(json.dumps, lines)).encode()
    request = urllib.request.Request(url, body, {"Authorization": f"Bearer {HUB.token}"}, method="POST")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


OURS = "model-index:\n- name: Mine\n  results: []\n"
CARDS = [  # before and after the place of `model-index`, and what the card has there
    ("---\n# a comment\nlanguage: [no]\nversion: 1.10\n", "---\n\n# Mine\n\nWords: \u00e9.\n", ""),
    ("\ufeff---\nlicense: mit\n", "# of what follows\n\ntags:\n  - b\n  - a\n---\nText\n\n---\n", OURS),
    ("---\na: 1\na: .nan\n", "\n# end\n---\n", OURS + "\n# of ours\n- name: Other\n  results: []\n"),
    ("---\nx: |\n  model-index:\n", "---\n", "model-index:\n  - name: Mine\n    results: []\n"),
    ("---\n\n", "---\nNo metadata", ""),
    ("---\n", "---\n\n# Empty metadata\n", ""),
    ("", "# No metadata\n\nat all\n", ""),
]


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize(("before", "after", "there"), CARDS)
def test_the_rest_of_a_card_stays_byte_for_byte(before: str, after: str, there: str, ending: str) -> None:
    first, block, last = (text.replace("\n", ending).encode() for text in (before, there, after))
    entry: dict[str, Any] = {"task": {"type": "a"}, "dataset": {"type": "b", "name": "\u00e9: #"}}
    index = [{"name": "Mine", "results": [entry | {"metrics": [{"type": "c", "value": 1.0}]}]}]
    content = readme.with_index(first + block + last, index, "org/model")
    assert content.startswith(first)
    assert content.endswith(last)
    added = content.removeprefix(first).removesuffix(last)
    assert added.removeprefix(b"" if first else b"---" + ending.encode()).startswith(b"model-index:")
    assert added.count(b"\n") == added.count(ending.encode())
    assert readme.index(content, "org/model") == index
    assert readme.with_index(content, index, "org/model") == content


@pytest.mark.parametrize(
    "card",
    [
        "---\n{license: mit}\n---\n",
        "---\n'model-index': []\n---\n",
        "---\nmodel-index: &a []\nb: *a\n---\n",
        "---\na: 'b\nmodel-index: c\n  d'\n---\n",
    ],
)
def test_a_card_that_cannot_be_changed_in_one_place_is_left_alone(card: str) -> None:
    with pytest.raises(UserError, match=r"metadata of org/model's card cannot be read"):
        readme.with_index(card.encode(), [{"name": "a", "results": []}], "org/model")


def test_words_and_metadata_of_others_stay_as_they_are(model: str, reports: dict[str, Report]) -> None:
    first, last = "\ufeff---\r\nlanguage: [no] # Norwegian\r\n".encode(), b"# end\r\n---\r\n\r\n# Mine\r\n"
    put_card(model, first + b"model-index: []\r\n" + last)
    push(model, [reports["greedy"]])
    content = Path(HfApi().hf_hub_download(model, "README.md")).read_bytes()
    assert (content[: len(first)], content[-len(last) :]) == (first, last)
    assert ("nano pass@1", reports["greedy"].scores[0].value) in results(model)
    assert push(model, [reports["greedy"]]).url is None


def test_what_stands_in_the_way_is_known_before(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(f"hf:{model}@v1", None)
    with pytest.raises(UserError, match="leave --limit out"):
        ready(model, 10)
    with pytest.raises(UserError, match="LoRA adapter"):
        ready(f"vllm:{model}?lora=plum/adapter", None)
    with pytest.raises(UserError, match="needs a model on the Hub"):
        ready(str(tmp_path), None)
    with pytest.raises(UserError, match="does not exist"):
        ready("plum/none", None)
    with monkeypatch.context() as changed:
        changed.setattr(constants, "HF_HUB_OFFLINE", True)
        with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
            ready(model, None)
    with monkeypatch.context() as changed:
        changed.setenv("HF_TOKEN", add_token(HUB.root, "plum", "read"))
        with pytest.raises(UserError, match="no right to write"):
            ready(model, None)
        changed.delenv("HF_TOKEN")
        changed.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
        with pytest.raises(UserError, match="wants a token"):
            ready(model, None)
    HfApi().upload_file(path_or_fileobj=b"{{ messages }}", path_in_repo="chat_template.jinja", repo_id=model)
    with pytest.raises(UserError, match=r"main, whose chat_template.jinja is not that of v1"):
        ready(f"{model}@v1", None)
    assert not HfApi().repo_exists(f"{model}-evals", repo_type="dataset"), "nothing was published"


@pytest.mark.parametrize("card", ["---\ntags: [mine]\n---\n", "# No metadata\n", None])
def test_a_dataset_that_is_not_ours_is_not_overwritten(
    model: str, reports: dict[str, Report], card: str | None
) -> None:
    api, name = HfApi(), f"{model}-evals"
    api.create_repo(name, repo_type="dataset")
    ready(model, None)  # an empty one is ours
    path, content = ("README.md", card) if card else ("rows.jsonl", "{}")
    upload = CommitOperationAdd(path, content.encode())
    sha = api.create_commit(name, [upload], commit_message="theirs", repo_type="dataset").oid
    with pytest.raises(UserError, match=f"a dataset {name} already, whose card lacks the tag `plum`"):
        ready(model, None)
    with pytest.raises(UserError, match="lacks the tag"):
        push(model, [reports["greedy"]])
    assert api.dataset_info(name).sha == sha


def test_of_a_server_the_weights_are_not_known(model: str, reports: dict[str, Report]) -> None:
    asked = reports["greedy"].record["asked"] | {"engine": "OpenAIEngine", "revision": "http://127.0.0.1:9/v1"}
    greedy = replace(reports["greedy"], record=reports["greedy"].record | {"asked": asked})
    push(f"openai:{model}@http://127.0.0.1:9/v1", [greedy])
    arguments = results(model)["nano pass@1", greedy.scores[0].value].metric_args
    assert arguments
    assert arguments["engine"] == "openai"
    assert "weights" not in arguments
    assert "| weights | a server's, not known |" in DatasetCard.load(f"{model}-evals").content


def test_the_run_is_found_under_the_commit_that_the_push_made(model: str, reports: dict[str, Report]) -> None:
    place = Path(reports["greedy"].record["folder"])
    push(model, [reports["greedy"]])
    sha = str(HfApi().model_info(model).sha)
    link = place.parents[2] / ask.slug(model, sha)
    assert not link.readlink().is_absolute()
    assert (link / place.parent.name / place.name / "samples.jsonl").samefile(place / "samples.jsonl")
    link.unlink()
    link.mkdir()
    push(model, [reports["greedy"]])
    assert not link.is_symlink(), "what is there stays"


def test_a_hub_that_shows_scores_late_is_asked_again(
    model: str, reports: dict[str, Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    api, (index, _) = HfApi(), merge([], [result(reports["greedy"].scores[0], reports["greedy"].record)], model)
    monkeypatch.setattr(pushing, "PATIENCE", 1)
    assert pushing._read_back(api, model, "main", index, {}) == ["nano pass@1"]
    monkeypatch.setattr(pushing, "PATIENCE", 60)
    late = threading.Timer(1.5, put_card, (model, readme.with_index(b"", index, model)))
    late.start()
    assert pushing._read_back(api, model, "main", index, {}) == []
    assert late.finished.is_set()


def test_a_private_model_has_private_samples(model: str, reports: dict[str, Report]) -> None:
    HfApi().update_repo_settings(model, private=True)
    push(model, [reports["greedy"]])
    assert HfApi().dataset_info(f"{model}-evals").private
