"""Large blocks, as a GPU gets them: few operations, nothing waited for, every tensor on the device of the data.

An MLP and the statistics run on torch's device "meta", whose tensors have no numbers: whoever asks for one there, or
mixes in a tensor of the CPU, gets an error. An attention runs on the CPU, in the blocks of a GPU.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import libasis
from libasis.basis.statistics import SiteStatistics
from libasis.data import Batch
from libasis.importance import Span
from libasis.importance.attention import AttentionForm
from libasis.importance.pointwise import PointwiseSums
from libasis.numerics import Blocks

META = torch.device("meta")


class Launches(TorchDispatchMode):
    """Counts operations that work on numbers, not those that only look at a tensor in another way; and waits."""

    def __init__(self):
        super().__init__()
        self.count, self.waits = 0, []

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        looks = [a.alias_info is not None and not a.alias_info.is_write for a in op._schema.arguments]
        if op in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default):
            self.waits.append(op)
        self.count += not (any(looks) or op is torch.ops.aten._unsafe_view.default)
        return op(*args, **(kwargs or {}))


@pytest.fixture(scope="module")
def gpt2():
    """One block of GPT-2 small's shape at 128 tokens."""
    transformers = pytest.importorskip("transformers")
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=1, vocab_size=99)).eval()
    sites = ["transformer.h.0.ln_1:in", "transformer.h.0.ln_2:in", "transformer.ln_f:in"]
    return libasis.trace(model, {"input_ids": torch.randint(99, (2, 128))}, sites)


def recorded(traced):
    """A batch of two."""
    with torch.no_grad():
        return traced.run_batch(Batch((), {"input_ids": torch.zeros(2, 128, dtype=torch.long)}, None, 0))


def launches(sums, more):
    """Operations that adding once more takes, none of which waits for a number."""
    with torch.no_grad():
        sums.add(more)
        with Launches() as counted:
            sums.add(more)
    assert not counted.waits
    return counted.count


def mlp(gpt2):
    """Sums of the MLP's section on the device meta, and vectors there."""
    record = recorded(gpt2)
    vectors = record.activations[1].flatten(0, 1).to(META)
    anatomy = Span.of(record, gpt2, 1, 2).anatomy
    return PointwiseSums(anatomy, torch.empty(768, 768, dtype=torch.float64, device=META), vectors), vectors


def test_a_batch_takes_few_launches_a_section(gpt2):
    record, readout = recorded(gpt2), torch.ones(768, 768, dtype=torch.float64)
    form = AttentionForm(blocks=Blocks.on(META, 2**33))
    attention = launches(form.start(Span.of(record, gpt2, 0, 1), readout, 2**33, None), record)
    beside = launches(*mlp(gpt2))
    assert attention < 250
    assert beside < 60
    assert attention + beside < 2 * 150


def test_statistics_take_few_launches_a_site(gpt2):
    traced = gpt2._moved(None, META)  # which users cannot ask for
    assert launches(SiteStatistics(traced), recorded(traced)) <= 3 * 14


def test_the_moment_is_put_together_where_the_data_are(gpt2):
    sums, vectors = mlp(gpt2)
    with torch.no_grad():
        sums.add(vectors)
    value = sums.moment()
    assert (value.device, value.shape, value.dtype) == (META, (768, 768), torch.float64)
