"""One real local Hub for the whole test run; its variables are set before any Hugging Face library is imported."""

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
# A shell ignores Ctrl-C for what it starts in the background, and every process of the tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
_scratch = Path(tempfile.mkdtemp(prefix="plum-hub-tests-"))
atexit.register(shutil.rmtree, _scratch, ignore_errors=True)

from plum_hub.hub import local  # noqa: E402

HUB = local.start(_scratch / "hub")
atexit.register(HUB.stop)
os.environ.update(local.environment(HUB))
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("PLUM_CACHE", str(_scratch / "plum-cache"))


@pytest.fixture(scope="session")
def data() -> Path:
    """Real public data, which is not part of the project: PLUM_DATA names the folder."""
    folder = Path(os.environ.get("PLUM_DATA", ROOT / "../shared/data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}: set PLUM_DATA")
    return folder


@pytest.fixture(scope="module")
def faulty() -> Iterator[Any]:
    """An OpenAI-compatible server that misbehaves as its model's name says."""
    from servers import Faulty

    server = Faulty()
    yield server
    server.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The `openai:` engine waits less between attempts."""
    from plum_hub.generate import openai

    monkeypatch.setattr(openai, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(openai, "LONGEST_WAIT", 0.5)
