"""Synthetic cards as plain data, with every part that the first screen reads."""

import base64
import struct
import zlib

from libasis import FeatureCards


def png(width=8, height=8):
    """A grey ramp as a PNG file, in base64."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes((x * y * 4) % 256 for x in range(width)) for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + parts).decode()


CONTENTS = {
    "image": {"kind": "image", "png": png(), "width": 8, "height": 8},
    "text": {"kind": "text", "tokens": ["The", " old", " cat", " sat"], "values": [0.1, 0.2, 2.3, 0.0], "at": 2},
    "table": {
        "kind": "table",
        "columns": ["age", "city", "fare"],
        "values": [61, "Rome", 7.25],
        "z": [2.1, None, -0.4],
    },
    "number": {"kind": "number", "values": [0.25, -1.5, 3.0], "names": None},
}


def ablation(change=-0.0611, *, passed=True, base=0.9722, half=0.0123, control=-0.0042, controls=20):
    return {
        "metric": "accuracy",
        "base": base,
        "without": base + change,
        "change": change,
        "low": change - half,
        "high": change + half,
        "control": control,
        "control_low": control - 0.0015,
        "control_high": control + 0.0015,
        "controls": controls,
        "passed": passed,
    }


def card(kind="image", *, ablated=None, suggestion=("class", "7", "AUC", 0.983), effect=0.3141):
    kinds = dict(zip(("kind", "value", "statistic", "effect"), suggestion, strict=True)) if suggestion else None
    example = {"sample": 17, "position": None, "target": "7", "prediction": "1", "content": CONTENTS[kind]}
    return {
        "n": 1797,
        "mean": 0.0,
        "std": 1.25,
        "min": -3.0,
        "max": 4.1,
        "histogram": {"low": -3.0, "high": 4.1, "counts": [1, 5, 9, 2]},
        "top": [{**example, "value": value} for value in (4.1, 3.912, 3.5, 3.4)],
        "bottom": [{**example, "value": -3.0}],
        "effects": [{"output": "7", "effect": effect, "low": effect - 0.11, "high": effect + 0.11}] if effect else [],
        "direction": [{"coordinate": "pixel (3, 4)", "weight": 0.3}],
        "ablation": ablated,
        "suggestions": [{**kinds, "p": 1e-9, "n": 1797}] if kinds else [],
    }


def make_cards(graph, kind="image", *, ablations=(), groups=False, outputs=("0", "1", "2", "3")):
    """Cards of every feature; ``ablations`` are those of the first features, site by site."""
    entries = {}
    for site in graph.basis.sites:
        for index in range(site.k):
            key = f"{site.name}:{index}"
            entries[key] = card(kind, ablated=dict(ablations).get(key))
    means = {"normal": 0.211, "anomalous": 1.337}
    found = [
        {
            "name": name,
            "samples": 150 + 7 * k,
            "features": {
                key: [mean / (1 + entry_k), 0.05 + 0.01 * k] for entry_k, key in enumerate(list(entries)[:40])
            },
            "outputs": [[mean * (-1) ** o / (1 + o), 0.031 + 0.01 * k] for o in range(len(outputs))],
        }
        for k, (name, mean) in enumerate(means.items())
    ]
    return {
        "format": "libasis-cards",
        "version": 1,
        "kind": kind,
        "outputs": list(outputs),
        "info": {},
        "groups": found if groups else [],
        "cards": entries,
    }


def as_cards(plain):
    """The same as `libasis.collect` returns it."""
    return FeatureCards(**{key: plain[key] for key in ("kind", "outputs", "cards", "groups", "info")})
