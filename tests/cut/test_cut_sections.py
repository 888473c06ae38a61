"""The sections re-assembled are the model, for many kinds of model."""

from collections import namedtuple

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import libasis
from cut.cutting import F64, assert_close, assert_reassembles, call, calls, counted_exports, randn, refused
from libasis.errors import BatchError, LibasisError, SiteError


def check(model, example, sites, batches=None):
    traced = libasis.trace(model, example, sites)
    assert_reassembles(traced, model, batches or [example])
    return traced


def two_layers(between=torch.relu):
    return calls(lambda m, x: m.b(between(m.a(x))), a=nn.Linear(6, 6), b=nn.Linear(6, 3))


def test_zoo(traced_case):
    case, model, traced = traced_case
    assert_reassembles(traced, model, case.batches())
    assert [site.name for site in traced.sites] == list(case.sites)
    assert repr(traced.sections[0]) == f"Section(0: {case.sites[0]} -> {case.sites[1]})"


def test_recorded_activations_are_what_hooks_see(zoo):
    case, model, traced = zoo["mlp"]
    seen = {}
    handle = model.fc1.register_forward_hook(lambda m, args, out: seen.update(out=out, into=args[0]))
    try:
        call(model, case.example())
    finally:
        handle.remove()
    record = traced.record(case.example())
    assert_close(record.activations[0][:, 0], seen["into"])
    assert_close(record.activations[1][:, 0], seen["out"])


def test_ragged_last_batch_and_single_samples_need_no_new_export(zoo, monkeypatch):
    case, model, traced = zoo["hook_transformer"]
    with counted_exports(monkeypatch) as exports:
        assert_reassembles(traced, model, [case.inputs(n, F64) for n in (5, 1, 3)])
        assert not exports


def test_an_example_of_one_sample_serves_any_batch(monkeypatch):
    model, sizes = two_layers(), (1, 5, 2)
    with counted_exports(monkeypatch) as exports:
        check(model, randn(1, 6), ["input", "b:in", "output"], [randn(n, 6) for n in sizes])
        assert len(exports) == 1


def test_new_lengths_are_exported_once_each(monkeypatch):
    model = calls(lambda m, x: m.b(m.a(x).softmax(1)), a=nn.Linear(6, 6), b=nn.Linear(6, 3))
    with counted_exports(monkeypatch) as exports:
        traced = libasis.trace(model, randn(2, 4, 6), ["input", "a", "output"])
        assert_reassembles(traced, model, [randn(3, n, 6) for n in (4, 7, 4, 2, 7)])
        assert len(exports) == 3


@pytest.mark.parametrize("batch", [1, 4])
def test_a_batch_size_written_in_the_model(batch):
    model = calls(lambda m, x: m.b(m.a(x).view(batch, -1).relu()), a=nn.Linear(6, 6), b=nn.Linear(6, 3))
    traced = check(model, randn(batch, 6), ["input", "b:in", "output"], [randn(batch, 6), randn(batch, 6, seed=2)])
    context = traced.record(randn(batch, 6)).contexts[0]
    assert context.fixed_batch == batch
    points = torch.stack([randn(batch, 1, 6, seed=i) for i in range(3)])
    one_by_one = torch.stack([context(point) for point in points])
    assert_close(torch.func.vmap(context)(points), one_by_one)
    assert_close(context.tile(3)(points.flatten(0, 1)), one_by_one.flatten(0, 1))


def test_a_fixed_batch_size_with_a_mask_per_sample():
    def run(m, x):
        return m.b(m.a(x).view(4, 5, 6) * (x[..., :1] > 0))

    model = calls(run, a=nn.Linear(6, 6), b=nn.Linear(6, 3))
    check(model, randn(4, 5, 6), ["a", "b:in", "output"], [randn(4, 5, 6), randn(4, 5, 6, seed=3)])


def test_sequence_first_layers_inside_a_batch_first_model():
    layer = nn.TransformerEncoderLayer(6, 2, 8, batch_first=False)
    model = calls(lambda m, x: m.b(m.layer(x.transpose(0, 1)).transpose(0, 1)), layer=layer, b=nn.Linear(6, 3))
    sites = ["layer:in", "layer.norm1:in", "layer", "output"]
    traced = check(model, randn(4, 5, 6), sites, [randn(4, 5, 6), randn(3, 5, 6), randn(5, 5, 6)])
    assert traced.record(randn(3, 5, 6)).activations[1].shape == (3, 5, 6)


