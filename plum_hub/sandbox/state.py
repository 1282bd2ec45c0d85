"""Whether a program may keep something from one call of it to the next: read off its text, on the safe side.

    keeps_state("seen = []\\ndef f(n): seen.append(n); return len(seen)")  # True
    keeps_state("def f(n): return n + 1")                                  # False

A suite of tests was checked on a program that had just been loaded. Where several suites meet one program that keeps
state, it has to be loaded for each; where it surely keeps none, once is enough. Not covered: state outside of the
program, which the sandbox refuses or takes away.
"""

from __future__ import annotations

import ast
from collections.abc import Set
from itertools import chain

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


def changes_objects(test: str) -> bool:
    """Whether a test itself may change a class or function of the program."""
    try:
        nodes = list(ast.walk(ast.parse(test)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return True
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    stored = any(not isinstance(node.ctx, ast.Load) for node in attributes)
    return stored or bool((names | {node.attr for node in attributes}) & (_REACHING | {"patch", "monkeypatch"}))
