"""Interventions are plain data, checked as soon as they are written down."""

import json

import numpy as np
import pytest
import torch

from libasis.errors import BatchError, OptionError
from libasis.intervene import Intervention

ALL = [
    Intervention("fc2:in", features=[3, 7], to="mean"),
    Intervention("fc2:in", 3, "zero", where="all", name="three"),
    Intervention("fc2:in", torch.tensor([1]), "resample", seed=4),
    Intervention("fc2:in", np.array([2, 1]), "set", [0.1, -2]),
    Intervention("fc2:in", [2], "set", "q0.25"),
    Intervention("fc2:in", [2], "shift", np.float32(0.5)),
    Intervention("fc2:in", (), "keep_only"),
    Intervention("fc2:in", [0], "keep_only", "resample"),
    Intervention("fc2:in", [0], "swap", donors=range(3)),
    Intervention("fc2:in", directions=torch.eye(2, 4, dtype=torch.float64) / 3),
]


@pytest.mark.parametrize("one", ALL, ids=str)
def test_what_is_written_down_is_read_back(one):
    again = Intervention.from_plain(json.loads(json.dumps(one.to_plain(), allow_nan=False)))
    assert again == one
    assert hash(again) == hash(one)
    assert Intervention.from_plain(one.to_plain()) == one


def test_plain_data_say_what_is_not_as_by_default():
    assert ALL[0].to_plain() == {"site": "fc2:in", "features": [3, 7], "to": "mean"}
    assert ALL[1].to_plain() == {"site": "fc2:in", "features": [3], "to": "zero", "where": "all", "name": "three"}
    assert ALL[8].to_plain()["donors"] == [0, 1, 2]


def test_directions_keep_all_their_digits():
    third = Intervention("a", directions=[[1 / 3, 0.1]])
    assert third.directions == ((1 / 3, 0.1),)
    assert third == Intervention("a", directions=torch.tensor([[1 / 3, 0.1]], dtype=torch.float64))


def test_names_say_what_is_done():
    assert [one.label for one in ALL] == [
        "fc2:in:3+7 to mean",
        "three",
        "fc2:in:1 to resample",
        "fc2:in:2+1 to set",
        "fc2:in:2 to set q0.25",
        "fc2:in:2 to shift 0.5",
        "fc2:in: only none",
        "fc2:in: only 0",
        "fc2:in:0 to swap",
        "fc2:in:2 directions to mean",
    ]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "needs features or directions; give one of the two"),
        ({"features": [1], "directions": [[1.0]]}, "needs features or directions; give one of the two"),
        ({"features": []}, "has no features"),
        ({"features": [1, 1]}, r"features is \[1, 1\]; give whole numbers from 0, none of them twice"),
        ({"features": [-1]}, r"features is \[-1\]"),
        ({"features": [0.5]}, r"features is \[0.5\]"),
        ({"features": [True]}, r"features is \[True\]"),
        ({"features": "3"}, "features is '3'"),
        ({"directions": [1.0, 2.0]}, "directions are no matrix"),
        ({"directions": [[0.0, 0.0]]}, "a direction other than 0 in each row"),
        ({"directions": [[float("nan")]]}, "finite numbers"),
        ({"directions": "up"}, "directions are no matrix"),
        ({"features": [1], "to": "median"}, r"to is 'median'; use one of \['mean', 'zero', "),
        ({"features": [1], "value": 1}, 'to="mean" takes no value, but value is 1.0'),
        ({"features": [1], "donors": [1]}, 'to="mean" takes no donors; write to="swap"'),
        (
            {"features": [1], "to": "set"},
            'to="set" takes a number, one for each, or a quantile such as "q0.9", but value is None',
        ),
        ({"features": [1], "to": "set", "value": [1, 2]}, r"but value is \(1.0, 2.0\)"),
        ({"features": [1], "to": "set", "value": "q2"}, "but value is 'q2'"),
        ({"features": [1], "to": "set", "value": float("inf")}, "value is inf; give a finite number"),
        ({"features": [1], "to": "shift", "value": "q0.5"}, 'to="shift" takes a number or one for each, but value is'),
        (
            {"features": [1], "to": "keep_only", "value": "median"},
            'takes no value, "mean", "zero" or "resample", but value is',
        ),
        ({"features": [1], "to": "swap"}, 'to="swap" got the donors None; give numbers of samples, or batches'),
        ({"features": [1], "to": "swap", "donors": [-1]}, r"samples are numbered from 0"),
        ({"features": [1], "to": "swap", "donors": [1], "value": 2}, 'to="swap" takes no value'),
        ({"features": [1], "where": "some"}, "where is 'some'"),
        ({"features": [1], "seed": -1}, "seed is -1"),
        ({"features": [1], "seed": True}, "seed is True"),
        ({"site": 3, "features": [1]}, "site is 3; Intervention takes a text"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_told(options, told):
    with pytest.raises(OptionError, match=told):
        Intervention(**{"site": "a", **options})


def test_one_shot_donors_are_refused():
    with pytest.raises(BatchError, match="one-shot"):
        Intervention("a", [0], "swap", donors=iter([torch.ones(2, 2)]))


def test_donors_of_other_data_cannot_be_saved():
    with pytest.raises(OptionError, match="are batches, which cannot be saved; give sample numbers"):
        Intervention("a", [0], "swap", donors=[torch.ones(2, 2)]).to_plain()


def test_plain_data_with_unknown_keys_are_refused():
    with pytest.raises(OptionError, match=r"has the keys \['colour'\]"):
        Intervention.from_plain({"site": "a", "features": [1], "colour": "red"})
    with pytest.raises(OptionError, match="has no site"):
        Intervention.from_plain({"features": [1]})