def test_sequence_first_inputs_are_refused():
    model = calls(lambda m, x: m.layer(x.softmax(0) + x.cumsum(0)), layer=nn.Linear(6, 3))
    with refused(BatchError, "read as the batch", "'layer'", "depends on the other samples"):
        libasis.trace(model, randn(5, 3, 6), ["input", "layer", "output"])


def test_a_sequence_first_output_keeps_its_layout():
    model = calls(lambda m, x: m.b(m.a(x).transpose(0, 1)), a=nn.Linear(6, 6), b=nn.Linear(6, 3))
    traced = check(model, randn(4, 5, 6), ["input", "a", "output"], [randn(3, 5, 6)])
    assert traced.record(randn(4, 5, 6)).output.shape == (5, 4, 3)


def test_multihead_attention_module_with_tuple_output():
    def run(m, x):
        y = x.transpose(0, 1)
        return m.head(m.attention(y, y, y)[0].transpose(0, 1))

    model = calls(run, attention=nn.MultiheadAttention(6, 2), head=nn.Linear(6, 3))
    check(model, randn(4, 5, 6), ["attention:in", "attention", "output"], [randn(3, 5, 6)])


def test_conv1d():
    model = calls(lambda m, x: m.b(F.relu(m.a(x)).mean(-1)), a=nn.Conv1d(3, 4, 3), b=nn.Linear(4, 2))
    traced = check(model, randn(4, 3, 9), ["input", "a", "b:in", "output"], [randn(2, 3, 9)])
    assert [a.shape[1:] for a in traced.record(randn(2, 3, 9)).activations] == [(9, 3), (7, 4), (1, 4), (1, 2)]


def test_a_module_called_twice():
    def run(m, x):
        return m.b(m.act(m.a2(m.act(m.a(x)))))

    model = calls(run, a=nn.Linear(6, 6), a2=nn.Linear(6, 5), act=nn.Tanh(), b=nn.Linear(5, 3))
    traced = check(model, randn(4, 6), ["act", "act#2:in", "act#2", "output"])
    assert [site.features for site in traced.sites] == [6, 5, 5, 3]
    assert_close(traced.record(randn(4, 6)).activations[1].tanh(), traced.record(randn(4, 6)).activations[2])
    with refused(SiteError, "act#3", "does not exist", "act#2"):
        libasis.trace(model, randn(4, 6), ["act#3", "output"])


def test_a_module_under_two_names():
    shared = nn.Linear(6, 6)
    model = calls(lambda m, x: m.c(m.b(m.a(x).relu())), a=shared, b=shared, c=nn.Linear(6, 2))
    check(model, randn(4, 6), ["a", "a#2:in", "a#2", "output"])
    with refused(SiteError, "'b'", "also called 'a'", "'a#2'"):
        libasis.trace(model, randn(4, 6), ["a", "b", "output"])


def test_tied_weights():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.mid, self.unembed = nn.Embedding(9, 6), nn.Linear(6, 6), nn.Linear(6, 9, bias=False)
            self.unembed.weight = self.embed.weight

        def forward(self, ids):
            return self.unembed(self.mid(self.embed(ids)).relu())

    ids = torch.randint(9, (4, 5))
    check(Tied().to(F64).eval(), ids, ["embed", "mid:in", "unembed:in", "output"], [ids, ids[:2]])


class TestInPlace:
    @staticmethod
    def again(m, x):
        h = m.a(x)
        return m.b(m.act(h) + h)  # h was overwritten: this is twice the ReLU

    def test_an_overwritten_value_is_used_again(self):
        model = calls(self.again, a=nn.Linear(6, 6), act=nn.ReLU(inplace=True), b=nn.Linear(6, 3))
        traced = check(model, randn(4, 6), ["input", "a", "act:in", "act", "b:in", "output"])
        _, a, into, act, twice, _ = traced.record(randn(4, 6)).activations
        assert_close(a, into, 0)
        assert (a < 0).any()
        assert_close(act, a.relu())
        assert_close(twice, 2 * act)

    def test_a_part_is_overwritten(self):
        def run(m, x):
            h = m.a(x)
            m.act(h[:, :3])
            return m.b(h)

        model = calls(run, a=nn.Linear(6, 6), act=nn.ReLU(inplace=True), b=nn.Linear(6, 3))
        check(model, randn(4, 6), ["input", "a", "b:in", "output"])

    def test_the_users_inputs_are_not_overwritten(self):
        model, x = calls(lambda m, x: m.b(x.add_(1.0)), b=nn.Linear(6, 3)), randn(4, 6)
        traced = libasis.trace(model, x, ["input", "b:in", "output"])
        record = traced.record(x)
        assert torch.equal(x, randn(4, 6))
        assert_close(record.output, call(model, randn(4, 6)))


