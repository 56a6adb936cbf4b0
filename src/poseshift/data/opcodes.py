"""The opcodes of pickle files, protocols 0 to 5, interpreted here; :mod:`poseshift.data.pickles` is the way in.

A global is a row of :data:`~poseshift.data.pickled_arrays.ALLOWED`, never an import; a "call" is one of six cases in
``reduce``, and arrays are built from their bytes, so nothing of numpy ever sees a state that the file made up. No
length that a file declares is believed before so many bytes are there.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from poseshift.data.pickled_arrays import ALLOWED, DTYPE, Refused, array, need

MAX_OPCODES = 20_000_000
_LONG_BYTES = 16
KEYS = (type(None), bool, int, float, str, bytes)
_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_ESCAPED = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\", b"'": b"'", b'"': b'"'}


class _Global:
    """An allowed global on the stack: a name, nothing that could be called."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Pending:
    """An array or a dtype between its construction and its state; the memo keeps pointing at it."""

    def __init__(self, code: str | None = None) -> None:
        self.code = code
        self.value: Any = None


class _Machine:
    """The stack machine of the pickle format, over one file's bytes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.budget = 4 * len(data) + 4096

    def run(self) -> Any:
        """Execute until STOP; the value on top of the stack."""
        data, size = self.data, len(self.data)
        for _ in range(MAX_OPCODES):
            if self.at >= size:
                raise Refused("it ends without STOP: truncated")
            code = data[self.at]
            self.at += 1
            if code == 0x2E:  # STOP
                need(len(self.stack) == 1, f"{len(self.stack)} values at STOP, expected 1")
                return self.stack[0]
            operation = _OPERATIONS.get(code)
            if operation is None:
                raise Refused(f"opcode 0x{code:02x} is not allowed")
            operation(self)
        raise Refused(f"more than {MAX_OPCODES:,} opcodes")

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes."""
        left = len(self.data) - self.at
        if count > left:
            raise Refused(f"{count} bytes declared where {left} are left")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, kind: str) -> Any:
        """A binary number."""
        return struct.unpack(kind, self.take(struct.calcsize(kind)))[0]

    def line(self) -> bytes:
        """Up to the next line feed, which is passed over."""
        end = self.data.find(b"\n", self.at)
        need(end >= 0, "a line that does not end: truncated")
        text, self.at = self.data[self.at : end], end + 1
        return text

    def charge(self, amount: int) -> None:
        """Count what is made out of thin air, such as a copy of a value in the memo."""
        self.budget -= amount
        need(self.budget >= 0, "it unfolds to far more than its size")

    def above_mark(self) -> list[Any]:
        """The values above the last mark, taken off the stack."""
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def push_tuple(self, count: int) -> None:
        values = tuple(self.stack[-count:])
        need(len(values) == count, "the stack is empty")
        del self.stack[-count:]
        self.stack.append(values)

    def get(self, index: int) -> None:
        value = self.memo[index]
        resolved = isinstance(value, _Pending) and value.value is not None
        self.stack.append(value.value if resolved else value)

    def append(self, values: list[Any]) -> None:
        need(type(self.stack[-1]) is list, "items for something that is no list")
        self.stack[-1].extend(values)

    def push_dict(self) -> None:
        values = self.above_mark()
        self.stack.append({})
        self.set_items(values)

    def set_item(self) -> None:
        values = self.stack[-2:]
        del self.stack[-2:]
        self.set_items(values)

    def set_items(self, values: list[Any]) -> None:
        into = self.stack[-1]
        need(type(into) is dict and len(values) % 2 == 0, "items for something that is no dict")
        for key, value in zip(values[::2], values[1::2], strict=True):
            # Python hashes nested tuples by C recursion without a limit, so a key may hold no tuple inside a tuple.
            flat = isinstance(key, tuple) and all(isinstance(part, KEYS) for part in key)
            if not flat and not isinstance(key, (*KEYS, np.generic)):
                raise Refused(f"a {type(key).__name__} as key of a dict")
            into[key] = value

    def named(self, module: Any, name: Any) -> None:
        kind = ALLOWED.get((module, name)) if isinstance(module, str) and isinstance(name, str) else None
        if kind is None:
            raise Refused(f"it names {str(module)[:80]}.{str(name)[:80]}, which no file may")
        self.stack.append(_Global(kind))

    def stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.named(module, name)

    def reduce(self) -> None:
        """What a call would be: one of the six functions that stand for globals."""
        arguments, function = self.stack.pop(), self.stack.pop()
        need(isinstance(function, _Global) and isinstance(arguments, tuple), "a call of something that is no function")
        match function.name, arguments:
            case "_reconstruct", (_Global(name="ndarray"), (0,), "b" | b"b"):
                self.stack.append(_Pending())
            case "dtype", (str() | bytes() as given, *_):
                code = given if isinstance(given, str) else given.decode("latin-1")
                need(DTYPE.fullmatch(code) is not None, f"dtype {code[:40]!r}; expected numbers, texts or objects")
                self.stack.append(_Pending(code))
            case "scalar", (np.dtype() as dtype, data) if not dtype.hasobject:
                self.stack.append(array(data, dtype, (1,), "C")[0])
            case "_frombuffer", (bytes() | bytearray() as data, dtype, shape, order, *rest) if not any(rest):
                self.stack.append(array(data, dtype, shape, order))
            case "encode", (str() as text, "latin1" | "latin-1" | "latin_1"):
                self.charge(len(text))
                self.stack.append(text.encode("latin-1"))
            case "bytes", ():
                self.stack.append(b"")
            case _:
                raise Refused(f"{function.name} with arguments that numpy does not write")

    def build(self) -> None:
        """The state of an array or a dtype; nothing else has one."""
        state, pending = self.stack.pop(), self.stack[-1]
        need(isinstance(pending, _Pending) and pending.value is None, "a state for something that takes none")
        match state:
            case (int(), str() | bytes() as order, None, None, None, *_) if pending.code is not None:
                symbol = order if isinstance(order, str) else order.decode("latin-1")
                need(symbol in ("<", ">", "|", "="), f"byte order {symbol[:8]!r}")
                pending.value = np.dtype(pending.code).newbyteorder(symbol)
            case (int(), tuple() as shape, np.dtype() as dtype, bool() | int() as fortran, data) if not pending.code:
                self.charge(len(data))
                pending.value = array(data, dtype, shape, "F" if fortran else "C")
            case _:
                raise Refused("a state that numpy does not write for plain arrays")
        self.stack[-1] = pending.value

    def integer(self) -> None:
        text = self.line()
        self.stack.append({b"00": False, b"01": True}[text] if text in (b"00", b"01") else _decimal(text))

    def string(self) -> None:
        """Protocol 0 of Python 2: what ``repr`` gave."""
        text = self.line().strip()
        need(len(text) > 1 and text[0] == text[-1] and text[:1] in (b"'", b'"'), "a string without quotes")
        self.stack.append(_ESCAPE.sub(_unescape, text[1:-1]).decode("latin-1"))

    def text(self, kind: str) -> None:
        self.stack.append(self.take(self.number(kind)).decode("utf-8", "surrogatepass"))

    def long(self, count: int) -> None:
        need(count <= _LONG_BYTES, f"an integer of {count} bytes, at most {_LONG_BYTES} are read")
        self.stack.append(int.from_bytes(self.take(count), "little", signed=True))

    def protocol(self) -> None:
        version = self.number("<B")
        need(version <= 5, f"protocol {version}, at most 5 is known")

    def frame(self) -> None:
        count, left = self.number("<Q"), len(self.data) - self.at
        need(count <= left, f"a frame of {count} bytes where {left} are left")


