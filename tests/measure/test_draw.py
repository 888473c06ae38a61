"""Samples drawn from a stream: by seed, number and size alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from libasis.errors import OptionError
from libasis.measure.draw import Draw


def look(draw, numbers, sizes=None):
    """Let a draw see samples one after the other."""
    for number in numbers:
        item = torch.tensor(number)
        draw.add(torch.tensor([number]), lambda row, item=item: {"number": item}, 1 if sizes is None else sizes[number])
    return draw


def numbers_of(draw):
    assert all(number == int(item["number"]) for number, item in draw.items())
    return [number for number, _ in draw.items()]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=8), st.integers(1, 30))
def test_a_draw_depends_on_the_number_of_samples_alone(sizes, capacity):
    def drawn(parts, capacity=capacity):
        draw, first = Draw(capacity, 3), 0
        for size in parts:
            numbers = torch.arange(first, first + size)
            draw.add(numbers, lambda row, numbers=numbers: {"number": numbers[row]})
            first += size
        return numbers_of(draw)

    total = sum(sizes)
    assert drawn(sizes) == drawn([total]) == drawn([1] * total)
    assert len(drawn(sizes)) == min(total, capacity)
    assert set(drawn(sizes)) <= set(drawn(sizes, capacity + 5))


@given(
    st.lists(st.floats(0.5, 9), min_size=1, max_size=30),
    st.floats(0, 60),
    st.integers(0, 4),
    st.integers(0, 99),
    st.randoms(use_true_random=False),
)
def test_those_of_the_lowest_chance_are_held_that_fit_together(sizes, room, least, seed, shuffler):
    """In whatever order they come, and however parts are merged or written down on the way."""
    chances = np.random.default_rng(seed).random(len(sizes))
    order = chances.argsort()
    fit = [k for k in range(len(sizes) + 1) if sum(sizes[i] for i in order[:k]) <= room]
    expected = sorted(order[: max(max(fit), min(least, len(sizes)))].tolist())
    mixed = list(range(len(sizes)))
    shuffler.shuffle(mixed)
    assert numbers_of(look(Draw(room, seed, least), mixed, sizes)) == expected
    at = shuffler.randrange(len(sizes) + 1)
    one, two = (look(Draw(room, seed, least), part, sizes) for part in (mixed[:at], mixed[at:]))
    resumed = Draw(room, seed, least)
    resumed.load(one.state())
    assert numbers_of(look(resumed, mixed[at:], sizes)) == expected
    one.merge(two)
    assert numbers_of(one) == expected


def test_a_draw_is_uniform():
    counts = np.zeros(40)
    for seed in range(400):
        counts[numbers_of(look(Draw(10, seed), range(40)))] += 1
    assert abs(counts - 100).max() < 5 * (400 * 0.25 * 0.75) ** 0.5


def test_what_is_not_held_is_not_made():
    made = []
    draw = Draw(3, 0)
    for number in range(1000):
        draw.add(torch.tensor([number]), lambda row, number=number: made.append(number) or {})
    assert len(made) < 60


def test_what_is_no_tensor_cannot_be_written_down():
    draw = Draw(3, 0)
    draw.add(torch.tensor([0]), lambda row: {"target": ["red"]})
    with pytest.raises(OptionError, match="holds target of type list, which cannot be written down"):
        draw.state()
