"""Ctrl-C, or any error of a signal handler, at every point at which CPython can deliver it, one point a run.

CPython does not deliver a signal "between two lines". It looks for one (and for what `PyThreadState_SetAsyncExc` left, in
the very same code) where a function begins, where a loop jumps back, and when a call of something written in C has
returned: that call has had its effect, and its result is lost. Nothing can arrive between other instructions. So neither
lines nor plain instructions tell the truth: lines leave points out, and instructions invent some, as between the
`__enter__` of a lock and its block.

Here CPython decides itself. A first run with a tracer collects the instructions of an operation at which something may
begin or return. Then, for each of them, the operation is run afresh, and right before that instruction an interrupt is
requested, by a trace function that is written in C, so that the request cannot be answered inside the tracer. From there
on nothing is traced any more, and the interrupt is raised wherever CPython's own next look is.

A call in C that may wait can also raise the interrupt itself, and has then done nothing: those are tried as well.
"""

from __future__ import annotations

import _thread
import ctypes
import dis
import functools
import gc
import linecache
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any, ClassVar

import attrs

from storewriter._platform import threads

_request = ctypes.PYFUNCTYPE(
    ctypes.c_int, ctypes.c_ulong, ctypes.py_object, ctypes.py_object, ctypes.py_object, ctypes.py_object
)(("PyThreadState_SetAsyncExc", ctypes.pythonapi))
"""Called with the three arguments of a trace function behind its own two, which C does not mind."""

_idle = ctypes.PYFUNCTYPE(None, ctypes.py_object, ctypes.py_object, ctypes.py_object)(
    ("Py_IsInitialized", ctypes.pythonapi)
)
"""A trace function that does nothing, in C."""

# What a trace function returns is the frame's trace function from then on: one request, and no more.
_request.restype = {1: _idle}.get  # type: ignore[assignment]

# CPython 3.12 tells a tracer of instructions only if a frame had asked for them when the tracer was set.
sys._getframe().f_trace_opcodes = True

_MOST_ROUNDS = 3
"""How often the same instruction is tried, if the operation comes by it again and again."""

_WAITS = re.compile(r"(os\.open|fcntl\.flock|fcntl\.fcntl|_lock\.acquire|time\.sleep)\($")
"""Calls in C that may wait, and so look for signals themselves."""


class _Ours(BaseException):
    """Calls a function when one of them is made: as it is raised, or in older CPythons as it is caught."""

    made: ClassVar[Callable[[], None] | None] = None

    def __init__(self) -> None:
        super().__init__()
        if _Ours.made is not None:
            _Ours.made()


class Interrupt(_Ours, KeyboardInterrupt):
    """Ours, so that a real Ctrl-C still ends the run."""


class Alarm(_Ours, Exception):
    """An ordinary error out of a signal handler, such as the time limit of a job."""


class Expired(_Ours, TimeoutError):
    """A time limit that is a TimeoutError, hence an OSError: easily mistaken for a failed system call."""


class Ended(_Ours, StopIteration):
    """An error that Python itself takes for the end of an iterator: of a generator, of `next`, of an unpacking."""


class _Begun:
    """`_thread`, but a thread has begun when its start returns.

    Until then CPython 3.11 takes the new thread for the one that has started it (`thread_id` in `PyThreadState`), so that
    it would get the interrupt that is requested for the other one. A thread that was started before `interrupted` is
    called may still not have begun, so this replaces `_thread` as long as tests run that import this module.
    """

    allocate_lock = staticmethod(_thread.allocate_lock)

    @staticmethod
    def start_new_thread(call: Callable[..., object], args: tuple[Any, ...]) -> None:
        """See `_thread.start_new_thread`."""
        begun = _thread.allocate_lock()
        begun.acquire()

        def run() -> None:
            begun.release()
            call(*args)

        _thread.start_new_thread(run, ())
        begun.acquire()


threads._thread = _Begun  # type: ignore[assignment]


Kind = type[Interrupt] | type[Alarm] | type[Expired] | type[Ended]
KINDS: tuple[Kind, ...] = (Interrupt, Alarm, Expired)


@attrs.frozen
class Point:
    """An instruction, known again by how often it has come by."""

    code: CodeType
    before: int
    """Offset of the instruction before it in its frame; -1 where the frame begins."""
    turn: int
    instead: bool
    """Whether the call itself is interrupted before it has done anything."""


@attrs.frozen
class Landing:
    """Where the interrupt came out."""

    kind: str | None
    """What kind of error the operation ended with; None if it had ended before."""
    place: str
    """The function and line in which it was raised."""


Inside = Callable[[CodeType], bool]


