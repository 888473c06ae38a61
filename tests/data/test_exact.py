"""No number of a file becomes another one in silence, and no cell another column's."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from libasis.data import read
from libasis.data.exact import as_float32, as_int64
from libasis.errors import SourceError

pandas = pytest.importorskip("pandas")

DAY = 1_700_000_000 + np.arange(0, 86_400, 7_201)


def lines(path, *rows):
    path.write_text("\n".join(rows) + "\n")
    return path


def write(path, values, dtype=None):
    """A column of values beside another one, as a file of any kind."""
    values = np.asarray(values, dtype)
    other = np.arange(len(values), dtype=np.float32)
    if path.suffix == ".npz":
        np.savez(path, x=np.stack([other, values], 1), y=other)
    else:
        table = pandas.DataFrame({"a": other, "b": values, "y": other.astype(int)})
        table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path)
    return path


LOST = {
    "whole above 2^24": [1.0, 2.0, 16_777_217.0],
    "unix times": DAY.astype(float),
    "unix times with fractions": DAY + 0.5,
    "nanoseconds": (DAY * 10**9 + 1).astype(float),
    "too large": [1.0, 0.5, 1e39],
    "too small": [1.0, 0.5, 1e-46],
    "few digits left": [1.0, 0.5, 1.23456e-43],
    "differences lost": 1e6 + np.array([0.001, 0.002, 0.003]),
}


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
@pytest.mark.parametrize("kind", LOST)
def test_what_float32_would_change_is_told(tmp_path, suffix, kind):
    path = write(tmp_path / f"t{suffix}", LOST[kind])
    place = r"array 'x' at \[\d, 1\]" if suffix == ".npz" else r"column 'b', row \d+"
    with pytest.raises(SourceError, match=rf"t{suffix}: {place} holds .*, which would be .* in float32; subtract"):
        read(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("value", [2**24 + 1, -(2**24) - 1, 2**53 + 1, 2**62 + 1, 2**63 + 1])
def test_whole_numbers_are_kept_or_told(tmp_path, suffix, value):
    path = write(tmp_path / f"t{suffix}", [0, value], np.uint64 if value > 2**63 else np.int64)
    with pytest.raises(SourceError, match=rf"column 'b', row 2 holds {value}, which would be"):
        read(path)
    if value < 2**63:  # classes and numbers to predict are int64
        assert read(path, target="b").targets.tolist() == [0, value]
    else:
        with pytest.raises(SourceError, match=rf"column 'b', row 2 holds {value}, which would be .* in int64"):
            read(path, target="b")


def test_unsigned_arrays_do_not_wrap(tmp_path):
    np.savez(tmp_path / "t.npz", x=np.array([[1], [2**64 - 1]], np.uint64))
    with pytest.raises(
        SourceError, match=r"array 'x' at \[1, 0\] holds 18446744073709551615, which would be -1 in int64"
    ):
        read(tmp_path / "t.npz")
    assert as_int64(np.array([7, 2**63 - 1], np.uint64), str).tolist() == [7, 2**63 - 1]


KEPT = {
    "standardised": np.random.default_rng(0).normal(size=50),
    "incomes": np.random.default_rng(0).normal(5e6, 2e6, 50),
    "large unit": np.random.default_rng(0).normal(size=50) * 1e9,
    "small unit": np.random.default_rng(0).normal(size=50) * 1e-9,
    "constant": np.full(50, 0.1),
    "constant but for rounding": np.full(50, 0.1) + np.arange(50) * 1e-17,
    "one of many": np.arange(50) == 3,
    "whole": np.arange(50) * 300_000.0,
    "large and whole": 2.0 ** np.arange(50),
    "beyond counting": np.random.default_rng(0).normal(size=50) * 1e25,
}


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
@pytest.mark.parametrize("kind", KEPT)
def test_ordinary_columns_are_read_as_ever(tmp_path, suffix, kind):
    values = np.asarray(KEPT[kind], np.float64)
    found = read(write(tmp_path / f"t{suffix}", values)).inputs[:, 1]
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy(), values.astype(np.float32))


@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 5), st.integers(1, 3)),
        elements=st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_what_is_read_is_close_and_its_whole_numbers_are_equal(values):
    try:
        held = as_float32(values, str).astype(np.float64)
    except SourceError:
        return
    whole = (values == np.floor(values)) & (np.abs(values) < 2.0**63)
    assert np.array_equal(held[whole], values[whole])
    np.testing.assert_allclose(held, values, rtol=2.0**-22, atol=0)


# rows and names


@pytest.mark.parametrize("row", ["1,2,3", "1", "1,2,", "1,2,3,4"])
@pytest.mark.parametrize("at", [2, 3])
def test_rows_of_another_length_are_told(tmp_path, row, at):
    """Also the first: it must not turn the first column into an index."""
    rows = ["a,b", "1,2", "3,4"]
    rows[at - 1] = row
    path = lines(tmp_path / "t.csv", *rows)
    with pytest.raises(
        SourceError, match=rf"t\.csv, line {at} has {row.count(',') + 1} values, but .* 2 names; repair"
    ):
        read(path)
    with pytest.raises(SourceError, match=f"line {at}"):
        read(lines(path, "a,b", *[row] * 3)) if at == 2 else read(path)


@pytest.mark.parametrize("cell", ['"1,234"', "1 234", "1_234", "1.234.567", "12%", "$5", "0x10", "1e", "x" * 100_000])
def test_other_ways_to_write_a_number_are_told(tmp_path, cell):
    path = lines(tmp_path / "t.csv", "a,b", "1,2", f"3,{cell}")
    with pytest.raises(SourceError, match=r"t\.csv: column 'b', row 2 holds .*, which is no number") as caught:
        read(path)
    assert len(str(caught.value)) < 600


def test_no_message_repeats_a_huge_cell(tmp_path):
    huge = "y" * 5_000_000
    for rows in (
        [f"a,{huge}", "1,2"],
        ["a,b", f"1,{huge}"],
        [f"a,{huge[:1000]}", "1,x"],
        [f"{huge[:100_000]},a", "1,2"],
    ):
        with pytest.raises(SourceError) as caught:
            read(lines(tmp_path / "t.csv", *rows), columns=["b"])
        assert len(str(caught.value)) < 1000


def test_quotes_marks_and_empty_lines_change_nothing(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes('\ufeff"a",b,"y, z"\r\n\r\n"1.5",2,"0"\r\n3,"4",1\r\n\r\n'.encode())
    found = read(path, target="y, z")
    assert (found.columns, found.inputs.tolist(), found.targets.tolist()) == (["a", "b"], [[1.5, 2], [3, 4]], [0, 1])


@pytest.mark.parametrize("header", ["a,b,a", "a,a,b", '"a",b,a'])
def test_two_columns_of_one_name_are_told(tmp_path, header):
    with pytest.raises(SourceError, match=r"t\.csv has two columns called 'a'; rename"):
        read(lines(tmp_path / "t.csv", header, "1,2,3"))
