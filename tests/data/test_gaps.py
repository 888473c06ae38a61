"""Cells without a value are refused with place and number, or filled in where that is asked for; classes as texts."""

import numpy as np
import pytest

from libasis.data import read
from libasis.errors import LibasisError

ROWS = "flow,ph,state\n1,7,ok\n,7.5,leak\n3,n/a,ok\n,8,leak\n8,,ok\n"


@pytest.fixture(params=["csv", "parquet"])
def table(tmp_path, request):
    path = tmp_path / "t.csv"
    path.write_text(ROWS, encoding="utf-8")
    if request.param == "parquet":
        pandas = pytest.importorskip("pandas")
        pytest.importorskip("pyarrow")
        pandas.read_csv(path).to_parquet(path := tmp_path / "t.parquet")
    return path


def test_the_first_empty_cell_and_how_many_there_are(table):
    with pytest.raises(LibasisError) as caught:
        read(table, exclude=["state"])
    assert "column 'flow', row 2 is empty, one of " in str(caught.value)
    assert "impute = 'median'" in str(caught.value)


@pytest.mark.parametrize(
    ("impute", "flow", "ph"),
    [
        ("median", [1, 3, 3, 3, 8], [7, 7.5, 7.5, 8, 7.5]),
        ("mean", [1, 4, 3, 4, 8], [7, 7.5, 7.5, 8, 7.5]),
        ("previous", [1, 1, 3, 3, 8], [7, 7.5, 7.5, 8, 8]),
    ],
)
def test_what_is_filled_in_is_said(table, impute, flow, ph):
    found = read(table, exclude=["state"], impute=impute)
    assert found.inputs.T.tolist() == [flow, ph]
    assert (found.filled.impute, found.filled.counts) == (impute, {"flow": 2, "ph": 2})
    assert any("had empty cells, filled with" in remark and "'flow' 2, 'ph' 2" in remark for remark in found.remarks)


def test_before_the_first_value_stands_that_and_no_value_at_all_is_refused(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n,\n,NaN\n5,-\n", encoding="utf-8")
    with pytest.raises(LibasisError, match="column 'b' has no value at all; leave it out"):
        read(path, impute="previous")
    assert read(path, columns=["a"], impute="previous").inputs[:, 0].tolist() == [5, 5, 5]
    with pytest.raises(LibasisError, match="impute is 'zero'; give one of 'median', 'mean', 'previous'"):
        read(path, impute="zero")


def test_without_gaps_nothing_is_filled(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,true\n2,false\n", encoding="utf-8")
    found = read(path, impute="mean")
    assert found.filled is None
    assert found.remarks == []
    assert np.array_equal(found.inputs.numpy(), read(path).inputs.numpy())


def test_texts_of_the_target_are_classes_in_the_order_that_is_given(table):
    found = read(table, target="state", classes=["ok", "leak"], impute="median")
    assert found.targets.tolist() == [0, 1, 0, 1, 0]
    assert found.classes == ["ok", "leak"]
    with pytest.raises(LibasisError, match="row 2 holds 'leak' .did you mean 'leakage'.., which classes does not name"):
        read(table, target="state", classes=["ok", "leakage"], impute="median")
    with pytest.raises(LibasisError, match="classes is given without target"):
        read(table, classes=["ok", "leak"])


def test_without_classes_it_is_said_how_to_name_them(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,state\n1,ok\n2,leak\n", encoding="utf-8")
    with pytest.raises(LibasisError, match=r"classes = \['leak', 'ok'\], or number them from 0"):
        read(path, target="state")
