"""What `intervene` returns is a result like every other."""

import pytest
import torch

import chains
import libasis
from libasis.errors import StoreError
from libasis.intervene import Intervention, InterventionResult, intervene


@pytest.fixture(scope="module")
def found():
    x = chains.data("mlp")
    traced = chains.chain(chains.SECTIONS["mlp"]())
    basis = libasis.fit(traced, [x], progress=False)
    asked = [
        Intervention("s0", features=[0, 1]),
        Intervention("s0", features=2, to="set", value=3),
        Intervention("s1", features=[1], to="set", value="q0.9"),
        Intervention("s1", features=(0, 1), to="shift", value=[1, 2.0], name="both up"),
        Intervention("s1", directions=torch.ones(1, basis[1].d).double()),
        Intervention("s0", features=[0], to="swap", donors=[1, 2, 3], seed=7),
        Intervention("s0", features=[0], to="swap", donors=[x[:5]]),
        Intervention("s1", features=[0], to="keep_only", value="zero", where="all"),
    ]
    return intervene(traced, basis, [(x, torch.randint(0, 5, x.shape[:2]))], asked, "cross_entropy", progress=False)


def test_it_comes_back(found, tmp_path):
    back = libasis.load(found.save(tmp_path / "result"))
    assert type(back) is InterventionResult
    for name in ("base", "scores", "counts"):
        assert torch.equal(getattr(back, name), getattr(found, name))
    assert back.rows() == found.rows()
    assert repr(back) == repr(found)
    for one, two in zip(found.interventions, back.interventions, strict=True):
        for name in ("site", "features", "to", "value", "where", "seed", "name", "label"):
            assert getattr(two, name) == getattr(one, name), name
    assert back.interventions[5].donors == found.interventions[5].donors
    assert torch.equal(back.interventions[6].donors[0], found.interventions[6].donors[0])
    assert torch.equal(torch.as_tensor(back.interventions[4].directions), torch.ones(1, 6).double())
    assert list(back.to_dataframe().intervention) == [one.label for one in found.interventions]


def test_another_kind_is_refused(found, tmp_path):
    found.save(tmp_path / "result")
    with pytest.raises(StoreError, match="of the kind 'interventions', not 'graph'"):
        libasis.InteractionGraph.load(tmp_path / "result")
