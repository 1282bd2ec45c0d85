"""Scores onto a model's card, and what they come from into a dataset beside it: `plum eval org/model --push`.

    ready(model, limit)
    print(push(model, reports))

`ready` says before anything is sampled what can be said then. `push`, in this order: what the card has is compared;
samples and outcomes go to `<namespace>/<model>-evals` (`plum_hub.evaluate.evidence`); one commit, or a pull request
where the model is somebody else's, puts the scores into the card's `model-index`, and into `.eval_results` where the
Hub has registered the benchmark (`plum_hub.hub.scores`); the result is read back. A push that was killed is done by the
same command. Tags stay where they are. The run's folder gets a second name, by the new commit, so that the same command
finds its texts.

Not covered: a token with rights to single repositories only; what it may not do is the Hub's own error.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from plum_hub.errors import UserError
from plum_hub.evaluate import ask
from plum_hub.evaluate.evidence import card_data, publish_evidence
from plum_hub.evaluate.report import Report
from plum_hub.evaluate.statistics import Score
from plum_hub.hub import readme
from plum_hub.hub.publish import Published
from plum_hub.hub.scores import fitting, merge, result, result_file
from plum_hub.names import explained, split_revision

TITLE = "Scores (plum eval)"
COMMIT = re.compile(r"[0-9a-f]{40}")
WEIGHTS = (".safetensors", ".bin")
#: What of a repository shapes a model's texts.
SHAPING = re.compile(
    r"(.*/)?(.*\.(safetensors|bin)|(generation_)?config\.json|(tokenizer|special_tokens|added_tokens|vocab|merges).*"
    r"|(additional_)?chat_template.*)"
)
PATIENCE = 10  # seconds in which the Hub should show what it has taken


@dataclass(frozen=True)
class Pushed:
    """What a push came to; in words as a string."""

    repo: str
    new: list[str]  # `Score.key`s that the card did not have
    same: list[str]  # those that it had
    url: str | None = None  # of the commit or pull request; None: nothing was to be done
    pull_request: bool = False
    evidence: list[Published] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [str(one) for one in self.evidence] + list(dict.fromkeys(self.notes))
        if self.same:
            lines.append(f"on the card of {self.repo} already: {', '.join(self.same)}")
        if self.pull_request:
            lines.append(f"{self.repo} is not yours; pull request with {', '.join(self.new)}: {self.url}")
        elif self.url:
            lines.append(f"pushed to the card of {self.repo}: {', '.join(self.new)} ({self.url})")
        return "\n".join(lines)


@dataclass(frozen=True)
class _Goal:
    """Where scores go."""

    user: str  # us
    ours: bool  # whether we may write to the model
    private: bool
    head: str  # commit of the model's main
    card: bytes
    index: list[dict[str, Any]]  # the card's `model-index`
    evidence: str  # the dataset for the samples


def ready(model: str, limit: int | None) -> None:
    """Find what will keep `push` from its work, as far as it is known before anything is sampled.

    Args:
        model: as for `push`; limit: as in `plum eval --limit`.

    Raises:
        UserError: a part of a benchmark is asked for; see also `push`.
    """
    if limit is not None:
        raise UserError("--push wants whole benchmarks: leave --limit out")
    repo, revision = _target(model)
    with explained(repo, "model"):
        _weights_of_main(repo, _goal(repo).head, revision, [])


def push(model: str, reports: list[Report], overwrite: bool = False) -> Pushed:
    """Put the scores of a model on its card; see the module's docstring.

    Args:
        model: as given to `plum eval`: `org/model[@revision]`, or an engine's string with it.
        overwrite: also in place of other values for the same.

    Raises:
        UserError: not a whole benchmark or not the public one, not the weights of the model's `main`, another value is
            there, no right to do this, or no answer from the Hub. Nothing has been written to the card then.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    repo, revision = _target(model)
    for found in reports:
        bench = found.record["bench"]
        if found.record["asked"] is None:
            raise UserError(f"--push: the samples of {bench} are from a file, and no model's for sure")
        if found.record["partial"]:
            raise UserError(f"--push: only {found.record['partial']} of {bench} were asked (--limit?)")
        if not found.record.get("public", True):
            raise UserError(f"--push: {bench}'s data are not the public release ({found.record['data_version']})")
    api = HfApi()
    with explained(repo, "model"):
        goal = _goal(repo)
        weights = _weights_of_main(repo, goal.head, revision, reports)
        known = None if model.startswith("openai:") else weights  # a server does not say what it runs
        lacking = _lacking(goal.index, reports, repo, overwrite)
        new = [score.key for _, scores in lacking for score in scores]
        same = [score.key for found in reports for score in found.scores if score.key not in new]
        if not new:
            _name_after(reports, goal.head)
            return Pushed(repo, new, same)
        if not goal.ours and (url := _open_pull(api, repo, goal.user, reports, overwrite)):
            return Pushed(repo, [], same, None, notes=[f"your pull request with these scores is open: {url}"])
        date, index = datetime.now(UTC).date().isoformat(), goal.index
        evidence, notes, files = list[Published](), list[str](), dict[str, bytes]()
        for found, scores in lacking:
            made = publish_evidence(found, repo, known, goal.evidence, goal.private)
            evidence.append(made)
            source = f"{api.endpoint}/datasets/{goal.evidence}/tree/{made.tag}"
            more = {"weights": known, "date": date, "evidence": f"{goal.evidence}@{made.tag}", "source": source}
            index, _ = merge(index, [result(score, found.record, **more) for score in scores], repo, overwrite)
            dataset = found.record["dataset"]
            tasks = _registered(api, dataset)
            fit = {score: fitting(score, tasks) for score in scores if score.kind == "pass@1"}
            files |= dict(result_file(score, found.record, task, source, date) for score, task in fit.items() if task)
            if fit and not any(fit.values()):
                why = f"has no task of that name, only {', '.join(tasks)}" if tasks else "is not registered here"
                notes.append(f"{found.record['bench']}: the benchmark {dataset} {why}: no .eval_results for it")
        files["README.md"] = readme.with_index(goal.card, index, repo)
        operations = [CommitOperationAdd(path, content) for path, content in files.items()]
        done = api.create_commit(
            repo, operations, commit_message=TITLE, parent_commit=goal.head, create_pr=not goal.ours
        )
        if goal.ours:
            _name_after(reports, done.oid)
        if lost := _read_back(api, repo, done.pr_revision or done.oid, index, files):
            notes.append(f"the Hub has taken the scores and does not show them all yet ({', '.join(lost)}): look again")
    return Pushed(repo, new, same, done.pr_url or done.commit_url, not goal.ours, evidence, notes)


