"""How long is scoring the same samples: `plum eval --samples`, all walls up, and `evalplus.evaluate`, in one run?

    python tests/benchmarks/evaluation.py [--bench humaneval,mbpp] [--rounds N]

Needs evalplus (the [eval] extra) and the data in PLUM_DATA, by default ../shared/data from the project's root:
StarCoder2-15B-Instruct's answers, and the versions of HumanEval+ and MBPP+ that they were scored on. Both commands run
whole, one after the other, round by round, on the same two cores; both have their expected outputs kept from a run
before, which is not counted. evalplus has its default of processes (half the cores, at least one) and, in a third
column, as many as ours. Prints medians, then what the samples' own programs took, which is what no harness can save,
and exits with 1 where ours is not five times as fast.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("PLUM_DATA") or ROOT.parent / "shared" / "data")

#: The data that the samples were scored on.
VERSIONS = {"humaneval": "humanevalplus/v0.1.9/HumanEvalPlus", "mbpp": "mbppplus/v0.1.0/MbppPlus"}
OVERRIDES = {"humaneval": "HUMANEVAL_OVERRIDE_PATH", "mbpp": "MBPP_OVERRIDE_PATH"}
CORES = 2
BAR = 5.0


@dataclass(frozen=True)
class Run:
    """One command: seconds by the wall clock, scores, and the seconds of each task's program, where they are known."""

    seconds: float
    scores: dict[str, float]
    programs: dict[str, float] = field(default_factory=dict)


def timed(command: list[str], variables: dict[str, str]) -> float:
    """Seconds of a command by the wall clock."""
    began = time.monotonic()
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    spent = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return spent


def ours(bench: str, samples: Path, folder: Path) -> Run:
    """One run of `plum eval --samples`."""
    runs = folder / "runs"
    shutil.rmtree(runs, ignore_errors=True)  # or it would find its verdicts
    command = [sys.executable, "-m", "plum_hub.cli", "eval", "--samples", str(samples), "--bench", bench]
    command += ["--data", str((DATA / VERSIONS[bench]).parent), "--runs", str(runs), "--workers", str(CORES), "--json"]
    variables = {"PYTHONPATH": str(ROOT), "PLUM_CACHE": str(folder / "cache")}
    seconds = timed(command, variables)
    (report,) = runs.glob("**/report.json")
    found = json.loads(report.read_text())
    programs = {row["task_id"]: sum(sum(parts.values()) for parts in row["seconds"]) for row in found["rows"]}
    return Run(seconds, {score["bench"]: score["value"] for score in found["scores"]}, programs)


def theirs(bench: str, samples: Path, folder: Path, parallel: int) -> Run:
    """One run of `evalplus.evaluate`; `parallel` 0 is its default."""
    mine = folder / f"{bench}.jsonl"
    shutil.copy(samples, mine)
    results = folder / f"{bench}_eval_results.json"
    results.unlink(missing_ok=True)
    command = [sys.executable, "-m", "evalplus.evaluate", "--dataset", bench, "--samples", str(mine)]
    if parallel:
        command += ["--parallel", str(parallel)]
    data = str(DATA / f"{VERSIONS[bench]}.jsonl.gz")
    seconds = timed(command, {OVERRIDES[bench]: data, "XDG_CACHE_HOME": str(folder / "cache")})
    rows = [row for rows in json.loads(results.read_text())["eval"].values() for row in rows]
    base = sum(row["base_status"] == "pass" for row in rows)
    plus = sum(row["base_status"] == row["plus_status"] == "pass" for row in rows)
    return Run(seconds, {bench: 100 * base / len(rows), f"{bench}+": 100 * plus / len(rows)})


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="plum eval and evalplus.evaluate on the same samples")
    parser.add_argument("--bench", default="humaneval,mbpp")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    print(f"| benchmark | command | seconds | scores | times as long |\n{'| --- ' * 5}|", flush=True)
    missed, bounds = False, []
    for bench in options.bench.split(","):
        samples = DATA / f"starcoder2_instruct_evalplus/evalplus-starcoder2-15b-instruct-v0.1-{bench}.jsonl"
        with tempfile.TemporaryDirectory(prefix="plum-evaluation-") as name:
            folder = Path(name)
            runs = {
                "plum eval": lambda bench=bench, s=samples, f=folder: ours(bench, s, f),
                "evalplus": lambda bench=bench, s=samples, f=folder: theirs(bench, s, f, 0),
                f"evalplus, {CORES} processes": lambda bench=bench, s=samples, f=folder: theirs(bench, s, f, CORES),
            }
            found: dict[str, list[Run]] = {which: [] for which in runs}
            for number in range(options.rounds + 1):
                for which, run in runs.items():
                    if number or which != f"evalplus, {CORES} processes":
                        result = run()
                        if number:  # the first is for the expected outputs
                            found[which].append(result)
        medians = {which: statistics.median(one.seconds for one in made) for which, made in found.items()}
        base = medians["plum eval"]
        for which, seconds in medians.items():
            scores = ", ".join(f"{name} {value:.1f}" for name, value in found[which][-1].scores.items())
            print(f"| {bench} | {which} | {seconds:.1f} | {scores} | {seconds / base:.1f} |", flush=True)
        missed |= medians["evalplus"] < BAR * base
        programs = found["plum eval"][-1].programs
        longest = sorted(programs, key=lambda task: -programs[task])[:6]
        bounds.append(
            f"{bench}: all programs together took {sum(programs.values()):.1f} s, the longest "
            + ", ".join(f"{task} {programs[task]:.1f}" for task in longest)
        )
    print("\n" + "\n".join(bounds))
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()
