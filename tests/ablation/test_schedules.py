"""Which counts are measured, and what the searches find."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libasis.ablation.schedules import bisect_ablated, bisect_kept, geometric, node_counts, stable_count
from libasis.errors import OptionError

SCHEDULES = ["auto", "linear", "exponential"]


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(k=st.integers(1, 3000))
def test_counts_ascend_from_none_to_all(schedule, k):
    counts = node_counts(schedule, k)
    assert counts == sorted(set(counts))
    assert (counts[0], counts[-1]) == (0, k)
    assert len(counts) <= 257


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("k", [1, 2, 16])
def test_few_features_are_all_measured(schedule, k):
    assert node_counts(schedule, k) == list(range(k + 1))


def test_linear_is_even():
    assert node_counts("linear", 256) == list(range(257))
    steps = [b - a for a, b in zip(node_counts("linear", 5000), node_counts("linear", 5000)[1:], strict=False)]
    assert set(steps) <= {19, 20}


def test_exponential_takes_small_steps_in_proportion():
    counts = node_counts("exponential", 5000)
    assert counts[:17] == list(range(17))
    assert all(b - a <= 1 + a / 16 for a, b in zip(counts, counts[1:], strict=False))
    assert len(counts) < 150


def test_auto_is_linear_for_few_features_and_exponential_for_many():
    assert node_counts("auto", 128) == node_counts("linear", 128)
    assert node_counts("auto", 129) == node_counts("exponential", 129)


def test_a_list_is_sorted_and_bounded():
    assert node_counts([3, 1, 3, 99], 10) == [1, 3, 10]


@pytest.mark.parametrize("schedule", ["cubic", [], [2, -1]])
def test_other_schedules_are_refused(schedule):
    with pytest.raises(OptionError) as caught:
        node_counts(schedule, 10)
    assert f"schedule is {schedule!r}" in str(caught.value)


@given(st.integers(1, 500), st.integers(1, 500), st.integers(2, 90))
def test_geometric_counts_reach_both_ends(low, more, points):
    counts = geometric(low, low + more, points=points)
    assert counts == sorted(set(counts))
    assert (counts[0], counts[-1]) == (low, low + more)
    assert len(counts) <= points
    assert geometric(low, low) == [low]


def asked(search, predicate, total):
    """What a search found, and what it asked for."""
    questions = []

    def passes(count):
        questions.append(count)
        return predicate(count)

    return search(passes, total), questions


def test_the_published_search_step_by_step():
    """Ablated between 0 and 10: 5, 7 fails, 6; so 4 are kept."""
    assert asked(bisect_ablated, lambda kept: kept >= 4, 10) == (4, [5, 3, 4])


def passes_as_published(kept):
    """One model of the paper: the score is not monotone in the number kept."""
    return 116 <= kept <= 124 or kept == 128 or kept >= 133


def test_the_published_search_depends_on_where_it_starts():
    """129 = d + 1 on both sides is the published start and gives the published 133; another start ends elsewhere."""
    assert bisect_ablated(passes_as_published, 129 * 129) == 133
    assert bisect_ablated(passes_as_published, 128 * 128) == 116


@given(st.integers(1, 20_000), st.integers(1, 20_000))
def test_every_search_finds_a_threshold(threshold, more):
    total = threshold + more

    def predicate(kept):
        return kept >= threshold

    assert asked(bisect_ablated, predicate, total)[0] == threshold
    found, questions = asked(bisect_kept, predicate, total)
    assert found == threshold
    assert len(questions) <= total.bit_length() + 2


def test_searches_where_nothing_or_everything_passes():
    assert bisect_ablated(lambda _: False, 40) == 40  # the caller asks whether it passes
    assert bisect_ablated(lambda _: True, 40) == 1  # as published: no kept edge at all is never tried
    assert bisect_kept(lambda _: False, 40) is None
    assert bisect_kept(lambda _: True, 40) == 0


def stable(predicate, total, before=()):
    """The stable count and everything measured, some of it by an earlier search."""
    measured = set(before)
    found = stable_count(measured.update, lambda c: predicate(c), lambda: sorted(measured), total)
    return found, measured


@given(st.integers(1, 700), st.randoms(use_true_random=False), st.sampled_from([0.02, 0.5, 0.98]))
def test_from_the_stable_count_on_everything_measured_passes(total, random, share):
    passing = {c for c in range(total) if random.random() < share} | {total}
    found, measured = stable(passing.__contains__, total, before=[total // 3])
    assert all(c in passing for c in measured if c >= found)
    assert found == 0 or (found - 1 in measured and found - 1 not in passing)
    assert total > 64 or len(measured) == total + 1
    above = sorted(c for c in measured if c >= found)  # no gap wider than that of 64 geometric points, rounded
    assert all(
        b - a <= 1 or b / max(a, 1) <= total ** (1 / 63) + 2 / max(a, 1) for a, b in zip(above, above[1:], strict=False)
    )
    assert {0, total} <= measured <= set(range(total + 1))


@given(st.integers(1, 5000), st.integers(0, 5000))
def test_the_stable_count_of_a_threshold_is_the_threshold(total, threshold):
    threshold = min(threshold, total)
    assert stable(lambda c: c >= threshold, total)[0] == threshold


def test_what_an_earlier_search_measured_is_not_forgotten():
    """A failure between the points of the grid, found by the bisection, moves the stable count above it."""
    hole = 4001

    def predicate(count):
        return count >= 10 and count != hole

    assert stable(predicate, 5000)[0] == 10
    assert stable(predicate, 5000, before=[hole])[0] == hole + 1
    assert stable(passes_as_published, 12_000)[0] == 133


def test_there_is_no_stable_count_where_all_edges_do_not_pass():
    found, measured = stable(lambda c: c == 7, 50)
    assert found is None
    assert 7 in measured