def _goal(repo: str) -> _Goal:
    """Raises UserError: no right to write, the card cannot be read, a dataset of somebody's is in the way."""
    from huggingface_hub import HfApi

    api = HfApi()
    user, spaces = _account(api)
    info = api.model_info(repo)
    namespace, name = repo.split("/")
    ours = namespace in spaces
    evidence = f"{namespace}/{name}-evals" if ours else f"{user}/{namespace}-{name}-evals"
    card_data(evidence)
    card = _card(repo, str(info.sha))
    return _Goal(user, ours, bool(info.private), str(info.sha), card, readme.index(card, repo), evidence)


def _name_after(reports: list[Report], commit: str) -> None:
    """Let the runs be found under the model's new commit, too: only its card is another."""
    for found in reports:
        asked, place = found.record["asked"], Path(found.record["folder"])
        if COMMIT.fullmatch(asked["revision"]):
            with suppress(OSError):  # it is there, or this disk has no links
                (place.parents[2] / ask.slug(asked["model"], commit)).symlink_to(place.parents[1].name)


def _lacking(
    index: list[dict[str, Any]], reports: list[Report], repo: str, overwrite: bool
) -> list[tuple[Report, list[Score]]]:
    """The scores that a card does not have, by report.

    Raises:
        UserError: it has another value for one of them, and not `overwrite`.
    """
    entries = [[result(score, found.record) for score in found.scores] for found in reports]
    added = {id(entry) for entry in merge(index, [entry for some in entries for entry in some], repo, overwrite)[1]}
    lacking = [
        (found, [score for score, entry in zip(found.scores, some, strict=True) if id(entry) in added])
        for found, some in zip(reports, entries, strict=True)
    ]
    return [(found, scores) for found, scores in lacking if scores]


def _target(model: str) -> tuple[str, str | None]:
    """Repository and named revision of what was evaluated."""
    from huggingface_hub import constants

    from plum_hub.generate.names import parse

    if not model.startswith(("hf:", "vllm:", "openai:")):
        repo, revision = split_revision(model)
    else:
        name = parse(model)
        if "lora" in name.options:
            raise UserError("--push: a model with a LoRA adapter is not the model whose card this is; merge it first")
        repo, revision = name.model, None if name.kind == "openai" else name.revision or None
    if Path(repo).is_dir() or repo.count("/") != 1:
        raise UserError(f"--push needs a model on the Hub (org/model), and {repo} is none")
    if constants.HF_HUB_OFFLINE:
        raise UserError("--push: HF_HUB_OFFLINE is set; push from where the Hub is, without it")
    return repo, revision


