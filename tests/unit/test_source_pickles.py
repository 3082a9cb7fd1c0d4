"""Pickles from strangers: data come through, programs do not run, bombs do not go off."""

import contextlib
import io
import os
import pickle
import pickletools
import struct
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.vocaset_made import python2_pickle

from diffusiontalker.corpus.sources import pickles
from diffusiontalker.errors import UserError


def load(data: bytes) -> Any:
    return pickles.load(data, "some.pkl")


TABLE = {
    "FaceTalk": {"sentence01": {"audio": np.arange(-3, 5, dtype=np.int16), "sample_rate": 22000}},
    "template": np.arange(12, dtype=np.float64).reshape(4, 3),
    "frames": {0: 7, 1: 8, 3: 10},
    "mixed": [None, True, False, -1, 2**40, 1.5, (1, 2), (1, 2, 3, 4), ()],
    "numbers": (np.float64(0.5), np.int64(-2), np.bool_(True)),
    "arrays": [
        np.zeros((0, 3)),
        np.array(4.0),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array([1, 2], ">f4"),
        np.array([True, False]),
    ],
}


def assert_same(found: Any, wanted: Any) -> None:
    if isinstance(wanted, np.ndarray | np.generic):
        np.testing.assert_array_equal(found, wanted)
        assert np.shape(found) == wanted.shape
        assert found.dtype.newbyteorder("=") == wanted.dtype.newbyteorder("=")
    elif isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for key in wanted:
            assert_same(found[key], wanted[key])
    elif isinstance(wanted, list | tuple):
        assert type(found) is type(wanted)
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same(one, other)
    else:
        assert found == wanted
        assert type(found) is type(wanted)


@pytest.mark.parametrize("protocol", range(6))
def test_data_come_through_in_every_protocol(protocol: int) -> None:
    assert_same(load(pickle.dumps(TABLE, protocol)), TABLE)


@pytest.mark.parametrize("protocol", range(3))
def test_data_of_python_2_come_through(protocol: int) -> None:
    data = python2_pickle(TABLE, protocol)
    assert b"numpy.core.multiarray" in data
    assert_same(load(data), TABLE)


def test_a_pickle_as_python_2_wrote_it() -> None:
    # pickle.dumps({'a': numpy.array([1., -2.])}) there, byte for byte.
    data = (
        b"(dp0\nS'a'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\n"
        b"S'b'\np5\ntp6\nRp7\n(I1\n(I2\ntp8\ncnumpy\ndtype\np9\n(S'f8'\np10\nI0\nI1\ntp11\nRp12\n"
        b"(I3\nS'<'\np13\nNNNI-1\nI-1\nI0\ntp14\nbI00\n"
        b"S'\\x00\\x00\\x00\\x00\\x00\\x00\\xf0?\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\xc0'\np15\ntp16\nbs."
    )
    np.testing.assert_array_equal(load(data)["a"], [1.0, -2.0])


def test_strings_of_python_2_are_latin_1() -> None:
    assert load(b"U\x03\xe9t\xe9.") == "été"


def test_files_are_read_from_their_beginning() -> None:
    file = io.BytesIO(pickle.dumps(TABLE))
    file.read(100)
    assert_same(pickles.load(file, "some.pkl"), TABLE)


def test_arrays_become_plain_ones() -> None:
    array = np.asarray(load(pickle.dumps({"a": np.zeros(3)}))["a"])
    assert type(array) is np.ndarray


class Call:
    """What a pickle makes of ``function(*arguments)``: the call. It may itself be the function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.parts = function, arguments

    def __call__(self) -> None:
        raise AssertionError("only pickled")

    def __reduce__(self) -> tuple[Any, ...]:
        return self.parts


def programs(marker: Path) -> dict[str, bytes]:
    """Pickles that would make the file ``marker``, were they read as pickles are."""
    path = str(marker)
    touch, expression = f"touch {path}", f"__import__('os').system('touch {path}')"
    line = expression.encode()
    objects = np.empty(1, object)
    objects[0] = Call(os.system, touch)

    def call(module: str, name: str, argument: str) -> bytes:
        """By STACK_GLOBAL, whose names may have dots."""
        words = [b"X" + struct.pack("<I", len(w)) + w.encode() for w in (module, name, argument)]
        return b"\x80\x04" + words[0] + words[1] + b"\x93" + words[2] + b"\x85R."

    os_module = Call(__import__, "os")
    return {
        "os.system": pickle.dumps(Call(os.system, touch)),
        "os.system, protocol 0": pickle.dumps(Call(os.system, touch), 0),
        "eval": pickle.dumps(Call(eval, expression)),
        "exec": pickle.dumps(Call(exec, expression)),
        "eval of Python 2": b"c__builtin__\neval\n(V" + line + b"\ntR.",
        "getattr of import": pickle.dumps(Call(Call(getattr, os_module, "system"), touch)),
        "inside data": pickle.dumps({"a": [TABLE, {"b": (Call(os.system, touch),)}]}),
        "as a key": pickle.dumps({Call(os.system, touch): 1}, 2),
        "in an array of objects": pickle.dumps(objects),
        "by a dotted name": call("numpy", "f2py.subprocess.getoutput", touch),
        "by numpy's helpers": call("numpy.f2py.crackfortran", "os.system", touch),
        "INST": b"(V" + touch.encode() + b"\niposix\nsystem\n.",
        "OBJ": b"(cposix\nsystem\nV" + touch.encode() + b"\no.",
        "by the class of an object": pickle.dumps(Opens(path)),
    }


class Opens:
    """Makes a file as soon as its state is set."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __setstate__(self, state: dict[str, str]) -> None:
        Path(state["path"]).touch()


