"""Scores with their uncertainty: pass@1 and its 95 % interval, and how two checkpoints differ on the same tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

RESAMPLES = 9999


@dataclass(frozen=True)
class Score:
    """One figure of one checkpoint, in percent, as `plum eval --json` prints it; `n` is the number of tasks."""

    checkpoint: str
    bench: str
    metric: str
    value: float
    ci95: tuple[float, float]
    n: int

    @property
    def key(self) -> str:
        """Benchmark and metric: what is compared between checkpoints."""
        return f"{self.bench} {self.metric}"

    @property
    def kind(self) -> str:
        """The metric without its settings: `pass@1` of `pass@1 (T=1, n=4)`."""
        return self.metric.partition(" ")[0]

    def as_json(self) -> dict[str, Any]:
        """The score as a JSON object."""
        return {**asdict(self), "ci95": list(self.ci95)}


def mean_percent(shares: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Mean over tasks and its 95 % interval, in percent.

    Args:
        shares: per task, the share of its samples that pass (0 or 1 when there is one sample).

    Returns:
        The mean and its interval: Wilson's where every share is 0 or 1, otherwise a percentile bootstrap over tasks,
        which keeps the samples of a task together.
    """
    import numpy as np

    if not shares:
        raise ValueError("no tasks to average over")
    values = np.asarray(shares, dtype=float)
    if np.isin(values, (0, 1)).all():
        low, high = _wilson(int(values.sum()), len(values))
        return _percent(values.mean()), (_percent(low), _percent(high))
    if len(values) == 1:  # nothing to resample, and nothing known
        return _percent(values[0]), (0.0, 100.0)
    interval = _bootstrap(values)
    return _percent(values.mean()), (_percent(interval.low), _percent(interval.high))


def figure(shares: Sequence[float]) -> dict[str, Any]:
    """`mean_percent` as a JSON object, with the number of tasks."""
    value, interval = mean_percent(shares)
    return {"value": value, "ci95": list(interval), "n": len(shares)}


def _wilson(passed: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval. scipy's takes a second to import, a good part of scoring a file of samples."""
    z = NormalDist().inv_cdf(0.975)
    share = passed / n
    middle, half = share + z * z / (2 * n), z * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    low, high = ((middle + sign * half) / (1 + z * z / n) for sign in (-1, 1))
    return (low if passed else 0.0), (high if passed < n else 1.0)


def pass_at_k(n: int, c: int, k: int) -> float:
    """The unbiased estimate of pass@k from n samples of which c pass (Chen et al. 2021, arXiv 2107.03374, equation 1).

    Raises:
        ValueError: k is not between 1 and n, or c not between 0 and n.
    """
    if not (1 <= k <= n and 0 <= c <= n):
        raise ValueError(f"pass@{k} cannot be estimated from {c} of {n} samples")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def paired_difference(before: Sequence[float], after: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Mean of `after - before` over the same tasks, in points, with a 95 % bootstrap interval over tasks.

    Raises:
        ValueError: not the same number of tasks.
    """
    import numpy as np

    if len(before) != len(after) or not before:
        raise ValueError("a paired difference needs the same tasks on both sides")
    differences = np.asarray(after, dtype=float) - np.asarray(before, dtype=float)
    if (differences == differences[0]).all():
        return _percent(differences[0]), (_percent(differences[0]), _percent(differences[0]))
    interval = _bootstrap(differences)
    return _percent(differences.mean()), (_percent(interval.low), _percent(interval.high))


def sign_test(before: Sequence[float], after: Sequence[float]) -> float:
    """Exact two-sided p value: were a task that differs as likely better as worse, how often would it be so uneven?

    Where every share is 0 or 1 this is McNemar's exact test.
    """
    from scipy import stats

    better = sum(b > a for a, b in zip(before, after, strict=True))
    worse = sum(b < a for a, b in zip(before, after, strict=True))
    return float(stats.binomtest(better, better + worse, 0.5).pvalue) if better + worse else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number, in the same order (Holm 1979)."""
    corrected, highest = [1.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = highest
    return corrected


def tasks_to_detect(before: Sequence[float], after: Sequence[float]) -> int | None:
    """About how many tasks like these would show this difference, at 5 % two-sided, four times in five.

    The normal approximation for paired means: ((z(0.975) + z(0.8)) * s / d) ** 2, with d the mean of the differences
    and s their standard deviation. None where the mean is 0 or the differences are all the same.
    """
    import numpy as np
    from scipy import stats

    differences = np.asarray(after, dtype=float) - np.asarray(before, dtype=float)
    mean = float(differences.mean())
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    if abs(mean) < 1e-9 or spread < 1e-9:
        return None
    return math.ceil(((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) * spread / mean) ** 2)


def _bootstrap(values: Any) -> Any:
    import numpy as np
    from scipy import stats

    return stats.bootstrap(
        (values,), np.mean, n_resamples=RESAMPLES, method="percentile", vectorized=True, rng=np.random.default_rng(0)
    ).confidence_interval


def _percent(value: float) -> float:
    return round(float(value) * 100, 2)
