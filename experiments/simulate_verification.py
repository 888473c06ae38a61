"""Planted studies: how often `libasis.verify` is wrong, and how often it finds what is there.

Run: python experiments/simulate_verification.py [--studies 1020] [--power 240] [--intervals 4200] [--processes 2]

Each study draws a plant, a size, claims (some of them chosen by `libasis.explore` on other data), directions and
deltas, and goes through `libasis.plan` and `libasis.verify`. The tables of docs/verification.md between
``<!-- simulation: NAME -->`` and ``<!-- /simulation -->`` are written anew.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import libasis

sys.path.insert(0, str(Path(__file__).parent.parent))
from experiments.planted_models import SITE, Claim, Plant, plants  # noqa: E402 - found beside this file

SIZES = (12, 20, 30, 50, 100, 200, 500)
ALPHA = 0.05
BLOCK = re.compile(r"(<!-- simulation: (\w+) -->\n).*?(<!-- /simulation -->)", re.S)
SIDES = {"increase": 1, "decrease": -1}
FACTORS = (0.25, 0.5, 1.0, 2.0)
"""Of the units that the plan announced: the curve of power."""
CLEAR = 0.004
"""A cause stands out where no more of all random directions do as much: less than half of what five claims ask."""
FAMILIES = {
    "normal": ("cancelling, normal", "group, normal", "causes and decoys"),
    "skewed": ("cancelling, lognormal", "group, lognormal"),
    "clusters, skewed": ("cancelling, skewed, clusters", "group, skewed, clusters"),
    "0 or 1 (accuracy)": ("classes", "rare changes", "labels by chance"),
    "squared errors": ("product", "trained network", "redundant pair"),
    "fourth powers": ("all alike",),
}
"""How changes are distributed: the rows of the table of intervals."""
UNITS = ((12, 12), (20, 30), (50, 50), (100, 200), (500, 500))


@dataclass
class Tally:
    """What happened in some studies: by table and row, counts of cases and of hits."""

    counts: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(lambda: [0, 0]))

    def add(self, table: str, row: str, hit: bool) -> None:  # noqa: FBT001 - what is counted
        """Count one case."""
        found = self.counts[table, row]
        found[0] += 1
        found[1] += bool(hit)

    def merge(self, other: Iterable[tuple[tuple[str, str], list[int]]]) -> None:
        """Add those of another."""
        for key, (cases, hits) in other:
            self.counts[key][0] += cases
            self.counts[key][1] += hits

    def rows(self, table: str) -> list[tuple[str, int, int]]:
        """Rows of a table: name, cases, hits."""
        return [(row, *counts) for (name, row), counts in self.counts.items() if name == table]


@dataclass(frozen=True)
class Put:
    """A claim as it was put to the test."""

    claim: Claim
    direction: str
    delta: float | None
    effects: Mapping[str, float]

    @property
    def beyond(self) -> float:
        """By how much the smallest true effect of both kinds goes the claimed way."""
        if self.direction == "any":
            both = list(self.effects.values())
            return min(map(abs, both)) if both[0] * both[1] > 0 else 0.0
        return min(SIDES[self.direction] * value for value in self.effects.values())

    def wrong(self, verdict: str) -> bool:
        """Whether a verdict is wrong that says more than there is."""
        real = self.claim.true == "cause" and self.beyond > 0
        if verdict == "supported":
            return not real or self.beyond <= (self.delta or 0.0)
        if verdict == "supported, below delta":
            return not real
        if verdict == "opposite":
            return all(SIDES[self.direction] * value >= 0 for value in self.effects.values())
        return verdict == "no effect above delta" and self.large

    @property
    def large(self) -> bool:
        """Whether there is an effect of delta or more, under some kind."""
        return self.delta is not None and max(map(abs, self.effects.values())) >= self.delta


def one_study(all_plants: Sequence[Plant], seed: int) -> list[tuple[tuple[str, str], list[int]]]:
    """A study by its seed."""
    torch.set_num_threads(1)
    rng, tally = np.random.default_rng((seed, 1)), Tally()
    plant = all_plants[seed % len(all_plants)]
    units = int(rng.choice(SIZES))
    claims, names = _chosen(plant, rng, units, seed)
    puts = [_put(plant, one, rng) for one in claims]
    hypotheses = [
        libasis.Hypothesis(
            SITE, list(put.claim.features), plant.metric, put.direction, put.delta, name, group=plant.group
        )
        for put, name in zip(puts, names, strict=True)
    ]
    data = plant.draw(rng, units)
    shared = {"units": data.units, "progress": False}
    plan = libasis.plan(plant.traced, plant.basis, data.batches, hypotheses, ALPHA, seed, **shared)
    found = libasis.verify(plant.traced, plant.basis, data.batches, plan, **shared)
    wrong: dict[str, bool] = defaultdict(bool)
    for put, outcome in zip(puts, found.outcomes, strict=True):
        word, bad = outcome.verdict, put.wrong(outcome.verdict)
        wrong[word] |= bad
        if put.delta is not None and put.large:
            tally.add("no effect", plant.name, bad and word == "no effect above delta")
        if put.claim.true == "cause" and put.beyond > (put.delta or 0):
            tally.add("found", plant.name, word.startswith("supported"))
    tally.add("families", plant.name, wrong["supported"])
    tally.add("families by size", str(units), wrong["supported"])
    tally.add("families by claims", "1" if len(puts) == 1 else "2-5" if len(puts) <= 5 else "6-20", wrong["supported"])
    tally.add("any wrong word", plant.name, any(wrong.values()))
    for word in ("supported, below delta", "opposite", "no effect above delta"):
        tally.add("words", word, wrong[word])
    return list(tally.counts.items())


def _chosen(plant: Plant, rng: np.random.Generator, units: int, seed: int) -> tuple[list[Claim], list[str]]:
    """1 to 20 of a plant's claims, in a quarter of the studies those that exploring other data ranks first."""
    most = int(rng.integers(1, 1 + min(20, len(plant.claims))))
    some = [plant.claims[i] for i in rng.permutation(len(plant.claims))[:most]]
    if seed % 4 == 0:
        data = plant.draw(rng, max(units, 30))
        screened = libasis.explore(
            plant.traced, plant.basis, data.batches, plant.metric, sites=[SITE], group=plant.group, units=data.units,
            progress=False,
        ).screened  # fmt: skip
        single = {one.features: one for one in plant.claims if len(one.features) == 1}
        some = [single[one.features] for one in screened if one.features in single][:most]
    return some, [f"claim {i}" for i in range(len(some))]


