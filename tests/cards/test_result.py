"""Cards as a file."""

import json

import pytest

import libasis
from cards.collecting import collect, readout
from libasis.errors import LibasisError, StoreError

HOSTILE = ["</script><script>alert(1)</script>", "\u2028\u0000\ud7ff", 'a"b\\c\n', "日本語 🙂", "__proto__"]


@pytest.fixture
def cards():
    _, x, traced, basis = readout()
    groups = {HOSTILE[0]: [x[:5]], "b": [x[5:9]]}
    return collect(traced, basis, [x], groups=groups, columns=[*HOSTILE, "f"], outputs=HOSTILE[:3])


def test_what_is_saved_is_loaded(cards, tmp_path):
    path = cards.save(tmp_path / "deep" / "cards.json")
    loaded = libasis.FeatureCards.load(path)
    assert loaded.to_plain() == cards.to_plain()
    assert [p.name for p in path.parent.iterdir()] == ["cards.json"]
    assert loaded.outputs == HOSTILE[:3]
    assert loaded.groups[0]["name"] == HOSTILE[0]
    assert loaded["first:in:0"]["top"][0]["content"]["columns"] == [*HOSTILE, "f"]
    assert len(loaded) == len(cards.cards)
    assert "2 groups" in repr(loaded)


def test_the_file_is_strict_json_with_its_format(cards, tmp_path):
    def refuse(constant):
        pytest.fail(f"{constant} is no JSON")

    data = json.loads(cards.save(tmp_path / "c.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert (data["format"], data["version"], data["kind"]) == ("libasis-cards", 1, "table")
    keys = ["n", "mean", "std", "min", "max", "histogram", "top", "bottom"]
    for card in data["cards"].values():
        assert list(card) == [*keys, "effects", "direction", "ablation", "suggestions"]


def test_a_card_that_is_not_there(cards):
    with pytest.raises(LibasisError, match="no card of 'first:in:99'; those there are: first:in:"):
        cards["first:in:99"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not JSON"),
        ("[]", "holds no feature cards"),
        ('{"format": "libasis-labels"}', "holds no feature cards"),
        ('{"format": "libasis-cards", "version": 9}', "format version 9"),
        ('{"format": "libasis-cards", "version": "1"}', "format version '1'"),
        ('{"format": "libasis-cards", "version": 1, "kind": "text"}', "'outputs' is missing or wrong"),
        (
            '{"format": "libasis-cards", "version": 1, "kind": "film", "outputs": [], "groups": [], "cards": {}, '
            '"info": {}}',
            "'kind' is missing or wrong",
        ),
    ],
)
def test_other_files_are_refused(tmp_path, text, told):
    path = tmp_path / "cards.json"
    path.write_text(text)
    with pytest.raises(StoreError, match=told):
        libasis.FeatureCards.load(path)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(StoreError, match="cannot be read: No such file"):
        libasis.FeatureCards.load(tmp_path / "gone.json")


def test_what_cannot_be_written_leaves_the_old_file(cards, tmp_path):
    path = cards.save(tmp_path / "cards.json")
    before = path.read_bytes()
    broken = libasis.FeatureCards("text", [], {"a:0": {"mean": float("nan")}})
    with pytest.raises(ValueError, match="Out of range"):
        broken.save(path)
    assert path.read_bytes() == before
