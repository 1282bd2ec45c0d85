"""Tasks of lm-evaluation-harness: the real harness, a tiny model and made rows under the tasks' public names."""

import dataclasses
import importlib.util
import uuid
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import HUB
from datasets import Dataset, load_dataset
from huggingface_hub import HfApi, ModelCard
from transformers import AutoModelForCausalLM, AutoTokenizer

from plum_hub import evaluate
from plum_hub.errors import UserError
from plum_hub.evaluate import command, lm_eval, report, samples
from plum_hub.evaluate.ask import DeadlineError
from plum_hub.evaluate.push import push
from plum_hub.evaluate.tasks import Options, Settings
from plum_hub.generate.names import pin
from plum_hub.hub.publish import publish
from plum_hub.hub.tokens import add_token
from plum_hub.nano import policy

pytest.importorskip("lm_eval")
NEW = 16  # tokens of an answer
TEST = [("How many are 2 and 3?", 5), ("How many are 4 and 4?", 8), ("Half of 6?", 3), ("Twice 7?", 14)]


def put(repo: str, config: str, splits: dict[str, list[dict[str, Any]]], folder: Path) -> str:
    """A dataset on the local Hub, in the layout of the public one; its commit."""
    for split, rows in splits.items():
        (folder / config).mkdir(parents=True, exist_ok=True)
        Dataset.from_list(rows).to_parquet(folder / config / f"{split}-00000-of-00001.parquet")
    files = "".join(f"\n  - split: {split}\n    path: {config}/{split}-*" for split in splits)
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: {config}\n  data_files:{files}\n---\n\n# Made\n")
    api = HfApi(token=add_token(HUB.root, repo.partition("/")[0]))
    api.create_repo(repo, repo_type="dataset", exist_ok=True)
    api.upload_folder(repo_id=repo, repo_type="dataset", folder_path=folder)
    return str(api.repo_info(repo, repo_type="dataset").sha)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model")
    policy.build_initial(place, seed=0)
    ModelCard("---\nlicense: apache-2.0\n---\n\n# Tiny\n").save(place / "README.md")
    return place


@pytest.fixture(scope="module")
def model(folder: Path) -> str:
    return publish(folder, f"plum/lm-{uuid.uuid4().hex[:8]}", "v1", "model", False, "tiny").repo


@pytest.fixture(scope="module")
def gsm8k(tmp_path_factory: pytest.TempPathFactory) -> str:
    train = [{"question": f"How many are {n} and 1?", "answer": f"Add.\n#### {n + 1}"} for n in range(6)]
    test = [{"question": question, "answer": f"Think.\n#### {n}"} for question, n in TEST]
    return put("openai/gsm8k", "main", {"train": train, "test": test}, tmp_path_factory.mktemp("gsm8k"))


