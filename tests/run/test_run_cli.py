import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import libasis
import libasis.run
from libasis.run import cli, pages, pipeline, toml
from libasis.run.config import read_config
from run.answers import facts, ok, refused, written

SOURCE = Path(libasis.__file__).parents[1]
VERBS = (
    "demo",
    "init",
    "sites",
    "scan",
    "fit",
    "graph",
    "ablate",
    "report",
    "export",
    "diff",
    "compare",
    "sensitivity",
)


# help, version, options


def test_help_names_every_verb_with_an_example(command):
    out = ok(command("--help"))
    assert "\x1b[" not in out
    for verb in VERBS:
        assert f" {verb} " in out
        page = ok(command(verb, "--help"))
        assert f"Example: libasis {verb}" in page
        assert "\x1b[" not in page
    assert ok(command()) == out


def test_version(command):
    assert ok(command("--version")).startswith("libasis ")


def test_wrong_options(command):
    refused(command("diagnose", "--delta", "5%"), "--delta is '5%', which is no number", "0.05")
    refused(command("diagnose", "--seed=1.5"), "--seed is '1.5', which is no whole number")
    refused(command("fit", "--metod"), "No such option: --metod", "see libasis --help")
    refused(command("fot"), "No such command 'fot'")
    refused(command("fit", "a.toml", "b.toml"), "unexpected extra argument")
    refused(command("fit", "--set"), "--set")


# init


def test_init_writes_settings_that_work(folder, command):
    assert "libasis sites libasis.toml" in ok(command("init"))
    assert read_config("libasis.toml").model.source == "libasis.demo.digits:load"
    (folder / "libasis.toml").write_text("mine")
    refused(command("init"), "libasis.toml already exists", "--force")
    refused(command("init", "--force"), "libasis.toml exists and was not written by libasis", "choose another name")
    assert (folder / "libasis.toml").read_text() == "mine"
    (folder / "libasis.toml").write_text(toml.template().replace('"output"', '"mine"'))
    assert facts(command("init", "--force", "--json")) == {"command": "init", "file": "libasis.toml"}
    assert (folder / "libasis.toml").read_text() == toml.template()


# bad input


@pytest.mark.parametrize("verb", ["sites", "fit", "graph", "ablate", "report"])
def test_bad_settings_are_one_sentence(folder, command, settings, verb):
    refused(command(verb, "gone.toml"), "no settings file 'gone.toml'", "libasis init gone.toml")
    refused(command(verb, "--set", "fit.metod=pca"), "'metod'", "did you mean 'method'?")
    refused(command(verb, "--json", "--set", "nonsense"), "section.key=value")
    (folder / "bad.toml").write_text("a = ")
    refused(command(verb, "bad.toml"), "bad.toml is not valid TOML")
    assert not (folder / "libasis-run").exists()


@pytest.mark.parametrize("verb", ["sites", "fit", "graph"])
def test_bad_sources_are_one_sentence(command, settings, code, verb):
    refused(command(verb, "--set", f"model.source={code}:modl"), "did you mean 'model'?")
    refused(command(verb, "--set", f"model.source={code}:broken"), "undefined_name")
    refused(command(verb, "--set", "data.source=gone.csv"), "'gone.csv'", "no such file")
    refused(command(verb, "--set", "data.source=gone:f", "--json"), "no module 'gone'")


def test_bad_sites_are_one_sentence(command, settings):
    refused(command("fit", "--set", 'sites=["fc9:in", "output"]'), "fc9:in")
    refused(command("fit", "--set", "sites=[]"), "libasis sites")
    refused(command("graph", "--set", 'sites=["output"]'), "at least two sites")


def test_output_that_is_a_file(folder, command, settings):
    (folder / "taken").write_text("mine")
    refused(command("fit", "--set", "output=taken"), "'taken'", "a file")
    assert (folder / "taken").read_text() == "mine"


