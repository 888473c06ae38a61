"""From a model to its graph in one call, on every model of the zoo and on transformers as they are loaded."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

import libasis
from chains import F64, Linear3, random
from cut.cutting import assert_reassembles, everything
from libasis.errors import ActivationError
from models import CNN_CASE, MLP_CASE, VOCABULARY, ZOO, copy_of

F32 = torch.float32


class NoSinglePrecision(torch.overrides.TorchFunctionMode):
    """Casts to float32 in a model's own code are to float64: what a model in float64 means to say."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.float:
            return args[0].double()
        args = [F64 if a is F32 else a for a in args]
        return function(*args, **{k: F64 if v is F32 else v for k, v in (kwargs or {}).items()})


def check(graph, sites, features):
    """What every graph must be, whatever the model."""
    assert graph.sites == tuple(sites)
    assert [site.d for site in graph.basis] == features
    for site in graph.basis:
        assert 0 < site.k <= site.d
        assert (site.C.shape, site.C_pinv.shape) == ((site.d, site.k), (site.k, site.d))
        assert site.mean.shape == (site.d,)
        assert site.importances.shape == site.variances.shape == (site.k,)
        assert torch.isfinite(site.C).all()
        torch.testing.assert_close(site.C_pinv @ site.C, torch.eye(site.k, dtype=F64), rtol=0, atol=1e-6)
    assert len(graph.edges) == len(graph.signed) == len(sites) - 1
    for edges, signed, source, target in zip(
        graph.edges, graph.signed, graph.basis.sites[:-1], graph.basis.sites[1:], strict=True
    ):
        assert edges.shape == signed.shape == (target.k, source.k)
        assert edges.dtype == signed.dtype == F64
        assert torch.isfinite(edges).all()
        assert (edges >= 0).all()
        assert edges.sum() > 0


ZOO_FEATURES = {
    "mlp": [6, 7, 7, 7, 7, 7, 3],
    "residual_cnn": [2, 4, 4, 4, 4, 4, 3],
    "hook_transformer": [8, 8, 8, 8, 8, 8, 11],
}


@pytest.mark.parametrize("case", ZOO, ids=lambda case: case.name)
def test_every_model_of_the_zoo(case):
    model = case.model(F32)
    check(libasis.build(model, case.batches(F32), case.sites, progress=False), case.sites, ZOO_FEATURES[case.name])
    traced = libasis.trace(model, case.example(F32), case.sites, dtype="float64")
    assert_reassembles(traced, copy_of(model, F64), case.batches(F64))


def language_model(name):
    """Two blocks of width 16 with the default attention, norms and rotary angles of each family."""
    transformers = pytest.importorskip("transformers")
    tokens = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0}
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    if name == "gpt2":
        return transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, **tokens))
    if name == "gpt_neox":
        return transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**sizes, **tokens))
    if name == "llama":
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **tokens))
    return transformers.BertModel(transformers.BertConfig(**sizes, vocab_size=VOCABULARY))


BLOCKS = {
    "gpt2": ("transformer.h.0:in", "transformer.h.1:in", "output"),
    "gpt_neox": ("gpt_neox.layers.0:in", "gpt_neox.layers.1:in", "output"),
    "llama": ("model.layers.0:in", "model.layers.1:in", "output"),
    "bert": ("encoder.layer.0:in", "encoder.layer.1:in", "output"),
}


def texts():
    """Two batches of token ids; the last tokens of the first sample are padding."""
    ids = torch.randint(VOCABULARY, (7, 4), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, 2:] = 0
    return [{"input_ids": i, "attention_mask": m} for i, m in zip(ids.split(4), mask.split(4), strict=True)]


@pytest.mark.parametrize("name", BLOCKS)
def test_language_models_as_they_are_loaded(name):
    model, sites = language_model(name).eval(), BLOCKS[name]
    graph = libasis.build(model, texts(), sites, mask="attention_mask", progress=False)
    check(graph, sites, [16, 16, 16 if name == "bert" else VOCABULARY])
    assert graph.basis.info["vectors"] == dict.fromkeys(sites, 7 * 4 - 2)
    traced = libasis.trace(model, texts()[0], sites, dtype="float64")
    with NoSinglePrecision():
        assert_reassembles(traced, copy_of(model, F64), texts())


