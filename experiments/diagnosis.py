"""How often a diagnosis names the true sensors, beside plain methods, on plants whose truth is known.

Run: python -m experiments.diagnosis NAME [--runs N] [--data FOLDER] [--out build/diagnosis]

NAME is eastman, homeostat, planted, faults, fashion, or of what has no fault none or unbroken. Each writes one row per
run and method to OUT/NAME.csv and prints the sums. Tennessee Eastman reads ``bibmon/tennessee_eastman`` of the PyPI
package bibmon 1.2.0, unpacked into --data; homeostat needs the PyPI package of that name (0.1.0a3).
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from experiments.defects import DEFECTS, Copier, inspector, line, patches
from experiments.faults import FAULTS, NAMES, Plant
from experiments.plants import KINDS, plant
from torch import nn

import libasis

EASTMAN = {
    1: ("XMEAS(1)", "XMV(3)", "XMEAS(4)", "XMV(4)"),  # A/C feed ratio, stream 4: A feed and its valve compensate
    2: ("XMEAS(10)", "XMV(6)"),  # B composition: purge rate and purge valve
    4: ("XMV(10)",),  # reactor cooling water inlet temperature: reactor cooling water valve
    5: ("XMV(11)", "XMEAS(22)"),  # condenser cooling water inlet temperature
    6: ("XMEAS(1)", "XMV(3)"),  # loss of feed A
    7: ("XMEAS(4)", "XMV(4)"),  # header C pressure loss, stream 4
    10: ("XMEAS(18)", "XMV(9)", "XMEAS(19)"),  # C feed temperature: stripper temperature, steam valve and flow
    11: ("XMV(10)", "XMEAS(9)"),  # reactor cooling water inlet temperature, random
    12: ("XMV(11)", "XMEAS(22)", "XMEAS(11)"),  # condenser cooling water inlet temperature, random
    14: ("XMV(10)", "XMEAS(9)", "XMEAS(21)"),  # reactor cooling water valve sticks
}
"""By fault the sensors nearest to its cause: the disturbed stream or valve by the list of Downs and Vogel (1993),
and what responds first by Chiang, Russell and Braatz (2001). Faults 3, 9 and 15 cannot be seen in these data; 8
and 13 move many streams at once, and what 16 to 21 disturb is not known or not one sensor: none is agreed on there."""
SENSORS = [*(f"XMEAS({i})" for i in range(1, 42)), *(f"XMV({i})" for i in range(1, 12))]
SEEN, FARTHER = 0.05, 1.5
"""More alarms on the anomalous rows than on normal ones, and times their mean score, from which on a model sees the
fault at all; of one that does not there is nothing to explain."""
METHODS = {
    "libasis": "rank",
    "mean |z|": "mean_z_rank",
    "permutation": "permutation_rank",
    "gradient x input": "gradient_x_input_rank",
    "reconstruction": "reconstruction_rank",
}


@dataclass(frozen=True)
class Case:
    """One question with a known answer."""

    name: str
    group: str
    model: nn.Module
    normal: Any
    anomalous: Any
    columns: list[str] | None
    truth: tuple[str, ...]
    metric: str | None = None


class Standard(nn.Module):
    """Columns in standard deviations from their mean, and back."""

    def __init__(self, x: np.ndarray, back: bool = False) -> None:
        super().__init__()
        mean, deviation = x.mean(0), x.std(0)
        varies = deviation > 1e-9 * np.abs(mean)  # of what never changes the deviation is rounding
        self.register_buffer("mean", torch.tensor(mean).float())
        self.register_buffer("deviation", torch.tensor(np.where(varies, deviation, 1.0)).float())
        self.back = back

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The other form."""
        return x * self.deviation + self.mean if self.back else (x - self.mean) / self.deviation


def train(net: nn.Module, x: torch.Tensor, y: torch.Tensor, loss: nn.Module, epochs: int, decay: float) -> None:
    """Fit by AdamW."""
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=decay)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            loss(net(x[batch]), y[batch]).backward()
            optimizer.step()


