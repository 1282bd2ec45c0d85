"""Any other task of lm-evaluation-harness by its name: GSM8K, IFEval, MMLU and so on, beside the scores for code.

    plum eval org/model --bench humaneval,lm-eval:gsm8k,lm-eval:ifeval      # pip install 'plum-hub[lm-eval]'

Prompts, generation settings, few-shot examples, filters and metrics are the harness's, its own model class runs the
model (`hf`, `vllm`, or `local-chat-completions` for `openai:URL`), at the commit that was resolved. A chat template is
applied where the checkpoint has one (`--style text`: not). Of its figures those become scores that are a mean over
documents of values from 0 to 1, in percent with our interval; the others, such as BLEU or perplexity, stand in the
record as the harness gives them. A task that is done is not run again; within a task there is no resume.

Not covered: tasks that run a model's text as a program, or evaluate text of their data as Python, in this process
(`humaneval`, `mbpp`, ...): they are refused, as nothing untrusted runs outside of the sandbox. `--n`, `--temperature`
and `--top-p`: a task brings its own. Multiple choice through a server: its chat does not give likelihoods.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from plum_hub.errors import UserError, nearest
from plum_hub.evaluate import ask
from plum_hub.evaluate.ask import DeadlineError
from plum_hub.evaluate.report import Report, read, save
from plum_hub.evaluate.samples import Sample, append
from plum_hub.evaluate.statistics import Score, figure, mean_percent
from plum_hub.evaluate.tasks import Options, Settings
from plum_hub.generate.names import EngineName, folder_digest, key
from plum_hub.names import explained, resolve
from plum_hub.progress import say

PREFIX = "lm-eval:"
BATCH = 8  # `hf:` sequences at a time
ANSWER = "answer"  # what the one part of these benchmarks is called
OUTPUTS = {"", "[invalid]"}  # what the harness's filters leave of a text without an answer
BOOTSTRAP = 1000  # of the harness, for figures that are no means

#: Options of an engine -> what lm-eval's model class calls them. Prices shape nothing.
ARGUMENTS = {
    "hf": dict[str, str](),
    "vllm": {name: name for name in ("tensor_parallel_size", "max_model_len", "dtype", "gpu_memory_utilization")},
    "openai": {"concurrency": "num_concurrent"},
}
UNUSED = {"key_env", "input_price", "output_price"}


def load(name: str, data: Path | None = None) -> Any:
    """Only there to say that these tasks have no samples of their own to judge."""
    raise UserError(f"{name} scores a model, not a file of samples: plum eval org/model --bench {name}")


def prefetch(name: str) -> None:
    """Download a task's data."""
    check(name)
    _built(name)


def of_model(
    engine: EngineName, names: Sequence[str], settings: Settings, options: Options, checkpoint: str
) -> tuple[list[Report], list[str]]:
    """Score a model by tasks of lm-eval; its weights are loaded once, and only if a task is not done yet.

    Args:
        engine: pinned (`plum_hub.generate.names.pin`).
        names: `lm-eval:TASK`, a group or tag of tasks included.
        settings: `batch_size`, `seed`, `limit`, `max_new_tokens`, `style`.
        options: `folder` and `deadline`.
        checkpoint: the name that the scores carry.

    Returns:
        The reports, and what is wrong with tasks that got none.

    Raises:
        UserError: lm-eval is not installed, no such task, one that runs code, settings that are the tasks' own; the
            model does not load. DeadlineError: the deadline has passed.
    """
    check_settings(names[0], engine, settings)
    for name in names:
        check(name)
    running, made, failed = None, list[Report](), list[str]()
    for name in names:
        place, asked = _place(engine, name, settings, options.folder)
        if (place / "report.json").exists():
            made.append(read(place / "report.json"))
            continue
        if options.deadline and time.monotonic() > options.deadline:
            raise DeadlineError(f"the deadline passed before {name}; what is done is kept, the same command goes on")
        try:
            built = _built(name)
            if engine.kind == "openai":
                _generates(name, built)
        except UserError as error:
            failed.append(str(error))
            continue
        running = running or _model(engine, settings)
        asked["style"] = "chat" if _chats(running, engine, settings) else "text"
        say(f"{name}: by lm-eval {asked['lm_eval']}")
        try:
            results = _run(running, built, asked, settings)
        except (OSError, ValueError, ImportError, NotImplementedError) as error:
            failed.append(f"{name}: lm-eval: {_first_line(error)}")
            continue
        found = _report(name, results, asked, checkpoint, place)
        save(found, place / "report.json")
        made.append(found)
    return made, failed