def test_unexpected_errors_are_not_hidden(command, settings, monkeypatch):
    def broken(config):
        raise RuntimeError("a bug")

    monkeypatch.setattr(pipeline, "sites", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.run(["sites"])


def test_interruption(command, settings, monkeypatch):
    def stopped(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "sites", stopped)
    code, out, err = command("sites")
    assert (code, out, err) == (130, "", "Stopped.\n")


def test_missing_library_names_its_extra(command, settings, monkeypatch):
    def missing(config):
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

    monkeypatch.setattr(pages, "report", missing)
    refused(command("report"), "needs matplotlib: pip install 'libasis[figures]'")


# the verbs


def test_sites(command, settings):
    out = ok(command("sites"))
    assert [line.split()[0] for line in out.splitlines()][:2] == ["site", "input"]
    rows = facts(command("sites", "--json"))["sites"]
    (row,) = [row for row in rows if row["name"] == "fc2:in"]
    assert (row["shape"], row["module"], row["ok"], row["rule"]) == ([5], "Linear", True, "closed form, pointwise")
    ok(command("sites", "--set", "sites=[]"))
    ok(command("fit", "--set", 'sites=["fc*:in", "output"]', "--set", 'output="starred"'))


def test_scan(folder, command, settings):
    out = ok(command("scan", "--budget", "2", "--out", "scan.svg", "--set", "sites=[]"))
    assert "* recommended" in out
    assert (folder / "scan.svg").read_text(encoding="utf-8").startswith("<svg")
    found = facts(command("scan", "--json"))
    assert json.dumps(found["recommended"]) in ok(command("scan"))
    ok(command("fit", "--set", f"sites={json.dumps(found['recommended'])}", "--set", 'output="scanned"'))
    refused(command("scan", "--budget", "1"), "budget is 1")


def test_fit(folder, command, settings):
    out = ok(command("fit"))
    assert "fc1:in" in out
    assert "libasis-run/basis" in out
    basis = libasis.load(folder / "libasis-run" / "basis")
    assert (basis.method, len(basis)) == ("lib", 3)
    refused(command("fit"), "libasis-run/basis already exists", "--force")
    answer = facts(command("fit", "--force", "--json", "--set", "fit.method=pca"))
    assert (answer["method"], answer["basis"]) == ("pca", "libasis-run/basis")
    assert [row["site"] for row in answer["sites"]] == ["fc1:in", "fc2:in", "output"]
    saved = read_config(folder / "libasis-run" / "config.toml")
    assert saved.fit.method == "pca"


def test_fit_is_that_of_the_python_call(folder, command, settings, code):
    ok(command("fit", "--set", "trace.dtype=float64"))
    user = sys.modules[code]
    traced = libasis.trace(user.model(), user.batches()[0][0], ["fc1:in", "fc2:in", "output"], dtype="float64")
    with libasis.checkpoints(folder / "own"):  # where batches are added as in every command
        expected = libasis.fit(traced, user.batches())
    for a, b in zip(libasis.load("libasis-run/basis"), expected, strict=True):
        assert torch.equal(a.C, b.C)


def test_a_rule_with_options_reaches_the_fit(command, settings):
    ok(command("fit", "--set", 'fit.moments={rule = "sketch", relative_error = 0.3, seed = 5}'))
    rules = libasis.load("libasis-run/basis").info["rules"]
    assert all(rule["rule"].startswith("sketch") for rule in rules)
    assert all(rule["relative_error"] <= 0.3 for rule in rules)
    ok(command("fit", "--force", "--set", "fit.moments=exact"))
    assert {rule["rule"] for rule in libasis.load("libasis-run/basis").info["rules"]} == {"exact"}
    bad = 'fit.moments={rule = "closed_form", relative_error = 0.3}'
    refused(command("fit", "--force", "--set", bad), 'the rule "closed_form", which has none')


def test_graph_fits_only_if_needed(folder, command, settings):
    rows = facts(command("graph", "--json"))["sections"]
    assert [(row["section"], row["to"]) for row in rows] == [("fc1:in", "fc2:in"), ("fc2:in", "output")]
    first = libasis.load(folder / "libasis-run" / "graph")
    assert rows[0]["features"] == f"{first.edges[0].shape[1]} -> {first.edges[0].shape[0]}"
    refused(command("graph"), "libasis-run/graph already exists")
    fitted = written("libasis-run/basis")
    out = ok(command("graph", "--force", "--set", "interactions.method=integrated", "--set", "fit.progress=false"))
    assert "fc2:in" in out
    assert written("libasis-run/basis") == fitted
    second = libasis.load(folder / "libasis-run" / "graph")
    assert torch.equal(first.basis.sites[0].C, second.basis.sites[0].C)
    assert not torch.equal(first.edges[0], second.edges[0])


def test_graph_never_goes_on_from_another_basis(folder, command, settings, code):
    ok(command("fit"))
    refused(command("graph", "--set", "fit.method=pca"), "fit.method was 'lib' and is 'pca' now", "--force")
    refused(command("graph", "--set", f"data.source={code}:batches"), "data.source was")
    refused(command("graph", "--set", 'sites=["fc1:in", "output"]'), "sites was")
    ok(command("graph", "--force", "--set", "fit.method=pca"))
    assert libasis.load(folder / "libasis-run" / "graph").basis.method == "pca"
    assert libasis.load(folder / "libasis-run" / "basis").method == "pca"
    refused(command("graph", "--set", "output=libasis-run"), "graph already exists")


def test_unknown_origin_is_refused(folder, command, settings, code):
    ok(command("fit"))
    basis = libasis.load("libasis-run/basis")
    basis.info.pop("made_of")
    basis.save("libasis-run/basis", force=True)
    refused(command("graph"), "libasis-run/basis was made with what it does not say", "--force")
    ok(command("graph", "--force"))


def test_other_folders_are_left_alone(folder, command, settings):
    (folder / "graph").mkdir()
    (folder / "graph" / "mine.txt").write_text("mine")
    ok(command("fit", "--set", "output=."))
    refused(command("graph", "--set", "output=."), "graph already exists")
    refused(command("graph", "--set", "output=.", "--force"), "graph", "not a saved libasis result")
    assert (folder / "graph" / "mine.txt").read_text() == "mine"


def test_ablate(folder, command, settings):
    refused(command("ablate"), "libasis-run/graph does not exist", "run libasis graph first")
    ok(command("graph"))
    out = ok(command("ablate"))
    for part in ("required (stable)", "score of zero", "fc1:in", "accuracy", "samples", "libasis-run/ablation"):
        assert part in out
    saved = libasis.load(folder / "libasis-run" / "ablation")
    assert saved.held_out
    assert saved.nodes.samples == saved.edges.samples == 20
    assert set(saved.edges.edges_total) == {"fc1:in", "fc2:in"}
    refused(command("ablate"), "ablation already exists")
    answer = facts(
        command("ablate", "--force", "--json", "--set", "ablate.edges=false", "--set", "ablate.max_drop=0.1")
    )
    assert answer["edges"] is None
    assert [row["site"] for row in answer["nodes"]["rows"]] == list(saved.nodes.curves)
    refused(command("ablate", "--set", "ablate.edges=false", "--set", "ablate.nodes=false"), "both false")
    refused(command("ablate", "--force", "--set", "fit.method=pca"), "fit.method was 'lib'", "libasis graph --force")
    refused(command("ablate", "--force", "--set", "interactions.method=integrated"), "interactions.method was")


def test_ablation_on_the_data_of_the_fit_says_so(command, settings, code):
    source = ("--set", f"data.source={code}:batches")
    ok(command("graph", *source))
    assert "no test data were given" in ok(command("ablate", *source))
    other = ("--set", f"data.test_source={code}:train_and_test")
    refused(command("ablate", "--force", *source, *other), "data.test_source was 'not given'")


def test_metric_of_the_user(command, settings, code):
    ok(command("graph"))
    answer = facts(command("ablate", "--json", "--set", f"ablate.metric={code}:score"))
    assert 0.0 <= answer["edges"]["base_score"] <= 1.0
    assert "score" in answer["edges"]["metric"]
    refused(
        command("ablate", "--force", "--set", f"ablate.metric={code}:scor"), "ablate.metric", "did you mean 'score'?"
    )
    refused(command("ablate", "--force", "--set", "ablate.metric=acuracy"), "acuracy")


def test_report(folder, command, settings):
    pytest.importorskip("matplotlib")
    refused(command("report"), "run libasis graph first")
    ok(command("graph"))
    assert "libasis-run/report.html" in ok(command("report"))
    alone = (folder / "libasis-run" / "report.html").read_text(encoding="utf-8")
    assert "fc2:in" in alone
    ok(command("ablate"))
    changes = ["report.path=page.html", "report.title=Mine!", "report.question=Why so?"]
    answer = facts(command("report", "--json", *(part for change in changes for part in ("--set", change))))
    assert answer == {"command": "report", "page": "page.html", "findings": []}
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert {"Mine!", "Why so?"} <= set(re.findall(r"Mine!|Why so\?", page))
    assert page != alone


def test_report_with_names_of_features(folder, command, settings):
    ok(command("graph"))
    libasis.load("libasis-run/graph").with_labels({"fc1:in:0": "my 名 here"}).save_labels("my 名.json")
    for arguments, shown in (
        (["--labels", "my 名.json"], True),
        (["--set", "report.labels=my 名.json"], True),
        ([], False),
    ):
        ok(command("report", "--set", "report.cards=false", *arguments))
        assert ("my 名 here" in (folder / "libasis-run" / "report.html").read_text(encoding="utf-8")) == shown
    refused(command("report", "--labels", "none.json"), "'none.json': there is no such file")


def test_export(folder, command, settings):
    refused(command("export", "--to", "graph.csv"), "run libasis graph first")
    ok(command("graph"))
    refused(command("export"), "needs --to FILE")
    refused(command("export", "--to", "graph.xlsx"), "graph.xlsx has no format", ".graphml")
    refused(command("export", "--to", "graph.csv", "--format", "excel"), "attribution")
    out = ok(command("export", "--to", "graph.csv", "--to", "graph.graphml", "--to", "graph.json", "--to", "tables"))
    assert out.splitlines() == [f"Wrote {x}" for x in ("graph.csv", "graph.graphml", "graph.json", "tables")]
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix in (".csv", ".graphml")}
    assert found == {"graph.csv", "graph.graphml", "tables/features.csv", "tables/edges.csv"}
    answer = facts(command("export", "--to", "shown.json", "--format", "attribution", "--json"))
    assert answer == {"command": "export", "files": ["shown.json"]}
    assert set(json.loads((folder / "shown.json").read_text())) == {"metadata", "qParams", "nodes", "links"}
    libasis.load("libasis-run/graph").with_labels({"fc1:in:0": "mine"}).save_labels("labels.json")
    ok(command("export", "--to", "graph.csv", "--set", "report.labels=labels.json"))
    assert "mine" in (folder / "graph.csv").read_text()