def classifier(normal: np.ndarray, fault: np.ndarray, seed: int) -> nn.Module:
    """Normal or fault, of raw values."""
    torch.manual_seed(seed)
    x = torch.tensor(np.concatenate([normal, fault])).float()
    y = torch.cat([torch.zeros(len(normal)), torch.ones(len(fault))]).long()
    net = nn.Sequential(Standard(normal), nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, 2))
    train(net, x, y, nn.CrossEntropyLoss(), 60, 1e-3)
    return net.eval()


def autoencoder(normal: np.ndarray, seed: int, code: int = 16) -> nn.Module:
    """Returns its input, of raw values."""
    torch.manual_seed(seed)
    width = normal.shape[1]
    before, net = Standard(normal), nn.Sequential(nn.Linear(width, code), nn.Tanh(), nn.Linear(code, width))
    z = before(torch.tensor(normal).float())
    train(net, z, z, nn.MSELoss(), 150, 1e-4)
    return nn.Sequential(before, net, Standard(normal, back=True)).eval()


def eastman(runs: int, data: Path) -> Iterator[Case]:
    """Every fault with an agreed culprit, by a classifier of its own and by one autoencoder, for each seed."""

    def load(name: str) -> np.ndarray:
        found = np.loadtxt(data / "bibmon" / "tennessee_eastman" / f"{name}.dat")
        return found.T if len(found) == len(SENSORS) else found

    normal, held_out = load("d00"), load("d00_te")
    for seed in range(runs):
        whole = autoencoder(normal, seed)
        for fault, truth in EASTMAN.items():
            anomalous, name = load(f"d{fault:02d}_te")[160:], f"fault {fault}, seed {seed}"
            one = classifier(normal, load(f"d{fault:02d}"), seed)
            yield Case(name, "classifier", one, held_out, anomalous, SENSORS, truth)
            yield Case(name, "autoencoder", whole, held_out, anomalous, SENSORS, truth)


LOOPS = {
    "temperature_loop": ("TIC", "feed_temp", 25, 3),
    "flow_loop": ("FIC", "pressure", 0, 0.3),
    "level_loop": ("LIC", "inflow", 20, 1),
    "heat_exchanger": ("TIC", "inlet_temp", 25, 3),
    "reactor": ("TIC", "feed_temp", 25, 3),
    "cstr": ("TIC", "feed_temp", 25, 3),
}
"""By template of homeostat's library the tag, and the disturbance that moves it: its mean and standard deviation."""
BREAKS: dict[str, dict[str, Any]] = {
    "sensor_bias": {"magnitude": 4, "profile": "step"},
    "sensor_drift": {"magnitude": 6, "profile": "ramp", "over": "30min"},
    "sensor_noise": {"magnitude": 6, "profile": "step"},
    "valve_stuck": {"profile": "step"},
    "valve_stiction": {"magnitude": 6, "profile": "step"},
    "fouling": {"magnitude": 0.7, "profile": "step"},
}
"""Every fault of that library; the last one only where something is heated."""


def homeostat(runs: int, data: Path) -> Iterator[Case]:
    """Every fault at every loop that can have it, beside two other loops; an autoencoder of the normal hours."""
    data.mkdir(parents=True, exist_ok=True)
    pairs = [(t, f) for t in LOOPS for f in BREAKS if f != "fouling" or LOOPS[t][0] == "TIC"]
    for seed, (template, fault) in enumerate(pairs * runs):
        yield loop(seed, template, fault, data / f"plant-{seed}.yaml")


