"""Scores onto a model's card, and what they come from into a dataset beside it: `plum eval org/model --push`.

    print(push(model, reports))

In this order: what the card has is compared; samples and outcomes go to `<namespace>/<model>-evals`
(`plum_hub.evaluate.evidence`); one commit, or a pull request where the model is somebody else's, puts the scores into
the card's `model-index`, and into `.eval_results` where the Hub has registered the benchmark (`plum_hub.hub.scores`);
the result is read back. A push that was killed is done by the same command. Tags stay where they are.

Not covered: a token with rights to single repositories only; what it may not do is the Hub's own error.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from plum_hub.errors import UserError
from plum_hub.evaluate.evidence import publish_evidence
from plum_hub.evaluate.report import Report
from plum_hub.evaluate.statistics import Score
from plum_hub.hub.publish import Published
from plum_hub.hub.scores import fitting, merge, result, result_file
from plum_hub.names import explained, split_revision

TITLE = "Scores (plum eval)"


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


def push(model: str, reports: list[Report], overwrite: bool = False) -> Pushed:
    """Put the scores of a model on its card; see the module's docstring.

    Args:
        model: as given to `plum eval`: `org/model[@revision]`, or an engine's string with it.
        overwrite: also in place of other values for the same.

    Raises:
        UserError: not a whole benchmark, not the weights of the model's `main`, another value is there, no right to do
            this, or no answer from the Hub. Nothing has been written to the card then.
        RuntimeError: what was read back is not what was sent.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    repo, revision = _target(model)
    for found in reports:
        if found.record["asked"] is None:
            raise UserError(f"--push: the samples of {found.record['bench']} are from a file, and no model's for sure")
        if found.record["partial"]:
            raise UserError(f"--push: only {found.record['partial']} of {found.record['bench']} were asked (--limit?)")
    api = HfApi()
    with explained(repo, "model"):
        user, spaces = _account(api)
        info = api.model_info(repo)
        head, namespace, name = str(info.sha), *repo.split("/")
        ours = namespace in spaces
        weights = _weights_of_main(repo, head, revision, reports)
        card = _card(repo, head)
        index = card.data.get("model-index") or []
        lacking = _lacking(index, reports, repo, overwrite)
        new = [score.key for _, scores in lacking for score in scores]
        same = [score.key for found in reports for score in found.scores if score.key not in new]
        if not new:
            return Pushed(repo, new, same)
        if not ours and (url := _open_pull(api, repo, user, reports)):
            return Pushed(repo, [], same, None, notes=[f"your pull request with these scores is open: {url}"])
        date = datetime.now(UTC).date().isoformat()
        target = f"{namespace}/{name}-evals" if ours else f"{user}/{namespace}-{name}-evals"
        evidence, notes, files = list[Published](), list[str](), dict[str, bytes]()
        for found, scores in lacking:
            made = publish_evidence(found, repo, weights, target, bool(info.private))
            evidence.append(made)
            source = f"{api.endpoint}/datasets/{target}/tree/{made.tag}"
            more = {"weights": weights, "date": date, "evidence": f"{target}@{made.tag}", "source": source}
            index, _ = merge(index, [result(score, found.record, **more) for score in scores], repo, overwrite)
            dataset = found.record["dataset"]
            tasks = _registered(api, dataset)
            fit = {score: fitting(score, tasks) for score in scores if score.kind == "pass@1"}
            files |= dict(result_file(score, found.record, task, source, date) for score, task in fit.items() if task)
            if not any(fit.values()):
                why = f"has no task of that name, only {', '.join(tasks)}" if tasks else "is not registered here"
                notes.append(f"{found.record['bench']}: the benchmark {dataset} {why}: no .eval_results for it")
        card.data["model-index"] = index
        files["README.md"] = str(card).encode()
        operations = [CommitOperationAdd(path, content) for path, content in files.items()]
        done = api.create_commit(repo, operations, commit_message=TITLE, parent_commit=head, create_pr=not ours)
        _read_back(api, repo, done.pr_revision or done.oid, index, files)
    return Pushed(repo, new, same, done.pr_url or done.commit_url, not ours, evidence, notes)


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
        UserError: they are others.
    """
    weights = _weights(repo, head)
    asked = {found.record["asked"]["revision"] for found in reports}  # a server's address, if it was one
    for other in (revision or head, *(one for one in asked if re.fullmatch(r"[0-9a-f]{40}", one))):
        if other != head and _weights(repo, other) != weights:
            raise UserError(f"--push writes on the card of {repo}'s main, whose weights are not those of {other}")
    return hashlib.sha256(json.dumps(weights, sort_keys=True).encode()).hexdigest()[:12]


def _weights(repo: str, revision: str) -> dict[str, str]:
    """Path -> hash of a model's weight files."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    tree = HfApi().list_repo_tree(repo, recursive=True, revision=revision)
    files = [entry for entry in tree if isinstance(entry, RepoFile)]
    return {file.path: file.lfs.sha256 for file in files if file.lfs and file.path.endswith((".safetensors", ".bin"))}


def _card(repo: str, revision: str) -> Any:
    """A model's card, its `model-index` as it stands there; an empty one where there is none.

    Raises:
        UserError: the card's metadata cannot be read.
    """
    from huggingface_hub import ModelCard, RepoCard, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        with open(hf_hub_download(repo, "README.md", revision=revision), encoding="utf-8-sig", newline="") as file:
            text = file.read()
    except EntryNotFoundError:
        text = f"---\n{{}}\n---\n\n# {repo}\n"
    try:
        ModelCard(text)
        return RepoCard(text)
    except (ValueError, yaml.YAMLError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"the metadata of {repo}'s card cannot be read ({first}): repair it, then push") from None


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


def _open_pull(api: Any, repo: str, user: str, reports: list[Report]) -> str | None:
    """The address of an open pull request of ours that has all these scores."""
    for pull in api.get_repo_discussions(repo, author=user, discussion_type="pull_request", discussion_status="open"):
        if pull.title == TITLE:
            index = _card(repo, pull.git_reference).data.get("model-index") or []
            if not _lacking(index, reports, repo, overwrite=True):
                return str(pull.url)
    return None


def _read_back(api: Any, repo: str, revision: str, index: list[dict[str, Any]], files: dict[str, bytes]) -> None:
    from huggingface_hub.repocard_data import model_index_to_eval_results

    found = api.model_info(repo, revision=revision).card_data
    there = (found.eval_results if found else None) or []
    lost = [one.metric_name for one in model_index_to_eval_results(index)[1] if one not in there]
    if len(files) > 1:
        found = api.model_info(repo, revision=revision, expand=["evalResults"])
        urls = {entry.source_url for entry in found.eval_results or []}
        wanted = [yaml.safe_load(text)[0]["source"]["url"] for path, text in files.items() if path != "README.md"]
        lost += [url for url in wanted if url not in urls]
    if lost:
        raise RuntimeError(f"{repo} at {revision} came back without {', '.join(map(str, lost))}")
