"""Which Hub this process talks to: the one HF_ENDPOINT names, or the local one that a recipe or `--hub local` asks for.

To be entered before `huggingface_hub` and `datasets` are imported: they read the environment once, at import.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from plum_hub.errors import UserError


@contextmanager
def use_hub(which: Literal["local"] | None, runs: Path, always: bool = False) -> Iterator[None]:
    """Start (or join) the local Hub under `runs` if it is asked for.

    A recipe's `hub: local` gives way to an HF_ENDPOINT that names another; `--hub local` does not (`always`).
    """
    _check_endpoint(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    if which != "local" or (os.environ.get("HF_ENDPOINT") and not always):
        yield
        return
    from plum_hub.hub.local import environment, start

    hub = start(runs / "hub")
    os.environ.update(environment(hub))
    try:
        yield
    finally:
        hub.stop()


def _check_endpoint(endpoint: str) -> None:
    """Refuse what is no address, before `huggingface_hub` fails on it at import."""
    try:
        address = urlsplit(endpoint)
        good = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
    except ValueError:
        good = False
    if not good:
        raise UserError(f"HF_ENDPOINT={endpoint} is not an address; write http://host:port")
