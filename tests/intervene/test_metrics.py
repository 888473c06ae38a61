"""Metrics by hand, and scores that are sums of counts."""

from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import libasis
from chains import F64, random
from libasis.errors import BatchError, OptionError
from libasis.intervene import Allowance, parse_metric
from libasis.intervene.metrics import Untouched

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


CLASSES = [torch.tensor(t) for t in ([0, 1, 0], [2, 0, 1], [0, -100, 2])]


@pytest.mark.parametrize("metric", ["accuracy", "cross_entropy"])
@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "uint32", "uint64", "int8", "int32", "float16", "float32", "float64"]
)
def test_whole_numbers_of_any_dtype_are_classes(metric, dtype):
    dtype = getattr(torch, dtype)
    for targets in CLASSES[: 3 if dtype.is_signed else 2]:
        assert score(metric, (LOGITS, targets.to(dtype))) == score(metric, (LOGITS, targets))


@pytest.mark.parametrize("metric", ["accuracy", "cross_entropy"])
def test_bool_targets_are_the_classes_0_and_1(metric):
    targets = torch.tensor([False, True, False])
    assert score(metric, (LOGITS, targets)) == score(metric, (LOGITS, targets.long()))
    assert score("mse", (LOGITS[:, 0], targets)) == score("mse", (LOGITS[:, 0], targets.double()))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "int8", "int64", "float16"])
def test_numbers_of_any_dtype_are_targets_of_mse(dtype):
    targets = torch.tensor([0, 3, 120])
    assert score("mse", (LOGITS[:, 0], targets.to(getattr(torch, dtype)))) == pytest.approx(
        score("mse", (LOGITS[:, 0], targets.double()))
    )


@pytest.mark.parametrize("metric", ["accuracy", "cross_entropy"])
@pytest.mark.parametrize(
    ("targets", "told"),
    [
        (torch.tensor([0.0, 1.7, 2.0]), r"no whole numbers of classes, such as 1\.7"),
        (torch.tensor([0.9, 1.9, 2.9]), "no whole numbers of classes, such as 0.9"),
        (
            torch.tensor([0, 1, 2**63 + 1], dtype=torch.uint64),
            r"no whole numbers of classes, such as 9\.22337e\+18",
        ),
        (torch.tensor([0, 1, 2**64 - 100], dtype=torch.uint64), "no whole numbers of classes"),
        (torch.tensor([0.0, 1.0, 1e30]), "no whole numbers of classes"),
        (torch.tensor([0, 255, 1], dtype=torch.uint8), "targets from 0 to 255, but the outputs have 3 classes"),
        (torch.tensor([0, 1, -1]), "targets from -1 to 1"),
        (torch.eye(3), r"soft or one-hot labels give targets\.argmax\(-1\)"),
    ],
)
def test_targets_that_are_no_class_numbers_are_told(metric, targets, told):
    with pytest.raises(BatchError, match=told):
        score(metric, (LOGITS, targets))


@pytest.mark.parametrize("metric", ["accuracy", "cross_entropy", "mse"])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_targets_that_are_not_finite_are_told(metric, bad):
    outputs = LOGITS[:, 0] if metric == "mse" else LOGITS
    with pytest.raises(BatchError, match=f"targets of which sample 1 .* not finite .*({bad})"):
        score(metric, (outputs, torch.tensor([0.0, bad, 1.0])))


@pytest.mark.parametrize("metric", ["accuracy", "cross_entropy", "mse"])
@pytest.mark.parametrize("targets", ["abc", {"a": torch.zeros(3)}, [None, 1, 2], 3, torch.zeros(3) * 1j])
def test_targets_that_are_no_tensor_of_real_numbers_are_told(metric, targets):
    with pytest.raises(BatchError, match="got targets of .*give a tensor of real numbers"):
        score(metric, (LOGITS, targets))


