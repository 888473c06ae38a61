"""Separated values as people write them: what is clear is recognised, what is given followed, the rest refused."""

import gzip

import numpy as np
import pytest

from libasis.data import data_facts, read, structure_of_example
from libasis.errors import OptionError, SourceError

VALUES = np.random.default_rng(0).normal(size=(30, 2)).round(3)
ROWS = [*([f"{a}", f"{b}", f"{i % 2}"] for i, (a, b) in enumerate(VALUES))]


def text(separator=",", decimal=".", names=("a", "b", "y"), rows=ROWS):
    lines = [separator.join(cell.replace(".", decimal) for cell in row) for row in rows]
    return "\n".join([separator.join(names), *lines]) + "\n"


def write(path, content, encoding="utf-8"):
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def same(found, columns=("a", "b")):
    assert found.columns == list(columns)
    assert np.array_equal(found.inputs.numpy(), VALUES.astype(np.float32))
    assert found.targets.tolist() == [i % 2 for i in range(30)]


def refused(path, *parts, **options):
    with pytest.raises(SourceError) as caught:
        read(path, **options)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    assert len(message) < 600
    for part in parts:
        assert part in message


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(("separator", "words"), [(",", "commas"), (";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_what_is_clear_is_recognised_and_said(tmp_path, separator, words, encoding, ending):
    path = write(tmp_path / "t.csv", text(separator).replace("\n", ending), encoding)
    found = read(path, target="y")
    same(found)
    assert words in found.written
    assert encoding.upper().removesuffix("-SIG") in found.written
    facts = data_facts(found, structure_of_example(found.example()))
    assert found.written in facts["source"]


@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_decimal_commas(tmp_path, separator):
    path = write(tmp_path / "t.tsv", text(separator, ","))
    found = read(path, target="y")
    same(found)
    assert "decimal comma" in found.written
    same(read(path, target="y", separator=separator, decimal=",", encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "encoding", "said"),
    [
        ("温度", "cp932", "Shift-JIS"),
        ("アイウ", "cp932", "Shift-JIS"),
        ("ﾎﾟﾝﾌﾟ 圧力 (ＭＰａ)", "cp932", "Shift-JIS"),
        ("température", "latin-1", "Windows-1252"),
        ("T [°C]", "latin-1", "Windows-1252"),
        ("l’Größe µ€", "cp1252", "Windows-1252"),
        ("温度 é °C", "utf-8", "UTF-8"),
        ("温度 é °C", "utf-16", "UTF-16"),
    ],
)
def test_encodings_are_told_apart(tmp_path, name, encoding, said):
    path = write(tmp_path / "t.csv", text(names=(name, "b", "y")), encoding)
    found = read(path, target="y")
    same(found, (name, "b"))
    assert said in found.written
    same(read(path, target="y", encoding=encoding), (name, "b"))


@pytest.mark.parametrize(
    ("name", "encoding"), [("温度計", "euc-jp"), ("температура", "cp1251"), ("ｵﾝﾄﾞｹｲ", "cp932"), ("温度计", "gbk")]
)
def test_encodings_that_may_be_others_are_asked_for(tmp_path, name, encoding):
    path = write(tmp_path / "t.csv", text(names=(name, "b", "y")), encoding)
    try:
        found = read(path, target="y").columns[0]
    except SourceError as error:
        assert "give encoding" in str(error)  # noqa: PT017 - either is right
        found = name
    assert found == name
    same(read(path, target="y", encoding=encoding), (name, "b"))


def test_packed_files_and_what_excel_writes(tmp_path):
    for name in ("t.csv.gz", "t.TSV.GZ", "t.csv"):
        same(read(write(tmp_path / name, gzip.compress(text("\t").encode())), target="y"))
    same(read(write(tmp_path / "t.csv", "sep=;\n" + text(";", ",")), target="y"))
    same(read(write(tmp_path / "t.csv", text().replace("\n", "\n\n")), target="y"))
    refused(write(tmp_path / "t.csv.gz", gzip.compress(text().encode())[:-9]), "gzip")
    refused(write(tmp_path / "t.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 2**26, 1)), "larger than", "unpacked")


def test_what_is_given_is_followed(tmp_path):
    quoted = text(rows=[[f'"{cell}"'.replace(".", ",") for cell in row] for row in ROWS])
    same(read(write(tmp_path / "t.csv", quoted), target="y", decimal=","))
    same(read(write(tmp_path / "t.csv", text(" ")), target="y", separator=" "))
    same(read(write(tmp_path / "t.csv", text("§"), "latin-1"), target="y", separator="§", encoding="latin-1"))
    mixed = text(names=("a;b", "b", "y"))
    same(read(write(tmp_path / "t.csv", mixed), target="y", separator=","), ("a;b", "b"))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("separator", ";;"),
        ("separator", ""),
        ("separator", '"'),
        ("separator", "1"),
        ("separator", "."),
        ("decimal", ";"),
        ("encoding", "utf-99"),
        ("encoding", "rot13"),
        ("encoding", "a\0b"),
        ("encoding", "undefined"),
    ],
)
def test_what_cannot_be_is_told(tmp_path, option, value):
    path = write(tmp_path / "t.csv", text())
    with pytest.raises(OptionError, match=f"^{option} is "):
        read(path, **{option: value})
    np.savez(tmp_path / "t.npz", x=VALUES)
    with pytest.raises(OptionError, match=f"{option} is given, but .* cannot use it"):
        read(tmp_path / "t.npz", **{option: value})


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("a,b;c\n1,2;3\n", ["may be separated by commas or by semicolons", "give separator"]),
        ("a;b\n1,5;2\n1.5;2\n", ["'1,5' and '1.5'", "give decimal"]),
        ("a;b\n1,234;2\n5,678;2\n", ["'1,234', which may be a decimal comma", "give decimal"]),
        ('a,b\n"1,5",2\n', ["row 1 holds '1,5', which is no number; give decimal = ',' if", "between thousands"]),
        ('a,b\n"1,013.50",2\n', ["row 1 holds '1,013.50', which is no number", "between thousands"]),
        ("a,b\n1 234.5,2\n", ["row 1 holds '1 234.5'", "between thousands"]),
        ("a,b\n12.5 kW,2\n", ["row 1 holds '12.5 kW'", "its unit in the column's name"]),
        ("a,b\n3,１２．５\n", ["column 'b', row 1 holds '１２．５'", "full-width"]),
        ("a,b\ndegC,m3/h\n1,2\n", ["row 1 holds 'degC'", "if it holds units, or names again, remove it"]),
        ("Plant 7\na,b\n1,2\n3,4\n", ["its first line is 'Plant 7'", "2 values", "above the line of names"]),
        ("Plant 7; night\n\na,b,c\n1,2,3\n3,4,5\n", ["its first line is 'Plant 7; night'", "3 values"]),
        ("Plant 7\na;b\n1,5;2\n3;4,5\n", ["its first line is 'Plant 7'", "2 values"]),
        ("Plant 7,,\n,,\na,b,c\n1,2,3\n", ["its first line is 'Plant 7,,'", "3 values"]),
        ("a,b\n1,5,2\n", ["line 2 has 3 values", "2 names"]),
        ("a;b\n1,5;2\t3\n", ["row 1 holds '2\\t3', which is no number"]),
        ("a;b\n1.234,5;2\n", ["row 1 holds '1.234,5', which is no number"]),
        ("a,b\n1;2\n3,4\n", ["line 2 has 1 values"]),
        ("a,b\n1,2\n3", ["line 3 has 1 values"]),
        ('a,b\n"1\n",2\n1,2,3\n', ["line 4 has 3 values"]),
        ("sep=;\na;b\n1;2\n3\n", ["line 4 has 1 values"]),
        ('a,b\n"1,2\n3,4\n', ["line 3: unexpected end of data"]),
        ('a,b\n"1"x,2\n', ["line 2"]),
        (",b\n1,2\n", ["column 1 has no name"]),
        ("a,b,\n1,2,\n", ["column 3 has no name"]),
        ("0.5,1.5\n1,2\n", ["no names", "'0.5', '1.5'"]),
        ("1,1\n1,2\n", ["no names"]),
        ("a,b\n", ["no rows"]),
        ("", ["is empty"]),
        ("\n \n\n", ["is empty"]),
        (b"\xef\xbb\xbf", ["is empty"]),
        (b"\xff\xfe", ["is empty"]),
        ("a,b\n1\0,2\n", ["null characters"]),
        (bytes(range(256)) * 9, ["null characters"]),
        (b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" * 9, ["no text"]),
        ("x" * 5_000_000 + ",b\n1,2\n", []),
        ("a,b\n" + "x" * 5_000_000 + ",2\n", ["line 2"]),
    ],
)
def test_the_rest_is_refused_in_a_sentence(tmp_path, content, parts):
    refused(write(tmp_path / "t.csv", content), *parts)


@pytest.mark.parametrize(
    "options",
    [
        {"columns": []},
        {"columns": ["a", "a"]},
        {"columns": "ab"},
        {"columns": [0]},
        {"batch_size": 0},
        {"batch_size": None},
        {"target": 2},
        {"separator": 5},
        {"encoding": 5},
        {"decimal": 5},
    ],
)
def test_options_of_another_kind(tmp_path, options):
    with pytest.raises(OptionError, match=f"^{next(iter(options))} is "):
        read(write(tmp_path / "t.csv", text()), **options)
    with pytest.raises(OptionError, match="^path is "):
        read(None)


def test_names_that_are_numbers(tmp_path):
    """As pandas writes them; or as they are named."""
    assert read(write(tmp_path / "t.csv", "0,1\n5,6\n")).inputs.tolist() == [[5, 6]]
    assert read(write(tmp_path / "t.csv", "350.5,351\n5,6\n"), columns=["351", "350.5"]).inputs.tolist() == [[6, 5]]
    assert read(write(tmp_path / "t.csv", ",b\n5,6\n"), columns=["b"]).inputs.tolist() == [[6]]


@pytest.mark.parametrize("target", [False, True])
@pytest.mark.parametrize(
    ("cell", "part"),
    [
        ("9007199254740993", "would be 9007199254740992"),
        ("-9007199254740993.0", "would be -9007199254740992"),
        ("9.007199254740993e15", "would be 9007199254740992"),
        (f"{2**70 + 1}", f"would be {2**70}"),
        ("9" * 5000, "too large"),
        ("1e400", "too large"),
        ("-1e400", "too large"),
        ("1e-400", "would be 0"),
        ("-1e-99999999999999999999", "would be 0"),
        ("1e99999999999999999999", "too large"),
        (f"0.{'0' * 400}1", "would be 0"),
        ("nan", "'nan', which is no value"),
        ("NA", "'NA', which is no value"),
        ("-Infinity", "is infinite"),
        ("1_000", "'1_000', which is no number"),
        ("0x1p3", "no number"),
        ("\uff11\uff12", "no number"),
        ("\u22121", "no number"),
        ("1\xa0234", "no number"),
        ("1e5_0", "no number"),
        ("True", "is true or false, but the column holds numbers"),
        (" ", "is empty"),
    ],
)
def test_no_cell_becomes_another_number(tmp_path, cell, part, target):
    path = write(tmp_path / "t.csv", f"a,b\n1,2.5\n2,{cell}\n")
    options = {"columns": ["a"], "target": "b"} if target else {}
    refused(path, "column 'b', row 2 ", part, **options)


def test_cells_that_are_numbers(tmp_path):
    cells = [
        "+1",
        " 2 ",
        ".5",
        "5.",
        "1e3",
        "1E-3",
        "-0.0",
        "007",
        f"{2**60}",
        "0e9",
        "0e-99999999999999999999",
        "0.00E+0",
        f"{2.0**70:.1f}",
    ]
    path = write(tmp_path / "t.csv", "\n".join(["a", *cells]) + "\n")
    assert read(path).inputs[:, 0].tolist() == [np.float32(cell) for cell in cells]
    flags = write(tmp_path / "t.csv", "a,y\n" + "True,false\nFALSE,true\n" * 3)
    found = read(flags, target="y")
    assert (found.inputs[:, 0].tolist(), found.targets.tolist()) == ([1, 0] * 3, [0, 1] * 3)


def test_a_name_that_is_nearly_right_is_guessed(tmp_path):
    path = write(tmp_path / "t.csv", text(names=("temperature", "b", "y")))
    refused(path, "target names 'Y' (did you mean 'y'?)", target="Y")
    refused(path, "columns names 'temprature' (did you mean 'temperature'?)", columns=["temprature"])
    with pytest.raises(SourceError, match=r"tt\.csv': there is no such file \(did you mean 't\.csv'\?\)"):
        read(tmp_path / "tt.csv")
