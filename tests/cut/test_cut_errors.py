"""Every refusal is one plain sentence of the right type."""

import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import libasis
from cut.cutting import F64, calls, randn, refused
from libasis.errors import ActivationError, BatchError, ExportError, LibasisError, ModelStateError, OptionError
from models import MLP_CASE

SITES = ["input", "fc2:in", "output"]


@pytest.fixture(scope="module")
def traced():
    return libasis.trace(MLP_CASE.model(), MLP_CASE.example(), SITES)


def consume(traced, batches):
    return list(traced.stream(batches))


def random_in_eval(m, x):
    return m.b(F.dropout(m.a(x), 0.3, training=True))


def attention_dropout(m, x):
    return m.b(F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], dropout_p=0.5)[:, 0])


def noise(m, x):
    return m.b(m.a(x) + torch.randn(6, dtype=x.dtype))


class TestModel:
    @pytest.mark.parametrize("call", [libasis.find_sites, lambda *a: libasis.trace(*a, SITES)])
    def test_in_training_mode(self, call):
        with refused(ModelStateError, "MLP", "it is in training mode", "model.eval\\(\\)"):
            call(MLP_CASE.model().train(), MLP_CASE.example())
        model = MLP_CASE.model()
        model.drop.train()
        with refused(ModelStateError, "MLP", "module 'drop' is in training mode", "model.eval\\(\\)"):
            call(model, MLP_CASE.example())

    def test_a_new_container_of_modules_in_eval_mode_is_fine(self):
        model = nn.Sequential(nn.Linear(6, 3).to(F64).eval(), nn.ModuleList([nn.Identity().eval()])[0])
        assert model.training
        libasis.trace(model, randn(4, 6), ["input", "output"])
        model[1].train()
        with refused(ModelStateError, "module '1' is in training mode"):
            libasis.trace(model, randn(4, 6), ["input", "output"])
        with refused(ModelStateError, "training mode"):
            libasis.Chain([nn.Sequential()])

    def test_in_training_mode_since(self):
        model = calls(lambda m, x: m.b(m.a(x).softmax(1)), a=nn.Linear(6, 6), b=nn.Linear(6, 3))
        traced = libasis.trace(model, randn(2, 3, 6), ["input", "output"])
        model.train()
        with refused(ModelStateError, "training mode"):
            traced.record(randn(2, 4, 6))
        assert model.training

    def test_control_flow_on_values(self):
        def run(m, x):
            y = m.a(x)
            return y if y.sum() > 0 else -y

        with refused(ExportError, "Calls", "torch.export", "libasis.Chain"):
            libasis.trace(calls(run, a=nn.Linear(6, 3)), randn(4, 6), ["input", "output"])

    def test_an_export_that_fails_prints_nothing(self, capfd):
        with pytest.raises(ExportError):
            libasis.trace(
                calls(lambda m, x: m.a(x)[: int(x.sum())], a=nn.Linear(6, 3)), randn(4, 6), ["input", "output"]
            )
        assert "".join(capfd.readouterr()) == ""

    @pytest.mark.parametrize("run", [random_in_eval, attention_dropout, noise])
    def test_random(self, run):
        model = calls(run, a=nn.Linear(6, 6), b=nn.Linear(6, 3))
        with refused(ActivationError, "model is random", "draws random numbers"):
            libasis.trace(model, randn(4, 5, 6), ["input", "b:in", "output"])

    def test_random_through_numpy(self):
        numpy = pytest.importorskip("numpy")
        generator = numpy.random.default_rng(0)
        model = calls(lambda m, x: m.a(x) * generator.random(), a=nn.Linear(6, 6))
        with refused(ActivationError, "does not reproduce the model", "random or keeps a state"):
            libasis.trace(model, randn(4, 6), ["input", "output"])

    def test_a_state_between_calls(self):
        class Counter(nn.Module):
            def __init__(self):
                super().__init__()
                self.a = nn.Linear(6, 3)
                self.register_buffer("calls", torch.zeros(()))

            def forward(self, x):
                self.calls += 1
                return self.a(x) * self.calls

        model = Counter().to(F64).eval()
        with refused(ActivationError, "does not reproduce the model", "keeps a state between calls"):
            libasis.trace(model, randn(4, 6), ["input", "output"])
        assert model.calls == 0

    def test_samples_that_are_mixed(self):
        model = calls(lambda m, x: m.b(m.a(x) - m.a(x).mean(0)), a=nn.Linear(6, 6), b=nn.Linear(6, 3))
        with refused(BatchError, "batch", "'b:in'", "depends on the other samples"):
            libasis.trace(model, randn(4, 6), ["input", "b:in", "output"])

    def test_no_floating_output(self):
        with refused(ExportError, "no floating-point tensor"):
            libasis.trace(calls(lambda m, x: m.a(x).argmax(-1), a=nn.Linear(6, 3)), randn(4, 6), ["input", "a"])

    def test_an_example_that_the_model_refuses(self):
        with refused(BatchError, "MLP", "does not run", r"\[4, 7\]"):
            libasis.find_sites(MLP_CASE.model(), randn(4, 7))


