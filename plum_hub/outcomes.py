"""The closed set of verdicts, used from the sandbox to the card.

Pure data: no imports beyond the standard library, so every room may use it.
"""

from enum import StrEnum


class Outcome(StrEnum):
    """What happened when a program, or one test of it, was run.

    The order is that of severity: the outcome of a program is the worst of its tests' outcomes. A program that failed
    one test has failed, whatever became of the others; one that failed none and has a test without a verdict has none.
    """

    PASSED = "passed"
    INFRA_ERROR = "infra_error"  # ours, never the program's: never a label
    FAILED = "failed"  # an assertion of the test did not hold
    ERROR = "error"  # an exception other than a failed assertion, while the test ran
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT_LIMIT = "output_limit"
    CRASHED = "crashed"  # the process died by a signal or left without a verdict
    BLOCKED = "blocked"  # the sandbox refused what the program tried
    LOAD_ERROR = "load_error"  # the program does not run on its own, before any test
    STATIC_ERROR = "static_error"  # the static checker (mypy) refuses it
    SYNTAX_ERROR = "syntax_error"


#: PLUM section 3: these do not become "rejected"; they teach syntax, not function (section 4.3).
NOT_RUNNABLE = frozenset({Outcome.SYNTAX_ERROR, Outcome.STATIC_ERROR, Outcome.LOAD_ERROR})


def worst(outcomes: list[Outcome]) -> Outcome:
    """The most severe of `outcomes`; `PASSED` when there are none to disagree."""
    order = list(Outcome)
    return max(outcomes, key=order.index, default=Outcome.PASSED)
