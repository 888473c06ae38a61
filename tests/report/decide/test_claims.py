"""Each number in a sentence is a number of the results; each claim has its mark; without data there is no claim."""

import copy
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libasis import Communities
from libasis.report import Results
from libasis.report.decide import advice, claims
from libasis.report.decide.claims import feature_claims
from libasis.report.decide.facts import facts_of
from libasis.report.words import Words
from report.decide.cards import ablation, make_cards
from report.synthetic import make_graph

NAMES = re.compile(r"“[^”]*”|「[^」]*」|[(（][^()（）]*\w:\d+[)）]")
NUMBER = re.compile(r"[−+]?\d[\d,]*(?:\.\d+)?(?:e−?\d+)?%?")
LANGS = pytest.mark.parametrize("lang", ["en", "ja"])


def numbers(text):
    """Numbers of a text, each with half a unit of its last digit."""
    text = NAMES.sub(" ", text)
    found = []
    for match in NUMBER.findall(text):
        body = match.rstrip("%").replace(",", "").replace("−", "-")
        mantissa, _, power = body.partition("e")
        scale = 10.0 ** (int(power or 0) - (2 if match.endswith("%") else 0))
        digits = len(mantissa.partition(".")[2])
        found.append((float(mantissa) * scale, 0.500001 * 10.0**-digits * scale))
    return found


def leaves(value):
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in leaves(item)]
    return [float(value)] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


def from_results(text, known):
    return all(any(abs(value - k) <= half for k in known) for value, half in numbers(text))


def read(graphs, edges=(), nodes=(), **more):
    """The facts and the results."""
    results = Results(graphs, edges, nodes, **more)
    return facts_of(results), results


def findings(*args, words, **more):
    return claims.findings(*read(*args, **more), words)


@pytest.fixture(scope="module")
def graph():
    return make_graph((6, 5, 4, 3), ("first", "second", "third", "output"))


@LANGS
@settings(max_examples=25, deadline=None)
@given(
    change=st.floats(-0.9, 0.9).filter(lambda v: abs(v) > 1e-4),
    control=st.floats(-0.05, 0.05),
    half=st.floats(1e-4, 0.2),
    controls=st.integers(1, 5000),
    passed=st.booleans(),
)
def test_an_ablation_is_told_in_its_own_numbers(lang, change, control, half, controls, passed):
    graph = make_graph((6, 5, 4, 3), ("first", "second", "third", "output"))
    entry = ablation(change, half=half, control=control, controls=controls, passed=passed)
    feature = read([graph], cards=make_cards(graph, ablations={"third:0": entry}))[0].tested[0]
    claim = feature_claims(feature, None, Words(lang, "first"))[0]
    assert claim.verified is passed
    assert from_results(claim.text, leaves(entry))
    assert from_results(claim.interval, [0.95, entry["low"], entry["high"]])
    signed = {round(v, 4) for v, _ in numbers(claim.text)}
    assert len(signed) >= 3


@LANGS
@settings(max_examples=25, deadline=None)
@given(first=st.floats(-50, 50), second=st.floats(-50, 50), errors=st.tuples(st.floats(0.001, 5), st.floats(0.001, 5)))
def test_groups_are_told_in_their_own_numbers(lang, first, second, errors):
    graph = make_graph((6, 5, 4, 3), ("first", "second", "third", "output"))
    cards = make_cards(graph, groups=True, outputs=("yes",))
    for group, mean, error in zip(cards["groups"], (first, second), errors, strict=True):
        group["outputs"] = [[mean, error]]
    facts, results = read([graph], cards=cards)
    claim = claims.findings(facts, results, Words(lang, "first"))[0]
    assert not claim.verified
    assert from_results(claim.text, [first, second, second - first])
    difference = facts.groups.outputs[0][1].difference
    assert from_results(claim.interval, [0.95, difference.low, difference.high])


@LANGS
def test_only_a_passed_ablation_is_called_verified(graph, lang):
    tests = {"third:0": ablation(), "first:0": ablation(-0.002, passed=False)}
    facts, results = read([graph], cards=make_cards(graph, ablations=tests, groups=True))
    words = Words(lang, "first")
    for feature in facts.features:
        first, *others = feature_claims(feature, facts.groups, words)
        assert first.verified == (feature.id == "third:0")
        assert not any(claim.verified for claim in others)
    marked = [claim for claim in claims.findings(facts, results, words) if claim.verified]
    assert len(marked) == 1
    assert "third:0" in marked[0].text


@LANGS
def test_interactions_are_never_called_verified(lib, pca, edge_ablations, lang):
    found = findings([lib, pca], edge_ablations, words=Words(lang, "first"))
    assert found
    assert not any(claim.verified or claim.interval for claim in found)


