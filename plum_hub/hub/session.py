"""Which Hub this process talks to: the one HF_ENDPOINT names, or the local one that a recipe or `--hub local` asks for.

To be entered before `huggingface_hub` and `datasets` are imported: they read the environment once, at import.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal


@contextmanager
def use_hub(which: Literal["local"] | None, runs: Path) -> Iterator[None]:
    """Start (or join) the local Hub under `runs` if it is asked for and HF_ENDPOINT names no other."""
    if which != "local" or os.environ.get("HF_ENDPOINT"):
        yield
        return
    from plum_hub.hub.local import environment, start

    hub = start(runs / "hub")
    os.environ.update(environment(hub))
    try:
        yield
    finally:
        hub.stop()