@pytest.mark.parametrize("metric", ["accuracy", "cross_entropy", "mse"])
def test_outputs_that_are_not_finite_are_told(metric):
    outputs = LOGITS.clone()
    outputs[2, 1] = torch.nan
    targets = torch.zeros(3, 3) if metric == "mse" else torch.zeros(3, dtype=torch.long)
    with pytest.raises(BatchError, match="output of sample 2 .* not finite"):
        score(metric, (outputs, targets))
    outputs[2, 1] = -torch.inf  # a class that is masked out
    if metric != "mse":
        assert score(metric, (outputs, targets)) == score(metric, (outputs.nan_to_num(neginf=-1e300), targets))
    if metric == "cross_entropy":
        with pytest.raises(BatchError, match="score of sample 2 .* not finite"):
            score(metric, (outputs, torch.ones(3, dtype=torch.long)))


@pytest.mark.parametrize("name", ["accuracy", "cross_entropy"])
@pytest.mark.parametrize("shapes", [((4, 1), (4,)), ((4, 1), (4, 1)), ((4,), (4,)), ((4, 5, 1), (4, 5))])
def test_a_model_of_one_logit_is_told_the_function_to_give(name, shapes):
    """What the sentence says to write is right, and scores what two logits would."""
    outputs = random(*shapes[0])
    targets = (random(*shapes[1], seed=1) > 0).long()
    with pytest.raises(BatchError, match=f'"{name}" got .*one logit give a function as metric: lambda') as caught:
        score(name, (outputs, targets))
    if len(shapes[0]) > 2:
        return
    function = eval(str(caught.value).split("as metric: ")[1].rstrip("."), vars(torch.nn.functional))  # noqa: S307
    two = torch.stack([torch.zeros(4, dtype=F64), outputs.flatten()], 1)
    expected = score(name, (two, targets.flatten()))
    assert score(function, (outputs, targets)) == pytest.approx(-expected if name == "cross_entropy" else expected)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_function_whose_scores_are_not_finite_is_told(bad):
    def ratio(outputs, targets):
        return torch.tensor([1.0, bad, 1.0])

    with pytest.raises(BatchError, match=f"metric 'ratio': the score of sample 1 .* not finite .*{bad}.*finite number"):
        score(ratio, (LOGITS, None))


@pytest.mark.parametrize(
    "returned", [torch.zeros(3, 0), torch.zeros(3) * 1j, (torch.zeros(3), 1), None, LOGITS.numpy()]
)
def test_a_function_that_returns_something_else_is_told(returned):
    with pytest.raises(OptionError, match="returned .*, but must return a tensor of one score per sample"):
        score(lambda o, t: returned, (LOGITS, None))


@pytest.mark.parametrize("function", [lambda: 0, lambda o: o, lambda o, t, w: o, lambda *, o, t: o])
def test_a_function_of_other_arguments_is_told_before_anything_is_run(function):
    with pytest.raises(OptionError, match=r"cannot be called with two arguments; give a function \(outputs, targets\)"):
        parse_metric(function)


@pytest.mark.parametrize("function", [lambda o, t, w=1: o[:, 0], lambda *both: both[0][:, 0], torch.nn.L1Loss(), max])
def test_a_function_of_two_arguments_may_take_more(function):
    assert parse_metric(function).name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_scores_are_more_exact_than_the_outputs(dtype):
    outputs = (LOGITS / 3).to(dtype)
    expected = torch.nn.functional.cross_entropy(outputs.double(), torch.tensor([0, 1, 0])).item()
    assert score("cross_entropy", (outputs, torch.tensor([0, 1, 0]))) == pytest.approx(expected, rel=1e-6)
    numbers = torch.full((3, 3), 257)  # 256 in bfloat16, and its square is infinite in float16
    assert score("mse", (outputs, numbers)) == pytest.approx((outputs.double() - 257).square().mean().item())


def test_whole_numbers_as_targets_keep_all_their_digits():
    outputs = torch.full((2, 1), 2.0**24)
    assert score("mse", (outputs, torch.tensor([2**24 + 1, 2**24 + 3]))) == 5.0


