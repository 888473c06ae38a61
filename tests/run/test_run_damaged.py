"""Settings, models and names of files that are damaged or hostile: exit code 2 and one line, soon; nothing runs."""

import io
import json
import os
import shutil
import zipfile

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim

from libasis.run.config import read_config
from libasis.run.errors import SourceError
from libasis.run.models import open_model, open_tokenizer
from run.answers import ok


def refused(answer, *parts):
    code, out, err = answer
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert len(err) < 900
    assert "Traceback" not in err
    for part in parts:
        assert part in err


# settings

BASE = '[model]\nsource = "m:f"\n[data]\nsource = "t.csv"\n'


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (f"seed = {'9' * 5000}", "hundreds of digits"),
        (f"seed = {'9' * 30}", "more than 64 bits"),
        (f"seed = 0x{'f' * 5000}", "more than 64 bits"),
        (f"seed = {2**63}", "more than 64 bits"),
        (f"x = {'[' * 100_000}", "nested too deeply"),
        (f"x = {'[' * 100_000}{']' * 100_000}", "nested too deeply"),
        (f"x = {'{a=' * 50_000}", "nested too deeply"),
        (f"{'.'.join('a' * 100_000)} = 1", "more than 1,000 dots"),
        (f"[{'.'.join('a' * 100_000)}]", "more than 1,000 dots"),
        ("\n".join(f"a{i}.{'.'.join('b' * 400)} = 1" for i in range(20)), "unknown key 'a0'"),
        ("#" + "x" * 3_000_000, "at most 262,144 are read"),
        (f"{'k' * 200_000} = 1", "unknown key 'kkk"),
        (f'decimal = "{"k" * 200_000}"', "data.decimal is 'kkk"),
        (f"decimal = [{'1, ' * 50_000}]", "data.decimal is [1"),
        (f'test_source = "{"k" * 200_000}"', "data.test_source is 'kkk"),
        (f'test_source = "{"k " * 100_000}"', "data.test_source is 'k k"),
        (f'test_source = "{"k" * 200_000}.csv"', "there is no such file"),
        ('test_source = "a\\u0000b.csv"', "holds a null character"),
        ('test_source = "a\\nb.csv"', "'a\\nb.csv': there is no such file"),
        ('test_source = "\\u001b[31m.csv"', "there is no such file"),
        ("x = \0", "not valid TOML"),
        ("sede = 1", "unknown key 'sede' in [data] (did you mean 'seed'?)"),
        ("[dta]", "unknown key 'dta' at the top level (did you mean 'data'?)"),
    ],
)
def test_settings_that_cannot_be(code, folder, command, text, part):
    (folder / "t.csv").write_text("a,b,c\n" + "1,2,3\n4,5,7\n" * 4)
    (folder / "s.toml").write_text(BASE.replace("m:f", f"{code}:model") + text + "\n")
    refused(command("sites", "s.toml"), part)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_settings_of_another_encoding(folder, command, encoding):
    (folder / "s.toml").write_bytes(("# é\n" + BASE).encode(encoding))
    refused(command("sites", "s.toml"), "'s.toml' is not UTF-8")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("verb", ["sites", "compare", "report --labels", "diff", "hf", "pt2", "csv"])
def test_only_regular_files_are_opened(code, folder, command, verb):
    os.mkfifo(folder / "pipe")
    os.symlink("/dev/zero", folder / "zero")
    os.symlink("loop", folder / "loop")
    (folder / "folder").mkdir()
    (folder / "s.toml").write_text(BASE.replace("m:f", f"{code}:model"))
    (folder / "t.csv").write_text("a,b,c\n1,2,3\n" * 8)
    for name in ("pipe", "zero", "loop", "folder"):
        if verb in ("hf", "pt2", "csv"):
            (folder / "hf").mkdir(exist_ok=True)
            place = {"hf": "hf/config.json", "pt2": "x.pt2", "csv": "x.csv"}[verb]
            (folder / place).unlink(missing_ok=True)
            os.symlink(folder / name, folder / place)
            key = "data.source=x.csv" if verb == "csv" else "model.source=" + {"hf": "hf:hf", "pt2": "x.pt2"}[verb]
            refused(command("sites", "s.toml", "--set", key))
        elif verb == "report --labels":
            refused(command("report", "s.toml", "--labels", name))
        elif verb == "diff":
            refused(command("diff", name, name))
        else:
            refused(command(verb, name), name)


def test_a_name_that_is_nearly_right_is_guessed(code, folder, command):
    (folder / "settings.toml").write_text(BASE.replace("m:f", f"{code}:model"))
    (folder / "t.csv").write_text("temperature,b,y\n" + "1,2,0\n" * 8)
    refused(command("sites", "setings.toml"), "'setings.toml' (did you mean 'settings.toml'?)")
    for change, part in (
        ("data.source=tt.csv", "'tt.csv': there is no such file in"),
        ("data.source=tt.csv", "(did you mean 't.csv'?)"),
        ("data.target=temprature", "'temprature' (did you mean 'temperature'?)"),
        ("data.columns=['B']", "'B' (did you mean 'b'?)"),
        (f"model.source={code}:modl", "(did you mean 'model'?)"),
        ("model.source=x.pt2", "'x.pt2': there is no such file in"),
    ):
        refused(command("sites", "settings.toml", "--set", change), part)


