"""Functions written down as steps: nested arguments, values given up once they are spent."""

import weakref

import pytest
import torch

from libasis.cut.steps import Slot, Steps


def test_arguments_may_be_nested():
    steps = Steps(2)
    joined = steps.add(torch.cat, ([Slot(0), Slot(1), torch.zeros(1)],), {"dim": 0})
    part = steps.add(lambda x, where: x[where["rows"]], (joined, {"rows": slice(1, None, Slot(1))}), {})
    run = steps.returning([part, joined, Slot(0), "as it is"])
    found = run(torch.ones(2), torch.tensor([2]))
    assert [x.tolist() for x in found[:3]] == [[1, 0], [1, 1, 2, 0], [1, 1]]
    assert found[3] == "as it is"
    again = run(torch.full((2,), 5.0), torch.tensor([1]))
    assert again[0].tolist() == [5, 1, 0]


def test_a_value_is_given_up_after_the_last_step_that_needs_it():
    born: list[weakref.ref[torch.Tensor]] = []
    alive: list[list[bool]] = []

    def twice(x):
        y = 2 * x
        alive.append([ref() is not None for ref in born])
        born.append(weakref.ref(y))
        return y

    steps = Steps(1)
    slot = first = steps.add(twice, (Slot(0),), {})
    for _ in range(3):
        slot = steps.add(twice, (slot,), {})
    steps.add(twice, (first,), {})
    unused = steps.returning([slot])(torch.ones(3))
    # the first serves the last step as well; the others go as soon as the next is there
    assert alive == [[], [True], [True, True], [True, False, True], [True, False, False, True]]
    assert unused[0].tolist() == [16.0] * 3
    assert [ref() is not None for ref in born] == [False, False, False, True, False]


def test_the_number_of_values_is_checked():
    with pytest.raises(TypeError, match="expected 2 values, got 1"):
        Steps(2).returning([])(torch.ones(1))
