import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from libasis.errors import BatchError
from libasis.run.data import open_data
from libasis.run.errors import SourceError

pandas = pytest.importorskip("pandas")
Image = pytest.importorskip("PIL.Image")


def everything(batches):
    items = list(batches)
    assert len(items) == len(batches)
    return torch.cat([i for i, _ in items]), torch.cat([t for _, t in items])


def refused(config, *parts):
    with pytest.raises(SourceError) as caught:
        open_data(config)
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
def test_arrays_are_split_once_and_can_be_read_again(folder, config, suffix):
    x = np.arange(40, dtype=np.float64).reshape(20, 2)
    path = write_arrays(folder / f"d{suffix}", {"x": x, "y": np.arange(20)})
    data = open_data(config(path, batch_size=4, seed=3))
    assert data.held_out
    train, test = everything(data.train), everything(data.test)
    assert [len(b[0]) for b in data.train] == [4, 4, 4, 3]
    assert (train[0].dtype, train[1].dtype) == (torch.float32, torch.int64)
    assert torch.equal(train[0][:, 0], 2.0 * train[1])
    assert len(test[1]) == 5
    assert sorted([*train[1].tolist(), *test[1].tolist()]) == list(range(20))
    again, other = open_data(config(path, seed=3)), open_data(config(path, seed=4))
    assert torch.equal(everything(again.test)[1], test[1])
    assert not torch.equal(everything(other.test)[1], test[1])
    assert torch.equal(everything(data.train)[0], train[0])


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_named_arrays_are_keyword_inputs(folder, config, suffix):
    arrays = {"ids": np.ones((4, 3), np.int32), "mask": np.ones((4, 3), bool), "t": np.zeros(4, np.float32)}
    path = write_arrays(folder / f"d{suffix}", arrays)
    data = open_data(config(path, columns=["ids", "mask"], target="t", test_fraction=0))
    assert not data.held_out
    ((inputs, targets),) = list(data.train)
    assert {k: v.dtype for k, v in inputs.items()} == {"ids": torch.int64, "mask": torch.bool}
    assert targets.dtype == torch.float32
    ((alone, _),) = list(open_data(config(path, columns=["ids"], target="t", test_fraction=0)).train)
    assert alone.shape == (4, 3)


def test_inputs_without_targets_are_plain_tensors(folder, config):
    path = write_arrays(folder / "d.npz", {"inputs": np.ones((8, 2), np.float32)})
    (batch,) = list(open_data(config(path)).train)
    assert batch.shape == (6, 2)


def test_arrays_that_cannot_be_used(folder, config):
    good = {"x": np.ones((4, 2)), "y": np.ones(4)}
    refused(config("gone.npz"), "'gone.npz'", "no such file", str(folder))
    path = write_arrays(folder / "a.npz", good)
    refused(config(path, columns=["z"]), "data.columns names 'z'", "'x', 'y'")
    refused(config(path, target="z"), "data.target names 'z'")
    refused(config(write_arrays(folder / "b.npz", {"a": np.ones(3)})), "'a'", "data.columns")
    refused(config(write_arrays(folder / "c.npz", {**good, "X": np.ones((4, 2))})), "'x' and 'X'", "data.columns")
    refused(config(write_arrays(folder / "d.npz", {"x": np.ones((4, 2)), "y": np.ones(3)})), "'x' has 4, 'y' has 3")
    refused(config(write_arrays(folder / "e.npz", {"x": np.ones((0, 2))})), "no samples")
    refused(config(write_arrays(folder / "f.npz", {"x": np.array(1.0)})), "single number")
    refused(config(write_arrays(folder / "g.npz", {"x": np.array(["a", "b"])})), "not numbers")
    bad = np.ones((4, 2))
    bad[2, 1] = np.nan
    refused(config(write_arrays(folder / "h.npz", {"x": bad})), "'x' holds nan at [2, 1]")
    (folder / "i.npz").write_bytes(b"no archive")
    refused(config("i.npz"), "cannot be read as npz")
    (folder / "i.safetensors").write_bytes(b"no archive")
    refused(config("i.safetensors"), "cannot be read as safetensors")
    refused(config(path, test_fraction=0.01), "4 samples", "hold out 0")


def test_pickles_are_never_opened(folder, config):
    class Trap:
        def __reduce__(self):
            return (open, (str(folder / "opened"), "w"))

    np.savez(folder / "a.npz", x=np.array([Trap()], dtype=object), allow_pickle=True)
    refused(config("a.npz"), "pickle")
    assert not (folder / "opened").exists()


def test_test_source_is_other_data(folder, config):
    a = write_arrays(folder / "a.npz", {"x": np.zeros((4, 2)), "y": np.zeros(4)})
    b = write_arrays(folder / "b.npz", {"x": np.ones((6, 2)), "y": np.ones(6)})
    data = open_data(config(a, test_source=str(b)))
    assert data.held_out
    assert everything(data.train)[0].tolist() == [[0, 0]] * 4
    assert everything(data.test)[0].tolist() == [[1, 1]] * 6


