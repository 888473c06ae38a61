"""The experiment with sparse dictionaries, on a tiny MLP: its parts against autograd, the model and the package."""

import json
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import libasis
from evaluate.tiny_llama import tiny_llama

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments import masked_mlp, superposition, superposition_tables, write_results  # noqa: E402
from experiments import sparse_dictionary as sparse  # noqa: E402

D, HIDDEN, LATENTS, K = 6, 10, 24, 4
SETTINGS = {"latents": LATENTS, "k": K, "batch": 64, "rate": 0.01, "jacobian": 16}


@pytest.fixture(scope="module")
def mlp():
    generator = torch.Generator().manual_seed(0)
    gate, up = torch.randn(2, D, HIDDEN, generator=generator) / D**0.5
    return sparse.GatedMLP(gate, up, torch.randn(HIDDEN, D, generator=generator))


@pytest.fixture(scope="module")
def data(mlp):
    generator = torch.Generator().manual_seed(1)
    atoms = torch.randn(16, D, generator=generator)
    x = torch.rand(1024, 16, generator=generator) * (torch.rand(1024, 16, generator=generator) < 0.15) @ atoms
    return x, mlp(x)


@pytest.fixture(scope="module")
def trained(mlp, data):
    made = {}
    for coefficient in (0.0, 1.0):
        trainer = sparse.Trainer(mlp, data, SETTINGS, coefficient)
        made[coefficient] = trainer, trainer.run(150)
    return made


def test_training_explains_more_and_the_penalty_makes_derivatives_smaller(mlp, data, trained):
    for _, lines in trained.values():
        assert lines[-1]["x"] + lines[-1]["y"] < 0.5 * (lines[0]["x"] + lines[0]["y"])
    size = [sparse.mean_jacobian(mlp, trainer.pair, data) for trainer, _ in trained.values()]
    assert size[1] < 0.8 * size[0]


def test_the_finished_dictionary_is_the_trained_one(data, trained):
    trainer, _ = trained[0.0]
    for one, finished, x in zip(trainer.pair, trainer.finished(), data, strict=True):
        which, z, back = one(one.scaled(x))
        assert torch.allclose(finished.encode(x).gather(1, which), z, atol=1e-5)
        assert torch.allclose(finished.decode(finished.encode(x)), back * one.spread + one.mean, atol=1e-5)
        left = sparse.unexplained(finished, x, x.mean(0))
        assert left == pytest.approx(
            float((finished.decode(finished.encode(x)) - x).var(0, correction=0).sum() / x.var(0, correction=0).sum()),
            rel=0.05,
        )


def test_the_jacobian_is_that_of_autograd(mlp, data, trained):
    trainer, _ = trained[0.0]
    source, target = trainer.pair
    x, y = (one.scaled(part[:5]) for one, part in zip(trainer.pair, data, strict=True))
    found = sparse.active_jacobian(mlp, source, target, x, y)
    for n in range(5):
        ins, z, _ = source(x[n : n + 1])
        outs, z_out, _ = target(y[n : n + 1])

        def section(z, ins=ins, outs=outs):
            back = z @ source.decoder[ins[0]] + source.centre
            y = target.scaled(mlp(back * source.spread + source.mean))
            return ((y - target.centre) @ target.encoder + target.bias)[outs[0]]

        J = torch.func.jacrev(section)(z[0])
        J = J * (z_out[0] > 0)[:, None] * (z[0] > 0)
        assert torch.allclose(found[n], J, atol=1e-5)


@pytest.fixture(scope="module")
def sections(mlp, data, trained):
    """Of each kind one, with the bases of both ends in its own features."""
    pair = tuple(trained[0.0][0].finished())
    generator = torch.Generator().manual_seed(2)
    ends = []
    for x in data:
        C = torch.randn(D, D, generator=generator)
        ends.append(masked_mlp.Linear(x.mean(0), C, torch.linalg.inv(C)))
    z = pair[0].encode(data[0])
    latents = {errors: masked_mlp.Latents(mlp, pair, z.mean(0), errors=errors) for errors in (False, True)}
    return {
        "dense": masked_mlp.Dense(mlp, *ends),
        "latents": latents[False],
        "errors": latents[True],
        "inside": masked_mlp.Inside(latents[False], *ends),
    }


