import pytest
import torch
from torch import nn

import libasis
from ablation.setting import Setting
from cards.collecting import same
from libasis.evaluate.superposition import FeatureTails, feature_statistics, participation, recovered
from measure.laws import assert_merges, assert_resumes


def test_participation_counts_equal_values():
    assert participation(torch.tensor([1.0, 0, 0])) == pytest.approx(1)
    assert participation(torch.full((7,), 0.3)) == pytest.approx(7)
    assert participation(torch.tensor([2.0, 1.0])) == pytest.approx(9 / 5)
    assert participation(torch.zeros(3)) == 0


def test_heavy_tails_and_features_of_a_vector():
    """One-hot vectors have one feature each; normal ones have kurtosis 3 and between k/3 and k/2 features."""
    n, k = 20_000, 12
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(n, k, generator=generator, dtype=torch.float64)
    rare = torch.eye(k, dtype=torch.float64)[torch.randint(k, (n,), generator=generator)] * normal
    chain = libasis.Chain([nn.Identity().eval(), nn.Identity().eval()], ["a", "b", "c"])
    for batch, tails, low, high in ((normal, 3, k / 3, k / 2), (rare, 3 * k, 0.999, 1.1)):
        row = feature_statistics(chain, libasis.fit(chain, [batch], "neuron"), [batch])[0]
        assert row["kurtosis"] == pytest.approx(tails, rel=0.05)
        assert low < row["participation_of_vector"] < high
        assert row["participation"] == pytest.approx(k, rel=0.02)


def test_recovered_share_by_hand():
    found = recovered({0: 4.0, 1: 3.0, 2: 2.1, 4: 2.0}, 2.0, 4)
    assert [r for _, r in found["share"]] == pytest.approx([0, 0.5, 0.95, 1])
    assert found["features_for"] == {"0.5": 1, "0.9": 2, "0.99": 4}
    assert found["area"] == pytest.approx((0.25 + 0.725 + 2 * 0.975) / 4)


def test_recovery_does_not_depend_on_the_direction_of_the_metric():
    assert recovered({0: 0.1, 1: 0.9}, 0.9, 1) == recovered({0: -0.1, 1: -0.9}, -0.9, 1)


def test_a_dip_postpones_the_recovery():
    assert recovered({0: 0.0, 1: 1.0, 2: 0.4, 3: 1.0}, 1.0, 3)["features_for"]["0.9"] == 3


def test_no_recovery_where_there_is_nothing_to_recover():
    assert recovered({0: 1.0, 1: 1.0}, 1.0, 1) == {}
    assert recovered({1: 1.0}, 1.0, 1) == {}


@pytest.mark.parametrize("masked", [False, True])
def test_statistics_are_those_of_counted_vectors_however_they_are_cut(masked):
    setting = Setting("attention", "lib", masked)
    rows = feature_statistics(setting.traced, setting.basis, setting.batches("mse"))
    for again in (
        setting.batches("mse", (1, 30, 9)),
        libasis.keep(setting.traced, setting.reshuffled("mse"), memory=1),
    ):
        for row, other in zip(rows, feature_statistics(setting.traced, setting.basis, again), strict=True):
            same(row, other)
    z = setting.basis[0].encode(setting.x)[setting.counted]
    tails = z.pow(4).mean(0) / z.square().mean(0).square()
    assert rows[0]["kurtosis_median"] == pytest.approx(float(tails.median()), rel=1e-10)


def test_parts_of_the_statistics_merge():
    setting = Setting("attention", "lib", masked=True)
    records = list(setting.traced.stream(setting.batches("mse", (9, 1, 20, 10))))
    for law in (assert_merges, assert_resumes):
        law(lambda: FeatureTails(1, setting.basis[1]), records, same)
