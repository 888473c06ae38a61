import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from libasis.demo import _common, modadd

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))  # training stands outside the package

from experiments import train_modadd  # noqa: E402
from experiments.train_modadd import Settings, fast_logits  # noqa: E402

WEIGHTS = _common.FOLDER / "modadd113.safetensors"
TINY = Settings(max_steps=3, settle_steps=2, check_every=2)


def as_numbers(inputs):
    return (inputs[:, 0] * 113 + inputs[:, 1]).tolist()


def metadata(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


def test_shipped_accuracy_is_reproduced():
    model, card = modadd.load(), _common.card("modadd113")
    train, test = modadd.splits()
    assert _common.accuracy(model, test, modadd.targets(test)) >= 0.999
    for inputs, key in ((train, "train_accuracy"), (test, "test_accuracy")):
        assert _common.accuracy(model, inputs, modadd.targets(inputs)) == pytest.approx(card[key], abs=2 / len(inputs))


def test_loaded_model_is_float32_and_in_evaluation_mode():
    model = modadd.load()
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not any(module.training for module in model.modules())


def test_file_is_small_and_carries_its_card():
    assert WEIGHTS.stat().st_size < 1.5e6
    card, found = _common.card("modadd113"), metadata(WEIGHTS)
    assert {key: value if isinstance(card[key], str) else json.loads(value) for key, value in found.items()} == card
    assert {"seed", "settings", "steps", "train_accuracy", "test_accuracy", "torch"} <= set(card)


def test_splits_are_disjoint_exhaustive_and_deterministic():
    train, test = modadd.splits()
    assert (train.shape, test.shape) == ((3830, 3), (8939, 3))
    assert train.dtype == test.dtype == torch.int64
    assert sorted(as_numbers(train) + as_numbers(test)) == list(range(113 * 113))
    assert (torch.cat([train, test])[:, 2] == 113).all()
    again, _ = modadd.splits()
    assert torch.equal(train, again)
    assert not torch.equal(train, modadd.split(seed=12345)[0])


def test_targets_and_batches():
    train, test = modadd.splits()
    pairs = modadd.batches(train)
    assert [len(inputs) for inputs, _ in pairs] == [512] * 7 + [246]
    assert torch.equal(torch.cat([inputs for inputs, _ in pairs]), train)
    assert torch.cat([answers for _, answers in pairs]).tolist() == [(a + b) % 113 for a, b, _ in train.tolist()]
    for batches, split in ((modadd.batches_train(), train), (modadd.batches_test(), test)):
        assert torch.equal(torch.cat([inputs for inputs, _ in batches]), split)


def test_sites_have_the_documented_shapes():
    model, shapes = modadd.load(), {}

    def note(name):
        return lambda _module, arguments: shapes.update({name: tuple(arguments[0].shape)})

    for name in ("blocks.0.ln1", "blocks.0.ln2", "unembed"):
        model.get_submodule(name).register_forward_pre_hook(note(name))
    assert isinstance(model.blocks[0].ln1, nn.Identity)
    assert isinstance(model.blocks[0].ln2, nn.Identity)
    assert model(modadd.prompts()[:5]).shape == (5, 114)
    assert shapes == {"blocks.0.ln1": (5, 3, 128), "blocks.0.ln2": (5, 128), "unembed": (5, 128)}


def test_attention_is_causal():
    torch.manual_seed(0)
    attention = modadd.Attention()
    x = torch.randn(2, 3, 128)
    changed = x.clone()
    changed[:, 2] += 1
    before, after = attention(x), attention(changed)
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.allclose(before[:, 2], after[:, 2])


def test_attention_agrees_with_torch():
    torch.manual_seed(0)
    ours, reference = modadd.Attention(), nn.MultiheadAttention(128, 4, batch_first=True)
    parts = (ours.query, ours.key, ours.value)
    reference.in_proj_weight.data = torch.cat([part.weight for part in parts])
    reference.in_proj_bias.data = torch.cat([part.bias for part in parts])
    reference.out_proj.load_state_dict(ours.out.state_dict())
    x = torch.randn(5, 3, 128)
    expected, _ = reference(x, x, x, attn_mask=nn.Transformer.generate_square_subsequent_mask(3), is_causal=True)
    torch.testing.assert_close(ours(x), expected)


def test_exports_with_a_dynamic_batch():
    model, prompts = modadd.load(), modadd.prompts()
    program = torch.export.export(model, (prompts[:4],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    for size in (1, 9):
        torch.testing.assert_close(program.module()(prompts[-size:]), model(prompts[-size:]))


def test_fast_logits_equal_the_forward():
    torch.manual_seed(0)
    for model in (modadd.ModularAdditionTransformer(), modadd.load()):
        prompts = modadd.prompts()[::17]
        torch.testing.assert_close(fast_logits(model.double(), prompts), model(prompts))


def test_settling_ends_with_the_learning_rate_near_zero():
    trainer = train_modadd.Trainer(0, Settings(settle_steps=10))
    trainer.settle()
    assert [group["lr"] for group in trainer.optimiser.param_groups] == [pytest.approx(0.2 * trainer.settings.lr)]


def test_training_stops_at_the_goal():
    trainer = train_modadd.Trainer(0, Settings(goal=0.0, max_steps=50, check_every=2))
    assert trainer.until_grokked() == 2


def test_training_lowers_the_loss_and_is_deterministic():
    first, second = train_modadd.Trainer(3, TINY), train_modadd.Trainer(3, TINY)
    losses = [first.step() for _ in range(4)]
    assert losses[-1] < losses[0]
    assert losses == [second.step() for _ in range(4)]


def test_script_writes_a_loadable_file_with_its_card(tmp_path):
    options = ["--seed", "3", "--max-steps", "3", "--settle-steps", "2", "--out", str(tmp_path / "made")]
    done = subprocess.run(
        [sys.executable, "-m", "experiments.train_modadd", *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 1  # five steps do not reach the goal
    assert "below the goal of 0.999" in done.stderr
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["modadd113.json", "modadd113.safetensors"]
    card = _common.card("modadd113", tmp_path / "made")
    assert (card["seed"], card["steps"], card["settings"]["max_steps"]) == (3, 5, 3)
    assert metadata(tmp_path / "made" / "modadd113.safetensors")["seed"] == "3"
    model = _common.load(modadd.ModularAdditionTransformer(), "modadd113", tmp_path / "made")
    _, test = modadd.split(seed=3)
    assert _common.accuracy(model, test, modadd.targets(test)) == card["test_accuracy"] < 0.1


def test_prompts_and_answers_have_names():
    content = modadd.content()
    assert content["vocabulary"]([17, 5, 113]) == ["a=17", "b=5", "="]
    assert content["outputs"] == [*(str(n) for n in range(113)), "="]
