"""Whatever a path leads to is refused in a sentence, soon, or read as it is; nothing in it runs."""

import json
import os
import struct
import zipfile
import zlib

import numpy as np
import pytest

from libasis.data import read
from libasis.errors import LibasisError, SourceError
from libasis.files import open_regular, parse_json, read_bytes

pytest.importorskip("pandas")
Image = pytest.importorskip("PIL.Image")

SUFFIXES = [".csv", ".tsv.gz", ".parquet", ".npz", ".safetensors", ".txt", ".jsonl"]
KINDS = {
    "pipe": os.mkfifo,
    "device": lambda path: os.symlink("/dev/zero", path),
    "loop": lambda path: os.symlink(path.name, path),
    "dangling link": lambda path: os.symlink("nowhere", path),
    "folder": os.mkdir,
    "too large": lambda path: (path.touch(), os.truncate(path, 2**42)),
}


class Words:
    """A tokenizer."""

    eos_token_id = None

    def __call__(self, text, **options):
        return {"input_ids": [len(word) for word in text.split()]}


def refused(path, *parts, **options):
    with pytest.raises(SourceError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 700
    for part in parts:
        assert part in message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", KINDS)
def test_only_regular_files_of_bounded_size_are_opened(tmp_path, kind, suffix):
    path = tmp_path / f"t{suffix}"
    KINDS[kind](path)
    texts = suffix in (".txt", ".jsonl") and kind != "folder"
    refused(path, path.name, **({"tokenizer": Words()} if texts else {}))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("kind", ["pipe", "device", "too large"])
def test_images_too(tmp_path, kind):
    KINDS[kind](tmp_path / "t.png")
    refused(tmp_path, "t.png")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n")
    path.chmod(0)
    refused(path, "Permission denied")


def test_no_more_is_read_than_a_file_had(tmp_path):
    path = tmp_path / "t"
    path.write_bytes(b"12345")
    assert read_bytes(path, 5) == b"12345"
    with pytest.raises(LibasisError, match="has 5 bytes, but at most 4"):
        open_regular(path, 4)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("9" * 5000, "a whole number of 5,000 digits"),
        ("[" + "[]," * 2**21 + "[]]", "so many parts"),
        ("NaN", "no number of JSON"),
    ],
)
def test_json_that_no_computer_takes(text, part):
    with pytest.raises(LibasisError, match=part):
        parse_json(text, "x.json")
    with pytest.raises(LibasisError, match=part):
        parse_json(text.encode(), "x.json")


def header(descr="<f8", shape=(1, 1), raw=None):
    text = (raw or repr({"descr": descr, "fortran_order": False, "shape": shape})).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    ("members", "part"),
    [
        ([], "nothing in it"),
        ([("x", b"hello")], "'x' in it"),
        ([("x.npy", b"hello")], "'x' is no array"),
        ([("x.npy", header() + b"\0" * 16)], "'x' has 8 bytes behind its array"),
        ([("x.npy", header() + b"\0" * 8), ("x.npy", header() + b"\1" * 8)], "'x.npy' in it"),
        ([("x.npy", header(shape=(2**50,)))], "cannot be read"),
        ([("x.npy", header(shape=(2**40, 2**40)))], "cannot be read"),
        ([("x.npy", header(shape=(-5, 2)))], "cannot be read"),
        ([("x.npy", header(raw="(" * 30_000))], "does not open"),
        ([("x.npy", header("|O") + b"cos\nmkdir\n(S'opened'\ntR.")], "pickle"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_are_no_arrays(tmp_path, monkeypatch, members, part):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("t.npz", "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    refused(tmp_path / "t.npz", part)
    assert not os.path.exists("opened")


def test_archives_that_grow(tmp_path):
    path = tmp_path / "t.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.npy", "w") as file,
    ):
        for _ in range(17):
            file.write(bytes(2**24))
    refused(path, "unpacks to 285,212,672 bytes")
    np.savez_compressed(path, x=np.zeros((1000, 100)))
    assert read(path).inputs.shape == (1000, 100)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", ">f8", "<f2", "longdouble", ">i2", "u1", ">i8", "?"])
@pytest.mark.parametrize("order", ["C", "F", "strided"])
def test_arrays_of_any_layout_are_the_same(tmp_path, dtype, order):
    values = np.arange(24).reshape(12, 2) % 2
    array = np.array(values, dtype, order="C" if order == "strided" else order)
    np.savez(tmp_path / "t.npz", x=np.repeat(array, 2, 1)[:, ::2] if order == "strided" else array)
    assert read(tmp_path / "t.npz").inputs.tolist() == values.tolist()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 2), complex),
        np.zeros(4, [("a", "f4"), ("b", "f4")]),
        np.zeros((4, 2), "M8[s]"),
        np.zeros((4, 2), "V4"),
        np.array([["1", "2"]]),
        np.array([[1, None]], object),
        np.full((4, 2), np.inf),
        np.full((4, 2), 2**53 + 1, np.int64),
        np.full((4, 2), 1e300),
        np.full((4, 2), 1e-320),
        np.array([[np.longdouble(2**53) + 1, 0]]),
        np.array(1.0),
    ],
)
def test_arrays_that_are_other_things(tmp_path, array):
    for name in ("x", "y"):
        if array.dtype == np.int64 and (name == "y" or array.dtype.kind == "i"):
            continue  # int64 holds it
        if name == "x" or array.dtype != np.longdouble:
            np.savez(tmp_path / "t.npz", **{"x": np.zeros((len(array) if array.ndim else 1, 2)), name: array})
            refused(tmp_path / "t.npz", f"array {name!r}" if array.dtype != object else "pickle")


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