def _put(plant: Plant, claim: Claim, rng: np.random.Generator) -> Put:
    """A direction and a delta for a claim: mostly the right ones, as far as there are such."""
    effects = plant.effects[plant.claims.index(claim)]
    sizes = [abs(v) for one, row in zip(plant.claims, plant.effects, strict=True) if one.true == "cause"
             for v in row.values()]  # fmt: skip
    ways = ["any", "increase", "decrease"]
    direction = str(rng.choice([claim.direction, *ways])) if claim.true == "cause" else str(rng.choice(ways))
    own = min(map(abs, effects.values())) or float(np.median(sizes or [1.0]))
    delta = None if rng.random() < 0.4 else own * float(rng.choice([0.2, 0.5, 1.0, 2.0]))
    return Put(claim, direction, delta, effects)


def one_interval(all_plants: Sequence[Plant], seed: int) -> list[tuple[tuple[str, str], list[int]]]:
    """Whether the intervals of one claim hold its true effects; so many units are in its group."""
    torch.set_num_threads(1)
    rng, tally = np.random.default_rng((seed, 3)), Tally()
    there = {kind: [one for one in all_plants if one.name in names] for kind, names in FAMILIES.items()}
    kind, some = [row for row in there.items() if row[1]][seed % sum(map(bool, there.values()))]
    plant = some[int(rng.integers(len(some)))]
    size = UNITS[int(rng.integers(len(UNITS)))]
    units = int(rng.choice(size))
    number = int(rng.choice([i for i, c in enumerate(plant.claims) if c.true != "nothing" or kind != "squared errors"]))
    one = plant.claims[number]
    data = plant.draw(rng, units * (1 if plant.group is None else 2))
    hypothesis = libasis.Hypothesis(SITE, list(one.features), plant.metric, "any", None, "claim", group=plant.group)
    shared = {"units": data.units, "progress": False}
    plan = libasis.plan(plant.traced, plant.basis, data.batches, hypothesis, ALPHA, seed, controls=1, **shared)
    for found in libasis.verify(plant.traced, plant.basis, data.batches, plan, **shared).outcomes[0].kinds:
        low, high, true = found.effect.low, found.effect.high, plant.effects[number][found.kind]
        named = f"{size[0]}" if size[0] == size[1] else f"{size[0]}-{size[1]}"
        tally.add("intervals", f"{kind}, {found.kind}|{named}", low <= true <= high)
    return list(tally.counts.items())


