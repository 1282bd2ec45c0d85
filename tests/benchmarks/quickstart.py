"""Held-out pass@1 of every arm of the quickstart, over seeds.

    python tests/benchmarks/quickstart.py --seeds 0 1 2 --runs /tmp/quickstart-seeds

Runs `plum run recipes/quickstart.yaml` once a seed with all of its methods and prints, per metric, a Markdown table:
the value of each seed, their mean and standard deviation, and the difference to the seed policy and to "more SFT" with
a 95 % interval (a bootstrap over tasks, each task's share averaged over the seeds and paired). Nothing here tunes
anything; a seed that was run already is read from its run folder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from plum_hub.evaluate.statistics import paired_difference

ARMS = ("policy", "sft-more", "rft", "kto", "dpo")
ROOT = Path(__file__).parent.parent.parent


def run(seed: int, runs: Path) -> dict[str, dict[str, list[float]]]:
    """arm -> metric -> share of passing samples of each task."""
    command = [sys.executable, "-m", "plum_hub.cli", "run", str(ROOT / "recipes/quickstart.yaml"), "--runs", str(runs)]
    command += ["--json", "--set", f"seed={seed}", "--set", "methods=[kto, dpo, rft, sft-more]"]
    start = time.monotonic()
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT).stdout)
    print(f"seed {seed}: {time.monotonic() - start:.0f} s; {result['seconds']}", file=sys.stderr)
    shares = {}
    for path in sorted((runs / f"quickstart-seed{seed}" / "scores").glob("*.json")):
        stored = json.loads(path.read_text())
        arm = stored["scores"][0]["checkpoint"].partition("@")[0].partition(f"quickstart-seed{seed}-")[2]
        shares[arm] = stored["shares"]
    return shares


def table(metric: str, by_seed: dict[int, dict[str, dict[str, list[float]]]]) -> str:
    """One metric as a Markdown table."""
    lines = [
        f"| {metric} | " + " | ".join(f"seed {seed}" for seed in by_seed) + " | mean (sd) | - policy | - sft-more |",
        "| --- |" + " ---: |" * (len(by_seed) + 3),
    ]

    def pooled(arm: str) -> list[float]:
        return [statistics.mean(values) for values in zip(*(by_seed[s][arm][metric] for s in by_seed), strict=True)]

    for arm in ARMS:
        values = [100 * statistics.mean(shares[arm][metric]) for shares in by_seed.values()]
        spread = f" ({statistics.stdev(values):.1f})" if len(values) > 1 else ""
        cells = [arm, *(f"{value:.1f}" for value in values), f"{statistics.mean(values):.1f}{spread}"]
        for other in ("policy", "sft-more"):
            value, (low, high) = paired_difference(pooled(other), pooled(arm))
            cells.append("" if arm == other else f"{value:+.1f} ({low:+.1f} to {high:+.1f})")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the seeds and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    args = parser.parse_args()
    by_seed = {seed: run(seed, args.runs) for seed in args.seeds}
    for metric in by_seed[args.seeds[0]]["policy"]:
        print(f"\n{table(metric, by_seed)}")


if __name__ == "__main__":
    main()
