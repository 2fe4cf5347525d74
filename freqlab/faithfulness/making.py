"""The faithfulness study: tests of a run's explanations, stored in the run with trust cards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, Unpack, cast

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.bands.base import Bands
from freqlab.bands.parsing import parse_bands
from freqlab.edits.edges import edge_effect
from freqlab.errors import ParameterError, StoreError, check_name, check_number
from freqlab.faces.pairs import make_pairs
from freqlab.faces.table import Faces
from freqlab.faithfulness.alternatives import views_of
from freqlab.faithfulness.card_contents import trust_card
from freqlab.faithfulness.deletion import deletion_curves, deletion_errors
from freqlab.faithfulness.planting import FEWEST_CROPS, learned_bands, planted_bands
from freqlab.faithfulness.sanity import sanity_checks
from freqlab.faithfulness.stability import explanation_figures, profile_stability
from freqlab.faithfulness.trust_cards import save_trust_card, trust_cards_of
from freqlab.faithfulness.views import band_views, sample_pairs
from freqlab.literals import Side
from freqlab.models.spec import Model
from freqlab.results.selection import threshold_of
from freqlab.run.calls import influence
from freqlab.run.studies import RunOptions, Studied, study_of
from freqlab.statistics.error_rates import check_fmr, rates_with
from freqlab.statistics.resampling import check_draws
from freqlab.store.reading import open_run
from freqlab.store.studies import Nodes

__all__ = ["resolved_rate", "study"]

_SIDES: tuple[Side, ...] = ("probe", "reference", "both")
_FEWEST_ORDERS = 4  # for Shapley values

Item = TypeVar("Item")
_N_PLANTED = 12  # number of crops in which bands are planted
_N_LEARNED = 40  # number of crops on which networks are trained and tested


def study(
    faces: Faces,
    pairs: pd.DataFrame | None = None,
    *,
    models: Studied,
    store: str | os.PathLike[str],
    bands: Bands | str = "rings:4",
    sides: Sequence[Side] = ("probe", "reference", "both"),
    side: Side = "probe",
    n_pairs: int | None = 60,
    n_sample: int = 12,
    n_ordered: int = 40,
    n_random: int = 3,
    beam: int = 3,
    most_permutations: int = 32,
    tolerance: float = 0.01,
    most_bands: int = 4,
    depths: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
    contrasts: Sequence[float] = (4.0, 8.0, 16.0),
    fmr: float = 1e-3,
    n_draws: int = 1000,
    seed: int = 0,
    **run: Unpack[RunOptions],
) -> xr.DataTree:
    """Test the explanations of models and store the results in the run, or open stored ones.

    The trust card of each model is saved in the run when the study is made, and also when it is
    opened and the run has no card of the model.

    Parameters
    ----------
    faces
        The faces.
    pairs
        Pairs to test; by default pairs are drawn with two photographs per person.
    models, store, bands
        As for :func:`freqlab.influence`.
    **run
        Options of the computation, as for :func:`freqlab.influence`.
    sides
        Masked images in deletion and insertion, of ``"probe"``, ``"reference"`` and ``"both"``.
    side
        Masked image in all other tests, ``"probe"`` or ``"reference"``.
    n_pairs
        Number of pairs in deletion and insertion; None for all.
    n_sample
        Number of pairs in all other tests.
    n_ordered
        Number of pairs on which the orders of other views of the bands, and the best order known,
        are compared with that of influence. With fewer than 20 people no view is said to be better.
    n_random
        Number of random orders of each pair.
    beam
        Width of the beam search for the best order known; 1 for a greedy search.
    most_permutations, tolerance, most_bands
        As for :func:`freqlab.faithfulness.band_views`.
    depths, contrasts
        As for :func:`freqlab.faithfulness.sanity_checks` (shares of the layers, 0..1) and
        :func:`freqlab.faithfulness.planted_bands` (grey levels, above 0).
    fmr
        False match rate of the threshold. A rate that is not resolved is raised tenfold until it
        is.
    n_draws, seed
        Bootstrap draws over people, and the seed of all random draws.

    Returns
    -------
    xarray.DataTree
        ``/errors``, from :func:`freqlab.faithfulness.deletion_errors`, with orders by truth, and
        ``/errors_by_decision``, with orders by decision, if all thresholds are resolved;
        ``/orders``, with the orders of other views and the best order known; ``/views``,
        ``/checks``, ``/planted``, ``/learned`` (with four faces or more), ``/stability`` and
        ``/figures``, from the functions of these tests; ``/edge``, from
        :func:`freqlab.edits.edge_effect`, if the bands are rings or octaves;
        ``/influence``, the influence result. ``attrs["fmr_used"]`` is the resolved false match
        rate.

    Raises
    ------
    ParameterError, PairError
        If an argument is invalid; all of them are checked before anything is computed.
    StoreError
        If the store cannot be read or written.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=6, per_subject=2)
    >>> options = {"models": [fl.testing.model()], "bands": "rings:28", "fmr": 0.1, "n_sample": 4}
    >>> options |= {"most_permutations": 4, "n_draws": 50, "progress": False}
    >>> study = fl.faithfulness.study(faces, store="run.zarr", **options)
    >>> sorted(study.children)
    ['checks', 'edge', 'errors', 'figures', 'influence', 'learned', 'orders', 'planted', \
'stability', 'views']
    """
    settings = _Settings(
        store=store,
        bands=parse_bands(bands) if isinstance(bands, str) else bands,
        sides=_listed("sides", sides),
        side=side,
        n_pairs=n_pairs,
        n_sample=n_sample,
        n_ordered=n_ordered,
        n_random=n_random,
        beam=beam,
        most_permutations=most_permutations,
        tolerance=tolerance,
        most_bands=most_bands,
        depths=_listed("depths", depths),
        contrasts=_listed("contrasts", contrasts),
        fmr=fmr,
        n_draws=n_draws,
        seed=seed,
    )
    settings.check()
    study = study_of(
        "faithfulness",
        faces,
        lambda loaded: _nodes(faces, pairs, loaded, settings, run),
        models=models,
        store=store,
        run=run,
        pairs=pairs,
        **settings.options,
    )
    _save_cards(store, study)
    return study


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """Arguments of :func:`study`."""

    store: str | os.PathLike[str]
    bands: Bands
    sides: list[Side]
    side: Side
    n_pairs: int | None
    n_sample: int
    n_ordered: int
    n_random: int
    beam: int
    most_permutations: int
    tolerance: float
    most_bands: int
    depths: list[float]
    contrasts: list[float]
    fmr: float
    n_draws: int
    seed: int

    @property
    def options(self) -> dict[str, Any]:
        """All settings except the store, as JSON values."""
        options = {name: value for name, value in vars(self).items() if name != "store"}
        return options | {"bands": self.bands.key}

    def check(self) -> None:
        """Refuse values that a test would refuse after others have been computed."""
        check_fmr(self.fmr)
        check_draws(self.n_draws, 0.95, self.seed)
        for side in self.sides:
            check_name("sides", side, _SIDES)
        check_name("side", self.side, ["probe", "reference"])
        if self.n_pairs is not None:
            check_number("n_pairs", self.n_pairs, at_least=2, whole=True)
        for name in ("n_sample", "n_ordered", "n_random", "beam", "most_bands"):
            check_number(name, getattr(self, name), at_least=1, whole=True)
        check_number("tolerance", self.tolerance, at_least=0)
        most = self.most_permutations
        check_number("most_permutations", most, at_least=_FEWEST_ORDERS, whole=True)
        if most % 2:
            raise ParameterError(
                f"most_permutations={most!r} must be even, because each order is used with its "
                f"reverse"
            )
        for depth in self.depths:
            check_number("depths", depth, at_least=0)
            if depth > 1:
                raise ParameterError(f"depths={depth!r} must be shares of the layers from 0 to 1")
        for contrast in self.contrasts:
            check_number("contrasts", contrast, above=0)


def _listed(argument: str, values: Sequence[Item]) -> list[Item]:
    """Return the values of an argument as a list; refuse text, no value, and repeated ones."""
    if isinstance(values, str) or not np.iterable(values):
        raise ParameterError(f"{argument}={values!r} must be a list")
    listed = list(values)
    if not listed:
        raise ParameterError(f"{argument}={values!r} must have one value or more")
    repeated = [value for k, value in enumerate(listed) if value in listed[:k]]
    if repeated:
        raise ParameterError(f"{argument}={values!r} must not repeat {repeated[0]!r}")
    return listed


def _nodes(
    faces: Faces,
    pairs: pd.DataFrame | None,
    models: list[Model],
    settings: _Settings,
    run: RunOptions,
) -> Nodes:
    """Run all tests and return the nodes of the study."""
    seed, store, names = settings.seed, settings.store, [model.name for model in models]
    tested = _tested(faces, pairs, settings)
    sides = list(dict.fromkeys([settings.side, *settings.sides]))
    result = influence(
        *(faces, tested),
        models=models,
        bands=settings.bands,
        sides=sides,
        store=store,
        fmrs=rates_with(settings.fmr),
        **run,
    ).load()
    rate = resolved_rate(result, names, settings.fmr)
    sample = sample_pairs(result, settings.n_sample, seed=seed)
    progress = run.get("progress", True)
    draws: dict[str, Any] = {"n_draws": settings.n_draws, "seed": seed}
    options: dict[str, Any] = {"side": settings.side, "progress": progress, **draws}
    ordering: dict[str, Any] = {"fmr": rate, "seed": seed, "progress": progress}
    curves = deletion_curves(result, models, n_random=settings.n_random, **ordering)
    views = band_views(
        sample,
        models,
        fmr=rate,
        tolerance=settings.tolerance,
        most_permutations=settings.most_permutations,
        most_bands=settings.most_bands,
        **options,
    )
    checks = sanity_checks(sample, models, depths=settings.depths, **options)
    stability = profile_stability(sample, models, **options)
    computed = [result, curves, views, checks, stability]
    border = {}
    if settings.bands.radial:
        masked = sample.sel(side=[settings.side])
        border["edge"] = edge_effect(masked, models, progress=progress, **draws)
    computed += border.values()
    ordered = _ordered(result, models, settings, ordering)
    computed += ordered.values()
    ends = [result[f"{end}_subject"].to_numpy().astype(str) for end in ("probe", "reference")]
    attrs = {
        "result": result.attrs["name"],
        "forward_passes": sum(int(data.attrs["forward_passes"]) for data in computed),
        "fmr_used": rate,
        "n_people": len(np.unique(np.concatenate(ends))),
        "n_sampled": int(sample.sizes["pair"]),
        "pairs_are": "drawn" if pairs is None else "of the list",
    }
    return {
        "/": xr.Dataset(attrs=attrs),
        "errors": deletion_errors(curves, **draws),
        **{name: deletion_errors(one, **draws) for name, one in ordered.items()},
        "views": views,
        "checks": checks,
        **_planted(result, sample, models[0].template.name, settings),
        "stability": stability,
        **border,
        "figures": explanation_figures(result, **draws),
    }


def _ordered(
    result: xr.Dataset, models: list[Model], settings: _Settings, ordering: dict[str, Any]
) -> dict[str, xr.Dataset]:
    """Compute curves by decision, and curves in the orders of other views and the best order.

    Parameters
    ----------
    result, models, settings
        As for the study.
    ordering
        Arguments of :func:`freqlab.faithfulness.deletion_curves`.
    """
    masked = result.sel(side=[settings.side])
    some = sample_pairs(masked, settings.n_ordered, seed=settings.seed)
    views = views_of(
        some,
        models,
        tolerance=settings.tolerance,
        most_permutations=settings.most_permutations,
        seed=settings.seed,
        progress=bool(ordering["progress"]),
    )
    curves = {
        "orders": deletion_curves(
            some,
            models,
            explanations={name: view["influence"] for name, view in views.items()},
            beam=settings.beam,
            n_random=settings.n_random,
            **ordering,
        )
    }
    for view in views.values():
        curves["orders"].attrs["forward_passes"] += int(view.attrs["forward_passes"])
    if np.isfinite(curves["orders"]["threshold"]).all():
        options = {"n_random": settings.n_random, **ordering}
        curves["errors_by_decision"] = deletion_curves(masked, models, by="decision", **options)
    return curves


def _save_cards(store: str | os.PathLike[str], study: xr.DataTree) -> None:
    """Save the trust cards of a study that was made, or those that a stored study lacks."""
    opened = bool(study.attrs["was_kept"])
    cards = trust_cards_of(store) if opened else {}
    parts = ("errors", "views", "checks", "planted", "stability", "figures")
    made = {name: study.attrs[name] for name in ("created_at", "freqlab_version")}
    for model in map(str, study.attrs["models"]):
        if "properties" in cards.get(model, {}):
            continue
        card = trust_card(
            *(study[part].to_dataset() for part in parts),
            **{
                part: study[part].to_dataset()
                for part in ("learned", "orders", "edge")
                if part in study.children
            },
            model=model,
            side=cast(Side, str(study.attrs["side"])),
        )
        try:
            save_trust_card(store, card | made)
        except StoreError:
            if not opened:
                raise
            return  # a stored study can be opened from a run that cannot be written


def resolved_rate(result: xr.Dataset, models: Sequence[str], fmr: float) -> float:
    """Return the false match rate, raised tenfold until all models have a threshold.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`.
    models
        Names of models.
    fmr
        Requested rate; larger rates are those of the result.
    """
    larger = sorted(rate for rate in result["fmr"].to_numpy() if rate >= fmr * (1 - 1e-6))
    for rate in larger:
        if all(np.isfinite(threshold_of(result, model=name, fmr=rate)) for name in models):
            return float(rate)
    return float(larger[-1]) if larger else fmr


def _tested(faces: Faces, pairs: pd.DataFrame | None, settings: _Settings) -> pd.DataFrame:
    """Return the pairs on which the explanations are tested."""
    if pairs is None:
        return _drawn(faces, settings.n_pairs, settings.seed)
    return _some(pairs, settings.n_pairs, settings.seed)


def _some(pairs: pd.DataFrame, n_pairs: int | None, seed: int) -> pd.DataFrame:
    """Draw some of the given pairs; all if `n_pairs` is None or too large."""
    if n_pairs is None or n_pairs >= len(pairs):
        return pairs
    return pairs.sample(n_pairs, random_state=seed)


def _drawn(faces: Faces, n_pairs: int | None, seed: int) -> pd.DataFrame:
    """Draw pairs of two photographs of each of some people.

    Every face is in a genuine pair, and most faces are in an impostor pair.
    """
    subjects = faces.table["subject"].astype(str).reset_index(drop=True)
    drawn = subjects.sample(frac=1, random_state=seed)
    drawn = drawn[drawn.map(drawn.value_counts()) > 1]
    people = drawn.unique()[: (n_pairs or len(drawn)) // 2]
    rows = drawn[drawn.isin(people)].groupby(drawn).head(2).index.to_numpy()
    return make_pairs(faces.select(np.sort(rows)), impostors_per_genuine=1, seed=seed)


def _planted(
    result: xr.Dataset, sample: xr.Dataset, template: str, settings: _Settings
) -> dict[str, xr.Dataset]:
    """Plant bands in crops of the sample, and of other pairs if these are too few."""
    ends = [one[end] for one in (sample, result) for end in ("probe", "reference")]
    names = list(dict.fromkeys(str(face) for end in ends for face in end.to_numpy()))
    crops = open_run(settings.store, nodes=["crops"])[f"crops/{template}"]["crop"]
    pixels = crops.sel(face=names[:_N_LEARNED]).to_numpy()
    options: dict[str, Any] = {"template": template, "seed": settings.seed}
    few = pixels[:_N_PLANTED]
    nodes = {
        "planted": planted_bands(
            few,
            settings.bands,
            contrasts=settings.contrasts,
            n_people=len(few) // 2,
            **options,
        )
    }
    if len(pixels) >= FEWEST_CROPS:
        nodes["learned"] = learned_bands(pixels, settings.bands, **options)
    return nodes