def standing(all_plants: Sequence[Plant]) -> dict[tuple[int, int], float]:
    """Of each cause (plant, claim): the share of random directions that do as much in the world, under either kind."""
    out = {}
    for place, plant in enumerate(all_plants):
        causes = [i for i, one in enumerate(plant.claims) if one.true == "cause"]
        if not causes:
            continue
        data = plant.draw(np.random.default_rng((place, 4)), 4000)
        claims = [
            libasis.Hypothesis(
                SITE, list(plant.claims[i].features), plant.metric, plant.claims[i].direction, None, str(i),
                group=plant.group,
            )
            for i in causes
        ]  # fmt: skip
        shared = {"units": data.units, "progress": False}
        plan = libasis.plan(plant.traced, plant.basis, data.batches, claims, ALPHA, 1, controls=1999, **shared)
        found = libasis.verify(plant.traced, plant.basis, data.batches, plan, **shared).outcomes
        for i, outcome in zip(causes, found, strict=True):
            out[place, i] = max(kind.p_specific for kind in outcome.kinds)
    return out


def one_power(
    all_plants: Sequence[Plant], job: tuple[int, int, float, int, float]
) -> list[tuple[tuple[str, str], list[int]]]:
    """Whether a cause is found with a part of the units that a plan announced."""
    torch.set_num_threads(1)
    place, number, factor, seed, alike = job
    plant, rng, tally = all_plants[place], np.random.default_rng((seed, 2)), Tally()
    claim, effects = plant.claims[number], plant.effects[number]
    delta = min(map(abs, effects.values()))
    hypothesis = libasis.Hypothesis(
        SITE, list(claim.features), plant.metric, claim.direction, delta, "claim", group=plant.group
    )
    others = [one for one in plant.claims if one.true == "nothing"][: seed % 5]
    rest = [
        libasis.Hypothesis(SITE, list(one.features), plant.metric, "any", delta, f"other {i}", group=plant.group)
        for i, one in enumerate(others)
    ]
    pilot = plant.draw(rng, 100)
    shared = {"progress": False}
    plan = libasis.plan(
        plant.traced, plant.basis, pilot.batches, [hypothesis, *rest], ALPHA, seed, units=pilot.units, **shared
    )
    announced = max(row["n_needed"] for row in plan.rows() if row["hypothesis"] == "claim")
    units = int(min(2000, np.ceil(factor * announced * (1 if plant.group is None else 2))))
    data = plant.draw(rng, max(5, units))
    found = libasis.verify(plant.traced, plant.basis, data.batches, plan, units=data.units, **shared)
    row = f"{plant.name}: {'+'.join(map(str, claim.features))}"
    hit = found.outcomes[0].verdict.startswith("supported")
    if alike > CLEAR:
        row = f"{row} ({100 * alike:.1f}%)"
        tally.add("matched", row, hit)
        tally.add("matched, said", row, "random directions" in found.outcomes[0].reason)
    else:
        tally.add(f"power {factor:g}", row, hit)
        tally.counts["announced", row] = [1, announced]
    return list(tally.counts.items())


