"""The verbs ``libasis explore``, ``libasis plan`` and ``libasis verify``: their options and what they print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import show
from .commands import FILE, Changes, File, Force, Json, _read, app


@app.command(epilog="Example: libasis explore libasis.toml --set verify.metric=cross_entropy")
def explore(file: File = Path(FILE), changes: Changes = None, force: Force = False, as_json: Json = False) -> None:
    """Screen the features of the saved basis, on a part of the test data; gives no verdicts."""
    from . import verification

    found = verification.run_explore(_read(file, changes), force=force)
    if as_json:
        show.as_json({"command": "explore", "rows": found.rows(), **_facts(found.info)})
        return
    show.table(found.rows()[:20], f"Features by {found.metric}: what is worth a hypothesis")
    print(f"No verdicts: state one and test it on the other part of the data. Next: libasis plan {file}")
    best = found.hypothesis(0)
    print(
        f"For the settings:\n[[hypotheses]]\nsite = {json.dumps(best.site)}\nfeatures = {list(best.features)}\n"
        f'metric = {json.dumps(found.metric)}\ndirection = "{best.direction}"\ndelta = ...'
    )


@app.command(epilog="Example: libasis plan libasis.toml")
def plan(file: File = Path(FILE), changes: Changes = None, force: Force = False, as_json: Json = False) -> None:
    """Write down the hypotheses of the settings, and how many units they need."""
    from . import verification

    config = _read(file, changes)
    found = verification.run_plan(config, force=force)
    path = Path(config.output) / "plan.json"
    if as_json:
        show.as_json({"command": "plan", "file": path, "digest": found.digest(), "rows": found.rows()})
        return
    print(found)
    print(f"Plan saved in {path}. Next: libasis verify {file}")


@app.command(epilog="Example: libasis verify libasis.toml")
def verify(file: File = Path(FILE), changes: Changes = None, force: Force = False, as_json: Json = False) -> None:
    """Test the hypotheses of the saved plan, on test data that were not explored."""
    from . import verification

    config = _read(file, changes)
    found = verification.run_verify(config, force=force)
    if as_json:
        facts = {"verdicts": found.verdicts, "repeat": found.repeat, "notes": list(found.notes), "rows": found.rows()}
        show.as_json({"command": "verify", **facts, **_facts(found.info)})
        return
    print(found)
    for note in found.notes:
        print(f"Note: {note}.")
    print(f"Verification saved in {Path(config.output) / 'verification'}")


def _facts(info: dict[str, Any]) -> dict[str, Any]:
    return {key: info[key] for key in ("data", "versions") if key in info}
