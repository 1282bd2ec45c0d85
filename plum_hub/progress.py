"""Words and progress bars for a person, always on stderr: stdout belongs to results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

console = Console(stderr=True, highlight=False)


class Rate(ProgressColumn):
    """Items a second."""

    def render(self, task: Task) -> Text:
        """The bar's current rate as text."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "", style="progress.data.speed")


class Advance(Protocol):
    """Called with the number of items that have just been finished."""

    def __call__(self, done: int, /) -> None: ...


@contextmanager
def bar(description: str, total: int) -> Iterator[Advance]:
    """A progress bar with count, rate and time left; silent where stderr is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=total)
        yield lambda done: progress.advance(task, done)


def say(text: str) -> None:
    """One line for a person."""
    console.print(text, soft_wrap=True, markup=False)


def quiet() -> None:
    """Leave out the bars that the libraries draw for every small step, and all of them where stderr is no terminal."""
    import datasets
    import huggingface_hub.utils
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    if not console.is_terminal:
        huggingface_hub.utils.disable_progress_bars()
