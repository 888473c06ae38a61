"""The verbs of the command ``libasis``: their options and what they print; the work is in the modules beside."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..files import write_text
from ..provenance import versions
from . import show, toml
from .errors import MissingDataError, RunError

if TYPE_CHECKING:
    from .settings import Config

app = typer.Typer(
    name="libasis",
    help="The Local Interaction Basis of any torch model: features, the graph of their interactions, and its ablation.",
    epilog="Start with: libasis demo. With your own model: libasis init, fill in libasis.toml, libasis sites, "
    "libasis graph, libasis ablate, libasis report.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

FILE = "libasis.toml"
File = Annotated[Path, typer.Argument(metavar="FILE", help="The settings; libasis init writes them.")]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one setting, for instance --set fit.method=pca; can be given several times.",
    ),
]
Files = Annotated[
    list[Path] | None, typer.Argument(metavar="FILE...", help="One or more settings files; by default libasis.toml.")
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="The folder for the results; of several files, a folder each in it."),
]
Work = Callable[[Any, Path, Callable[[str], None] | None], dict[str, Any]]
Force = Annotated[bool, typer.Option("--force", help="Replace results that exist.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
Dry = Annotated[bool, typer.Option("--dry-run", help="Say what the command would do, and do nothing.")]


def _version(asked: bool) -> None:
    if asked:
        print(f"libasis {versions()['libasis']}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


def _say(*words: str) -> None:
    """Print a line at once; where nobody reads any more, the work goes on."""
    with contextlib.suppress(BrokenPipeError):
        print(*words, flush=True)


def _read(file: Path, changes: list[str] | None) -> Config:
    from .config import read_config

    return read_config(file, changes or [])


@app.command(epilog="Example: libasis demo --out my-demo")
def demo(
    name: Annotated[str, typer.Argument(metavar="NAME", help='The model: "modadd" or "digits".')] = "modadd",
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for page and graph.")] = Path(
        "libasis-demo"
    ),
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Run the whole method on a small model that comes with libasis."""
    from ..demo.run import run as run_demo

    say = None if as_json else _say
    result = run_demo(out, name=name, force=force, progress=None, say=say)
    show.as_json(result) if as_json else show.demo(result)


