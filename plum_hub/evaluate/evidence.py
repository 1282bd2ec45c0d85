"""What scores come from, as a dataset: every sample with its outcome, a config for each benchmark.

    rows = load_dataset("org/model-evals", "humaneval", revision="humaneval-1a2b3c4d", split="samples")

Each push of other results is a commit and a tag of its own; the same results again are neither. Tests are never part
of it, nor are messages of failing tests, which may quote them: of an error, only its type is told. Prompts are public
in all benchmarks but some of lm-eval's: those have neither prompts nor texts here.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from plum_hub.errors import UserError
from plum_hub.evaluate.report import Report
from plum_hub.hub.publish import Published, publish, tags, write_datasets
from plum_hub.hub.scores import engine

if TYPE_CHECKING:
    from datasets import Dataset
    from huggingface_hub import DatasetCardData

SPLIT = "samples"
TAG = "plum"  # by which a dataset is known to be ours
PROMPTS = "prompts.json"  # in a run's folder: task id -> messages
ASKED = ("engine", "style", "prompts", "n", "temperature", "top_p", "max_new_tokens", "seed", "batch_size")


def config(found: Report) -> str:
    """The name of a report's config: the benchmark's, with the settings where they are not greedy."""
    asked = found.record["asked"]
    name = re.sub(r"[^A-Za-z0-9.-]+", "-", found.record["bench"])
    return f"{name}-t{asked['temperature']:g}-n{asked['n']}" if asked["temperature"] else name


def card_data(repo: str) -> DatasetCardData:
    """What the card of a dataset for evaluations says so far; nothing where there is no such dataset.

    Raises:
        UserError: there is one, and it is none of ours.
    """
    from huggingface_hub import DatasetCard, DatasetCardData, HfApi
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

    try:
        files = HfApi().list_repo_files(repo, repo_type="dataset")
        data = DatasetCard.load(repo).data
    except RepositoryNotFoundError:
        return DatasetCardData()
    except EntryNotFoundError:
        if set(files) <= {".gitattributes"}:  # made, and then something came between
            return DatasetCardData()
        data = None
    except (ValueError, yaml.YAMLError):
        data = None
    if data is None or TAG not in (data.get("tags") or []):
        raise UserError(
            f"--push: there is a dataset {repo} already, whose card lacks the tag `{TAG}`: it is not overwritten; "
            "rename it, or add the tag if it is for evaluations"
        )
    return data


def publish_evidence(found: Report, model: str, weights: str | None, repo: str, private: bool) -> Published:
    """Publish one report's samples as a config of the dataset `repo`.

    Args:
        model: the repository of the model; weights: a digest of its weights, if it is known what they were.

    Raises:
        UserError: no right to write, or no answer from the Hub; the run's files are gone; see `card_data`.
    """
    from huggingface_hub import DatasetCard, HfApi

    from plum_hub.hub.cards import size_category, template

    name = config(found)
    made = rows(found)
    record = summary(found, model, weights)
    text = json.dumps(record, indent=2, sort_keys=True)
    tag = f"{name}-{hashlib.sha256((text + json.dumps(made[:])).encode()).hexdigest()[:8]}"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data = write_datasets({name: made}, "", folder, {name: SPLIT}, card_data(repo))
        (folder / name / "record.json").write_text(text)
        # The card tells of all configs there are, and so it differs from what it was when the tag was made.
        if not (HfApi().repo_exists(repo, repo_type="dataset") and tag in tags(repo, "dataset")):
            configs = [one["config_name"] for one in data["configs"]]
            data.pretty_name = f"Evaluations of {model}"
            data.language, data.task_categories = ["en", "code"], ["text-generation"]
            data.size_categories = [size_category(len(made))]
            data.tags = ["code", TAG, "evaluation"]
            details = {"model": model, "repo": repo, "tag": tag, "split": SPLIT, "columns": made.column_names}
            card = DatasetCard.from_template(
                data,
                template_path=template("evals"),
                **details,
                config=name,
                others=[other for other in configs if other != name],
                record=record,
                example=prompts_are_public(found)
                and json.dumps(record["prompt_example"], indent=2, ensure_ascii=False),
            )
            card.save(folder / "README.md")
        return publish(folder, repo, tag, "dataset", private, f"Evaluation of {model}: {name}")


def rows(found: Report) -> Dataset:
    """A row for each judged sample."""
    from datasets import Dataset, Features, Value

    from plum_hub.evaluate import samples

    place = Path(found.record["folder"])
    try:
        prompts: dict[str, Any] = json.loads((place / PROMPTS).read_text())
    except FileNotFoundError:
        raise UserError(f"--push: {place / PROMPTS} is not there; run the same command again, it writes it") from None
    of: dict[str, list[samples.Sample]] = {}
    for sample in samples.load(place / "samples.jsonl"):
        of.setdefault(sample.task_id, []).append(sample)
    scores = list(dict.fromkeys(score for row in found.rows for score in row["passed"]))
    public = prompts_are_public(found)
    parts = list(found.rows[0]["outcomes"][0])
    traits = [key for key in found.rows[0] if key not in ("task_id", "passed", "outcomes", "messages", "seconds")]
    made = []
    for row in found.rows:
        for at, (sample, outcomes) in enumerate(zip(of[row["task_id"]], row["outcomes"], strict=True)):
            passed = {score: row["passed"].get(score) for score in scores}  # lm-eval's tasks differ in this
            said = {"prompt": prompts[row["task_id"]], "text": _plain(sample.text), "program": _plain(sample.program)}
            made.append(
                {
                    "task_id": row["task_id"],
                    **{trait: row[trait] for trait in traits},
                    "sample": sample.index,
                    **(said if public else {}),
                    "finish_reason": sample.finish_reason,
                    "tokens": sample.tokens,
                    "passed": {score: flags and flags[at] for score, flags in passed.items()},
                    "shares": {score: shares.get(row["task_id"]) for score, shares in found.shares.items()},
                    "outcomes": outcomes,
                    "errors": {part: _kind(message) for part, message in row["messages"][at].items()},
                }
            )
    text, number = Value("string"), Value("int32")
    features = {
        "task_id": text,
        **dict.fromkeys(traits, text),
        "sample": number,
        **({"prompt": [{"role": text, "content": text}], "text": text, "program": text} if public else {}),
        "finish_reason": text,
        "tokens": number,
        "passed": dict.fromkeys(scores, Value("bool")),
        "shares": dict.fromkeys(found.shares, Value("float64")),
        "outcomes": dict.fromkeys(parts, text),
        "errors": dict.fromkeys(parts, text),
    }
    rows = Dataset.from_list(made, features=Features(features))
    return rows if scores else rows.remove_columns("passed")  # parquet has no mapping without keys


def summary(found: Report, model: str, weights: str | None) -> dict[str, Any]:
    """The record of a report that is published: what it says of this machine and of hidden tests is left out."""
    record = found.record
    kept = ("bench", "dataset", "data_version", "harness", "plum_hub", "rates", "outcomes", "by", "prompt_example")
    references = record["references"]
    return {
        "model": model,
        "weights": weights,
        "scores": [score.as_json() | {"checkpoint": model} for score in found.scores],
        "asked": {key: record["asked"][key] for key in ASKED} | {"engine": engine(record)},
        "references": {"total": references["total"], "failing": sorted(references["failing"])},
        **{key: record[key] for key in kept},
        **({} if prompts_are_public(found) else {"prompt_example": []}),
        **({"few_shot": record["few_shot"]} if "few_shot" in record else {}),
    }


def prompts_are_public(found: Report) -> bool:
    """Whether questions and answers may be shown: some of lm-eval's data are behind a gate, to stay off the web."""
    return not str(found.record["bench"]).startswith("lm-eval:")


def _kind(message: str) -> str:
    """`NameError: name 'x' is not defined` -> `NameError`; "" for what is no exception."""
    kind = message.partition(":")[0]
    return kind if re.fullmatch(r"[A-Za-z_][\w.]*", kind) else ""


def _plain(text: str | None) -> str | None:
    """Text that can be stored as UTF-8."""
    return None if text is None else text.encode("utf-8", "backslashreplace").decode()
