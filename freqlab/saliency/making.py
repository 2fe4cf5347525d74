"""The saliency study: band influence and related methods on the same pairs, stored in the run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Unpack

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.adversarial.detection import check_attacks, features, scores
from freqlab.adversarial.detection_rates import detection_errors
from freqlab.attrs import names_of
from freqlab.bands.base import Bands
from freqlab.bands.parsing import parse_bands
from freqlab.engine.pairing import SIDES
from freqlab.errors import BandError, ParameterError, check_name, check_number
from freqlab.faces.pairs import make_pairs
from freqlab.faces.table import Faces
from freqlab.faithfulness.deletion import deletion_errors
from freqlab.faithfulness.making import resolved_rate
from freqlab.faithfulness.views import sample_pairs
from freqlab.literals import Domain, Side
from freqlab.models.spec import Model
from freqlab.results.selection import threshold_of
from freqlab.run.calls import influence
from freqlab.run.studies import RunOptions, study_of
from freqlab.saliency.advantages import compare_explanations, map_complexity
from freqlab.saliency.compare import band_orders, curves
from freqlab.saliency.gradients import STEPS
from freqlab.saliency.map_agreement import agreement, windowed
from freqlab.saliency.maps import corrrise_maps, freqrise_maps, gradient_maps, joint_maps
from freqlab.statistics.error_rates import check_fmr, rates_with
from freqlab.statistics.resampling import check_draws, subject_codes
from freqlab.store.studies import Nodes

__all__ = ["study"]

_LEAST = {
    **{"n_pairs": 2, "n_explained": 1, "n_joint": 1, "n_masks_space": 3, "n_masks_plane": 3},
    **{"steps": 1, "grid": 1, "deletion_steps": 2, "folds": 2},
}
"""Smallest values of whole-number arguments."""
_OF_PAIR = ("pair", "band", "probe_subject", "reference_subject", "genuine")


class _Maps(NamedTuple):
    """Maps of the same pairs by every method; fields are named like the nodes of the study."""

    corrrise: xr.Dataset
    freqrise: xr.Dataset
    gradient: xr.Dataset
    integrated: xr.Dataset
    joint: xr.Dataset


@dataclasses.dataclass(frozen=True)
class _Options:
    """Arguments that determine the content of a study, under the names stored with it."""

    bands: str
    side: Side
    n_pairs: int | None
    n_explained: int
    n_joint: int
    n_masks_space: int
    n_masks_plane: int
    reliability: float
    steps: int
    grid: int
    deletion_steps: int
    attacks: list[str]
    secret: str
    folds: int
    fmr: float
    n_draws: int
    seed: int

    @property
    def bootstrap(self) -> dict[str, int]:
        """Arguments of the bootstrap over people."""
        return {"n_draws": self.n_draws, "seed": self.seed}


@dataclasses.dataclass(frozen=True)
class _Sample:
    """Influence of the pairs of a study, and the sample of pairs to explain."""

    result: xr.Dataset
    model: Model
    options: _Options
    fmr: float
    """Resolved false match rate of the threshold."""
    explained: list[int]
    """Labels of the pairs to explain."""
    in_turn: list[int]
    """The same labels, genuine and impostor pairs in turn."""
    progress: bool

    @property
    def masked(self) -> dict[str, Any]:
        """Arguments of deletion: the masked side, the threshold and the random orders."""
        options = {"side": self.options.side, "seed": self.options.seed}
        return options | {"fmr": self.fmr, "progress": self.progress}

    @property
    def influence(self) -> xr.DataArray:
        """Influence of all pairs ``(pair, band)``."""
        one = self.result["influence"]
        return one.sel(model=self.model.name, side=self.options.side, drop=True)


def study(
    faces: Faces,
    pairs: pd.DataFrame | None = None,
    *,
    model: str | os.PathLike[str] | Model,
    store: str | os.PathLike[str],
    bands: Bands | str = "rings:4",
    side: Side = "probe",
    n_pairs: int | None = 100,
    n_explained: int = 40,
    n_joint: int = 3,
    n_masks_space: int = 1000,
    n_masks_plane: int = 2000,
    reliability: float = 0.9,
    steps: int = STEPS,
    grid: int = 5,
    deletion_steps: int = 8,
    attacks: Sequence[str] = ("FGSM:2", "FGSM:4", "PGD:1", "PGD:2"),
    key: str = "freqlab",
    folds: int = 5,
    fmr: float = 1e-3,
    n_draws: int = 1000,
    seed: int = 0,
    **run: Unpack[RunOptions],
) -> xr.DataTree:
    """Compare explanations of the same pairs by several methods: agreement, faithfulness, cost.

    The study is computed and stored in the run, or opened if it is stored already. Explanations are
    compared only for kinds of pairs with at least 20 people. The default of 40 explained pairs
    reaches 20 people with one genuine pair each; fewer pairs, such as ``n_explained=10``, do not.
    The cost of the maps grows with the number of explained pairs: 40 pairs take about 40 times the
    seconds of :func:`freqlab.saliency.cost_table`.

    Parameters
    ----------
    faces
        The faces.
    pairs
        A list of pairs; drawn by default.
    model
        A network with gradients.
    store, bands
        As for :func:`freqlab.influence`.
    **run
        Options of the computation, as for :func:`freqlab.influence`.
    side
        The image that is masked or whose gradients are taken. Attacks always change the probes.
    n_pairs, n_explained, n_joint
        Number of pairs whose probes are attacked, None for all; number of these pairs that are
        explained by every method, half of them genuine and of different people where possible;
        number of explained pairs with joint maps.
    n_masks_space, n_masks_plane
        Largest numbers of masks of CorrRISE and FreqRISE.
    reliability
        Reliability of a map at which masking stops early.
    steps, grid
        Steps of integrated gradients; number of windows of joint maps along each axis.
    deletion_steps
        Number of steps of deletion, from nothing to all.
    attacks, key
        Kind and strength in grey levels of each attack; secret key of the detector.
    folds, n_draws, seed
        Folds of people, bootstrap draws over people, and the seed of all random draws.
    fmr
        False match rate of the threshold. Where it is not resolved, ten times the rate is tried,
        and so on.

    Returns
    -------
    xarray.DataTree
        ``/maps/corrrise``, ``freqrise``, ``gradient``, ``integrated`` and ``joint``;
        ``/agreement/bands``, ``windows``, ``joint_bands`` and ``joint_windows``;
        ``/deletion/bands``, ``frequency`` and ``space``; ``/orders``, from
        :func:`freqlab.faithfulness.deletion_errors`, bands in the order of each method and in the
        best order known; ``/explanations``, from
        :func:`freqlab.saliency.compare_explanations`; ``/complexity``, a table; ``/attacks``,
        from :func:`freqlab.adversarial.detection_errors`; ``/influence``, the influence result.

    Raises
    ------
    ParameterError, PairError
        If an argument is invalid; checked before anything is computed.
    StoreError
        If the store cannot be read or written.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=6, per_subject=3)
    >>> options = {"model": fl.testing.model(), "bands": "rings:28", "fmr": 0.1, "n_draws": 50}
    >>> options |= {"n_pairs": 12, "n_explained": 4, "n_joint": 1, "grid": 2, "steps": 2}
    >>> options |= {"n_masks_space": 20, "n_masks_plane": 20, "attacks": ["FGSM:2"], "folds": 2}
    >>> study = fl.saliency.study(faces, store="run.zarr", progress=False, **options)
    >>> sorted(study.children)
    ['agreement', 'attacks', 'complexity', 'deletion', 'explanations', 'influence', 'maps', \
'orders']
    """
    parsed = parse_bands(bands) if isinstance(bands, str) else bands
    if not parsed.planar or parsed.extension != "periodic":
        raise BandError(
            f"bands={bands!r}: maps of the plane of frequencies are compared with bands of the "
            f"periodic Fourier transform; allowed: rings, octaves, sectors, polar, custom"
        )
    options = _Options(
        bands=parsed.key,
        side=side,
        n_pairs=n_pairs,
        n_explained=n_explained,
        n_joint=n_joint,
        n_masks_space=n_masks_space,
        n_masks_plane=n_masks_plane,
        reliability=reliability,
        steps=steps,
        grid=grid,
        deletion_steps=deletion_steps,
        attacks=list(attacks),
        secret=key,
        folds=folds,
        fmr=fmr,
        n_draws=n_draws,
        seed=seed,
    )
    _check(options, pairs)

    def make(models: list[Model]) -> Nodes:
        _check_grid(options.grid, models[0])
        return _nodes(_sampled(faces, pairs, models, parsed, store, options, run))

    return study_of(
        "saliency",
        faces,
        make,
        models=[model],
        store=store,
        run=run,
        pairs=pairs,
        **dataclasses.asdict(options),
    )


def _check(options: _Options, pairs: pd.DataFrame | None) -> None:
    """Refuse arguments that are invalid for every model.

    Raises
    ------
    ParameterError
        With the argument, its value and what is allowed.
    """
    check_name("side", options.side, SIDES[:2])
    check_fmr(options.fmr)
    check_attacks(_attacks_of(options.attacks))
    check_draws(options.n_draws, 0.95, options.seed)
    for argument, least in _LEAST.items():
        value = getattr(options, argument)
        if argument != "n_pairs" or value is not None:
            check_number(argument, value, at_least=least, whole=True)
    check_number("reliability", options.reliability, above=0)
    if options.reliability > 1:
        raise ParameterError(f"reliability={options.reliability!r} must be above 0 and at most 1")
    if options.n_pairs is not None and options.n_explained > options.n_pairs:
        raise ParameterError(
            f"n_explained={options.n_explained!r} must not exceed n_pairs={options.n_pairs!r}"
        )
    if pairs is not None and options.n_explained > len(pairs):
        raise ParameterError(
            f"n_explained={options.n_explained!r} must not exceed the number of pairs of the "
            f"list, {len(pairs)}"
        )
    if options.n_joint > options.n_explained:
        raise ParameterError(
            f"n_joint={options.n_joint!r} must not exceed n_explained={options.n_explained!r}"
        )


def _check_grid(grid: int, model: Model) -> None:
    """Refuse more windows along an axis than the crops of a model have pixels."""
    pixels = min(model.template.size)
    if grid > pixels:
        raise ParameterError(
            f"grid={grid!r} must not exceed the smaller side of the crops of model "
            f"{model.name!r}, {pixels} pixels"
        )


def _nodes(sample: _Sample) -> Nodes:
    """Compute the nodes of a study."""
    maps = _every_map(sample)
    by_band = _by_band(sample, maps)
    orders = _orders(by_band, maps)
    deleted = _deleted(sample, orders)
    ordered = band_orders(sample.result, sample.model, by_band, **sample.masked)
    attacked = _attacked(sample)
    return {
        "/": xr.Dataset(attrs=_attrs(sample, [*maps, *deleted.values(), ordered, attacked])),
        **{f"maps/{method}": one for method, one in maps._asdict().items()},
        **_agreements(sample, by_band, maps),
        **{f"deletion/{domain}": _first(one, sample) for domain, one in deleted.items()},
        "orders": deletion_errors(ordered, **sample.options.bootstrap),
        "explanations": _explanations(sample, orders, maps, deleted),
        "complexity": _complexity(by_band, maps),
        "attacks": _detection(sample, attacked),
    }


def _sampled(
    faces: Faces,
    pairs: pd.DataFrame | None,
    models: list[Model],
    bands: Bands,
    store: str | os.PathLike[str],
    options: _Options,
    run: RunOptions,
) -> _Sample:
    """Compute the influence of the pairs of a study, and draw the pairs to explain."""
    chosen = _chosen(faces, pairs, options)
    result = influence(
        *(faces, chosen),
        models=models,
        bands=bands,
        sides=[options.side],
        store=store,
        fmrs=rates_with(options.fmr),
        **run,
    ).load()
    (model,) = models
    drawn = _to_explain(result, options.n_explained, options.seed)
    return _Sample(
        result,
        model,
        options,
        fmr=resolved_rate(result, [model.name], options.fmr),
        explained=[int(pair) for pair in drawn["pair"].to_numpy()],
        in_turn=_in_turn(drawn),
        progress=run.get("progress", True),
    )


def _attrs(sample: _Sample, counted: Sequence[xr.Dataset]) -> dict[str, Any]:
    """Attributes of a study; forward passes are those of the result and of `counted`."""
    result = sample.result
    passes = [int(one.attrs["forward_passes"]) for one in (result, *counted)]
    return {
        "result": result.attrs["name"],
        "forward_passes": sum(passes),
        "fmr_used": sample.fmr,
        "threshold": threshold_of(result, model=sample.model.name, fmr=sample.fmr),
        "explained": sample.explained,
        "in_turn": sample.in_turn,
    }


def _every_map(sample: _Sample) -> _Maps:
    """Compute the maps of the sampled pairs by every method."""
    result, model, options = sample.result, sample.model, sample.options
    shown: dict[str, Any] = {"side": options.side, "progress": sample.progress}
    some: dict[str, Any] = {"pairs": sample.explained, **shown}
    masked: dict[str, Any] = {"reliability": options.reliability, "seed": options.seed, **some}
    few = sample.in_turn[: options.n_joint]
    return _Maps(
        corrrise_maps(result, model, n_masks=options.n_masks_space, **masked),
        freqrise_maps(result, model, n_masks=options.n_masks_plane, **masked),
        gradient_maps(result, model, kind="gradient", fmr=sample.fmr, **some),
        gradient_maps(result, model, steps=options.steps, fmr=sample.fmr, **some),
        joint_maps(result, model, grid=options.grid, pairs=few, **shown),
    )


def _deleted(
    sample: _Sample, orders: Mapping[Domain, Mapping[str, xr.DataArray]]
) -> dict[str, xr.Dataset]:
    """Compute deletion and insertion in each domain."""
    options = sample.options
    return {
        domain: curves(
            sample.result,
            sample.model,
            ordered,
            domain=domain,
            steps=options.deletion_steps,
            **sample.masked,
        )
        for domain, ordered in orders.items()
    }


def _attacked(sample: _Sample) -> xr.Dataset:
    """Attack the probes of all pairs and compute the features of detectors."""
    options = sample.options
    return features(
        sample.result,
        sample.model,
        attacks=_attacks_of(options.attacks),
        key=options.secret,
        fmr=sample.fmr,
        seed=options.seed,
        progress=sample.progress,
    )


def _attacks_of(texts: Sequence[str]) -> list[tuple[str, float]]:
    """Kind and strength of each attack, from texts such as ``"PGD:2"``."""
    attacks = []
    for text in texts:
        kind, _, strength = str(text).partition(":")
        try:
            attacks.append((kind, float(strength)))
        except ValueError:
            raise ParameterError(
                f"attacks: {text!r} must be a kind and a strength in grey levels, such as 'PGD:2'"
            ) from None
    return attacks


def _detection(sample: _Sample, attacked: xr.Dataset) -> xr.Dataset:
    """Compute how well detectors separate attacked from natural probes."""
    scored = scores(attacked, folds=sample.options.folds, seed=sample.options.seed)
    return detection_errors(scored, **sample.options.bootstrap)


def _chosen(faces: Faces, pairs: pd.DataFrame | None, options: _Options) -> pd.DataFrame:
    """Draw pairs, or take the listed pairs or a sample of each kind of them."""
    n_pairs, seed = options.n_pairs, options.seed
    if pairs is None:
        return make_pairs(faces, n_pairs=n_pairs, folds=options.folds, seed=seed)
    if n_pairs is None or n_pairs >= len(pairs):
        return pairs
    return pairs.groupby("genuine").sample(n_pairs // 2, random_state=seed).sort_index()


def _to_explain(result: xr.Dataset, n: int, seed: int) -> xr.Dataset:
    """Draw pairs to explain, half of them genuine if there are enough, of many different people.

    Of pairs in random order, those come first that add the most people to the earlier ones.
    """
    usable = sample_pairs(result, result.sizes["pair"], seed=seed)  # all with a similarity
    genuine, codes = usable["genuine"].to_numpy(), subject_codes(usable)
    rng = np.random.default_rng(seed)
    kinds = []
    for kind in (True, False):
        rows = rng.permutation(np.flatnonzero(genuine == kind))
        seen: set[int] = set()
        added = []
        for row in rows:
            people = {int(code) for code in codes[:, row]}
            added.append(len(people - seen))
            seen |= people
        kinds.append(rows[np.argsort(-np.array(added, int), kind="stable")])
    n_genuine = min(len(kinds[0]), max((n + 1) // 2, n - len(kinds[1])))
    chosen = np.concatenate([kinds[0][:n_genuine], kinds[1][: n - n_genuine]])
    return usable.isel(pair=np.sort(chosen))


def _in_turn(sample: xr.Dataset) -> list[int]:
    """Labels of genuine and impostor pairs in turn, then the rest of the more frequent kind."""
    labels, genuine = sample["pair"].to_numpy(), sample["genuine"].to_numpy()
    first, second = ([int(pair) for pair in labels[genuine == kind]] for kind in (True, False))
    both = [pair for couple in zip(first, second, strict=False) for pair in couple]
    return both + first[len(second) :] + second[len(first) :]


def _by_band(sample: _Sample, maps: _Maps) -> dict[str, xr.DataArray]:
    """Explanations by band ``(pair, band)``."""
    return {
        "influence": sample.influence.sel(pair=sample.explained),
        "FreqRISE": maps.freqrise["by_band"],
        "one gradient": maps.gradient["by_band"].sum("argument"),
        "integrated gradients": maps.integrated["by_band"].sum("argument"),
    }


def _orders(
    by_band: Mapping[str, xr.DataArray], maps: _Maps
) -> dict[Domain, dict[str, xr.DataArray]]:
    """Explanations that order the removal of bands, coefficients and pixels."""
    return {
        "bands": dict(by_band),
        "frequency": {
            "FreqRISE by cell": maps.freqrise["map"],
            "integrated gradients by cell": maps.integrated["plane"].sum("argument"),
        },
        "space": {
            "CorrRISE": maps.corrrise["map"],
            "integrated gradients in space": maps.integrated["space"].sum("argument"),
        },
    }


def _method_of(explanation: str) -> str:
    """Method of an explanation, without its domain."""
    return explanation.split(" by ")[0].split(" in ")[0]


def _plain(maps: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """Drop coordinates of maps over bands that do not belong to the pairs."""
    return {
        name: one.drop_vars([coord for coord in one.coords if coord not in _OF_PAIR])
        for name, one in maps.items()
    }


def _agreements(
    sample: _Sample, by_band: Mapping[str, xr.DataArray], maps: _Maps
) -> dict[str, xr.Dataset]:
    """Compute agreement of methods over bands and windows, separately for pairs of joint maps."""
    grid, drawn = sample.options.grid, sample.options.bootstrap
    pairs = maps.joint["pair"].to_numpy()
    in_space = {
        "CorrRISE": windowed(maps.corrrise["map"], grid),
        "one gradient": windowed(maps.gradient["space"].sum("argument"), grid),
        "integrated gradients": windowed(maps.integrated["space"].sum("argument"), grid),
    }
    joint_bands = {
        "joint, over windows": maps.joint["influence"].sum(["row", "column"], skipna=False),
        "influence": sample.influence.sel(pair=pairs),
        "FreqRISE": maps.freqrise["by_band"].sel(pair=pairs),
    }
    joint_windows = {
        "joint, over bands": maps.joint["influence"].sum("band").drop_vars(["row", "column"]),
        "CorrRISE": in_space["CorrRISE"].sel(pair=pairs),
    }
    return {
        "agreement/bands": agreement(_plain(by_band), **drawn),
        "agreement/windows": agreement(in_space, **drawn),
        "agreement/joint_bands": agreement(_plain(joint_bands), **drawn),
        "agreement/joint_windows": agreement(joint_windows, **drawn),
    }


def _first(curves: xr.Dataset, sample: _Sample) -> xr.Dataset:
    """Errors along the curves of the first explanation and of the baselines, for figures."""
    orders = names_of(curves, "order")
    kept = [orders[0], *orders[orders.index("amplitude") :]]
    return deletion_errors(curves.sel(order=kept), n_draws=1, seed=sample.options.seed)


def _explanations(
    sample: _Sample,
    orders: Mapping[Domain, Mapping[str, xr.DataArray]],
    maps: _Maps,
    deleted: Mapping[str, xr.Dataset],
) -> xr.Dataset:
    """Compare the explanations with their baselines and with each other."""
    names = [name for ordered in orders.values() for name in ordered]
    cost = _cost_of_methods(sample, maps)
    missed = {
        "CorrRISE": int((~maps.corrrise["converged"]).sum()),
        "FreqRISE": int((~maps.freqrise["converged"]).sum()),
    }
    return compare_explanations(
        deleted,
        {name: cost[_method_of(name)] for name in names},
        unreliable={name: missed.get(_method_of(name), 0) for name in names},
        **sample.options.bootstrap,
    )


def _cost_of_methods(sample: _Sample, maps: _Maps) -> dict[str, tuple[float, float]]:
    """Forward passes and seconds per pair, by method."""
    n_pairs, n_bands = len(sample.explained), sample.result.sizes["band"]
    per_pair = {
        method: (float(one.attrs["passes"]) / n_pairs, float(one.attrs["seconds"]) / n_pairs)
        for method, one in (
            ("FreqRISE", maps.freqrise),
            ("one gradient", maps.gradient),
            ("integrated gradients", maps.integrated),
            ("CorrRISE", maps.corrrise),
        )
    }
    passes, seconds = per_pair["FreqRISE"]  # masks the spectrum, as influence does
    return {**per_pair, "influence": (n_bands, n_bands * (seconds / passes))}


def _complexity(by_band: Mapping[str, xr.DataArray], maps: _Maps) -> pd.DataFrame:
    """Tabulate the complexity of the maps of each method."""
    spread = {
        "influence": by_band["influence"],
        "FreqRISE": maps.freqrise["map"],
        "integrated gradients, plane": maps.integrated["plane"].sum("argument"),
        "CorrRISE": maps.corrrise["map"],
        "integrated gradients, space": maps.integrated["space"].sum("argument"),
    }
    measured = {name: float(np.asarray(map_complexity(one))) for name, one in spread.items()}
    return pd.DataFrame({"complexity": measured})