def test_diff(folder, command, settings):
    ok(command("graph"))
    ok(command("graph", "--set", "fit.method=pca", "--set", "output=other"))
    out = ok(command("diff", "libasis-run", "other/graph", "--least", "0.5"))
    assert "only in A" in out
    assert "may be chance" in out
    assert out.endswith("Page written to libasis-diff.html\n")
    assert "<script>" in (folder / "libasis-diff.html").read_text()
    answer = facts(command("diff", "libasis-run", "libasis-run", "--out", "numbers.json", "--json"))
    assert (answer["only_a"], answer["edges"]) == ([], [])
    assert json.loads((folder / "numbers.json").read_text())["format"] == "libasis-diff"
    refused(command("diff", "libasis-run", "nowhere"), "nowhere does not exist")
    refused(command("diff", "libasis-run", "other/basis"), "kind 'basis', not 'graph'")
    refused(command("diff", "libasis-run", "libasis-run", "--lang", "fr"), "'fr'")


def test_report_refuses_the_ablation_of_another_graph(command, settings):
    ok(command("graph"))
    ok(command("ablate"))
    ok(command("graph", "--force", "--set", "interactions.method=integrated"))
    refused(command("report"), "ablation was made with another graph", "libasis ablate --force")


def test_chain_brings_its_own_sites(folder, command):
    (folder / "user_chain_cli.py").write_text(
        "import libasis, torch\nfrom torch import nn\n\n"
        "def model():\n    torch.manual_seed(0)\n"
        "    return libasis.Chain([nn.Linear(3, 4).eval(), nn.Sequential(nn.ReLU(), nn.Linear(4, 2)).eval()])\n\n"
        "def data():\n    torch.manual_seed(1)\n    return [torch.randn(16, 3)]\n"
    )
    text = '[model]\nsource = "user_chain_cli:model"\n[data]\nsource = "user_chain_cli:data"\n'
    (folder / "libasis.toml").write_text(text)
    rows = facts(command("sites", "--json"))["sites"]
    assert [(row["name"], row["shape"]) for row in rows] == [("input", [3]), ("site1", [4]), ("output", [2])]
    ok(command("graph"))
    refused(command("graph", "--force", "--set", 'sites=["a", "b"]'), "remove sites")


