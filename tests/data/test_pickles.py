from __future__ import annotations

import collections
import contextlib
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from poseshift.data import opcodes, pickles
from poseshift.data.pickles import load, load_npy, loads
from poseshift.errors import DataError, FormatError

ARRAYS = [
    np.arange(6, dtype=">f8").reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    np.arange(12)[::2],
    np.array(3.5),
    np.zeros((0, 3)),
    np.array([True, False]),
    np.array(["a", "bcd"]),
    np.array([b"a", b"bcd"]),
    np.array([1 + 2j]),
]
VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        255,
        65535,
        -1,
        2**31,
        -(2**70),
        1.5,
        float("inf"),
        "",
        "text ä \n 'x'",
        b"",
        b"ab\x00\xff",
    ),
    *([], [1, [2, [3]]], (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {}, {"a": {1: (2, [3])}, (1, 2): None}),
    *(["x" * 300] * 3, bytes(300), list(range(3000)), {i: str(i) for i in range(3000)}),
]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    return type(a) is type(b) and a == b


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_and_arrays_are_read_as_pickle_reads_them(protocol: int) -> None:
    for value in [*VALUES, *ARRAYS]:
        assert same(loads(pickle.dumps(value, protocol), "x"), value), value
    for scalar in (np.float32(2.5), np.int64(-7), np.bool_(True), np.str_("ab")):
        assert same(loads(pickle.dumps(scalar, protocol), "x"), scalar)
    shared = np.arange(4.0)
    result = loads(pickle.dumps({"a": shared, "b": [shared, shared.dtype.itemsize]}, protocol), "x")
    assert result["a"] is result["b"][0]
    objects = np.empty((2, 2), object)
    objects[:] = [[1, "a"], [{"k": shared}, None]]
    found = loads(pickle.dumps(objects, protocol), "x")
    assert found.shape == (2, 2)
    np.testing.assert_array_equal(found[1, 0]["k"], shared)


def test_python_2_strings_become_latin_1_texts() -> None:
    text = b"U\x04f\xe9\n'"  # SHORT_BINSTRING
    assert loads(b"\x80\x02" + text + b".", "x") == "fé\n'"
    assert loads(b"S'f\\xe9\\n\\'\\\\'\np0\n.", "x") == "fé\n'\\"
    # An array as Python 2 wrote it: its data are such a string.
    array = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03"
        b"(K\x01K\x02\x85cnumpy\ndtype\nq\x04U\x02f4K\x00K\x01\x87Rq\x05(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff"
        b"\xffK\x00tb\x89U\x08\x00\x00\x80?\x00\x00\x00\xc0tb."
    )
    np.testing.assert_array_equal(loads(array, "x"), np.array([1, -2], np.float32))
    oracle = pickle.loads(array, encoding="latin1")  # noqa: S301 - the bytes of this test
    np.testing.assert_array_equal(oracle, np.array([1, -2], np.float32))


class Call:
    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.parts


def touch(path: str) -> None:
    Path(path).write_text("called")