@functools.cache
def _manager() -> Any:
    """The harness's index of its 14,000 tasks, groups and tags; it takes some seconds."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    from lm_eval.tasks import TaskManager

    return TaskManager()


def check(name: str) -> None:
    """Find what is wrong with `lm-eval:TASK` without loading anything.

    Raises:
        UserError: lm-eval is not installed, has no such task, or the task runs text as a program in this process.
    """
    if importlib.util.find_spec("lm_eval") is None:
        raise UserError(f"{name} needs lm-evaluation-harness: pip install 'plum-hub[lm-eval]'")
    task, known = name.removeprefix(PREFIX), _manager().all_tasks
    if task not in known:
        raise UserError(f"lm-eval has no task `{task}` (`lm-eval ls tasks` shows them){nearest(task, known)}")
    for leaf, config, folder in _leaves(task):
        if config.get("unsafe_code") or _evaluates(folder):
            ours = next((own for own in ("humaneval", "mbpp") if leaf.startswith(own)), "")
            instead = f"; in the sandbox: --bench {ours}" if ours else ""
            raise UserError(f"{name}: {leaf} runs untrusted text as Python in this process, with no walls{instead}")


def check_settings(name: str, engine: EngineName, settings: Settings) -> None:
    """Find what lm-eval cannot be told. Raises UserError."""
    if settings.n != 1 or settings.temperature != 0 or settings.top_p != 1:
        raise UserError(f"{name}: lm-eval's tasks bring their own sampling; leave --n, --temperature, --top-p out")
    known = ARGUMENTS[engine.kind]
    if other := [option for option in engine.options if option not in known and option not in UNUSED]:
        raise UserError(f"{engine}: lm-eval's model has no {other[0]}; leave it out")


def _leaves(name: str) -> Iterator[tuple[str, dict[str, Any], Path]]:
    """The tasks of a task, group or tag: name, configuration, folder. Nothing of theirs is imported."""
    from lm_eval.tasks._index import Kind
    from lm_eval.tasks._yaml_loader import load_yaml

    index = _manager().task_index
    entry = index.get(name)
    if entry is None:
        return
    if entry.kind is Kind.TAG:
        for other in index.values():
            if name in other.tags and other.name != name:
                yield from _leaves(other.name)
        return
    config = load_yaml(entry.yaml_path, resolve_func=False) if entry.yaml_path else dict(entry.cfg or {})
    yield name, config, entry.yaml_path.parent if entry.yaml_path else Path(__file__).parent
    if entry.kind is Kind.GROUP:
        yield from _members(config.get("task"))


def _members(inside: Any) -> Iterator[tuple[str, dict[str, Any], Path]]:
    for member in inside if isinstance(inside, list) else []:
        if isinstance(member, dict) and isinstance(member.get("task"), list):  # a group within the group's file
            yield from _members(member["task"])
        else:
            yield from _leaves(member if isinstance(member, str) else member.get("task") or member["group"])


def _evaluates(folder: Path) -> bool:
    """Whether the programs beside a task's configuration run text: `exec`, `eval`, or the metric `code_eval`."""
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            if called in ("exec", "eval") or (isinstance(node, ast.Constant) and node.value == "code_eval"):
                return True
    return False


