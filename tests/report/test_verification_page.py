"""The page of a verification: the same words and numbers as the result, in both languages."""

import html
import re

import pytest
import torch

import libasis
from libasis import Hypothesis, LibasisError, load
from libasis.numerics import Estimate
from libasis.report.verification import NOTES, REASONS, sentence
from libasis.report.words import Words
from libasis.verify import Claimed, Noise, OneKind, Verification, decide
from libasis.verify.verification import KindResult, Outcome

REASON = {
    "supported": "",
    "supported, below delta": "the interval reaches inside 0.02",
    "opposite": "the effect falls on the other side",
    "no effect above delta": "the 90% interval lies within 0.02 of 0",
    "undecided": "random directions of the same variance do as much (p = 0.3)",
}


def estimate(value, low, high, p=0.01):
    return Estimate(value, low, high, p, 90, 30, 0, 0.95, "studentised bootstrap", None)


def outcome(verdict, name="<b>A & B</b>", **changes):
    claim = Hypothesis("fc2:in", [0, 3], direction="decrease", delta=0.02, name=name, group="target == 3")
    effect = estimate(-0.31234, -0.4521, -0.1234)
    kinds = tuple(
        KindResult(kind, effect, (-0.43, -0.14), 0.001, 0.999, 0.002, 999, (-0.05, 0.01)) for kind in claim.kinds
    )
    beside = {"alone_0": estimate(-0.1, -0.2, -0.01), "contrast_resample": estimate(-0.05, -0.1, 0.01),
              "necessity": estimate(0.48, 0.4, 0.56), "dose_slope": estimate(0.03, 0.01, 0.06)}  # fmt: skip
    dose = [
        {"quantile": q, "values": [q, q], "effect": -q, "low": -q - 0.1, "high": -q + 0.1} for q in (0.01, 0.5, 0.99)
    ]
    values = dict(
        hypothesis=claim, verdict=verdict, p=0.004, tested=True, reason=REASON[verdict], n_needed=8042, base=0.9,
        kinds=kinds, beside=beside, dose=dose, signs={"mean_size": 0.4, "opposite_signs": 0.05},
    )  # fmt: skip
    return Outcome(**{**values, **changes})


def verification(*outcomes, **changes):
    info = {"plan": "ab" * 32, "planned": {"seed": 3}, "data": {"samples": 90, "digest": "cd" * 32},
            "versions": {"libasis": "0.1.0"}}  # fmt: skip
    return Verification(outcomes, 0.05, **{"info": info, **changes})


def shown(page, lang):
    """The text of a page in one language."""
    text = page.read_text(encoding="utf-8").split("<body>")[1].split("<script")[0]
    parts = re.split(r'<(?:span|div) class="in-(en|ja)" lang="\w+">', text)
    mine = "".join(part for tag, part in zip(parts[1::2], parts[2::2], strict=True) if tag == lang)
    return html.unescape(re.sub(r"<[^>]+>", " ", mine))


@pytest.mark.parametrize("lang", ["en", "ja"])
@pytest.mark.parametrize("verdict", list(REASON))
def test_each_verdict_is_told_with_its_numbers(tmp_path, lang, verdict):
    page = verification(outcome(verdict)).to_html(tmp_path / "page.html", lang)
    text, words = shown(page, lang), Words(lang, "verification")
    assert f'<html lang="{lang}">' in page.read_text(encoding="utf-8")
    for expected in (words.named("verdict", verdict), "−0.312", "−0.452", "−0.123", "0.004", "0.002", "8,042", "999",
                     "48.0%", "5.0%", "target == 3"):  # fmt: skip
        assert expected in text
    if verdict != "supported":
        assert REASON[verdict] not in text or lang == "en"


def test_what_users_wrote_is_text_and_never_markup(tmp_path):
    page = verification(outcome("supported", "<img src=x>")).to_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<img" not in page
    assert "&lt;img" in page


def test_what_could_not_be_tested_is_said(tmp_path):
    untested = outcome("undecided", tested=False, kinds=(), beside={}, dose=[], signs={}, n_needed=None,
                       reason="could not be tested here, because the site has 2 features")  # fmt: skip
    text = shown(verification(untested).to_html(tmp_path / "page.html", "en"), "en")
    assert "Could not be tested here: the site has 2 features." in text


