"""Folders to be shared hold the result and a card that says what it is."""

from dataclasses import replace

import huggingface_hub
import pytest
import torch
from torch import nn

import libasis
from libasis.errors import StoreError
from libasis.store import digest_of
from report.synthetic import make_graph


@pytest.fixture
def graph():
    graph = make_graph((3, 2, 2), ("a", "b|<b>`", "output"))
    info = {"traced": {"model": "A|B\n<i>", "fingerprint": "f" * 64, "sites": list(graph.sites)}, "seed": 0}
    data = {"source": "list of 1 batches", "samples": 20, "digest": "d" * 64}
    info |= {"method": "lib", "data": data, "versions": {"libasis": "0.1.0"}}
    return replace(graph, info=info, basis=replace(graph.basis, info=info))


def test_a_shared_folder_comes_back_and_its_card_is_one_of_the_hub(graph, tmp_path):
    for result in (graph, graph.basis):
        folder = result.save_pretrained(tmp_path / result.stored_as)
        back = type(result).from_pretrained(folder)
        assert back.digest() == result.digest()
        assert digest_of(folder) == digest_of(result.save(tmp_path / f"{result.stored_as} saved"))
        card = huggingface_hub.ModelCard.load(folder / "README.md")
        assert card.data.library_name == "libasis"
        assert card.data.license is None
        assert set(card.data.tags) == {"libasis", "interpretability", result.stored_as}
        for told in (r"A\|B\\n\<i\>", "f" * 64, "list of 1 batches", "| Samples | 20 |", "| Seed | 0 |", "0.1.0"):
            assert told in card.text
        assert {file.name for file in folder.iterdir()} == {"README.md", "manifest.json", "tensors.safetensors"}


@pytest.mark.parametrize(
    ("readout", "told"),
    [("next", ""), ("output", "readout output"), (libasis.rules.Fisher(shrink=0.1), "readout fisher, shrinkage 0.1")],
)
def test_a_basis_and_cards_say_for_what_importance_is(readout, told, tmp_path):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).eval(), torch.randn(30, 4)
    traced = libasis.trace(model, x, ["input", "2:in", "output"])
    basis = libasis.fit(traced, [x], readout=readout, progress=False)
    assert repr(basis).splitlines()[0] == f"Basis(method='lib', 3 sites{told and ', '}{told})"
    for result in (basis, libasis.interactions(traced, basis, [x], progress=False)):
        card = (result.save_pretrained(tmp_path / result.stored_as) / "README.md").read_text()
        assert (f"| Readout | {told.removeprefix('readout ')} |" in card) == bool(told)
        assert ("eadout" in card) == bool(told)


def test_words_in_a_card_stay_and_facts_are_new(graph, tmp_path):
    folder = graph.save_pretrained(tmp_path / "mine")
    card = folder / "README.md"
    head, mark, rest = card.read_text().partition("---\n\n#")
    card.write_text(f"{head}license: mit\n{mark}{rest}\nWhat I found: é\n")
    with pytest.raises(StoreError, match="force=True"):
        graph.save_pretrained(folder)
    info = {**graph.info, "method": "pca"}
    replace(graph, info=info).save_pretrained(folder, force=True)
    again = huggingface_hub.ModelCard.load(card)
    assert again.data.license == "mit"
    assert "| Basis | pca |" in again.text
    assert "| Basis | lib |" not in again.text
    assert again.text.rstrip().endswith("What I found: é")
    card.write_text("All my own\n")
    graph.save_pretrained(folder, force=True)
    assert card.read_text() == "All my own\n"


def test_a_snapshot_of_links_is_read(graph, tmp_path):
    """As the hub's cache keeps it."""
    folder = graph.save_pretrained(tmp_path / "blobs")
    links = tmp_path / "snapshot"
    links.mkdir()
    for file in folder.iterdir():
        (links / file.name).symlink_to(file)
    assert libasis.InteractionGraph.from_pretrained(links).digest() == graph.digest()


def test_what_is_no_folder_here_is_told_how_to_get(graph, tmp_path):
    with pytest.raises(StoreError, match=r"downloads nothing.*snapshot_download\('someone/a-basis'\)"):
        libasis.Basis.from_pretrained("someone/a-basis")
    with pytest.raises(StoreError, match="does not exist"):
        libasis.Basis.from_pretrained(tmp_path / "none")
    folder = graph.save_pretrained(tmp_path / "graph")
    with pytest.raises(StoreError, match="of the kind 'graph', not 'basis'"):
        libasis.Basis.from_pretrained(folder)