NAMES = sorted(programs(Path("x")))


@pytest.mark.parametrize("name", NAMES)
def test_programs_do_not_run(name: str, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    data = programs(marker)[name]
    with pytest.raises(UserError, match=r"^some\.pkl: refused, as it"):
        load(data)
    assert not marker.exists()
    with contextlib.suppress(Exception):  # what comes after the call may fail
        pickle.loads(data)  # the same bytes, read as they should not be
    assert marker.exists()


def test_the_refused_name_is_told() -> None:
    with pytest.raises(UserError, match=r"asks for posix\.system, which may run"):
        load(pickle.dumps(Call(os.system, "true")))
    long = b"c" + b"a" * 5000 + b"\nb\n."
    with pytest.raises(UserError) as refusal:
        load(long)
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    "module",
    [
        "builtins", "os", "sys", "subprocess", "numpy.f2py", "numpy.lib.npyio", "numpy.ctypeslib",
        "numpy.core", "numpy.core.multiarray", "diffusiontalker.storage", "pickle", "_pickle",
    ],
)  # fmt: skip
def test_no_name_of_other_modules_is_known(module: str) -> None:
    for name in ("eval", "load", "system", "__dict__", "ndarray.tofile", "fromfile", "frombuffer"):
        with pytest.raises(UserError, match="asks for"):
            load(f"c{module}\n{name}\n.".encode())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"Psomething\n.", "PERSID"),
        (b"U\x01aQ.", "BINPERSID"),
        (b"\x82\x01.", "EXT1"),
        (b"\x80\x05\x97.", "NEXT_BUFFER"),
        (b"cnumpy\ndtype\n)\x81.", "NEWOBJ"),
        (b"\x80\x04\x8f.", "EMPTY_SET"),
        (b"cnumpy.core.multiarray\n_reconstruct\n}b.", "change a method"),
        (b"cnumpy\ndtype\n}(V__setstate__\nNub.", "change a type"),
        (b"c_codecs\nencode\n(Va\nVzip\ntR.", "Latin-1"),
        (b"<html>not found</html>", "byte 60"),
    ],
)
def test_instructions_that_data_do_not_need(data: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load(data)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([{"a": 1}], object), "'O8', not of numbers"),
        (np.array(["text"]), "'U4', not of numbers"),
        (np.zeros(2, [("a", "f4"), ("b", "i2")]), "'V6', not of numbers"),
        (np.array(["2020-01-01"], "datetime64[D]"), "'M8', not of numbers"),
    ],
)
def test_arrays_of_other_things_than_numbers(array: np.ndarray, said: str) -> None:
    with pytest.raises(UserError, match=said):
        load(pickle.dumps({"a": array}))


def dtype(
    text: str = "f4", state: bytes = b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
) -> bytes:
    return b"cnumpy\ndtype\n(U" + bytes([len(text)]) + text.encode() + b"tR" + state + b"b"


def array(shape: bytes, content: bytes, kind: bytes | None = None) -> bytes:
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
    return made + b"(K\x01(" + shape + b"t" + (kind or dtype()) + b"\x89" + content + b"tb."


def test_arrays_by_hand() -> None:
    np.testing.assert_array_equal(load(array(b"K\x01", b"U\x04\0\0\x80?")), np.float32([1]))