def _decimal(text: bytes) -> int:
    need(len(text) <= 40, "a very long integer")
    return int(text.removesuffix(b"L"))


def _unescape(match: re.Match[bytes]) -> bytes:
    code = match[1]
    need(code[:1] == b"x" or code in _ESCAPED, f"escape {match[0]!r} in a string")
    return bytes.fromhex(code[1:].decode("ascii")) if code[:1] == b"x" else _ESCAPED[code]


def _push(value: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    return lambda m: m.stack.append(value(m))


def _store(index: Callable[[_Machine], int]) -> Callable[[_Machine], None]:
    def operation(m: _Machine) -> None:
        m.memo[index(m)] = m.stack[-1]

    return operation


_OPERATIONS: dict[int, Callable[[_Machine], Any]] = {
    ord("("): lambda m: m.marks.append(len(m.stack)),
    ord("0"): lambda m: m.stack.pop(),
    ord("1"): lambda m: m.above_mark(),
    ord("2"): lambda m: m.stack.append(m.stack[-1]),
    ord("N"): _push(lambda m: None),
    0x88: _push(lambda m: True),
    0x89: _push(lambda m: False),
    ord("I"): lambda m: m.integer(),
    ord("L"): _push(lambda m: _decimal(m.line())),
    ord("J"): _push(lambda m: m.number("<i")),
    ord("K"): _push(lambda m: m.number("<B")),
    ord("M"): _push(lambda m: m.number("<H")),
    0x8A: lambda m: m.long(m.number("<B")),
    0x8B: lambda m: m.long(m.number("<I")),
    ord("F"): _push(lambda m: float(m.line())),
    ord("G"): _push(lambda m: m.number(">d")),
    ord("S"): lambda m: m.string(),
    ord("T"): _push(lambda m: m.take(m.number("<I")).decode("latin-1")),
    ord("U"): _push(lambda m: m.take(m.number("<B")).decode("latin-1")),
    ord("V"): _push(lambda m: m.line().decode("raw-unicode-escape")),
    ord("X"): lambda m: m.text("<I"),
    0x8C: lambda m: m.text("<B"),
    0x8D: lambda m: m.text("<Q"),
    ord("B"): _push(lambda m: m.take(m.number("<I"))),
    ord("C"): _push(lambda m: m.take(m.number("<B"))),
    0x8E: _push(lambda m: m.take(m.number("<Q"))),
    0x96: _push(lambda m: bytearray(m.take(m.number("<Q")))),
    ord("]"): _push(lambda m: []),
    ord("}"): _push(lambda m: {}),
    ord(")"): _push(lambda m: ()),
    ord("l"): _push(lambda m: m.above_mark()),
    ord("t"): _push(lambda m: tuple(m.above_mark())),
    0x85: lambda m: m.push_tuple(1),
    0x86: lambda m: m.push_tuple(2),
    0x87: lambda m: m.push_tuple(3),
    ord("a"): lambda m: m.append([m.stack.pop()]),
    ord("e"): lambda m: m.append(m.above_mark()),
    ord("d"): lambda m: m.push_dict(),
    ord("s"): lambda m: m.set_item(),
    ord("u"): lambda m: m.set_items(m.above_mark()),
    ord("g"): lambda m: m.get(_decimal(m.line())),
    ord("h"): lambda m: m.get(m.number("<B")),
    ord("j"): lambda m: m.get(m.number("<I")),
    ord("p"): _store(lambda m: _decimal(m.line())),
    ord("q"): _store(lambda m: m.number("<B")),
    ord("r"): _store(lambda m: m.number("<I")),
    0x94: _store(lambda m: len(m.memo)),
    ord("c"): lambda m: m.named(m.line().decode("ascii"), m.line().decode("ascii")),
    0x93: lambda m: m.stack_global(),
    ord("R"): lambda m: m.reduce(),
    ord("b"): lambda m: m.build(),
    0x80: lambda m: m.protocol(),
    0x95: lambda m: m.frame(),
}
"""All opcodes but STOP. Those that import, call or fetch from elsewhere in any other way are not here on purpose."""


def run(data: bytes) -> Any:
    """The value of a pickle, unchecked as to cycles and depth.

    Raises:
        Refused: An opcode, a global or an array that is not allowed; anything else where the opcodes are broken.
    """
    return _Machine(data).run()
