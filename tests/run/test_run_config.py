import inspect
import re
import tomllib

import pytest

import libasis
from libasis.run import toml
from libasis.run.config import parse_config, read_config
from libasis.run.errors import ConfigError
from libasis.run.settings import LISTED, SECTIONS, Config

BASE = {"model": {"source": "m:f"}, "data": {"source": "d:f"}}


def message(settings):
    with pytest.raises(ConfigError) as caught:
        parse_config({**BASE, **settings}, where="a.toml")
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_defaults():
    config = parse_config(BASE)
    assert (config.sites, config.output, config.data.batch_size, config.fit.method) == ([], "libasis-run", 256, "lib")
    assert (config.ablate.nodes, config.ablate.edges, config.ablate.max_drop) == (True, True, 0.001)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"fit": {"metod": "pca"}}, ["a.toml", "'metod'", "[fit]", "did you mean 'method'?", "truncation"]),
        ({"stes": ["a"]}, ["'stes'", "top level", "did you mean 'sites'?", "interactions"]),
        ({"fit": {"max_drop": 0.1}}, ["'max_drop'", "[fit]", "did you mean 'ablate.max_drop'?"]),
        ({"fit": {"zzzzz": 1}}, ["'zzzzz'", "keys allowed there are method,"]),
        ({"model": {"sourc": "m:f"}}, ["'sourc'", "[model]", "did you mean 'source'?"]),
        ({"data": {"batch_size": "many", "source": "d:f"}}, ["data.batch_size", "'many'", "whole number, 1 or more"]),
        ({"data": {"batch_size": 0, "source": "d:f"}}, ["data.batch_size is 0"]),
        ({"data": {"batch_size": True, "source": "d:f"}}, ["data.batch_size is True"]),
        ({"data": {"test_fraction": 1.0, "source": "d:f"}}, ["data.test_fraction is 1.0", "below 1"]),
        ({"data": {"columns": "a", "source": "d:f"}}, ["data.columns is 'a'", "list of names"]),
        ({"fit": {"method": "pac"}}, ["fit.method is 'pac'", '"lib", "pca", "neuron" or "global"']),
        ({"fit": 3}, ["fit is 3", "a section"]),
        ({"sites": "fc1"}, ["sites is 'fc1'", "list of site names"]),
        ({"sites": [3]}, ["sites is 3", "list of site names"]),
        ({"ablate": {"schedule": "fast"}}, ["ablate.schedule is 'fast'", "list of counts"]),
        ({"interactions": {"top_k": 0}}, ["interactions.top_k is 0", "whole number, 1 or more"]),
        ({"report": {"lang": "de"}}, ["report.lang is 'de'"]),
        ({"fit": {"moments": "fast"}}, ["fit.moments is 'fast'", '"sketch"', "relative_error"]),
        (
            {"fit": {"moments": {"rule": "sketch", "relative_error": 2.0}}},
            ["fit.moments is {", "2.0", "between 0 and 1"],
        ),
        ({"fit": {"moments": {"relative": 0.1}}}, ["fit.moments is {'relative': 0.1}"]),
        ({"fit": {"moments": "exact", "readout": "fisher"}}, ['fit.readout is "fisher"', "fit.moments is 'exact'"]),
        ({"fit": {"moments": {"seed": 1}, "readout": "fisher"}}, ["a.toml: fit.readout", "fit.moments is {'seed': 1}"]),
        ({"model": {}}, ["a.toml lacks the key 'model.source'", "hf:DIRECTORY"]),
    ],
)
def test_one_sentence_says_what_is_wrong(settings, parts):
    text = message(settings)
    for part in parts:
        assert part in text


def test_missing_section_is_named():
    with pytest.raises(ConfigError, match=r"lacks the section \[data\]"):
        parse_config({"model": {"source": "m:f"}})


def test_unknown_guess_is_not_made_up():
    assert "did you mean" not in message({"fit": {"zzzzz": 1}})


def test_values_that_are_right():
    config = parse_config(
        {
            **BASE,
            "sites": ["a", ["b:in", "c"]],
            "ablate": {"schedule": [1, 2], "max_drop": 1},
            "trace": {"dtype": "float64"},
        }
    )
    assert config.sites == ["a", ["b:in", "c"]]
    assert config.ablate.schedule == [1, 2]
    assert config.ablate.max_drop == 1.0
    assert config.trace.dtype == "float64"


@pytest.mark.parametrize(
    ("section", "key", "value", "now"),
    [
        *((name, "dtype", "float64", "write dtype in [trace]") for name in ("fit", "interactions", "ablate")),
        *((name, "device", "cpu", "write device in [trace]") for name in ("fit", "interactions", "ablate")),
        ("data", "mask", "attention_mask", "write mask in [trace]"),
        ("fit", "relative_error", 0.05, 'moments = { rule = "auto", relative_error = ... }'),
        ("interactions", "nodes", 8, "n_steps"),
    ],
)
def test_an_old_key_names_the_new_one(section, key, value, now):
    text = message({section: {**BASE.get(section, {}), key: value}})
    for part in ("a.toml", f"'{key}'", f"[{section}]", now):
        assert part in text
    with pytest.raises(ConfigError, match=f"^--set {section}.{key} has the key"):
        parse_config({**BASE, section: {**BASE.get(section, {}), key: value}}, changed={f"{section}.{key}"})


