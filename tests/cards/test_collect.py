"""The pass over the data: statistics, examples, kinds of content, masks, groups."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import chains
import libasis
from ablation.setting import Setting, squared_error
from cards.collecting import approx, collect, readout, same
from chains import F64, random
from cut.cutting import everything
from libasis.errors import BatchError, OptionError
from libasis.evaluate.superposition import feature_statistics
from models import CNN_CASE, TRANSFORMER_CASE


def pieces(x, cuts):
    """A tensor cut at these places."""
    ends = sorted({c for c in cuts if 0 < c < len(x)})
    return [x[a:b] for a, b in zip([0, *ends], [*ends, len(x)], strict=True)]


def features_of(traced, basis, x):
    """All features by hand, per site [sample, position, feature]."""
    record = traced.record(x)
    return [(a - s.mean) @ s.C for a, s in zip(record.activations, basis, strict=True)]


def test_statistics_and_examples_are_the_direct_computation():
    model, x, traced, basis = readout()
    cards = collect(traced, basis, [x[:25], x[25:]], examples=5, features=None)
    assert list(cards.cards) == [f"{s.name}:{i}" for s in basis for i in order(s)]
    for site, z in zip(basis, features_of(traced, basis, x), strict=True):
        for i in range(site.k):
            card, values = cards[f"{site.name}:{i}"], z[:, 0, i]
            assert card["n"] == 60
            assert [card[k] for k in ("mean", "std")] == approx([float(values.mean()), float(values.std(correction=0))])
            assert [card[k] for k in ("min", "max")] == approx([float(values.min()), float(values.max())])
            ranked = values.argsort(stable=True).tolist()
            assert [e["sample"] for e in card["bottom"]] == ranked[:5]
            assert [e["sample"] for e in card["top"]] == ranked[::-1][:5]
            for example in card["top"] + card["bottom"]:
                assert example["value"] == approx(float(values[example["sample"]]))
                assert example["position"] is None
                assert example["content"] == {"kind": "number", "values": x[example["sample"]].tolist(), "names": None}
            histogram = card["histogram"]
            bins = torch.histc(values, len(histogram["counts"]), histogram["low"], histogram["high"])
            assert histogram["counts"] == bins.tolist()
            assert histogram["low"] <= card["min"] <= card["max"] <= histogram["high"]


def order(site):
    return site.importances.argsort(descending=True, stable=True).tolist()


def test_only_the_most_important_features_have_cards():
    _, x, traced, basis = readout()
    cards = collect(traced, basis, [x], features=2)
    assert list(cards.cards) == [f"{s.name}:{i}" for s in basis for i in order(s)[:2]]


@given(st.lists(st.integers(1, 59), max_size=4))
def test_how_the_data_are_cut_does_not_matter(cuts):
    _, x, traced, basis = readout()
    y = x.sum(1).round().long() % 3
    options = {"samples": 30, "groups": {"a": [x[:9]], "b": [x[9:12], x[12:]]}}
    whole = collect(traced, basis, [(x, y)], **options).to_plain()
    cut = collect(traced, basis, list(zip(pieces(x, cuts), pieces(y, cuts), strict=True)), **options).to_plain()
    whole["info"].pop("data"), cut["info"].pop("data")
    same(whole, cut)


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_samples_does_not_matter(shuffler):
    _, x, traced, basis = readout()
    rows = list(range(60))
    shuffler.shuffle(rows)
    one, two = collect(traced, basis, [x]).to_plain(), collect(traced, basis, [x[rows]]).to_plain()
    for card in two["cards"].values():
        for example in card["top"] + card["bottom"]:
            example["sample"] = rows[example["sample"]]
    assert one["info"]["data"].pop("order") != two["info"]["data"].pop("order") or rows == sorted(rows)
    same(one, two)


def test_equal_values_stand_in_the_order_of_the_samples():
    _, x, traced, basis = readout()
    cards = collect(traced, basis, [x[:10], x[:10], x[:1]], examples=6)
    for card in cards.cards.values():
        for end in (card["top"], card["bottom"]):
            for a, b in zip(end[:-1], end[1:], strict=True):
                assert a["sample"] < b["sample"] or a["value"] != b["value"]


def test_targets_and_predictions_are_named():
    model, x, traced, basis = readout()
    y = torch.arange(60) % 3
    with torch.no_grad():
        said = model(x).argmax(-1)
    names = ["red", "green", "blue"]
    cards = collect(traced, basis, [(x, y)], outputs=names)
    assert cards.outputs == names
    for card in cards.cards.values():
        for example in card["top"]:
            assert example["target"] == names[y[example["sample"]]]
            assert example["prediction"] == names[said[example["sample"]]]
    cards = collect(traced, basis, [(x, random(60, 3))])
    assert cards["output:0"]["top"][0]["prediction"].count(",") == 2
    with pytest.raises(OptionError, match="outputs has 2 names, but the model has 3"):
        collect(traced, basis, [x], outputs=["a", "b"])


# positions and masks


@pytest.fixture(scope="module")
def transformer():
    model = TRANSFORMER_CASE.model()
    ids = torch.randint(11, (30, 5), generator=torch.Generator().manual_seed(7))
    traced = libasis.trace(model, ids, ["blocks.0.hook_mid", "blocks.1.hook_mid", "output"])
    return model, ids, traced, libasis.fit(traced, [ids], progress=False)


def test_text_has_the_feature_at_each_token(transformer):
    _, ids, traced, basis = transformer
    cards = collect(traced, basis, [ids[:11], ids[11:]], vocabulary=list("abcdefghijk"), features=3)
    assert cards.kind == "text"
    assert cards.outputs == list("abcdefghijk")
    for site, z in zip(basis, features_of(traced, basis, ids), strict=True):
        for i in order(site)[:3]:
            card = cards[f"{site.name}:{i}"]
            values = z[..., i]
            best = values.amax(1).sort(descending=True).values[:8]
            assert [e["value"] for e in card["top"]] == approx(best.tolist())
            for sign, end in ((1, "top"), (-1, "bottom")):
                for example in card[end]:
                    sample, content = example["sample"], example["content"]
                    assert content["tokens"] == ["abcdefghijk"[t] for t in ids[sample]]
                    assert content["values"] == approx(values[sample].tolist())
                    assert content["at"] == example["position"] == int((sign * values[sample]).argmax())
                    assert len(example["prediction"]) == 1


def test_what_the_mask_leaves_out_is_never_seen(transformer):
    model, ids, _, _ = transformer
    # padding at the end of a causal model changes nothing before it
    keep = torch.arange(5) < torch.tensor([[3], [5], [2], [4]]).repeat(8, 1)[:30]
    sites = ["blocks.0.hook_mid", "blocks.1.hook_mid", "output"]
    traced = libasis.trace(model, ids, sites, mask=lambda args: keep_of(args[0], ids, keep))
    basis = libasis.fit(traced, [ids], progress=False)
    other = ids.masked_scatter(~keep, (ids[~keep] + 1) % 11)
    for l, site in enumerate(basis):
        z = features_of(traced, basis, ids)[l]
        card = collect(traced, basis, [ids], features=1)[f"{site.name}:{order(site)[0]}"]
        values = z[..., order(site)[0]]
        assert card["n"] == int(keep.sum()) == sum(card["histogram"]["counts"])
        assert card["mean"] == approx(float(values[keep].mean()))
        assert card["max"] == approx(float(values[keep].max()))
        for example in card["top"] + card["bottom"]:
            assert keep[example["sample"], example["position"]]
            shown = [v is not None for v in example["content"]["values"]]
            assert shown == keep[example["sample"]].tolist()
    traced_other = libasis.trace(model, other, sites, mask=lambda args: keep_of(args[0], other, keep))
    one, two = (collect(t, basis, [b], features=2).to_plain() for t, b in ((traced, ids), (traced_other, other)))
    for key, card in one["cards"].items():
        for part in ("n", "mean", "std", "min", "max", "histogram", "effects"):
            same(card[part], two["cards"][key][part])


def keep_of(batch, ids, keep):
    """The mask of each sample, found by the sample."""
    rows = [(ids == row).all(1).nonzero()[0, 0] for row in batch]
    return keep[torch.stack(rows)] if len(batch) != len(ids) else keep


def test_a_sample_of_padding_alone_is_no_example():
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)).to(F64).eval()
    x = random(9, 3, 4)
    x[4] = 100.0
    traced = libasis.trace(model, x, ["input", "2:in", "output"], mask=lambda args: (args[0] != 100.0).all(-1))
    basis = libasis.fit(traced, [x], progress=False)
    cards = collect(traced, basis, [x], examples=20, groups={"all": [x]})
    for card in cards.cards.values():
        assert card["n"] == 24
        assert sorted(e["sample"] for e in card["top"]) == [0, 1, 2, 3, 5, 6, 7, 8]
    assert all(abs(mean) < 5 for mean, _ in cards.groups[0]["features"].values())


def test_long_texts_are_shown_around_the_maximum():
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 3)).to(F64).eval()
    ids = torch.randint(6, (4, 200), generator=torch.Generator().manual_seed(0))
    ids[0, 150] = 6
    traced = libasis.trace(model, ids, ["1:in", "output"])
    basis = libasis.fit(traced, [ids], "neuron", progress=False)
    cards = collect(traced, basis, [ids], samples=2)
    for card in cards.cards.values():
        for example in card["top"]:
            content = example["content"]
            assert len(content["tokens"]) == len(content["values"]) == 64
            assert content["values"][content["at"]] == approx(example["value"])
            assert content["tokens"][content["at"]] == str(int(ids[example["sample"], example["position"]]))


# kinds of content


def test_images_are_shown(transformer):
    image = pytest.importorskip("PIL.Image")
    import base64
    import io

    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 6, 3)).to(F64).eval()
    for channels_last in (False, True):
        x = torch.rand(10, 3, 4, 6, dtype=F64)
        x[0, 0, 1, 2] = 1.0
        given = x.movedim(1, -1).contiguous() if channels_last else x
        traced = libasis.trace(model, given, ["1:in", "output"])
        cards = collect(traced, libasis.fit(traced, [given], progress=False), [given])
        assert cards.kind == "image"
        assert "one or three channels" in cards.info["content"]["why"]
        for card in cards.cards.values():
            for example in card["top"]:
                content = example["content"]
                assert (content["width"], content["height"]) == (6, 4)
                shown = image.open(io.BytesIO(base64.b64decode(content["png"])))
                assert shown.mode == "RGB"
                pixels = torch.tensor(list(shown.convert("RGB").tobytes())).view(4, 6, 3)
                assert torch.equal(pixels, (x[example["sample"]].movedim(0, -1) * 255).round().long())


def test_flat_images_have_pixels_as_coordinates():
    pytest.importorskip("PIL")
    model = nn.Sequential(nn.Linear(12, 2)).to(F64).eval()
    x = random(20, 12)
    traced = libasis.trace(model, x, ["0:in", "output"])
    basis = libasis.fit(traced, [x], progress=False)
    cards = collect(traced, basis, [x], image_shape=[3, 4])
    direction = cards["0:in:0"]["direction"]
    weights = basis.sites[0].C_pinv[0] * cards["0:in:0"]["std"]
    assert {d["coordinate"]: d["weight"] for d in direction} == approx(
        {f"pixel ({i // 4}, {i % 4})": float(w) for i, w in enumerate(weights)}
    )
    assert [abs(d["weight"]) for d in direction] == sorted((abs(d["weight"]) for d in direction), reverse=True)
    assert cards["output:1"]["direction"] == [{"coordinate": "1", "weight": approx(cards["output:1"]["std"])}]
    low, high = cards.info["content"]["range"]
    assert (low, high) == approx((float(x.min()), float(x.max())), rel=1e-6)
    with pytest.raises(OptionError, match=r"image_shape is \[3, 5\]"):
        collect(traced, basis, [x], image_shape=[3, 5])
    with pytest.raises(OptionError, match="no image|give image_shape"):
        collect(traced, basis, [x], kind="image")


def test_large_images_are_shown_smaller():
    pytest.importorskip("PIL")
    model = nn.Sequential(nn.AvgPool2d(50), nn.Flatten(), nn.Linear(8, 2)).eval()
    x = torch.rand(6, 1, 100, 200)
    traced = libasis.trace(model, x, ["2:in", "output"])
    cards = collect(traced, libasis.fit(traced, [x], progress=False), [x])
    content = cards["output:0"]["top"][0]["content"]
    assert (content["width"], content["height"]) == (64, 32)


def test_rows_of_a_table_have_z_scores():
    model = nn.Sequential(nn.Linear(3, 2)).to(F64).eval()
    x = random(40, 3)
    x[:, 2] = 5.0
    traced = libasis.trace(model, x, ["0:in", "output"])
    basis = libasis.fit(traced, [x], progress=False)
    cards = collect(traced, basis, [x[:13], x[13:]], columns=["age", "<b>height</b>", "same"])
    assert cards.kind == "table"
    for card in cards.cards.values():
        for example in card["top"]:
            row = x[example["sample"]]
            z = (row - x.mean(0)) / x.std(0, correction=0)
            content = example["content"]
            assert content["columns"] == ["age", "<b>height</b>", "same"]
            assert content["values"] == row.tolist()
            assert content["z"] == [approx(float(z[0])), approx(float(z[1])), None]
    assert {d["coordinate"] for d in cards["0:in:0"]["direction"]} <= {"age", "<b>height</b>", "same"}
    with pytest.raises(OptionError, match="columns has 2 names, but a sample has 3"):
        collect(traced, basis, [x], columns=["a", "b"])
    assert collect(traced, basis, [x], kind="table")["output:0"]["top"][0]["content"]["columns"] == ["0", "1", "2"]


def test_a_convolutional_model_has_positions():
    model, batches = CNN_CASE.model(), CNN_CASE.batches()
    traced = libasis.trace(model, CNN_CASE.example(), ["bn", "gap", "output"])
    basis = libasis.fit(traced, batches, "pca", truncation="absolute:1e-12", progress=False)
    cards = collect(traced, basis, batches)
    assert cards.kind == "number"
    assert cards["bn:0"]["top"][0]["position"] in range(24)
    assert cards["gap:0"]["top"][0]["position"] is None
    assert cards["bn:0"]["n"] == 7 * 24


def test_dict_batches_show_the_tokens_and_not_the_mask():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.out = nn.Embedding(9, 4), nn.Linear(4, 2)

        def forward(self, attention_mask, input_ids):
            return self.out(self.embed(input_ids) * attention_mask[..., None])

    torch.manual_seed(0)
    model = Masked().to(F64).eval()
    ids = torch.randint(9, (12, 4))
    mask = torch.arange(4) < torch.randint(1, 5, (12, 1))
    batches = [{"attention_mask": mask[s].long(), "input_ids": ids[s]} for s in (slice(5), slice(5, 12))]
    traced = libasis.trace(model, batches[0], ["out:in", "output"], mask="attention_mask")
    cards = collect(traced, libasis.fit(traced, batches, progress=False), batches)
    assert cards.info["content"]["input"] == "input_ids"
    for card in cards.cards.values():
        assert card["n"] == int(mask.sum())
        for example in card["top"]:
            assert example["content"]["tokens"] == [str(int(t)) for t in ids[example["sample"]]]
            assert mask[example["sample"], example["position"]]


def test_kinds_that_do_not_fit_are_told(transformer):
    _, ids, traced, basis = transformer
    with pytest.raises(OptionError, match="kind is 'picture'"):
        collect(traced, basis, [ids], kind="picture")
    _, x, other, own = readout()
    with pytest.raises(OptionError, match='kind is "text", but the input 0 is float64'):
        collect(other, own, [x], kind="text")
    with pytest.raises(OptionError, match="vocabulary gave 1 texts for 5 tokens"):
        collect(traced, basis, [ids], vocabulary=lambda ids: ["one"])


# groups, options, errors


def test_groups_side_by_side():
    model, x, traced, basis = readout()
    cards = collect(traced, basis, [x], groups={"normal": [x[:20], x[20:25]], "<i>odd</i>": [x[25:]]}, features=2)
    assert [(g["name"], g["samples"]) for g in cards.groups] == [("normal", 25), ("<i>odd</i>", 35)]
    for group, part in zip(cards.groups, (x[:25], x[25:]), strict=True):
        assert list(group["features"]) == list(cards.cards)
        z = features_of(traced, basis, part)
        for key, (mean, error) in group["features"].items():
            name, _, i = key.rpartition(":")
            values = z[[s.name for s in basis].index(name)][:, 0, int(i)]
            assert (mean, error) == approx((float(values.mean()), float(values.std() / len(values) ** 0.5)))
        with torch.no_grad():
            y = model(part)
        expected = torch.stack([y.mean(0), y.std(0) / len(y) ** 0.5], 1)
        assert [v for pair in group["outputs"] for v in pair] == approx(expected.flatten().tolist())


class Once(list):
    """Batches that say how often they were gone through."""

    passes = 0

    def __iter__(self):
        self.passes += 1
        return super().__iter__()


def test_kept_batches_are_not_run_again():
    _, x, traced, basis = readout()
    once = Once([x[:20], x[20:]])
    kept = libasis.keep(traced, once)
    graph = libasis.interactions(traced, basis, kept, progress=False)
    assert once.passes == 1
    found = [collect(traced, what, kept, samples=n) for what in (basis, graph) for n in (30, 512)]
    feature_statistics(traced, basis, kept)
    assert once.passes == 1
    for cards, n in zip(found, (30, 512) * 2, strict=True):
        same(cards.to_plain()["cards"], collect(traced, basis, [x], samples=n).to_plain()["cards"])


def test_a_loader_is_gone_through_once():
    _, x, traced, basis = readout()
    once, group = Once([x[:20], x[20:]]), Once([x[:9]])
    collect(traced, basis, once, samples=30, groups={"a": group})
    assert once.passes == group.passes == 1


@pytest.mark.parametrize("masked", [False, True])
def test_shuffled_loaders_give_the_order_of_their_first_pass(masked):
    """Kept or not, and whatever the order and the batches of later passes."""
    setting = Setting("attention", "lib", masked)
    options = {"samples": 20, "metric": squared_error, "features": 3, "seed": 2}
    plain = collect(setting.traced, setting.basis, setting.batches("mse"), **options).to_plain()
    for memory in (1, 2**30):
        kept = libasis.keep(setting.traced, setting.reshuffled("mse"), memory=memory)
        same(plain["cards"], collect(setting.traced, setting.basis, kept, **options).to_plain()["cards"])
    shuffled = DataLoader(TensorDataset(setting.x, setting.targets), 7, shuffle=True)
    found = collect(setting.traced, setting.basis, shuffled, **{**options, "samples": 40})
    whole = collect(setting.traced, setting.basis, setting.batches("mse"), **{**options, "samples": 40})
    for key, card in whole.cards.items():
        for part in ("n", "mean", "std", "min", "max", "histogram", "effects", "ablation"):
            same(card[part], found[key][part])
        assert [e["value"] for e in card["top"]] == approx([e["value"] for e in found[key]["top"]])


def test_features_are_named_by_ids_labels_or_sites():
    _, x, traced, basis = readout()
    graph = libasis.interactions(traced, basis, [x], progress=False)
    graph = graph.with_labels({"first:in:4": "four", "last:in:0": "both", "output:2": "both"})
    asked = {
        "first:in:3": ["first:in:3"],
        ("output:0", "first:in:1", "first:in:0", "output:0"): ["first:in:1", "first:in:0", "output:0"],
        ("four", "both", "first:in:2"): ["first:in:4", "first:in:2", "last:in:0", "output:2"],
    }
    for names, ids in asked.items():
        cards = collect(traced, graph, [x], features=names, groups={"all": [x]})
        assert list(cards.cards) == ids
        assert list(cards.groups[0]["features"]) == ids
    cards = collect(traced, basis, [x], features={"last:in": [2, 0], "first:in": 1}, tested=1)
    assert list(cards.cards) == ["first:in:1", "last:in:2", "last:in:0"]
    assert [c["ablation"] is None for c in cards.cards.values()] == [False, False, True]
    whole = collect(traced, basis, [x], features=None)
    for key, card in cards.cards.items():
        same(card["effects"], whole[key]["effects"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"features": 0}, "features is 0"),
        ({"features": True}, "features is True"),
        ({"features": 1.5}, "features is 1.5"),
        ({"features": "first:in:6"}, "features is 'first:in:6'; give a number from 1, ids such as 'first:in:0'"),
        ({"features": ["first:in:0", 3]}, "features is 3"),
        ({"features": {"nowhere": [0]}}, "features is 'nowhere:0'"),
        ({"features": []}, "features names none"),
        ({"features": {"output": []}}, "features names none"),
        ({"examples": -1}, "examples is -1"),
        ({"controls": 0}, "controls is 0; give a whole number from 1"),
        ({"samples": True}, "samples is True"),
        ({"metric": "f1"}, "metric is 'f1'"),
        ({"coordinates": {"nowhere": []}}, "coordinates names the site 'nowhere'"),
        ({"coordinates": {"output": ["a"]}}, "has 1 names for 3 coordinates"),
    ],
    ids=str,
)
def test_bad_options_are_told(options, told):
    _, x, traced, basis = readout()
    with pytest.raises(OptionError, match=told):
        collect(traced, basis, [x], **options)


def test_bad_batches_are_told():
    _, x, traced, basis = readout()
    with pytest.raises(BatchError, match="one-shot"):
        collect(traced, basis, iter([x]))
    with pytest.raises(BatchError, match="empty"):
        collect(traced, basis, [])
    with pytest.raises(BatchError, match='"accuracy" needs targets'):
        collect(traced, basis, [x], metric="accuracy")
    with pytest.raises(BatchError, match="one-shot"):
        collect(traced, basis, [x], groups={"a": iter([x])})


def test_the_model_and_the_random_state_stay_as_they_are():
    model, x, traced, basis = readout()
    given = copy.deepcopy([(x, torch.arange(60) % 3)])
    before, state = everything(model), torch.get_rng_state()
    collect(traced, basis, given)
    assert everything(model) == before

    def broken(outputs, targets):
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        collect(traced, basis, given, metric=broken)
    assert everything(model) == before
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(given[0][0], x)


def test_every_example_can_be_left_out():
    _, x, traced, basis = readout()
    cards = collect(traced, basis, [x], examples=0, effects=0, tested=0)
    assert all(c["top"] == c["bottom"] == c["effects"] == [] and c["ablation"] is None for c in cards.cards.values())


@pytest.mark.parametrize("name", ["mlp", "attention", "pooled"])
def test_plain_callables_with_positions(name):
    """A Chain: numbers at the position in question, effects at every position's mean."""
    traced, x = chains.chain(chains.SECTIONS[name]()), chains.data(name)
    basis = libasis.fit(traced, [x], "pca", truncation="absolute:1e-12", progress=False)
    cards = collect(traced, basis, [x[:15], x[15:]], groups={"all": [x]})
    assert cards.kind == "number"
    for example in cards["s0:0"]["top"]:
        assert example["content"]["values"] == x[example["sample"], example["position"]].tolist()
    card, site = cards["s0:0"], basis.sites[0]
    sections = chains.SECTIONS[name]()
    change = sections[1](sections[0](x + card["std"] * site.C_pinv[0])) - sections[1](sections[0](x))
    expected = change.mean((0, 1))
    assert {e["output"]: e["effect"] for e in card["effects"]} == approx(
        {str(o): float(v) for o, v in enumerate(expected)}
    )


def test_a_model_of_one_number():
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1), nn.Flatten(0)).to(F64).eval()
    x = random(30, 4)
    with torch.no_grad():
        y = model(x) + 0.1 * random(30, seed=4)
    traced = libasis.trace(model, x, ["0:in", "2:in", "output"])
    cards = collect(traced, libasis.fit(traced, [x], progress=False), [(x, y)], outputs=["price"])
    assert cards.info["ablation"]["metric"] == "mse"
    example = cards["0:in:0"]["top"][0]
    assert float(example["target"]) == approx(float(y[example["sample"]]), rel=1e-3)
    assert [e["output"] for e in cards["0:in:0"]["effects"]] == ["price"]
    assert cards["output:0"]["direction"] == [{"coordinate": "price", "weight": approx(cards["output:0"]["std"])}]
