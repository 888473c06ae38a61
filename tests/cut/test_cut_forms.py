"""Forms in which people have their models: each works, or one sentence says what to give instead."""

import copy
import dataclasses
import warnings

import pytest
import torch
from torch import nn

import libasis
from cut.cutting import F64, assert_close, call, calls, randn, refused
from libasis.errors import BatchError, ExportError, LibasisError, ModelStateError, OptionError

SITES = ["input", "b:in", "output"]


def mlp():
    return calls(lambda m, x: m.b(torch.tanh(m.a(x))), a=nn.Linear(4, 5), b=nn.Linear(5, 3))


def compiled_inside():
    model = mlp()
    model.a = torch.compile(model.a)
    return model


def compiled_in_place():
    model = mlp()
    model.compile()
    return model


@pytest.mark.parametrize("make", [lambda: torch.compile(mlp()), compiled_inside, compiled_in_place])
def test_compiled_models_are_cut_as_they_were_written(make):
    torch.manual_seed(0)
    plain = mlp()
    torch.manual_seed(0)
    model = make()
    names = [row.name for row in libasis.find_sites(plain, randn(6, 4))]
    assert [row.name for row in libasis.find_sites(model, randn(6, 4))] == names
    traced = libasis.trace(model, randn(6, 4), SITES)
    assert_close(traced.record(randn(6, 4)).output, call(plain, randn(6, 4)))
    mine, true = (libasis.fit(t, [randn(9, 4)]) for t in (traced, libasis.trace(plain, randn(6, 4), SITES)))
    assert all(torch.equal(a.importances, b.importances) for a, b in zip(mine, true, strict=True))


def scripted(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(model)


def on_meta():
    with torch.device("meta"):
        return mlp()


def made_in_inference_mode():
    with torch.inference_mode():
        return mlp()


def quantized():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 3)).eval(), {nn.Linear}).eval()


FLAWS = {
    "DataParallel": (lambda: nn.DataParallel(mlp()), ["wrapped in DataParallel", "give model.module"]),
    "DataParallel inside": (
        lambda: nn.Sequential(nn.DataParallel(mlp())).eval(),
        ["module '0'", "DataParallel", "0.module in its place"],
    ),
    "ScriptModule": (lambda: scripted(nn.Sequential(nn.Linear(4, 3)).eval()), ["it is a ScriptModule", "nn.Module"]),
    "ScriptModule inside": (
        lambda: nn.Sequential(scripted(nn.Linear(4, 3)), nn.ReLU()).eval(),
        ["module '0' is a ScriptModule", "Linear"],
    ),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(3)).eval(), ["'0.weight' has no shape yet", "run the model once"]),
    "meta": (on_meta, ["'a.weight'", "device meta", "load the weights"]),
    "inference mode": (made_in_inference_mode, ["'a.weight'", "inference mode"]),
    "int8": (quantized, ["module '0'", "quantized Linear", "no derivative"]),
}


@pytest.mark.parametrize("kind", FLAWS)
def test_what_cannot_be_measured(kind):
    make, words = FLAWS[kind]
    model = make()
    for verb in (libasis.find_sites, lambda m, x: libasis.trace(m, x, ["input", "output"])):
        with refused(ModelStateError, type(model).__name__, *words):
            verb(model, randn(6, 4))


def test_data_parallel_of_several_processes(tmp_path):
    dist = torch.distributed
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        with refused(ModelStateError, "DistributedDataParallel", "give model.module"):
            libasis.trace(nn.parallel.DistributedDataParallel(mlp()), randn(6, 4), SITES)
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("given", [None, "model.pt", lambda x: x, nn.Linear, {"weight": torch.zeros(2)}, 3])
def test_what_is_no_model(given):
    for verb in (
        libasis.find_sites,
        lambda m, x: libasis.trace(m, x, SITES),
        lambda m, x: libasis.build(m, [x], SITES),
        lambda m, x: libasis.trace(model=m, example=x, sites=SITES),
    ):
        with refused(OptionError, "model is ", "takes a Module"):
            verb(given, randn(6, 4))


@pytest.fixture(scope="module")
def fitted():
    traced = libasis.trace(mlp(), randn(6, 4), SITES)
    return traced, libasis.fit(traced, [randn(6, 4)])


