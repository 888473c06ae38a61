"""The number of a sample is that of its content: not of its batch, its place or its memory."""

import pytest
import torch

from cut.cutting import randn
from libasis.data import sample_digests
from libasis.data.batches import Batch


def digests(*args, targets=None, **kwargs):
    first = next(x for x in [*args, *kwargs.values()] if isinstance(x, torch.Tensor))
    return sample_digests(Batch(args, kwargs, targets, 0), len(first))


KINDS = {
    "float64": randn(40, 3, 5),
    "float32": randn(40, 7).float(),
    "bfloat16": randn(40, 3).bfloat16(),
    "complex": torch.complex(randn(40, 2), randn(40, 2, seed=1)),
    "small whole numbers as floats": torch.randint(0, 5, (40, 12)).float(),
    "tokens": torch.randint(0, 50_000, (40, 9)),
    "one number": torch.arange(40),
    "pixels": torch.randint(0, 256, (40, 3, 5, 5), dtype=torch.uint8),
    "yes and no": torch.rand(40, 64) > 0.5,
    "sparse": (randn(40, 30) * (torch.rand(40, 30) > 0.7)).to_sparse(),
}


@pytest.mark.parametrize("name", KINDS)
def test_it_depends_on_the_sample_alone(name):
    x = KINDS[name]
    whole = digests(x)
    assert len(whole.unique()) == 40
    assert whole.dtype == torch.int64
    x = x.to_dense()
    assert torch.equal(digests(x), whole)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    assert torch.equal(digests(x[order]), whole[order])
    assert torch.equal(torch.cat([digests(part) for part in x.split([1, 22, 17])]), whole)
    assert torch.equal(digests(torch.stack([x, x], 1)[:, 0]), whole)  # of another memory layout


def test_it_does_not_depend_on_where_memory_starts():
    x = torch.rand(9)
    assert torch.equal(digests(x[1:].view(4, 2)), digests(x[1:].clone().view(4, 2)))
    assert len(digests(torch.zeros(4, 0)).unique()) == 1


CHANGES = {
    "the last bit of one number": lambda x: x.view(torch.int64).bitwise_xor(
        torch.zeros(30, 6, dtype=torch.int64).index_fill(1, torch.tensor([4]), 1)
    ).view(torch.float64),
    "signs": lambda x: -x,
    "the sign of one number": lambda x: torch.cat([x[:, :2], -x[:, 2:3], x[:, 3:]], 1),
    "the order of numbers": lambda x: x.flip(1),
    "its shape": lambda x: x.unflatten(1, (2, 3)),
    "its dtype": lambda x: x.float(),
    "its kind": lambda x: x.view(torch.int64),
    "its scale": lambda x: 2 * x,
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_a_sample_changes_its_number(name):
    for x in (randn(30, 6), torch.randint(1, 9, (30, 6)).double()):
        before, after = digests(x), digests(CHANGES[name](x))
        assert not set(before.tolist()) & set(after.tolist()) or torch.equal(CHANGES[name](x), x)


def test_inputs_and_targets_all_count():
    x, y = randn(20, 3, seed=1), randn(20, 3, seed=2)
    labels, words = torch.arange(20), [f"word {i}" for i in range(20)]
    found = [
        digests(x), digests(x, y), digests(y, x), digests(a=x, b=y), digests(a=y, b=x), digests(x, 1), digests(x, 2),
        digests(x, targets=labels), digests(x, targets=labels.flip(0)), digests(x, targets=words),
        digests(x, targets=words[::-1]), digests(x, torch.tensor(0.5)), digests(x, torch.tensor(0.25)), digests(x, x),
    ]  # fmt: skip
    assert len(torch.cat(found).unique()) == 20 * len(found)


def test_many_samples_of_few_digits_stay_apart():
    """Whole numbers as floats of either width, in all combinations: most bits of these are zero."""
    grid = torch.cartesian_prod(*[torch.arange(-8, 8)] * 4)
    for dtype in (torch.float32, torch.float64, torch.int64, torch.int32, torch.float16):
        assert len(digests(grid.to(dtype)).unique()) == len(grid)
    pixels = torch.cartesian_prod(*[torch.arange(256)] * 2).float() / 255
    assert len(digests(pixels).unique()) == len(pixels)


def test_the_bits_of_numbers_are_even():
    """As in random numbers, each bit is set in half of them, and half of the bits change from one to the next."""
    for x in (torch.arange(4000).float()[:, None], torch.randint(0, 2, (4000, 16)), randn(4000, 1)):
        found = digests(x).unique()
        bits = (found[:, None] >> torch.arange(64)) & 1
        assert (bits.double().mean(0) - 0.5).abs().max() < 4.5 * 0.5 / len(found) ** 0.5
        changes = bits[1:] ^ bits[:-1]
        assert abs(float(changes[: len(found)].double().sum(1).mean()) - 32) < 8  # sorted: high bits change less
