import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from libasis.demo import _common, digits

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # training stands outside the package

from experiments import train_digits, weights  # noqa: E402

WEIGHTS = _common.FOLDER / "digits.safetensors"


def rows(*pixels):
    return sorted(map(tuple, torch.cat(pixels).tolist()))


def test_shipped_accuracy_is_reproduced():
    model, card = digits.load(), _common.card("digits")
    train, test = digits.splits()
    assert _common.accuracy(model, *test) >= 0.97
    for split, key in ((train, "train_accuracy"), (test, "test_accuracy")):
        assert _common.accuracy(model, *split) == pytest.approx(card[key], abs=2 / len(split[1]))


def test_loaded_model_is_float32_and_in_evaluation_mode():
    model = digits.load()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not any(module.training for module in model.modules())
    assert model(digits.splits()[1][0][:3]).shape == (3, 10)


def test_file_is_small_and_carries_its_card():
    assert WEIGHTS.stat().st_size < 1.5e6
    card = _common.card("digits")
    with safe_open(WEIGHTS, "pt") as file:
        found = file.metadata()
    assert {key: value if isinstance(card[key], str) else json.loads(value) for key, value in found.items()} == card
    assert {"seed", "settings", "train_accuracy", "test_accuracy", "torch"} <= set(card)


def test_splits_are_disjoint_exhaustive_and_deterministic():
    (train, train_digits_), (test, test_digits_) = digits.splits()
    assert (train.shape, train_digits_.shape) == ((1437, 64), (1437,))
    assert (test.shape, test_digits_.shape) == ((360, 64), (360,))
    assert (train.dtype, train_digits_.dtype) == (torch.float32, torch.int64)
    pixels, shown = digits.images()
    assert (pixels.min(), pixels.max()) == (0, 1)
    assert rows(train, test) == rows(pixels)  # all 1,797 images differ, so that none is in both splits
    assert len(set(rows(pixels))) == 1797
    assert torch.cat([train_digits_, test_digits_]).bincount().tolist() == shown.bincount().tolist()
    assert set(test_digits_.tolist()) == set(range(10))
    assert torch.equal(train, digits.splits()[0][0])
    assert not torch.equal(train, digits.split(seed=12345)[0][0])


def test_images_keep_their_digits():
    pixels, shown = digits.images()
    digit_of = {tuple(image): digit for image, digit in zip(pixels.tolist(), shown.tolist(), strict=True)}
    for images, answers in digits.splits():
        assert [digit_of[tuple(image)] for image in images.tolist()] == answers.tolist()


def test_batches():
    train, test = digits.splits()
    assert [len(answers) for _, answers in digits.batches(*train, batch_size=500)] == [500, 500, 437]
    for batches, (images, answers) in ((digits.batches_train(), train), (digits.batches_test(), test)):
        assert torch.equal(torch.cat([inputs for inputs, _ in batches]), images)
        assert torch.equal(torch.cat([targets for _, targets in batches]), answers)


def test_missing_scikit_learn_is_a_plain_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"install libasis\[demo\]"):
        digits.images()


def test_import_needs_no_scikit_learn():
    code = "import sys; import libasis.demo.digits, libasis.demo.modadd; print('sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_training_is_deterministic(tmp_path):
    settings = train_digits.Settings(steps=3)
    for name in ("first", "second"):
        train_digits.train(3, settings, tmp_path / name)
    first, second = (_common.load(digits.DigitsMLP(), "digits", tmp_path / name) for name in ("first", "second"))
    assert torch.equal(first.fc1.weight, second.fc1.weight)


def test_script_writes_a_loadable_file_with_its_card(tmp_path):
    options = ["--seed", "3", "--steps", "40", "--out", str(tmp_path / "made")]
    done = subprocess.run(
        [sys.executable, "-m", "experiments.train_digits", *options],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    card = _common.card("digits", tmp_path / "made")
    assert f"test accuracy {card['test_accuracy']:.4f}" in done.stdout
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["digits.json", "digits.safetensors"]
    assert (card["seed"], card["settings"]["steps"]) == (3, 40)
    model = _common.load(digits.DigitsMLP(), "digits", tmp_path / "made")
    _, test = digits.split(seed=3)
    assert _common.accuracy(model, *test) == pytest.approx(card["test_accuracy"], abs=2 / len(test[1]))
    assert card["test_accuracy"] > 0.3  # forty steps already beat guessing


def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    weights.write(digits.DigitsMLP(), "digits", {"seed": 1}, tmp_path)
    before = (tmp_path / "digits.safetensors").read_bytes()

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        weights.write(digits.DigitsMLP(), "digits", {"seed": 2}, tmp_path)
    assert (tmp_path / "digits.safetensors").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2