@pytest.mark.parametrize("given", [None, 3, "basis", [], nn.Linear(2, 2), torch.zeros(2)])
def test_what_is_no_traced_model_basis_or_graph(given, fitted):
    traced, basis = fitted
    data = [(randn(6, 4), torch.arange(6) % 3)]
    tries = [
        lambda: libasis.fit(given, data),
        lambda: libasis.keep(given, data),
        lambda: libasis.interactions(given, basis, data),
        lambda: libasis.interactions(traced, given, data),
        lambda: libasis.ablate_nodes(given, basis, data),
        lambda: libasis.ablate_nodes(traced, given, data),
        lambda: libasis.ablate_edges(traced, given, data),
        lambda: libasis.collect(traced, given, data),
        lambda: libasis.diff(given, given),
        lambda: libasis.intervene(traced, given, data, []),
        lambda: libasis.evaluate.compare(given, data, data),
        lambda: libasis.evaluate.sensitivity(given, data, data),
    ]
    for number, attempt in enumerate(tries):
        with pytest.raises(LibasisError) as caught:
            attempt()
        assert len(str(caught.value)) < 300, number


@pytest.mark.parametrize("sites", [None, 3, "input", ["input"], iter(SITES), [1, 2], [None, "output"], [[], "output"]])
def test_what_is_no_list_of_sites(sites):
    with refused(LibasisError, "list|string"):
        libasis.trace(mlp(), randn(6, 4), sites)


def test_the_device_meta_holds_no_numbers():
    with refused(OptionError, "device is 'meta'"):
        libasis.trace(mlp(), randn(6, 4), SITES, device="meta")


@dataclasses.dataclass
class Answer:
    logits: torch.Tensor
    note: str = "none"


OUTPUTS = {
    "a dict": lambda y: {"count": 3, "logits": y},
    "a tuple": lambda y: ("text", y, None),
    "a dataclass": Answer,
    "lists in it": lambda y: [[y], {"other": [y * 2]}],
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_what_a_model_may_return(kind):
    model = calls(lambda m, x: OUTPUTS[kind](m.a(x)), a=nn.Linear(4, 3))
    traced = libasis.trace(model, randn(6, 4), ["input", "output"])
    assert_close(traced.record(randn(6, 4)).output, model.a(randn(6, 4)).detach())


@pytest.mark.parametrize("answer", [None, "text", object()])
def test_what_a_model_may_not_return(answer):
    with refused(ExportError, "no floating-point tensor", type(answer).__name__, "tuple"):
        libasis.trace(calls(lambda m, x: answer, a=nn.Linear(4, 3)), randn(6, 4), ["input", "output"])


def leaves_early(m, x):
    h = m.a(x)
    return h if h.abs().mean() > 100 else m.b(h)


def test_a_model_that_may_leave_early_is_given_as_a_chain():
    model = calls(leaves_early, a=nn.Linear(4, 5), b=nn.Linear(5, 3))
    with refused(ExportError, "libasis.Chain"):
        libasis.trace(model, randn(6, 4), SITES)
    chain = libasis.Chain([model.a, model.b])
    assert len(libasis.fit(chain, [randn(6, 4)])) == 3


def test_frozen_weights_and_keyword_options():
    model = Scaled().to(F64).eval().requires_grad_(False)
    inputs = {"x": randn(6, 4), "scale": 3.0, "flag": True}
    traced = libasis.trace(model, inputs, ["input", "output"])
    assert_close(traced.record(inputs).output, -3.0 * model.a(inputs["x"]))
    libasis.fit(traced, [inputs])


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 3)

    def forward(self, x, *, scale=1.0, flag=False):
        return self.a(x) * (-scale if flag else scale)