def _account(api: Any) -> tuple[str, list[str]]:
    """Who we are, and the namespaces that we may write to."""
    me = api.whoami()
    if me.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise UserError("--push: your token has no right to write; set HF_TOKEN to one that has")
    orgs = [org["name"] for org in me.get("orgs") or [] if org.get("roleInOrg") != "read"]
    return me["name"], [me["name"], *orgs]


def _weights_of_main(repo: str, head: str, revision: str | None, reports: list[Report]) -> str:
    """A digest of the weights of a model's `main`, which must be those that were evaluated.

    Raises:
        UserError: they are others, or another configuration, tokenizer or chat template.
    """
    main = _shaping(repo, head)
    asked = {found.record["asked"]["revision"] for found in reports}  # a server's address, if it was one
    for other in dict.fromkeys([revision or head, *filter(COMMIT.fullmatch, asked)]):
        there = _shaping(repo, other)
        if differing := sorted(path for path in main | there if main.get(path) != there.get(path)):
            what = ", ".join(differing[:3]) + (" and others" if len(differing) > 3 else "")
            raise UserError(f"--push writes on the card of {repo}'s main, whose {what} is not that of {other}")
    weights = {path: digest for path, digest in main.items() if path.endswith(WEIGHTS)}
    return hashlib.sha256(json.dumps(weights, sort_keys=True).encode()).hexdigest()[:12]


def _shaping(repo: str, revision: str) -> dict[str, str]:
    """Path -> hash of the files that shape a model's texts."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    tree = HfApi().list_repo_tree(repo, recursive=True, revision=revision)
    files = [entry for entry in tree if isinstance(entry, RepoFile) and SHAPING.fullmatch(entry.path)]
    return {file.path: file.lfs.sha256 if file.lfs else file.blob_id for file in files}


def _card(repo: str, revision: str) -> bytes:
    """A model's card; a new one where there is none."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(repo, "README.md", revision=revision)).read_bytes()
    except EntryNotFoundError:
        return f"# {repo}\n".encode()


def _registered(api: Any, dataset: str) -> list[str]:
    """The ids of the tasks of a benchmark that the Hub has registered; none for another dataset."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    if dataset not in {found.id for found in api.list_datasets(benchmark=True, author=dataset.partition("/")[0])}:
        return []
    try:
        with open(hf_hub_download(dataset, "eval.yaml", repo_type="dataset"), encoding="utf-8") as file:
            return [str(task["id"]) for task in yaml.safe_load(file)["tasks"]]
    except (EntryNotFoundError, yaml.YAMLError, KeyError, TypeError):
        return []


def _open_pull(api: Any, repo: str, user: str, reports: list[Report], overwrite: bool) -> str | None:
    """The address of an open pull request of ours that has all these scores.

    Raises:
        UserError: one has other values for them, and not `overwrite`.
    """
    pulls = api.get_repo_discussions(repo, author=user, discussion_type="pull_request", discussion_status="open")
    open_ones = {
        str(pull.url): readme.index(_card(repo, pull.git_reference), repo) for pull in pulls if pull.title == TITLE
    }
    for url, index in open_ones.items():
        if not _lacking(index, reports, repo, overwrite=True):
            return url
    for url, index in open_ones.items():
        _lacking(index, reports, f"{repo} in your pull request {url}", overwrite)
    return None


def _read_back(api: Any, repo: str, revision: str, index: list[dict[str, Any]], files: dict[str, bytes]) -> list[str]:
    """What of a commit the Hub does not show, asked again for some seconds, as it may read cards a little later."""
    until = time.monotonic() + PATIENCE
    while (lost := _not_shown(api, repo, revision, index, files)) and time.monotonic() < until:
        time.sleep(1)
    return lost


def _not_shown(api: Any, repo: str, revision: str, index: list[dict[str, Any]], files: dict[str, bytes]) -> list[str]:
    from huggingface_hub.repocard_data import model_index_to_eval_results

    found = api.model_info(repo, revision=revision).card_data
    there = (found.eval_results if found else None) or []
    lost = [str(one.metric_name) for one in model_index_to_eval_results(index)[1] if one not in there]
    if len(files) > 1:
        found = api.model_info(repo, revision=revision, expand=["evalResults"])
        urls = {entry.source_url for entry in found.eval_results or []}
        wanted = [(path, yaml.safe_load(text)) for path, text in files.items() if path != "README.md"]
        lost += [path for path, (entry,) in wanted if entry["source"]["url"] not in urls]
    return lost
