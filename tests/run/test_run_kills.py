"""A command that is killed or refused by the system loses nothing, and runs again; `kills.py` tries all places."""

import os

import pytest

from run.kills import VERBS, attempt, finished


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    finished(folder)
    return folder


PLACES = {
    "fit": range(9, 26, 8),
    "graph": range(13, 22, 8),
    "ablate": (12,),
    "report": (5, 16),
    "export": range(4, 34, 10),
}


@pytest.mark.parametrize("failure", ["kill", "ENOSPC"])
@pytest.mark.parametrize("verb", VERBS)
def test_nothing_is_lost_and_the_command_runs_again(source, verb, failure):
    for place in PLACES[verb]:
        assert attempt(source, verb, place, failure)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("verb", "place"), [("fit", 17), ("export", 11)])
def test_a_process_that_is_truly_killed(source, verb, place):
    assert attempt(source, verb, place, "kill", truly=True)
