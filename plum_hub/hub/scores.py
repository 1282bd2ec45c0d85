"""Scores in the metadata of a model: entries of the card's `model-index`, and files of `.eval_results`.

The `model-index` is kept as the card has it, a list of mappings: `huggingface_hub.EvalResult`s grouped again would lose
the source, the arguments and the dataset's name of all but the first entry of a dataset, other people's included. Ours
say all that is needed to read them in the metric itself, and so survive a client that groups them.

Two entries measure the same if benchmark, version of its data, metric, harness and settings are the same (`SETTINGS`).
Entries that do not say so much, as other tools write them, never measure the same as ours and stay beside them.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from typing import Any

from plum_hub.errors import UserError
from plum_hub.evaluate.statistics import Score

#: The arguments of a metric that say what is measured; the others say how it came out.
SETTINGS = ("harness", "engine", "style", "samples_per_task", "temperature", "top_p", "max_new_tokens", "seed")


def result(score: Score, record: dict[str, Any], **more: Any) -> dict[str, Any]:
    """One score as an entry of a `model-index`.

    Args:
        record: of the report that the score is in.
        more: further arguments of the metric; `evidence` and `source`, the name and address of the dataset with the
            samples, become the entry's source as well.
    """
    asked = record["asked"]
    sampled, of_lm_eval = bool(asked["temperature"]), score.bench.startswith("lm-eval:")
    shots = record.get("few_shot") or {}  # by task; of a group as well where its tasks have the same number
    arguments = {
        "harness": record["harness"],
        "engine": engine(record),
        "style": asked["style"],
        "samples_per_task": asked["n"] if sampled else 1,
        "temperature": asked["temperature"],
        "top_p": asked["top_p"] if sampled else None,
        "max_new_tokens": asked["max_new_tokens"],
        "seed": asked["seed"] if sampled else None,
        "few_shot": shots.get(score.bench.removeprefix("lm-eval:"), shots or None),
        "ci95": list(score.ci95),
        "tasks": score.n,
        "tasks_left_out": len(record["references"]["failing"]),
        "unusable": record["rates"].get("unusable"),
        "no_answer": record["rates"].get("no_answer"),
        "prompts": asked["prompts"],
        "plum_hub": record["plum_hub"],
    }
    source = more.pop("source", None)
    dataset = {
        "name": score.bench,
        "type": record["dataset"],
        "config": record.get("dataset_config", "" if of_lm_eval else record["bench"].partition(":")[2]),
        "revision": record["data_version"],
    }
    value: dict[str, Any] = {
        "task": {"type": "text-generation", "name": "Text generation" if of_lm_eval else "Code generation"},
        "dataset": {key: text for key, text in dataset.items() if text},
        "metrics": [
            {
                "type": score.kind,
                "name": score.key,
                "value": score.value,
                "args": {key: found for key, found in (arguments | more).items() if found is not None},
            }
        ],
    }
    if source:
        value["source"] = {"name": more["evidence"], "url": source}
    return value


def engine(record: dict[str, Any]) -> str:
    """The engine's name for a person: transformers, vllm, openai."""
    name = str(record["asked"]["engine"]).removesuffix("Engine").lower()
    return "transformers" if name == "hf" else name


def merge(
    index: list[dict[str, Any]], new: list[dict[str, Any]], model: str, overwrite: bool = False
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Add entries to a `model-index`.

    Returns:
        The new `model-index`, and those of `new` that it did not have; the same value again is left as it is.

    Raises:
        UserError: there is another value for what one of them measures, and not `overwrite`.
    """
    index = copy.deepcopy(index) or [{"name": model, "results": []}]
    results = index[0]["results"]
    added, differing = [], []
    for entry in new:
        (metric,) = entry["metrics"]
        identity = _identity(entry, metric)
        known = [(r, m) for r in results for m in r["metrics"] if _identity(r, m) == identity]
        others = [(r, m) for r, m in known if m["value"] != metric["value"]]
        if known and not others:
            continue
        differing += [_both(m, metric) for _, m in others]
        for r, m in others:
            r["metrics"].remove(m)
        results.append(entry)
        added.append(entry)
    if differing and not overwrite:
        raise UserError(f"the card of {model} has other scores for the same: {'; '.join(differing)}; see --overwrite")
    index[0]["results"] = [r for r in results if r["metrics"]]
    return index, added


def _identity(entry: dict[str, Any], metric: dict[str, Any]) -> list[Any]:
    dataset, arguments = entry["dataset"], metric.get("args")
    settings = [arguments.get(key) for key in SETTINGS] if isinstance(arguments, dict) else []
    return [dataset.get("type"), dataset.get("config"), dataset.get("revision"), metric.get("name"), settings]


def _both(old: dict[str, Any], new: dict[str, Any]) -> str:
    when = old["args"].get("date") or old["args"].get("plum_hub")
    return f"{new['name']} is {old['value']} there ({when}) and {new['value']} now"


def fitting(score: Score, tasks: list[str]) -> str | None:
    """The id among a registered benchmark's tasks that is this score, by its name."""
    return next((task for task in tasks if _letters(task) == _letters(score.bench)), None)


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower().replace("+", "plus"))


def result_file(score: Score, record: dict[str, Any], task: str, source: str, date: str) -> tuple[str, bytes]:
    """Path and content of a score's file in `.eval_results`; one file for each setting."""
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    asked = record["asked"]
    samples = 1 if asked["temperature"] == 0 else asked["n"]
    entry = EvalResultEntry(
        dataset_id=record["dataset"],
        task_id=task,
        value=score.value,
        date=date,
        source_url=source,
        source_name="samples and outcomes",
        notes=f"{score.metric} in percent, {score.n} tasks; harness {record['harness']}; data "
        f"{record['data_version']}; {samples} samples a task at temperature {asked['temperature']:g}, at most "
        f"{asked['max_new_tokens']} tokens; {record['rates']['unusable']:.1%} of them without a usable program; "
        f"{engine(record)}, {asked['style']}; plum-hub {record['plum_hub']}",
    )
    name = re.sub(r"[^a-z0-9]+", "-", score.key.lower().replace("+", "-plus")).strip("-")
    entry_of = result(score, record)
    identity = json.dumps(_identity(entry_of, entry_of["metrics"][0]))
    name += f"-{hashlib.sha256(identity.encode()).hexdigest()[:6]}"
    return f".eval_results/{name}.yaml", yaml.safe_dump(eval_result_entries_to_yaml([entry])).encode()