def test_language_model_from_text(folder, command, hf_directory):
    words = "the cat sat on a mat the dog ran on the mat a cat ran on a dog the dog sat on the cat a dog ran on a mat"
    (folder / "t.txt").write_text(words)
    text = f'sites = ["transformer.h.0:in", "transformer.h.1:in", "output"]\n[model]\nsource = "hf:{hf_directory}"\n'
    text += '[data]\nsource = "t.txt"\nsequence_length = 6\nbatch_size = 4\n'
    (folder / "libasis.toml").write_text(text)
    answer = facts(command("graph", "--json"))
    assert [row["section"] for row in answer["sections"]] == ["transformer.h.0:in", "transformer.h.1:in"]
    answer = facts(command("ablate", "--json", "--set", "ablate.metric=cross_entropy", "--set", "ablate.nodes=false"))
    assert answer["held_out"]
    assert answer["edges"]["samples"] % 5 == 0  # five of six positions have a next token


def test_image_classifier_from_a_folder(folder, command):
    image = pytest.importorskip("PIL.Image")
    for kind in ("a", "b"):
        (folder / "pics" / kind).mkdir(parents=True)
        for i in range(6):
            image.effect_noise((4, 4), 40 + 20 * i).save(folder / "pics" / kind / f"{i}.png")
    (folder / "user_images.py").write_text(
        "import torch\nfrom torch import nn\n\ndef model():\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2)).eval()\n"
    )
    text = 'sites = ["1:in", "3:in", "output"]\n[model]\nsource = "user_images:model"\n[data]\nsource = "pics"\n'
    (folder / "libasis.toml").write_text(text)
    assert facts(command("graph", "--json"))["sections"]


