import contextlib
import io
import json
import os
import shutil
import zipfile

import pytest
import torch
from torch import nn
from torch.export import Dim

import libasis
from libasis.errors import OptionError
from libasis.run import models
from libasis.run.errors import SourceError
from libasis.run.models import open_model
from libasis.run.pt2 import check_archive


def refused(source, *parts):
    with pytest.raises(SourceError) as caught:
        open_model(str(source))
    text = str(caught.value)
    assert "\n" not in text
    for part in parts:
        assert part in text


# factories


def test_factory(code, tiny):
    model = open_model(f"{code}:model")
    x = torch.randn(4, 3)
    assert torch.equal(model(x), tiny(x))


def test_factory_of_a_chain(folder):
    (folder / "user_chain.py").write_text(
        "import libasis\nfrom torch import nn\n\n"
        "def model():\n    return libasis.Chain([nn.ReLU().eval(), nn.Tanh().eval()])\n"
    )
    assert isinstance(open_model("user_chain:model"), libasis.Chain)


def test_factories_that_cannot_be_used(folder, code):
    refused("no_such_module_here:f", "'no_such_module_here'", "no module")
    refused("libasis.no_such_part:f", "no module 'libasis.no_such_part'")
    refused(f"{code}:modl", "has no 'modl' (did you mean 'model'?)")
    refused(f"{code}:NUMBER", "which is a int", "name a function")
    refused(f"{code}:nothing", "returned a NoneType", "torch.nn.Module")
    refused(f"{code}:broken", "NameError: name 'undefined_name' is not defined", f"{code}.py, line ")
    refused("just_a_name", '"package.module:factory", "hf:DIRECTORY" or a FILE.pt2')
    (folder / "user_imports.py").write_text("import a_library_that_is_not_there\n")
    refused(
        "user_imports:f", "importing user_imports failed", "'a_library_that_is_not_there'", "user_imports.py, line 1"
    )
    (folder / "user_syntax.py").write_text("x = = 1\n")
    refused("user_syntax:f", "SyntaxError", "user_syntax.py, line 1")


# Hugging Face directories


def test_hugging_face_directory(hf_directory):
    transformers = pytest.importorskip("transformers")
    bars = transformers.utils.logging.is_progress_bar_enabled()
    model = open_model(f"hf:{hf_directory}")
    assert type(model).__name__ == "GPT2LMHeadModel"
    assert not model.training
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert model.config._attn_implementation == "eager"
    assert transformers.utils.logging.is_progress_bar_enabled() == bars
    ids = torch.randint(0, 10, (2, 5))
    assert libasis.find_sites(model, {"input_ids": ids}).row("transformer.h.1:in").ok


def test_half_precision_weights_are_opened_in_float32(hf_directory, tmp_path):
    transformers = pytest.importorskip("transformers")
    transformers.GPT2LMHeadModel.from_pretrained(hf_directory, dtype=torch.bfloat16).save_pretrained(tmp_path)
    assert {p.dtype for p in open_model(f"hf:{tmp_path}").parameters()} == {torch.float32}


def test_hugging_face_directories_that_cannot_be_used(folder, hf_directory):
    refused("hf:gpt2", "no gpt2/config.json", "downloads nothing")
    (folder / "a").mkdir()
    config = json.loads((hf_directory / "config.json").read_text())
    (folder / "a" / "config.json").write_text(json.dumps({**config, "architectures": ["Nonsense"]}))
    refused("hf:a", "architecture 'Nonsense'")
    (folder / "a" / "config.json").write_text(json.dumps({**config, "architectures": ["pipeline"]}))
    refused("hf:a", "architecture 'pipeline'")
    (folder / "a" / "config.json").write_text(json.dumps(config))
    refused("hf:a", "cannot be opened", "safetensors")
    torch.save({"x": torch.zeros(1)}, folder / "a" / "pytorch_model.bin")
    refused("hf:a", "cannot be opened", "safetensors")
    (folder / "a" / "config.json").write_text("{")
    refused("hf:a", "config.json is not JSON")


