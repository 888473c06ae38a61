"""A difference of two groups of data names the columns whose mean moved, in units of their spread."""

import pytest
import torch
from torch import nn

import libasis
from libasis.errors import OptionError

COLUMNS = ["valve", "temperature", "flow", "level"]


def graphs():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double().eval()
    generator = torch.Generator().manual_seed(1)
    spread = torch.tensor([0.5, 0.02, 1.0, 3.0], dtype=torch.float64)
    normal, fault = (torch.randn(300, 4, generator=generator, dtype=torch.float64) * spread for _ in range(2))
    fault[:, 1] += 0.1
    traced = libasis.trace(model, normal[:4], ["input", "2:in", "output"])
    return [
        libasis.interactions(traced, libasis.fit(traced, [x], method="pca", progress=False), [x], progress=False)
        for x in (normal, fault)
    ]


def test_the_column_that_moved_is_named_first(tmp_path):
    found = libasis.diff(*graphs(), columns=COLUMNS)
    first = found.coordinates[0]
    assert (first["site"], first["coordinate"]) == ("input", "temperature")
    assert first["difference"] == pytest.approx(5, abs=0.5)
    assert first["b"] - first["a"] == pytest.approx(0.1, abs=0.01)
    page = found.to_html(tmp_path / "diff.html").read_text(encoding="utf-8")
    assert "The mean differs most in temperature (site input)" in page
    found.save(tmp_path / "diff")
    assert libasis.load(tmp_path / "diff").coordinates == found.coordinates


def test_names_are_as_many_as_columns():
    with pytest.raises(OptionError, match="columns has 1 names, but the first site 'input' has 4"):
        libasis.diff(*graphs(), columns=["valve"])


class Scaled(nn.Module):
    """Standardises inside: no site holds the columns as they are."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, x):
        return self.last(self.first((x - 5) / 2).tanh())


@pytest.mark.parametrize("site", ["input", "last:in"])
def test_graphs_measured_on_tables_name_the_sensors_by_themselves(tmp_path, site):
    generator = torch.Generator().manual_seed(1)
    made = []
    for name, shift in (("normal", 0.0), ("fault", 3.0)):
        x = torch.randn(200, 4, generator=generator) + 5 + torch.tensor([0, shift, 0, 0])
        lines = [",".join(COLUMNS), *(",".join(f"{v:.4f}" for v in row) for row in x.tolist())]
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
        data = libasis.data.read(tmp_path / f"{name}.csv")
        traced = libasis.trace(Scaled().eval(), data.example()[:4], [site, "output"])
        made.append(libasis.interactions(traced, libasis.fit(traced, data, progress=False), data, progress=False))
    found = libasis.diff(*made)
    first = found.coordinates[0]
    assert (first["site"], first["coordinate"]) == ("input", "temperature")
    assert first["difference"] == pytest.approx(3, abs=0.4)
    assert (first["a"], first["b"]) == (pytest.approx(5, abs=0.3), pytest.approx(8, abs=0.3))
    assert len([row for row in found.coordinates if row["coordinate"] == "temperature"]) == 1
