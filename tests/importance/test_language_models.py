"""Closed forms are the exact rule on transformers as they are loaded: eager and fused attention, padding, rotary."""

import pytest
import torch

import libasis
from cut.conftest import make_language_model, tokens
from cut.cutting import randn
from importance.measuring import moment_by, span_of
from libasis.measure import Records

pytest.importorskip("transformers")

SITES = {  # attention and MLP apart where they are; in GPT-NeoX they stand side by side
    "gpt2": ["transformer.h.0.ln_1:in", "transformer.h.0.ln_2:in", "transformer.h.1.ln_1:in"],
    "llama": ["model.layers.0.input_layernorm:in", "model.layers.0.post_attention_layernorm:in",
              "model.layers.1.input_layernorm:in"],
    "gpt_neox": ["gpt_neox.layers.0:in", "gpt_neox.layers.1:in"],
    "bert": ["encoder.layer.0:in", "encoder.layer.0.attention.output.LayerNorm:in"],
}  # fmt: skip
FORMS = {
    "gpt2": ["closed form, attention", "closed form, pointwise"],
    "llama": ["closed form, attention", "closed form, pointwise"],
    "gpt_neox": ["closed form, attention"],
    "bert": ["closed form, attention"],
}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", SITES)
def test_closed_is_exact(name, attention):
    model = make_language_model(name, attention).double().eval()
    batches = [tokens([0, 2, 1]), tokens([1, 0])]
    traced = libasis.trace(model, batches[0], SITES[name], mask="attention_mask", dtype="float64")
    records = Records(traced, batches, 2**30)
    for l, form in enumerate(FORMS[name]):
        span = span_of(records, l, l + 1)
        readout = randn(traced.sites[l + 1].features, 5, seed=l)
        closed, exact = (
            moment_by(moments, records, readout, memory, span=span)
            for moments, memory in (("closed_form", 1), ("exact", 2**30))
        )
        assert closed.rule == form
        assert closed.n == exact.n
        assert float((closed.value - exact.value).abs().max()) < 1e-10 * float(exact.value.abs().max())


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_float32_takes_the_same_forms_and_is_close_to_float64(name, attention):
    """As models are loaded: a softmax that is cast to float32, and an eps that float32 rounded."""
    model = make_language_model(name, attention).eval()
    for module in model.modules():
        if hasattr(module, "variance_epsilon"):
            module.variance_epsilon = float(torch.tensor(1e-5))
    values = []
    for dtype in ("float32", "float64"):
        traced = libasis.trace(model, tokens([0, 2, 1]), SITES[name], mask="attention_mask", dtype=dtype)
        basis = libasis.fit(traced, [tokens([0, 2, 1]), tokens([1, 0])], moments="closed_form", progress=False)
        assert [fact["rule"] for fact in basis.info["rules"]] == FORMS[name]
        values.append(torch.cat([site.importances[:5] for site in basis]))
    torch.testing.assert_close(values[0], values[1], rtol=1e-4, atol=0)