def loop(seed: int, template: str, fault: str, path: Path) -> Case:
    """A fault at one loop from the third hour on; the scenario is written to the path."""
    import yaml
    from homeostat.labelers import visibility

    templates = list(LOOPS)
    first = templates.index(template)
    loops = [templates[(first + k) % len(templates)] for k in (0, 1, 2)]
    units = [{"id": f"{LOOPS[t][0]}-{k + 1}01", "template": t} for k, t in enumerate(loops)]
    moved = []
    for unit, t in zip(units, loops, strict=True):
        _, port, mean, std = LOOPS[t]
        noise = {"kind": "ou", "mean": mean, "std": std, "tau": "10min"}
        moved.append({"target": f"{unit['id']}.{port}", "source": noise})
    event = {"at": "2h", "target": units[0]["id"], "fault": fault, **BREAKS[fault]}
    scenario = {"seed": seed, "duration": "3h", "dt": "5s", "library": "process@1", "units": units}
    path.write_text(yaml.safe_dump({**scenario, "exogenous": moved, "interventions": [event]}), encoding="utf-8")
    seen = visibility(str(path))
    listed = str(seen.summary().iloc[0]["visible_on"]).split(",")
    truth = tuple(name for name in map(str.strip, listed) if "-101" in name)
    observed = seen.run.lane(0).observed.ffill().bfill()
    x, onset = observed.to_numpy(np.float64), len(observed) * 2 // 3
    model = autoencoder(x[: onset // 2], seed, code=6)
    name = f"{fault} at {template}, seed {seed}"
    return Case(name, "homeostat", model, x[onset // 2 : onset], x[onset:], list(observed), truth or ("hidden",))


def planted(runs: int, data: Path) -> Iterator[Case]:
    """Plants with planted causes, and models that see them."""
    for seed in range(runs):
        one = plant(seed, KINDS[seed % len(KINDS)])
        yield Case(f"{one.kind} {seed}", one.kind, one.model, one.normal, one.anomalous, one.names, tuple(one.causes))


def soft_sensor(x: np.ndarray, y: np.ndarray, seed: int) -> nn.Module:
    """The quality of each row, of raw values."""
    torch.manual_seed(seed)
    net = nn.Sequential(Standard(x), nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, 1))
    train(net, torch.tensor(x).float(), torch.tensor(y).float()[:, None], nn.MSELoss(), 60, 1e-3)
    return net.eval()


def faults(runs: int, data: Path, broken: bool = True) -> Iterator[Case]:
    """Twelve ways in which sensors fail, each seen by a trained classifier, autoencoder and soft sensor."""
    for seed in range(runs):
        for number, kind in enumerate(FAULTS):
            one = Plant(kind, np.random.default_rng(1000 * seed + number))
            (x0, y0), (bad0, _), (x1, y1) = one.normal(600), one.failed(600), one.normal(600)
            bad, quality = one.failed(600) if broken else one.normal(600)
            truth = one.truth if broken else ()
            name = f"{kind}, seed {seed}"
            yield Case(name, "classifier", classifier(x0, bad0, seed), x1, bad, NAMES, truth)
            yield Case(name, "autoencoder", autoencoder(x0, seed, code=6), x1, bad, NAMES, truth)
            pairs = ([(torch.tensor(x), torch.tensor(y)[:, None])] for x, y in ((x1, y1), (bad, quality)))
            yield Case(name, "soft sensor", soft_sensor(x0, y0, seed), *pairs, NAMES, truth, "mse")


def fashion(runs: int, data: Path) -> Iterator[Case]:
    """Defects planted in known pixels of Fashion-MNIST, seen by a convolutional classifier and an autoencoder."""
    for seed in range(runs):
        for number, kind in enumerate(DEFECTS):
            one = line(kind, 100 * seed + number, part=(0, 1, 7, 9)[(seed + number) % 4])
            x = torch.cat([one.train[: len(one.bad)], one.bad])
            seen, copied = inspector(seed), Copier(seed)
            train(seen, x, torch.arange(2).repeat_interleave(len(one.bad)), nn.CrossEntropyLoss(), 20, 1e-3)
            train(copied, one.train, one.train, nn.MSELoss(), 40, 1e-4)
            for group, model in (("image classifier", seen.eval()), ("image autoencoder", copied.eval())):
                name, truth = f"{kind}, seed {seed}", patches(one.planted)
                yield Case(name, group, model, one.normal, one.anomalous, None, truth)


def none(runs: int, data: Path) -> Iterator[Case]:
    """Plants without a fault: whatever is found is false. The models are of other normal rows."""
    for memory in (0.6, 0.9, 0.97):
        for seed in range(runs):
            one = plant(seed, KINDS[seed % len(KINDS)], rows=800, sensors=10, memory=memory, fault=False)
            model = autoencoder(one.normal[:400], seed, code=4)
            group = f"rows that correlate by {memory}"
            yield Case(f"none {seed}", group, model, one.normal[400:], one.anomalous[:400], one.names, ())


def unbroken(runs: int, data: Path) -> Iterator[Case]:
    """The plants of the failing sensors with nothing failed; the classifiers have learned what a failure is."""
    return faults(runs, data, broken=False)


def measured(case: Case) -> dict[str, object]:
    """What a diagnosis of the case says, in one row."""
    start = time.perf_counter()
    options = {"columns": case.columns, "metric": case.metric, "sites": []}
    found = libasis.diagnose(case.model, case.normal, case.anomalous, **options)
    row: dict[str, object] = {"case": case.name, "group": case.group, "truth": " ".join(case.truth)}
    row["seconds"] = round(time.perf_counter() - start, 2)
    for method, column in METHODS.items():
        ranked = sorted((r for r in found.plain_methods if r[column] is not None), key=lambda r: r[column])
        top = [r["input"] for r in ranked[:3]]
        row[method] = " ".join(top)
        row[f"{method} top 1"] = int(bool(top) and top[0] in case.truth) if top else ""
        row[f"{method} top 3"] = int(any(name in case.truth for name in top)) if top else ""
    sure = [r["input"] for r in found.tested_inputs if r["verdict"].startswith("supported")]
    sets = [r["members"] for r in found.tested_sets if r["verdict"].startswith("supported")]
    whole = set(case.truth)
    row["supported"] = " ".join(sure)
    row["supported sets"] = "; ".join(" ".join(one) for one in sets)
    row["all causes supported"] = int(whole <= set(sure) or any(set(one) == whole for one in sets))
    row["false"] = sum(name not in whole for name in sure) + sum(not whole & set(one) for one in sets)
    row["groups differ"] = sum(r["q"] <= 0.05 for r in found.tested_inputs)
    row["alarm"], row["alarm on normal"] = alarm, calm = found.info["before"], found.info["normal_before"]
    row["seen"] = int(case.truth != ("hidden",)) and int(
        alarm - calm >= SEEN if found.info["rates"] else alarm >= FARTHER * calm
    )
    return row


CASES = {
    "eastman": eastman,
    "homeostat": homeostat,
    "planted": planted,
    "faults": faults,
    "fashion": fashion,
    "none": none,
    "unbroken": unbroken,
}


def main() -> None:
    """Read the command line, run, write and print."""
    parser = argparse.ArgumentParser(description="How often a diagnosis names the true sensors.")
    parser.add_argument("name", choices=list(CASES))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path("build/data"))
    parser.add_argument("--out", type=Path, default=Path("build/diagnosis"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rows = []
    with (given.out / f"{given.name}.csv").open("w", newline="", encoding="utf-8") as file:
        for case in CASES[given.name](given.runs, given.data):
            rows.append(measured(case))
            writer = csv.DictWriter(file, list(rows[0]))
            if len(rows) == 1:
                writer.writeheader()
            writer.writerow(rows[-1])
            file.flush()
    for group in dict.fromkeys(row["group"] for row in rows):
        _print(group, [row for row in rows if row["group"] == group])


def _print(group: str, rows: list[dict[str, Any]]) -> None:
    """The sums of one group, of the cases in which the model sees the fault."""
    own = [row for row in rows if row["seen"] or not row["truth"]]
    print(f"{group}: {len(own)} of {len(rows)} cases")
    for method in METHODS:
        tops = [[row[f"{method} top {k}"] for row in own if row[f"{method} top {k}"] != ""] for k in (1, 3)]
        if tops[0] and own[0]["truth"]:
            print(f"  {method}: top 1 {sum(tops[0])}, top 3 {sum(tops[1])}")
    for key in ("supported", "supported sets", "all causes supported", "false", "groups differ"):
        print(f"  {key}: {sum(bool(row[key]) for row in own)} cases")
    print(f"  unseen: {', '.join(row['case'] for row in rows if row not in own) or 'none'}")
    missed = [row for row in own if row["truth"] and not row["libasis top 1"]]
    print("".join(f"  missed: {row['case']}, {row['truth']}: {row['libasis']}\n" for row in missed), end="")
    print(f"  seconds for a case: {max(float(row['seconds']) for row in rows):.0f} at most")


if __name__ == "__main__":
    main()