BETWEEN = {  # attention and MLP of the first block apart: alone, both can be read off the graph
    "gpt2": ["transformer.h.0.ln_2:in"],
    "gpt_neox": [],  # in parallel
    "llama": ["model.layers.0.post_attention_layernorm:in"],
    "bert": ["encoder.layer.0.attention.output.LayerNorm:in"],
}


@pytest.mark.parametrize("name", BLOCKS)
def test_edges_are_ablated_alike_whatever_is_known_of_the_section(name):
    """Sections read off a graph, with their masks and rotations, and the same sections as plain callables."""
    inputs, (first, *rest) = texts()[0], BLOCKS[name]
    sites = [first, *BETWEEN[name], *rest]
    traced = libasis.trace(language_model(name).eval(), inputs, sites, dtype="float64")
    basis = libasis.fit(traced, [inputs], "pca", progress=False)
    record = traced.record(inputs)
    plain = libasis.Chain([lambda x, c=c: c.tile(len(x) // 4)(x) for c in record.contexts], sites)
    strengths = tuple(random(b.k, a.k, seed=a.k).abs() for a, b in zip(basis.sites[:-1], basis.sites[1:], strict=True))
    graph = libasis.InteractionGraph(basis, strengths, strengths)
    targets = record.output + 0.1

    def curves(traced, inputs, memory):
        options = {"memory": memory, "stable": False, "progress": False}
        return libasis.ablate_edges(traced, graph, [(inputs, targets)], "mse", **options).curves

    truth = curves(plain, record.activations[0], 1)  # one output feature at a time
    for memory in (1, 2**30):
        for site, curve in curves(traced, inputs, memory).items():
            assert len(curve) > 4
            assert dict(curve) == pytest.approx(dict(truth[site]), rel=1e-9)


def prepared(case):
    """A model with hooks, gradients and frozen weights."""
    model = case.model()
    for i, parameter in enumerate(model.parameters()):
        parameter.requires_grad_(i % 2 == 0)
        parameter.grad = torch.full_like(parameter, float(i)) if i % 2 == 0 else None
    next(model.children()).register_forward_hook(lambda *_: None)
    model.register_forward_pre_hook(lambda *_: None)
    return model


def size_of_output(outputs, _):
    return outputs.flatten(1).sum(1)


FIT = {
    "fit": lambda t, g, b: libasis.fit(t, b, progress=False),
    "interactions": lambda t, g, b: libasis.interactions(t, g.basis, b, progress=False),
}
ABLATE = {
    "ablate_nodes": lambda t, g, b, m=size_of_output: libasis.ablate_nodes(
        t, g, b, m, schedule=[1], replacement="resample", progress=False
    ),
    "ablate_edges": lambda t, g, b, m=size_of_output: libasis.ablate_edges(t, g, b, m, stable=False, progress=False),
}


@pytest.fixture(scope="module", params=[MLP_CASE, CNN_CASE], ids=lambda case: case.name)
def built(request):
    """A model, its trace, its graph and three batches."""
    case = request.param
    model, batches = prepared(case), [case.inputs(n, F64) for n in (4, 3, 5)]
    graph = libasis.build(model, batches, case.sites, progress=False)
    return model, libasis.trace(model, case.example(), case.sites), graph, batches


@pytest.mark.parametrize("name", [*FIT, *ABLATE])
def test_model_and_data_stay_as_they_were(built, name):
    model, traced, graph, batches = built
    before, copies = everything(model), [x.clone() for x in batches]
    (FIT | ABLATE)[name](traced, graph, batches)
    assert everything(model) == before
    assert all(torch.equal(x, c) and not x.requires_grad for x, c in zip(batches, copies, strict=True))


@pytest.mark.parametrize("name", [*FIT, *ABLATE])
def test_the_model_stays_as_it_was_when_the_third_batch_is_bad(built, name):
    model, traced, graph, batches = built
    before = everything(model)
    with pytest.raises(ActivationError, match="in batch 2"):
        (FIT | ABLATE)[name](traced, graph, [*batches[:2], batches[2] * torch.nan])
    assert everything(model) == before


@pytest.mark.parametrize("name", ABLATE)
def test_the_model_stays_as_it_was_when_the_metric_raises(built, name):
    model, traced, graph, batches = built
    calls = []

    def metric(outputs, targets):
        calls.append(len(outputs))
        if len(calls) == 5:  # in the midst of the ablation, the base score being known
            raise ZeroDivisionError
        return size_of_output(outputs, targets)

    before = everything(model)
    with pytest.raises(ZeroDivisionError):
        ABLATE[name](traced, graph, batches, metric)
    assert everything(model) == before


def named(**modules):
    return nn.Sequential(OrderedDict(modules)).to(F64).eval()


def matrix(A):
    """A linear layer without bias, x -> A x."""
    layer = nn.Linear(*A.T.shape, bias=False, dtype=F64)
    layer.weight = nn.Parameter(A)
    return layer


@pytest.mark.parametrize("method", ["lib", "global"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_invertible_map_and_its_inverse_change_nothing(seed, method):
    """Between two layers the coordinates of a site are a matter of taste: LIB sees the same features and edges."""
    torch.manual_seed(seed)
    first, second, third = nn.Linear(6, 5), nn.Linear(5, 7), nn.Linear(7, 4)
    A = torch.eye(5, dtype=F64) + random(5, 5, scale=0.3, seed=seed)
    plain = named(first=first, second=second, act=nn.GELU(), third=third)
    moved = named(first=first, A=matrix(A), inverse=matrix(A.inverse()), second=second, act=nn.GELU(), third=third)
    batches = list((random(90, 6, seed=9) @ random(6, 6, seed=10)).split(35))
    one, other = (
        libasis.build(model, batches, ["input", site, "third:in", "output"], basis=method, progress=False)
        for model, site in ((plain, "first"), (moved, "A"))
    )
    for a, b in zip(one.basis, other.basis, strict=True):
        torch.testing.assert_close(b.importances, a.importances, rtol=1e-6, atol=1e-12)
    for a, b in zip(one.edges, other.edges, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(one.basis[1].C.abs(), (A.T @ other.basis[1].C).abs(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("rotate_final", [False, True])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_a_linear_model_is_known_in_closed_form(dtype, rotate_final):
    """With nothing but linear maps the features at every site are the principal components of the output.

    So all sites have the same importances, those of the output's covariance, each feature acts on itself alone,
    and with a strength that is its variance.
    """
    model, x = Linear3().to(dtype).eval(), random(300, 5).to(dtype)
    sites = ["input", "layers.0", "layers.1", "output"]
    graph = libasis.build(model, list(x.split(120)), sites, rotate_final=rotate_final, progress=False)
    output = copy_of(model, F64)(x.to(F64)).detach()
    values, U = torch.linalg.eigh(torch.cov(output.T, correction=0))
    values, U = values.flip(0), U.flip(1)
    tolerance = {"rtol": 1e-4, "atol": 1e-6} if dtype == F32 else {"rtol": 1e-9, "atol": 1e-12}
    for site in graph.basis.sites[:-1]:
        torch.testing.assert_close(site.importances, values, **tolerance)
    last = values.diag() if rotate_final else U.square() * values
    for edges, expected in zip(graph.edges, [values.diag(), values.diag(), last], strict=True):
        torch.testing.assert_close(edges, expected, **tolerance)


def test_build_is_its_three_steps():
    case = MLP_CASE
    model, batches = case.model(), case.batches()
    traced = libasis.trace(model, batches[0], case.sites)
    basis = libasis.fit(traced, batches, "pca", progress=False)
    truth = libasis.interactions(traced, basis, batches, method="integrated", n_steps=3, progress=False)
    pairs = [(x, torch.zeros(len(x))) for x in batches]  # targets are not used
    found = libasis.build(model, pairs, case.sites, basis="pca", method="integrated", n_steps=3, progress=False)
    for a, b in zip(found.edges, truth.edges, strict=True):
        assert torch.equal(a, b)


def test_the_options_of_the_fit_go_through():
    """`build` is the three calls in one: what `fit` takes, it takes."""
    model, x = named(up=nn.Linear(6, 8), act=nn.Tanh(), down=nn.Linear(8, 3)), random(400, 6, seed=3)
    span = torch.eye(6, dtype=F64)[:, :4]
    options = {"sparse": True, "within": {"input": span}, "truncation": "relative:1e-9", "progress": False}
    graph = libasis.build(model, [x], ["input", "act", "output"], **options)
    basis = libasis.fit(libasis.trace(model, x, ["input", "act", "output"]), [x], **options)
    assert graph.basis.method == basis.method == "sparse"
    assert graph.basis[0].k == basis[0].k <= 4
    for one, other in zip(graph.basis, basis, strict=True):
        torch.testing.assert_close(one.C, other.C)