@pytest.mark.parametrize("named", [True, False])
def test_code_in_a_folder_is_never_run_nor_asked_about(folder, hf_directory, named, monkeypatch):
    """A configuration that names classes in files of the folder, with and without an architecture of transformers."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked whether to run the code"))
    place = folder / "with-code"
    shutil.copytree(hf_directory, place)
    (place / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Own: ...\n")
    config = json.loads((place / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "own.Own", "AutoModel": "own.Own", "AutoModelForCausalLM": "own.Own"}
    if not named:
        config["architectures"], config["model_type"] = None, "own"
    (place / "config.json").write_text(json.dumps(config))
    (place / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["own.Own", None]}}))
    with contextlib.suppress(SourceError):
        open_model(f"hf:{place}")
    with contextlib.suppress(SourceError):
        models.open_tokenizer(f"hf:{place}", "A test")
    assert not (folder / "ran").exists()


def test_weights_that_are_missing_are_no_random_model(folder, hf_directory):
    from safetensors.torch import load_file, save_file

    weights = load_file(hf_directory / "model.safetensors")
    weights.pop("transformer.h.1.mlp.c_fc.weight")
    (folder / "a").mkdir()
    save_file(weights, folder / "a" / "model.safetensors", metadata={"format": "pt"})
    (folder / "a" / "config.json").write_text((hf_directory / "config.json").read_text())
    refused("hf:a", "lacks 1 weights", "transformer.h.1.mlp.c_fc.weight")


@pytest.mark.parametrize(
    ("layers", "said"),
    [(1, "its config.json does not have"), (100_000, "n_layer = 1e\\+05, but at most")],
)
def test_a_description_of_another_model_than_the_weights(folder, hf_directory, layers, said):
    shutil.copytree(hf_directory, folder / "a")
    config = json.loads((folder / "a" / "config.json").read_text())
    (folder / "a" / "config.json").write_text(json.dumps({**config, "n_layer": layers}))
    with pytest.raises(SourceError, match=said):
        open_model("hf:a")


def test_missing_transformers_names_the_extra(hf_directory, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(OptionError, match=r"needs transformers.*pip install 'libasis\[hf\]'"):
        open_model(f"hf:{hf_directory}")


# exported programs


def save_program(path, model, *args, shapes=None, **kwargs):
    shapes = {0: Dim.DYNAMIC} if shapes is None else shapes
    dynamic = [shapes] * len(args)
    program = torch.export.export(model, args, kwargs, dynamic_shapes=(*dynamic, *[shapes] * len(kwargs)))
    torch.export.save(program, path)
    return path


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.5), nn.ReLU(), nn.Linear(5, 2)).eval()
    return model, save_program(tmp_path_factory.mktemp("pt2") / "model.pt2", model, torch.randn(4, 3))


def test_exported_program_keeps_names_and_takes_any_batch(program):
    model, path = program
    opened = open_model(str(path))
    x = torch.randn(9, 3)
    assert torch.equal(opened(x), model(x))
    assert not any(module.training for module in opened.modules())
    sites = ["0:in", "3:in", "output"]
    table = libasis.find_sites(opened, x)
    assert table.row("0:in").ok
    assert table.row("3:in").ok
    ours, theirs = (libasis.fit(libasis.trace(m, x, sites), [(x, x), (2 * x, x)]) for m in (opened, model))
    assert [site.k for site in ours] == [site.k for site in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a.importances, b.importances, rtol=1e-4)


class ByName(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.out = nn.Linear(4, 2)

    def forward(self, ids, mask, *, scale):
        return self.out(self.embed(ids) * mask[:, :, None]) * scale[:, None, None]


def test_inputs_of_an_exported_program_keep_their_names(tmp_path):
    model = ByName().eval()
    ids, mask, scale = torch.randint(0, 7, (3, 5)), torch.ones(3, 5), torch.rand(3)
    path = save_program(tmp_path / "m.pt2", model, ids, mask, scale=scale)
    opened = open_model(str(path))
    given = {"scale": torch.rand(6), "mask": torch.ones(6, 5), "ids": torch.randint(0, 7, (6, 5))}
    assert torch.equal(opened(**given), model(**given))
    assert torch.equal(opened(given["ids"], given["mask"], scale=given["scale"]), model(**given))
    assert libasis.find_sites(opened, given)


def test_exported_programs_that_cannot_be_used(folder, program):
    model, path = program
    refused("gone.pt2", "no such file")
    (folder / "a.pt2").write_bytes(b"no archive")
    refused("a.pt2", "a.pt2 is not a file of torch.export.save")
    with zipfile.ZipFile(folder / "b.pt2", "w") as archive:
        archive.writestr("b/hello", "world")
    refused("b.pt2", "b.pt2 is not a file of torch.export.save")
    torch.save(model.state_dict(), folder / "c.pt2")
    refused("c.pt2", "c.pt2 is not a file of torch.export.save")
    refused(
        save_program(folder / "d.pt2", model, torch.randn(4, 3), shapes={}), "batches of exactly 4", "dynamic_shapes"
    )
    training = nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.5))
    refused(save_program(folder / "e.pt2", training, torch.randn(4, 3)), "exported in training mode", "dropout")
    normed = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5))
    refused(save_program(folder / "f.pt2", normed, torch.randn(4, 3)), "exported in training mode", "batch_norm")


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def rewrite(source, target, change):
    """A copy of an archive with each member given to ``change(name, data)``; None leaves it out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        root = old.namelist()[0].split("/")[0]
        for name in old.namelist():
            data = change(name.removeprefix(f"{root}/"), old.read(name))
            if data is not None:
                new.writestr(name, data)
    return target


