"""Scores of checkpoints: one file a benchmark, one for statistics.

    from plum_hub.evaluate import nano
    scores, _ = nano.evaluate(engine, sandbox, n=4, ...)

A benchmark samples through an engine, judges in the sandbox and returns `Score`s. Not covered yet: HumanEval+, MBPP+,
LiveCodeBench, BigCodeBench.
"""
