"""Files and folders read as batches, from Python."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import libasis
from libasis.data import read
from libasis.errors import OptionError, SourceError

pandas = pytest.importorskip("pandas")
Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def everything(batches):
    items = list(batches)
    assert len(items) == len(batches)
    return torch.cat([i for i, _ in items]), torch.cat([t for _, t in items])


def refused(call, *parts):
    with pytest.raises(SourceError) as caught:
        call()
    text = str(caught.value)
    assert "\n" not in text
    for part in parts:
        assert part in text


# arrays


def write_arrays(path, arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        save_file({k: torch.from_numpy(v) for k, v in arrays.items()}, path)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_named_arrays_are_keyword_inputs(folder, suffix):
    arrays = {"ids": np.ones((4, 3), np.int32), "mask": np.ones((4, 3), bool), "t": np.zeros(4, np.float32)}
    path = write_arrays(folder / f"d{suffix}", arrays)
    ((inputs, targets),) = list(read(path, columns=["ids", "mask"], target="t"))
    assert {k: v.dtype for k, v in inputs.items()} == {"ids": torch.int64, "mask": torch.bool}
    assert targets.dtype == torch.float32
    ((alone, _),) = list(read(path, columns=["ids"], target="t"))
    assert alone.shape == (4, 3)


def test_inputs_without_targets_are_plain_tensors(folder):
    path = write_arrays(folder / "d.npz", {"inputs": np.ones((8, 2), np.float32)})
    (batch,) = list(read(path))
    assert batch.shape == (8, 2)


def test_arrays_that_cannot_be_used(folder):
    good = {"x": np.ones((4, 2)), "y": np.ones(4)}
    refused(partial(read, "gone.npz"), "'gone.npz'", "no such file", str(folder))
    path = write_arrays(folder / "a.npz", good)
    refused(partial(read, path, columns=["z"]), "columns names 'z'", "'x', 'y'")
    refused(partial(read, path, target="z"), "target names 'z'")
    refused(partial(read, write_arrays(folder / "b.npz", {"a": np.ones(3)})), "'a'", "columns")
    refused(partial(read, write_arrays(folder / "c.npz", {**good, "X": np.ones((4, 2))})), "'x' and 'X'", "columns")
    refused(
        partial(read, write_arrays(folder / "d.npz", {"x": np.ones((4, 2)), "y": np.ones(3)})), "'x' has 4, 'y' has 3"
    )
    refused(partial(read, write_arrays(folder / "e.npz", {"x": np.ones((0, 2))})), "no samples")
    refused(partial(read, write_arrays(folder / "f.npz", {"x": np.array(1.0)})), "single number")
    refused(partial(read, write_arrays(folder / "g.npz", {"x": np.array(["a", "b"])})), "not numbers")
    bad = np.ones((4, 2))
    bad[2, 1] = np.nan
    refused(partial(read, write_arrays(folder / "h.npz", {"x": bad})), "'x' holds nan at [2, 1]")
    (folder / "i.npz").write_bytes(b"no archive")
    refused(partial(read, "i.npz"), "cannot be read as npz")
    (folder / "i.safetensors").write_bytes(b"no archive")
    refused(partial(read, "i.safetensors"), "cannot be read as safetensors")
    with pytest.raises(SourceError, match="4 samples.*hold out 0"):
        read(path).split(0.01)


def test_pickles_are_never_opened(folder):
    class Trap:
        def __reduce__(self):
            return (open, (str(folder / "opened"), "w"))

    np.savez(folder / "a.npz", x=np.array([Trap()], dtype=object), allow_pickle=True)
    refused(partial(read, "a.npz"), "pickle")
    assert not (folder / "opened").exists()


# tables


def write_table(path, table):
    table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables(folder, suffix):
    table = pandas.DataFrame(
        {"age": [1, 2, 3, 4], "ok": [True, False, True, True], "h": [0.5, 1, 2, 30], "y": [0, 1, 1, 0]}
    )
    path = write_table(folder / f"t{suffix}", table)
    x, y = everything(read(path, target="y"))
    assert x.tolist() == [[1, 1, 0.5], [2, 0, 1], [3, 1, 2], [4, 1, 30]]
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    x, y = everything(read(path, target="h", columns=["ok", "age"]))
    assert x.tolist() == [[1, 1], [0, 2], [1, 3], [1, 4]]
    assert y.dtype == torch.float32
    (x,) = list(read(path, columns=["age"]))
    assert x.shape == (4, 1)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_that_cannot_be_used(folder, suffix):
    table = pandas.DataFrame({"a": [1.0, 2.0, 3.0], "b": ["1", "x", "3"], "c": [1.0, 2.0, np.nan], "d": [1, np.inf, 1]})
    path = write_table(folder / f"t{suffix}", table)
    refused(partial(read, path, columns=["a", "b"]), "column 'b', row 2 holds 'x'", "no number")
    refused(partial(read, path, columns=["a"], target="b"), "column 'b', row 2 holds 'x'")
    refused(partial(read, path, columns=["a", "c"]), "column 'c', row 3 is empty")
    refused(partial(read, path, columns=["a"], target="c"), "column 'c', row 3 is empty")
    refused(partial(read, path, columns=["d"]), "column 'd', row 2 is infinite")
    refused(partial(read, path, columns=["e"]), "columns names 'e'", "'a', 'b', 'c', 'd'")
    refused(partial(read, path, target="e"), "target names 'e'")
    refused(
        partial(read, write_table(folder / f"u{suffix}", table[["a"]]), target="a"), "no columns besides the target"
    )
    refused(partial(read, write_table(folder / f"v{suffix}", table[["a"]][:0])), "no rows")
    refused(partial(read, f"gone{suffix}"), "no such file")
    (folder / f"w{suffix}").write_bytes(b"")
    refused(partial(read, f"w{suffix}"), "is empty" if suffix == ".csv" else "cannot be read")


def test_parquet_types(folder):
    table = pandas.DataFrame({"n": pandas.array([1, 2], "Int64"), "b": pandas.array([True, False], "boolean")})
    table["when"] = pandas.to_datetime(["2020-01-01", "2020-01-02"])
    table["kind"] = pandas.Categorical(["a", "b"])
    table["text"] = ["1", "2.5"]
    path = write_table(folder / "t.parquet", table)
    x, y = everything(read(path, columns=["b", "text"], target="n"))
    assert (x.tolist(), y.tolist(), y.dtype) == ([[1, 1], [0, 2.5]], [1, 2], torch.int64)
    refused(partial(read, path, columns=["when"]), "column 'when' holds datetime64", "not numbers")
    refused(partial(read, path, columns=["kind"]), "column 'kind', row 1 holds 'a'", "no number")


# images


def write_image(path, size=(4, 3), value=128, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode != "RGB" else (value, 0, 255)).save(path)
    return path


def test_images_by_class(folder):
    for i in range(3):
        write_image(folder / "pics" / "cat" / f"{i}.png")
        write_image(folder / "pics" / "ant" / f"{i}.png", value=0)
    (folder / "pics" / "cat" / "notes.txt").write_text("not an image")
    (folder / "pics" / ".hidden").mkdir()
    data = read("pics", batch_size=4)
    x, y = everything(data)
    assert (x.shape, x.dtype) == ((6, 3, 3, 4), torch.float32)
    assert y.tolist() == [0, 0, 0, 1, 1, 1]
    assert x[5, 0, 0, 0].item() == pytest.approx(128 / 255)
    assert (x[5, 1].max(), x[5, 2].min()) == (0, 1)
    assert torch.equal(data.example(), x[:4])


def test_flat_folder_of_grey_images_has_no_targets(folder):
    for i in range(4):
        write_image(folder / "pics" / f"{i}.png", mode="L", value=i)
    (batch,) = list(read("pics"))
    assert batch.shape == (4, 1, 3, 4)
    assert torch.equal((batch[:, 0, 0, 0] * 255).round(), torch.arange(4.0))


def test_images_that_cannot_be_used(folder):
    (folder / "empty").mkdir()
    refused(partial(read, "empty"), "empty holds no images")
    write_image(folder / "a" / "cat" / "0.png")
    (folder / "a" / "dog").mkdir()
    refused(partial(read, "a"), "dog holds no images")
    write_image(folder / "b" / "0.png")
    write_image(folder / "b" / "1.png", size=(5, 3))
    refused(partial(read, "b"), "0.png has 4 x 3 pixels in 3 channels", "1.png has 5 x 3")
    write_image(folder / "c" / "0.png")
    write_image(folder / "c" / "1.png", mode="L")
    refused(partial(read, "c"), "3 channels", "1 channel")
    write_image(folder / "d" / "0.png")
    write_image(folder / "d" / "cat" / "0.png")
    refused(partial(read, "d"), "both class folders and images")
    (folder / "e").mkdir()
    (folder / "e" / "0.png").write_bytes(b"no image")
    refused(partial(read, "e"), "0.png cannot be read as an image")
    Image.new("RGBA", (4, 3)).save(write_image(folder / "f" / "0.png"))
    refused(partial(read, "f"), "colour mode 'RGBA'")


# text


class Words:
    """Numbers of words, as a tokenizer of transformers gives them."""

    eos_token_id = 0
    known = ("<end>", "<unk>", "the", "cat", "sat", "on", "a", "mat", "dog", "ran")

    def __call__(self, text, **_):
        return {"input_ids": [self.known.index(word) for word in text.split()]}


def test_text_is_packed_with_the_next_tokens_as_targets(folder):
    (folder / "t.txt").write_text("the cat sat on a mat the dog ran")
    ((inputs, targets),) = list(read("t.txt", tokenizer=Words(), sequence_length=4))
    assert inputs["input_ids"].tolist() == [[2, 3, 4, 5], [6, 7, 2, 8]]
    assert targets.tolist() == [[3, 4, 5, -100], [7, 2, 8, -100]]


def test_jsonl_documents_end_with_the_end_token(folder):
    lines = [json.dumps({"text": t, "other": 1}) for t in ("the cat", "a mat", "the dog ran")]
    (folder / "t.jsonl").write_text("\n".join(lines) + "\n\n")
    ((inputs, _),) = list(read("t.jsonl", tokenizer=Words(), sequence_length=5))
    assert inputs["input_ids"].tolist() == [[2, 3, 0, 6, 7], [0, 2, 8, 9, 0]]
    ((inputs, _),) = list(read("t.jsonl", tokenizer=Words(), sequence_length=2, max_sequences=2))
    assert inputs["input_ids"].tolist() == [[2, 3], [0, 6]]


def test_text_that_cannot_be_used(folder):
    (folder / "t.txt").write_text("the cat")
    refused(partial(read, "t.txt"), "t.txt is text", "tokenizer")
    refused(partial(read, "t.txt", tokenizer=Words()), "3 tokens", "sequence_length = 128")
    (folder / "u.txt").write_bytes(b"\xff\xff")
    refused(partial(read, "u.txt", tokenizer=Words()), "not UTF-8")
    for bad in ("no json", '{"texts": "a"}', '{"text": 3}', "[1]"):
        (folder / "t.jsonl").write_text('{"text": "the cat"}\n' + bad + "\n")
        refused(partial(read, "t.jsonl", tokenizer=Words()), "t.jsonl, line 2", '"text"')


# any of them


def test_what_is_read_goes_into_every_call(folder):
    rows = "age,height,kind\n" + "".join(f"{i},{i * i % 7},{i % 2}\n" for i in range(40))
    (folder / "t.csv").write_text(rows)
    table = read("t.csv", target="kind", batch_size=16)
    assert (table.columns, table.samples, len(table)) == (["age", "height"], 40, 3)
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2)).eval()
    traced = libasis.trace(model, table.example(), ["0:in", "2:in", "output"])
    basis = libasis.fit(traced, table, progress=False)
    assert basis.info["data"]["samples"] == 40


def test_parts_know_their_places_in_the_file(folder):
    (folder / "t.csv").write_text("a,y\n" + "".join(f"{i},{i % 2}\n" for i in range(20)))
    train, test = read("t.csv", target="y").split(0.25, seed=3)
    assert sorted([*train.places.tolist(), *test.places.tolist()]) == list(range(20))
    for part in (train, test):
        assert part.inputs[:, 0].tolist() == part.places.tolist() == sorted(part.places.tolist())
    write_image(folder / "pics" / "a" / "0.png")
    write_image(folder / "pics" / "b" / "1.png", value=3)
    pictures = read("pics").take(torch.tensor([1]))
    assert pictures.files[pictures.places[0]] == str(folder / "pics" / "b" / "1.png").removeprefix(f"{folder}/")
    assert pictures.classes == ["a", "b"]


def test_paths_and_options_that_are_not_for_them(folder):
    refused(partial(read, "gone.csv"), "'gone.csv'", "no such file")
    refused(partial(read, "words"), "words", ".npz")
    write_image(folder / "pics" / "0.png")
    for options in ({"target": "y"}, {"columns": ["a"]}, {"tokenizer": Words()}, {"sequence_length": 8}):
        with pytest.raises(OptionError, match=f"{next(iter(options))} is given, but pics cannot use it"):
            read("pics", **options)
