"""LiveCodeBench, code generation: problems of programming contests by release and by the date of the contest.

    plum eval org/model --bench livecodebench                                    # release_v6, 1,055 problems
    plum eval org/model --bench livecodebench:v6                                 # only what is new in it, 175
    plum eval org/model --bench livecodebench:2024-08-01..2025-01-31             # contests of these days
    plum eval org/model --bench livecodebench:release_v5:2024-08-01..            # of a release, from this day on

Data: `livecodebench/code_generation_lite` on the Hub, its JSON lines and not its loading script, which `datasets` 4
does not run: `test.jsonl`, `test2.jsonl` ... `test6.jsonl`, several GB together; or the same files in `--data DIR` or
its folder `livecodebench`. A release takes only its own files. The tests of a problem are decoded when a program is
judged by them and not kept.

Prompts, extraction of the program and grading follow LiveCodeBench's own runner (`HARNESS`), to the letter where it has
oddities: see `programs.py`. What differs:

- `sys.stdin` is that of the runner by which the published verdicts were given, before later versions broke it;
- 6 seconds a test, as there, but of processor time and not by the clock, so that a busy machine changes no verdict;
- memory of a program is bounded (4 GiB), and so is what it prints (64 MiB);
- each run of a script has a process of its own. There all runs share one, and what a program leaves behind in a module
  (a recursion limit, the state of `random`) lasts;
- programs may call what its runner takes out of `os`, `shutil` and `subprocess`; our walls are others.

LiveCodeBench's own settings are n = 10, temperature 0.2, top_p 0.95 and 2,000 tokens: `--n 10 --temperature 0.2
--top-p 0.95`. It ends every text at "###", as here, but for models behind an API. There are no reference solutions,
hence no check that a problem can be judged here; its ERRATA.md lists 17 problems that nobody can pass, or that have
several right answers.

Not covered: the larger set of tests (`code_generation`), self-repair, test output prediction, code execution.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, overload

from plum_hub.errors import UserError
from plum_hub.evaluate.livecodebench import prompts
from plum_hub.evaluate.livecodebench.programs import ENTRY, as_functions, as_script
from plum_hub.evaluate.samples import Sample
from plum_hub.evaluate.tasks import TESTS, Bench, Style, Suite, Task
from plum_hub.names import explained
from plum_hub.sandbox import Calls, Limits, Stdin, Test

REPO = "livecodebench/code_generation_lite"
REVISION = "0fe84c3912ea0c4d4a78037083943e8f0c4dd505"  # the first with test6.jsonl
HARNESS = "28fef95ea8c9f7a547c8329f2cd3d32b92c1fa24"  # github.com/LiveCodeBench/LiveCodeBench, MIT
NEWEST = 6

LIMITS = Limits(seconds=6.0, total_seconds=3600.0, memory_mb=4096, output_bytes=64 << 20)

SYNTAX = (
    f"after livecodebench: comes a release (release_v1 to release_v{NEWEST}, or what is new in some: v5, v4_v6), a "
    "window of contest dates (2024-08-01..2025-01-31, either may be left out), or both, as in "
    "livecodebench:release_v5:2024-08-01.."
)


@dataclass(frozen=True)
class Part:
    """What of the benchmark is wanted. As there, a date is its first moment."""

    files: range  # numbers: 1 is test.jsonl
    release: str
    first: datetime = datetime.min
    last: datetime = datetime.max


def part(name: str) -> Part:
    """The part that `livecodebench[:RELEASE][:DATE..DATE]` names.

    Raises:
        UserError: it names none.
    """
    found = Part(range(1, NEWEST + 1), f"release_v{NEWEST}")
    for text in name.split(":")[1:]:
        first, dots, last = text.partition("..")
        try:
            if dots:
                days = [datetime.strptime(day, "%Y-%m-%d") if day else None for day in (first, last)]
                found = Part(found.files, found.release, days[0] or datetime.min, days[1] or datetime.max)
            elif text == "release_latest":
                continue
            elif match := re.fullmatch(r"(release_v|v)(\d)(?:_v(\d))?", text):
                whole, low, high = match.groups()
                if whole == "release_v" and high:
                    raise ValueError
                files = range(1 if whole == "release_v" else int(low), int(high or low) + 1)
                if not files or files[0] < 1 or files[-1] > NEWEST:
                    raise ValueError
                found = Part(files, text, found.first, found.last)
            else:
                raise ValueError
        except ValueError:
            raise UserError(f"`{name}`: {text!r} is no part of LiveCodeBench; {SYNTAX}") from None
    return found


def load(name: str, data: Path | None = None) -> Bench:
    """The problems of a release or window, in the order of LiveCodeBench's runner: by question_id.

    Args:
        name: see `part`.
        data: a folder with the files of the release, or with a folder `livecodebench` of them.

    Raises:
        UserError: no such part, no such file, or a file that is not LiveCodeBench's.
    """
    wanted = part(name)
    paths, version = _local(wanted, data) if data else _from_hub(wanted)
    tasks: list[Task] = []
    seen: list[str] = []
    for path in paths:
        with path.open("rb") as file:
            start = 0
            for line in file:
                try:
                    row = json.loads(line)
                    seen.append(row["contest_date"])
                    if wanted.first <= datetime.fromisoformat(row["contest_date"]) <= wanted.last:
                        tasks.append(_task(row, HiddenTests(path, start)))
                except (ValueError, KeyError, TypeError) as error:
                    raise UserError(
                        f"{path}, byte {start}: no problem of LiveCodeBench ({type(error).__name__}: {error}); if the "
                        "file is a Git LFS pointer or was cut off, download it again"
                    ) from None
                start += len(line)
    if not tasks:
        raise UserError(
            f"{name}: no problem of {wanted.release} is from these days; its contests are from "
            f"{min(seen)[:10]} to {max(seen)[:10]}"
            if seen
            else f"{name}: {', '.join(map(str, paths))} hold no problems"
        )
    tasks.sort(key=lambda task: task.id)
    return Bench(
        name=name,
        tasks=tasks,
        scores={name: (TESTS,)},
        dataset=REPO,
        version=f"{wanted.release}, {version}",
        public=not data,
        harness=f"LiveCodeBench {HARNESS[:7]}",
        limits=LIMITS,
        max_new_tokens=2000,
        program=_program,
        styles=("chat", "text"),
        stop={"chat": ("###",), "text": ("###",)},
    )


def prefetch(name: str) -> None:
    """Download the files of a release, and no more.

    Raises:
        UserError: no such part, or the Hub does not have it.
    """
    _from_hub(part(name))


def official(bench: Bench, samples: list[Sample], folder: Path) -> dict[str, float]:
    """The same samples through LiveCodeBench's own command; see `custom_evaluator.score`."""
    from plum_hub.evaluate.livecodebench import custom_evaluator

    return custom_evaluator.score(bench, samples, folder)


