"""What is there and what a command would do; commands that ended early are gone on with."""

import json
from pathlib import Path

import pytest

from libasis.run import cli
from run.answers import facts, ok


class Ended(BaseException):
    pass


def test_status_and_dry_runs_say_what_the_commands_then_do(settings, command):
    def would(verb, *more):
        return facts(command(verb, "--dry-run", "--json", *more))["would"]

    assert would("graph") == ["fit the basis", "measure the interactions"]
    assert would("ablate") == would("report") == ["refuse: there is no graph; run libasis graph first"]
    assert not Path("libasis-run").exists()
    for verb in ("fit", "graph", "ablate", "report"):
        assert command(verb)[0] == 0
    found = facts(command("status", "--json"))
    assert {stage["name"]: stage["state"] for stage in found["stages"]} == dict.fromkeys(
        ("basis", "graph", "nodes", "edges", "cards"), "same"
    )
    assert all(steps[0].startswith("refuse") for verb, steps in found["would"].items() if verb != "report")
    assert found["would"]["report"] == ["use the cards", "write the page"]
    assert would("ablate", "--force", "--set", "ablate.stable=false") == ["keep nodes", "ablate edges"]
    assert would("graph", "--force", "--set", "interactions.method=integrated") == [
        "use the basis", "measure the interactions"
    ]  # fmt: skip
    said = ok(command("status", "--set", "fit.method=pca"))
    assert "basis: libasis-run/basis, of 20 samples" in said
    assert "fit.method was 'lib' and is 'pca' now" in said


def test_an_option_of_the_edges_leaves_the_nodes(settings, command):
    for verb in ("graph", "ablate"):
        ok(command(verb))
    passes = []
    told = lambda event: passes.append(event["pass"])  # noqa: E731
    assert cli.run(["ablate", "--force", "--set", "ablate.stable=false"], told) == 0
    assert any(name.startswith("edges") for name in passes)
    assert not any(name.startswith("nodes") for name in passes)


@pytest.mark.parametrize("after", [3, 9, 14])
def test_a_command_that_ended_early_is_gone_on_with(settings, command, after):
    always = ("--set", "run.checkpoint_seconds=0", "--set", "ablate.metric=cross_entropy")

    def run(verb, told):
        return cli.run([verb, *always, "--set", f"output={told.__name__}"], told)

    def whole(event):
        pass

    def resumed(event):
        seen.append(event)
        if len(seen) == after:
            raise Ended

    for verb in ("graph", "ablate"):
        seen = []
        assert run(verb, whole) == 0
        with pytest.raises(Ended):
            run(verb, resumed)
        assert list(Path("resumed/checkpoints").iterdir())
        assert run(verb, resumed) == 0
        assert not Path("resumed/checkpoints").exists()
    for name in ("basis", "graph", "ablation"):
        one, other = (Path(f"{run}/{name}/tensors.safetensors").read_bytes() for run in ("whole", "resumed"))
        assert one == other
    scores = [json.loads(Path(f"{run}/ablation/manifest.json").read_text())["content"] for run in ("whole", "resumed")]
    assert scores[0]["edges"]["curves"] == scores[1]["edges"]["curves"]
