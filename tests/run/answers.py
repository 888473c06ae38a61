"""What a command answered: exit code, stdout, stderr."""

import json


def ok(answer):
    code, out, err = answer
    assert (code, err) == (0, "")
    return out


def facts(answer):
    out = ok(answer)
    assert out.count("\n") == 1
    return json.loads(out)


def refused(answer, *parts):
    code, out, err = answer
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    for part in parts:
        assert part in err
