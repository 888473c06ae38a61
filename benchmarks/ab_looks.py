"""How often `ab_analyse` says win where there is nothing, how often its intervals hold the effect, and what it finds.

    python benchmarks/ab_looks.py [studies]

Each study is an A/B test of 30 days with 100 units a day, looked at every day. Wins are counted if they were seen on
any day, as somebody would who stops at the first. Beside it a plain z-test, read in the same way.
"""

import sys

import numpy as np

from libasis.practice import ABMetric, ab_analyse

DAYS, A_DAY = 30, 100


def rate(draw, arm, effect):
    return {"y": (draw.random(len(arm)) < 0.1 + effect * 0.04 * arm).astype(float)}


def skewed(draw, arm, effect):
    return {"y": draw.lognormal(0, 1, len(arm)) + effect * 0.25 * arm}


def users(draw, arm, effect):
    """Rows are visits: each user has 1 to 5 on the day of the first, and a level of their own."""
    visits = draw.integers(1, 6, len(arm))
    user = np.repeat(np.arange(len(arm)), visits)
    level = draw.standard_normal(len(arm)) + effect * 0.15 * arm
    return {"y": level[user] + draw.standard_normal(len(user)), "user": user}


def covariate(draw, arm, effect):
    before = draw.standard_normal(len(arm))
    return {"y": 2 * before + draw.standard_normal(len(arm)) + effect * 0.15 * arm, "before": before}


KINDS = {
    "rate 10%": (rate, 0.04, {}),
    "log-normal": (skewed, 0.25, {}),
    "visits of users": (users, 0.15, {"unit": "user"}),
    "with a covariate": (covariate, 0.15, {"covariate": "before"}),
}


def study(kind, seed, effect):
    """One test as a table, and what its analysis is told."""
    draw = np.random.default_rng([seed, list(KINDS).index(kind), int(effect)])
    make, _, options = KINDS[kind]
    arm, day = draw.permutation(DAYS * A_DAY) % 2, np.repeat(np.arange(DAYS), A_DAY)
    table = make(draw, arm, effect)
    rows = table.get("user", np.arange(len(arm)))
    return {**table, "arm": np.array(["control", "new"], dtype=object)[arm[rows]], "day": day[rows]}, options


def run(kind, studies, effect):
    """Shares of studies: always-valid wins on any day, wins or harms, the same by a z-test, one look, and coverage."""
    true = effect * KINDS[kind][1]
    found = np.zeros(6)
    for seed in range(studies):
        table, options = study(kind, seed, effect)
        metric = ABMetric("y")
        outcome = ab_analyse(table, success=metric, arm="arm", time="day", planned=DAYS * A_DAY, **options)
        looks, end = outcome.looks, outcome.metrics[0]
        found += [
            any(look.always_low > 0 for look in looks),
            any(look.always_low > 0 or look.always_high < 0 for look in looks),
            any(look.low > 0 or look.high < 0 for look in looks),
            end.low > 0,
            end.low <= true <= end.high,
            all(look.always_low <= true <= look.always_high for look in looks),
        ]
    return found / studies


def main(studies):
    heads = ("wins", "wins or harms", "z-test, daily", "wins at the end", "interval holds", "every look holds")
    print(f"{studies} studies of {DAYS} days with {A_DAY} units a day, looked at every day")
    print(f"{'':30}" + "".join(f"{head:>17}" for head in heads))
    for kind in KINDS:
        for effect in (0.0, 1.0):
            name = f"{kind}, {'an effect' if effect else 'no effect'}"
            print(f"{name:30}" + "".join(f"{value:17.1%}" for value in run(kind, studies, effect)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
