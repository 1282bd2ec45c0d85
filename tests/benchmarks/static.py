"""Measures the static check (mypy): milliseconds a program, what right programs it keeps, what it catches.

    python tests/benchmarks/static.py

On HumanEval's canonical solutions and StarCoder2-15B-Instruct's generations with evalplus' stored verdicts, from
PLUM_DATA (by default ../shared/data from the project's root).
"""

import gzip
import json
import os
import re
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # runs from a checkout, installed or not

from plum_hub.sandbox import check  # noqa: E402

DATA = Path(os.environ.get("PLUM_DATA") or ROOT.parent / "shared" / "data")


def main() -> None:
    """Print what was found."""
    path = DATA / "humaneval" / "HumanEval.jsonl.gz"
    if not path.exists():
        raise SystemExit(f"no HumanEval data at {DATA}: set PLUM_DATA")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        canonical = [task["prompt"] + task["canonical_solution"] for task in map(json.loads, lines)]
    samples: dict[str, list[str]] = {"pass": [], "fail": []}
    for path in sorted((DATA / "starcoder2_instruct_evalplus").glob("*_eval_results.json")):
        for result in json.loads(path.read_text(encoding="utf-8"))["eval"].values():
            sample = result[0] if isinstance(result, list) else result
            samples["pass" if sample["base_status"] == "pass" else "fail"].append(sample["solution"])
    check(canonical[:20])  # mypy's own cache of the standard library
    batch = (canonical + samples["pass"])[-200:]
    began = time.perf_counter()
    check(batch)
    print(f"a batch of {len(batch)}: {(time.perf_counter() - began) / len(batch) * 1000:.2f} ms a program")
    for name, programs in (("canonical", canonical), ("passing", samples["pass"]), ("failing", samples["fail"])):
        results = check(programs)
        caught = Counter(
            match[1]
            for result in results
            for match in [re.search(r"\[([a-z-]+)\]$", " ".join(result.messages))]
            if match
        )
        kept = sum(result.outcome is None for result in results)
        print(f"{name}: {kept} of {len(programs)} kept; caught {dict(caught)}")


if __name__ == "__main__":
    main()
