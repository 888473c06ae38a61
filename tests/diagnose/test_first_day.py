"""What goes wrong on the first day with a file of one's own: each gives one sentence that leads to success."""

import os
import re

import numpy as np
import pytest

import libasis
from diagnose.rows import COLUMNS, FAULT, MEAN, SPREAD, Copy, one, rows
from libasis.run import cli
from libasis.run.diagnosis import Source

CODE = """
import sys
sys.path.insert(0, {tests!r})
from diagnose.rows import Copy, one

def model():
    return one()

def standardised():
    return one(raw=False)

def copies():
    return Copy(raw=False).eval()

def training():
    return one().train()
"""


@pytest.fixture
def place(tmp_path, monkeypatch, request):
    """A folder with a model, normal.csv and fault.csv in it."""
    monkeypatch.chdir(tmp_path)
    name = f"first_day_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(CODE.format(tests=str(request.path.parent.parent)), encoding="utf-8")
    write(tmp_path / "normal.csv", rows())
    write(tmp_path / "fault.csv", rows(shift=FAULT, seed=1))
    return tmp_path, name


def write(path, x, names=COLUMNS, mark=",", encoding="utf-8", decimal="."):
    lines = [mark.join(names), *(mark.join(f"{v:.6g}".replace(".", decimal) for v in row) for row in x)]
    path.write_text("\n".join(lines) + "\n", encoding=encoding)


def run(capsys, name, *options, verb="diagnose", factory="model", normal="normal.csv", fault="fault.csv"):
    groups = [] if "--data" in options else ["--normal", normal, "--anomalous", fault]
    quick = ["--quick"] if verb == "diagnose" else []
    code = cli.run([verb, "--model", f"{name}:{factory}", *groups, *quick, *options])
    out = capsys.readouterr()
    return code, out.out, out.err


def refused(capsys, name, said, *options, **given):
    code, out, err = run(capsys, name, *options, **given)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert re.search(said, err), err
    assert out == ""


def test_a_file_and_a_model_give_the_culprit_and_a_page(place, capsys):
    folder, name = place
    code, out, err = run(capsys, name, "--out", "found", "--lang", "ja")
    assert (code, err) == (0, "")
    assert re.search(r"valve +│ 40\S* +│ 4[23]\S* +│ supported +│ 9\d\.\d% +│ \d\.\d%", out)
    assert "not: causes the fault" in out
    assert {p.name for p in (folder / "found").iterdir()} == {
        "diagnosis.html", "diagnosis", "inputs.csv", "sets.csv", "features.csv", "baselines.csv"
    }  # fmt: skip
    assert (folder / "found" / "inputs.csv").read_text(encoding="utf-8").splitlines()[1].startswith("valve,supported,")
    assert '<html lang="ja">' in (folder / "found" / "diagnosis.html").read_text(encoding="utf-8")
    assert libasis.load(folder / "found" / "diagnosis").tested_inputs[0]["input"] == "valve"


@pytest.mark.parametrize("table", ["inputs", "sets", "features", "baselines"])
def test_tables_replace_nothing_of_someone_else(place, capsys, table):
    folder, name = place
    mine = folder / "found" / f"{table}.csv"
    mine.parent.mkdir()
    mine.write_text("my input, set, feature\n1,2,3\n")
    refused(capsys, name, "not written by libasis", "--out", "found", "--force")
    assert [path.name for path in mine.parent.iterdir()] == [mine.name]
    assert mine.read_text() == "my input, set, feature\n1,2,3\n"


def test_no_cell_of_the_tables_is_a_formula(place, capsys):
    folder, name = place
    for file, shift in (("normal.csv", 0), ("fault.csv", FAULT)):
        write(folder / file, rows(shift=shift), [f"=1+{i}" for i in range(len(COLUMNS))])
    for again in ([], ["--force"]):
        assert run(capsys, name, "--out", "found", *again)[0] == 0
    for table in ("inputs", "sets", "baselines"):
        lines = (folder / "found" / f"{table}.csv").read_text().splitlines()
        assert len(lines) > 1
        assert all(line.startswith("'=1+") for line in lines[1:])


def test_pipes_and_damaged_tables_are_told(place, capsys):
    folder, name = place
    os.mkfifo(folder / "pipe.parquet")
    (folder / "bad.parquet").write_bytes(b"PAR1" + bytes(50))
    refused(capsys, name, "no regular file", normal="pipe.parquet")
    refused(capsys, name, "cannot be read as parquet", normal="bad.parquet")