# tables


def write_table(path, table):
    table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables(folder, config, suffix):
    table = pandas.DataFrame(
        {"age": [1, 2, 3, 4], "ok": [True, False, True, True], "h": [0.5, 1, 2, 30], "y": [0, 1, 1, 0]}
    )
    path = write_table(folder / f"t{suffix}", table)
    x, y = everything(open_data(config(path, target="y", test_fraction=0)).train)
    assert x.tolist() == [[1, 1, 0.5], [2, 0, 1], [3, 1, 2], [4, 1, 30]]
    assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
    x, y = everything(open_data(config(path, target="h", columns=["ok", "age"], test_fraction=0)).train)
    assert x.tolist() == [[1, 1], [0, 2], [1, 3], [1, 4]]
    assert y.dtype == torch.float32
    (x,) = list(open_data(config(path, columns=["age"], test_fraction=0)).train)
    assert x.shape == (4, 1)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_that_cannot_be_used(folder, config, suffix):
    table = pandas.DataFrame({"a": [1.0, 2.0, 3.0], "b": ["1", "x", "3"], "c": [1.0, 2.0, np.nan], "d": [1, np.inf, 1]})
    path = write_table(folder / f"t{suffix}", table)
    refused(config(path, columns=["a", "b"]), "column 'b', row 2 holds 'x'", "no number")
    refused(config(path, columns=["a"], target="b"), "column 'b', row 2 holds 'x'")
    refused(config(path, columns=["a", "c"]), "column 'c', row 3 is empty")
    refused(config(path, columns=["a"], target="c"), "column 'c', row 3 is empty")
    refused(config(path, columns=["d"]), "column 'd', row 2 is infinite")
    refused(config(path, columns=["e"]), "data.columns names 'e'", "'a', 'b', 'c', 'd'")
    refused(config(path, target="e"), "data.target names 'e'")
    refused(config(write_table(folder / f"u{suffix}", table[["a"]]), target="a"), "no columns besides the target")
    refused(config(write_table(folder / f"v{suffix}", table[["a"]][:0])), "no rows")
    refused(config(f"gone{suffix}"), "no such file")
    (folder / f"w{suffix}").write_bytes(b"")
    refused(config(f"w{suffix}"), "cannot be read")


def test_parquet_types(folder, config):
    table = pandas.DataFrame({"n": pandas.array([1, 2], "Int64"), "b": pandas.array([True, False], "boolean")})
    table["when"] = pandas.to_datetime(["2020-01-01", "2020-01-02"])
    table["kind"] = pandas.Categorical(["a", "b"])
    table["text"] = ["1", "2.5"]
    path = write_table(folder / "t.parquet", table)
    x, y = everything(open_data(config(path, columns=["b", "text"], target="n", test_fraction=0)).train)
    assert (x.tolist(), y.tolist(), y.dtype) == ([[1, 1], [0, 2.5]], [1, 2], torch.int64)
    refused(config(path, columns=["when"]), "column 'when' holds datetime64", "not numbers")
    refused(config(path, columns=["kind"]), "column 'kind', row 1 holds 'a'", "no number")


# images


def write_image(path, size=(4, 3), value=128, mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode != "RGB" else (value, 0, 255)).save(path)
    return path


def test_images_by_class(folder, config):
    for i in range(3):
        write_image(folder / "pics" / "cat" / f"{i}.png")
        write_image(folder / "pics" / "ant" / f"{i}.png", value=0)
    (folder / "pics" / "cat" / "notes.txt").write_text("not an image")
    (folder / "pics" / ".hidden").mkdir()
    data = open_data(config("pics", test_fraction=0, batch_size=4))
    x, y = everything(data.train)
    assert (x.shape, x.dtype) == ((6, 3, 3, 4), torch.float32)
    assert y.tolist() == [0, 0, 0, 1, 1, 1]
    assert x[5, 0, 0, 0].item() == pytest.approx(128 / 255)
    assert (x[5, 1].max(), x[5, 2].min()) == (0, 1)
    assert torch.equal(data.train.example(), x[:4])


def test_flat_folder_of_grey_images_has_no_targets(folder, config):
    for i in range(4):
        write_image(folder / "pics" / f"{i}.png", mode="L", value=i)
    (batch,) = list(open_data(config("pics", test_fraction=0)).train)
    assert batch.shape == (4, 1, 3, 4)
    assert torch.equal((batch[:, 0, 0, 0] * 255).round(), torch.arange(4.0))