@pytest.mark.parametrize("kind", ["dense", "latents", "errors", "inside"])
def test_with_all_edges_a_section_is_whole_and_with_none_it_sees_the_mean(mlp, data, sections, kind):
    section, x = sections[kind], data[0][:40]
    with torch.no_grad():
        everything = torch.ones(section.shape, dtype=torch.bool)
        assert torch.allclose(section.run(x, everything), section.run(x, None), atol=1e-4)
        if kind in ("dense", "errors"):
            assert torch.allclose(section.run(x, None), mlp(x), atol=1e-4)
        none = section.run(x, ~everything)
        if kind == "dense":
            assert torch.allclose(none, mlp(section.source.mean).expand_as(none), atol=1e-4)
        if kind in ("latents", "inside"):
            mean = section.mean if kind == "latents" else section.source.mean
            back = section.source.decode(mean) if kind == "latents" else mean
            own = section if kind == "latents" else section.latents
            told = own.target.encode(mlp(back))
            if kind == "latents":  # those active with all edges, as far as the mean calls for them
                own.free = True
                none = section.run(x, ~everything)
                own.free = False
            assert torch.allclose(none, own.target.decode(told).expand_as(none), atol=1e-4)


@pytest.mark.parametrize("kind", ["dense", "latents", "inside"])
def test_masked_output_features_are_those_of_masked_inputs(mlp, data, sections, kind):
    section, x = sections[kind], data[0][:20]
    mask = torch.rand(section.shape, generator=torch.Generator().manual_seed(3)) < 0.5
    with torch.no_grad():
        found = section.run(x, mask)
        if kind == "latents":
            z, pair = section.source.encode(x), (section.source, section.target)
            held = pair[1].encode(mlp(pair[0].decode(z)))
            value = torch.zeros_like(held)
            for j, row in enumerate(mask):
                y = mlp(pair[0].decode(torch.where(row, z, section.mean)))
                pre = (y - pair[1].b_dec) @ pair[1].W_enc[:, j] + pair[1].b_enc[j]
                active = (held.topk(K, 1).indices == j).any(1)
                value[:, j] = torch.where(active, pre.relu(), 0)
            assert torch.allclose(found, pair[1].decode(value), atol=1e-4)
            active = (held.topk(K, 1).indices[:, :, None] >= 0) * mask[held.topk(K, 1).indices] * (z > 0)[:, None]
            assert section.kept == pytest.approx(float(active.sum(-1).sum(-1).float().mean()), rel=1e-4)
            return
        at = x if kind == "dense" else section.latents.reconstructed(x)
        f = section.source.encode(at)
        for j, row in enumerate(mask):
            y = mlp(section.source.decode(f * row))
            if kind == "inside":
                y = section.latents.target.decode(section.latents.target.encode(y))
            assert torch.allclose(section.target.encode(found)[:, j], section.target.encode(y)[:, j], atol=1e-3)


@pytest.mark.parametrize("kind", ["dense", "latents", "inside"])
def test_strengths_are_those_of_autograd(mlp, data, sections, kind):
    section, x = sections[kind], data[0][:12]
    with torch.no_grad():
        found = section.strengths(x)
    total = torch.zeros(section.shape)
    own = section if kind == "latents" else getattr(section, "latents", None)
    for row in x:
        if kind == "latents":
            z = section.source.encode(row)
            f, function = z - section.mean, lambda z: section.target.encode(mlp(section.source.decode(z)))
        else:
            at = row if own is None else own.reconstructed(row[None])[0]
            f, z = section.source.encode(at), section.source.encode(at)

            def function(z):
                y = mlp(section.source.decode(z))
                y = y if own is None else own.target.decode(own.target.encode(y))
                return section.target.encode(y)

        total += (torch.func.jacrev(function)(z) * f).square()
    assert torch.allclose(found.float(), (total / len(x)).sqrt(), atol=1e-4, rtol=1e-3)


class Module(torch.nn.Module):
    """The MLP as a model that can be cut."""

    def __init__(self, mlp):
        super().__init__()
        self.start, self.end = torch.nn.Identity(), torch.nn.Identity()
        for name in ("gate", "up", "down"):
            weight = getattr(mlp, name)
            linear = torch.nn.Linear(*weight.shape, bias=False).requires_grad_(False)
            linear.weight.copy_(weight.T)
            setattr(self, name, linear)

    def forward(self, x):
        x = self.start(x)
        return self.end(self.down(torch.nn.functional.silu(self.gate(x)) * self.up(x)))