def run(studies: int, power: int, intervals: int, processes: int) -> Tally:
    """All of it."""
    tally, all_plants, start = Tally(), plants(), time.time()
    alike = standing(all_plants)
    clear = [cause for cause, share in alike.items() if share <= CLEAR]
    others = [cause for cause, share in alike.items() if share > CLEAR]
    powers = [(*clear[i % len(clear)], f, i, 0.0) for f in FACTORS for i in range(power if f == 1 else power // 4)]
    powers += [(*others[i % len(others)], 1.0, i, alike[others[i % len(others)]]) for i in range(power // 6)]
    jobs: list[Callable[[], Any]] = [partial(one_study, all_plants, seed) for seed in range(studies)]
    jobs += [partial(one_interval, all_plants, seed) for seed in range(intervals)]
    jobs += [partial(one_power, all_plants, job) for job in powers]
    global _JOBS  # noqa: PLW0603 - what forked processes share
    _JOBS = jobs
    for done, found in enumerate(_results(len(jobs), processes), 1):
        tally.merge(found)
        if done % 50 == 0:
            print(f"{done} of {len(jobs)} studies, {time.time() - start:.0f} s", file=sys.stderr, flush=True)
    return tally


_JOBS: list[Callable[[], Any]] = []


def _results(count: int, processes: int) -> Iterator[Any]:
    if processes == 1:
        yield from (job() for job in _JOBS)
        return
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        yield from pool.imap_unordered(_job, range(count), chunksize=4)


def _job(number: int) -> Any:
    return _JOBS[number]()


def tables(tally: Tally) -> dict[str, str]:
    """The tables of the page."""
    out = {}
    titles = {
        "families": ("Plant", 'Studies with a false "supported"'),
        "size": ("Units", 'Studies with a false "supported"'),
        "claims": ("Claims in the plan", 'Studies with a false "supported"'),
        "words": ("Verdict", "Studies in which it is wrong"),
        "noeffect": ("Plant", 'Wrong "no effect above delta", of effects of delta or more'),
    }
    keys = {"size": "families by size", "claims": "families by claims", "noeffect": "no effect"}
    for name, (first, second) in titles.items():
        rows = tally.rows(keys.get(name, name))
        rows = sorted(rows, key=lambda row: int(row[0])) if name == "size" else sorted(rows)
        if name in ("families", "noeffect"):
            rows.append(("**all**", sum(r[1] for r in rows), sum(r[2] for r in rows)))
        out[name] = _table([first, "Cases", second], [[r, f"{n:,}", _share(h, n)] for r, n, h in rows])
    announced = {row: hits / cases for row, cases, hits in tally.rows("announced")}
    by = {factor: {row: (n, h) for row, n, h in tally.rows(f"power {factor:g}")} for factor in FACTORS}
    rows = [
        [row, f"{announced[row]:.0f}", *(_share(by[f][row][1], by[f][row][0]) if row in by[f] else "" for f in FACTORS)]
        for row in sorted(announced)
    ]
    total = [[sum(v[i] for v in by[f].values()) for i in (0, 1)] for f in FACTORS]
    rows.append(["**all**", "", *(_share(h, n) for n, h in total)])
    out["power"] = _table(["Cause", "n announced", *(f"{f:g} n" for f in FACTORS)], rows)
    said = {row: hits for row, _, hits in tally.rows("matched, said")}
    rows = [[row, f"{n:,}", _share(h, n), _share(said[row], n)] for row, n, h in sorted(tally.rows("matched"))]
    out["matched"] = _table(["Cause (random directions that do as much)", "Cases", "Supported", "It is said"], rows)
    found = {row: (n, h) for row, n, h in tally.rows("intervals")}
    heads = [f"{low}" if low == high else f"{low}-{high}" for low, high in UNITS]
    names = [f"{family}, {kind}" for family in FAMILIES for kind in ("mean", "resample")]
    rows = [
        [name, *(_share(found[key][1], found[key][0]) if (key := f"{name}|{head}") in found else "" for head in heads)]
        for name in names
    ]
    out["intervals"] = _table(["Changes, replaced by", *(f"{head} units" for head in heads)], rows)
    return out


def _share(hits: int, cases: int) -> str:
    return f"{100 * hits / cases:.1f}% ({hits:,} of {cases:,})" if cases else ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rules = ["---"] + ["--:"] * (len(heads) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in ([*heads], rules, *rows))


def write(docs: Path, found: Mapping[str, str]) -> None:
    """Write the tables of docs/verification.md."""
    page = docs / "verification.md"
    text = page.read_text(encoding="utf-8")
    page.write_text(BLOCK.sub(lambda m: f"{m[1]}{found[m[2]]}\n{m[3]}", text), encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=1020)
    parser.add_argument("--power", type=int, default=240)
    parser.add_argument("--intervals", type=int, default=4200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    given = parser.parse_args()
    made = tables(run(given.studies, given.power, given.intervals, given.processes))
    for name, text in made.items():
        print(f"\n{name}\n{text}")
    write(given.docs, made)
