"""Cards on the command line: collected once, kept, and collected again when what decides them has changed."""

import sys

import pytest

import libasis
from libasis import FeatureCards
from run.answers import facts, ok, refused, written

CARDS = "libasis-run/cards"


def load(folder):
    return FeatureCards.load(folder / CARDS)


FREE = ["report.lang=ja", "report.title=Mine", "ablate.progress=false", "ablate.memory=2000000", "fit.memory=3000000"]


def test_cards_are_collected_once(folder, command, settings):
    ok(command("graph"))
    ok(command("report"))
    first = written(CARDS)
    ok(command("report"))
    ok(command("report", *(part for change in FREE for part in ("--set", change))))
    assert written(CARDS) == first
    cards = load(folder)
    assert {key.rpartition(":")[0] for key in cards.cards} == {"fc1:in", "fc2:in", "output"}
    assert (cards.info["held_out"], cards.info["samples"]) == (True, 20)
    assert cards.info["ablation"]["metric"] == "accuracy"


def test_cards_are_those_of_the_python_call(folder, command, settings, code):
    ok(command("graph"))
    ok(command("report", "--set", "report.features=2", "--set", "report.seed=5"))
    user = sys.modules[code]
    traced = libasis.trace(user.model(), user.batches()[0][0], ["fc1:in", "fc2:in", "output"])
    graph = libasis.load(folder / "libasis-run" / "graph")
    expected = libasis.collect(traced, graph, user.train_and_test()[1], features=2, seed=5, progress=False)
    assert load(folder).cards == expected.cards


@pytest.mark.parametrize("change", ["report.features=2", "report.metric=mse_", "report.outputs=['no', 'yes']"])
def test_another_setting_collects_again(folder, command, settings, code, change):
    change = change.replace("mse_", f"{code}:score").replace("'", '"')
    ok(command("graph"))
    ok(command("report"))
    first = written(CARDS)
    ok(command("report", "--set", change))
    second = written(CARDS)
    assert second > first
    ok(command("report", "--set", change))
    assert written(CARDS) == second


def test_another_graph_collects_again(folder, command, settings):
    ok(command("graph"))
    ok(command("report"))
    first = written(CARDS)
    graph = libasis.load("libasis-run/graph")
    graph.edges[0].add_(1.0)  # of the same settings
    graph.save("libasis-run/graph", force=True)
    ok(command("report"))
    assert written(CARDS) > first


def test_a_damaged_file_is_replaced(folder, command, settings):
    ok(command("graph"))
    ok(command("report"))
    manifest = folder / CARDS / "manifest.json"
    manifest.write_text(manifest.read_text().replace("1", "2"))  # its checksum is wrong now
    ok(command("report"))
    assert len(load(folder)) > 0


def test_cards_can_be_left_out(folder, command, settings):
    ok(command("graph"))
    ok(command("report", "--set", "report.cards=false", "--set", 'report.outputs=["never seen", "nor this"]'))
    assert "never seen" not in (folder / "libasis-run" / "report.html").read_text(encoding="utf-8")
    assert not (folder / CARDS).exists()
    refused(command("report", "--set", "fit.method=pca"), "fit.method was 'lib'", "report.cards=false")
    ok(command("report", "--set", "fit.method=pca", "--set", "report.cards=false"))


def test_groups_have_their_own_data(folder, command, settings, code):
    ok(command("graph"))
    rows = "a,b,c\n" + "".join(f"{i},{i % 3},{-i}\n" for i in range(8))
    (folder / "odd 名.csv").write_text(rows)
    groups = f'report.groups={{"normal" = "{code}:batches", "<odd>" = "odd 名.csv"}}'
    ok(command("report", "--set", groups))
    assert [(g["name"], g["samples"]) for g in load(folder).groups] == [("normal", 20), ("<odd>", 8)]


