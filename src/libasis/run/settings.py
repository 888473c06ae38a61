"""The schema of the settings file: what every verb reads.

The sections ``trace``, ``fit``, ``interactions`` and ``ablate`` hold the keyword arguments of the Python calls, with
the same names and defaults. A field's description says what its value must be; error messages quote it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from . import toml

SITES = "a list of site names, or of lists of names that are joined into one site"
FACTORY = '"package.module:factory"'
MODEL = f'{FACTORY}, "hf:DIRECTORY" or a FILE.pt2'
DATA = f"{FACTORY}, a file (.npz, .safetensors, .csv, .tsv, .xlsx, .parquet, .txt, .jsonl) or a folder of images"

MOMENTS = (
    '"auto", "closed_form", "probes", "exact", "sketch", or a table of a rule, a relative_error between 0 and 1 and a '
    'seed, such as { rule = "sketch", relative_error = 0.05, seed = 0 }'
)

Progress = Annotated[bool | None, Field(description="true or false")]
Yes = Annotated[bool, Field(description="true or false")]
Seed = Annotated[int, Field(ge=0, lt=2**63, description="a whole number from 0 to 2**63 - 1")]
Memory = Literal["auto"] | Annotated[int, Field(ge=2**20)]
MEMORY: Any = Field(default="auto", description='"auto" or a number of bytes, at least 1048576')
Names = Annotated[list[str] | None, Field(min_length=1, description="a list of names, at least one")]
Text = Annotated[str | None, Field(min_length=1, description="a text that is not empty")]
SiteList = list[str | list[str]]
Arguments = Annotated[
    dict[str, str | int | float | bool], Field(description="a table of keyword arguments for the factory")
]
Method = Literal["lib", "sparse", "pca", "neuron", "global", "random"]
METHODS = 'a list of "lib", "sparse", "pca", "neuron", "global" and "random"'
MetricTables = Annotated[
    list[dict[str, str | int | float]] | None, Field(min_length=1, description="a list of tables, one for each metric")
]
CALLS = ("fit", "interactions", "ablate")
Count = Annotated[int | None, Field(ge=1, description="a whole number, 1 or more")]


class Table(BaseModel):
    """A table of the file: unknown keys are refused, values are never converted silently."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ModelSection(Table):
    """Where the model comes from."""

    source: str = Field(min_length=1, description=MODEL)
    arguments: Arguments = {}


class DataSection(Table):
    """Where the data come from and how they are cut into batches."""

    source: str = Field(min_length=1, description=DATA)
    arguments: Arguments = {}
    target: Text = None
    columns: Names = None
    exclude: Names = None
    time: Text = None
    unit: Text = None
    impute: Literal["median", "mean", "previous"] | None = Field(
        default=None, description='"median", "mean" or "previous"'
    )
    classes: Names = None
    separator: Text = None
    encoding: Text = None
    decimal: Literal[".", ","] | None = Field(default=None, description='"." or ","')
    batch_size: int = Field(default=256, ge=1, description="a whole number, 1 or more")
    test_source: str | None = Field(default=None, min_length=1, description=DATA)
    test_fraction: float | None = Field(default=None, ge=0, lt=1, description="a number from 0 to below 1")
    seed: Seed = 0
    sequence_length: int = Field(default=128, ge=2, description="a whole number, 2 or more")
    max_sequences: Count = None


class TraceSection(Table):
    """Keyword arguments of `libasis.trace`, and the ``times`` of `libasis.without_outliers`."""

    mask: Text = None
    dtype: Literal["float32", "float64"] | None = Field(default=None, description='"float32" or "float64"')
    device: str | None = Field(default=None, description='a device of torch, such as "cpu" or "cuda:0"')
    around: Literal["refuse", "hold"] = Field(default="refuse", description='"refuse" or "hold"')
    without_outliers: float | None = Field(default=None, gt=1, description="a number above 1")


class RuleTable(Table):
    """An importance rule with options, those of its class in `libasis.rules`."""

    rule: Literal["auto", "closed_form", "probes", "exact", "sketch"] = "auto"
    relative_error: float | None = Field(default=None, gt=0, lt=1)
    seed: int | None = Field(default=None, ge=0)


class FitSection(Table):
    """Keyword arguments of `libasis.fit`."""

    method: Literal["lib", "pca", "neuron", "global"] = Field(
        default="lib", description='"lib", "pca", "neuron" or "global"'
    )
    sparse: Yes = False
    rotate_final: Yes = False
    truncation: str = Field(default="auto", description='"auto", "relative:1e-10" or "absolute:1e-6"')
    moments: Literal["auto", "closed_form", "probes", "exact", "sketch"] | RuleTable = Field(
        default="auto", description=MOMENTS
    )
    readout: Literal["next", "output", "fisher"] = Field(default="next", description='"next", "output" or "fisher"')
    seed: Seed = 0
    progress: Progress = None
    memory: Memory = MEMORY
    spill: Text = None


