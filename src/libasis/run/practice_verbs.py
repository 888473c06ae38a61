"""The verbs ``libasis ab``, ``effect``, ``value`` and ``practice``: their options and what they print."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import show
from .commands import Changes, Force, Json, app

ab = typer.Typer(name="ab", help="Design an A/B test, and read one.", no_args_is_help=True)
app.add_typer(ab)

METRIC_FORM = "name,baseline=0.05,effect=0.005 (keys: baseline, effect, margin, sd, better, covariate, correlation, "
SUCCESS = typer.Option("--success", metavar="METRIC", help=f"{METRIC_FORM}per_unit, icc); several times.")
GUARDRAILS = typer.Option("--guardrail", metavar="METRIC", help="The same with margin= : how much worse it may get.")
SHARE = typer.Option("--share", metavar="X", help="Of the units that get the change; by default a half.")
ALPHA = typer.Option("--alpha", metavar="X", help="Risk of a win without an effect; 0.05 by default.")
POWER = typer.Option("--power", metavar="X", help="Chance to find what is worth finding.")
PAGE = typer.Option("--page", metavar="FILE", help="Write a page that shows it, in English and Japanese.")
LANG = typer.Option("--lang", help='"en" or "ja": in which the page opens.')
SAVED = typer.Option("--out", metavar="DIR", help="Save the result in this folder.")


def _metrics(texts: list[str] | None) -> list[Any]:
    from ..practice import ABMetric

    return [ABMetric.parse(text) for text in texts or []]


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _show(
    command: str, found: Any, out: Path | None, page: tuple[Path | None, str], *, force: bool, as_json: bool
) -> None:
    from ..files import check_file
    from ..report import MARK
    from .practice import check_new

    path, lang = page
    if out is not None:
        check_new(out, force)
    if path is not None:
        check_file(path, MARK)
    saved = None if out is None else found.save(out, force=force)
    written = None if path is None else found.to_html(path, lang)
    if as_json:
        paths = {"saved": saved, "page": written}
        show.as_json({"command": command, **paths, "rows": list(found.rows()), **found.to_plain()})
        return
    print("\n".join(found.summary()))
    if saved:
        print(f"Saved in {saved}.")
    if written:
        print(f"Page written to {written}")


@ab.command(
    epilog="Example: libasis ab design --success conversion,baseline=0.05,effect=10% "
    "--guardrail latency,baseline=200,sd=80,margin=2%,better=lower --traffic 5000"
)
def design(  # noqa: PLR0913 - options of the command line
    success: Annotated[list[str] | None, SUCCESS] = None,
    guardrail: Annotated[list[str] | None, GUARDRAILS] = None,
    traffic: Annotated[float | None, typer.Option("--traffic", metavar="N", help="Units a day.")] = None,
    share: Annotated[float | None, SHARE] = None,
    alpha: Annotated[float | None, ALPHA] = None,
    power: Annotated[float | None, POWER] = None,
    analysis: Annotated[
        str | None, typer.Option("--analysis", help='"fixed" (one look, by default) or "always-valid".')
    ] = None,
    out: Annotated[Path | None, SAVED] = None,
    page: Annotated[Path | None, PAGE] = None,
    lang: Annotated[str, LANG] = "en",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Say how many units and days an A/B test needs."""
    from ..practice import ab_design

    options: dict[str, Any] = _given(traffic=traffic, share=share, alpha=alpha, power=power, analysis=analysis)
    found = ab_design(_metrics(success), _metrics(guardrail), **options)
    _show("ab design", found, out, (page, lang), force=force, as_json=as_json)