def test_edges_of_a_basis_are_those_of_the_package(mlp, data):
    x = data[0][:60]
    traced = libasis.trace(Module(mlp).eval(), x, ["start", "end"])
    basis = libasis.fit(traced, [x], method="pca")
    graph = libasis.interactions(traced, basis, [x])
    section = masked_mlp.Dense(mlp, *map(masked_mlp.Linear.of, basis))
    with torch.no_grad():
        strengths = section.strengths(x)
        mask = torch.zeros(strengths.numel(), dtype=torch.bool)
        mask[strengths.flatten().argsort(descending=True)[:9]] = True
        made = section.run(x, mask.view(section.shape))
    assert torch.allclose(strengths.square(), graph.edges[0].double(), rtol=1e-3, atol=1e-6)
    found = libasis.ablate_edges(traced, graph, [(x, mlp(x))], "mse", max_drop=0, sections=["start"])
    assert float((made - mlp(x)).square().mean()) == pytest.approx(found.curves["start"][9], rel=1e-3)


def test_lib_of_latents_and_error_is_lib_of_the_activation(mlp, data, trained):
    """What comes behind sees latents through the decoder, so that more latents make no more features."""
    x, dictionary = data[0][:200], trained[0.0][0].finished()[0]
    copied, sites = libasis.bridges.spliced(Module(mlp).eval(), {"start": dictionary})
    inside = libasis.fit(libasis.trace(copied, x, [sites["start"], "end"]), [x])[0]
    beside = libasis.fit(libasis.trace(Module(mlp).eval(), x, ["start", "end"]), [x])[0]
    assert (inside.d, inside.k) == (LATENTS + D, D)
    assert torch.allclose(inside.importances, beside.importances, rtol=1e-3)


def test_a_tiny_language_model_is_measured_once_and_becomes_tables(tmp_path, capsys):
    model = tiny_llama().requires_grad_(False)
    protocol = tomllib.loads(superposition.PROTOCOL.read_text(encoding="utf-8"))
    protocol |= {"block": 1, "replicates": 50}
    protocol["data"] |= {"tokens": 6, "fit": 400, "fisher": 50, "held_out": 24, "edges": 8, "inside": 4, "scored": 2}
    protocol["train"] |= {"latents": 24, "k": 6, "batch": 64, "rate": 0.01, "steps": 80, "trial": 5, "jacobian": 8}
    protocol["graph"], protocol["contexts"] = {"dense": 64, "sparse": 64}, {"features": 5, "shown": 2, "top": 4}
    ids = {"fit": torch.randint(20, (400, 6)), "text": torch.randint(20, (24, 6))}
    folder = tmp_path / "results" / "superposition"
    folder.mkdir(parents=True)

    def run():
        with torch.no_grad():
            superposition.run(model, ids, protocol, lambda tokens: " ".join(map(str, tokens.tolist())), folder)

    run()
    assert "edges plain" in capsys.readouterr().out
    run()
    assert capsys.readouterr().out == ""
    whole = json.loads((folder / "reconstruction-plain.json").read_text())
    assert whole["kl"]["both"] != whole["kl"]["x"]
    found = json.loads((folder / "spliced.json").read_text())
    assert (found["beside"]["d"], found["inside"]["d"], found["inside"]["k"]) == (8, 32, found["beside"]["k"])
    assert found["inside"]["importances"] == pytest.approx(found["beside"]["importances"], rel=0.01)
    rows = json.loads((folder / "edges-lib.json").read_text())
    assert max(rows["whole"]) < 1e-6
    page = tmp_path / "docs" / "results.md"
    page.parent.mkdir()
    page.write_text(
        "".join(f"<!-- results: superposition {kind} -->\n<!-- /results -->\n" for kind in superposition_tables.TABLES)
    )
    write_results.write(tmp_path / "results", page.parent)
    told = page.read_text()
    assert "Not measured" not in told
    assert told.count("| LIB inside the dictionary |") == 5
    assert told.count("| Jacobian dictionary, errors carried along |") == 1