def test_a_column_that_is_not_there_is_named_with_the_nearest(place, capsys):
    refused(capsys, place[1], r"'valv'.*did you mean 'valve'", "--columns", "valv,flow")


def test_a_threshold_or_a_delta_that_none_can_be_is_refused(place, capsys):
    refused(capsys, place[1], "threshold is nan; give a finite number", "--threshold", "nan")
    refused(capsys, place[1], r"delta is 5\.0, but an alarm rate is between 0 and 1; give 0\.05", "--delta", "5")


def test_an_empty_cell_is_placed(place, capsys):
    folder, name = place
    text = (folder / "fault.csv").read_text().splitlines()
    text[3] = text[3].partition(",")[0] + ",," + text[3].partition(",")[2].partition(",")[2]
    (folder / "fault.csv").write_text("\n".join(text) + "\n")
    refused(capsys, name, r"fault\.csv: column 'temperature', row 3 is empty; fill it.*impute = 'median'")
    code, out, err = run(capsys, name, "--quick", "--impute", "median")
    assert code == 0
    assert err == ""
    assert out.count("Empty cells were filled in (median: 'temperature' 1; fault.csv)") == 1
    assert "空のセルを補いました" in (folder / "libasis-diagnosis" / "diagnosis.html").read_text(encoding="utf-8")
    refused(capsys, name, "impute is 'zero'; give one of", "--impute", "zero", "--force")


def test_text_in_a_cell_is_placed(place, capsys):
    folder, name = place
    (folder / "fault.csv").write_text((folder / "fault.csv").read_text().rstrip("\n") + "\n1,2,3,4,5,off\n")
    refused(capsys, name, r"column 'speed', row 121 holds 'off'.*leave it out")


def test_a_time_column_is_left_out(place, capsys):
    folder, name = place
    for file in ("normal.csv", "fault.csv"):
        head, *lines = (folder / file).read_text().splitlines()
        dated = [f"time,{head}", *(f"2024-05-01 00:{i:02d},{line}" for i, line in enumerate(lines))]
        (folder / file).write_text("\n".join(dated) + "\n")
    refused(capsys, name, r"column 'time', row 1 holds '2024-05-01 00:00'")
    assert run(capsys, name, "--exclude", "time")[0] == 0


def test_text_labels_in_one_file_tell_the_groups(place, capsys):
    folder, name = place
    both = [(folder / f"{which}.csv").read_text().splitlines() for which in ("normal", "fault")]
    lines = [f"{both[0][0]},state", *(f"{x},ok" for x in both[0][1:]), *(f"{x},alarm" for x in both[1][1:])]
    (folder / "all.csv").write_text("\n".join(lines) + "\n")
    code, out, _ = run(capsys, name, "--data", "all.csv", "--label", "state", "--normal-label", "ok")
    assert code == 0
    assert "valve" in out
    wrong = ("--data", "all.csv", "--label", "state", "--normal-label", "OK", "--out", "b")
    refused(capsys, name, r"'OK' \(did you mean 'ok'\?\).*'alarm', 'ok'", *wrong)


def labelled(folder, states, cut=()):
    """One table of both groups; cells of the valve that are cut are empty."""
    both = np.concatenate([rows(), rows(shift=FAULT, seed=1)])
    write(folder / "all.csv", both)
    head, *lines = (folder / "all.csv").read_text().splitlines()
    lines = ["," + line.partition(",")[2] if i in cut else line for i, line in enumerate(lines)]
    text = [f"{head},state", *(f"{line},{state}" for line, state in zip(lines, states, strict=True))]
    (folder / "all.csv").write_text("\n".join(text) + "\n")
    return both, ("--data", "all.csv", "--label", "state", "--normal-label", "ok")


@pytest.mark.parametrize("empty", ["", "  ", "NaN"])
@pytest.mark.parametrize("verb", ["check", "diagnose"])
def test_rows_without_a_label_are_of_no_group(place, capsys, empty, verb):
    folder, name = place
    _, options = labelled(folder, ["ok"] * 100 + [empty] * 20 + ["leak"] * 120)
    said = r"all\.csv: column 'state' holds no label in 20 of 240 rows \(the first is row 101\); label these rows"
    refused(capsys, name, said, *options, verb=verb)


