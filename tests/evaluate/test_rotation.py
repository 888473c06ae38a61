import pytest
import torch

import libasis
from libasis.demo import digits
from libasis.evaluate import random_rotation
from libasis.evaluate.rotation import haar


@pytest.fixture(scope="module")
def fitted():
    model, batches = digits.load(), digits.batches_train()
    traced = libasis.trace(model, batches[0][0], ["fc1:in", "fc2:in", "fc3:in", "output"], dtype="float64")
    return traced, batches, libasis.fit(traced, batches)


def test_span_importance_and_correlations_are_kept(fitted):
    traced, batches, lib = fitted
    turned = random_rotation(lib, seed=3)
    record = traced.record(batches[0][0].double())
    for i, (ours, site) in enumerate(zip(turned, lib, strict=True)):
        x = record.vectors(i)
        torch.testing.assert_close(ours.decode(ours.encode(x)), site.decode(site.encode(x)))
        torch.testing.assert_close(ours.importances.sum(), site.importances.sum())
        assert ours.k == site.k
        if i < len(lib) - 1:
            torch.testing.assert_close(ours.C_pinv @ ours.C, torch.eye(site.k, dtype=torch.float64))
            assert (ours.importances.diff() <= 0).all()
    first = libasis.fit(traced, batches, "lib").sites[0]
    features = torch.cat([turned[0].encode(traced.record(x.double()).vectors(0)) for x, _ in batches])
    covariance = features.T @ features / len(features)
    torch.testing.assert_close(
        covariance, turned[0].importances.diag(), atol=1e-8 * float(first.importances[0]), rtol=1e-8
    )


def test_the_directions_are_others_and_come_from_the_seed(fitted):
    _, _, lib = fitted
    one, same, other = (random_rotation(lib, seed=s) for s in (0, 0, 1))
    assert torch.equal(one[0].C, same[0].C)
    assert not torch.allclose(one[0].C, other[0].C)
    assert float(one[0].importances[0]) < 0.7 * float(lib[0].importances[0])
    assert one.method == "random"
    assert one[-1] is lib[-1]


def test_rotations_are_orthogonal_and_prefer_no_direction():
    generator = torch.Generator().manual_seed(0)
    some = torch.stack([haar(3, generator) for _ in range(2000)])
    torch.testing.assert_close(some @ some.mT, torch.eye(3, dtype=torch.float64).expand(2000, 3, 3))
    torch.testing.assert_close(some.mean(0), torch.zeros(3, 3, dtype=torch.float64), atol=0.06, rtol=0)
    torch.testing.assert_close(some.square().mean(0), torch.full((3, 3), 1 / 3, dtype=torch.float64), atol=0.03, rtol=0)
