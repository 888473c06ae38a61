import dataclasses
import math

import pytest
import torch

from libasis import Label
from libasis.report import Results
from libasis.report.decide import facts as room
from libasis.report.decide.facts import PER_SITE, SHOWN, Feature
from libasis.report.words import Words
from report.decide.cards import ablation, as_cards, card, make_cards
from report.synthetic import make_graph


def facts_of(graph, cards=None):
    return room.facts_of(Results([graph], cards=cards))


def test_without_cards_nothing_but_importance_is_known(lib):
    facts = facts_of(lib)
    assert (facts.cards, facts.groups, facts.tested) == (None, None, ())
    assert facts.total == sum(site.k for site in lib.basis.sites[:-1])
    for f in facts.features:
        site = lib.basis[f.site]
        assert f.share == pytest.approx(float(site.importances[int(f.id.rpartition(":")[2])] / site.importances.sum()))
        assert (f.ablated, f.effect, f.contrast, f.suggestion, f.examples, f.label) == (None, None, None, None, (), "")


def test_by_importance_no_site_takes_all_places_and_the_outputs_take_none(lib):
    sites = [f.site for f in facts_of(lib).features]
    assert len(sites) == SHOWN
    assert max(sites.count(site) for site in sites) <= PER_SITE
    assert "output" not in sites


def test_verified_features_lead_by_their_change_whatever_its_sign(lib):
    tests = {
        "unembed:in:50": ablation(-0.01),
        "blocks.0.ln1:in:60": ablation(0.2),
        "blocks.0.ln2:in:3": ablation(-0.9, passed=False),
    }
    facts = facts_of(lib, make_cards(lib, ablations=tests))
    assert [f.id for f in facts.features[:2]] == ["blocks.0.ln1:in:60", "unembed:in:50"]
    assert {f.id for f in facts.tested} == set(tests)
    assert {f.id for f in facts.passed} == {"blocks.0.ln1:in:60", "unembed:in:50"}


@pytest.mark.parametrize("passed", [False, None, "true", 1])
def test_verified_means_that_passed_is_true_and_nothing_else(lib, passed):
    facts = facts_of(lib, make_cards(lib, ablations={"unembed:in:0": ablation(passed=passed)}))
    assert facts.passed == ()
    assert len(facts.tested) == 1


def test_groups_put_the_features_that_differ_most_first(lib):
    facts = facts_of(lib, make_cards(lib, groups=True))
    sizes = [abs(f.contrast.size) for f in facts.features]
    assert sizes == sorted(sizes, reverse=True)
    assert facts.features[0].contrast.difference.value == pytest.approx(1.337 - 0.211)
    assert facts.features[0].contrast.size == pytest.approx((1.337 - 0.211) / 1.25)
    assert [name for name, _ in facts.groups.outputs] == ["0", "1", "2", "3"]


def test_the_interval_of_a_difference_adds_the_variances(lib):
    output = facts_of(lib, make_cards(lib, groups=True)).groups.outputs[0][1]
    half = 1.96 * math.hypot(0.031, 0.041)
    assert output.difference.half == pytest.approx(half)
    assert output.difference.low == pytest.approx(1.337 - 0.211 - half)
    assert output.first.half == pytest.approx(1.96 * 0.031)


@pytest.mark.parametrize("stderr", [None, math.nan])
def test_without_a_standard_error_there_is_no_interval(lib, stderr):
    cards = make_cards(lib, groups=True)
    cards["groups"][0]["outputs"][0][1] = stderr
    output = dict(facts_of(lib, cards).groups.outputs)["0"]
    assert (output.first.low, output.difference.low) == (None, None)
    assert output.second.low is not None


def test_one_group_is_no_comparison_and_more_than_two_are_counted(lib):
    cards = make_cards(lib, groups=True)
    assert facts_of(lib, {**cards, "groups": cards["groups"][:1]}).groups is None
    assert facts_of(lib, {**cards, "groups": cards["groups"] * 2}).groups.more == 2


def test_missing_cards_and_those_of_the_last_site_count_for_nothing(lib):
    cards = make_cards(lib)
    some = {k: v for k, v in cards["cards"].items() if k.endswith(":0")}
    assert facts_of(lib, {**cards, "cards": some}).cards == 3


def test_plain_data_are_as_good_as_cards(lib):
    cards = make_cards(lib, groups=True)
    assert facts_of(lib, as_cards(cards)) == facts_of(lib, cards)


def test_a_note_alone_is_no_name(lib):
    cards = make_cards(lib)
    cards["cards"] = {key: card(suggestion=("class", "7", "AUC", 0.02)) for key in cards["cards"]}
    noted = lib.with_labels({"unembed:in:0": Label("", "seen by eye")})
    feature = next(f for f in facts_of(noted, cards).features if f.id == "unembed:in:0")
    assert (feature.label, feature.low, feature.name(Words("en", "first"))) == ("", True, "class 7 (low end)")


def test_the_users_label_comes_before_the_suggestion_and_that_before_the_id():
    words, suggestion = Words("en", "first"), {"kind": "class", "value": "7"}
    assert Feature("a:0", "a", label="loops", suggestion=suggestion).name(words) == "loops"
    assert Feature("a:0", "a", suggestion=suggestion).name(words) == "class 7"
    assert Feature("a:0", "a", suggestion=suggestion, low=True).name(words) == "class 7 (low end)"
    assert Feature("a:0", "a", suggestion={"kind": "new", "value": "x"}).name(words) == "x"
    wave = Feature("a:0", "a", suggestion={"kind": "frequency", "value": "14 of 113"})
    assert [wave.name(Words(lang, "first")) for lang in ("en", "ja")] == ["frequency 14 of 113", "周波数 14/113"]
    plain = Feature("a:0", "a")
    assert plain.name(words) == plain.reference(words).strip("“”") == "a:0"
    assert Feature("a:0", "a", label="loops").reference(words) == "“loops” (a:0)"
    assert Feature("a:0", "a", suggestion=suggestion).reference(Words("ja", "first")) == "「クラス 7」（a:0）"


def test_importances_that_are_all_zero_and_a_single_site():
    graph = make_graph((3,), ("only",), importances=[torch.zeros(3)])
    facts = facts_of(graph)
    assert [f.site for f in facts.features] == ["only"] * PER_SITE
    assert all(f.share == 0 for f in facts.features)


def test_labels_of_the_graph_are_names(lib):
    labelled = lib.with_labels({"unembed:in:0": "loops"})
    names = {f.id: f.label for f in facts_of(labelled).features}
    assert names["unembed:in:0"] == "loops"
    assert set(names.values()) == {"loops", ""}
    assert dataclasses.is_dataclass(labelled)


@pytest.mark.parametrize(
    ("suggestion", "low"),
    [
        (("class", "7", "AUC", 0.02), True),
        (("class", "7", "AUC", 0.98), False),
        (("column", "age", "correlation", -0.9), True),
        (("column", "age", "correlation", 0.9), False),
        (("frequency", "14 of 113", "share of variance", 0.1), False),
    ],
)
def test_a_suggestion_for_low_values_is_shown_with_low_examples(lib, suggestion, low):
    cards = make_cards(lib)
    cards["cards"] = {key: card(suggestion=suggestion) for key in cards["cards"]}
    feature = facts_of(lib, cards).features[0]
    assert feature.low is low
    assert [e["value"] for e in feature.examples][0] == (-3.0 if low else 4.1)
    named = facts_of(lib.with_labels({feature.id: "mine"}), cards).features[0]
    assert (named.label, named.low, named.examples[0]["value"]) == ("mine", False, 4.1)