SIZE = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
PIXELS = chunk(b"IDAT", zlib.compress(bytes(10_000)))


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", SIZE) + PIXELS, "exceeds limit"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 2\n%%EndComments\n", "cannot identify image file."),
        (b"\x89PNG\r\n\x1a\n", "cannot identify image file."),
        (b"", "cannot identify image file."),
    ],
)
def test_images_that_are_none(tmp_path, data, part):
    (tmp_path / "t.png").write_bytes(data)
    refused(tmp_path, "t.png", part)


def test_pages_of_an_image_are_not_left_out(tmp_path):
    pages = [Image.new("L", (2, 2), value) for value in (1, 2)]
    pages[0].save(tmp_path / "t.tiff", save_all=True, append_images=pages[1:])
    refused(tmp_path, "t.tiff holds 2 images")


def test_numbers_of_a_table_that_pandas_would_change(tmp_path):
    import decimal

    import pyarrow
    from pyarrow import parquet

    for cells in ([decimal.Decimal(2**53 + 1)], ["1_000"], ["nan"], ["1e-400"], [b"1"], [[1]], [{"a": 1}]):
        parquet.write_table(pyarrow.table({"a": cells}), tmp_path / "t.parquet")
        refused(tmp_path / "t.parquet", "column 'a', row 1 holds")
    names = pyarrow.Table.from_arrays([pyarrow.array([1])] * 2, ["a", "a"])
    parquet.write_table(names, tmp_path / "t.parquet")
    refused(tmp_path / "t.parquet", "two columns called 'a'")


@pytest.mark.parametrize(
    "line", ["[" * 100_000, '{"text": 3}', "3", "x" * 1_000_000, '{"a":' + "9" * 5000 + "}", '{"text": "\\ud800"}']
)
def test_lines_that_are_no_documents(tmp_path, line):
    (tmp_path / "t.jsonl").write_text(json.dumps({"text": "a b"}) + "\n" + line + "\n")
    refused(tmp_path / "t.jsonl", "line 2", '"text"', tokenizer=Words())


def test_messages_are_one_line_that_can_be_read(tmp_path):
    assert str(LibasisError("a\nb \x1b[31m" + "c" * 5_000_000)) == f"a b \\x1b[31m{'c' * 55}... (5000005 characters)"
    assert len(str(LibasisError("word " * 10_000))) < 3000
    (tmp_path / "a\nb.csv").write_text("a\nx\n")
    refused(tmp_path / "a\nb.csv", "a b.csv: column 'a', row 1 holds 'x'")
