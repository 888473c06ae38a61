"""Large blocks, as a GPU gets them: few operations, nothing waited for, every tensor on the device of the data.

The device is torch's "meta": tensors without numbers. Whoever asks for a number there, or mixes in a tensor of the
CPU, gets an error.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import libasis
from libasis.basis.statistics import SiteStatistics
from libasis.data import Batch
from libasis.importance import Span, choose, parse

META = torch.device("meta")


class Launches(TorchDispatchMode):
    """Counts operations that work on numbers, not those that only look at a tensor in another way."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        looks = [a.alias_info is not None and not a.alias_info.is_write for a in op._schema.arguments]
        self.count += not (any(looks) or op is torch.ops.aten._unsafe_view.default)
        return op(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def gpt2():
    """One block of GPT-2 small's shape at 128 tokens on the device meta, and a record of one batch of 32."""
    transformers = pytest.importorskip("transformers")
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=1, vocab_size=99)).eval()
    sites = ["transformer.h.0.ln_1:in", "transformer.h.0.ln_2:in", "transformer.ln_f:in"]
    ids = torch.zeros(32, 128, dtype=torch.long)
    traced = libasis.trace(model, {"input_ids": ids[:2]}, sites)._moved(None, META)  # which users cannot ask for
    with torch.no_grad():
        return traced, traced.run_batch(Batch((), {"input_ids": ids}, None, 0))


def launches(accumulator, record):
    """Operations that adding one more batch takes."""
    with torch.no_grad():
        accumulator.add(record)
        with Launches() as counted:
            accumulator.add(record)
    return counted.count


def section(traced, record, l):
    """What sums up the importance of a section, as in a fit with 8 GiB."""
    span = Span.of(record, traced, l, l + 1, 128)
    rule, _ = choose(parse("closed_form", 0), span, 768)
    return rule.start(span, torch.empty(768, 768, dtype=torch.float64, device=META), 2**33, None)


def test_a_batch_takes_few_launches_a_section(gpt2):
    attention, mlp = (launches(section(*gpt2, l), gpt2[1]) for l in (0, 1))
    assert attention < 240
    assert mlp < 60
    assert attention + mlp < 2 * 150


def test_statistics_take_few_launches_a_site(gpt2):
    assert launches(SiteStatistics(gpt2[0]), gpt2[1]) < 3 * 12


@pytest.mark.parametrize("l", [0, 1])
def test_the_moment_is_put_together_where_the_data_are(gpt2, l):
    total = section(*gpt2, l)
    with torch.no_grad():
        total.add(gpt2[1])
    value = total.total()
    assert (value.device, value.shape, value.dtype) == (META, (768, 768), torch.float64)
