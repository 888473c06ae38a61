"""What a command answered (exit code, stdout, stderr) and when it wrote something."""

import json
from pathlib import Path

EVENTS = ("begin", "batch", "end", "resumed")


def ok(answer):
    code, out, err = answer
    assert (code, err) == (0, "")
    return out


def facts(answer):
    """The object on stdout; stderr tells progress, one object a line."""
    code, out, err = answer
    assert code == 0, err
    assert all(json.loads(line)["event"] in EVENTS for line in err.splitlines())
    assert out.count("\n") == 1
    return json.loads(out)


def refused(answer, *parts):
    code, out, err = answer
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for part in parts:
        assert part in err, err


def written(path):
    """When a file, or the youngest file of a folder, was written."""
    path = Path(path)
    return max(file.stat().st_mtime_ns for file in (path.rglob("*") if path.is_dir() else [path]))