def test_dropout_and_batch_norm_in_eval():
    parts = {"a": nn.Linear(6, 6), "bn": nn.BatchNorm1d(6), "drop": nn.AlphaDropout(0.4), "b": nn.Linear(6, 3)}
    model = calls(lambda m, x: m.b(m.drop(F.dropout(m.bn(m.a(x)), 0.5, m.training))), **parts)
    nn.init.normal_(model.bn.running_mean)
    check(model, randn(4, 6), ["a", "bn", "drop", "output"])


def test_concatenated_sites():
    def run(m, x):
        h = m.a(x).relu()
        return m.out(h + m.c(m.act(m.b(h))))

    parts = {"a": nn.Linear(6, 5), "b": nn.Linear(5, 7), "act": nn.GELU(), "c": nn.Linear(7, 5), "out": nn.Linear(5, 2)}
    model = calls(run, **parts)
    traced = check(model, randn(4, 6), ["input", ["b:in", "act"], "out:in", "output"], [randn(4, 6), randn(3, 6)])
    site = traced.sites[1]
    assert (site.name, site.parts, site.features) == ("b:in + act", ("b:in", "act"), 12)
    record = traced.record(randn(4, 6))
    assert_close(
        record.activations[1][..., 5:], F.gelu(F.linear(record.activations[1][..., :5], *model.b.parameters()))
    )


def test_concatenated_images_keep_their_channels():
    def run(m, x):
        a = m.a(x)
        return m.c(torch.cat([m.b(a).relu(), a], 1))

    model = calls(run, a=nn.Conv2d(2, 3, 1), b=nn.Conv2d(3, 4, 3, padding=1), c=nn.Conv2d(7, 2, 1))
    traced = check(model, randn(2, 2, 3, 5), ["input", ["b", "a"], "output"], [randn(3, 2, 3, 5)])
    assert traced.record(randn(2, 2, 3, 5)).activations[1].shape == (2, 15, 7)


Pair = namedtuple("Pair", ["first", "second"])
OUTPUTS = {
    "dict": (lambda y: {"loss": y.mean(), "logits": y, "hidden": 2 * y}, "output.hidden", "output.logits"),
    "tuple": (lambda y: (y.mean(), y, 2 * y), "output[2]", "output[1]"),
    "integers first": (lambda y: (y.argmax(-1), y, 2 * y), "output[2]", "output[1]"),
    "named tuple": (lambda y: Pair(y, [2 * y]), "output.second[0]", "output.first"),
    "nested": (lambda y: {"all": (y, {"twice": 2 * y})}, "output.all[1].twice", "output.all[0]"),
}


@pytest.mark.usefixtures("one_export")
@pytest.mark.parametrize("kind", OUTPUTS)
def test_the_output_is_the_first_floating_tensor_that_is_no_loss(kind):
    make, other, main = OUTPUTS[kind]
    model = calls(lambda m, x: make(m.b(m.a(x).relu())), a=nn.Linear(6, 6), b=nn.Linear(6, 3))
    x = randn(4, 6)
    logits = call(two_layers_of(model), x)
    for site, expected in [("output", logits), (other, 2 * logits)]:
        traced = libasis.trace(model, x, ["input", "a", site])
        record = traced.record(x)
        (program,) = traced._programs.values()
        assert program.outputs["output"] is program.outputs[main]
        assert_close(record.output, expected)
        assert_close(record.activations[-1][:, 0], expected)


def two_layers_of(model):
    return calls(lambda m, x: m.b(m.a(x).relu()), a=model.a, b=model.b)