class InteractionsSection(Table):
    """Keyword arguments of `libasis.interactions`."""

    method: Literal["gradient", "integrated"] = Field(default="gradient", description='"gradient" or "integrated"')
    n_steps: int = Field(default=8, ge=1, description="a whole number, 1 or more")
    baseline: Literal["mean", "zero"] = Field(default="mean", description='"mean" or "zero"')
    top_k: Count = None
    relative_error: Literal["auto"] | Annotated[float, Field(ge=0, lt=1)] = Field(
        default="auto", description='"auto" or a number from 0 (exact) to 1'
    )
    seed: Seed = 0
    progress: Progress = None
    memory: Memory = MEMORY


class AblateSection(Table):
    """Keyword arguments of `libasis.ablate_nodes` and `libasis.ablate_edges`, and which of the two to run."""

    nodes: Yes = True
    edges: Yes = True
    metric: str = Field(
        default="accuracy",
        min_length=1,
        description='"accuracy", "cross_entropy", "mse", "kl" or "package.module:function"',
    )
    max_drop: float = Field(default=0.001, ge=0, description="a number, 0 or more")
    sites: Names = None
    schedule: Literal["auto", "linear", "exponential", "bisect"] | list[int] = Field(
        default="auto", description='"auto", "linear", "exponential", "bisect" or a list of counts'
    )
    replacement: Literal["mean", "zero", "resample"] = Field(default="mean", description='"mean", "zero" or "resample"')
    where: Literal["counted", "all"] = Field(default="counted", description='"counted" or "all"')
    sections: Names = None
    search: Literal["bisect", "bisect-kept"] = Field(default="bisect", description='"bisect" or "bisect-kept"')
    stable: Yes = True
    seed: Seed = 0
    progress: Progress = None
    memory: Memory = MEMORY


class ReportSection(Table):
    """How the page is written, and the options of `libasis.collect` for its cards."""

    lang: Literal["en", "ja"] = Field(default="en", description='"en" or "ja"')
    path: Text = None
    title: Text = None
    question: Text = None
    labels: Text = None
    cards: Yes = True
    features: int = Field(default=24, ge=1, description="a whole number, 1 or more")
    examples: int = Field(default=8, ge=0, description="a whole number, 0 or more")
    effects: int = Field(default=10, ge=0, description="a whole number, 0 or more")
    samples: int = Field(default=512, ge=2, description="a whole number, 2 or more")
    tested: int = Field(default=12, ge=0, description="a whole number, 0 or more")
    controls: Count = None
    metric: Text = None
    kind: Literal["auto", "text", "image", "table", "number"] = Field(
        default="auto", description='"auto", "text", "image", "table" or "number"'
    )
    outputs: Names = None
    columns: Names = None
    vocabulary: Text = None
    image_shape: list[int] | None = Field(default=None, min_length=2, description="[height, width] of an image")
    groups: dict[str, str] | None = Field(default=None, description="names of groups with the source of each")
    reference: Text = None
    seed: Seed = 0


class CompareSection(Table):
    """What ``libasis compare`` measures; fit, interactions and ablate say how.

    With ``seeds`` the factories of model and data are called with ``seed=…``, once for each; ``controls`` are methods
    for the first seed only. ``describe`` names a function ``(traced, basis) -> dict`` of further facts.
    """

    methods: list[Method] = Field(default=["lib", "pca", "neuron", "global", "random"], description=METHODS)
    controls: list[Method] = Field(default=[], description=METHODS)
    seeds: list[int] | None = Field(default=None, min_length=1, description="a list of whole numbers, at least one")
    train_samples: Count = None
    test_samples: Count = None
    replicates: int = Field(default=1000, ge=1, description="a whole number, 1 or more")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="a number between 0 and 1")
    describe: Text = None
    title: Text = None


class SensitivitySection(Table):
    """What ``libasis sensitivity`` varies: factors of the automatic threshold, shares of the data, seeds of halves."""

    factors: list[float] = Field(
        default=[0.1, 0.3, 1.0, 3.0, 10.0], min_length=1, description="a list of numbers, at least one"
    )
    shares: list[float] = Field(
        default=[0.1, 0.25, 0.5, 1.0], min_length=1, description="a list of numbers from above 0 to 1"
    )
    seeds: list[int] = Field(default=[0, 1, 2, 3], description="a list of whole numbers")
    edges: Yes = True


