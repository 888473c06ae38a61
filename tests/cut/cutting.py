"""What every cut must satisfy, and the small models that only these tests need."""

import contextlib
import sys
from collections.abc import Mapping

import pytest
import torch
from torch import nn

import libasis  # noqa: F401 - loads the module below

trace_module = sys.modules["libasis.cut.trace"]  # libasis.cut.trace is the function

F64 = torch.float64


def call(model, inputs):
    """The model on inputs of any structure, without gradients."""
    with torch.no_grad():
        if isinstance(inputs, Mapping):
            return model(**inputs)
        return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def main_output(output):
    """The tensor that "output" names, found by hand."""
    if isinstance(output, torch.Tensor):
        return output
    values = output.values() if isinstance(output, Mapping) else output
    return next(v for v in values if isinstance(v, torch.Tensor) and v.is_floating_point() and v.ndim)


def assert_close(actual, expected, tolerance=1e-10):
    assert actual.shape == expected.shape
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance, check_dtype=False)


def assert_reassembles(traced, model, batches, tolerance=1e-10, pick=main_output):
    """Section by section, from every site on, repeated, and as a whole: the model's own output."""
    for inputs, record in zip(batches, traced.stream(batches), strict=True):
        expected = pick(call(model, inputs))
        assert_close(record.output, expected, tolerance)
        x = record.activations[0]
        for section, known in zip(traced.sections, record.activations[1:], strict=True):
            x = section(x, record)
            assert_close(x, known, tolerance)
        for i, known in enumerate(record.activations):
            assert_close(record.rest(i, known), expected, tolerance)
        twice = record.rest(0, torch.cat([record.activations[0]] * 2), times=2)
        assert_close(twice, torch.cat([expected] * 2, batch_dim_of(expected, record.size)), tolerance)


def batch_dim_of(tensor, size):
    return next(i for i, n in enumerate(tensor.shape) if n == size)


@contextlib.contextmanager
def counted_exports(monkeypatch):
    """A list that grows by one with every export."""
    made = []
    original = trace_module.export_program

    def export(*args):
        made.append(args)
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(trace_module, "export_program", export)
        yield made


def refused(error, *words):
    """Expects one sentence of this type with these words in it."""
    pattern = "(?s)" + "".join(f"(?=.*{word})" for word in words)
    return pytest.raises(error, match=pattern)


class Calls(nn.Module):
    """A model made of its forward and its parts: Calls(forward, name=module, ...)."""

    def __init__(self, run, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self._run = run

    def forward(self, x):
        return self._run(self, x)


def calls(run, **parts):
    return Calls(run, **parts).to(F64).eval()


def randn(*shape, seed=1):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def everything(model):
    """All that could be changed, in a form that can be compared."""
    hooks = ["_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_forward_hooks_with_kwargs"]
    return {
        "state": {
            name: (id(t), t.detach().clone().numpy().tobytes()) for name, t in model.state_dict(keep_vars=True).items()
        },
        "requires_grad": {name: p.requires_grad for name, p in model.named_parameters()},
        "grad": {name: None if p.grad is None else p.grad.clone().tolist() for name, p in model.named_parameters()},
        "versions": {name: p._version for name, p in model.named_parameters()},
        "training": {name: m.training for name, m in model.named_modules()},
        "hooks": {n: [[(k, id(v)) for k, v in getattr(m, h).items()] for h in hooks] for n, m in model.named_modules()},
        "attributes": {n: {k: id(v) for k, v in vars(m).items()} for n, m in model.named_modules()},
        "use_cache": getattr(getattr(model, "config", None), "use_cache", None),
        "rng": torch.get_rng_state().tolist(),
        "dtype": torch.get_default_dtype(),
        "grad mode": torch.is_grad_enabled(),
    }
