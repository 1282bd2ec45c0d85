"""Tests that share a process with the program: unittest classes, and assertions that derive from its classes.

The program could do anything to such tests; no walls stand between them. So a suite that passed is run a second time,
in a new process, as a *challenge* in which no test may pass: every equality is asked of an object that nothing equals,
and every test ends in a failure with a fresh token. Whoever passes by objects that equal everything, by patched test
machinery, by leaving early or by rewriting results passes the challenge too, and is found out. A program that reads
this file, tells the two runs apart and behaves in the second is not.
"""

import ast
import builtins
import io
import operator
import sys
from typing import Any

from .common import MESSAGE_LIMIT, classify, describe

EQUALITIES = frozenset(
    (
        "assertEqual assertEquals assertAlmostEqual assertAlmostEquals assertListEqual assertDictEqual "
        "assertTupleEqual assertSetEqual assertSequenceEqual assertCountEqual assertMultiLineEqual "
        "assertIs"
    ).split()
)


class Forged(BaseException):
    """Something equals what nothing equals."""


class Impossible:
    """Equal to nothing, itself included."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True


def challenge(*values: Any) -> None:
    """Raises Forged when one of `values`, or what it holds, agrees with an impossible object."""
    waiting = list(values)
    for value in waiting:
        for compare in (operator.eq, operator.lt, operator.le, operator.gt, operator.ge, operator.sub):
            try:
                answer = compare(value, Impossible())  # type: ignore[arg-type]
            except Exception:
                continue
            if says_yes(answer) if compare is operator.eq else not says_nothing(value, compare, answer):
                raise Forged("an object that agrees with everything")
        if type(value) in (list, tuple, set, frozenset, dict) and len(waiting) < 10_000:
            waiting += value.values() if type(value) is dict else value


def says_yes(answer: Any) -> bool:
    """Whether a comparison holds; of arrays and tables, anywhere."""
    for _ in range(3):
        try:
            return bool(answer)
        except Exception:  # more than one element: ask for any, of a table for any of any
            try:
                answer = answer.any()
            except Exception:
                return False
    return False


def says_nothing(value: Any, compare: Any, answer: Any) -> bool:
    """Whether an answer where there should be none means nothing, by whose operator gave it: that of an array or table
    without elements, or of a mock, which can be subtracted from anything and gives another one that equals nothing."""
    if type(value) in _tables():
        return len(answer) == 0
    mock: Any = getattr(sys.modules.get("unittest.mock"), "NonCallableMock", None)
    if mock is None or compare is not operator.sub or not isinstance(value, mock) or not isinstance(answer, mock):
        return False
    return all(isinstance(one, mock) and _agrees_with_nothing(one) for one in (answer, abs(answer), round(answer, 7)))


def _tables() -> list[type]:
    """The very classes of numpy and pandas, as far as they are imported: a program's own may answer what it likes."""
    named = (("numpy", "ndarray"), ("pandas", "Series"), ("pandas", "DataFrame"), ("pandas", "Index"))
    return [getattr(sys.modules[module], name) for module, name in named if hasattr(sys.modules.get(module), name)]


def _agrees_with_nothing(mock: Any) -> bool:
    asked: tuple[tuple[Any, Any], ...] = (
        *((operator.eq, other) for other in (Impossible(), 0)),
        *((compare, other) for compare in (operator.lt, operator.gt) for other in (0, 1e-6)),
    )
    for compare, other in asked:
        try:
            if compare(mock, other):
                return False
        except TypeError:
            continue
    return True


#: Assertions that hold for nobody.
UNTENABLE: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("assertEqual", "assertAlmostEqual", "assertIs", "assertGreater", "assertGreaterEqual"), (1, 2)),
    **dict.fromkeys(("assertLess", "assertLessEqual"), (2, 1)),
    **dict.fromkeys(("assertNotEqual", "assertIsNot", "assertNotAlmostEqual"), (1, 1)),
    **{name: ([1], [2]) for name in ("assertListEqual", "assertSequenceEqual", "assertCountEqual")},
    "assertDictEqual": ({1: 1}, {}),
    "assertSetEqual": ({1}, {2}),
    "assertTupleEqual": ((1,), (2,)),
    "assertMultiLineEqual": ("a", "b"),
    "assertTrue": (False,),
    "assertFalse": (True,),
    "assertIsNone": (1,),
    "assertIsNotNone": (None,),
    "assertIn": (1, ()),
    "assertNotIn": (1, (1,)),
    "assertIsInstance": (1, str),
    "assertNotIsInstance": (1, int),
    "assertRegex": ("a", "b"),
    "assertRaises": (ValueError, int),
    "fail": (),
}


def machinery(case: Any) -> None:
    """Raises Forged when an assertion of a unittest case accepts what holds for nobody."""
    for name, arguments in UNTENABLE.items():
        try:
            getattr(case, name)(*arguments)
        except AssertionError:
            continue
        raise Forged(f"{name} accepts everything")


def compared(test: ast.expr) -> list[ast.expr]:
    """What a condition compares, down to the operands of its arithmetic."""
    if isinstance(test, ast.Compare):
        return [part for side in (test.left, *test.comparators) for part in compared(side)]
    if isinstance(test, ast.BinOp) and isinstance(test.op, ast.Sub):
        return compared(test.left) + compared(test.right)
    if isinstance(test, ast.BoolOp):
        return compared(test.values[0])  # the others may make sense only after it
    if isinstance(test, ast.UnaryOp):
        return compared(test.operand)
    if isinstance(test, ast.Call) and isinstance(test.func, ast.Name) and test.func.id in ("abs", "round"):
        return [part for argument in test.args for part in compared(argument)]
    return [test]