@pytest.mark.parametrize(
    "data",
    [
        array(b"K\x02", b"U\x04\0\0\x80?"),  # says more than it holds
        array(b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f", b"U\x04\0\0\x80?"),
        array(b"J\xff\xff\xff\xffJ\xff\xff\xff\xff", b"U\x04\0\0\x80?"),  # -1 by -1
    ],
)
def test_arrays_that_lie_about_their_size(data: bytes) -> None:
    with pytest.raises(UserError, match="array of another size"):
        load(data)


def test_what_a_dtype_claims_of_itself_is_not_believed() -> None:
    # numpy would read at offset 1000 of four bytes here.
    fields = b"(U\x01at}U\x01a(" + dtype() + b"M\xe8\x03ts"
    state = b"(K\x03U\x01|N" + fields + b"K\x04K\x01K\x00t"
    with pytest.raises(UserError, match="structured"):
        load(array(b"K\x01", b"U\x04\0\0\x80?", dtype(state=state)))
    # Nor a size of 100 bytes for a float of four.
    state = b"(K\x03U\x01<NNNK\x64K\x01K\x00t"
    found = load(array(b"K\x01", b"U\x04\0\0\x80?", dtype(state=state)))
    assert found.dtype.itemsize == 4


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Fails a test that needs more than 16 MiB at any moment."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"abc.",  # a bytearray of 1 TiB, it says
        b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"abc.",  # bytes
        b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"N.",  # a frame
        b"\x8b" + struct.pack("<I", 1 << 30) + b"abc.",  # an integer of 1 GiB
        array(b"J\x00\x00\x00\x10", b"U\x04\0\0\x80?"),
    ],
)
def test_claims_of_size_take_no_room(data: bytes) -> None:
    with contextlib.suppress(UserError):
        load(data)


@pytest.mark.usefixtures("little_memory")
def test_a_memo_takes_room_for_what_is_in_it() -> None:
    assert load(b"Nr\xff\xff\xff\xff.") is None  # the unpickler in C makes room for 2^33 entries


@pytest.mark.usefixtures("little_memory")
def test_bytes_named_again_and_again_do_not_fill_the_memory() -> None:
    size = 1 << 16
    text = b"X" + struct.pack("<I", size) + b"a" * size + b"q\x00"
    encoded = (
        b"c_codecs\nencode\nq\x010" + text + b"0](" + b"h\x01(h\x00U\x06latin1tR" * 2000 + b"e."
    )
    with pytest.raises(UserError, match="unfolds to many times its size"):
        load(encoded)
    swapped = dtype(state=b"(K\x03U\x01>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t")
    one = array(b"J" + struct.pack("<I", size // 4), b"h\x00", swapped)[:-1]
    with pytest.raises(UserError, match="unfolds to many times its size"):
        load(text + b"0](" + one * 1000 + b"e.")


def test_keys_that_take_for_ever_to_compare_are_refused() -> None:
    nested = b"N" + b"2\x86" * 200  # a tuple of the one before, twice
    for made in (b"}" + nested + b"Ns.", b"(" + nested + b"Nd.", b"}(" + nested + b"Nu."):
        with pytest.raises(UserError, match="tuples for keys"):
            load(made)


def test_lists_in_lists_in_lists() -> None:
    assert len(load(b"]" * 100_000 + b"a" * 99_999 + b".")) == 1


def test_a_file_that_is_too_large_is_not_read() -> None:
    class Huge(io.BytesIO):
        def seek(self, offset: int, whence: int = 0) -> int:
            return pickles.MAX_BYTES + 1

        def read(self, size: int | None = -1) -> bytes:
            raise AssertionError("read")

    with pytest.raises(UserError, match="1024 MiB, but pickles of at most 1024 MiB"):
        pickles.load(Huge(), "some.pkl")


@pytest.mark.parametrize("data", [b"", b".", b"\x80\x02", pickle.dumps(TABLE)[:-20], b"\x80\x63N."])
def test_damaged_pickles(data: bytes) -> None:
    with pytest.raises(UserError, match=r"some\.pkl: not a pickle, or a damaged one"):
        load(data)


leaves = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
plain = st.recursive(
    leaves | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner)
    ),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(value=plain, protocol=st.integers(0, 4))
def test_plain_containers_come_through(value: Any, protocol: int) -> None:
    assert load(pickle.dumps(value, protocol)) == value


SEEDS = [pickle.dumps(TABLE, 2), pickle.dumps(TABLE, 4), python2_pickle(TABLE)]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_never_shows_as_anything_but_a_user_error(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UserError):
        load(bytes(content))


def test_every_instruction_is_either_known_or_refused() -> None:
    for code in pickletools.opcodes:
        with contextlib.suppress(UserError):
            load(code.code.encode("latin1") + b"\0" * 16)