def _built(name: str) -> list[Any]:
    """The harness's objects for a name, with their data. Raises UserError."""
    task = name.removeprefix(PREFIX)
    try:
        with explained(name):
            loaded = _manager().load([task])
    except (ImportError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{name}: lm-eval cannot load it: {_first_line(error)}") from None
    return [loaded["groups"][task]] if task in loaded["groups"] else list(loaded["tasks"].values())


def _generates(name: str, built: list[Any]) -> None:
    tasks = [leaf for one in built for leaf in (one.get_all_tasks() if hasattr(one, "get_all_tasks") else [one])]
    if any(task.OUTPUT_TYPE != "generate_until" for task in tasks):
        raise UserError(f"{name} asks for likelihoods, which a server's chat does not give: use --engine hf or vllm")


def _model(engine: EngineName, settings: Settings) -> Any:
    """The harness's own model class. Raises UserError."""
    import lm_eval.models  # noqa: F401 (fills the registry)
    import torch
    from lm_eval.api.registry import get_model

    known = ARGUMENTS[engine.kind]
    arguments: dict[str, Any] = {known[option]: text for option, text in engine.options.items() if option in known}
    if engine.kind == "openai":
        arguments |= {"model": engine.model, "base_url": f"{engine.revision}/chat/completions", "seed": settings.seed}
        arguments["header"] = {"Authorization": f"Bearer {key(engine)}"} if key(engine) else {"Accept": "*/*"}
        kind = "local-chat-completions"
    else:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        own = {"device": device, "batch_size": settings.batch_size or BATCH} if engine.kind == "hf" else {}
        kind, arguments = engine.kind, arguments | {"pretrained": engine.model} | own
        if engine.revision:
            arguments["revision"] = engine.revision
    try:
        with explained(engine.where, "model"):
            return get_model(kind)(**arguments)
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{engine}: lm-eval cannot load it: {_first_line(error)}") from None


def _chats(running: Any, engine: EngineName, settings: Settings) -> bool:
    has = engine.kind == "openai" or bool(getattr(running.tokenizer, "chat_template", None))
    if settings.style == "prefill" or (settings.style == "chat" and not has):
        raise UserError(
            f"--style {settings.style}: with this model lm-eval's tasks have {'chat, text' if has else 'text'}"
        )
    if settings.style == "text" and engine.kind == "openai":
        raise UserError("--style text: through a server lm-eval's tasks have chat")
    return has and settings.style != "text"


def _run(running: Any, built: list[Any], asked: dict[str, Any], settings: Settings) -> dict[str, Any]:
    import lm_eval

    results: dict[str, Any] = lm_eval.simple_evaluate(
        model=running,
        tasks=built,
        limit=settings.limit,
        apply_chat_template=asked["style"] == "chat",
        gen_kwargs={"max_gen_toks": settings.max_new_tokens} if settings.max_new_tokens else None,
        bootstrap_iters=BOOTSTRAP,
        # What draws the few-shot examples stays the harness's own: it is part of the task.
        random_seed=settings.seed,
        numpy_random_seed=settings.seed,
        torch_random_seed=settings.seed,
        confirm_run_unsafe_code=False,
    )
    return results


def _place(engine: EngineName, name: str, settings: Settings, folder: Path) -> tuple[Path, dict[str, Any]]:
    """Where a task's files lie, and all that shapes its figures."""
    revision = engine.revision or folder_digest(Path(engine.model))
    asked = {
        "engine": engine.kind,
        "options": {option: text for option, text in engine.options.items() if option not in UNUSED},
        "model": engine.model,
        "revision": revision,
        "task": name.removeprefix(PREFIX),
        "lm_eval": importlib.metadata.version("lm_eval"),
        "transformers": importlib.metadata.version("transformers"),
        "style": settings.style,
        "n": 1,
        "temperature": None,  # the task's own, see `_sampling`
        "top_p": None,
        "max_new_tokens": settings.max_new_tokens,
        "seed": settings.seed,
        "batch_size": settings.batch_size or BATCH,
        "limit": settings.limit,
    }
    return ask.place(folder, name, asked), asked


def _report(name: str, results: dict[str, Any], asked: dict[str, Any], checkpoint: str, place: Path) -> Report:
    """The harness's results as a report, its texts as samples beside it.

    Raises:
        UserError: no figure is a mean over documents of values from 0 to 1.
    """
    from plum_hub import __version__

    task = asked["task"]
    by_leaf = results["samples"]
    figures = {
        leaf: {metric: value for metric, value in found.items() if "," in metric and isinstance(value, int | float)}
        for leaf, found in results["results"].items()
    }
    # A tag has no figure of its own: its tasks' are given.
    tops = {task: list(by_leaf)} if figures.get(task) else {leaf: [leaf] for leaf in by_leaf}
    scores, shares, by = [], dict[str, dict[str, float]](), dict[str, Any]()
    for top, leaves in tops.items():
        for metric, reported in figures[top].items():
            found = {leaf: _values(by_leaf[leaf], metric) for leaf in leaves}
            values = [value for some in found.values() for value in some.values()]
            if not all(found.values()) or abs(sum(values) / len(values) - reported) > 1e-6:
                continue
            percent, interval = mean_percent(values)
            score = Score(checkpoint, PREFIX + top, metric.removesuffix(",none"), percent, interval, len(values))
            scores.append(score)
            shares[score.key] = {f"{leaf}/{i}": value for leaf, some in found.items() for i, value in some.items()}
            if len(leaves) > 1:
                by[score.key] = {"task": {leaf: figure(list(some.values())) for leaf, some in found.items()}}
    if not scores:
        raise UserError(f"{name} has no figure that is a mean of values from 0 to 1: {json.dumps(figures)}")
    rows, samples, prompts = _rows(by_leaf)
    place.mkdir(parents=True, exist_ok=True)
    (place / "samples.jsonl").unlink(missing_ok=True)
    append(place / "samples.jsonl", samples)
    (place / "prompts.json").write_text(json.dumps(prompts))
    (place / "settings.json").write_text(json.dumps(asked, indent=2, sort_keys=True))
    digest = hashlib.sha256(json.dumps(prompts, sort_keys=True).encode()).hexdigest()[:16]
    silent = [row["outcomes"][0][ANSWER] == "no_answer" for row in rows]
    configs = [results["configs"][leaf] for leaf in by_leaf]
    datasets = sorted({str(config.get("dataset_path") or leaf) for leaf, config in zip(by_leaf, configs, strict=True)})
    parts = {str(config["dataset_name"]) for config in configs if config.get("dataset_name")}
    versions = [f"{leaf} {results['versions'].get(leaf)}" for leaf in by_leaf]
    counts = [results["n-samples"][leaf] for leaf in by_leaf]
    asked_of, total = (sum(count[which] for count in counts) for which in ("effective", "original"))
    record = {
        "asked": asked | {"prompts": digest} | _sampling(configs),
        "prompt_example": next(iter(prompts.values())),
        "bench": name,
        "dataset": ", ".join(datasets),
        "dataset_config": parts.pop() if len(parts) == 1 else "",
        "public": True,
        "data_version": ", ".join([*_revisions(datasets), *(versions if len(versions) < 5 else [])]),
        "harness": f"lm-eval {asked['lm_eval']}",
        "plum_hub": __version__,
        "references": {"total": 0, "failing": {}},
        "rates": {"no_answer": round(sum(silent) / len(silent), 4)},
        "outcomes": {ANSWER: {"answered": silent.count(False), "no_answer": silent.count(True)}},
        "partial": f"{asked_of} of its {total} documents" if asked_of < total else "",
        "folder": str(place),
        "few_shot": results["n-shot"],
        "lm_eval": figures,
        "by": by,
    }
    return Report(scores, shares, record, rows)


def _sampling(configs: list[dict[str, Any]]) -> dict[str, float | None]:
    """Temperature and top_p, where all tasks write texts and have the same; None for likelihoods."""
    found = set[tuple[float | None, float | None]]()
    for config in configs:
        said, writes = config.get("generation_kwargs") or {}, config.get("output_type") == "generate_until"
        greedy = not said.get("do_sample", said.get("temperature"))  # as the harness has it
        found.add((0.0 if greedy else said.get("temperature"), said.get("top_p")) if writes else (None, None))
    temperature, top_p = found.pop() if len(found) == 1 else (None, None)
    return {"temperature": temperature, "top_p": top_p if temperature else None}


def _values(samples: list[dict[str, Any]], metric: str) -> dict[str, float]:
    """Document -> its value; empty where a value is no number from 0 to 1."""
    what, _, chosen = metric.partition(",")
    found = {str(one["doc_id"]): one.get(what) for one in samples if one["filter"] == chosen}
    numbers = {i: float(value) for i, value in found.items() if isinstance(value, int | float) and 0 <= value <= 1}
    return numbers if len(numbers) == len(found) else {}


def _rows(by_leaf: dict[str, list[dict[str, Any]]]) -> tuple[list[dict[str, Any]], list[Sample], dict[str, Any]]:
    """A row, a sample and a prompt for each document."""
    rows, samples, prompts = dict[str, dict[str, Any]](), list[Sample](), dict[str, Any]()
    for leaf, found in by_leaf.items():
        for one in found:  # a document is there once for each filter
            i = f"{leaf}/{one['doc_id']}"
            said, kept = _text(one["resps"]), _text(one["filtered_resps"])
            if i not in rows:
                rows[i] = {
                    "task_id": i,
                    "task": leaf,
                    "passed": {},
                    "outcomes": [{ANSWER: "no_answer"}],
                    "messages": [{ANSWER: ""}],
                    "seconds": [{ANSWER: 0.0}],
                }
                samples.append(Sample(i, 0, kept, said))
                prompts[i] = [{"role": "text", "content": _text(one["arguments"])}]
            if kept not in OUTPUTS:
                rows[i]["outcomes"] = [{ANSWER: "answered"}]
            for metric in one["metrics"]:
                if one[metric] in (0, 1):
                    full = f"{metric},{one['filter']}".removesuffix(",none")
                    rows[i]["passed"][full] = [bool(one[metric])]
    return list(rows.values()), samples, prompts


def _text(said: Any) -> str:
    """The first text in what the harness keeps of a request or its answer; likelihoods as they are."""
    while isinstance(said, list | tuple) and said and not isinstance(said[0], int | float):
        said = said[0]
    return str(said)


def _revisions(datasets: list[str]) -> Iterator[str]:
    """The commits of datasets that are on the Hub now."""
    for dataset in datasets:
        try:
            yield resolve(dataset, "dataset")[1][:12]
        except UserError:  # a file or an address
            continue


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:300] or type(error).__name__