@ab.command(
    epilog="Example: libasis ab analyse before.csv after.csv --success bought --guardrail wait,margin=5,better=lower"
)
def analyse(  # noqa: PLR0913 - options of the command line
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="The control group, or with --arm all rows.")],
    after: Annotated[
        Path | None, typer.Argument(metavar="AFTER", help="The group with the change, of the same time.")
    ] = None,
    success: Annotated[list[str] | None, SUCCESS] = None,
    guardrail: Annotated[list[str] | None, GUARDRAILS] = None,
    delta: Annotated[
        float | None, typer.Option("--delta", metavar="X", help="The smallest effect of interest.")
    ] = None,
    arm: Annotated[str | None, typer.Option("--arm", metavar="COLUMN", help="Says the group.")] = None,
    control: Annotated[str | None, typer.Option("--control", metavar="VALUE", help="Of --arm, the control.")] = None,
    treatment: Annotated[
        str | None, typer.Option("--treatment", metavar="VALUE", help="Of --arm, the group with the change.")
    ] = None,
    unit: Annotated[
        str | None, typer.Option("--unit", metavar="COLUMN", help="What was dealt a group, such as a user.")
    ] = None,
    time: Annotated[str | None, typer.Option("--time", metavar="COLUMN", help="The day, for daily looks.")] = None,
    covariate: Annotated[
        str | None,
        typer.Option("--covariate", metavar="COLUMN", help="Known before the test: takes out what it tells."),
    ] = None,
    design_in: Annotated[
        Path | None, typer.Option("--design", metavar="DIR", help="A saved design, for all that is not given.")
    ] = None,
    analysis: Annotated[
        str | None, typer.Option("--analysis", help='"always-valid" (by default), "fixed" or "exact".')
    ] = None,
    planned: Annotated[int | None, typer.Option("--planned", metavar="N", help="Units of both groups.")] = None,
    share: Annotated[float | None, SHARE] = None,
    alpha: Annotated[float | None, ALPHA] = None,
    power: Annotated[float | None, POWER] = None,
    out: Annotated[Path | None, SAVED] = None,
    page: Annotated[Path | None, PAGE] = None,
    lang: Annotated[str, LANG] = "en",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Read an A/B test: is the split as planned, the effect, the guardrails, the verdict."""
    from ..practice import ABDesign, ab_analyse

    options: dict[str, Any] = _given(
        delta=delta, arm=arm, control=control, treatment=treatment, unit=unit, time=time, covariate=covariate,
        analysis=analysis, planned=planned, share=share, alpha=alpha, power=power,
        design=ABDesign.load(design_in) if design_in else None,
    )  # fmt: skip
    wins = _metrics(success) or None
    found = ab_analyse(before, after, success=wins, guardrails=_metrics(guardrail), **options)
    _show("ab analyse", found, out, (page, lang), force=force, as_json=as_json)


@app.command(
    epilog="Example: libasis effect batches.csv --treatment new_valve --outcome scrap --adjust load,grade --page p.html"
)
def effect(  # noqa: PLR0913 - options of the command line
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="A table of what was observed.")],
    treatment: Annotated[str, typer.Option("--treatment", metavar="COLUMN", help="What is thought to act.")],
    outcome: Annotated[str, typer.Option("--outcome", metavar="COLUMN", help="What it is thought to act on.")],
    adjust: Annotated[str | None, typer.Option("--adjust", metavar="A,B", help="Columns that may move both.")] = None,
    categories: Annotated[
        str | None, typer.Option("--categories", metavar="A,B", help="Of these, whose numbers are names of classes.")
    ] = None,
    units: Annotated[str | None, typer.Option("--units", metavar="COLUMN", help="The run or batch of a row.")] = None,
    negative: Annotated[
        str | None, typer.Option("--negative-controls", metavar="A,B", help="Outcomes that it cannot change.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the tries to refute.")] = 0,
    out: Annotated[Path | None, SAVED] = None,
    page: Annotated[Path | None, PAGE] = None,
    lang: Annotated[str, LANG] = "en",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Estimate an effect in observed data, adjusted, and try to refute it."""
    from ..causal import effect as effect_of
    from .practice import listed, observed

    given, classes, controls = listed(adjust), listed(categories), listed(negative)
    known = observed(table, [treatment, outcome, *given, *controls, *filter(None, [units])])
    options: dict[str, Any] = {"categories": classes, "negative_controls": controls, "units": units, "seed": seed}
    found = effect_of(known, treatment, outcome, given, **options)
    _show("effect", found, out, (page, lang), force=force, as_json=as_json)


@app.command(
    epilog="Example: libasis value events=100..180..250 avoided=20%..50%..70% saving=1200 once=30000 --unit EUR"
)
def value(
    given: Annotated[
        list[str],
        typer.Argument(metavar="NAME=NUMBER", help="What is known: a number, or LOW..HIGH or LOW..LIKELY..HIGH."),
    ],
    formula: Annotated[
        str | None, typer.Option("--formula", metavar="TEXT", help="By default of events that a change avoids.")
    ] = None,
    unit: Annotated[str, typer.Option("--unit", metavar="TEXT", help="Of the value, such as EUR.")] = "",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the draws.")] = 0,
    out: Annotated[Path | None, SAVED] = None,
    page: Annotated[Path | None, PAGE] = None,
    lang: Annotated[str, LANG] = "en",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Say what a change is worth, with its range, and which number matters most."""
    from ..practice import value as value_of
    from ..practice.value import STANDARD
    from .practice import ranges

    found = value_of(ranges(given), formula or STANDARD, unit=unit, seed=seed)
    _show("value", found, out, (page, lang), force=force, as_json=as_json)


@app.command(epilog="Example: libasis practice libasis.toml --result libasis-diagnosis/diagnosis --lang ja")
def practice(  # noqa: PLR0913 - options of the command line
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Settings with the section practice; may be left out.")
    ] = None,
    result: Annotated[
        list[Path] | None,
        typer.Option(
            "--result", metavar="DIR", help="A saved result (of a diagnosis, an A/B test ...); several times."
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for page and texts.")] = Path(
        "libasis-practice"
    ),
    lang: Annotated[str, typer.Option("--lang", help='"en" or "ja": in which the page opens.')] = "en",
    changes: Changes = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write the plan from results to operation: stages, what decides, numbers, value, points for a meeting."""
    from . import practice as work

    found, pages = work.run_practice(file, result or [], changes or [], out, lang, force=force)
    if as_json:
        show.as_json({"command": "practice", "pages": pages, "rows": found.rows(), **found.to_plain()})
    else:
        print(found.text(lang))
        print("\n".join(f"Written: {page}" for page in pages))