def _names(wanted: Part) -> list[str]:
    return [f"test{number}.jsonl" if number > 1 else "test.jsonl" for number in wanted.files]


def _local(wanted: Part, data: Path) -> tuple[list[Path], str]:
    """The files in a folder, and a digest of them."""
    folder = next((folder for folder in (data / "livecodebench", data) if (folder / _names(wanted)[0]).is_file()), data)
    paths = [folder / name for name in _names(wanted)]
    if missing := [path.name for path in paths if not path.is_file()]:
        raise UserError(
            f"{data} (or its folder livecodebench) has no {', '.join(missing)}, which {wanted.release} of "
            f"LiveCodeBench needs: they are files of the dataset {REPO}"
        )
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return paths, f"sha256 {digest.hexdigest()[:16]}"


def _from_hub(wanted: Part) -> tuple[list[Path], str]:
    """The files in the Hub's cache, and their commit: `REVISION`, or the newest one of a Hub that has not got that."""
    from huggingface_hub import errors, hf_hub_download

    def get(revision: str) -> list[Path]:
        found = (hf_hub_download(REPO, name, repo_type="dataset", revision=revision) for name in _names(wanted))
        return [Path(path) for path in found]

    with explained(REPO, "dataset"):
        try:
            try:
                paths = get(REVISION)
            except (errors.RevisionNotFoundError, errors.LocalEntryNotFoundError):
                paths = get("main")
        except errors.RemoteEntryNotFoundError:
            raise UserError(
                f"dataset {REPO} has not all of {', '.join(_names(wanted))} there, which {wanted.release} of "
                "LiveCodeBench needs"
            ) from None
    return paths, f"commit {paths[0].parent.name}"


