"""What features are held at is one reference, chosen and stated; what cannot be tested is said to be so."""

import pytest
import torch
from torch import nn

import libasis
from libasis.errors import OptionError

SITES = ["0:in", "output"]


def setting(features=16):
    """A classifier of one column: 1 where it is above 3; normal rows are around 0, those of the fault around 6."""
    model = nn.Sequential(nn.Linear(features, 2)).double().eval()
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].weight[1, 0] = 1
        model[0].weight[1, 1:] = 0.05
        model[0].bias.copy_(torch.tensor([0.0, -3.0]))
    generator = torch.Generator().manual_seed(0)
    normal, fault = (torch.randn(150, features, generator=generator, dtype=torch.float64) for _ in range(2))
    fault[:, 0] += 6
    return model, normal, fault


def cards(model, basis_of, shown, normal, targets, **options):
    traced = libasis.trace(model, normal[:4], SITES)
    basis = libasis.fit(traced, [basis_of], method="neuron", progress=False)
    groups = {"normal": [(normal, torch.zeros(len(normal), dtype=torch.long))]}
    batches = [(shown, targets)]
    columns = [f"x{i}" for i in range(normal.shape[1])]
    return libasis.collect(
        traced, basis, batches, groups=groups, columns=columns, kind="table", progress=False, **options
    )


def test_held_at_the_normal_mean_the_alarm_of_the_fault_ends():
    model, normal, fault = setting()
    both, one = torch.cat([fault, fault, normal]), torch.ones(len(fault), dtype=torch.long)
    at_fit = cards(model, both, fault, normal, one).cards["0:in:0"]["ablation"]
    assert at_fit["without"] == pytest.approx(1.0, abs=0.01)  # the mean of the file leaves the fault in place
    found = cards(model, both, fault, normal, one, reference="normal")
    held = found.cards["0:in:0"]["ablation"]
    assert held["base"] == pytest.approx(1.0, abs=0.01)
    assert held["without"] < 0.01
    assert held["passed"]
    assert "group 'normal'" in found.info["ablation"]["held"]
    assert found.info["ablation"]["reference"] == "normal"
    example = found.cards["0:in:0"]["top"][0]["content"]
    assert example["z"][0] > 5  # counted from the normal rows, in which the fault stands out


def test_the_reference_is_a_group():
    model, normal, fault = setting()
    with pytest.raises(OptionError, match=r"reference is 'calm', but the groups are \['normal'\]"):
        cards(model, normal, fault, normal, torch.ones(150, dtype=torch.long), reference="calm")


def test_where_nothing_changes_or_directions_are_few_nothing_was_tested():
    model, normal, fault = setting()
    one = torch.ones(len(fault), dtype=torch.long)
    fault[:, 0] += 6  # far enough for the alarm to stay, whatever is held at the mean of these rows
    alone = cards(model, fault, fault, normal, one).cards["0:in:1"]["ablation"]
    assert (alone["change"], alone["control"], alone["untested"], alone["passed"]) == (0, 0, "no_change", False)
    model, normal, fault = setting(2)
    few = cards(model, normal, fault, normal, one, reference="normal").cards["0:in:0"]["ablation"]
    assert (few["untested"], few["passed"]) == ("few_features", False)