class TestInputs:
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.out = nn.Linear(4, 5), nn.Linear(3, 5), nn.Linear(5, 2)

        def forward(self, left, right, scale=None):
            h = self.a(left).relu() + self.b(right)
            return self.out(h if scale is None else scale * h)

    def test_positional_and_keyword_inputs_agree(self):
        model, left, right = self.Two().to(F64).eval(), randn(4, 4), randn(4, 3)
        by_place = check(model, (left, right), [["input.left", "input.right"], "out:in", "output"])
        by_name = libasis.trace(model, {"left": left, "right": right}, [["input.left", "input.right"], "out:in"])
        other_order = {"right": right, "left": left}
        for record in (by_name.record({"left": left, "right": right}), by_name.record(other_order)):
            assert_close(record.activations[0], by_place.record((left, right)).activations[0], 0)
        assert by_place.sites[0].features == 7

    def test_inputs_that_are_no_tensors_are_part_of_the_example(self):
        model = self.Two().to(F64).eval()
        given = {"left": randn(4, 4), "right": randn(4, 3), "scale": 3.0}
        traced = check(model, given, [["input.left", "input.right"], "output"])
        assert_reassembles(traced, model, [{**given, "scale": 2.0}])

    def test_pairs_with_targets(self):
        model, x, y = two_layers(), randn(4, 6), torch.arange(4)
        traced = libasis.trace(model, x, ["input", "output"])
        records = list(traced.stream([(x, y), (x, y + 1), x, (x,), [x, y]]))
        assert [None if r.targets is None else r.targets[0].item() for r in records] == [0, 1, None, None, 0]
        assert [r.index for r in records] == [0, 1, 2, 3, 4]


class TestExported:
    """A model that is already an exported program."""

    def program(self, model):
        return torch.export.export(model, (randn(4, 6),), dynamic_shapes=({0: torch.export.Dim.AUTO},))

    def test_a_module_of_an_exported_program(self):
        model = two_layers()
        exported = self.program(model).module()
        traced = libasis.trace(exported, randn(4, 6), ["input", "output"])
        assert_reassembles(traced, model, [randn(4, 6), randn(3, 6)])

    def test_an_unflattened_program_keeps_its_module_names(self):
        model = two_layers()
        unflattened = torch.export.unflatten(self.program(model)).eval()
        traced = libasis.trace(unflattened, randn(4, 6), ["input", "a", "b:in", "output"])
        assert_reassembles(traced, model, [randn(3, 6)])

    def test_exported_in_training_mode(self):
        model = calls(lambda m, x: m.drop(m.a(x)), a=nn.Linear(6, 6), drop=nn.Dropout(0.5)).train()
        with refused(LibasisError, "random", "dropout"):
            libasis.trace(self.program(model).module(), randn(4, 6), ["input", "output"])


MASKS = {
    "causal": lambda T, x: {"is_causal": True, "scale": 0.3},
    "boolean": lambda T, x: {"attn_mask": (x[:, None, None, :, 0] > -0.5).expand(-1, 1, T, -1)},
    "all hidden": lambda T, x: {"attn_mask": x[:, None, :, None, 0].expand(-1, 1, -1, T) > 0},
    "additive": lambda T, x: {"attn_mask": torch.zeros(T, T, dtype=F64).masked_fill(torch.eye(T) > 0, -torch.inf)},
    "additive, all hidden": lambda T, x: {"attn_mask": torch.zeros(T, 1, dtype=F64).index_fill(
        0, torch.tensor([1]), -torch.inf).expand(T, T)},
}  # fmt: skip


@pytest.mark.parametrize("kind", MASKS)
def test_fused_attention(kind):
    def run(m, x):
        q, k, v = m.qkv(x).unflatten(-1, (3, 2, 3)).permute(2, 0, 3, 1, 4)
        return m.out(F.scaled_dot_product_attention(q, k, v, **MASKS[kind](x.shape[1], x)).transpose(1, 2).flatten(2))

    model = calls(run, qkv=nn.Linear(6, 18), out=nn.Linear(6, 3))
    traced = check(model, randn(2, 4, 6), ["qkv", "out:in", "output"], [randn(2, 4, 6), randn(3, 4, 6)])
    record = traced.record(randn(2, 4, 6))
    slope = torch.func.jvp(record.contexts[0], (record.activations[0],), (torch.ones_like(record.activations[0]),))[1]
    assert torch.isfinite(slope).all()


def test_grouped_fused_attention():
    def run(m, x):
        q = m.q(x).unflatten(-1, (4, 3)).transpose(1, 2)
        k, v = m.kv(x).unflatten(-1, (2, 2, 3)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True, is_causal=True)
        return m.out(y.transpose(1, 2).flatten(2))

    model = calls(run, q=nn.Linear(6, 12), kv=nn.Linear(6, 12), out=nn.Linear(12, 3))
    check(model, randn(2, 4, 6), ["input", "out:in", "output"], [randn(3, 4, 6)])