def test_images_that_cannot_be_used(folder, config):
    (folder / "empty").mkdir()
    refused(config("empty"), "empty holds no images")
    write_image(folder / "a" / "cat" / "0.png")
    (folder / "a" / "dog").mkdir()
    refused(config("a"), "dog holds no images")
    write_image(folder / "b" / "0.png")
    write_image(folder / "b" / "1.png", size=(5, 3))
    refused(config("b"), "0.png has 4 x 3 pixels in 3 channels", "1.png has 5 x 3")
    write_image(folder / "c" / "0.png")
    write_image(folder / "c" / "1.png", mode="L")
    refused(config("c"), "3 channels", "1 channel")
    write_image(folder / "d" / "0.png")
    write_image(folder / "d" / "cat" / "0.png")
    refused(config("d"), "both class folders and images")
    (folder / "e").mkdir()
    (folder / "e" / "0.png").write_bytes(b"no image")
    refused(config("e"), "0.png cannot be read as an image")
    Image.new("RGBA", (4, 3)).save(write_image(folder / "f" / "0.png"))
    refused(config("f"), "colour mode 'RGBA'")


# text


def test_text_is_packed_with_the_next_tokens_as_targets(folder, config, hf_directory):
    (folder / "t.txt").write_text("the cat sat on a mat the dog ran")
    made = config("t.txt", model=f"hf:{hf_directory}", sequence_length=4, test_fraction=0)
    ((inputs, targets),) = list(open_data(made).train)
    assert inputs["input_ids"].tolist() == [[2, 3, 4, 5], [6, 7, 2, 8]]
    assert targets.tolist() == [[3, 4, 5, -100], [7, 2, 8, -100]]


def test_jsonl_documents_end_with_the_end_token(folder, config, hf_directory):
    lines = [json.dumps({"text": t, "other": 1}) for t in ("the cat", "a mat", "the dog ran")]
    (folder / "t.jsonl").write_text("\n".join(lines) + "\n\n")
    source = f"hf:{hf_directory}"
    ((inputs, _),) = list(open_data(config("t.jsonl", model=source, sequence_length=5, test_fraction=0)).train)
    assert inputs["input_ids"].tolist() == [[2, 3, 0, 6, 7], [0, 2, 8, 9, 0]]
    made = config("t.jsonl", model=source, sequence_length=2, max_sequences=2, test_fraction=0)
    ((inputs, _),) = list(open_data(made).train)
    assert inputs["input_ids"].tolist() == [[2, 3], [0, 6]]


def test_text_that_cannot_be_used(folder, config, hf_directory):
    (folder / "t.txt").write_text("the cat")
    source = f"hf:{hf_directory}"
    refused(config("t.txt"), 'model.source = "hf:DIRECTORY"', "'m:f'")
    refused(config("t.txt", model=source), "3 tokens", "data.sequence_length = 128")
    refused(config("t.txt", model="hf:nowhere"), "nowhere holds no tokenizer")
    (folder / "u.txt").write_bytes(b"\xff\xff")
    refused(config("u.txt", model=source), "not UTF-8")
    for bad in ("no json", '{"texts": "a"}', '{"text": 3}', "[1]"):
        (folder / "t.jsonl").write_text('{"text": "the cat"}\n' + bad + "\n")
        refused(config("t.jsonl", model=source), "t.jsonl, line 2", '"text"')


# factories


def test_factory_of_batches_is_also_the_test_data(config, code):
    data = open_data(config(f"{code}:batches"))
    assert not data.held_out
    assert data.train is data.test
    assert [len(y) for _, y in data.train] == [12, 8]


def test_factory_of_training_and_test_data(config, code):
    data = open_data(config(f"{code}:train_and_test"))
    assert data.held_out
    assert not torch.equal(data.train[0][0], data.test[0][0])
    refused(config(f"{code}:train_and_test", test_source=f"{code}:batches"), "remove data.test_source")
    refused(config(f"{code}:batches", test_source=f"{code}:train_and_test"), "two data sets")


def test_tuple_of_two_pairs_is_two_batches(config, code):
    data = open_data(config(f"{code}:tuple_of_batches"))
    assert not data.held_out
    assert len(data.train) == 2


def test_factories_that_cannot_be_used(config, code):
    refused(config(f"{code}:batches", test_fraction=0.5), "data.test_fraction splits files only")
    refused(config(f"{code}:batches", target="y"), "data.target is given", "cannot use it")
    refused(config("a.csv", sequence_length=8), "data.sequence_length is given", "'a.csv'")
    refused(config("a.txt", columns=["y"]), "data.columns is given", "'a.txt'")
    refused(config("words"), "'words'", ".npz")
    refused(config("file.docx"), "'file.docx'", ".parquet")
    refused(config(f"{code}:NUMBER"), "which is a int")
    with pytest.raises(BatchError, match="one-shot"):
        open_data(config(f"{code}:one_shot"))
    with pytest.raises(BatchError, match="NoneType"):
        open_data(config(f"{code}:nothing"))
