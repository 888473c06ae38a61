"""Mean and covariance of every site obey the laws of accumulators."""

import json
import subprocess
import sys

import pytest
import torch

import chains
from chains import random
from libasis.basis.statistics import SiteStatistics
from libasis.errors import SiteError
from libasis.measure import Records, measure
from measure.laws import assert_merges, assert_resumes


def same(found, truth):
    for mine, true in zip(found, truth, strict=True):
        assert mine.n == true.n
        torch.testing.assert_close(mine.mean, true.mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(mine.covariance, true.covariance, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", chains.SECTIONS)
def test_they_obey_the_laws(name):
    x = chains.data(name) + 100.0
    mask = lambda inputs: inputs[0][..., 0] > 100  # noqa: E731
    traced = chains.chain(chains.SECTIONS[name]()).to(mask=mask)
    batches = list(Records(traced, chains.split(x, 7, 13, 1, 19)).stream())
    assert_merges(lambda: SiteStatistics(traced), batches, same)
    assert_resumes(lambda: SiteStatistics(traced), batches, same)


def test_one_for_each_site():
    x = chains.data("pooled")
    traced = chains.chain(chains.pooled_sections())
    found = measure(Records(traced, chains.split(x, 15, 25)), SiteStatistics(traced), "statistics")
    for moments, f in zip(found, traced.record(x).activations, strict=True):
        flat = f.flatten(0, 1)
        torch.testing.assert_close(moments.mean, flat.mean(0), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(moments.covariance, torch.cov(flat.T, correction=0), rtol=1e-12, atol=1e-12)


def test_widths_are_checked_before_anything_is_allocated():
    traced = chains.chain([lambda z: z.expand(-1, 2_000_000)])
    (record,) = Records(traced, [random(2, 1)]).stream()
    with pytest.raises(SiteError, match=r"Site 'output' has 2000000 features.*narrower site"):
        SiteStatistics(traced).add(record)


LIMITED = """
import json, resource, sys, torch, libasis
from pathlib import Path

used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
limit = used + 2**31
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def said(work):
    try:
        work()
    except libasis.errors.LibasisError as error:
        return str(error)


def fit(width):
    W = torch.randn(2, width)
    return said(lambda: libasis.fit(libasis.Chain([lambda z: z @ W]), [torch.randn(8, 2)], "pca", progress=False))


def read(size):
    folder = Path(sys.argv[1])
    (folder / "cfg.json").write_text("{}")
    with open(folder / "sae_weights.safetensors", "wb") as file:
        file.truncate(size)  # a hole, nothing is written
    return said(lambda: libasis.bridges.from_saelens(folder))


peak = lambda: 2**10 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
narrow, before = fit(50), peak()
wide = fit(16_000)
print(json.dumps([limit, narrow, wide, peak() - before, read(4096), read(limit + 1), peak() - before]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of this kind are Linux's")
def test_a_limit_set_for_the_process_is_the_memory_there_is(tmp_path):
    """A site that needs more is refused before anything large is allocated, and so is a file."""
    done = subprocess.run([sys.executable, "-c", LIMITED, tmp_path], capture_output=True, text=True, check=True)
    limit, narrow, wide, grown, fits, large, most = json.loads(done.stdout)
    assert narrow is None
    assert "Site 'output' has 16000 features, whose covariance and basis take 21 GiB" in wide
    assert f"but this machine has {limit / 2**30:.0f} GiB of memory; take a narrower site" in wide
    assert f"{limit + 1:,} bytes, but at most {limit:,} are read here" in large
    assert "at most" not in fits
    assert max(grown, most) < 2**28
