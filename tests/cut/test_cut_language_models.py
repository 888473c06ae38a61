"""Transformers as they are loaded: the sections re-assembled are the model."""

import pytest
import torch

import libasis
from cut.conftest import make_language_model, tokens
from cut.cutting import F64, assert_close, assert_reassembles, counted_exports, everything
from models import copy_of

pytest.importorskip("transformers")


@pytest.mark.parametrize(
    ("name", "attention"),
    [("gpt2", "eager"), ("llama", "sdpa"), ("gpt_neox", "eager"), ("bert", "sdpa")],
)
def test_the_sections_are_the_model(language_models, name, attention):
    model, traced = language_models(name, attention)
    # in float64 the model's own casts to float32 are part of what it computes, and of the graph
    assert_reassembles(traced, model, [tokens([0, 0, 0]), tokens([1, 3]), tokens([0])])
    if attention == "sdpa":  # the eager one is not finite in float64 where a position sees nothing
        assert_reassembles(traced, model, [tokens([0, 2, 1], side="left")])
    if hasattr(model.config, "use_cache"):
        assert model.config.use_cache


def test_the_sites_count_what_the_mask_says(language_models):
    _, traced = language_models("gpt2")
    record = traced.record(tokens([1, 3]))
    assert record.count(0) == 4 + 2
    assert record.vectors(1).shape == (6, 8)


def test_context_belongs_to_its_batch(language_models):
    """The recorded attention mask is what makes a section exact: with another batch's mask the result differs."""
    _, traced = language_models("bert", "sdpa")
    padded, full = traced.record(tokens([1, 3])), traced.record(tokens([0, 0]))
    x = padded.activations[0]
    assert_close(traced.sections[0](x, padded), padded.activations[1])
    assert (traced.sections[0](x, full) - padded.activations[1]).abs().max() > 1e-4


def test_a_new_length_is_exported_once(language_models, monkeypatch):
    model, traced = language_models("gpt2")
    before = everything(model)
    assert before["use_cache"] is True
    with counted_exports(monkeypatch) as exports:
        assert_reassembles(traced, model, [tokens([0, 0]), tokens([0, 1], 3), tokens([0, 2, 1]), tokens([1, 0, 0], 3)])
        assert len(exports) == 1
        single = traced.to(dtype=torch.float32).record(tokens([0, 1], 3))
        assert single.output.dtype == torch.float32
        assert_close(single.output, traced.record(tokens([0, 1], 3)).output, 1e-5)
        reordered = dict(reversed(tokens([0, 0]).items()))
        assert_close(traced.record(reordered).output, traced.record(tokens([0, 0])).output)
        assert len(exports) == 1
    assert everything(model) == before


def test_llama_in_float64_computes_every_norm_in_float64():
    """Llama's norms and angles are cast to float32 by its own code; with dtype=float64 they are not."""
    single = make_language_model("llama", "eager", layers=1).eval()
    traced = libasis.trace(single, tokens([0, 2]), ["model.layers.0:in", "model.norm:in", "output"], dtype="float64")
    double = copy_of(single, F64)
    for padding, side in [([1, 0, 2], "right"), ([2, 0], "left")]:
        given = tokens(padding, side=side)
        record = traced.record(given)
        assert record.output.dtype == F64
        with torch.no_grad(), NoSinglePrecision():
            assert_close(record.output, double(**given).logits)
        with torch.no_grad():
            assert_close(record.output, single(**given).logits, 1e-4)
    assert {p.dtype for p in single.parameters()} == {torch.float32}


class NoSinglePrecision(torch.overrides.TorchFunctionMode):
    """Every cast to float32 is one to float64."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = {k: F64 if v is torch.float32 else v for k, v in (kwargs or {}).items()}
        args = tuple(F64 if a is torch.float32 else a for a in args)
        return args[0].double() if function is torch.Tensor.float else function(*args, **kwargs)
