"""The basis as plain data: what `fit` returns, what everything later reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..ambient import neutral
from ..arguments import typed
from ..cut import Traced, digest_of_tensors
from ..errors import ON_TRACE, OptionError, SiteError, renamed
from ..importance import Moments
from ..measure import Records, shares
from ..provenance import readout_of, versions
from ..store import Shared, all_finite, listed
from ..types import Matrix, Plain, Vector
from .outliers import say
from .ties import Tie


@dataclass(frozen=True, eq=False)
class SiteBasis:
    r"""The features of one site: :math:`\hat f = (f - \mu) C` and back :math:`f \approx \mu + \hat f C^+`.

    Attributes:
        name: the site's name.
        mean: :math:`\mu`, shape ``[d]``.
        C: the map to features, shape ``[d, k]``.
        C_pinv: the map back, shape ``[k, d]``, with ``C_pinv @ C`` the identity of size k.
        importances: :math:`\Lambda`, shape ``[k]``. For ``lib``, ``global`` and ``pca`` descending. A site that keeps
            its own coordinates (``neuron``, and the last site unless rotated) keeps their order, so that feature i is
            neuron i, and its importances are the variances, unsorted.
        variances: the variance of each feature on the data of the fit, shape ``[k]``.
        rank_report: which directions were dropped and why: thresholds and the eigenvalues on both sides of each cut.
        ties: groups of features whose importances do not differ, so that only their span is determined.

    All tensors are float64 on the CPU.
    """

    name: str
    mean: Vector
    C: Matrix
    C_pinv: Matrix
    importances: Vector
    variances: Vector
    rank_report: Plain = field(default_factory=dict)
    ties: tuple[Tie, ...] = ()

    def __repr__(self) -> str:
        return f"SiteBasis({self.name!r}: {self.k} of {self.d} directions kept)"

    def flaw(self) -> str | None:
        """What makes it no basis of a site; None if it is one."""
        if self.C.ndim != 2:
            return f"C of site {self.name!r} has the shape {list(self.C.shape)}, but it is a matrix"
        shapes = {
            "mean": [self.d],
            "C": [self.d, self.k],
            "C_pinv": [self.k, self.d],
            "importances": [self.k],
            "variances": [self.k],
        }
        for name, shape in shapes.items():
            tensor = getattr(self, name)
            if list(tensor.shape) != shape:
                return f"{name} of site {self.name!r} has the shape {list(tensor.shape)} instead of {shape}"
            if not all_finite(tensor):
                return f"{name} of site {self.name!r} is not finite"
        if any(not 0 <= tie.first < tie.last < self.k for tie in self.ties):
            return f"site {self.name!r} has ties of features that it has not"
        return None

    @property
    def d(self) -> int:
        """Number of coordinates of the activation."""
        return self.C.shape[0]

    @property
    def k(self) -> int:
        """Number of features kept."""
        return self.C.shape[1]

    def tied(self, index: int) -> str:
        """``"equal 0-1"`` or ``"undecided 3-7"`` for a feature of such a tie, and ``""`` for any other."""
        return next((str(tie) for tie in self.ties if index in tie), "")

    def encode(self, x: Tensor) -> Tensor:
        """Features of activations: ``(x - mean) @ C``; ``x`` is ``[..., d]``, the result ``[..., k]``.

        The result is of the dtype of ``x``, and float64 for whole numbers; `decode` alike.
        """
        x = _fractional(x)
        return (x - self.mean.to(x)) @ self.C.to(x)

    def decode(self, z: Tensor) -> Tensor:
        """Activations of features: ``mean + z @ C_pinv``; ``z`` is ``[..., k]``, the result ``[..., d]``."""
        z = _fractional(z)
        return self.mean.to(z) + z @ self.C_pinv.to(z)


def _fractional(x: Tensor) -> Tensor:
    return x if x.is_floating_point() else x.double()


@dataclass(frozen=True, eq=False)
class Basis(Shared, kind="basis"):
    """The bases of all sites of a traced model, in the model's order.

    Attributes:
        sites: one `SiteBasis` per site.
        method: ``"lib"``, ``"sparse"`` (LIB, rotated), ``"pca"``, ``"neuron"``, ``"global"`` or ``"directions"``.
        info: how the result was made: rule and error bar of each section, rank rule, data, seed, dtype, versions.
    """

    sites: tuple[SiteBasis, ...]
    method: str
    info: Plain = field(default_factory=dict)

    def __iter__(self) -> Iterator[SiteBasis]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)

    def __getitem__(self, key: int | str) -> SiteBasis:
        if isinstance(key, int):
            return self.sites[key]
        for site in self.sites:
            if site.name == key:
                return site
        raise SiteError(f"No site is called {key!r}; the sites of this basis are {[s.name for s in self.sites]}.")

    def __repr__(self) -> str:
        rows = [f"  {s.name}: {s.k} of {s.d} directions kept" for s in self.sites]
        readout = f", readout {told}" if (told := readout_of(self.info)) else ""
        head = f"Basis(method={self.method!r}, {len(self.sites)} sites{readout})"
        return listed("\n".join(filter(None, [head, say(self.info.get("outliers", []))])), rows)

    def flaw(self) -> str | None:
        """What makes it no basis; None if it is one."""
        names = [site.name for site in self.sites]
        if not names:
            return "it has no sites"
        if len(set(names)) < len(names):
            return f"two of its sites have the same name: {names}"
        return next((flaw for site in self.sites if (flaw := site.flaw())), None)

    def rows(self) -> list[Plain]:
        """One plain row per feature: id, site, index, importance, variance, the tie it belongs to."""
        return [
            {
                "id": f"{site.name}:{i}",
                "site": site.name,
                "index": i,
                "importance": importance,
                "variance": variance,
                "tied": site.tied(i),
            }
            for site in self.sites
            for i, (importance, variance) in enumerate(
                zip(site.importances.tolist(), site.variances.tolist(), strict=True)
            )
        ]

    @classmethod
    @renamed(**ON_TRACE, relative_error="it belongs to the rule: moments=libasis.rules.Auto(relative_error=...)")
    @typed
    @neutral
    def from_directions(  # noqa: PLR0913 - keyword options of the public face
        cls,
        decoder: Mapping[str, Tensor],
        encoder: Mapping[str, Tensor] | None = None,
        *,
        traced: Traced,
        batches: Iterable[Any],
        moments: Moments = "auto",
        seed: int = 0,
        progress: bool | None = None,
        memory: int | str = "auto",
        spill: str | Path | None = None,
    ) -> Basis:
        r"""A basis of your own directions: latents of a dictionary, probes, concept vectors.

        It has the same edges, ablations and graph as any other basis, so the two can be compared. Features are
        :math:`(f - \mu)\,\text{encoder}^T` and back :math:`\mu + \hat f\,\text{decoder}^T`, both linear: the
        nonlinearity of a sparse dictionary's encoder is no part of it (`libasis.bridges.spliced` has it). A feature's
        importance is its variance times what its direction does to the next site, :math:`d_i^T M' d_i`, which for LIB's
        own directions is LIB's. The features keep their order, and are correlated in general.

        With more directions than coordinates, encoding what was decoded changes it, and with an encoder that is no
        inverse something of the activation lies outside: ``site.rank_report["directions"]`` says how much
        (``encode_of_decode_error``, and ``reconstruction_error`` as a share of the variance). Edges of the gradient
        form are taken at the activation as it is, outside part included; ablations put a feature's decoded direction
        in its place and hold the outside part at its mean, as they do with what any basis dropped, so they never reach
        the model's own score. Attributions of the integrated form do not add up by what is outside.

        Args:
            decoder: directions by site, ``[d, k]``, one in each column. Sites that are not named keep their own
                coordinates.
            encoder: ``[k, d]`` by site. By default the pseudo-inverse of the decoder: the inverse on its span, and for
                more directions than coordinates the dual of least norm, which reconstructs whatever is in the span.
            traced: from `trace` or `Chain`.
            batches: as in `fit`, for means, variances and importances.
            moments: as in `fit`.
            seed: as in `fit`.
            progress: as in `fit`.
            memory: as in `fit`.
            spill: as in `fit`.

        Raises:
            OptionError: a site is unknown, a matrix has the wrong shape, is not finite or has a zero direction.
        """
        from .directions import from_directions

        with Records.of(traced, batches, memory, spill, progress=progress) as records:
            memory = shares(memory, traced)[1]
            return from_directions(records, decoder, encoder, moments=moments, seed=seed, memory=memory)

    def on(self, traced: Traced) -> Basis:
        """The same directions for another model with the same sites: one that was trained on or pruned, for instance.

        What measures with a basis refuses another model than that of the fit, unless it is told so. The model of the
        fit stays at ``info["fitted_on"]``. For the edges of a graph: ``dataclasses.replace(graph, basis=...)``.

        Raises:
            OptionError: the model has other sites, or other numbers of coordinates there.
        """
        there, here = (
            {s.name: d for s, d in pairs}
            for pairs in ([(s, s.d) for s in self], [(s, s.features) for s in traced.sites])
        )
        if list(there.items()) != list(here.items()):
            raise OptionError(f"The basis has the sites and coordinates {there}, but the model has {here}.")
        record = {"traced": traced.facts(), "versions": versions()}
        return replace(self, info={"fitted_on": self.info.get("traced"), **self.info, **record})

    def digest(self) -> str:
        """SHA-256 over the features: names, means and maps of all sites."""
        return digest_of_tensors((site.name, x) for site in self for x in (site.mean, site.C, site.C_pinv))

    def describe(self) -> list[dict[str, Any]]:
        """One plain row per site: name, directions, kept, total importance."""
        return [{"site": s.name, "d": s.d, "k": s.k, "importance": float(s.importances.sum())} for s in self.sites]


def check_fits(traced: Traced, basis: Basis) -> Plain:
    """What the traced model is (`Traced.facts`): the one of the basis, cut at the same sites.

    Raises:
        OptionError: it has other sites, or it is another model.
    """
    facts = traced.facts()
    own, theirs = facts["sites"], [s.name for s in basis]
    if own != theirs:
        raise OptionError(f"The basis has the sites {theirs}, but the model was cut at {own}; fit it on this cut.")
    for site, known in zip(traced.sites, basis, strict=True):
        if site.features not in (0, known.d):  # a Chain knows its features after the first batch
            raise OptionError(
                f"The basis has {known.d} features at site {site.name!r}, but the model has {site.features}; fit it on "
                "this cut."
            )
    if difference := other_model(basis.info, {"traced": facts, "versions": versions()}):
        raise OptionError(
            f"The basis was fitted on another model: {difference} of this one; fit it on this one, or give "
            "basis.on(traced) to use its directions all the same."
        )
    return facts


def other_model(then: Plain, now: Plain) -> str | None:
    """How the model of one record (the ``info`` of a result) differs from that of another; None for not.

    Where a record does not say it is not compared, nor are a traced model and a `Chain`, whose parts have other names.
    The computation is compared for equal shapes of the example's inputs and one version of torch.
    """
    one, two = (record.get("traced") or {} for record in (then, now))
    if ("shapes" in one) != ("shapes" in two):
        return None
    torch, other = ((record.get("versions") or {}).get("torch") for record in (then, now))
    pairs = {"weights": (one.get("fingerprint"), two.get("fingerprint"))}
    if torch == other and one.get("shapes") == two.get("shapes"):
        pairs["computation"] = (one.get("computation"), two.get("computation"))
    for name, (a, b) in pairs.items():
        if a and b and a != b:
            return f"{name} {a[:8]} ({one.get('model')}) instead of {b[:8]} ({two.get('model')})"
    return None
