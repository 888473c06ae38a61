"""The page of a diagnosis: the headline in the reader's terms, in both languages, no word of the inside."""

import re

import pytest
import torch
from torch import nn

import libasis
from diagnose.rows import COLUMNS, FAULT, either, one, rows


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    def made(model, fault, name, **options):
        found = libasis.diagnose(model, rows(), rows(shift=fault, seed=1), columns=COLUMNS, **{"sites": [], **options})
        path = found.to_html(tmp_path_factory.mktemp("page") / f"{name}.html", lang="ja")
        return path.read_text(encoding="utf-8")

    return made


def shown(text, lang):
    """The words of one language, without markup, style and script."""
    text = re.sub(r"<(style|script)\b.*?</\1>", "", text, flags=re.S)
    other = {"en": "ja", "ja": "en"}[lang]
    text = re.sub(rf'<(div|span) class="in-{other}".*?</\1>(?=<|$)', "", text, flags=re.S)
    return re.sub(r"<[^>]+>", " ", text)


def test_one_input_that_ends_the_alarm_is_the_headline(page):
    text = page(one(), FAULT, "one")
    assert re.search(
        r'd-claim">valve: 40\.\d+ → 42\.\d+\. Set back to normal, the alarm goes from 9\d\.\d% to 0%', text
    )
    assert re.search(r'd-claim">valve：正常 40\.\d+ → 異常 42\.\d+。正常値に戻すと', text)
    assert "on normal rows nothing changes" in text
    assert "What caused the fault in the plant is for people who know the plant to judge." in text
    assert '<html lang="ja">' in text


def test_two_that_suffice_alone_are_named_together(page):
    text = page(either(), {"valve": 6, "temperature": 6}, "two")
    assert re.search(r'd-claim">“valve” and “temperature” together: set back to normal', text)
    assert "None of them alone does as much." in text
    assert "Sets were chosen on one half of the data and tested on the other." in text


def test_nothing_to_explain_is_said_first(page):
    text = page(one(), {}, "none")
    assert re.search(r'd-claim">The alarm is on for [\d.]+% of the anomalous rows and [\d.]+% of the normal ones', text)
    assert "causes" not in re.search(r'd-claim">[^<]+', text)[0]


def test_words_of_the_inside_stay_inside(page):
    text = page(one(), FAULT, "words")
    for lang in ("en", "ja"):
        words = shown(text, lang).lower()
        assert not re.search(r"logit|basis vector|\bpca\b|eigen|language model|言語モデル|基底|主成分", words)


def test_features_are_named_by_what_they_read(page):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.alarm = one()
            self.last = nn.Identity()

        def forward(self, x):
            return self.alarm(self.last(x))

    text = page(Net().eval(), FAULT, "inside", sites=["last:in"])
    table = text[text.index('<section id="features"') :]
    assert "valve" in table[: table.index("</section>")]


def test_an_image_shows_which_pixels(tmp_path):
    class Corner(nn.Module):
        def forward(self, x):
            margin = 4 * (x[:, 0, 4:6, 8:10].mean((1, 2)) - 0.5)
            return torch.stack([torch.zeros_like(margin), margin], 1)

    generator = torch.Generator().manual_seed(0)
    normal, defect = (torch.rand(40, 1, 14, 14, generator=generator) * 0.3 for _ in range(2))
    defect[:, :, 4:6, 8:10] += 0.7
    found = libasis.diagnose(Corner().eval(), normal, defect, sites=[])
    text = found.to_html(tmp_path / "image.html").read_text(encoding="utf-8")
    assert "rows 2-3, columns 4-5" in shown(text, "en")
    assert "2–3 行・4–5 列" in shown(text, "ja")
    assert "columns 4-5" not in shown(text, "ja")
    assert "Which pixels" in text
    assert "画像のどこか" in text
    figure = re.search(r"<svg[^>]*>(<image.*?)</svg>", text, re.S)[1]
    assert figure.count("data:image/png;base64,") == 2
    box = re.search(r'd-box" (.*?)/>', figure)[1]
    x, y, width, height = (float(value) for value in re.findall(r'"([\d.]+)"', box))
    scale = 308 / 14
    assert (x, y, width, height) == pytest.approx((8 * scale + 332, 4 * scale + 20, 2 * scale, 2 * scale), abs=0.1)
    assert "✓ 1" in figure