def test_several_labels_are_said_to_be_taken_together(place, capsys):
    folder, name = place
    _, options = labelled(folder, ["ok"] * 120 + ["leak"] * 70 + ["stop"] * 50)
    said = "taken as anomalous together (rows each: 'leak' 70, 'stop' 50)"
    assert said in run(capsys, name, *options, verb="check")[1]
    assert said in run(capsys, name, *options)[1]
    assert "まとめて異常側として扱いました" in (folder / "libasis-diagnosis" / "diagnosis.html").read_text(
        encoding="utf-8"
    )
    _, options = labelled(folder, ["ok"] * 120 + ["leak"] * 120)
    assert "taken as" not in run(capsys, name, *options, verb="check")[1]


@pytest.mark.parametrize("impute", ["median", "mean", "previous"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_cells_are_filled_within_their_group(place, capsys, impute, suffix):
    folder, name = place
    both, options = labelled(folder, ["ok"] * 120 + ["leak"] * 120, cut=(5, 120, 200))
    if suffix == "parquet":
        pytest.importorskip("pandas").read_csv(folder / "all.csv").to_parquet(folder / "all.parquet")
        options = ("--data", "all.parquet", *options[2:])
    source = Source(folder / options[1], None, label="state", normal_label="ok", impute=impute)
    normal, fault, _ = source.groups()
    valve = both[:, 0]
    own = {
        "median": (np.median(np.delete(valve[:120], 5)), *2 * [np.median(np.delete(valve[120:], (0, 80)))]),
        "mean": (np.delete(valve[:120], 5).mean(), *2 * [np.delete(valve[120:], (0, 80)).mean()]),
        "previous": (valve[4], valve[121], valve[199]),
    }[impute]
    assert [float(one) for one in (normal.inputs[5, 0], *fault.inputs[[0, 80], 0])] == pytest.approx(own, rel=1e-4)
    code, out, err = run(capsys, name, *options, "--impute", impute, verb="check")
    assert (code, err) == (0, "")
    assert out.count(f"({impute} by 'state': 'valve' 3; all.{suffix})") == 1


def test_a_group_without_a_value_cannot_be_filled(place, capsys):
    folder, name = place
    _, options = labelled(folder, ["ok"] * 120 + ["leak"] * 120, cut=range(120, 240))
    said = r"all\.csv, rows whose 'state' is 'leak': column 'valve' has no value at all; leave it out \(exclude\)"
    refused(capsys, name, said, *options, "--impute", "median", verb="check")


@pytest.mark.parametrize("verb", ["check", "diagnose"])
@pytest.mark.parametrize(
    ("head", "said"),
    [
        ("valve,temperature,,level,pressure,speed", "column 3 has no name in the first line"),
        (",temperature,flow,level,pressure,speed", "column 1 has no name in the first line"),
        ("valve,temperature,flow,flow,pressure,speed", "two columns called 'flow'"),
        ("40.1,120,9,50,2700,0.3", "has no names: its first line holds the numbers"),
    ],
)
def test_names_are_those_of_columns(place, capsys, verb, head, said):
    folder, name = place
    for file in ("normal.csv", "fault.csv"):
        (folder / file).write_text(head + "\n" + (folder / file).read_text().partition("\n")[2])
    refused(capsys, name, said, verb=verb)


def test_a_frame_with_two_columns_of_one_name_is_refused():
    frame = pytest.importorskip("pandas").DataFrame(rows(), columns=[*COLUMNS[:5], "flow"])
    with pytest.raises(libasis.errors.LibasisError, match="normal has two columns called 'flow'; rename one of them"):
        libasis.check(one(), frame, frame)


def test_one_class_alone_is_told(place, capsys):
    folder, name = place
    head, *lines = (folder / "normal.csv").read_text().splitlines()
    (folder / "all.csv").write_text("\n".join([f"{head},state", *(f"{x},ok" for x in lines)]) + "\n")
    options = ("--data", "all.csv", "--label", "state", "--normal-label", "ok")
    refused(capsys, name, r"Every row of all\.csv is labelled 'ok'; give rows of the fault too", *options)


def test_raw_rows_for_a_model_of_standardised_ones_are_told(place, capsys):
    code, out, _ = run(capsys, place[1], verb="check", factory="standardised")
    assert code == 0
    assert "standardised" in out.splitlines()[0]
    assert "give the rows scaled as in training" in out
    refused(capsys, place[1], "reconstructs standardised rows.*scaled as in training", factory="copies")


@pytest.mark.parametrize("encoding", ["cp932", "utf-16", "utf-8-sig"])
def test_japanese_names_in_any_encoding(place, capsys, encoding):
    folder, name = place
    names = ["冷却水弁", "反応器温度", "流量", "液位", "圧力", "回転数"]
    for file, x in (("normal.csv", rows()), ("fault.csv", rows(shift=FAULT, seed=1))):
        write(folder / file, x, names, encoding=encoding)
    code, out, _ = run(capsys, name)
    assert code == 0
    assert "冷却水弁" in out


def test_semicolons_and_decimal_commas(place, capsys):
    folder, name = place
    for file, x in (("normal.csv", rows()), ("fault.csv", rows(shift=FAULT, seed=1))):
        write(folder / file, x, mark=";", decimal=",")
    code, out, err = run(capsys, name)
    assert code == 0
    assert "decimal comma" in err
    assert "valve" in out


def test_how_tables_are_written_can_be_said(place, capsys):
    folder, name = place
    for file in ("normal.csv", "fault.csv"):
        quoted = [",".join(f'"{v}"' for v in line.split(",")) for line in (folder / file).read_text().splitlines()]
        commas = [quoted[0], *(line.replace(".", ",") for line in quoted[1:])]
        (folder / file).write_text("\n".join(commas) + "\n", encoding="cp932")
    refused(capsys, name, "give decimal = ','", verb="check")
    assert run(capsys, name, "--decimal", ",", "--encoding", "cp932", verb="check")[0] == 0
    refused(capsys, name, "separator is 'ab'", "--separator", "ab")
    refused(capsys, name, "cannot be split at", "--separator", r"\t")


def test_three_rows_are_too_few(place, capsys):
    folder, name = place
    write(folder / "fault.csv", rows(3, FAULT))
    refused(capsys, name, r"anomalous has 3 rows.*at least 10.*longer stretch")


def test_columns_that_say_nothing_are_named(place, capsys):
    folder, name = place
    for file, x in (("normal.csv", rows()), ("fault.csv", rows(shift=FAULT, seed=1))):
        x[:, 5] = 0.3
        write(folder / file, x)
    code, out, _ = run(capsys, name, verb="check")
    assert code == 0
    assert "'speed' never changes" in out


def test_columns_in_another_order_are_told(place, capsys):
    folder, name = place
    turned = COLUMNS[::-1]
    write(folder / "fault.csv", rows(shift=FAULT, seed=1)[:, ::-1], turned)
    code, out, _ = run(capsys, name)
    assert code == 0
    assert "names decided" in out
    assert "valve" in out
    write(folder / "normal.csv", rows()[:, ::-1], turned)
    out = run(capsys, name, verb="check")[1]
    assert "in another order" in out
    assert "(columns)" in out
    code, out, _ = run(capsys, name, "--columns", ",".join(COLUMNS), "--out", "again")
    assert code == 0
    assert re.search(r"valve .* supported", out)


def test_a_model_in_training_mode_says_what_to_call(place, capsys):
    refused(capsys, place[1], r"training mode.*call model\.eval\(\) first", factory="training")


def test_groups_are_needed(place, capsys):
    code, _, err = run(capsys, place[1], "--data", "normal.csv")
    assert code == 2
    assert "--label" in err


def test_check_says_what_is_the_same_what_drifts_and_what_depends():
    generator = np.random.default_rng(0)
    z = generator.normal(size=(200, 6))
    for t in range(1, 200):
        z[t] = 0.95 * z[t - 1] + 0.3 * z[t]
    z[:, 2] = 3 * z[:, 1]
    z[100:, 3] += 8
    said = libasis.check(one(), z * SPREAD + MEAN, rows(shift=FAULT, seed=1), COLUMNS)
    assert any("'temperature' and 'flow' are the same but for scale" in text for text in said)
    assert any("'level'" in text and "moves within the normal rows" in text for text in said)
    assert any("Rows depend on those before them" in text for text in said)
    assert libasis.check(one(), rows(), rows(shift=FAULT, seed=1), COLUMNS) == []
    assert "nothing to explain" in libasis.check(Copy().eval(), rows(), rows(seed=1), COLUMNS)[0]
