"""Metrics by hand, and scores that are sums of counts."""

from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from chains import F64, random
from libasis.errors import BatchError, OptionError
from libasis.intervene import Allowance, parse_metric

LOG = torch.tensor([0.5, 0.25, 0.25], dtype=F64).log()
LOGITS = torch.stack([LOG, LOG.roll(1) + 7.0, LOG.roll(2)])  # probability 1/2 for class 0, 1, 2


def score(metric, *batches):
    """Sum over number of all scores."""
    found = [torch.stack(parse_metric(metric).scores(*batch)).sum(1) for batch in batches]
    total, count = torch.stack(found).sum(0).tolist()
    return total / count


def test_accuracy_by_hand():
    assert score("accuracy", (LOGITS, torch.tensor([0, 1, 0]))) == pytest.approx(2 / 3)


def test_cross_entropy_by_hand():
    expected = (log(2) + log(2) + log(4)) / 3
    assert score("cross_entropy", (LOGITS, torch.tensor([0, 1, 0]))) == pytest.approx(expected)


def test_mse_by_hand():
    outputs = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert score("mse", (outputs, torch.tensor([[1.0, 0.0], [0.0, 4.0]]))) == pytest.approx((2.0 + 4.5) / 2)
    assert score("mse", (outputs[:, :1], torch.tensor([0.0, 1.0]))) == pytest.approx(2.5)  # [n, 1] against [n]
    assert score("mse", (outputs[:, 0], torch.tensor([0.0, 1.0]))) == pytest.approx(2.5)  # [n] against [n]


def test_tokens_with_target_minus_100_do_not_count():
    outputs = torch.stack([LOGITS, LOGITS])
    targets = torch.tensor([[0, -100, 2], [-100, -100, 0]])
    assert score("accuracy", (outputs, targets)) == pytest.approx(2 / 3)
    assert score("cross_entropy", (outputs, targets)) == pytest.approx((log(2) + log(2) + log(4)) / 3)


@pytest.mark.parametrize("metric", ["accuracy", "cross_entropy"])
@given(st.lists(st.integers(1, 11), max_size=5), st.integers(0, 1000))
def test_scores_are_sums_of_counts(metric, cuts, seed):
    """However the samples are split, also where a piece has no token that counts: never a mean of batch means."""
    outputs = random(12, 4, 3, seed=seed)
    targets = torch.randint(3, (12, 4), generator=torch.Generator().manual_seed(seed))
    targets[random(12, 4, seed=seed + 1) > 0.3] = -100
    targets[:3] = -100
    targets[11, 0] = 1
    cuts = sorted(set(cuts))
    pieces = list(zip(outputs.tensor_split(cuts), targets.tensor_split(cuts), strict=True))
    whole = score(metric, (outputs, targets))
    assert score(metric, *pieces) == pytest.approx(whole, rel=1e-12)
    counted = targets != -100
    logits, labels = outputs[counted], targets[counted]
    direct = {
        "accuracy": (logits.argmax(1) == labels).double(),
        "cross_entropy": -logits.log_softmax(1)[range(len(labels)), labels],
    }
    assert whole == pytest.approx(float(direct[metric].mean()), rel=1e-12)


def test_a_function_of_outputs_and_targets():
    def margin(outputs, targets):
        return outputs.amax(1) - targets

    outputs, targets = random(5, 3), random(5, seed=1)
    assert score(margin, (outputs, targets)) == pytest.approx(float((outputs.amax(1) - targets).mean()))
    assert score(margin, (outputs[:1], targets[:1]), (outputs[1:], targets[1:])) == score(margin, (outputs, targets))
    assert parse_metric(margin).name == "margin"


def test_a_function_may_need_no_targets_and_may_score_each_token():
    assert (
        score(lambda outputs, _: outputs[..., 0] > 0, (torch.tensor([[[1.0], [-1.0]], [[2.0], [3.0]]]), None)) == 0.75
    )


def test_which_way_is_better():
    def loss(outputs, targets):
        return outputs

    def drop(metric):
        return Allowance(0.0, parse_metric(metric).higher_is_better).drop(0.9, 0.8)

    assert drop("accuracy") == pytest.approx(0.1)
    assert drop("mse") == drop("cross_entropy") == drop("output_mse") == pytest.approx(-0.1)
    assert drop(loss) == pytest.approx(0.1)
    loss.higher_is_better = False
    assert drop(loss) == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (torch.tensor(0.5), r"\[\]"),
        (torch.zeros(3), r"\[3\]"),
        (0.5, "float"),
        ([0.5] * 4, "list"),
    ],
)
def test_a_function_that_returns_no_score_per_sample_is_told(returned, told):
    def mean_score(outputs, targets):
        return returned

    with pytest.raises(OptionError, match=rf"'mean_score' returned {told}, but must return .* \[4\]"):
        score(mean_score, (torch.zeros(4, 2), torch.zeros(4)))


@pytest.mark.parametrize("metric", ["accuracy", "cross_entropy", "mse"])
def test_missing_targets_are_told(metric):
    with pytest.raises(BatchError, match=f'"{metric}" needs targets'):
        score(metric, (LOGITS, None))


@pytest.mark.parametrize("metric", ["accuracy", "cross_entropy", "mse"])
def test_targets_of_another_shape_are_told(metric):
    with pytest.raises(BatchError, match=rf'"{metric}" got outputs of shape \[3, 3\] and targets of shape \[2\]'):
        score(metric, (LOGITS, torch.zeros(2, dtype=torch.long)))


def test_the_scores_of_each_sample():
    """Tokens of -100 belong to no sample; a function of its own has as many scores for each."""
    outputs, targets = torch.stack([LOGITS, LOGITS]), torch.tensor([[0, -100, 0], [-100, -100, -100]])
    sums, counts = parse_metric("accuracy").scores(outputs, targets)
    assert (sums.tolist(), counts.tolist()) == ([1.0, 0.0], [2.0, 0.0])
    sums, counts = parse_metric(lambda o, t: o[:, 0, 0]).scores(outputs, targets)
    assert sums.tolist() == pytest.approx([log(0.5)] * 2)
    assert counts.tolist() == [1.0, 1.0]
    sums, counts = parse_metric(lambda o, t: o[..., 0]).scores(outputs, targets)
    assert counts.tolist() == [3.0, 3.0]


def test_targets_that_are_no_class_are_told():
    with pytest.raises(BatchError, match=r"targets from 0 to 3, but the outputs have 3 classes"):
        score("accuracy", (LOGITS, torch.tensor([0, 3, -100])))


@pytest.mark.parametrize("metric", ["f1", "Accuracy", None, 3])
def test_other_metrics_are_refused(metric):
    with pytest.raises(OptionError, match=f"metric is {metric!r}"):
        parse_metric(metric)