HOSTILE = {
    "os.system": Call(os.system, "true"),
    "eval": Call(eval, "1"),
    "getattr": Call(getattr, "x", "upper"),
    "chain": b"c__builtin__\ngetattr\n(cnumpy\nndarray\nX\x06\x00\x00\x00tofiletR(X\x01\x00\x00\x00atR.",
    "numpy function": Call(np.load, "x"),
    "numpy code": Call(np.fromfile, "x"),
    "f2py": b"\x80\x02cnumpy.f2py\ncompile\nX\x01\x00\x00\x00x\x85R.",
    "dotted": b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.tofile.\x93.",
    "dotted 2": b"\x80\x04\x8c\x05numpy\x8c\x0bf2py.os.sys\x93.",
    "module attribute": b"cnumpy\nos\n.",
    "bytearray": Call(bytearray, 1 << 40),
    "bytes of a length": b"cbuiltins\nbytes\n\x8a\x06\x00\x00\x00\x00\x00\x10\x85R.",
    "range": Call(range, 1 << 60),
    "object": object(),
    "set": {1, 2},
    "ordered": collections.OrderedDict(a=1),
    "encode of another codec": b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.",
    "global alone": b"cnumpy\nndarray\n.",
    "global in a list": b"]cnumpy\nndarray\na.",
    "ndarray called": b"cnumpy\nndarray\n\x8a\x06\x00\x00\x00\x00\x00\x10\x85\x85R.",
    "persistent": b"P1\n.",
    "binary persistent": b"K\x01Q.",
    "instance": b"(S'1'\nios\nsystem\n.",
    "object opcode": b"(cos\nsystem\nS'1'\no.",
    "newobj": b"cnumpy\nndarray\n)\x81.",
    "extension": b"\x82\x01.",
    "next buffer": b"\x97.",
    "protocol 6": b"\x80\x06N.",
    "records": np.zeros(2, [("a", "f4")]),
    "dates": np.array(["2020-01-01"], "M8[D]"),
    "state for a list": b"]K\x01b.",
    "state for a text": b"X\x01\x00\x00\x00a}b.",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_is_no_plain_value_is_refused(kind: str) -> None:
    value = HOSTILE[kind]
    for protocol in (0, 2, 3, 4, 5):
        data = value if isinstance(value, bytes) else pickle.dumps([value], protocol)
        with pytest.raises(FormatError, match="'x' is no pickle of plain values") as error:
            loads(data, "x")
        assert "\n" not in str(error.value)


def test_nothing_is_ever_called_or_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "marker"
    for protocol in range(6):
        with pytest.raises(FormatError, match=r"names .*touch, which no file may"):
            loads(pickle.dumps(Call(touch, str(marker)), protocol), "x")
    assert not marker.exists()
    monkeypatch.setattr("builtins.__import__", lambda *_: pytest.fail("imported"))
    with pytest.raises(FormatError):
        loads(b"cantigravity\nfly\n)R.", "x")


def array_pickle(
    shape: tuple[int, ...], data: bytes, code: bytes = b"f8", state: bytes = b"NNNJ\xff\xff\xff\xff"
) -> bytes:
    head = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01("
    sizes = b"".join(b"\x8a\x08" + struct.pack("<q", n) for n in shape)
    dtype = b"cnumpy\ndtype\nU" + bytes([len(code)]) + code + b"K\x00K\x01\x87R(K\x03U\x01<" + state + b"K\x01K\x00tb"
    return head + sizes + b"t" + dtype + b"\x89C" + bytes([len(data)]) + data + b"tb."


def test_an_array_must_hold_what_it_declares() -> None:
    assert loads(array_pickle((1,), bytes(8)), "x") == np.zeros(1)
    for broken in (
        array_pickle((2,), bytes(8)),
        array_pickle((1 << 50,), bytes(8)),
        array_pickle((1 << 32, 1 << 32), bytes(8)),
        array_pickle((-1, -1), bytes(8)),
        array_pickle((1 << 39,), b"", b"S0"),
        array_pickle((1,), bytes(8), b"O8"),
        array_pickle((1,), bytes(8), b"M8"),
        array_pickle((1,), bytes(8), b"f8,f8"),
        array_pickle((1,), bytes(8), b"V8", b"N(U\x01atN}J\xff\xff\xff\xff"),
        array_pickle((1,) * 33, bytes(8)),
    ):
        with pytest.raises(FormatError):
            loads(broken, "x")


BOMBS = {
    "deep list": b"]" * 20_000 + b"a" * 19_999 + b".",
    "deep tuple": b"N" + b"\x85" * 20_000 + b".",
    "deep key": b"}N" + b"\x85" * 300_000 + b"Ns.",
    "cycle": b"]q\x00h\x00a.",
    "cycle through a dict": b"}q\x00K\x01h\x00s.",
    "memo index": b"Nr\xff\xff\xff\xff" + b"j\xff\xff\xff\xfe.",
    "bytes of 2^62": b"\x8e" + struct.pack("<Q", 1 << 62) + b"abc.",
    "bytearray of 2^62": b"\x96" + struct.pack("<Q", 1 << 62) + b"abc.",
    "text of 2^31": b"X\xff\xff\xff\x7fabc.",
    "frame of 2^62": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.",
    "negative length": b"T\xff\xff\xff\xffabc.",
    "huge integer": b"\x8b\x00\x00\x01\x00" + bytes(65536) + b".",
    "long decimal": b"L" + b"9" * 100_000 + b"L\n.",
    "many copies": b"X\xff\xff\x00\x00"
    + b"a" * 65535
    + b"q\x000]"
    + b"c_codecs\nencode\nq\x010"
    + b"h\x01h\x00X\x06\x00\x00\x00latin1\x86Ra" * 1000
    + b".",
    "two values": b"NN.",
    "no value": b".",
    "empty": b"",
    "no stop": b"N",
    "pops": b"00000.",
    "mark": b"t.",
    "unknown": b"\xff.",
    "unhashable": b"}]Ns.",
}


def billion_laughs(levels: int) -> bytes:
    parts = [b"]q\x00K\x01aK\x01a"]
    for level in range(1, levels):
        parts.append(b"0]q%ch%cah%ca" % (level, level - 1, level - 1))
    return b"".join(parts) + b"."


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_refused_quickly(kind: str) -> None:
    with pytest.raises(FormatError):
        loads(BOMBS[kind], "x")


def test_few_bytes_that_unfold_to_many_are_refused() -> None:
    assert loads(billion_laughs(3), "x") == [[[1, 1], [1, 1]], [[1, 1], [1, 1]]]
    with pytest.raises(FormatError, match="unfolds to"):
        loads(billion_laughs(40), "x")


def test_opcodes_and_file_sizes_have_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.pickle"
    file.write_bytes(pickle.dumps([1, 2, 3]))
    assert load(file) == [1, 2, 3]
    with pytest.raises(FormatError, match=r"a\.pickle.* bytes, at most 10 are read"):
        load(file, max_bytes=10)
    monkeypatch.setattr(opcodes, "MAX_OPCODES", 5)
    with pytest.raises(FormatError, match="more than 5 opcodes"):
        load(file)
    with pytest.raises(DataError, match="found no such file"):
        load(tmp_path / "gone")


@pytest.mark.parametrize("protocol", range(6))
def test_truncations_and_flipped_bits_raise_only_our_error(protocol: int) -> None:
    value = {3: {"uv": ARRAYS[0], "K": np.eye(3), "n": [1.5, "text", (1, 2)]}, "o": np.array([1, "a"], object)}
    whole = pickle.dumps(value, protocol)
    random = np.random.default_rng(protocol)
    for cut in range(0, len(whole), 7):
        with pytest.raises(FormatError):
            loads(whole[:cut], "x")
    for _ in range(700):
        broken = bytearray(whole)
        for at in random.integers(0, len(whole), random.integers(1, 4)):
            broken[at] ^= 1 << int(random.integers(8))
        with contextlib.suppress(FormatError):  # a flipped bit of a number is a number
            loads(bytes(broken), "x")


def test_npy_files_of_numbers_and_of_objects(tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    for array in ARRAYS:
        np.save(file, array)
        assert same(load_npy(file), array)
    objects = np.array([{"box": np.arange(4.0)}, None], object)
    np.save(file, objects, allow_pickle=True)
    found = load_npy(file)
    assert found.shape == (2,)
    np.testing.assert_array_equal(found[0]["box"], np.arange(4.0))
    np.save(file, np.array({"a": 1}, object), allow_pickle=True)
    assert load_npy(file).item() == {"a": 1}
    np.save(file, np.array([Call(os.system, "true")], object), allow_pickle=True)
    with pytest.raises(FormatError, match="which no file may"):
        load_npy(file)


def test_broken_npy_files(tmp_path: Path) -> None:
    file = tmp_path / "a.npy"
    np.save(file, np.zeros((100, 3)))
    whole = file.read_bytes()
    for broken in (
        whole[:-1],
        whole[:60],
        b"",
        b"PK\x03\x04" + whole,
        whole.replace(b"(100, 3)", b"(10**9,)"),
        whole.replace(b"(100, 3)", b"(999, 3)"),
        whole.replace(b"<f8", b"|O8"),
        whole.replace(b"\x93NUMPY\x01", b"\x93NUMPY\x09"),
    ):
        file.write_bytes(broken)
        with pytest.raises(FormatError, match=r"a\.npy"):
            load_npy(file)
    assert pickles.MAX_DEPTH == 64
