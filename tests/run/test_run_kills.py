"""A command that is killed or refused by the system loses nothing, and runs again; `kills.py` tries all places."""

import os

import pytest

from run.kills import attempt, finished


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    finished(folder)
    return folder


@pytest.mark.parametrize(
    ("verb", "places"),
    [
        ("fit", {"kill": 17, "ENOSPC": 25}),
        ("graph", {"kill": 21, "EFBIG": 13}),
        ("ablate", {"ENOSPC": 14}),
        ("report", {"kill": 16}),
        ("export", {"EDQUOT": 4, "kill": 24}),
    ],
)
def test_nothing_is_lost_and_the_command_runs_again(source, verb, places):
    for failure, place in places.items():
        assert attempt(source, verb, place, failure)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("verb", "place"), [("fit", 17), ("export", 11)])
def test_a_process_that_is_truly_killed(source, verb, place):
    assert attempt(source, verb, place, "kill", truly=True)
