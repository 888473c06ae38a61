"""A table of one's own and a model, on the first day: what is wrong is said first, in the terminal and on the page."""

import json

import numpy as np
import pytest
import torch

import libasis
from libasis.cards import FeatureCards
from libasis.report.words import Words
from libasis.run import cli

NAMES = ["valve", "temperature", "pressure", "level"]
MODEL = """
import torch
from torch import nn

MEAN, SPREAD = torch.tensor([43.0, 120.0, 2700.0, 50.0]), torch.tensor([2.65, 2.0, 6.0, 0.5])

class Net(nn.Module):
    def __init__(self, raw, names=None):
        super().__init__()
        self.raw, self.columns = raw, names
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(4))
            self.first.bias.zero_()
            self.last.weight.copy_(torch.tensor([[-1.0, 0.1, 0.1, 0.1], [1.0, 0.1, 0, 0]]))
            self.last.bias.zero_()

    def forward(self, x):
        return self.last(self.first((x - MEAN) / SPREAD if self.raw else x).clamp(-1e4, 1e4))

def good():
    return Net(True).eval()

def standardised():
    return Net(False).eval()

def named():
    return Net(True, ["level", "valve", "temperature", "pressure"]).eval()
"""
SETTINGS = """
sites = ["first:in", "last:in", "output"]
[model]
source = "{name}:{factory}"
[data]
source = "all.csv"
target = "state"
"""


def rows(n, fault, seed):
    x = np.random.default_rng(seed).normal(size=(n, 4)) * [1.0, 2.0, 6.0, 0.5] + [41.0, 120.0, 2700.0, 50.0]
    x[:, 0] += 5 * fault
    return x


