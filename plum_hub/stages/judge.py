"""Stage 3, judge: each sample against all kept tests of its instruction, and PLUM's label for it.

PLUM section 3: passes every test -> chosen; runs but fails at least one -> rejected; has a syntax error, fails the
static check (mypy, footnote 2) or does not run on its own -> dropped. A fault of the sandbox is never a label.

Where the tests came without a reference solution, the samples decide which tests count, by CodeT's dual execution
agreement (arXiv 2207.10397; PLUM's consistency check cites it as its model): samples that pass the same set of tests
form a group, a group scores (number of samples) x (number of tests they pass), and the tests that the best group passes
are the ones that count.

The tests of one response were accepted together, on a program that had run nothing else. So a program that may remember
earlier calls (`keeps_state`) is loaded anew for each response's tests, and one that cannot runs all of them in one go,
which costs a third of it. Within a response the tests still share a loaded program, as they did when they were
accepted; bare assertions (`tests.format: assertions`) are no exception.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Set
from itertools import chain
from typing import Any, Literal

from datasets import Features, List, Value

from plum_hub.outcomes import NOT_RUNNABLE, Outcome, worst
from plum_hub.sandbox import Job, Result, Sandbox, Verdict, calibrate
from plum_hub.sandbox.static import check
from plum_hub.stages import columns, rows

CHOSEN, REJECTED = "chosen", "rejected"
NO_CODE = "no_code"  # why an answer in which no program was found has no label

FEATURES = Features(
    {
        "instruction_id": Value("string"),
        "sample_id": Value("string"),
        "static_outcome": Value("string"),  # no_code, or what the static check found; empty when it found nothing
        "static_messages": List(Value("string")),
        "outcome": Value("string"),  # over the counted tests; empty where nothing was run
        "message": Value("string"),
        "seconds": Value("float32"),  # wall clock: the one column that differs between equal runs
        "tests": List(
            {
                "test_id": Value("string"),
                "outcome": Value("string"),
                "seconds": Value("float32"),
                "counted": Value("bool"),  # took part in the label
            }
        ),
        "passed": Value("int32"),  # of the counted tests
        "counted": Value("int32"),
        "label": Value("string"),  # chosen, rejected, or empty
        "reason": Value("string"),  # why there is no label
    }
)


def judge(
    batch: dict[str, list[Any]],
    tests: dict[str, dict[str, str]],
    references: dict[str, list[tuple[str, tuple[str, ...]]]],
    consistency: str,
    static_check: Literal["mypy", "syntax"],
    sandbox: Sandbox,
) -> dict[str, list[Any]]:
    """Verdicts and labels for a shard's samples.

    Args:
        batch: columns of the samples: `instruction_id`, `sample_id`, `code`.
        tests: `plum_hub.stages.tests.kept_tests` of the same instructions.
        references: `plum_hub.stages.tests.references` of the same; each is run first, here, and sets the time limit of
            its instruction's samples. An instruction without any has the sandbox's own limit.
        consistency: `reference` (all kept tests count) or `consensus` (see the module's docstring).
        static_check: `mypy` or `syntax`.

    Returns:
        Columns of `FEATURES`, one row a sample, in the samples' order.
    """
    samples = rows(batch)
    suites = [tests.get(row["instruction_id"], {}) for row in samples]
    static = check([row["code"] for row in samples], static_check)
    # Equal programs with equal tests are run once: at T = 1 a small policy repeats itself a lot.
    programs: dict[str, dict[str, None]] = {}  # instruction id -> programs
    for row, suite, verdict in zip(samples, suites, static, strict=True):
        if suite and verdict.outcome is None and row["code"].strip():
            programs.setdefault(row["instruction_id"], {})[row["code"]] = None
    results = _run(programs, tests, _time_limits(references, sandbox), sandbox)
    made = []
    for row, suite, verdict in zip(samples, suites, static, strict=True):
        result = results.get((row["code"], row["instruction_id"]))
        made.append(_row(row, list(suite), verdict.outcome, verdict.messages, result))
    for group in _by_instruction(made):
        counted = _consensus(group) if consistency == "consensus" else None
        for row in group:
            _label(row, counted)
    return columns(made, FEATURES)


def _run(
    programs: dict[str, dict[str, None]], tests: dict[str, dict[str, str]], seconds: dict[str, float], sandbox: Sandbox
) -> dict[tuple[str, str], Result]:
    """(program, instruction id) -> its result, with the verdicts in the order of the instruction's tests.

    Args:
        programs: by instruction id.
        tests: test id -> test, by instruction id.
        seconds: the instructions' time limits, where there is one; those of the whole sandbox hold for each time that a
            program is loaded.
    """
    jobs: list[Job] = []
    asked: list[tuple[tuple[str, str], list[str]]] = []  # for each job, what it is for, and its tests' ids
    for instruction_id, codes in programs.items():
        suite = tests[instruction_id]
        parts: dict[str, list[str]] = {}  # response -> its tests' ids
        for test_id in suite:
            parts.setdefault(test_id.partition(":")[0], []).append(test_id)
        apart = len(parts) > 1 and any(map(_changes_objects, suite.values()))
        careful = [code for code in codes if len(parts) > 1 and (apart or keeps_state(code))]
        others = [code for code in codes if code not in careful]
        # Programs with the same tests follow each other: the sandbox takes equal tests in once.
        for test_ids, some in [(list(suite), others), *((part, careful) for part in parts.values())]:
            chosen = tuple(suite[test_id] for test_id in test_ids)
            jobs += [Job(code, chosen, seconds.get(instruction_id)) for code in some]
            asked += [((code, instruction_id), test_ids) for code in some]
    results = list(sandbox.run(jobs))
    without = [i for i, result in enumerate(results) if result.outcome is Outcome.INFRA_ERROR]
    for i, result in zip(without, sandbox.run(jobs[i] for i in without), strict=True):
        results[i] = result  # once more; see `_label`
    found: dict[tuple[str, str], list[Result]] = {}
    verdicts: dict[tuple[str, str], dict[str, Verdict]] = {}
    for (key, test_ids), result in zip(asked, results, strict=True):
        found.setdefault(key, []).append(result)
        verdicts.setdefault(key, {}).update(zip(test_ids, result.tests, strict=True))
    return {key: _joined(some, [verdicts[key][i] for i in tests[key[1]]]) for key, some in found.items()}


def _joined(results: list[Result], verdicts: list[Verdict]) -> Result:
    """Several runs of one program as one result."""
    outcome = worst([result.outcome for result in results])
    decisive = next(result for result in results if result.outcome is outcome)
    return Result(outcome, sum(result.seconds for result in results), decisive.message, tuple(verdicts))


#: Modules of which nothing that a program does with them is remembered (neither `random` nor `enum`, whose members live
#: as long as the program).
_FORGETFUL = frozenset(
    "__future__ abc array ast base64 binascii bisect cmath collections contextlib copy dataclasses datetime decimal "
    "difflib fractions functools hashlib heapq html io itertools json keyword math numbers operator pprint queue re "
    "statistics string struct textwrap time types typing typing_extensions unicodedata uuid zlib".split()
)
_DECORATORS = frozenset("abstractmethod classmethod dataclass override property staticmethod total_ordering".split())
_ACCESSORS = frozenset("getter setter deleter".split())  # of a property, which is the program's own
_MAKERS = frozenset("NewType TypeVar bool complex field float frozenset int namedtuple range str tuple".split())
_REACHING = frozenset(  # names through which a program reaches what lives longer than a call
    "__annotations__ __builtins__ __closure__ __defaults__ __delattr__ __dict__ __globals__ __import__ __kwdefaults__ "
    "__setattr__ delattr eval exec getcontext globals locals open setattr setcontext vars".split()
)


def keeps_state(code: str) -> bool:
    """Whether a program may keep anything from one call of it to the next; False only where it surely does not.

    Read off the program's text: at module and class level only imports of `_FORGETFUL` modules, definitions without
    mutable default values and without other decorators than `_DECORATORS`, immutable values, and expressions whose
    value is lost; nowhere `global`, and no attribute set on anything but a method's own object.
    """
    try:
        tree = ast.parse(code)
        return not all(map(_forgets, tree.body)) or _reaches(tree)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True


def _forgets(node: ast.stmt) -> bool:
    """Whether a statement at module or class level leaves nothing behind that can change."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            known = all(_is_known(decorator, _DECORATORS | _ACCESSORS) for decorator in node.decorator_list)
            return known and _immutable_defaults(node.args)  # what is inside is for `_reaches`
        case ast.ClassDef():
            bases = [base for base in node.bases if not isinstance(base, ast.Call) or _is_known(base, _MAKERS)]
            plain = len(bases) == len(node.bases) and all(ast.unparse(base) != "type" for base in bases)
            meta = all(_is_known(keyword.value, {"ABCMeta"}) for keyword in node.keywords if keyword.arg == "metaclass")
            known = all(_is_known(decorator, _DECORATORS) for decorator in node.decorator_list)
            return plain and meta and known and all(map(_forgets, node.body))
        case ast.Import() | ast.ImportFrom() | ast.Pass() | ast.Expr():
            return True
        case ast.Assign() | ast.AnnAssign():
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = all(isinstance(name, ast.Name | ast.Tuple) for name in targets)
            return names and (node.value is None or _immutable(node.value))
        case ast.If():  # a program that is tested is no script: this never runs
            return ast.unparse(node.test) == "__name__ == '__main__'" and not node.orelse
    return False


def _immutable(node: ast.expr) -> bool:
    """Whether an expression's value can surely not change."""
    match node:
        case ast.Constant() | ast.Name():  # what a name stands for is judged where it gets its value
            return True
        case ast.Attribute():
            return _immutable(node.value)
        case ast.Lambda():
            return _immutable_defaults(node.args)
        case ast.Call():
            values = (*node.args, *(keyword.value for keyword in node.keywords))
            return _is_known(node.func, _MAKERS) and all(map(_immutable, values))
        case ast.Tuple() | ast.BinOp() | ast.UnaryOp() | ast.BoolOp() | ast.Compare() | ast.Subscript() | ast.Slice():
            return all(_immutable(child) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr))
    return False


