"""Every public call on a GPU gives what it gives on the CPU, and leaves the model where it is."""

import copy
from dataclasses import replace

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import libasis
from chains import F64
from models import MLP_CASE, ZOO

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="there is no GPU here: torch.cuda.is_available() is false"
)

CUDA = "cuda"


def moved(value, device):
    """Inputs on a device."""
    if isinstance(value, dict):
        return {key: moved(part, device) for key, part in value.items()}
    return value.to(device)


def alike(a, b, rtol=1e-6):
    """Two results of the same kind with the same numbers."""
    for mine, theirs in zip(a, b, strict=True):
        scale = float(theirs.abs().max()) if theirs.numel() else 0.0
        torch.testing.assert_close(mine.cpu(), theirs.cpu(), rtol=rtol, atol=rtol * scale)


def gpt2():
    torch.manual_seed(0)
    config = GPT2Config(n_layer=1, n_embd=24, n_head=3, vocab_size=31, n_positions=16)
    model = GPT2LMHeadModel(config).eval()
    ids = [{"input_ids": torch.randint(31, (4, 12))} for _ in range(2)]
    return model, ids, ["transformer.h.0.ln_1:in", "transformer.h.0.ln_2:in", "transformer.ln_f:in"]


def llama():
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=24, intermediate_size=32, num_hidden_layers=1, num_attention_heads=3, num_key_value_heads=3,
        vocab_size=31, max_position_embeddings=32,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    ids = [{"input_ids": torch.randint(31, (4, 12))} for _ in range(2)]
    part = "model.layers.0."
    return model, ids, [f"{part}input_layernorm:in", f"{part}post_attention_layernorm:in", "model.norm:in"]


LANGUAGE = {"gpt2": gpt2, "llama": llama}


@pytest.mark.parametrize("make", LANGUAGE.values(), ids=LANGUAGE)
@pytest.mark.parametrize("given", ["on the GPU", "by device=", "batches on the CPU"])
def test_a_language_model_wherever_it_is(make, given):
    model, batches, sites = make()
    expected = libasis.build(model, batches, sites, dtype="float64", progress=False)
    if given != "by device=":
        model = model.cuda()
    if given == "on the GPU":
        batches = [moved(batch, CUDA) for batch in batches]
    device = CUDA if given == "by device=" else None
    found = libasis.build(model, batches, sites, dtype="float64", device=device, progress=False)
    alike([site.importances for site in found.basis], [site.importances for site in expected.basis])
    alike([edges.sum() for edges in found.edges], [edges.sum() for edges in expected.edges])
    where = {p.device.type for p in model.parameters()}
    assert where == ({"cpu"} if given == "by device=" else {"cuda"})


@pytest.mark.parametrize("case", ZOO, ids=lambda case: case.name)
def test_every_model_of_the_zoo(case):
    model, batches = case.model(), case.batches()
    expected = libasis.build(model, batches, case.sites, progress=False)
    there = [moved(batch, CUDA) for batch in batches]
    found = libasis.build(model.cuda(), there, case.sites, progress=False)
    alike([site.importances for site in found.basis], [site.importances for site in expected.basis])
    alike([edges.sum() for edges in found.edges], [edges.sum() for edges in expected.edges])


RULES = ["auto", "closed_form", "probes", "exact", "sketch", libasis.rules.Auto(relative_error=0.05)]


@pytest.mark.parametrize("moments", RULES, ids=str)
@pytest.mark.parametrize("make", LANGUAGE.values(), ids=LANGUAGE)
def test_every_rule(make, moments):
    model, batches, sites = make()
    expected, found = (
        libasis.fit(
            libasis.trace(model, batches[0], sites, dtype="float64", device=device), batches, moments=moments,
            progress=False,
        )
        for device in (None, CUDA)
    )  # fmt: skip
    alike([site.importances for site in found], [site.importances for site in expected])
    assert [rule["rule"] for rule in found.info["rules"]] == [rule["rule"] for rule in expected.info["rules"]]


@pytest.mark.parametrize("method", ["pca", "neuron", "global"])
def test_every_method(method):
    model, batches, sites = gpt2()
    here, there = (libasis.trace(model, batches[0], sites, dtype="float64", device=d) for d in (None, CUDA))
    expected, found = (libasis.fit(traced, batches, method, progress=False) for traced in (here, there))
    alike([site.importances for site in found], [site.importances for site in expected])


def test_options_of_a_fit(tmp_path):
    model, batches = MLP_CASE.model(), MLP_CASE.batches()
    sites = ["input", "fc2:in", "head:in", "output"]
    within = {"fc2:in": torch.randn(7, 3, dtype=F64)}
    options = {"rotate_final": True, "truncation": "relative:1e-8", "within": within, "spill": tmp_path, "memory": 64}
    expected, found = (
        libasis.fit(libasis.trace(model, batches[0], sites, device=d), batches, progress=False, **options)
        for d in (None, CUDA)
    )
    alike([site.importances for site in found], [site.importances for site in expected])


