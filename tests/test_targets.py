"""Targets of any structure stay with their samples, in every call that selects, draws or digests samples."""

import numpy as np
import pytest
import torch

import libasis
from libasis import Intervention
from libasis.errors import ActivationError, BatchError, OptionError
from libasis.measure import Records
from models import MLP_CASE

X = torch.randn(60, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
MODEL = MLP_CASE.model()
Y = MODEL(X).argmax(1)
SITES = ["fc1", "fc2:in", "head:in", "output"]

FORMS = {  # how targets are given, and how a metric reads the classes of a batch
    "list": (lambda y: y.tolist(), torch.as_tensor),
    "array": (lambda y: y.numpy(), torch.as_tensor),
    "dict": (lambda y: {"y": y}, lambda t: t["y"]),
    "tuple": (lambda y: (y, y.double()), lambda t: t[0]),
    "list of texts": (lambda y: [str(int(v)) for v in y], lambda t: torch.tensor([int(v) for v in t])),
}


@pytest.fixture(scope="module")
def cut():
    traced = libasis.trace(MODEL, X[:4], SITES)
    return traced, libasis.fit(traced, [X], progress=False)


def batches(form, size):
    return [(X[i : i + size], FORMS[form][0](Y[i : i + size])) for i in range(0, 60, size)]


def metric(form):
    return lambda outputs, targets: (outputs.argmax(-1) == FORMS[form][1](targets)).double()


@pytest.mark.parametrize("form", FORMS)
def test_cards_are_those_of_tensors(cut, form):
    """Drawn samples too, whether activations are kept or not."""
    plain = [(X[i : i + 10], Y[i : i + 10]) for i in range(0, 60, 10)]
    options = {"samples": 20, "features": 1, "progress": False}
    truth = libasis.collect(*cut, plain, metric="accuracy", **options)["fc2:in:0"]["ablation"]
    own = batches(form, 10)
    for data in (own, libasis.keep(cut[0], own)):
        found = libasis.collect(*cut, data, metric=metric(form), **options)["fc2:in:0"]["ablation"]
        assert found["base"] == truth["base"] == 1.0
        assert found["change"] == pytest.approx(truth["change"])


@pytest.mark.parametrize("form", FORMS)
def test_digests_do_not_mind_the_batches(cut, form):
    facts = [Records(cut[0], batches(form, size), progress=False).facts() for size in (10, 7, 60)]
    assert {fact["digest"] for fact in facts} == {facts[0]["digest"]}
    other = batches(form, 10)
    other[2] = (other[2][0], FORMS[form][0]((Y[20:30] + 1) % 3))
    assert Records(cut[0], other, progress=False).facts()["digest"] != facts[0]["digest"]


def test_data_that_do_not_vary_or_do_not_count_are_told(cut):
    traced = cut[0]
    for method in ("lib", "pca"):
        with pytest.raises(ActivationError, match="does not vary"):
            libasis.fit(traced, [X[:1].repeat(5, 1)], method, progress=False)
    chain = libasis.Chain([lambda x: torch.tanh(x), lambda x: x.sum(1, keepdim=True)], ["in", "mid", "out"])
    nothing = chain.to(mask=lambda x: torch.zeros(x[0].shape[:2], dtype=torch.bool))
    for method in ("lib", "pca", "neuron"):
        with pytest.raises(BatchError, match="No position counts at site 'in'"):
            libasis.fit(nothing, [X.view(10, 6, 6)], method, progress=False)


@pytest.mark.parametrize("method", ["pca", "neuron"])
def test_a_fit_of_one_pass_reads_the_data_once(cut, method):
    class Once:
        passes = 0

        def __len__(self):
            return 6

        def __iter__(self):
            Once.passes += 1
            return iter(X.split(10))

    libasis.fit(cut[0], Once(), method, memory=1000, progress=False)
    assert Once.passes == 1


def test_interventions_are_read_as_people_write_them(cut):
    data = [(X, Y)]
    one = Intervention("fc1", [0], "swap", donors=torch.tensor([1, 2]), seed=np.int64(3))
    assert one.donors == Intervention("fc1", [0], "swap", donors={2, 1}).donors == (1, 2)
    with pytest.raises(OptionError, match="intervene takes an Intervention or a list"):
        libasis.intervene(*cut, data, None)
    with pytest.raises(OptionError, match="to is a list of str; Intervention takes a text"):
        Intervention("fc1", [0], to=["mean"])
    with pytest.raises(OptionError, match=r"with_mask is traced\.to\(mask=\.\.\.\) now"):
        cut[0].with_mask(None)
    with pytest.raises(OptionError, match="no option 'dtype' any more"):
        libasis.Basis.from_directions({}, traced=cut[0], batches=[X], dtype="float64")