class PracticeSection(Table):
    """What ``libasis practice`` knows of the plant or product: rates, costs, the metrics of a comparison."""

    change: Text = None
    results: Names = None
    rows_per_day: float | None = Field(default=None, gt=0, description="a number above 0")
    events_per_day: float | None = Field(default=None, gt=0, description="a number above 0")
    false_alarms: float = Field(default=0.01, gt=0, lt=1, description="a number between 0 and 1")
    detection: float = Field(default=0.9, gt=0, lt=1, description="a number between 0 and 1")
    owners: dict[str, str] | None = Field(default=None, description="a table of stages and who answers for each")
    success: MetricTables = None
    guardrails: MetricTables = None
    traffic: float | None = Field(default=None, gt=0, description="a number above 0")
    analysis: Literal["fixed", "always-valid"] = Field(default="fixed", description='"fixed" or "always-valid"')
    value: dict[str, float | list[float] | dict[str, float | str]] | None = Field(
        default=None, description="a table of numbers or ranges [low, likely, high]"
    )
    formula: Text = None
    unit: Text = None


class RunSection(Table):
    """How a command runs; it decides no result."""

    checkpoint_seconds: float = Field(default=60, ge=0, description="a number of seconds, 0 or more")
    timeout: float = Field(default=1800, gt=0, description="a number of seconds above 0")


Kinds = Annotated[
    list[Literal["mean", "resample", "zero"]],
    Field(min_length=1, description='a list of "mean", "resample" and "zero"'),
]
METRIC = '"accuracy", "cross_entropy", "mse", "output[2]", "SITE[2]" or "package.module:function"'


class HypothesisTable(Table):
    """One of ``[[hypotheses]]``: keyword arguments of `libasis.Hypothesis`."""

    site: str = Field(min_length=1, description="the name of a site")
    features: list[int] | list[list[int]] | None = Field(
        default=None, description="a list of numbers, or of such lists"
    )
    metric: str = Field(default="accuracy", min_length=1, description=METRIC)
    direction: Literal["any", "increase", "decrease"] = Field(
        default="any", description='"any", "increase" or "decrease"'
    )
    delta: float | None = Field(default=None, gt=0, description="a number above 0")
    name: Text = None
    directions: list[list[float]] | None = Field(default=None, min_length=1, description="a list of lists of numbers")
    group: Text = None
    kinds: Kinds = ["mean", "resample"]
    where: Literal["counted", "all"] = Field(default="counted", description='"counted" or "all"')


class VerifySection(Table):
    """Keyword arguments of `libasis.explore`, `libasis.plan` and `libasis.verify`, and how the test data are cut."""

    metric: str = Field(default="accuracy", min_length=1, description=METRIC)
    sites: Names = None
    most: int = Field(default=256, ge=1, description="a whole number, 1 or more")
    pairs: int = Field(default=0, ge=0, description="a whole number, 0 or more")
    kinds: Kinds = ["mean", "resample"]
    group: Text = None
    dependent: Yes = False
    alpha: float = Field(default=0.05, gt=0, lt=1, description="a number between 0 and 1")
    controls: int = Field(default=999, ge=1, description="a whole number, 1 or more")
    units: Text = None
    groups: dict[str, str] = Field(default={}, description="names of groups, each with a package.module:function")
    explore_share: float = Field(default=0.5, gt=0, lt=1, description="a number between 0 and 1")
    seed: Seed = 0
    progress: Progress = None
    memory: Memory = MEMORY


class Config(Table):
    """The whole file."""

    sites: SiteList = Field(default=[], description=SITES)
    output: str = Field(default="libasis-run", min_length=1, description="the name of a folder")
    model: ModelSection = Field(description="a section")
    data: DataSection = Field(description="a section")
    trace: TraceSection = Field(default=TraceSection(), description="a section")
    fit: FitSection = Field(default=FitSection(), description="a section")
    interactions: InteractionsSection = Field(default=InteractionsSection(), description="a section")
    ablate: AblateSection = Field(default=AblateSection(), description="a section")
    report: ReportSection = Field(default=ReportSection(), description="a section")
    practice: PracticeSection = Field(default=PracticeSection(), description="a section")
    hypotheses: list[HypothesisTable] = Field(default=[], description="tables [[hypotheses]]")
    verify: VerifySection = Field(default=VerifySection(), description="a section")
    compare: CompareSection = Field(default=CompareSection(), description="a section")
    sensitivity: SensitivitySection = Field(default=SensitivitySection(), description="a section")
    run: RunSection = Field(default=RunSection(), description="a section")

    def to_toml(self) -> str:
        """These settings as TOML, with every default written out."""
        return toml.write(self.model_dump(exclude_none=True))


SECTIONS: dict[str, type[Table]] = {
    name: field.annotation
    for name, field in Config.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Table)
}
LISTED: dict[str, type[Table]] = {"hypotheses": HypothesisTable}
"""Tables of which there may be several."""
TABLES = {**SECTIONS, **LISTED}
