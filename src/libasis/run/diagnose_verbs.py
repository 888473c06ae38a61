"""The verbs ``libasis diagnose`` and ``libasis check``: their options and what they print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..data.separated import Written
from . import show
from .commands import Force, Json, app
from .errors import RunError

if TYPE_CHECKING:
    from .diagnosis import Source

MODEL = typer.Option("--model", metavar="SOURCE", help='"package.module:factory", a FILE.pt2 or "hf:DIRECTORY".')
NORMAL = typer.Option("--normal", metavar="FILE", help="A table of normal rows, in the order of time.")
ANOMALOUS = typer.Option("--anomalous", metavar="FILE", help="A table of anomalous rows.")
DATA = typer.Option("--data", metavar="FILE", help="One table of both, in place of the two.")
LABEL = typer.Option("--label", metavar="COLUMN", help="Of --data: the column that says which rows are normal.")
NORMAL_LABEL = typer.Option("--normal-label", metavar="VALUE", help="What --label says of normal rows.")
COLUMNS = typer.Option("--columns", metavar="A,B,C", help="The inputs, in the model's order; by default all columns.")
EXCLUDE = typer.Option("--exclude", metavar="A,B", help="Columns that are no inputs, such as a time.")
IMPUTE = typer.Option("--impute", metavar="HOW", help='Fill empty cells: "median", "mean" or "previous".')
DECIMAL = typer.Option("--decimal", metavar="MARK", help='Of the tables: "." or ",", where it is not recognised.')
SEPARATOR = typer.Option("--separator", metavar="MARK", help=r'Of the tables: such as ";" or "\t" (a tab).')
ENCODING = typer.Option("--encoding", metavar="NAME", help='Of the tables: such as "cp932" (Shift-JIS).')
METRIC = typer.Option("--metric", metavar="KIND", help='"class", "score" or "reconstruction"; by default recognised.')
THRESHOLD = typer.Option("--threshold", metavar="X", help="The score above which there is an alarm.")


@app.command(
    epilog="Example: libasis diagnose --model my_model:load --normal normal.csv --anomalous fault.csv --out diagnosis"
)
def diagnose(  # noqa: PLR0913 - options of the command line
    model: Annotated[str, MODEL],
    normal: Annotated[Path | None, NORMAL] = None,
    anomalous: Annotated[Path | None, ANOMALOUS] = None,
    data: Annotated[Path | None, DATA] = None,
    label: Annotated[str | None, LABEL] = None,
    normal_label: Annotated[str | None, NORMAL_LABEL] = None,
    columns: Annotated[str | None, COLUMNS] = None,
    exclude: Annotated[str | None, EXCLUDE] = None,
    impute: Annotated[str | None, IMPUTE] = None,
    decimal: Annotated[str | None, DECIMAL] = None,
    separator: Annotated[str | None, SEPARATOR] = None,
    encoding: Annotated[str | None, ENCODING] = None,
    units: Annotated[
        str | None, typer.Option("--units", metavar="COLUMN", help="The column of the run or device of each row.")
    ] = None,
    site: Annotated[
        list[str] | None,
        typer.Option(
            "--site",
            metavar="NAME",
            help="A site inside the model to look at; several times. By default those that scan recommends.",
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out the inside of the model.")] = False,
    metric: Annotated[str | None, METRIC] = None,
    threshold: Annotated[float | None, THRESHOLD] = None,
    delta: Annotated[
        float | None, typer.Option("--delta", metavar="X", help="The smallest change of interest.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of all draws.")] = 0,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for page and tables.")] = Path(
        "libasis-diagnosis"
    ),
    lang: Annotated[str, typer.Option("--lang", help='Of the page: "en" or "ja".')] = "en",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Say which inputs mediate a model's alarm: set to normal, tested, beside plain methods."""
    from . import diagnosis

    chosen = {"columns": columns, "exclude": exclude, "units": units, "impute": impute}
    source = _groups(normal, anomalous, data, label, normal_label, _written(separator, encoding, decimal), **chosen)
    options = {"metric": metric, "threshold": threshold, "delta": delta, "seed": seed}
    options["sites"] = [] if quick else site or None
    found = diagnosis.run_diagnosis(model, source, out, lang, force=force, **options)
    if as_json:
        show.as_json({"command": "diagnose", "page": out / diagnosis.PAGE, **found.to_plain()})
    else:
        show.diagnosis(found)
        print(f"Page written to {out / diagnosis.PAGE}")


@app.command(epilog="Example: libasis check --model my_model:load --normal normal.csv --anomalous fault.csv")
def check(  # noqa: PLR0913 - options of the command line
    model: Annotated[str, MODEL],
    normal: Annotated[Path | None, NORMAL] = None,
    anomalous: Annotated[Path | None, ANOMALOUS] = None,
    data: Annotated[Path | None, DATA] = None,
    label: Annotated[str | None, LABEL] = None,
    normal_label: Annotated[str | None, NORMAL_LABEL] = None,
    columns: Annotated[str | None, COLUMNS] = None,
    exclude: Annotated[str | None, EXCLUDE] = None,
    impute: Annotated[str | None, IMPUTE] = None,
    decimal: Annotated[str | None, DECIMAL] = None,
    separator: Annotated[str | None, SEPARATOR] = None,
    encoding: Annotated[str | None, ENCODING] = None,
    metric: Annotated[str | None, METRIC] = None,
    threshold: Annotated[float | None, THRESHOLD] = None,
    as_json: Json = False,
) -> None:
    """Say what is wrong with a model and two groups of rows, before anything is measured."""
    from . import diagnosis

    chosen = {"columns": columns, "exclude": exclude, "impute": impute}
    source = _groups(normal, anomalous, data, label, normal_label, _written(separator, encoding, decimal), **chosen)
    findings = diagnosis.run_check(model, source, metric=metric, threshold=threshold)
    if as_json:
        show.as_json({"command": "check", "findings": findings})
    else:
        print("\n".join(f"- {one}" for one in findings) or "Nothing wrong was found. Next: libasis diagnose")


def _written(separator: str | None, encoding: str | None, decimal: str | None) -> Written:
    return Written("\t" if separator == r"\t" else separator, encoding, decimal)


def _groups(  # noqa: PLR0913 - options of the command line
    normal: Path | None,
    anomalous: Path | None,
    data: Path | None,
    label: str | None,
    normal_label: str | None,
    written: Written,
    *,
    columns: str | None,
    exclude: str | None,
    impute: str | None,
    units: str | None = None,
) -> Source:
    if (data is None) == (normal is None) or (data is not None and (label is None or normal_label is None)):
        raise RunError("Give --normal and --anomalous, or --data with --label and --normal-label.")
    if data is None and anomalous is None:
        raise RunError("--normal is given without --anomalous; give the anomalous rows too.")
    listed = [[name.strip() for name in one.split(",")] if one else None for one in (columns, exclude)]
    first = data or normal or Path()
    from .diagnosis import Source

    other = None if data else anomalous
    return Source(first, other, listed[0], listed[1] or (), units, label, normal_label, impute, written)