def test_mse_does_not_mix_up_axes():
    outputs = torch.arange(12.0).reshape(2, 2, 3)
    assert score("mse", (outputs, outputs.reshape(2, 6))) == score("mse", (outputs[:, None], outputs)) == 0
    with pytest.raises(BatchError, match=r"\[2, 2, 3\] and targets of shape \[2, 3, 2\]"):
        score("mse", (outputs, outputs.transpose(1, 2)))


@pytest.mark.parametrize("change", [torch.Tensor.to_sparse, lambda x: x.to("meta")], ids=["sparse", "meta"])
@pytest.mark.parametrize("metric", ["accuracy", "mse"])
def test_targets_that_are_no_plain_array(metric, change):
    with pytest.raises(BatchError, match="no plain array"):
        score(metric, (LOGITS, change(torch.tensor([0, 1, 0]))))


def test_a_target_that_is_nearly_whole_is_shown_as_it_is():
    with pytest.raises(BatchError, match="such as 1.0000001; give"):
        score("accuracy", (LOGITS, torch.tensor([0.0, 1.0000001, 2.0], dtype=F64)))


class Tokens(torch.nn.Module):
    """[batch, position] of numbers to logits [batch, position, 3]."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.out = torch.nn.Embedding(7, 5), torch.nn.Linear(5, 3)

    def forward(self, tokens, mask):
        return self.out(torch.tanh(self.embed(tokens)))


@pytest.mark.parametrize("metric", ["kl", "output_mse"])
def test_the_change_beside_the_model_itself_counts_only_what_the_mask_and_the_targets_count(metric):
    model, tokens = Tokens().double().eval(), torch.randint(7, (6, 4), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(6, 4, dtype=torch.int64)
    mask[2, 2:] = 0
    targets = tokens % 3
    targets[:, 0] = -100
    inputs = {"tokens": tokens, "mask": mask}
    traced = libasis.trace(model, inputs, ["out:in", "output"], mask="mask")
    basis = libasis.fit(traced, [inputs], method="pca")
    gone = libasis.Intervention("out:in", [0], where="all")
    found = libasis.intervene(traced, basis, [(inputs, targets)], gone, metric)
    with torch.no_grad():
        x = torch.tanh(model.embed(tokens))
        moved = x - ((x - basis[0].mean) @ basis[0].C[:, :1]) @ basis[0].C_pinv[:1]
        p, q = (model.out(v).log_softmax(-1) for v in (x, moved))
        by_hand = {"kl": (p.exp() * (p - q)).sum(-1), "output_mse": (model.out(moved) - model.out(x)).square().mean(-1)}
    counted = mask.bool() & (targets != -100)
    per_sample = (by_hand[metric] * counted).sum(1) / counted.sum(1)
    assert torch.equal(found.counts, counted.sum(1).double())
    assert torch.allclose(found.scores[0], per_sample, rtol=1e-9, atol=1e-14)
    assert torch.equal(found.base, torch.zeros(6, dtype=F64))
    assert not found.higher_is_better
    curve = libasis.ablate_nodes(traced, basis, [inputs], metric=metric)
    assert curve.base_score == 0


class OneNumber(Tokens):
    """The same to a number for each position [batch, position]."""

    def __init__(self):
        super().__init__()
        self.one = torch.nn.Linear(3, 1)

    def forward(self, tokens, mask):
        return self.one(super().forward(tokens, mask))[..., 0]


PADDED = {  # the model, and what targets are made of class numbers
    "accuracy": (Tokens, lambda t: t),
    "cross_entropy": (Tokens, lambda t: t),
    "cross_entropy of uint8": (Tokens, lambda t: t.clamp(min=0).to(torch.uint8)),
    "mse": (Tokens, lambda t: torch.stack([t, t + 1.0, 2.0 * t], 2)),
    "mse of flat targets": (Tokens, lambda t: torch.stack([t, t + 1.0, 2.0 * t], 2).flatten(1)),
    "mse of one number": (OneNumber, lambda t: t.double()),
    "output_mse": (Tokens, None),
    "output_mse of one number": (OneNumber, None),
    "kl": (Tokens, None),
}


@pytest.mark.parametrize("case", PADDED)
def test_padding_never_counts_whatever_its_targets_are(case):
    """Sequences padded with other tokens and targets score as those do that are as long as they are."""
    make, told = PADDED[case]
    model = make().double().eval()
    sites = ["out:in", "output" if make is Tokens else "one:out"]
    short = torch.randint(7, (6, 3), generator=torch.Generator().manual_seed(1))
    targets = short % 3
    long, padded, mask = torch.cat([short, short.flip(0)], 1), torch.cat([targets, targets - 9], 1), torch.ones(6, 6)
    mask[:, 3:] = 0

    def ablated(tokens, mask, targets):
        inputs = {"tokens": tokens, "mask": mask.long()}
        data, metric = [(inputs, told(targets)) if told else inputs], case.split()[0]
        traced = libasis.trace(model, inputs, sites, mask="mask")
        basis = libasis.fit(traced, data, "pca")
        graph = libasis.interactions(traced, basis, data)
        nodes = libasis.ablate_nodes(traced, basis, data, metric=metric, schedule=[0, 1])
        return nodes, libasis.ablate_edges(traced, graph, data, metric=metric, max_drop=1)

    plain, other = ablated(short, torch.ones(6, 3), targets), ablated(long, mask, padded)
    for a, b in zip(plain, other, strict=True):
        assert b.base_score == pytest.approx(a.base_score, rel=1e-9, abs=1e-12)
        assert b.curves["out:in"] == pytest.approx(a.curves["out:in"], rel=1e-9, abs=1e-12)


class Probabilities(Tokens):
    """The same to probabilities, or to logits of which one is of a class that cannot be."""

    def __init__(self, last):
        super().__init__()
        self.last = last

    def forward(self, tokens, mask):
        return self.last(super().forward(tokens, mask))


def without_the_third(logits):
    return logits.masked_fill(torch.tensor([False, False, True]), -torch.inf)


LASTS = {
    "softmax": (lambda z: z.softmax(-1), lambda z: z),
    "log-softmax": (lambda z: z.log_softmax(-1), lambda z: z),
    "a class that cannot be": (without_the_third, lambda z: z[..., :2]),
    "the same in probabilities": (lambda z: without_the_third(z).softmax(-1), lambda z: z[..., :2]),
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("last", LASTS)
def test_probabilities_are_compared_however_the_model_gives_them(last, dtype):
    tokens = torch.randint(7, (30, 4), generator=torch.Generator().manual_seed(1))
    inputs, targets = {"tokens": tokens, "mask": torch.ones(30, 4).long()}, tokens % 2
    made, plain = LASTS[last]

    def scores(last):
        model = Probabilities(last).to(dtype).eval()
        traced = libasis.trace(model, inputs, ["out:in", "out:out"])
        basis = libasis.fit(traced, [inputs], method="pca")
        gone = libasis.Intervention("out:in", [0], where="all")
        found = (libasis.intervene(traced, basis, [(inputs, targets)], gone, m) for m in ("kl", "cross_entropy"))
        return torch.cat([torch.cat([one.base, one.scores[0]]) for one in found])

    assert torch.allclose(scores(made), scores(plain), rtol=1e-4 if dtype == torch.float32 else 1e-9, atol=1e-7)


@pytest.mark.parametrize("outputs", [torch.zeros(3, 1), torch.zeros(3), torch.zeros(2, 3, 4, 4)])
def test_divergence_needs_probabilities(outputs):
    metric = parse_metric("kl")
    with pytest.raises(BatchError, match="two or more classes"):
        metric.scores(outputs, Untouched(outputs, None))