class TestBatches:
    def test_empty(self, traced):
        with refused(BatchError, "batches are empty"):
            consume(traced, [])
        with refused(BatchError, "Batch 1 holds no samples"):
            consume(traced, [randn(2, 6), randn(0, 6)])

    def test_one_shot(self, traced):
        with refused(BatchError, "one-shot iterator", "generator", "list or a DataLoader"):
            consume(traced, (x for x in [randn(2, 6)]))
        with refused(BatchError, "one-shot"):
            consume(traced, iter([randn(2, 6)]))

    @pytest.mark.parametrize(("batches", "word"), [(randn(2, 6), "Tensor"), ({"x": randn(2, 6)}, "dict"), (3, "int")])
    def test_no_iterable_of_batches(self, traced, batches, word):
        with refused(BatchError, word, "not an iterable of batches"):
            consume(traced, batches)

    @pytest.mark.parametrize("item", [{"x": randn(2, 6)}, (1, randn(2, 6)), [randn(2, 6)] * 3, 7])
    def test_wrong_structure(self, traced, item):
        with refused(BatchError, "Batch 1 is", "the example was a tensor"):
            consume(traced, [randn(2, 6), item])

    def test_wrong_keys(self):
        model = MLP_CASE.model()
        traced = libasis.trace(model, {"x": randn(2, 6)}, SITES)
        with refused(BatchError, "Batch 0 is a dict with the keys \\['y'\\]", "\\['x'\\]"):
            traced.record({"y": randn(2, 6)})

    @pytest.mark.parametrize("example", [7, "text", None, [], {}, {"x": 3}])
    def test_no_example(self, example):
        with refused(BatchError, "example is of type"):
            libasis.trace(MLP_CASE.model(), example, SITES)

    def test_wrong_shape(self, traced):
        with refused(BatchError, "Batch 1", "does not run on inputs of shape", r"\[2, 7\]"):
            consume(traced, [randn(2, 6), randn(2, 7)])

    def test_other_features_than_the_example(self):
        model = calls(lambda m, x: m.act(x) * 2.0, act=nn.Tanh())
        traced = libasis.trace(model, randn(4, 6), ["input", "act", "output"])
        with refused(BatchError, "Batch 0 gives 5 features", "'input'", "gave 6"):
            traced.record(randn(4, 5))

    def test_wrong_dtype(self, traced):
        with refused(BatchError, "Batch 0 is of float32", "the example was of float64", "dtype"):
            traced.record(randn(2, 6).float())
        with refused(BatchError, "MLP", "does not run", "float32"):
            libasis.trace(MLP_CASE.model(), randn(2, 6).float(), SITES)

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_not_finite(self, traced, value):
        bad = randn(3, 6)
        bad[2, 4] = value
        words = ["'input'", "not finite", str(value), "batch 1", "sample 2", "feature 4"]
        with refused(ActivationError, *words):
            consume(traced, [randn(2, 6), bad])

    def test_not_finite_inside(self):
        model = calls(lambda m, x: m.b(m.a(x).log()), a=nn.Identity(), b=nn.Linear(6, 3))
        traced = libasis.trace(model, randn(2, 6).abs(), ["input", "b:in", "output"])
        bad = randn(2, 6).abs()
        bad[1, 3] = -1.0
        with refused(ActivationError, "'b:in'", "batch 0", "sample 1", "feature 3"):
            traced.record(bad)


@pytest.mark.usefixtures("one_export")
class TestOptions:
    model = calls(lambda m, x, **_: m.b(m.a(x).relu()), a=nn.Linear(6, 6), b=nn.Linear(6, 3))

    @pytest.mark.parametrize("dtype", ["float16", "half", torch.bfloat16, torch.int64, "double precision", 64])
    def test_dtype(self, traced, dtype):
        with refused(OptionError, "dtype is"):
            libasis.trace(MLP_CASE.model(), MLP_CASE.example(), SITES, dtype=dtype)
        with refused(OptionError, "dtype is"):
            traced.to(dtype=dtype)

    def positions(self, **options):
        return libasis.trace(self.model, {"x": randn(2, 4, 6)}, ["input", "b:in", "output"], **options)

    def test_mask_that_names_no_input(self):
        with refused(OptionError, "mask is 'attention_mask'", r"\['x'\]"):
            self.positions(mask="attention_mask")

    @pytest.mark.parametrize("shape", [(2, 3), (2,), (2, 4, 1), (1, 4)])
    def test_mask_of_another_shape(self, shape):
        with refused(BatchError, "mask has shape", "'input'", r"\[2, 4\]"):
            self.positions(mask=lambda inputs: torch.ones(shape))

    def test_mask_by_function(self):
        record = self.positions(mask=lambda inputs: inputs["x"][..., 0] > 0).record({"x": randn(2, 4, 6)})
        assert torch.equal(record.counted[1], randn(2, 4, 6)[..., 0] > 0)
        assert record.vectors(0).shape == (int((randn(2, 4, 6)[..., 0] > 0).sum()), 6)


def test_every_message_is_one_sentence_for_users():
    raised = []
    for make in (
        lambda: libasis.trace(MLP_CASE.model(), randn(2, 7), SITES),
        lambda: libasis.trace(MLP_CASE.model().train(), randn(2, 6), SITES),
        lambda: libasis.trace(MLP_CASE.model(), randn(2, 6), ["output", "input"]),
    ):
        with pytest.raises(LibasisError) as caught:
            make()
        raised.append(str(caught.value))
    for message in raised:
        assert message.endswith(".")
        assert "\n" not in message
        assert ". " not in message.replace("...", "")
    assert sys.modules["libasis.errors"].OptionError.__mro__[1:3] == (LibasisError, ValueError)