@LANGS
def test_without_data_nothing_is_claimed(graph, lang):
    words, (facts, results) = Words(lang, "first"), read([graph])
    text = words.joined([c.text for c in claims.findings(facts, results, words)])
    strongest = sum(float(e.max()) for e in graph.edges) / sum(float(e.sum()) for e in graph.edges)
    known = [4.0, 18.0, sum(e.numel() for e in graph.edges), 1.0, 0.01, strongest]
    assert from_results(text, known)
    assert list(advice.what_was_tested(facts, results, words)) == [words("tested_nothing")]
    sure = list(advice.how_sure(facts, results, words))
    assert sure == [words("sure_none")]
    for feature in facts.features:
        assert [c.interval for c in feature_claims(feature, None, words)] == [""]


@LANGS
def test_a_card_with_nothing_measured_claims_only_its_importance(graph, lang):
    cards = make_cards(graph)
    for entry in cards["cards"].values():
        entry.update(effects=[], ablation=None, suggestions=[], top=[])
    words, (facts, _) = Words(lang, "first"), read([graph], cards=cards)
    for feature in facts.features:
        (claim,) = feature_claims(feature, None, words)
        assert from_results(claim.text, [feature.share])
        assert feature.name(words) == feature.id


@LANGS
def test_what_was_tested_gives_every_count(lib, pca, edge_ablations, node_ablations, lang):
    words = Words(lang, "first")
    tests = {"unembed:in:0": ablation(), "unembed:in:1": ablation(passed=False)}
    together = Communities({}, [], 0.874, True)
    cards = make_cards(lib, ablations=tests, groups=True)
    found = read([lib, pca], edge_ablations, node_ablations, cards=cards, communities=together)
    text = " ".join(advice.what_was_tested(*found, words))
    assert {value for value, _ in numbers(text)} == {2.0, 146.0, 20.0, 3.0, 8939.0, 0.001, 4.0, 150.0, 157.0}
    sure = " ".join(advice.how_sure(*read([lib, pca], edge_ablations, cards=cards, communities=together), words))
    assert {1.0, 2.0, 8939.0, 0.87} <= {value for value, _ in numbers(sure)}


@LANGS
@pytest.mark.parametrize(("errors", "key"), [([None, None], "sure_exact"), ([None, 0.01], "sure_sampled")])
def test_estimates_are_owned_up_to(graph, lang, errors, key):
    changed = copy.deepcopy(graph)
    changed.basis.info["rules"] = [{"site": "x", "rule": "r", "stderr": e} for e in errors]
    words = Words(lang, "first")
    blanks = {"sampled": "1", "sections": "2"} if key == "sure_sampled" else {}
    assert words(key, **blanks) in list(advice.how_sure(*read([changed]), words))


@LANGS
def test_what_to_do_next_follows_from_what_is_missing(lib, pca, edge_ablations, lang):
    words = Words(lang, "first")

    def steps(cards=None, edges=()):
        return advice.what_next(*read([lib, pca], edges, cards=cards), words)

    assert steps() == [words("next_cards"), words("next_ablate")]
    assert steps(edges=edge_ablations) == [words("next_cards")]
    assert steps(edges=edge_ablations[:1])[-1] == words("next_compare")
    assert steps(make_cards(lib), edge_ablations) == [words("next_test"), words("next_label")]
    tests = {"unembed:in:0": ablation(), "unembed:in:1": ablation(passed=False)}
    first, second, *_ = steps(make_cards(lib, ablations=tests), edge_ablations)
    assert (first, second) == (words("next_confirm"), words("next_label"))
    assert words("next_confirm") not in steps(make_cards(lib, ablations={"unembed:in:1": ablation(passed=False)}))
    suspect = steps(make_cards(lib, groups=True), edge_ablations)[0]
    most = read([lib], cards=make_cards(lib, groups=True))[0].features[0]
    assert suspect == words("next_suspect", names=most.reference(words))


@LANGS
def test_a_feature_that_did_no_more_than_its_controls_is_named_as_such(graph, lang):
    words = Words(lang, "first")
    facts, results = read([graph], cards=make_cards(graph, ablations={"third:0": ablation(passed=False)}))
    rejected = words("next_reject", names=facts.tested[0].reference(words))
    assert rejected in advice.what_next(facts, results, words)


def test_the_question_is_one_that_the_results_can_answer(graph, lib, pca, edge_ablations):
    words = Words("en", "first")
    assert "“normal”" in advice.question_of(*read([graph], cards=make_cards(graph, groups=True)), words)
    assert "interactions" in advice.question_of(*read([lib, pca], edge_ablations), words)
    assert "interactions" not in advice.question_of(*read([lib]), words)
