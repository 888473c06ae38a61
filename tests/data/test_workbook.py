"""Excel workbooks: their one sheet is read as a table of separated values is, digit by digit."""

import zipfile
from xml.sax.saxutils import escape

import numpy as np
import pytest

import libasis.data
from libasis.errors import OptionError, SourceError

pytest.importorskip("python_calamine")
OPEN = "http://schemas.openxmlformats.org"
OFFICE = "application/vnd.openxmlformats-"
LINKS = f"{OPEN}/officeDocument/2006/relationships"
KINDS = {
    "[Content_Types].xml": f'<Types xmlns="{OPEN}/package/2006/content-types">'
    f'<Default Extension="rels" ContentType="{OFFICE}package.relationships+xml"/>'
    f'<Default Extension="xml" ContentType="{OFFICE}officedocument.spreadsheetml.sheet.main+xml"/></Types>',
    "_rels/.rels": f'<Relationships xmlns="{OPEN}/package/2006/relationships">'
    f'<Relationship Id="a" Type="{LINKS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
}
MAIN = f'xmlns="{OPEN}/spreadsheetml/2006/main"'


def write(path, **sheets):
    """A workbook of rows of cells: numbers, texts, None."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        for name, text in KINDS.items():
            book.writestr(name, text)
        listed, links = "", ""
        for i, (name, rows) in enumerate(sheets.items(), 1):
            listed += f'<sheet name="{name}" sheetId="{i}" r:id="s{i}"/>'
            links += f'<Relationship Id="s{i}" Type="{LINKS}/worksheet" Target="worksheets/sheet{i}.xml"/>'
            text = "".join(f'<row r="{r}">{"".join(map(cell, row))}</row>' for r, row in enumerate(rows, 1))
            book.writestr(f"xl/worksheets/sheet{i}.xml", f"<worksheet {MAIN}><sheetData>{text}</sheetData></worksheet>")
        book.writestr("xl/workbook.xml", f'<workbook {MAIN} xmlns:r="{LINKS}"><sheets>{listed}</sheets></workbook>')
        book.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{OPEN}/package/2006/relationships">{links}</Relationships>',
        )
    return path


class Raw(str):
    """A cell as it stands in the file."""


def cell(value):
    if value is None:
        return "<c/>"
    if isinstance(value, str) and not isinstance(value, Raw):
        return f'<c t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    return value if isinstance(value, Raw) else f"<c><v>{value!r}</v></c>"


ROWS = [["温度, ℃", "flow", "state"], [0.1, 12345678, "ok"], [-2.5e-7, 3, "fault; leak"], [7, 1e9, "ok"]]


def test_a_sheet_is_read_as_its_text_would_be(tmp_path):
    found = libasis.data.read(write(tmp_path / "a.xlsx", Sheet1=ROWS, Empty=[]), "state", classes=["ok", "fault; leak"])
    (tmp_path / "a.csv").write_text(
        '"温度, ℃",flow,state\n0.1,12345678,ok\n-2.5e-7,3,fault; leak\n7,1000000000,ok\n', encoding="utf-8"
    )
    same = libasis.data.read(tmp_path / "a.csv", "state", classes=["ok", "fault; leak"])
    assert np.array_equal(found.inputs, same.inputs)
    assert np.array_equal(found.targets, same.targets)
    assert found.columns == same.columns == ["温度, ℃", "flow"]
    assert found.written == "an Excel workbook, sheet 'Sheet1'"


def test_a_formula_is_its_value(tmp_path):
    rows = [["x"], [Raw('<c r="A2"><f>1+1</f><v>2</v></c>')], [Raw('<c r="A3"><f t="shared" si="0"/><v>3.5</v></c>')]]
    assert libasis.data.read(write(tmp_path / "a.xlsx", a=rows)).inputs.tolist() == [[2], [3.5]]


def test_what_stands_beside_the_table_is_no_part_of_it(tmp_path):
    """A column of nothing in front, rows of nothing below."""
    rows = [[None, "a", "b"], [None, 1, 2], [None, 3, 4], [None, None, None]]
    found = libasis.data.read(write(tmp_path / "a.XLSX", data=rows))
    assert found.inputs.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("sheets", "said"),
    [
        ({"a": [["x"], [1]], "b": [["x"], [2]]}, r"has cells in several sheets \('a', 'b'\); give a workbook"),
        ({"a": []}, "has no sheet with cells; give a workbook"),
        ({"a": [["x", "y"], [1, None]]}, "column 'y', row 1"),
        ({"a": [["x", "y"], [1, "#DIV/0!"]]}, "column 'y', row 1"),
        ({"a": [["x", "y"], [16777217, 1]]}, "16777217"),
        ({"a": [["x"], [Raw('<c r="A2" t="e"><v>#DIV/0!</v></c>')]]}, "cell A2 holds an error of a formula"),
        ({"a": [["x"], [Raw('<c r="A2" s="1"><f>SUM(B1:B9)</f></c>')]]}, "cell A2 holds a formula without its value"),
        ({"a": [["x"], [Raw('<c r="A2"><f t="shared" si="0"/><v></v></c>')]]}, "cell A2 holds a formula without"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_told(tmp_path, sheets, said):
    with pytest.raises(SourceError, match=said):
        libasis.data.read(write(tmp_path / "a.xlsx", **sheets))


def test_no_workbook(tmp_path):
    whole = write(tmp_path / "a.xlsx", a=ROWS).read_bytes()
    for content in (b"", b"a,b\n1,2\n", whole[: len(whole) // 2], whole[:-30] + bytes(30)):
        (tmp_path / "b.xlsx").write_bytes(content)
        with pytest.raises(SourceError, match=r"b\.xlsx cannot be read as an Excel workbook"):
            libasis.data.read(tmp_path / "b.xlsx")
    with pytest.raises(OptionError, match=r"separator is given, but .*a\.xlsx cannot use it"):
        libasis.data.read(tmp_path / "a.xlsx", separator=";")


def test_a_workbook_that_unpacks_to_too_much(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w", zipfile.ZIP_DEFLATED) as book, book.open("xl/a.xml", "w") as part:
        for _ in range(600):
            part.write(bytes(2**20))
    with pytest.raises(SourceError, match="unpacks to"):
        libasis.data.read(tmp_path / "a.xlsx")
