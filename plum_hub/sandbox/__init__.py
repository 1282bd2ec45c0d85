"""Untrusted programs: run them (`Sandbox`) and check them without running (`check`).

Knows nothing of models, datasets or the Hub. TODO guarantees.
"""

from plum_hub.sandbox.engine import Sandbox, SandboxError, calibrate
from plum_hub.sandbox.jobs import Calls, Job, Limits, Record, Result, Stdin, Test, Unittest, Verdict
from plum_hub.sandbox.static import StaticResult, check

__all__ = [
    "Calls",
    "Job",
    "Limits",
    "Record",
    "Result",
    "Sandbox",
    "SandboxError",
    "StaticResult",
    "Stdin",
    "Test",
    "Unittest",
    "Verdict",
    "calibrate",
    "check",
]