def test_half_precision_models_are_computed_as_asked():
    model, batches, sites = gpt2()
    for dtype in (torch.bfloat16, torch.float16):
        half = copy.deepcopy(model).to(dtype).cuda()
        expected = libasis.fit(libasis.trace(half.cpu(), batches[0], sites, dtype="float32"), batches, progress=False)
        found = libasis.fit(libasis.trace(half.cuda(), batches[0], sites, dtype="float32"), batches, progress=False)
        alike([s.importances.sum() for s in found], [s.importances.sum() for s in expected], rtol=1e-4)


def pairs(case, device):
    """Batches with targets, on a device."""
    return [(moved(x, device), torch.arange(len(x), device=device) % 3) for x in case.batches()]


def test_what_follows_a_graph(tmp_path):
    case = replace(MLP_CASE, sites=("input", "fc2:in", "head:in"))
    results = []
    for device in ("cpu", CUDA):
        model, batches = case.model().to(device), pairs(case, device)
        traced = libasis.trace(model, batches[0][0], case.sites)
        with libasis.keep(traced, batches) as kept:
            basis = libasis.fit(traced, kept, progress=False)
            graph = libasis.interactions(traced, basis, kept, progress=False)
            integrated = libasis.interactions(traced, basis, kept, method="integrated", n_steps=4, progress=False)
            strongest = libasis.interactions(traced, basis, kept, top_k=5, progress=False)
            nodes = libasis.ablate_nodes(traced, basis, kept, "cross_entropy", progress=False)
            edges = libasis.ablate_edges(traced, graph, kept, "cross_entropy", stable=False, progress=False)
            hold = [libasis.Intervention(case.sites[1], [0]), libasis.Intervention(case.sites[1], [1], to="resample")]
            held = libasis.intervene(traced, basis, kept, hold, "cross_entropy", progress=False)
            cards = libasis.collect(traced, graph, kept, metric="cross_entropy", progress=False)
        for name, result in {"basis": basis, "graph": graph, "nodes": nodes, "edges": edges, "cards": cards}.items():
            result.save(tmp_path / f"{device}-{name}")
            assert repr(libasis.load(tmp_path / f"{device}-{name}")) == repr(result)
        graph.to_html(tmp_path / f"{device}.html")
        results.append((basis, graph, integrated, strongest, nodes, edges, held, cards))
        assert {p.device.type for p in model.parameters()} == {device}
    here, there = results
    alike([site.importances for site in there[0]], [site.importances for site in here[0]])
    for place in (1, 2, 3):
        totals = [[torch.as_tensor(row["strength"]) for row in found[place].rows()] for found in (here, there)]
        assert len(totals[0]) == len(totals[1])
    alike(there[1].edges, here[1].edges, rtol=1e-5)
    alike(there[2].edges, here[2].edges, rtol=1e-5)


def test_sparse():
    found = []
    for device in ("cpu", CUDA):
        model = MLP_CASE.model().to(device)
        batches = [moved(batch, device) for batch in MLP_CASE.batches()]
        traced = libasis.trace(model, batches[0], ["fc2:in", "head:in", "output"])
        basis = libasis.fit(traced, batches, sparse=True, progress=False)
        libasis.interactions(traced, basis, batches, progress=False)
        found.append(basis)
    alike([site.importances.sum() for site in found[1]], [site.importances.sum() for site in found[0]])


@pytest.mark.parametrize("make", LANGUAGE.values(), ids=LANGUAGE)
def test_inside_a_block_and_by_what_the_model_says(make):
    """A site in a branch, importance by Fisher information, divergence from the whole model."""
    model, ids, sites = make()
    inside = {"gpt2": "transformer.h.0.mlp.c_proj:in", "llama": "model.layers.0.mlp.down_proj:in"}
    site = inside["llama" if hasattr(model, "model") else "gpt2"]
    found = []
    for device in ("cpu", CUDA):
        traced = libasis.trace(model.to("cpu"), ids[0], [site, sites[-1]], around="hold", dtype=F64, device=device)
        basis = libasis.fit(traced, ids, readout="fisher")
        found.append([basis[0].importances, libasis.ablate_nodes(traced, basis, ids, metric="kl").curves[site]])
    alike([found[0][0]], [found[1][0]])
    curves = [torch.tensor(list(curve.values())) for _, curve in found]
    torch.testing.assert_close(*curves, rtol=1e-6, atol=1e-10)


def test_a_verification_and_what_is_said_of_single_inputs():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).double().eval()
    x = torch.randn(120, 6, dtype=F64)
    batches = [(x[:60], model(x[:60]).argmax(1)), (x[60:], model(x[60:]).argmax(1))]
    found = []
    for device in ("cpu", CUDA):
        traced = libasis.trace(model, x[:2], ["0:out", "output"], device=device)
        basis = libasis.fit(traced, batches)
        claims = [libasis.Hypothesis("0:out", [0], direction="decrease", delta=0.05, name="first")]
        plan = libasis.plan(traced, basis, batches, claims, controls=99)
        verified = libasis.verify(traced, basis, batches, plan)
        told = libasis.local.contributions(traced, basis, [x[:4]], "0:out")
        found.append((verified.rows(), told.rows()))
    for mine, theirs in zip(*found, strict=True):
        for one, other in zip(mine, theirs, strict=True):
            assert one == pytest.approx(other, rel=1e-6, abs=1e-9)