@app.command(epilog="Example: libasis init my-model.toml")
def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")] = Path(FILE),
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a settings file with comments, to fill in."""
    if file.exists() and not force:
        raise RunError(f"{file} already exists; give --force to replace it, or another name.")
    text = toml.template()
    write_text(file, text, text.partition("\n")[0])
    if as_json:
        show.as_json({"command": "init", "file": file})
    else:
        print(f"Wrote {file}. Fill in sites, model.source and data.source, then: libasis sites {file}")


@app.command(epilog="Example: libasis sites libasis.toml")
def sites(file: File = Path(FILE), changes: Changes = None, as_json: Json = False) -> None:
    """List every place at which the model can be cut."""
    from . import pipeline

    table = pipeline.sites(_read(file, changes))
    show.as_json({"command": "sites", "sites": table.to_dicts()}) if as_json else print(table)


@app.command(epilog="Example: libasis scan libasis.toml --budget 6 --out scan.svg")
def scan(
    file: File = Path(FILE),
    budget: Annotated[
        int | None, typer.Option("--budget", metavar="N", help="How many sites the cut may have.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="An .svg file for the picture.")] = None,
    lang: Annotated[str, typer.Option("--lang", help='Of the picture: "en" or "ja".')] = "en",
    changes: Changes = None,
    as_json: Json = False,
) -> None:
    """Look at what the data do at every site, and recommend a cut; the settings need no sites."""
    from . import pipeline

    found = pipeline.scan(_read(file, changes), budget)
    picture = found.to_svg(out, lang) if out else None
    if as_json:
        show.as_json({"command": "scan", "picture": picture, **found.to_plain()})
        return
    print(found)
    print(f"For the settings: sites = {json.dumps(found.recommended, ensure_ascii=False)}")
    if picture:
        print(f"Picture written to {picture}")


@app.command(epilog="Example: libasis fit libasis.toml --set fit.method=pca --set output=pca-run")
def fit(
    file: File = Path(FILE), changes: Changes = None, force: Force = False, dry: Dry = False, as_json: Json = False
) -> None:
    """Fit the basis at each site, on the training data."""
    from . import pipeline

    config, start = _read(file, changes), time.perf_counter()
    if dry:
        _would("fit", config, force=force, as_json=as_json)
        return
    basis = pipeline.fit(config, force=force)
    paths = pipeline.Output(config)
    facts = {"command": "fit", "basis": paths.basis, "method": basis.method, "sites": basis.describe()}
    if as_json:
        show.as_json({**facts, "findings": show.found(basis.info, basis), "seconds": time.perf_counter() - start})
    else:
        show.basis(basis)
        print(f"Basis saved in {paths.basis}. Next: libasis graph {file}")


@app.command(epilog="Example: libasis graph libasis.toml --set interactions.method=integrated")
def graph(
    file: File = Path(FILE), changes: Changes = None, force: Force = False, dry: Dry = False, as_json: Json = False
) -> None:
    """Measure the interactions of the features; fits the basis first if none is saved."""
    from . import pipeline

    config, start = _read(file, changes), time.perf_counter()
    if dry:
        _would("graph", config, force=force, as_json=as_json)
        return
    measured = pipeline.graph(config, force=force)
    paths = pipeline.Output(config)
    if as_json:
        rows = show.section_rows(measured)
        facts = {"command": "graph", "graph": paths.graph, "method": measured.basis.method, "sections": rows}
        facts["findings"] = show.found(measured.info, measured.basis)
        show.as_json({**facts, "sites": measured.basis.describe(), "seconds": time.perf_counter() - start})
    else:
        show.graph(measured)
        print(f"Graph saved in {paths.graph}. Next: libasis ablate {file}, or libasis report {file}")


@app.command(epilog="Example: libasis ablate libasis.toml --set ablate.metric=cross_entropy --set ablate.max_drop=0.01")
def ablate(
    file: File = Path(FILE), changes: Changes = None, force: Force = False, dry: Dry = False, as_json: Json = False
) -> None:
    """Count how many features and edges the model needs, on the test data; needs a saved graph."""
    from . import pipeline

    config, start = _read(file, changes), time.perf_counter()
    if dry:
        _would("ablate", config, force=force, as_json=as_json)
        return
    result = pipeline.ablate(config, force=force)
    paths = pipeline.Output(config)
    if as_json:
        facts = show.ablation_facts(result)
        show.as_json({"command": "ablate", "file": paths.ablation, **facts, "seconds": time.perf_counter() - start})
    else:
        show.ablations(result)
        print(f"Scores saved in {paths.ablation}. Next: libasis report {file}")


@app.command(epilog="Example: libasis report libasis.toml --set report.lang=ja")
def report(
    file: File = Path(FILE),
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="FILE", help="Names of features, saved from the page.")
    ] = None,
    changes: Changes = None,
    dry: Dry = False,
    as_json: Json = False,
) -> None:
    """Write the page that shows the graph, and the ablation if there is one; replaces an older page."""
    from . import pages

    named = [f"report.labels={json.dumps(str(labels), ensure_ascii=False)}"] if labels else []
    config = _read(file, [*(changes or []), *named])
    if dry:
        _would("report", config, force=True, as_json=as_json)
        return
    page, info = pages.report(config)
    if as_json:
        show.as_json({"command": "report", "page": page, "findings": info.get("findings") or []})
        return
    show.findings(info)
    print(f"Page written to {page}")


@app.command(epilog="Example: libasis status libasis.toml --set fit.method=pca")
def status(file: File = Path(FILE), changes: Changes = None, as_json: Json = False) -> None:
    """Say which results are there, whether they are made of what the settings say now, and what commands would do."""
    from . import status as look

    config = _read(file, changes)
    found = look.status(config)
    would = {verb: found.would(verb, config, force=verb == "report") for verb in ("fit", "graph", "ablate", "report")}
    if as_json:
        show.as_json({"command": "status", "output": config.output, **found.to_plain(), "would": would})
    else:
        show.status(found, would)


def _would(verb: str, config: Config, *, force: bool, as_json: bool) -> None:
    """What a command would do."""
    from . import status as look

    steps = look.status(config).would(verb, config, force=force)
    edges = look.cost_of_edges(config) if verb == "graph" and not steps[0].startswith("refuse") else []
    if as_json:
        show.as_json({"command": verb, "would": steps, **({"edges": edges} if edges else {})})
        return
    print("\n".join(steps))
    for one in edges:
        how = f"estimated to {one['error']:.0%}" if one["error"] else "exact"
        print(
            f"  edges from {one['section']}: {how}, about {one['takes']:.1e} multiplications (exact {one['exact']:.1e})"
        )


@app.command(name="compare", epilog="Example: libasis compare experiments/*.toml --out build/results")
def compare_bases(
    files: Files = None, changes: Changes = None, out: Out = None, force: Force = False, as_json: Json = False
) -> None:
    """Compare bases by the features and edges that the model needs, with intervals; goes on where it was stopped."""
    from .compare import run_comparison

    found = _each(
        files, changes, out, lambda c, folder, say: run_comparison(c, out=folder, force=force, say=say), as_json
    )
    show.as_json({"command": "compare", "experiments": found}) if as_json else show.comparisons(found)


@app.command(epilog="Example: libasis sensitivity experiments/digits.toml --set sensitivity.shares=[0.1,1]")
def sensitivity(
    files: Files = None, changes: Changes = None, out: Out = None, force: Force = False, as_json: Json = False
) -> None:
    """Measure how much importances and counts depend on the threshold, the sample size and the seed."""
    from .sensitivity import run_sensitivity

    found = _each(
        files, changes, out, lambda c, folder, say: run_sensitivity(c, out=folder, force=force, say=say), as_json
    )
    show.as_json({"command": "sensitivity", "experiments": found}) if as_json else show.sensitivities(found)


def _each(
    files: list[Path] | None, changes: list[str] | None, out: Path | None, work: Work, quiet: bool
) -> list[dict[str, Any]]:
    """What each settings file gives; one whose data are missing is passed over if there are others."""
    files = files or [Path(FILE)]
    found = []
    for file in files:
        config = _read(file, changes)
        folder = (out / file.stem if len(files) > 1 else out) if out is not None else Path(config.output)
        say = None if quiet else partial(_say, f"{file.stem}:")
        start = time.process_time()
        try:
            found.append({"file": file, "folder": folder, **work(config, folder, say)})
        except MissingDataError as error:
            if len(files) == 1:
                raise
            found.append({"file": file, "skipped": str(error)})
        found[-1]["cpu_seconds_now"] = time.process_time() - start
    return found


@app.command(epilog="Example: libasis export libasis.toml --to edges.csv --to graph.graphml")
def export(
    file: File = Path(FILE),
    to: Annotated[
        list[Path] | None,
        typer.Option(
            "--to",
            metavar="FILE",
            help="What to write, replacing an older one: .csv (or a folder of tables), .graphml or .json; can be given "
            "several times.",
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help='"csv", "graphml", "json", or "attribution": the JSON of attribution graphs that circuit-tracer and '
            "Neuronpedia show.",
        ),
    ] = None,
    changes: Changes = None,
    as_json: Json = False,
) -> None:
    """Write the saved graph for other programs."""
    from . import pages

    if not to:
        raise RunError("libasis export needs --to FILE, for instance --to graph.graphml.")
    files = pages.export(_read(file, changes), to, kind)
    if as_json:
        show.as_json({"command": "export", "files": files})
    else:
        print("\n".join(f"Wrote {path}" for path in files))


@app.command(epilog="Example: libasis diff before-run after-run --out diff.html")
def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="A saved graph, or the folder of a run.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="The graph to compare it with.")],
    out: Annotated[
        Path,
        typer.Option("--out", metavar="FILE", help="The page to write; with the ending .json, the numbers instead."),
    ] = Path("libasis-diff.html"),
    lang: Annotated[str, typer.Option("--lang", help='Of the page: "en" or "ja".')] = "en",
    least: Annotated[float, typer.Option("--least", help="Similarity from which features match.")] = 0.8,
    threshold: Annotated[
        float, typer.Option("--threshold", help="Share of the input from which an edge counts.")
    ] = 0.01,
    columns: Annotated[
        str | None, typer.Option("--columns", metavar="A,B,C", help="Names of the coordinates of the first site.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare two saved graphs by the directions of their features; an older page is replaced.

    The models must have the same coordinates at each site. In Python, libasis.diff also compares by data.
    """
    from . import pages

    names = None if columns is None else [name.strip() for name in columns.split(",")]
    found = pages.diff(a, b, out, lang, least=least, threshold=threshold, columns=names)
    if as_json:
        show.as_json({"command": "diff", "page": out, "sites": found.sites(), **found.to_plain()})
    else:
        show.diff(found)
        print(f"Page written to {out}")
