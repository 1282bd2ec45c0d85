"""Untrusted programs: run them (`Sandbox`) and check them without running (`check`).

Knows nothing of models, datasets or the Hub. What is guaranteed and what is not: see `engine.py` and `static.py`.
"""

from plum_hub.sandbox.engine import Job, Limits, Result, Sandbox, SandboxError, Verdict
from plum_hub.sandbox.static import StaticResult, check

__all__ = ["Job", "Limits", "Result", "Sandbox", "SandboxError", "StaticResult", "Verdict", "check"]