class Challenger(ast.NodeTransformer):
    """Rewrites a test so that an honest program fails it with `token`, whatever it computes."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.depth = 0

    def final(self) -> ast.stmt:
        return ast.parse(f"raise AssertionError({self.token!r})").body[0]

    def visit_Assert(self, node: ast.Assert) -> Any:
        self.generic_visit(node)
        return ast.Expr(ast.Call(ast.Name("__challenge__", ast.Load()), compared(node.test), []))

    def visit_Expr(self, node: ast.Expr) -> Any:
        self.generic_visit(node)
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr.startswith("assert"):
            name = call.func.attr
            if name in EQUALITIES:
                parts = [part for argument in call.args[:2] for part in compared(argument)]
                return ast.Expr(ast.Call(ast.Name("__challenge__", ast.Load()), parts, []))
            if name in ("assertTrue", "assertFalse", "assertIsNone", "assertIsNotNone", "assertIn", "assertNotIn"):
                parts = [part for argument in call.args for part in compared(argument)]
                return ast.Expr(ast.Call(ast.Name("__challenge__", ast.Load()), parts, []))
        return node

    def visit_FunctionDef(self, node: Any) -> Any:
        testing = node.name.startswith("test") and self.depth == 0
        self.depth += testing
        self.generic_visit(node)
        self.depth -= testing
        if testing and node.args.args:
            case = ast.Name(node.args.args[0].arg, ast.Load())
            node.body.insert(0, ast.Expr(ast.Call(ast.Name("__machinery__", ast.Load()), [case], [])))
        if testing:
            node.body.append(self.final())
        return node

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Return(self, node: ast.Return) -> Any:
        return self.final() if self.depth == 1 and node.value is None else node

    def visit_Lambda(self, node: ast.Lambda) -> Any:
        return node


def compiled(code: str, kind: str, token: str) -> Any:
    """The test as it is, or as a challenge when there is a `token`."""
    tree = ast.parse(code)
    if token:
        challenger = Challenger(token)
        tree = challenger.visit(tree)
        if kind == "asserts":
            tree.body.append(challenger.final())
    return compile(ast.fix_missing_locations(tree), "<test>", "exec", dont_inherit=True)


def unshadowed(code: str, namespace: dict[str, Any]) -> dict[str, Any]:
    """The program's names without those of built-ins, unless nothing else of the program is tested."""
    names = {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)} & set(namespace)
    shadows = {name for name in names if hasattr(builtins, name) and not name.startswith("__")}
    if not shadows or not names - shadows:
        return namespace
    return {name: value for name, value in namespace.items() if name not in shadows}


def run(code: str, kind: str, token: str, namespace: dict[str, Any]) -> list[tuple[str, str, str]]:
    """[(test, outcome, message)] of `code` below the program in `namespace`; `kind` is asserts or unittest."""
    namespace["__challenge__"], namespace["__machinery__"] = challenge, machinery
    try:
        program = compiled(code, kind, token)
    except (SyntaxError, ValueError, RecursionError) as error:
        return [("test", "error", describe(error))]
    namespace = unshadowed(code, namespace)
    if kind == "asserts":
        try:
            exec(program, namespace)
        except BaseException as error:
            return [("test", *classify(error, "failed", "error"))]
        return [("test", "passed", "")]
    return run_unittest(program, namespace)


def run_unittest(program: Any, namespace: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Every test method of the classes that `program` defines; those of the program under test are its own affair."""
    import unittest

    before = dict(namespace)
    namespace["__name__"] = "solution"  # a `unittest.main()` behind the usual guard must not run
    try:
        exec(program, namespace)
    except BaseException as error:
        return [("test", *classify(error, "failed", "error"))]
    namespace["__name__"] = "__main__"
    suite = unittest.TestSuite()
    for name, value in list(namespace.items()):
        new = before.get(name) is not value
        if new and isinstance(value, type) and issubclass(value, unittest.TestCase) and value is not unittest.TestCase:
            suite.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(value))
    verdicts: list[tuple[str, str, str]] = []
    skipped = {
        str(test)
        for test in suite
        if getattr(test, "__unittest_skip__", False)
        or getattr(getattr(test, getattr(test, "_testMethodName", ""), None), "__unittest_skip__", False)
    }

    class Result(unittest.TestResult):
        def note(self, test: Any, error: Any, asserted: str) -> None:
            verdicts.append((str(test), *classify(error[1], asserted, "error")))

        def addSuccess(self, test: Any) -> None:
            verdicts.append((str(test), "passed", ""))

        def addFailure(self, test: Any, err: Any) -> None:
            self.note(test, err, "failed")

        def addError(self, test: Any, err: Any) -> None:
            self.note(test, err, "error")

        def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
            if err is not None:
                self.note(subtest, err, "failed")

        def addSkip(self, test: Any, reason: str) -> None:
            declared = str(test) in skipped  # by a decorator of the test; the program has no business to skip
            verdicts.append((str(test), "skipped" if declared else "error", f"skipped: {reason}"[:MESSAGE_LIMIT]))

        def addExpectedFailure(self, test: Any, err: Any) -> None:
            verdicts.append((str(test), "skipped", "an expected failure"))

        def addUnexpectedSuccess(self, test: Any) -> None:
            verdicts.append((str(test), "failed", "an unexpected success"))

    kept = sys.stderr
    sys.stderr = io.StringIO()
    try:
        suite.run(Result())
    except BaseException as error:
        verdicts.append(("test", *classify(error, "failed", "error")))
    finally:
        sys.stderr = kept
    return verdicts
