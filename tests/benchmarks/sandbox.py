"""Measures the sandbox: programs per second by kind of program and number of workers, as a table.

    python tests/benchmarks/sandbox.py [--workers 1 2] [--seconds 3]

HumanEval's own solutions are measured too where the data is (PLUM_DATA, by default ../shared/data from the project's
root). "ms" is milliseconds of wall clock per program and worker. The static check is not measured here.
"""

import argparse
import gzip
import json
import os
import statistics
import sys
import time
from collections import Counter
from itertools import cycle, islice
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # runs from a checkout, installed or not

from plum_hub.sandbox.engine import Job, Limits, Sandbox  # noqa: E402

DATA = Path(os.environ.get("PLUM_DATA") or ROOT.parent / "shared" / "data")
SMALL = "def f(x):\n    return x + 1\n"


def workloads() -> dict[str, list[Job]]:
    """Name -> jobs to be run in turn, over and over."""
    found = {
        "empty": [Job("", ())],
        "small, 1 test": [Job(SMALL, ("assert f(1) == 2",))],
        "small, 10 tests": [Job(SMALL, tuple(f"assert f({n}) == {n + 1}" for n in range(10)))],
        "small, os._exit": [Job(SMALL, ("import os; os._exit(0)",))],
        "writes 100 files": [Job("for n in range(100): open(str(n), 'w').close()", ())],
        "2 MB of output": [Job("print('x' * 2_000_000)", ())],
    }
    path = DATA / "humaneval" / "HumanEval.jsonl.gz"
    if path.exists():
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            tasks = [json.loads(line) for line in lines]
        found["HumanEval solutions"] = [
            Job(task["prompt"] + task["canonical_solution"], (f"{task['test']}\ncheck({task['entry_point']})\n",))
            for task in tasks
        ]
    return found


def measure(jobs: list[Job], workers: int, seconds: float) -> tuple[float, float, Counter[str]]:
    """(programs per second, median of their own seconds, outcomes) over about `seconds`, warm."""
    with Sandbox(Limits(), workers) as sandbox:
        for _ in sandbox.run(jobs[:1] * 4 * workers):
            pass
        began = time.perf_counter()
        for _ in sandbox.run(islice(cycle(jobs), 50 * workers)):
            pass
        rate = 50 * workers / (time.perf_counter() - began)
        count = max(len(jobs), int(rate * seconds))
        began = time.perf_counter()
        results = list(sandbox.run(islice(cycle(jobs), count)))
        spent = time.perf_counter() - began
    return count / spent, statistics.median(r.seconds for r in results), Counter(r.outcome.value for r in results)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="programs per second in the sandbox")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=3.0, help="per line of the table")
    options = parser.parse_args()
    print(f"{'programs':22}{'workers':>8}{'per second':>12}{'ms':>8}{'median ms':>11}  outcomes")
    for name, jobs in workloads().items():
        for workers in options.workers:
            rate, median, outcomes = measure(jobs, workers, options.seconds)
            print(
                f"{name:22}{workers:8}{rate:12.0f}{1000 * workers / rate:8.2f}{1000 * median:11.2f}"
                f"  {', '.join(f'{outcome} {count}' for outcome, count in outcomes.items())}",
                flush=True,
            )


if __name__ == "__main__":
    main()
