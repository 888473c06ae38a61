"""What is summed over the data for interventions: parts merge to the whole, and go on from what was written down."""

import pytest
import torch

from ablation.setting import Setting, squared_error
from libasis.intervene import Intervention, Preparation, Scores, SiteRuns, parse_metric
from libasis.intervene.donors import Donors
from libasis.intervene.lines import Lines
from libasis.intervene.preparation import Spread
from libasis.measure import Records
from measure.laws import assert_merges, assert_resumes


@pytest.fixture(params=[False, True])
def setting(request):
    return Setting("attention", "lib", masked=request.param)


def records_of(setting, metric="accuracy"):
    return list(setting.traced.stream(setting.batches(metric, (9, 1, 20, 10))))


def laws(make, records, close):
    assert_merges(make, records, close)
    assert_resumes(make, records, close)


@pytest.mark.parametrize("metric", ["accuracy", "cross_entropy", squared_error])
def test_scores(setting, metric):
    known = Preparation(Records.of(setting.traced, setting.batches(metric), progress=False), setting.basis)
    asked = [Intervention("s1", [0]), Intervention("s1", [1, 2], "keep_only")]
    runs = SiteRuns(1, [known.of(one) for one in asked], 2**20)

    def close(found, whole):
        assert found.means == pytest.approx(whole.means, rel=1e-12)
        assert found.count == whole.count
        for one, other in zip(found.by_sample(), whole.by_sample(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=0)

    laws(
        lambda: Scores(parse_metric(metric), runs.outputs, 2, per_sample=True),
        records_of(setting, metric),
        close,
    )


@pytest.mark.parametrize("options", [{}, {"only": [3, 30, 12]}, {"room": 8 * 17 * 3 * 12}])
def test_donors(setting, options):
    def close(found, whole):
        numbers = torch.arange(40)
        assert torch.equal(found.of(numbers), whole.of(numbers))
        assert [n for n, _ in found.draw.items()] == [n for n, _ in whole.draw.items()]
        assert torch.equal(found.every(1), whole.every(1))

    laws(lambda: Donors([0, 1], 5, **options), records_of(setting), close)


def test_standard_deviations(setting):
    asked = Intervention("s0", [2, 0])
    laws(
        lambda: Spread(0, Lines.of(setting.basis[0], asked)),
        records_of(setting),
        lambda found, whole: torch.testing.assert_close(found, whole, rtol=1e-12, atol=0),
    )
