"""Cards as a result: saved, loaded, shown as a table."""

import json

import pytest

import libasis
from cards.collecting import collect, readout
from libasis.errors import LibasisError, StoreError
from store.results import forge

HOSTILE = ["</script><script>alert(1)</script>", "\u2028\u0000\ud7ff", 'a"b\\c\n', "日本語 🙂", "__proto__"]


@pytest.fixture
def cards():
    _, x, traced, basis = readout()
    groups = {HOSTILE[0]: [x[:5]], "b": [x[5:9]]}
    return collect(traced, basis, [x], groups=groups, columns=[*HOSTILE, "f"], outputs=HOSTILE[:3])


def test_what_is_saved_is_loaded(cards, tmp_path):
    path = cards.save(tmp_path / "deep" / "cards")
    for loaded in (libasis.FeatureCards.load(path), libasis.load(path)):
        assert loaded.to_plain() == cards.to_plain()
        assert loaded.outputs == HOSTILE[:3]
        assert loaded.groups[0]["name"] == HOSTILE[0]
        assert loaded["first:in:0"]["top"][0]["content"]["columns"] == [*HOSTILE, "f"]
        assert len(loaded) == len(cards.cards)
        assert "2 groups" in repr(loaded)
    assert [p.name for p in path.iterdir()] == ["manifest.json"]


def test_the_file_is_strict_json_with_its_format(cards, tmp_path):
    def refuse(constant):
        pytest.fail(f"{constant} is no JSON")

    text = (cards.save(tmp_path / "cards") / "manifest.json").read_text(encoding="utf-8")
    data = json.loads(text, parse_constant=refuse)
    assert (data["format"], data["kind"], data["content"]["kind"]) == ("libasis", "cards", "table")
    keys = ["reads", "suggestions", "n", "mean", "std", "min", "max", "histogram", "top", "bottom"]
    for card in data["content"]["cards"].values():
        assert list(card) == [*keys, "effects", "direction", "ablation"]


def test_a_card_that_is_not_there(cards):
    with pytest.raises(LibasisError, match="no card of 'first:in:99'; those there are: first:in:"):
        cards["first:in:99"]


def test_cards_are_a_table(cards):
    frame = cards.to_dataframe()
    assert list(frame.id) == list(cards.cards)
    card = cards["first:in:1"]
    row = frame[frame.id == "first:in:1"].iloc[0]
    assert (row.n, row["mean"], row.effect_output) == (card["n"], card["mean"], card["effects"][0]["output"])
    assert row.ablation_change == card["ablation"]["change"]
    bare = libasis.FeatureCards("text", [], {"a:0": {"n": 3}}).to_dataframe()
    assert bare.n[0] == 3
    assert bare.ablation_change[0] is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda plain: plain["content"].pop("outputs"), "lacks 'outputs'"),
        (lambda plain: plain["content"].update(outputs={}), "outputs is {}"),
        (lambda plain: plain["content"].update(cards=[]), "cards is []"),
        (lambda plain: plain["content"].update(groups=[3]), "groups[0] is 3"),
        (lambda plain: plain["content"].update(kind="film"), "their kind is 'film'"),
        (lambda plain: plain.update(kind="diff"), "lacks"),
    ],
)
def test_damaged_cards_are_refused(cards, tmp_path, change, told):
    path = cards.save(tmp_path / "cards")
    forge(path, change)
    with pytest.raises(StoreError) as caught:
        libasis.load(path)
    assert told in str(caught.value)


def test_other_results_are_refused(tmp_path):
    path = libasis.Communities({"a:0": 0}, [1.0], 1.0, True).save(tmp_path / "communities")
    with pytest.raises(StoreError, match="of the kind 'communities', not 'cards'"):
        libasis.FeatureCards.load(path)
    with pytest.raises(StoreError, match="does not exist"):
        libasis.FeatureCards.load(tmp_path / "gone")


def test_what_cannot_be_written_leaves_the_old_cards(cards, tmp_path):
    path = cards.save(tmp_path / "cards")
    broken = libasis.FeatureCards("text", [], {"a:0": {"mean": 1j}})
    with pytest.raises(StoreError, match=r"cards\.a:0\.mean is of type complex"):
        broken.save(path, force=True)
    assert libasis.load(path).to_plain() == cards.to_plain()
    with pytest.raises(StoreError, match="force=True"):
        cards.save(path)
