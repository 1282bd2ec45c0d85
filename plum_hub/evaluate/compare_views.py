"""A comparison to look at: as a table in a terminal, and as a picture."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plum_hub.errors import UserError
from plum_hub.evaluate.compare import Comparison, Figures, small

if TYPE_CHECKING:
    from rich.console import Group


def table(found: Comparison) -> Group:
    """A comparison for a person, as `rich.print` takes it."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    parts: list[Any] = []
    for pair in found.pairs:
        parts.append(f"[bold]{escape(pair.score)}: {escape(pair.after)} against {escape(pair.before)}[/]")
        shown = Table("", "tasks", "before", "after", "difference", "95 % interval")
        shown.add_row("all", *_cells(pair.overall))
        for trait, values in pair.by.items():
            for value, figures in values.items():
                shown.add_row(escape(f"{trait} {value}"), *_cells(figures))
        parts += [shown, f"  {pair.words}"]
        for words, tasks in (("gained", pair.gained), ("lost", pair.lost)):
            more = f" and {len(tasks) - 10} more (--json has all)" if len(tasks) > 10 else ""
            parts.append(escape(f"  {words} {len(tasks)}" + (": " if tasks else "") + ", ".join(tasks[:10]) + more))
        parts += [escape(f"  note: {note}") for note in pair.notes]
        parts.append("")
    if len(found.checkpoints) > 2:
        parts.append(
            f"Each against {escape(found.checkpoints[0])}; p values after Holm are corrected for the "
            f"{len(found.checkpoints) - 1} comparisons of a score, intervals are not."
        )
    return Group(*parts)


def _cells(figures: Figures) -> list[str]:
    percents = [f"{value:.1f}" for value in (figures.before, figures.after)]
    return [str(figures.n), *percents, f"{figures.difference:+.1f}", _interval(figures)]


def _interval(figures: Figures) -> str:
    return f"{figures.ci95[0]:+.1f} to {figures.ci95[1]:+.1f}" if figures.ci95 else "unknown"


def png(found: Comparison, path: Path) -> None:
    """Draw the differences with their intervals, a line each, those of groups of tasks below the whole.

    Raises:
        UserError: matplotlib is not installed, or the file's name is another format's.
    """
    if path.suffix.lower() != ".png":
        raise UserError(f"--png {path}: the picture is a PNG; give it a name in .png")
    try:
        agg, figures_of = (importlib.import_module(f"matplotlib.{name}") for name in ("backends.backend_agg", "figure"))
    except ImportError:
        raise UserError('--png needs matplotlib: pip install "plum-hub[plot]"') from None

    first, *others = found.checkpoints
    lines: list[tuple[str, Figures, str]] = []  # label, figures, p value
    headings: dict[int, str] = {}
    for pair in found.pairs:
        headings[len(lines) + len(headings)] = f"{pair.score}: {pair.after}" if len(others) > 1 else pair.score
        p = f"p {small(pair.p)}" if pair.p_holm is None else f"p {small(pair.p_holm)} (Holm)"
        lines.append(("all", pair.overall, p))
        lines += [(f"{t} {v}", figures, "") for t, values in pair.by.items() for v, figures in values.items()]
    rows = len(lines) + len(headings)
    places = [at for at in range(rows) if at not in headings]
    figure = figures_of.Figure(figsize=(10, 1.5 + 0.34 * rows), layout="constrained")
    figure.suptitle(f"{others[0]}\nagainst {first}" if len(others) == 1 else f"against {first}", fontsize=11)
    agg.FigureCanvasAgg(figure)  # draws into the file alone: there need be no screen
    axes = figure.add_subplot()
    axes.axvline(0, color="black", linewidth=1)
    for at, (_, figures, p) in zip(places, lines, strict=True):
        whole = at - 1 in headings
        color = "#1f4e79" if whole else "#8aa9c6"
        if figures.ci95:
            axes.plot(figures.ci95, [at, at], color=color, linewidth=3 if whole else 2, solid_capstyle="butt")
        axes.plot(figures.difference, at, "o", color=color, markersize=7 if whole else 5)
        said = f"{figures.difference:+.1f} ({_interval(figures)}), {figures.n} tasks" + (f", {p}" if p else "")
        axes.annotate(said, (1.01, at), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    for at, words in headings.items():
        box = {"facecolor": "white", "edgecolor": "none", "pad": 2}  # the line at 0 does not cross the words
        place = (0, at + 0.1)
        axes.annotate(
            words, place, xycoords=("axes fraction", "data"), va="center", fontsize=9, weight="bold", bbox=box
        )
    axes.set_yticks(places, [label for label, *_ in lines])
    axes.set_ylim(rows - 0.4, -0.6)
    axes.set_xlabel("difference in points, with its 95 % interval")
    axes.grid(axis="x", color="#dddddd")
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, format="png")