def test_a_rule_may_have_options():
    config = parse_config({**BASE, "fit": {"moments": {"rule": "sketch", "relative_error": 0.05}}})
    assert (config.fit.moments.rule, config.fit.moments.relative_error) == ("sketch", 0.05)
    assert parse_config(tomllib.loads(config.to_toml())) == config
    changed = toml.override(BASE, ["fit.moments.relative_error=0.1"])
    assert parse_config(changed).fit.moments.rule == "auto"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("pca", "pca"),
        ("64", 64),
        ("true", True),
        ("0.5", 0.5),
        ('"64"', "64"),
        ('["a", "b"]', ["a", "b"]),
        ("m.n:f", "m.n:f"),
        ("a=b", "a=b"),
        ("1\nother = 2", "1\nother = 2"),
        ("", ""),
    ],
)
def test_values_of_the_command_line(text, value):
    found = toml.parse_value(text)
    assert found == value
    assert type(found) is type(value)


def test_overrides_change_a_copy(folder):
    (folder / "a.toml").write_text('[model]\nsource = "m:f"\n[data]\nsource = "d:f"\nbatch_size = 8\n')
    changes = ["fit.method=pca", "data.batch_size = 64", 'sites=["a","b"]', "fit.method=neuron"]
    config = read_config("a.toml", changes)
    assert (config.fit.method, config.data.batch_size, config.sites) == ("neuron", 64, ["a", "b"])
    settings = {"fit": {"method": "lib"}}
    assert toml.override(settings, ["fit.method=pca"]) == {"fit": {"method": "pca"}}
    assert settings == {"fit": {"method": "lib"}}


@pytest.mark.parametrize("change", ["fit.method", "=3", ".method=pca", "fit.=pca"])
def test_override_of_the_wrong_form(change):
    with pytest.raises(ConfigError, match=r"not of the form section\.key=value"):
        toml.override({}, [change])


def test_override_through_a_key():
    with pytest.raises(ConfigError, match="'method', which is a key and no section"):
        toml.override({"fit": {"method": "lib"}}, ["fit.method.deep=1"])


def test_wrong_override_names_the_command_line(folder):
    (folder / "a.toml").write_text('[model]\nsource = "m:f"\n[data]\nsource = "d:f"\n')
    with pytest.raises(ConfigError, match=r"^--set fit\.metod has the unknown key"):
        read_config("a.toml", ["fit.metod=pca"])
    (folder / "a.toml").write_text('x = 1\n[model]\nsource = "m:f"\n[data]\nsource = "d:f"\n')
    with pytest.raises(ConfigError, match=r"^a\.toml has the unknown key 'x' at the top level"):
        read_config("a.toml", ["fit.method=pca"])


def test_files_that_are_no_settings(folder):
    with pytest.raises(ConfigError, match=r"no settings file 'a\.toml'.*libasis init a\.toml"):
        read_config("a.toml")
    (folder / "a.toml").write_text("sites = [1\nx\n")
    with pytest.raises(ConfigError, match=r"a\.toml is not valid TOML: .*line"):
        read_config("a.toml")
    (folder / "a.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_config("a.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(".")


def test_settings_survive_writing_and_reading():
    odd = 'a "quoted" \\ name\n\ttab \x7f é 日本'
    config = parse_config(
        {
            **BASE,
            "sites": ["a", [odd, "c"]],
            "output": odd,
            "data": {"source": "d:f", "columns": [odd], "test_fraction": 0.125},
            "ablate": {"max_drop": 1e-12, "stable": False, "schedule": [1, 2]},
        }
    )
    assert parse_config(tomllib.loads(config.to_toml())) == config


def test_template_is_valid_and_shows_every_key_with_its_default():
    text = toml.template()
    config = parse_config(tomllib.loads(text))
    assert len(config.sites) >= 2
    assert not config.ablate.sites
    section = ""
    shown = {}
    for line in text.splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            section = heading[1]
        elif key := re.fullmatch(r"(?:# )?(\w+) = (.+)", line):
            shown[section, key[1]] = tomllib.loads(f"v = {key[2]}")["v"]
    for name, table in SECTIONS.items():
        for key, field in table.model_fields.items():
            assert (name, key) in shown
            if field.default is not None and not field.is_required():
                assert shown[name, key] == field.default
    assert {key for part, key in shown if not part} == set(Config.model_fields) - set(SECTIONS) - set(LISTED)
    assert all(f"# [[{name}]]" in text for name in LISTED)
    uncommented = re.sub(r"(?m)^# (\w+ = |\[\[)", r"\1", text)
    parse_config(tomllib.loads(uncommented))


def keywords(call):
    parameters = inspect.signature(call).parameters.values()
    named = {p.name: p.default for p in parameters if p.default is not p.empty}
    return {name: default for name, default in named.items() if name != "within"}


@pytest.mark.parametrize("name", ["trace", "fit", "interactions"])
def test_same_keywords_and_defaults_as_the_call(name):
    fields = {key: field.default for key, field in SECTIONS[name].model_fields.items()}
    if name == "trace":
        assert fields.pop("without_outliers") is None  # the next call on what was traced
    assert fields == keywords(getattr(libasis, name))


def test_same_keywords_and_defaults_as_the_ablations():
    fields = {key: field.default for key, field in SECTIONS["ablate"].model_fields.items()}
    calls = {**keywords(libasis.ablate_nodes), **keywords(libasis.ablate_edges)}
    del calls["per_sample"]  # only `libasis compare` asks for it
    assert {key: value for key, value in fields.items() if key not in ("nodes", "edges")} == calls
