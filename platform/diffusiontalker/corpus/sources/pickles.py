"""A restricted unpickler for untrusted files: plain containers and arrays of numbers only.

Unpickling runs the pickle's instructions. Only the opcodes that build containers, strings, numbers
and arrays are implemented here, and only the few globals that numpy writes for arrays of numbers,
each mapped to code of this module: nothing is imported because a pickle names it. Pickles of
Python 2 are read too, their strings as Latin-1.
"""

import pickle
import pickletools
import re
from collections.abc import Callable
from io import BytesIO
from math import prod
from typing import Any, BinaryIO, NoReturn

import numpy as np

from diffusiontalker.errors import UserError

MAX_BYTES = 1 << 30
"""The largest pickle that is read: ten times VOCASET's largest."""
_MAX_EXPANSION = 4
"""Bytes of arrays per byte of the pickle; a legitimate one makes two at most, by text."""


def load(source: bytes | BinaryIO, where: str) -> Any:
    """The dicts, lists, tuples, strings, numbers and arrays of numbers in a pickle.

    Time and memory are bounded by the size of the pickle, whatever it holds.

    Args:
        source: the pickle, or a seekable file of it, open for reading.
        where: prefix of error messages.

    Raises:
        UserError: larger than ``MAX_BYTES``, not a pickle, damaged, or any other opcode or global.
    """
    size = len(source) if isinstance(source, bytes) else source.seek(0, 2)
    if size > MAX_BYTES:
        raise UserError(
            f"{where}: {size / 2**20:.0f} MiB, but pickles of at most {MAX_BYTES / 2**20:.0f} MiB "
            "are read; is it the right file?"
        )
    if not isinstance(source, bytes):
        source.seek(0)
        source = source.read()
    try:
        return _Plain(source).load()
    except UserError as error:
        raise UserError(f"{where}: refused, as {error}; is it the right file?") from error
    except Exception as error:  # damage may raise any exception
        cause = f"{type(error).__name__}: {error}"[:200]
        raise UserError(f"{where}: not a pickle, or a damaged one ({cause})") from error


class _Dtype:
    """Replaces ``numpy.dtype``; types of numbers only."""

    def __init__(self, text: str, *_: Any) -> None:
        if not re.fullmatch(r"[<>=|]?[biuf]\d{1,2}", text):
            raise UserError(f"it holds an array of {text[:20]!r}, not of numbers")
        self.dtype = np.dtype(text)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        # numpy's own would accept fields, offsets and sizes from here without checking them.
        _, order, subarray, names, fields, *_ = state
        if not (subarray is names is fields is None):
            raise UserError("it holds a structured array, not one of numbers")
        self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray):
    """An array that is created empty and then given its state, as numpy does it."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, content = state
        raw, dtype = _raw(content), kind.dtype
        if min(shape, default=0) < 0 or len(raw) != prod(shape) * dtype.itemsize:
            raise UserError(f"it holds {len(raw)} bytes for an array of another size")
        super().__setstate__((1, shape, dtype, fortran, raw))


class _Dict(dict[Any, Any]):
    """A dict without tuples as keys: comparing deeply nested tuples takes exponential time."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, tuple):
            raise UserError("it holds a dict with tuples for keys")
        super().__setitem__(key, value)


def _raw(content: str | bytes) -> bytes:
    """Bytes, which Python 2 wrote as ``str``."""
    return content.encode("latin1") if isinstance(content, str) else content


class _Instructions(dict[int, Callable[..., None]]):
    def __missing__(self, code: int) -> NoReturn:
        names = [known.name for known in pickletools.opcodes if known.code == chr(code)]
        what = f"the instruction {names[0]}" if names else f"the byte {code}"
        raise UserError(f"it holds {what}, which plain data do not need")


_CORES = ("numpy.core", "numpy._core")  # up to numpy 1, and since
_INSTRUCTIONS = """
    PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE
    INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
    BINBYTES SHORT_BINBYTES BINBYTES8
    EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 SETITEM SETITEMS
    GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE
    GLOBAL STACK_GLOBAL REDUCE
""".split()


class _Plain(pickle._Unpickler):
    """Based on the unpickler in Python, not the one in C: its opcodes can be restricted, and its
    memo is a dict, where the one in C allocates as many entries as five bytes claim."""

    dispatch = _Instructions(
        (code, pickle._Unpickler.dispatch[code])
        for code in (getattr(pickle, name)[0] for name in _INSTRUCTIONS)
    )

    stack: list[Any]
    append: Callable[[Any], None]
    read: Callable[[int], bytes]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, data: bytes) -> None:
        super().__init__(BytesIO(data), encoding="latin1")
        self.budget = _MAX_EXPANSION * len(data)
        self.known: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): None,  # the array type, of which there is only one here
            ("numpy", "dtype"): _Dtype,
            ("_codecs", "encode"): self.encoded,
            ("__builtin__", "bytes"): lambda: b"",
            **{(f"{core}.multiarray", "_reconstruct"): self.empty for core in _CORES},
            **{(f"{core}.multiarray", "scalar"): self.scalar for core in _CORES},
            **{(f"{core}.numeric", "_frombuffer"): self.array for core in _CORES},
        }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.known:
            raise UserError(f"it asks for {f'{module}.{name}'[:100]}, which may run as a program")
        return self.known[module, name]

    def encoded(self, text: str, encoding: str) -> bytes:
        """Bytes, as protocols below 3 write them."""
        if encoding not in ("latin1", "latin-1"):
            raise UserError("it asks for an encoding other than Latin-1")
        self.spend(len(text))
        return text.encode("latin1")

    def empty(self, *_: Any) -> _Array:
        """An array whose state follows."""
        return np.zeros(0, np.uint8).view(_Array)

    def array(self, content: bytes, kind: _Dtype, shape: tuple[int, ...], order: str) -> _Array:
        """An array, as protocol 5 writes it."""
        array = self.empty()
        self.set_state(array, (1, shape, kind, order == "F", content))
        return array

    def scalar(self, kind: _Dtype, content: str | bytes) -> Any:
        """A numpy scalar."""
        return np.frombuffer(_raw(content), kind.dtype).reshape(1)[0]

    def set_state(self, target: Any, state: Any) -> None:
        """Give an array or a dtype its state."""
        if not isinstance(target, _Array | _Dtype):
            raise UserError(f"it asks to change a {type(target).__name__}")
        target.__setstate__(state)
        if isinstance(target, _Array):
            self.spend(target.nbytes)

    def spend(self, count: int) -> None:
        """Account for ``count`` bytes: repeated memo references could fill any memory."""
        self.budget -= count
        if self.budget < 0:
            raise UserError("it unfolds to many times its size")

    def load_build(self) -> None:
        state = self.stack.pop()
        self.set_state(self.stack[-1], state)

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append(table := _Dict())
        for key, value in zip(items[::2], items[1::2], strict=True):
            table[key] = value

    def load_empty_dict(self) -> None:
        self.append(_Dict())

    def load_bytes(self) -> None:
        # A bytearray, as bytes: memory is allocated for the bytes present, not for those claimed.
        (count,) = np.frombuffer(self.read(8), "<u8").tolist()
        self.append(self.read(count))

    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.EMPTY_DICT[0]] = load_empty_dict
    dispatch[pickle.BYTEARRAY8[0]] = load_bytes