def pickled(trap):
    buffer = io.BytesIO()
    torch.save((trap,), buffer)
    return buffer.getvalue()


def set_json(data, edit):
    value = json.loads(data)
    edit(value)
    return json.dumps(value).encode()


def mark_pickled(config):
    first = next(iter(config["config"].values()))
    first["use_pickle"] = True


def add_object(config):
    config["config"]["thing"] = {
        "path_name": "opaque_obj_0",
        "is_param": False,
        "use_pickle": False,
        "tensor_meta": None,
    }


def set_operator(name):
    def edit(model):
        model["graph_module"]["graph"]["nodes"][0]["target"] = name

    return edit


def set_size(text):
    def edit(model):
        for value in model["graph_module"]["graph"]["tensor_values"].values():
            for size in value["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = text

    return edit


def set_structure(model):
    call = model["graph_module"]["module_call_graph"][0]["signature"]
    call["in_spec"] = call["in_spec"].replace("[]", '{"__enum__": true}', 1)


@pytest.mark.parametrize(
    ("member", "edit", "part"),
    [
        ("data/weights/model_weights_config.json", mark_pickled, "a pickled part"),
        ("data/constants/model_constants_config.json", add_object, "a pickled part (thing)"),
        ("models/model.json", set_operator("torch.serialization.os.system"), "the operator"),
        ("models/model.json", set_operator("torch.ops.load_library"), "the operator"),
        ("models/model.json", set_operator("_operator.methodcaller.__class__"), "the operator"),
        ("models/model.json", set_size("exec(chr(49))"), "the size expression"),
        ("models/model.json", set_size("__import__('os').mkdir('opened')"), "the size expression"),
        ("models/model.json", set_size("s77.__class__"), "the size expression"),
        ("models/model.json", set_structure, "input or output structure"),
    ],
)
def test_archives_that_could_run_code_are_refused(folder, program, member, edit, part):
    def change(name, data):
        return set_json(data, edit) if name == member else data

    refused(rewrite(program[1], folder / "a.pt2", change), part, "could run code")
    assert not (folder / "opened").exists()


def test_pickled_sample_inputs_are_refused_unopened(folder, program):
    def change(name, data):
        return pickled(Trap(folder / "opened")) if name.startswith("data/sample_inputs/") else data

    path = rewrite(program[1], folder / "a.pt2", change)
    refused(path, "sample inputs", "could run code")
    assert not (folder / "opened").exists()
    with contextlib.suppress(Exception):
        torch.export.load(path)
    assert (folder / "opened").exists()  # the trap is real: torch itself opens it


def test_compiled_code_and_old_formats_are_refused(folder, program):
    path = rewrite(program[1], folder / "a.pt2", lambda name, data: data)
    check_archive(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].split('/')[0]}/data/aotinductor/model/lib.so", b"x")
    refused(path, "compiled code")
    path = rewrite(program[1], folder / "b.pt2", lambda name, data: data)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("version", "8.9")
    refused(path, "torch 2.7 and older")


def test_sizes_that_torch_writes_are_plain(tmp_path):
    class Sizes(nn.Module):
        def forward(self, x):
            n = x.shape[1]
            return torch.cat([x[:, : n // 2], x[:, n // 2 :], x.new_zeros(x.shape[0], (3 * n + 1) // 2)], 1).flatten()[
                ::2
            ]

    path = save_program(tmp_path / "m.pt2", Sizes(), torch.randn(4, 6), shapes={0: Dim.DYNAMIC, 1: Dim.DYNAMIC})
    x = torch.randn(5, 8)
    assert torch.equal(open_model(str(path))(x), Sizes()(x))


def test_source_of_the_tokenizer():
    assert models.hugging_face_directory("m:f") is None
    assert str(models.hugging_face_directory("hf:a/b")) == "a/b"
