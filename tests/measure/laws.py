"""The laws of what is summed over the data: parts merge to the whole, and a state written down goes on as if kept."""

import copy

import torch
from torch import Tensor


def assert_merges(make, records, close):
    """However the batches are dealt out, and in whatever order the parts are merged, the result is that of one go.

    Args:
        make: makes an accumulator that has seen nothing.
        records: one for each batch; four are enough.
        close: called with the result found and that of one go; it asserts that they are the same up to rounding.
    """
    whole = in_one_go(make(), records)
    for hands in _dealt(len(records)):
        for merged in (_from_left, _sent_from_right, _in_pairs)[: len(hands)]:
            parts = [make() for _ in hands]
            while True:
                for part, hand in zip(parts, hands, strict=True):
                    _add(part, [records[i] for i in hand])
                total = merged(make, parts)
                if not total.another_round():
                    break
                parts = [total, *(total.emptied() for _ in hands[1:])]
            close(total.finish(), whole)


def assert_resumes(make, records, close):
    """A state written down after any batch of any round, and read again, leads to the result of one go.

    Args:
        make: makes an accumulator that has seen nothing.
        records: one for each batch; three are enough.
        close: called with the result found and that of one go; it asserts that they are the same up to rounding.
    """
    accumulator, states, again = make(), [], True
    while again:
        for i, record in enumerate(records):
            states.append((i, accumulator.state()))
            _add(accumulator, [record])
        states.append((len(records), accumulator.state()))
        again = accumulator.another_round()
    written = copy.deepcopy(states)
    whole = accumulator.finish()
    for (i, state), (_, before) in zip(states, written, strict=True):
        assert_plain(state)
        close(_go_on(_resumed(make, state), records, i), whole)
        assert_unchanged(state, before)


def in_one_go(accumulator, records):
    """The result of all batches, in their order, in as many rounds as are asked for."""
    return _go_on(accumulator, records, 0)


def assert_plain(state):
    """Tensors and numbers by name."""
    assert all(isinstance(key, str) and isinstance(value, (Tensor, int, float)) for key, value in state.items()), state


def assert_unchanged(state, before):
    """What was written down stays as it was, whatever is added afterwards."""
    assert state.keys() == before.keys()
    for name, value in state.items():
        same = torch.allclose(torch.as_tensor(value), torch.as_tensor(before[name]), rtol=0, atol=0, equal_nan=True)
        assert same, name


def _go_on(accumulator, records, start):
    while True:
        _add(accumulator, records[start:])
        if not accumulator.another_round():
            return accumulator.finish()
        start = 0


def _resumed(make, state):
    accumulator = make()
    accumulator.load(state)
    return accumulator


@torch.no_grad()
def _add(accumulator, records):
    for record in records:
        accumulator.add(record)


def _dealt(n):
    """Hands of batches: each alone, two neighbours, two taking turns, the other way round, one that gets none."""
    every = list(range(n))
    return (
        [[i] for i in every],
        [every[: n // 2], every[n // 2 :]],
        [every[::2], every[1::2]],
        [every[::-1]],
        [[], every],
    )


def _from_left(make, parts):
    first, *others = parts
    for part in others:
        first.merge(part)
    return first


def _sent_from_right(make, parts):
    """Each part as its state, as from another process."""
    return _from_left(make, [_resumed(make, part.state()) for part in reversed(parts)])


def _in_pairs(make, parts):
    while len(parts) > 1:
        parts = [_from_left(make, parts[i : i + 2]) for i in range(0, len(parts), 2)]
    return parts[0]
