"""Sensitivity to the input: derivatives and finite changes against the model itself."""

import math

import pytest
import torch
from torch import nn

import libasis
from chains import F64, random
from libasis import local
from libasis.errors import OptionError
from models import CNN_CASE, TRANSFORMER_CASE


def table(*layers, method="lib"):
    torch.manual_seed(0)
    model = nn.Sequential(*layers).to(F64).eval()
    x = random(30, 4) @ random(4, 4, seed=1)
    traced = libasis.trace(model, x, ["0:in", "1:in", "output"])
    return model, x, traced, libasis.fit(traced, [x], method, progress=False)


def test_of_a_linear_model_both_are_the_weights_in_units():
    model, x, traced, basis = table(nn.Linear(4, 5), nn.Linear(5, 2))
    scale = [2.0, 10.0, 0.5, 1.0]
    show = local.Show(columns=list("abcd"), standardiser=([0.0] * 4, scale))
    found = local.sensitivity(traced, basis, [x], "1:in", 1, show=show, progress=False)
    through = (model[1].weight @ model[0].weight)[1].detach()
    expected = through * (x.mean(0) - x)
    for n in range(30):
        for values in (found.finite, found.derivative):
            torch.testing.assert_close(values[n][:, -1], expected[n], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(found.slopes[3, :, -1], through / torch.tensor(scale, dtype=F64))
    assert float(found.disagreement.max()) < 1e-9
    assert {found.said(q, kind) for q in range(len(found.quantities)) for kind in (0, 1)} == {"agree"}
    features = (basis[1].C.T @ model[0].weight).detach()
    torch.testing.assert_close(found.slopes[0, :, 0], features[0] / torch.tensor(scale, dtype=F64))
    rows = found.rows()
    assert [row["part"] for row in rows[:5]] == ["a", "b", "c", "d", "noise of 0.1 sd"]
    assert rows[0]["finite"] == pytest.approx(float(torch.stack(found.finite)[:, 0, 0].mean()))


def test_finite_changes_are_those_of_the_model_and_the_difference_is_told():
    model, x, traced, basis = table(nn.Linear(4, 9), nn.Sequential(nn.ReLU(), nn.Linear(9, 2)))
    found = local.sensitivity(traced, basis, x.split(7), "1:in", 0, noise=2.0, progress=False)
    base = model(x)[:, 0].detach()
    finite, said = torch.zeros(30, 4, dtype=F64), torch.zeros(30, 4, dtype=F64)
    leaf = x.clone().requires_grad_()
    gradient = torch.autograd.grad(model(leaf)[:, 0].sum(), leaf)[0]
    for column in range(4):
        other = x.clone()
        other[:, column] = x[:, column].mean()
        finite[:, column] = model(other)[:, 0].detach() - base
        said[:, column] = (gradient * (other - x)).sum(1)
    torch.testing.assert_close(torch.stack(found.finite)[:, :, -1], finite, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(torch.stack(found.derivative)[:, :, -1], said, rtol=1e-8, atol=1e-10)
    expected = (finite - said).norm() / (finite.norm() + said.norm())
    assert float(found.disagreement[0, -1]) == pytest.approx(float(expected), rel=1e-6)
    assert float(expected) > 0.05
    assert f"disagreement {float(expected):.2f}" in repr(found)


def test_where_the_derivative_is_nothing_they_disagree():
    class Steps(nn.Module):
        def forward(self, x):
            return (x > 0).to(x) + 0 * x

    _, x, traced, basis = table(nn.Linear(4, 6), nn.Sequential(Steps(), nn.Linear(6, 2)), method="pca")
    found = local.sensitivity(traced, basis, [x], "1:in", 0, progress=False)
    assert found.said(len(found.quantities) - 1) == "disagree"
    assert float(found.disagreement[0, -1]) == pytest.approx(1.0)
    assert float(found.disagreement[0, 0]) < 1e-9  # features before the steps are linear


@pytest.mark.parametrize("sizes", [(4, 3), (7,)])
def test_patches_of_pictures(sizes):
    model, x = CNN_CASE.model(), torch.cat(CNN_CASE.batches())[:, :1].repeat(1, 2, 1, 1)
    traced = libasis.trace(model, x, list(CNN_CASE.sites))
    basis = libasis.fit(traced, [x], progress=False)
    show = local.Show(kind="image", image_shape=[4, 12])
    with pytest.raises(OptionError, match="patch is 99"):
        local.sensitivity(traced, basis, [x], "gap", show=show, patch=99, progress=False)
    found = local.sensitivity(traced, basis, x.split(list(sizes)), "gap", 1, show=show, patch=4, fill=0, progress=False)
    assert len(found.parts) == 3
    assert found.boxes == [(0, 0, 4, 4), (0, 4, 4, 4), (0, 8, 4, 4)]
    flat = x.flatten(1).view(7, 4, 12).clone()
    flat[:, :, 4:8] = 0
    with torch.no_grad():
        change = model(flat.view_as(x))[:, 1] - model(x)[:, 1]
    torch.testing.assert_close(torch.stack(found.finite)[:, 1, -1], change, rtol=1e-8, atol=1e-10)


def test_tokens_are_replaced_and_the_derivative_is_that_of_the_first_site():
    model, ids = TRANSFORMER_CASE.model(), torch.cat(TRANSFORMER_CASE.batches()).clamp(min=1)
    ids[:, 0], ids[1, 3:] = 5, 0
    traced = libasis.trace(model, ids, list(TRANSFORMER_CASE.sites), mask=lambda args: args[0] > 0)
    basis = libasis.fit(traced, [ids], progress=False)
    found = local.sensitivity(traced, basis, ids.split(3), "blocks.0.hook_mid", 4, fill=7, position=2, progress=False)
    embedded = (model.embed(ids) + model.pos).detach().requires_grad_()

    def rest(x):
        for block in model.blocks:
            x = block(x)
        return model.unembed(model.ln(x))[:, 2, 4]

    gradient = torch.autograd.grad(rest(embedded).sum(), embedded)[0]
    for token in range(3):
        other = ids.clone()
        other[:, token] = 7
        with torch.no_grad():
            change = model(other)[:, 2, 4] - model(ids)[:, 2, 4]
            said = (gradient * (model.embed(other) - model.embed(ids))).sum((1, 2))
        torch.testing.assert_close(torch.stack(found.finite)[:, token, -1], change, rtol=1e-8, atol=1e-10)
        torch.testing.assert_close(torch.stack(found.derivative)[:, token, -1], said, rtol=1e-8, atol=1e-10)
    assert torch.stack(found.finite)[1, 3:].isnan().all()
    assert found.info["derivative_by"] == "the activation at 'blocks.0.hook_pre'"
    drawn = [
        local.sensitivity(traced, basis, batches, "blocks.0.hook_mid", draws=3, seed=4, progress=False)
        for batches in ([ids], ids.split(2))
    ]
    torch.testing.assert_close(torch.stack(drawn[0].finite), torch.stack(drawn[1].finite), equal_nan=True)
    torch.testing.assert_close(drawn[0].noise_finite, drawn[1].noise_finite)
    with pytest.raises(OptionError, match=r"fill is 0\.5"):
        local.sensitivity(traced, basis, [ids], "blocks.0.hook_mid", fill=0.5, progress=False)


def test_two_inputs_by_name_and_a_chain():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, gain, x):
            return self.b(torch.tanh(self.a(x) * gain))

    torch.manual_seed(0)
    model = Two().to(F64).eval()
    x, gain = random(9, 3), random(9, 1, seed=4)
    traced = libasis.trace(model, {"gain": gain, "x": x}, ["b:in", "output"])
    basis = libasis.fit(traced, [{"gain": gain, "x": x}], progress=False)
    found = local.sensitivity(traced, basis, [{"x": x, "gain": gain}], "b:in", 0, progress=False)
    assert found.parts == ["0"]  # the first input
    with torch.no_grad():
        change = model(gain.mean().expand_as(gain), x)[:, 0] - model(gain, x)[:, 0]
    torch.testing.assert_close(torch.stack(found.finite)[:, 0, -1], change, rtol=1e-8, atol=1e-10)
    chain = libasis.Chain([lambda a: torch.tanh(model.a(a)), model.b], ["x", "h", "output"])
    basis = libasis.fit(chain, [x], progress=False)
    found = local.sensitivity(chain, basis, [x], "h", 1, samples=[2], progress=False)
    leaf = x[2:3].clone().requires_grad_()
    gradient = torch.autograd.grad(model.b(torch.tanh(model.a(leaf)))[0, 1], leaf)[0][0]
    torch.testing.assert_close(found.slopes[0, :, -1], gradient)


def test_it_is_saved_and_the_model_is_as_it_was(tmp_path):
    model, x, traced, basis = table(nn.Linear(4, 9), nn.Sequential(nn.ReLU(), nn.Linear(9, 2)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = local.sensitivity(traced, basis, [x], "1:in", progress=False)
    back = libasis.load(found.save(tmp_path / "one"))
    assert type(back) is local.InputSensitivity
    assert back.rows() == found.rows()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"noise": 0.0}, "noise is 0.0"),
        ({"noise": math.inf}, "noise is inf"),
        ({"draws": 0}, "draws 0"),
        ({"features": [99]}, "features is"),
        ({"features": [0, 0]}, "none twice"),
        ({"fill": math.nan}, "fill is nan"),
        ({"show": local.Show(columns=["a"])}, "columns has 1 names"),
        ({"show": local.Show(outputs=["a"])}, "outputs has 1 names"),
        ({"show": local.Show(columns=list("abcd"), standardiser=([0.0], [1.0]))}, "standardiser is"),
    ],
)
def test_what_is_no_question_is_told(options, said):
    _, x, traced, basis = table(nn.Linear(4, 5), nn.Linear(5, 2))
    with pytest.raises(OptionError, match=said):
        local.sensitivity(traced, basis, [x], "1:in", progress=False, **options)