def test_bad_groups_and_options_are_one_sentence(command, settings, code):
    ok(command("graph"))
    refused(command("report", "--set", 'report.groups={a = "gone.csv"}'), "report.groups.a is 'gone.csv'", "no such")
    refused(command("report", "--set", f'report.groups={{a = "{code}:train_and_test"}}'), "returns two data sets")
    refused(command("report", "--set", "report.groups=3"), "report.groups is 3", "names of groups")
    refused(command("report", "--set", "report.controls=0"), "report.controls is 0", "1 or more")
    refused(command("report", "--set", 'report.outputs=["a"]'), "outputs has 1 names, but the model has 2")
    refused(command("report", "--set", "report.metric=f1"), "metric is 'f1'")
    refused(command("report", "--set", f"report.vocabulary={code}:nope"), "report.vocabulary", "no 'nope'")


def test_columns_of_a_table_and_classes_of_folders_have_names(folder, command, code):
    rows = "age,height,kind\n" + "".join(f"{i},{i * i % 7},{i % 2}\n" for i in range(40))
    (folder / "t.csv").write_text(rows)
    (folder / "user_table.py").write_text(
        "import torch\nfrom torch import nn\n\ndef model():\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).eval()\n"
    )
    text = 'sites = ["0:in", "2:in", "output"]\n[model]\nsource = "user_table:model"\n'
    (folder / "libasis.toml").write_text(text + '[data]\nsource = "t.csv"\ntarget = "kind"\n')
    ok(command("graph"))
    ok(command("report"))
    cards = load(folder)
    assert cards.kind == "table"
    assert cards["0:in:0"]["top"][0]["content"]["columns"] == ["age", "height"]
    assert {d["coordinate"] for d in cards["0:in:0"]["direction"]} <= {"age", "height"}


def test_images_and_their_classes(folder, command):
    image = pytest.importorskip("PIL.Image")
    for kind in ("good", "<bad>"):
        (folder / "pics" / kind).mkdir(parents=True)
        for i in range(6):
            image.effect_noise((4, 4), 40 + 20 * i).save(folder / "pics" / kind / f"{i}.png")
    (folder / "user_images_cards.py").write_text(
        "import torch\nfrom torch import nn\n\ndef model():\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)).eval()\n"
    )
    text = 'sites = ["1:in", "3:in", "output"]\n[model]\nsource = "user_images_cards:model"\n[data]\nsource = "pics"\n'
    (folder / "libasis.toml").write_text(text)
    ok(command("graph"))
    ok(command("report", "--set", "report.features=2"))
    cards = load(folder)
    assert (cards.kind, cards.outputs) == ("image", ["<bad>", "good"])
    assert cards["3:in:0"]["top"][0]["target"] in ("<bad>", "good")


def test_a_language_model_names_its_tokens(folder, command, hf_directory):
    words = "the cat sat on a mat the dog ran on the mat a cat ran on a dog the dog sat on the cat a dog ran on a mat"
    (folder / "t.txt").write_text(words)
    text = f'sites = ["transformer.h.0:in", "transformer.h.1:in", "output"]\n[model]\nsource = "hf:{hf_directory}"\n'
    text += '[data]\nsource = "t.txt"\nsequence_length = 6\nbatch_size = 4\ntest_fraction = 0\n'
    (folder / "libasis.toml").write_text(text)
    ok(command("graph"))
    ok(command("report", "--set", "report.features=2", "--set", "report.metric=cross_entropy"))
    cards = load(folder)
    assert cards.kind == "text"
    assert {"cat", "mat"} < set(cards.outputs)
    example = cards["transformer.h.0:in:0"]["top"][0]
    assert set(example["content"]["tokens"]) <= set(words.split())
    assert example["prediction"] in cards.outputs
    assert len(example["content"]["values"]) == 6


def test_the_page_has_the_cards(folder, command, settings):
    ok(command("graph"))
    answer = facts(command("report", "--json", "--set", 'report.outputs=["never seen", "</script>"]'))
    page = (folder / answer["page"]).read_text(encoding="utf-8")
    assert "never seen" in page
    assert '"</script>"' not in page