def test_a_repeat_is_marked(tmp_path):
    again = verification(outcome("supported"), repeat=2, notes=("this is run 2 of the plan on the same data",))
    for lang, marked in (("en", "Run 2 of this plan"), ("ja", "2 回目")):
        assert marked in shown(again.to_html(tmp_path / f"{lang}.html", lang), lang)


@pytest.mark.parametrize("known", [NOTES, REASONS])
def test_notes_and_reasons_have_words_in_both_languages(known):
    for key in known.values():
        assert all(key in Words(lang, "verification").all for lang in ("en", "ja"))


def test_one_sentence_for_one_claim_and_an_undecided_one_says_what_it_needs():
    said = sentence(outcome("undecided"), Words("en", "verification"))
    assert "undecided" in said
    assert "8,042 units" in said


def test_a_saved_verification_gives_the_same_page(tmp_path):
    found = verification(outcome("supported"), outcome("opposite", "another"))
    found.save(tmp_path / "saved")
    one, two = (r.to_html(tmp_path / f"{i}.html") for i, r in enumerate((found, load(tmp_path / "saved"))))
    assert one.read_bytes() == two.read_bytes()


def test_an_unknown_language_is_told(tmp_path):
    with pytest.raises(LibasisError, match="lang is 'fr'"):
        verification(outcome("supported")).to_html(tmp_path / "page.html", "fr")


def claimed(effect, inner, *, p=0.5, p_opposite=0.5, p_specific=0.001, p_beyond=0.0, units=30, kinds=2, **options):
    low, high = effect
    told = Estimate((low + high) / 2, low, high, p, units, units, 0, 0.95, "", None)
    noise = Noise(units, units, 1.0, 0.0, 1.0, 1.0)
    one = OneKind(told, inner, p, p_opposite, noise, p_specific, p_beyond)
    return Claimed("decrease", 0.1, [one] * kinds, **options)


SEEN = {
    "why_inside": claimed((-0.5, -0.05), (-0.4, -0.06), p=0.001),
    "why_other_side": claimed((0.2, 0.5), (0.25, 0.45), p_opposite=0.001),
    "why_within": claimed((-0.05, 0.05), (-0.04, 0.04)),
    "why_kinds": claimed((-0.5, -0.2), (-0.4, -0.25), p=0.001, kinds=1),
    "why_units": claimed((-1, 1), (-0.9, 0.9), units=4),
    "why_random": claimed((-0.5, -0.2), (-0.4, -0.25), p=0.001, p_specific=0.4),
    "why_corrected": claimed((-0.5, -0.2), (-0.4, -0.25), p=0.001, p_specific=0.04),
    "why_not_told": claimed((-1, 1), (-0.9, 0.9)),
    "why_untested": claimed((-1, 1), (-0.9, 0.9), untested="the site has 2 features"),
}


@pytest.mark.parametrize("key", SEEN)
def test_every_reason_that_is_given_has_words_on_the_page(key):
    """The page knows reasons by their sentences: one that was changed there would stay English here, unseen."""
    verdict, _ = decide([SEEN[key], SEEN["why_not_told"]])
    (known,) = [words for pattern, words in REASONS.items() if re.fullmatch(pattern, verdict.reason)]
    assert known == key


def test_every_note_that_is_made_has_words_on_the_page():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3)).eval()
    x = torch.randn(60, 4)
    batches = [(part, model(part).argmax(1)) for part in x.split(20)]
    traced = libasis.trace(model, x[:2], ["0:out", "output"])
    basis = libasis.fit(traced, batches[1:])
    claims = [Hypothesis("0:out", [0], name="a")]
    libasis.verify(traced, basis, batches[1:], libasis.plan(traced, basis, batches[1:], claims, controls=19))
    plan = libasis.plan(traced, basis, batches[:1], claims, controls=19)
    libasis.verify(traced, basis, batches[1:], plan)
    again = libasis.verify(traced, basis, batches[1:], plan, units=[i // 4 for i in range(40)])
    once = libasis.verify(traced, basis, batches[1:], libasis.plan(traced, basis, batches[:1], claims, controls=19))
    made = {note for found in (again, once) for note in found.notes}
    known = {key for note in made for pattern, key in NOTES.items() if re.fullmatch(pattern, note)}
    assert all(any(re.fullmatch(pattern, note) for pattern in NOTES) for note in made)
    assert known == set(NOTES.values()) - {"note_explored"}
