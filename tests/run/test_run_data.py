"""The choice of data: files, factories, what is held out. How files are read is tested in tests/data."""

import numpy as np
import pytest
import torch

from libasis.errors import BatchError
from libasis.run.data import open_data
from libasis.run.errors import SourceError


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


def write_arrays(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_files_are_split_once_and_can_be_read_again(folder, config):
    x = np.arange(40, dtype=np.float64).reshape(20, 2)
    path = write_arrays(folder / "d.npz", x=x, y=np.arange(20))
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


def test_test_source_is_other_data(folder, config):
    a = write_arrays(folder / "a.npz", x=np.zeros((4, 2)), y=np.zeros(4))
    b = write_arrays(folder / "b.npz", x=np.ones((6, 2)), y=np.ones(6))
    data = open_data(config(a, test_source=str(b)))
    assert data.held_out
    assert everything(data.train)[0].tolist() == [[0, 0]] * 4
    assert everything(data.test)[0].tolist() == [[1, 1]] * 6


def test_nothing_is_held_out_on_request(folder, config):
    data = open_data(config(write_arrays(folder / "d.npz", x=np.ones((4, 2))), test_fraction=0))
    assert not data.held_out
    assert data.train is data.test


def test_settings_reach_the_reader(folder, config):
    path = write_arrays(folder / "a.npz", a=np.ones((4, 2)), b=np.ones(4))
    ((inputs, targets),) = list(open_data(config(path, columns=["a"], target="b", test_fraction=0)).train)
    assert (inputs.shape, targets.shape) == ((4, 2), (4,))
    refused(config(path, columns=["z"]), "columns names 'z'", "'a', 'b'")
    refused(config("gone.npz"), "data.source is 'gone.npz'", "no such file", str(folder))
    refused(config(path, columns=["a"], test_fraction=0.01), "4 samples", "hold out 0", "data.test_source")


def test_text_takes_the_tokenizer_of_the_model(folder, config, hf_directory):
    (folder / "t.txt").write_text("the cat sat on a mat the dog ran")
    source = f"hf:{hf_directory}"
    made = config("t.txt", model=source, sequence_length=4, test_fraction=0)
    ((inputs, targets),) = list(open_data(made).train)
    assert inputs["input_ids"].tolist() == [[2, 3, 4, 5], [6, 7, 2, 8]]
    assert targets.tolist() == [[3, 4, 5, -100], [7, 2, 8, -100]]
    refused(config("t.txt"), 'model.source = "hf:DIRECTORY"', "'m:f'")
    refused(config("t.txt", model=source), "10 tokens", "sequence_length = 128")
    refused(config("t.txt", model="hf:nowhere"), "nowhere holds no tokenizer")


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