def write(path, x, names=NAMES, **more):
    lines = [",".join([*more, *names])]
    lines += [",".join([*(str(own[i]) for own in more.values()), *(f"{v:.5f}" for v in x[i])]) for i in range(len(x))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def place(tmp_path, monkeypatch, request):
    """A folder with a model, all.csv, normal.csv and fault.csv in it; gives what runs a command there."""
    monkeypatch.chdir(tmp_path)
    name = f"first_day_of_a_table_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(MODEL, encoding="utf-8")
    calm, fault = rows(120, 0, 0), rows(80, 1, 1)
    times = [f"2026-01-{1 + i // 24:02} {i % 24:02}:00" for i in range(200)]
    both, state = np.concatenate([calm, fault]), [0] * 120 + [1] * 80
    write(tmp_path / "all.csv", both, time=times, run=[i // 10 for i in range(200)], state=state)
    write(tmp_path / "normal.csv", calm[:, ::-1], NAMES[::-1])
    write(tmp_path / "fault.csv", fault)

    def run(verb, factory="good", *options):
        (tmp_path / "libasis.toml").write_text(SETTINGS.format(name=name, factory=factory), encoding="utf-8")
        extra = ("--set", 'data.exclude=["time", "run"]', *options)
        return cli.run([verb, "libasis.toml", *extra])

    return tmp_path, run


GROUPS = (
    "--set", 'report.groups={normal="normal.csv", fault="fault.csv"}', "--set", "report.reference=normal",
    "--set", "data.time=time", "--set", "data.unit=run",
)  # fmt: skip


def test_cards_have_sensors_times_and_units_of_the_table(place, capsys):
    folder, run = place
    assert run("graph", "good", *GROUPS) == 0
    assert "Check first" not in capsys.readouterr().out
    assert run("report", "good", *GROUPS) == 0
    cards = FeatureCards.load(folder / "libasis-run" / "cards")
    inside = [card for key, card in cards.cards.items() if key.startswith("last:in")]
    best = max(inside, key=lambda card: abs(card["ablation"]["change"]))
    assert best["reads"][0]["column"] == best["suggestions"][0]["value"] == "valve"
    assert best["top"][0]["time"].startswith("2026-01-")
    assert cards.info["rows"] == {"independent": "units", "units": 19}  # of 20, in a quarter of the rows
    assert cards.info["ablation"]["reference"] == "normal"
    means = {group["name"]: group["columns"]["valve"][0] for group in cards.groups}  # by name: the order is another
    assert means["normal"] == pytest.approx(41, abs=0.3)
    assert means["fault"] == pytest.approx(46, abs=0.3)


def test_a_model_of_standardised_inputs_is_told_everywhere_and_nothing_is_verified(place, capsys):
    folder, run = place
    said = "it seems to be trained on standardised inputs"
    assert run("fit", "standardised") == 0
    assert said in capsys.readouterr().out
    assert run("graph", "standardised", "--json") == 0
    assert said in json.loads(capsys.readouterr().out)["findings"][0]["text"]
    assert run("report", "standardised") == 0
    assert said in capsys.readouterr().out
    page = (folder / "libasis-run" / "report.html").read_text(encoding="utf-8")
    assert page.index(said) < page.index('class="d-finding"')
    assert page.index("モデルは標準化した入力で学習されたようです") < page.rindex('class="d-finding"')
    assert "d-mark d-verified" not in page
    assert Words("en", "first").all["check"] in page
    cards = FeatureCards.load(folder / "libasis-run" / "cards")
    tested = [card["ablation"] for card in cards.cards.values() if card["ablation"]]
    assert {one["untested"] for one in tested} == {"no_better"}


def test_columns_in_another_order_are_told_or_taken_by_name(place, capsys):
    folder, run = place
    assert run("fit", "named") == 0
    assert "names its inputs in another order in 'columns' ('valve' is the first" in capsys.readouterr().out
    calm, fault = rows(60, 0, 5), rows(60, 1, 6)
    x, state = np.concatenate([calm, fault]), [0] * 60 + [1] * 60
    write(folder / "test.csv", x[:, ::-1], NAMES[::-1], time=["-"] * 120, run=state, state=state)
    assert run("graph", "good", "--set", "data.test_source=test.csv", "--force") == 0
    assert run("ablate", "good", "--set", "data.test_source=test.csv", "--json") == 0
    assert libasis.load(folder / "libasis-run" / "ablation").nodes.base_score > 0.95


def test_three_rows_and_one_class_are_told(place, capsys):
    folder, run = place
    write(folder / "all.csv", rows(3, 0, 0), time=[1, 2, 3], run=[1, 2, 3], state=[0, 0, 0])
    run("fit")
    said = capsys.readouterr().out
    assert "There are 3 rows, with which little can be sure; give 100 or more." in said
    assert "have the class 0" in said


def test_texts_as_labels_empty_cells_and_an_image_shape_of_other_data(place, capsys):
    folder, run = place
    text = (folder / "all.csv").read_text(encoding="utf-8").splitlines()
    texts = [line if i == 0 else _said(line, "ok" if i <= 120 else "leak", i == 5) for i, line in enumerate(text)]
    (folder / "all.csv").write_text("\n".join(texts) + "\n", encoding="utf-8")
    assert run("fit") == 2
    assert "column 'valve', row 5 is empty; fill it in" in capsys.readouterr().err
    named = ("--set", "data.impute=median")
    assert run("fit", "good", *named) == 2
    assert "such as classes = ['leak', 'ok'], or number them from 0" in capsys.readouterr().err
    named += ("--set", 'data.classes=["ok", "leak"]', "--set", "report.image_shape=[8, 8]")
    assert run("graph", "good", *named) == 0
    said = capsys.readouterr()
    assert "had empty cells, filled with the median of the column: 'valve' 1." in said.err
    assert "Check first: Empty cells were filled in (median: 'valve' 1; " in said.out
    assert run("report", "good", *named) == 0
    assert "report.image_shape is [8, 8], but the rows have 4 columns: not used." in capsys.readouterr().err
    cards = FeatureCards.load(folder / "libasis-run" / "cards")
    assert cards.outputs == ["ok", "leak"]
    assert run("graph", "good", *named, *GROUPS, "--force") == 0


def _said(line, state, empty):
    cells = line.split(",")
    cells[2] = state
    cells[3] = "" if empty else cells[3]
    return ",".join(cells)


def test_check_takes_rows_with_their_targets(place):
    folder, _ = place
    data = libasis.data.read(folder / "all.csv", target="state", exclude=["time", "run"])
    scope: dict = {}
    exec(MODEL, scope)  # noqa: S102 - ours
    model = scope["good"]()
    assert libasis.check(model, data) == []
    wrong = libasis.check(model, [(x, 1 - y) for x, y in data])
    assert "no better than giving the most frequent class to all (60.0%)" in wrong[0]
    goals = [(x, 100 + x[:, :2]) for x, _ in data]
    assert "no better than giving the mean of the targets to all rows" in libasis.check(model, goals)[0]


def test_targets_that_are_none_of_the_model_are_told(place, capsys):
    folder, run = place
    data = libasis.data.read(folder / "all.csv", target="state", exclude=["time", "run"])
    data = list(data)
    write(folder / "all.csv", rows(120, 0, 0), time=range(120), run=range(120), state=[1, 2] * 60)
    assert run("fit") == 0
    assert "The labels go from 1 to 2" in capsys.readouterr().out
    scope: dict = {}
    exec(MODEL, scope)  # noqa: S102 - ours
    model = scope["good"]()
    for labels, said in (
        (lambda y: y + 1, "from 1 to 2"),
        (lambda y: 2 * y, "from 0 to 2"),
        (lambda y: y - 1, "-1 to 0"),
    ):
        (first, *_) = libasis.check(model, [(x, labels(y)) for x, y in data])
        assert said in first
        assert "2 outputs, one for each of the classes 0 to 1; number the classes from 0" in first
    (first, *_) = libasis.check(model, [(x, 80.5 + y) for x, y in data])
    assert "numbers such as 80.5 (1 for each row), but the model has 2 outputs" in first
    ignored = [(x, torch.where(x[:, 1] > 125, -100, y)) for x, y in data]
    assert not [one for one in libasis.check(model, ignored) if "classes 0 to 1" in one]