def teach(folder: Path, said: list[tuple[str, str]], steps: int = 80) -> None:
    """Have the model answer prompts, given as they stand with their chat markers."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    rows = []
    for prompt, answer in said:
        asked = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        told = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        rows.append((asked + told, [-100] * len(asked) + told))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(steps):
        for ids, labels in rows:
            model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)


def test_figures_are_those_of_what_the_model_says(model: str, folder: Path, gsm8k: str, tmp_path: Path) -> None:
    settings, options = Settings(max_new_tokens=NEW), Options(tmp_path / "runs")
    (first,), failed = command.of_model(f"{model}@v1", "hf", ["lm-eval:gsm8k"], settings, options)
    assert not failed
    assert {score.value for score in first.scores} == {0.0}
    prompts = [example[0]["content"] for example in read_prompts(first).values()]
    assert all(prompt.count("Question:") == 6 for prompt in prompts)  # five examples
    assert all(question in prompt for (question, _), prompt in zip(TEST, prompts, strict=True))
    assert "<|user|>" in prompts[0]
    # Two are right, one is right for the lenient filter alone, one is wrong.
    answers = ["#### 5", "#### 8", "It is 3", "#### 99"]
    teach(folder, list(zip(prompts, answers, strict=True)))
    publish(folder, model, "v2", "model", False, "taught")
    (found,), failed = command.of_model(f"{model}@v2", "hf", ["lm-eval:gsm8k"], settings, options)
    assert not failed
    texts = [sample.text for sample in samples.load(Path(found.record["folder"]) / "samples.jsonl")]
    assert texts == answers
    assert [(score.key, score.value, score.n, score.checkpoint) for score in found.scores] == [
        ("lm-eval:gsm8k exact_match,strict-match", 50.0, 4, f"{model}@v2"),
        ("lm-eval:gsm8k exact_match,flexible-extract", 75.0, 4, f"{model}@v2"),
    ]
    assert found.scores[0].ci95 == (15.0, 85.0)  # Wilson's of 2 in 4
    assert [row["passed"]["exact_match,strict-match"] for row in found.rows] == [[True], [True], [False], [False]]
    assert found.record["asked"]["revision"] == HfApi().repo_info(model, revision="v2").sha
    assert found.record["data_version"] == f"{gsm8k[:12]}, gsm8k 3.0"
    assert (found.record["rates"], found.record["partial"]) == ({"no_answer": 0.0}, "")
    assert "gsm8k exact_match,strict-match: 50.0 %" in report.words(found)
    # What is done is not run again: not even the model is loaded.
    gone = pin(f"hf:{model}@v2")
    again, _ = lm_eval.of_model(gone, ["lm-eval:gsm8k"], settings, Options(tmp_path / "runs", deadline=1e-9), model)
    assert again[0].scores == found.scores
    with pytest.raises(DeadlineError, match="before lm-eval:gsm8k"):
        lm_eval.of_model(gone, ["lm-eval:gsm8k"], Settings(limit=2), Options(tmp_path / "runs", deadline=1e-9), model)
    (part,), _ = lm_eval.of_model(gone, ["lm-eval:gsm8k"], Settings(limit=3, max_new_tokens=NEW), options, model)
    assert (part.scores[0].n, part.record["partial"]) == (3, "3 of its 4 documents")


def test_scores_go_to_the_card_and_outcomes_alone_to_the_dataset(folder: Path, gsm8k: str, tmp_path: Path) -> None:
    model = publish(folder, f"plum/lm-{uuid.uuid4().hex[:8]}", "v1", "model", False, "tiny").repo
    # The first document's share is 1, the others' are not: a row without what the first has.
    wrong = ["no " * 250, "Seven.", "Eight."]
    asked = [{"choices": ["Yes.", text], "labels": [1, 0]} for text in wrong]
    questions = [{"question": f"Is {i} one?", "mc1_targets": one, "mc2_targets": one} for i, one in enumerate(asked)]
    put("truthfulqa/truthful_qa", "multiple_choice", {"validation": questions}, tmp_path / "truthful")
    names, settings = ["lm-eval:gsm8k", "lm-eval:truthfulqa_mc2"], Settings(max_new_tokens=NEW)
    options = Options(tmp_path / "runs" / "eval")
    made, failed = command.of_model(model, "hf", names, settings, options)
    assert not failed
    (score,) = made[1].scores
    assert [bool(row["passed"]) for row in made[1].rows] == [True, False, False]
    push(model, made)

    data = HfApi().model_info(model).card_data
    assert data
    entries = {one.metric_name: one for one in data.eval_results or []}
    one = entries["lm-eval:gsm8k exact_match,strict-match"]
    assert (one.task_name, one.dataset_type, one.dataset_config) == ("Text generation", "openai/gsm8k", "main")
    said = {key: (one.metric_args or {}).get(key) for key in ("engine", "temperature", "top_p", "seed", "few_shot")}
    assert said == {"engine": "transformers", "temperature": 0.0, "top_p": None, "seed": None, "few_shot": 5}
    one = entries[score.key]
    assert (one.metric_value, one.dataset_config) == (score.value, "multiple_choice")
    assert "temperature" not in (one.metric_args or {})  # likelihoods

    evidence = f"{model}-evals"
    for name, found in zip(["gsm8k", "truthfulqa-mc2"], made, strict=True):
        rows = load_dataset(evidence, f"lm-eval-{name}", split="samples")
        assert not {"prompt", "text", "program"} & set(rows.column_names)
        for key, shares in found.shares.items():
            assert [row["shares"][key] for row in rows] == [shares[row["task_id"]] for row in rows]
    assert [row["passed"]["acc"] for row in rows] == [True, None, None]
    files = Path(HfApi().snapshot_download(evidence, repo_type="dataset"))
    card = (files / "README.md").read_text()
    assert "first prompt" not in card
    assert "holds the prompts" not in card
    assert "None" not in card
    assert "| examples in the prompt | truthfulqa_mc2 0 |" in card
    told = [path.read_text() for path in files.rglob("*") if path.suffix in (".md", ".json")]
    assert not [text for text in told if "How many are 2 and 3?" in text or "Is 0 one?" in text]

    # The push made a commit, and what was measured is found under it: nothing is asked again.
    late = Options(options.folder, deadline=1e-9)
    again, _ = lm_eval.of_model(pin(f"hf:{model}"), names, settings, late, model)
    assert [found.scores for found in again] == [found.scores for found in made]
    assert push(model, again).url is None
    # Not one document counts 0 or 1.
    bare = [dataclasses.replace(made[1], rows=[{**row, "passed": {}} for row in made[1].rows])]
    assert push(model, [dataclasses.replace(bare[0], scores=[dataclasses.replace(score, value=1.0)])], True).url
    rows = load_dataset(evidence, "lm-eval-truthfulqa-mc2", split="samples", download_mode="force_redownload")
    assert "passed" not in rows.column_names


def read_prompts(found: report.Report) -> dict[str, Any]:
    import json

    prompts: dict[str, Any] = json.loads((Path(found.record["folder"]) / "prompts.json").read_text())
    return prompts


def test_multiple_choice_is_by_the_model_s_own_likelihoods(model: str, tmp_path: Path) -> None:
    choices = [["a list", "a number", "a string of words"], ["return", "def", "the sum"], ["one", "two", "n + 1"]]
    rows = [
        {
            "id": str(i),
            "question": f"What is f({i})?",
            "choices": {"text": texts, "label": ["A", "B", "C"]},
            "answerKey": "ABC"[i],
        }
        for i, texts in enumerate(choices)
    ]
    splits = {"train": rows, "validation": rows, "test": rows}
    put("allenai/ai2_arc", "ARC-Easy", splits, tmp_path / "arc")
    tokenizer, plain = (kind.from_pretrained(model) for kind in (AutoTokenizer, AutoModelForCausalLM))

    def likelihood(prompt: str, answer: str) -> float:
        before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        whole = tokenizer(prompt + answer, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logs = plain(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
        return float(sum(logs[i - 1, whole[i]] for i in range(len(before), len(whole))))

    right = []
    for i, row in enumerate(rows):
        found = [likelihood(f"Question: {row['question']}\nAnswer:", f" {text}") for text in choices[i]]
        right.append(float(max(range(3), key=lambda k: found[k]) == i))
    settings = Settings(style="text")
    made, failed = command.of_model(model, "hf", ["lm-eval:arc_easy"], settings, Options(tmp_path / "runs"))
    assert not failed
    key = "lm-eval:arc_easy acc"
    assert list(made[0].shares[key].values()) == right
    assert [score.key for score in made[0].scores] == [key, "lm-eval:arc_easy acc_norm"]
    # A server's chat gives no likelihoods.
    server = pin("openai:some@http://127.0.0.1:9/v1")
    made, failed = lm_eval.of_model(server, ["lm-eval:arc_easy"], Settings(), Options(tmp_path / "runs"), "some")
    assert (made, len(failed)) == ([], 1)
    assert "likelihoods" in failed[0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lm-eval:gsm8kk", "no task `gsm8kk`.*did you mean `gsm8k`"),
        ("lm-eval:humaneval_plus", "runs untrusted text as Python in this process.*--bench humaneval$"),
        ("lm-eval:mbpp_instruct", "runs untrusted text.*--bench mbpp$"),
        ("lm-eval:cruxeval_input", "runs untrusted text"),
    ],
)
def test_tasks_that_do_not_exist_or_run_code_are_one_line(name: str, message: str, model: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as error:
        command.of_model(model, "hf", ["nano", name], Settings(), Options(tmp_path))
    assert "\n" not in str(error.value)


def test_other_mistakes_are_one_line(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, failed = command.of_model(model, "hf", ["lm-eval:boolq"], Settings(), Options(tmp_path))  # not on this Hub
    assert len(failed) == 1
    assert failed[0].startswith("lm-eval:boolq: ")
    assert "\n" not in failed[0]
    with pytest.raises(UserError, match="bring their own sampling"):
        command.of_model(model, "hf", ["lm-eval:gsm8k"], Settings(n=5, temperature=0.8), Options(tmp_path))
    with pytest.raises(UserError, match="scores a model, not a file"):
        evaluate.load("lm-eval:gsm8k")
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lm_eval" else real(name))
    with pytest.raises(UserError, match=r"pip install 'plum-hub\[lm-eval\]'"):
        lm_eval.check("lm-eval:gsm8k")