def test_how_a_file_was_read_is_said(code, folder, command):
    (folder / "t.csv").write_bytes("温度;b;c\n".encode("cp932") + b"1,5;2;3\n2,25;1;4\n" * 8)
    (folder / "s.toml").write_text(BASE.replace("m:f", f"{code}:model"))
    done, _, err = command("sites", "s.toml")
    assert (done, err) == (0, "t.csv was read as Shift-JIS (cp932), separated by semicolons, decimal comma.\n")
    given = 'separator = ";"\nencoding = "cp932"\ndecimal = ","\n'
    (folder / "s.toml").write_text((folder / "s.toml").read_text() + given)
    assert command("sites", "s.toml")[0] == 0
    assert read_config("s.toml").data.decimal == ","
    (folder / "t.csv").write_text("a,b,c\n" + "1.5,2,3\n2.25,1,4\n" * 8)
    (folder / "s.toml").write_text(BASE.replace("m:f", f"{code}:model"))
    ok(command("sites", "s.toml"))
    refused(command("sites", "s.toml", "--set", "data.encoding=utf-99"), "encoding is 'utf-99'")


# exported programs


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    path = tmp_path_factory.mktemp("pt2") / "m.pt2"
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)).eval()
    torch.export.save(torch.export.export(model, (torch.randn(4, 3),), dynamic_shapes=({0: Dim.DYNAMIC},)), path)
    return path


def rewrite(source, target, change, packed=zipfile.ZIP_STORED):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", packed, compresslevel=1) as new:
        for name in old.namelist():
            new.writestr(name, change(name.partition("/")[2], old.read(name)))
    return target


def packed_again(data):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        new.writestr("archive/data/9", bytes(2**24))
    return out.getvalue()


@pytest.mark.parametrize(
    ("member", "edit", "part"),
    [
        ("models/model.json", lambda data: data + b" " * 2**26, "of more than 67,108,864 bytes"),
        ("models/model.json", lambda data: b"[" * 100_000, "nested too deeply"),
        ("models/model.json", lambda data: b"[" * 900 + b"]" * 900, "cannot be opened"),
        ("models/model.json", lambda data: b"[" + b"{}," * 2**21 + b"{}]", "so many parts"),
        ("models/model.json", lambda data: data.replace(b"{", b'{"q":' + b"9" * 5000 + b",", 1), "5,000 digits"),
        ("models/model.json", lambda data: b"3", "cannot be opened"),
        ("models/model.json", lambda data: b"{}", "cannot be opened"),
        ("models/model.json", lambda data: data[:-9], "not JSON"),
        ("data/weights/model_weights_config.json", lambda data: b"[]", "not a file of torch.export.save"),
        ("data/weights/weight_0", lambda data: data[:5], "cannot be opened"),
        ("data/sample_inputs/model.pt", packed_again, "packed sample inputs"),
    ],
)
def test_archives_that_are_no_programs(folder, program, member, edit, part):
    path = rewrite(program, folder / "x.pt2", lambda name, data: edit(data) if name == member else data)
    with pytest.raises(SourceError, match=part) as caught:
        open_model(str(path))
    assert "x.pt2" in str(caught.value)
    assert str(caught.value).isprintable()


def test_archives_that_grow(folder, program):
    path = rewrite(program, folder / "x.pt2", lambda _, data: data + b" " * 2**24, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**21
    with pytest.raises(SourceError, match="holds packed parts"):
        open_model(str(path))


def test_any_bytes_changed_are_a_sentence_or_a_model(folder, program):
    whole = program.read_bytes()
    for seed in range(25):
        random = np.random.default_rng(seed)
        data = bytearray(whole)
        for place in random.integers(len(data), size=random.choice([1, 5, 50])):
            data[place] = random.integers(256)
        (folder / "x.pt2").write_bytes(data)
        try:
            open_model("x.pt2")
        except SourceError as error:
            assert len(str(error)) < 900  # noqa: PT017 - either is right


# folders of Hugging Face


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"a":' * 100_000, b'{"a":' + b"9" * 5000 + b"}", b"[]", b" " * (2**26 + 1), None]
)
def test_descriptions_of_models_that_describe_none(tmp_path, hf_directory, name, content):
    place = tmp_path / "model"
    shutil.copytree(hf_directory, place)
    (place / name).unlink(missing_ok=True)
    if content is None:
        os.symlink("/dev/zero", place / name)
    else:
        (place / name).write_bytes(content)
    with pytest.raises(SourceError) as caught:
        open_tokenizer(f"hf:{place}", "A test") if name.startswith("tok") else open_model(f"hf:{place}")
    assert len(str(caught.value)) < 900
    assert "\n" not in str(caught.value)


def test_infinity_in_a_configuration_is_no_damage(tmp_path, hf_directory):
    place = tmp_path / "model"
    shutil.copytree(hf_directory, place)
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**config, "time_step_limit": [0.0, float("inf")]}))
    assert open_model(f"hf:{place}")