def _immutable_defaults(arguments: ast.arguments) -> bool:
    return all(map(_immutable, (*arguments.defaults, *filter(None, arguments.kw_defaults))))


def _is_known(node: ast.expr, names: Set[str]) -> bool:
    """Whether this is one of `names`, called or not, plain or of its module."""
    if isinstance(node, ast.Call):
        node = node.func
    match node:
        case ast.Name():
            return node.id in names - _ACCESSORS
        case ast.Attribute(value=ast.Name(id=owner)):
            return node.attr in names and (owner in _FORGETFUL or node.attr in _ACCESSORS)
    return False


def _reaches(tree: ast.Module) -> bool:
    """Whether anything in a program may change what lives longer than a call, or `_forgets` was misled by a name."""
    own = {id(target) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for target in _own_attributes(node)}
    misleading = _DECORATORS | _MAKERS | _FORGETFUL | {"ABCMeta"}
    for node in ast.walk(tree):
        match node:
            case ast.Global() | ast.NamedExpr():
                return True
            case ast.Import():
                if any(alias.name.partition(".")[0] not in _FORGETFUL for alias in node.names):
                    return True
            case ast.ImportFrom():
                if node.level or (node.module or "").partition(".")[0] not in _FORGETFUL:
                    return True
            case ast.alias():
                if node.name in _REACHING | {"*"} or node.asname in misleading - {node.name}:
                    return True
            case ast.Attribute():
                if node.attr in _REACHING or (not isinstance(node.ctx, ast.Load) and id(node) not in own):
                    return True
            case ast.Name():
                if node.id in _REACHING:
                    return True
    at_top = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    bound = {node.name for node in at_top} | {
        name.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for name in ast.walk(node)
        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
    }
    return bool(bound & misleading)