class Padded(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder, self.out = nn.TransformerEncoder(layer, 2), nn.Linear(8, 3)

    def forward(self, x, padding):
        return self.out(self.encoder(x, src_key_padding_mask=padding))


def test_a_padding_mask_with_the_fused_encoder():
    """Fused, the encoder leaves zeros at padding; elsewhere both say the same."""
    model = Padded().to(F64).eval()
    padding = torch.arange(5) >= torch.tensor([[5], [3], [4]])
    inputs = {"x": randn(3, 5, 8), "padding": padding}
    counts = lambda inputs: ~inputs["padding"]  # noqa: E731
    traced = libasis.trace(model, inputs, ["input", "encoder.layers.1:in", "out:in", "output"], mask=counts)
    assert_close(traced.record(inputs).output[~padding], call(model, inputs)[~padding])
    assert torch.backends.mha.get_fastpath_enabled()
    junk = {**inputs, "x": inputs["x"] + 5.0 * padding[..., None]}
    first, second = (libasis.fit(traced, [data], moments="exact") for data in (inputs, junk))
    for a, b in zip(first, second, strict=True):
        assert_close(a.importances, b.importances, 1e-9)


class TestData:
    traced = libasis.trace(mlp(), randn(6, 4), SITES)
    model = mlp()

    def importances(self, batches, traced=None):
        return libasis.fit(traced or self.traced, batches)[0].importances

    def test_numpy_in_place_of_tensors(self):
        x, y = randn(6, 4), torch.arange(6) % 3
        true = self.importances([x])
        for batch in (x.numpy(), (x.numpy(), y.numpy()), [x.numpy(), y.numpy()], (x, y.tolist()), (x.numpy()[:, ::1],)):
            assert torch.equal(self.importances([batch]), true)
        swapped = x.numpy().astype(">f8")
        assert torch.equal(self.importances([swapped]), true)
        named = libasis.trace(Scaled().to(F64).eval(), {"x": x.numpy()}, ["input", "output"])
        assert torch.equal(self.importances([{"x": x.numpy()}], named), self.importances([{"x": x}], named))
        libasis.trace(mlp(), x.numpy(), SITES)

    def test_targets_that_are_lists_or_arrays(self):
        x, y = randn(6, 4), torch.arange(6) % 3
        basis = libasis.fit(self.traced, [x])
        true = libasis.ablate_nodes(self.traced, basis, [(x, y)]).base_score
        for targets in (y.numpy(), y.tolist(), tuple(y.tolist())):
            assert libasis.ablate_nodes(self.traced, basis, [(x, targets)]).base_score == true
        for targets in (["a", "b", "c"] * 2, "text", {"y": y}, 3.5):
            with refused(BatchError, "targets"):
                libasis.ablate_nodes(self.traced, basis, [(x, targets)])

    @pytest.mark.parametrize(
        ("batch", "words"),
        [
            (randn(6, 4).tolist(), ["a list without a tensor", "the example was a tensor"]),
            ("text", ["of type str"]),
            (randn(6, 4).to_sparse(), ["Batch 0", "sparse", "to_dense"]),
            (torch.empty(6, 4, dtype=F64, device="meta"), ["Batch 0", "without values"]),
            (torch.nested.nested_tensor([randn(2, 4), randn(3, 4)]), ["Batch 0", "nested", "to_padded_tensor"]),
        ],
    )
    def test_what_is_no_batch(self, batch, words):
        with refused(BatchError, *words):
            libasis.fit(self.traced, [batch])

    def test_a_loader_without_a_length(self):
        loader = torch.utils.data.DataLoader(Stream(), batch_size=4)
        x = torch.stack(list(Stream()))
        torch.testing.assert_close(self.importances(loader), self.importances([x]))
        assert libasis.build(self.model, loader, SITES).basis is not None
        with libasis.keep(self.traced, loader) as kept:
            torch.testing.assert_close(self.importances(kept), self.importances([x]))

    def test_what_can_be_read_once(self):
        for once in ((randn(6, 4) for _ in range(2)), iter([randn(6, 4)]), map(torch.clone, [randn(6, 4)])):
            with refused(BatchError, "one-shot", "list or a DataLoader"):
                libasis.fit(self.traced, once)


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(randn(10, 4, seed=7))


def test_names_with_controls_are_printed_on_one_line():
    odd = "a\nb\x1b[31m"

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module(odd, nn.Linear(4, 3))

        def forward(self, x):
            return {f"{odd}out": getattr(self, odd)(x)}

    model, x = Odd().double().eval(), randn(6, 4)
    sites = libasis.find_sites(model, x[:2])
    traced = libasis.trace(model, x[:2], [f"{odd}:in", "output"])
    graph = libasis.interactions(traced, basis := libasis.fit(traced, [x], progress=False), [x], progress=False)
    for one, lines in ((sites, 3), (traced, 3), (basis, 3), (graph, 2)):
        assert len(repr(one).splitlines()) == lines, repr(one)
        assert "\x1b" not in repr(one)
        assert "a\\nb\\x1b[31m" in repr(one)


def test_a_traced_model_is_not_copied_with_its_weights():
    model = nn.Linear(4, 2).double().eval()
    with refused(OptionError, "trace the copy"):
        copy.deepcopy(libasis.trace(model, randn(6, 4), ["input", "output"]))