def points(operation: Callable[[], object], inside: Inside) -> list[Point]:
    """Run the operation, and say at which points of the code `inside` it can be interrupted, in order."""
    found: dict[Point, None] = {}
    counts: Counter[tuple[CodeType, int]] = Counter()
    standing: dict[FrameType, tuple[tuple[int, int], tuple[int, int]]] = {}
    # By frame: the instruction before the one that runs now, and that one. Each with how often it has come by.

    def note(code: CodeType, before: tuple[int, int], *, instead: bool = False) -> None:
        if before[1] <= _MOST_ROUNDS:
            found[Point(code, *before, instead)] = None

    def local(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "opcode":
            code, offset = frame.f_code, frame.f_lasti
            counts[code, offset] += 1
            now = (offset, counts[code, offset])
            # A coroutine into which an error is thrown goes on without being called again.
            before = standing.get(frame, (now, now))[1]
            standing[frame] = (before, now)
            active, waiting = _looks(code)
            if offset in active:
                note(code, before)
            if offset in waiting:
                note(code, now, instead=True)
        elif event == "return":
            standing.pop(frame, None)
        return local

    def entered(frame: FrameType, event: str, arg: Any) -> Any:
        back, code = frame.f_back, frame.f_code
        if back is not None and back in standing:
            note(back.f_code, standing[back][0])  # a function begins here, whatever instruction it was that led to it
        if not inside(code):
            return None
        counts[code, -1] += 1
        standing[frame] = ((-1, 0), (-1, counts[code, -1]))
        return _each_instruction(frame, local)

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        operation()
    finally:
        sys.settrace(before)
    return list(found)


def interrupted(
    operation: Callable[[], object],
    point: Point,
    look: Callable[[Landing], None] | None = None,
    *,
    kind: Kind = Interrupt,
) -> Landing:
    """Run the operation with an interrupt at this point. What it raised has been dropped when this returns.

    `look` is called before that, while the error is still alive. `kind` is what arrives.

    The collector is off meanwhile: Hypothesis hooks a Python function into it, and an interrupt that is raised in
    there is reported as unraisable and dropped.
    """
    was_collecting = gc.isenabled()
    gc.disable()
    try:
        return _interrupted(operation, point, look, kind)
    finally:
        if was_collecting:
            gc.enable()


def _interrupted(
    operation: Callable[[], object], point: Point, look: Callable[[Landing], None] | None, kind: Kind
) -> Landing:
    before = sys.gettrace()
    sys.settrace(_armed_at(point, kind))
    try:
        try:
            operation()
        finally:
            sys.settrace(before)
        for _ in range(3):
            pass  # what was requested and has not been raised is raised here
    except BaseException as error:  # noqa: BLE001 - whatever it is, the test judges it
        landing = _landing(error)
        if look is not None:
            look(landing)
        return landing
    return Landing(None, "nowhere")


def interrupted_twice(
    operation: Callable[[], object], point: Point, inside: Inside, later: int, *, kind: Kind = Interrupt
) -> Landing:
    """The same, and once more `later` instructions after the first interrupt was caught."""
    left = later

    def local(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal left
        if event == "opcode":
            left -= 1
            if left <= 0:
                return _arm(frame, kind)
        return local

    def entered(frame: FrameType, event: str, arg: Any) -> Any:
        if not inside(frame.f_code):
            return None
        return _each_instruction(frame, local)

    def made() -> None:
        _Ours.made = None
        sys.settrace(entered)
        frame = sys._getframe(2)  # the frame that caught it; above it is `_Ours.__init__`
        while frame is not None and frame.f_code is not _interrupted.__code__:
            if inside(frame.f_code):
                _each_instruction(frame, local)
            frame = frame.f_back  # type: ignore[assignment]

    _Ours.made = made
    try:
        return interrupted(operation, point, kind=kind)
    finally:
        _Ours.made = None
        # Until 3.12 a frame that was traced keeps a copy of its variables: with the error among them, that is a cycle.
        gc.collect(0)


def _armed_at(point: Point, kind: Kind) -> Any:
    """A trace function that requests the interrupt when the point is reached."""
    seen = 0

    def local(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal seen
        if event == "opcode" and frame.f_lasti == point.before:
            seen += 1
            if seen == point.turn:
                if point.instead:
                    raise kind
                return _arm(frame, kind)
        return local

    def entered(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal seen
        if frame.f_code is not point.code:
            return None
        if point.before == -1:
            seen += 1
            return _each_instruction(frame, _arm(frame, kind)) if seen == point.turn else None
        return _each_instruction(frame, local)

    return entered


def _each_instruction(frame: FrameType, trace: Any) -> Any:
    """Have this frame's trace function called for each instruction, and not for lines; returns that function."""
    frame.f_trace = trace  # first: CPython 3.13 does not take the next wish from a frame that is not traced
    frame.f_trace_lines = False
    frame.f_trace_opcodes = True
    return trace


def _arm(frame: FrameType, kind: Kind) -> Any:
    """Nothing is traced any more, but for the one request before this frame's next instruction."""
    sys.settrace(_idle)
    back = frame.f_back
    while back is not None:
        back.f_trace = None
        back = back.f_back
    return functools.partial(_request, threading.get_ident(), kind)


def _landing(error: BaseException) -> Landing:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return Landing(type(error).__name__, "nowhere")
    code = trace.tb_frame.f_code
    name = code.co_filename.rpartition("/")[2]
    return Landing(type(error).__name__, f"{name}:{trace.tb_lineno} {code.co_qualname}")


@functools.cache
def _looks(code: CodeType) -> tuple[frozenset[int], frozenset[int]]:
    """Offsets of the instructions after which CPython looks for signals; and of the calls that look by themselves."""
    active: set[int] = set()
    waiting: set[int] = set()
    for step in dis.get_instructions(code):
        if step.opname.startswith("CALL") or "JUMP_BACKWARD" in step.opname:
            active.add(step.offset)
        if step.opname.startswith("CALL") and _WAITS.search(_called(code, step)):
            waiting.add(step.offset)
    return frozenset(active), frozenset(waiting)


def _called(code: CodeType, step: dis.Instruction) -> str:
    """The text of a call up to its opening parenthesis."""
    place = step.positions
    if place is None or place.lineno is None or place.col_offset is None:
        return ""
    text = linecache.getline(code.co_filename, place.lineno)[place.col_offset :]
    return text[: text.find("(") + 1]
