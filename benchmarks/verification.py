"""What a verification costs: 12 hypotheses with 999 random directions each on the digits, beside a plain loop.

Run: python benchmarks/verification.py [--loop 10]

The loop is what the same comparison takes without sharing runs: one call of `intervene` for each random direction of
each hypothesis and kind. It is measured on a few of them and scaled up.
"""

from __future__ import annotations

import argparse
import time

import torch

import libasis
from libasis.demo import digits
from libasis.verify.controls import frames

SITES = ["fc1:in", "fc2:in", "fc3:in", "output"]
CONTROLS = 999


def main() -> None:
    """Print seconds, and the ratio to the loop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", type=int, default=10, help="calls of the loop that are measured")
    loop = parser.parse_args().loop
    train, test = digits.batches_train(), digits.batches_test()
    traced = libasis.trace(digits.load(), train[0][0], SITES)
    basis = libasis.fit(traced, train, progress=False)
    claims = [
        libasis.Hypothesis(site, features, direction="decrease", delta=0.02, name=f"{site} {features}")
        for site in SITES[:3]
        for features in ([0], [1], [2, 3], [0, 1, 2])
    ]
    plan = libasis.plan(traced, basis, test, claims, controls=CONTROLS, progress=False)
    wall, start = time.perf_counter(), time.process_time()
    found = libasis.verify(traced, basis, test, plan, progress=False)
    wall, seconds = time.perf_counter() - wall, time.process_time() - start

    drawn = frames(basis["fc2:in"], 1, loop, (0,)).writing
    start = time.process_time()
    for directions in drawn:
        one = libasis.Intervention("fc2:in", directions=directions)
        libasis.intervene(traced, basis, test, one, progress=False)
    each = (time.process_time() - start) / loop
    plain = each * CONTROLS * sum(len(claim.kinds) for claim in claims)
    words = list(found.verdicts.values())
    print(f"{len(claims)} hypotheses, {CONTROLS} random directions each, {len(test[0][0])} images")
    threads = f"{wall:.1f} s, {torch.get_num_threads()} threads"
    print(f"verify: {seconds:.1f} s of a processor ({threads}); supported: {words.count('supported')}")
    print(f"one call of intervene for each direction: about {plain:.0f} s, {plain / seconds:.0f} times that")


if __name__ == "__main__":
    main()
