"""Damage to files: a few seeded kinds, of bytes and of what texts are made of."""

import random
import re

NUMBERS = (
    "-1", "0", "1e400", "1e-400", "nan", "inf", "-0.0", "16777217", "9007199254740993", "9" * 5000, "0x10", "1_000",
    "1,5", "١٢", "1e", "true", "null", "''", '""', "[]", "{}",
)  # fmt: skip
PIECES = (
    b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\x80", b"\r", b"\n", b'"', b"'", b",", b";", b"\t", b"[" * 3000, b"{" * 3000,
    b" " * 100_000, b"x" * 100_000, "表".encode("cp932"), "é".encode("latin-1"), "\u2028".encode(), b"=1+1", b"\\",
    b"../", b"#", b"=", b"\x1b[31m", b"PK\x03\x04", b"\x80\x04\x95",
)  # fmt: skip


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The data with one to three damages."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = rng.choice((_bytes, _bytes, _number, _line, _whole))(data, rng)
    return data


def _bytes(data: bytes, rng: random.Random) -> bytes:
    at, length = rng.randrange(len(data) + 1), rng.choice((1, 2, 7, 100))
    kind = rng.choice(("flip", "cut", "insert", "double", "end"))
    if kind == "flip" and at < len(data):
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    if kind == "insert":
        return data[:at] + rng.choice(PIECES) + data[at:]
    if kind == "double":
        return data[:at] + data[at : at + length] + data[at:]
    return data[:at] + (b"" if kind == "end" else data[at + length :])


def _number(data: bytes, rng: random.Random) -> bytes:
    """Another number, or another word, in the place of one."""
    found = list(re.finditer(rb"-?\d+\.?\d*|\w+", data))
    if not found:
        return data
    one = rng.choice(found)
    return data[: one.start()] + rng.choice(NUMBERS).encode() + data[one.end() :]


def _line(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.choice(("swap", "drop", "double", "join"))
    if kind == "swap":
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == "drop":
        del lines[at]
    elif kind == "double":
        lines.insert(other, lines[at])
    else:
        lines[at : at + 2] = [b"".join(lines[at : at + 2])]
    return b"\n".join(lines)


def _whole(data: bytes, rng: random.Random) -> bytes:
    kind = rng.choice(("empty", "utf-16", "half", "twice", "bom", "nothing but it"))
    if kind == "utf-16":
        return data.decode("utf-8", "replace").encode("utf-16")
    return {
        "empty": b"",
        "half": data[: len(data) // 2],
        "twice": data + data,
        "bom": b"\xef\xbb\xbf" + data,
        "nothing but it": rng.choice(PIECES),
    }[kind]