def _own_attributes(made: ast.ClassDef) -> list[ast.Attribute]:
    """The attributes that a class' methods set on their own object."""
    found: list[ast.Attribute] = []
    for method in made.body:
        if not isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) or not method.args.args:
            continue
        of_class = method.name in ("__new__", "__init_subclass__", "__class_getitem__")
        if of_class or any(_is_known(made_by, {"classmethod", "staticmethod"}) for made_by in method.decorator_list):
            continue
        own = method.args.args[0].arg
        nodes = list(chain.from_iterable(map(ast.walk, method.body)))
        if any(isinstance(n, ast.Name) and n.id == own and not isinstance(n.ctx, ast.Load) for n in nodes):
            continue  # it may have become something else
        if any(isinstance(n, ast.arg) and n.arg == own for n in nodes):
            continue
        found += [
            n for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == own
        ]
    return found


def _changes_objects(test: str) -> bool:
    """Whether a test itself may change a class or function of the program."""
    try:
        nodes = list(ast.walk(ast.parse(test)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    stored = any(not isinstance(node.ctx, ast.Load) for node in attributes)
    return stored or bool((names | {node.attr for node in attributes}) & (_REACHING | {"patch", "monkeypatch"}))


def _time_limits(references: dict[str, list[tuple[str, tuple[str, ...]]]], sandbox: Sandbox) -> dict[str, float]:
    """Instruction id -> seconds; the most patient of its references decides."""
    runs = [(i, Job(solution, suite)) for i, pairs in references.items() for solution, suite in pairs]
    limits: dict[str, float] = {}
    for (i, _), found in zip(runs, calibrate(sandbox, [job for _, job in runs]), strict=True):
        limits[i] = max(limits.get(i, 0.0), sandbox.limits.seconds if found is None else found)
    return limits


def _row(
    sample: dict[str, Any],
    test_ids: list[str],
    static_outcome: Outcome | None,
    messages: tuple[str, ...],
    result: Result | None,
) -> dict[str, Any]:
    static = static_outcome.value if static_outcome else ""
    if not sample["code"].strip():  # an answer without a program: Python runs nothing well
        static, static_outcome = NO_CODE, Outcome.SYNTAX_ERROR
    outcome = result.outcome if result else static_outcome
    verdicts = zip(test_ids, result.tests, strict=True) if result else ()
    return {
        "instruction_id": sample["instruction_id"],
        "sample_id": sample["sample_id"],
        "static_outcome": static,
        "static_messages": list(messages),
        "outcome": outcome.value if outcome else "",
        "message": result.message if result else "",
        "seconds": result.seconds if result else 0.0,
        "tests": [
            {"test_id": test_id, "outcome": v.outcome.value, "seconds": v.seconds, "counted": True}
            for test_id, v in verdicts
        ],
    }


def _by_instruction(made: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    groups = defaultdict(list)
    for row in made:
        groups[row["instruction_id"]].append(row)
    return list(groups.values())


def _consensus(group: list[dict[str, Any]]) -> set[str]:
    """The test ids that CodeT's best consensus set passes; ties go to more samples, then to the ids."""
    agreeing: dict[frozenset[str], int] = defaultdict(int)
    for row in group:
        passed = frozenset(test["test_id"] for test in row["tests"] if test["outcome"] == Outcome.PASSED)
        if passed:
            agreeing[passed] += 1
    if not agreeing:
        return set()

    def score(tests: frozenset[str]) -> tuple[int, int, list[str]]:
        return agreeing[tests] * len(tests), agreeing[tests], sorted(tests)

    best = max(agreeing, key=score)
    return set(best)


def _label(row: dict[str, Any], counted: set[str] | None) -> None:
    """PLUM's rule on the tests that count; sets `label` or `reason`, and the outcome over those tests."""
    for test in row["tests"]:
        test["counted"] = counted is None or test["test_id"] in counted
    outcomes = [Outcome(test["outcome"]) for test in row["tests"] if test["counted"]]
    row |= {"passed": outcomes.count(Outcome.PASSED), "counted": len(outcomes), "label": "", "reason": ""}
    if row["static_outcome"] or row["outcome"] in NOT_RUNNABLE:
        row["reason"] = row["static_outcome"] or row["outcome"]
        return
    if not outcomes:
        row["reason"] = "no_consensus" if row["tests"] else "no_tests"
        return
    row["outcome"] = worst(outcomes).value
    match worst(outcomes):
        case Outcome.PASSED:
            row["label"] = CHOSEN
        case Outcome.INFRA_ERROR:
            row["reason"] = Outcome.INFRA_ERROR.value
        case _:
            row["label"] = REJECTED
