"""The edges of half blocks of a language model, on a tiny one: resumed, as the package gives them, in a table."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from experiments import language_branches, language_edges, write_results  # noqa: E402

transformers = pytest.importorskip("transformers")
SETTINGS = {
    "allowed": 0.02,
    "confidence": 0.95,
    "replicates": 50,
    "seed": 0,
    "blocks": [0],
    "methods": ["lib", "pca"],
    "shares": [0.0, 0.25, 0.5, 0.75, 1.0],
    "sequences": {"edges": 16, "held_out": 8},
}


def test_edges_of_both_sections(tmp_path, capsys):
    torch.manual_seed(0)
    shape = {"hidden_size": 8, "intermediate_size": 12, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = transformers.LlamaConfig(vocab_size=20, num_hidden_layers=2, initializer_range=0.6, **shape)
    subject = language_edges.Halves(transformers.LlamaForCausalLM(config).eval(), [0])
    ids = torch.randint(20, (64, 6), generator=torch.Generator().manual_seed(1))
    folder = tmp_path / "results" / "tiny_edges"
    folder.mkdir(parents=True)
    language_branches.same_settings(folder / "protocol.json", SETTINGS, {"text": ids})
    bases = language_branches.Bases(subject, language_branches.fit(subject, ids, folder, 0), 0)

    def run():
        capsys.readouterr()
        edges = language_edges.Edges(bases, {"fit": ids, "text": ids[:16]}, SETTINGS, folder)
        for section in language_edges.ENDS:
            edges.measure(0, section, ["lib", "pca"])
            edges.measure(0, section, [language_edges.BESIDE])
        return capsys.readouterr().out.count("required")

    assert run() == 6
    assert run() == 0
    rows = language_branches.whole_lines(folder / "edges.jsonl")
    for row in rows:
        means = {int(count): sum(kl) / len(kl) for count, kl in row["kl"].items()}
        if row["method"] == language_edges.BESIDE:
            assert len(means) == 1
            continue
        assert all((mean <= 0.02) == (count >= row["stable"]) for count, mean in means.items())
        assert row["required"] in means
    with torch.no_grad():
        out = subject.model.model(ids, output_hidden_states=True).hidden_states[1][:, 1:]  # the last one is normed
    assert torch.allclose(bases.basis("0|after", "pca").mean, out.double().mean((0, 1)), atol=1e-6)
    assert torch.equal(bases.sums.fisher["0|adds"], bases.sums.fisher["0|after"])  # which is no matter of the bypass

    whole = (folder / "edges.jsonl").read_text()
    (folder / "edges.jsonl").write_text(whole[:-9])  # stopped while it wrote
    assert language_branches.whole_lines(folder / "edges.jsonl") == rows[:-1]
    (folder / "edges.jsonl").write_text(whole)
    page = tmp_path / "docs" / "results.md"
    page.parent.mkdir()
    page.write_text("<!-- results: tiny_edges half -->\n<!-- /results -->\n")
    write_results.write(tmp_path / "results", page.parent)
    assert page.read_text().count("| block 0, ") == 2
    assert "not measured" not in page.read_text()
    points = (page.parent / "results-edges.csv").read_text().splitlines()
    assert len(points) == 1 + sum(len(row["kl"]) for row in rows)