def _task(row: dict[str, Any], tests: HiddenTests) -> Task:
    question, starter = row["question_content"], row["starter_code"]
    function = json.loads(row["metadata"]).get("func_name")
    return Task(
        str(row["question_id"]),
        {
            "chat": [
                {"role": "system", "content": prompts.SYSTEM},
                {"role": "user", "content": prompts.chat(question, starter)},
            ],
            "text": [{"role": "text", "content": prompts.text(question, starter)}],
        },
        {TESTS: Suite(tests, source=partial(as_functions, name=function) if function else as_script)},
        traits={
            "difficulty": row["difficulty"],
            "platform": row["platform"],
            "month": row["contest_date"][:7],
        },
    )


def _program(task: Task, text: str, style: Style) -> str:
    """What lies between the last two lines with a fence; "" if there are no two. A base model's text is the program."""
    if style == "text":
        return text.strip()
    lines = text.split("\n")
    fences = [number for number, line in enumerate(lines) if "```" in line][-2:]
    return "\n".join(lines[fences[0] + 1 : fences[1]]) if len(fences) == 2 else ""


# ------------------------------------------------------------------------------------------------------------- tests


class HiddenTests(Sequence[Test]):
    """The public and the private tests of one problem, read from its line of the file whenever they are asked for.

    All tests of a release would take tens of gigabytes. The sandbox goes through a suite once for all of its programs
    that follow one another on a worker.
    """

    def __init__(self, path: Path, start: int) -> None:
        self.path, self.start = path, start

    def _read(self) -> list[Test]:
        with self.path.open("rb") as file:
            file.seek(self.start)
            row = json.loads(file.readline())
        function = json.loads(row["metadata"]).get("func_name")
        try:
            cases = json.loads(row["public_test_cases"]) + _private(row["private_test_cases"])
            return [_test(case, function) for case in cases]
        except (ValueError, zlib.error, KeyError, TypeError) as error:
            raise UserError(f"{self.path}: the tests of {row['question_id']} cannot be read: {error}") from None

    def __iter__(self) -> Iterator[Test]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    @overload
    def __getitem__(self, index: int) -> Test: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Test]: ...
    def __getitem__(self, index: int | slice) -> Test | Sequence[Test]:
        return self._read()[index]


def _private(text: str) -> list[dict[str, str]]:
    """JSON, or JSON that was pickled, compressed and put into base64; whatever else the pickle may hold is refused."""
    from plum_hub.sandbox.inside.values import loads_plain

    try:
        found = json.loads(text)
    except ValueError:
        found = json.loads(loads_plain(zlib.decompress(base64.b64decode(text))))
    if not isinstance(found, list):
        raise ValueError(f"the private tests are no list but {str(found)[:40]!r}")
    return found


def _test(case: dict[str, str], function: str | None) -> Test:
    if not function:
        return Stdin(case["input"], case["output"])
    try:
        arguments, wanted = [json.loads(line) for line in case["input"].split("\n")], json.loads(case["output"])
    except ValueError:  # some are broken: nobody passes them, here as there
        return Calls(ENTRY, [], ["this test is broken: it is not JSON"])
    return Calls(ENTRY, [arguments], [wanted], "livecodebench")