# the demo


def test_demo_prints_what_it_found(command, monkeypatch):
    calls = []

    def run(out, *, name, force, progress, say):
        calls.append(say is not None)
        (say or str)("what comes next")
        calls.append((out, name, force, progress))
        rows = [{"section": "a -> b", "LIB": 12, "PCA": None}]
        return {"rows": rows, "page": out / "p.html", "graph": out / "graph", "seconds": 1.5, "facts": ["It is so."]}

    module = type(sys)("libasis.demo.run")
    module.run = run
    monkeypatch.setitem(sys.modules, "libasis.demo.run", module)
    out = ok(command("demo"))
    for part in ("what comes next", "a -> b", "LIB", "12", "It is so.", "libasis-demo/p.html"):
        assert part in out
    answer = facts(command("demo", "digits", "--out", "there", "--force", "--json"))
    assert answer["page"] == "there/p.html"
    assert answer["rows"] == [{"section": "a -> b", "LIB": 12, "PCA": None}]
    assert calls == [
        True,
        (Path("libasis-demo"), "modadd", False, None),
        False,  # one JSON object, and nothing else, is printed
        (Path("there"), "digits", True, None),
    ]


# processes


def process(*arguments, cwd, code="from libasis.run import main; main()"):
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )


def test_as_a_process(folder, settings):
    done = process("fit", "--json", cwd=folder)
    assert facts((done.returncode, done.stdout, done.stderr))["command"] == "fit"
    done = process("fit", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("missing", libasis.run.NEEDED)
def test_missing_extra_is_one_sentence(folder, missing, monkeypatch, capsys):
    for name in [n for n in sys.modules if n.split(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit) as ended:
        libasis.run.main(["--version"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"The command line needs {missing}: pip install 'libasis[cli]'\n"
