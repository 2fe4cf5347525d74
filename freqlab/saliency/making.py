"""The saliency study: band influence and related methods on the same pairs, stored in the run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Unpack

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.adversarial.detection import detection_errors, features, scores
from freqlab.bands.radial import Bands, parse_bands
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
from freqlab.saliency.compare import agreement, curves, windowed
from freqlab.saliency.maps import corrrise_maps, freqrise_maps, gradient_maps, joint_maps
from freqlab.saliency.report import compare_explanations, map_complexity
from freqlab.statistics.error_rates import check_fmr
from freqlab.store.studies import Nodes

__all__ = ["study"]

_ENDS = ("probe_subject", "reference_subject", "genuine")
_OF_PAIR = ("pair", "band", *_ENDS)


class _Maps(NamedTuple):
    """Maps of the same pairs by every method."""

    space: xr.Dataset
    plane: xr.Dataset
    gradient: xr.Dataset
    integrated: xr.Dataset
    joint: xr.Dataset


def study(
    faces: Faces,
    pairs: pd.DataFrame | None = None,
    *,
    model: str | os.PathLike[str] | Model,
    store: str | os.PathLike[str],
    bands: Bands | str = "rings:4",
    side: Side = "probe",
    n_pairs: int | None = 60,
    n_explained: int = 10,
    n_joint: int = 3,
    n_masks_space: int = 1000,
    n_masks_plane: int = 2000,
    reliability: float = 0.9,
    steps: int = 8,
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
    """Compare maps of pairs by every method: agreement, faithfulness and cost.

    The study is computed and stored in the run, or opened if it is stored.

    Parameters
    ----------
    faces
        The faces.
    pairs
        A list of pairs; drawn by default.
    model
        A network with gradients.
    store, bands, run
        As for :func:`freqlab.influence`.
    side
        The image that is masked and traced; attacks are always on the probes.
    n_pairs, n_explained, n_joint
        Pairs whose probes are attacked, None for all; of these, pairs explained by every method;
        of these, pairs with joint maps.
    n_masks_space, n_masks_plane, reliability
        Most masks of CorrRISE and of FreqRISE, and at which reliability masking ends sooner.
    steps, grid
        Of integrated gradients, and windows of joint maps along each axis.
    deletion_steps
        Steps of deletion, from nothing to all.
    attacks, key
        Kind and strength in grey levels, and the secret of the detector.
    folds, n_draws, seed
        Of people, of the bootstrap over people, and of all that is drawn.
    fmr
        False match rate of the threshold. Where it is not resolved, ten times the rate is tried,
        and so on.

    Returns
    -------
    xarray.DataTree
        ``/maps/corrrise``, ``freqrise``, ``gradient``, ``integrated`` and ``joint``;
        ``/agreement/bands``, ``windows``, ``joint_bands`` and ``joint_windows``;
        ``/deletion/bands``, ``frequency`` and ``space``; ``/explanations``, as of
        :func:`freqlab.saliency.compare_explanations`; ``/complexity``, a table; ``/attacks``, as
        of :func:`freqlab.adversarial.detection_errors`; ``/influence``, the result.

    Raises
    ------
    ParameterError, PairError
        If an argument is invalid.
    StoreError
        If the store cannot be read or written.
    """
    check_fmr(fmr)
    parsed = parse_bands(bands) if isinstance(bands, str) else bands
    shown: dict[str, Any] = {"progress": run.get("progress", True)}
    drawn: dict[str, Any] = {"n_draws": n_draws, "seed": seed}

    def make(models: list[Model]) -> Nodes:
        (loaded,) = models
        result = influence(
            faces,
            _chosen(faces, pairs, n_pairs, folds, seed),
            models=models,
            bands=parsed,
            sides=[side],
            store=store,
            **run,
        ).load()
        rate = resolved_rate(result, [loaded.name], fmr)
        sample = sample_pairs(result, n_explained, seed=seed)
        explained, in_turn = [int(one) for one in sample["pair"].to_numpy()], _in_turn(sample)
        some: dict[str, Any] = {"side": side, "pairs": explained, **shown}
        masked = {"reliability": reliability, "seed": seed, **some}
        maps = _Maps(
            corrrise_maps(result, loaded, n_masks=n_masks_space, **masked),
            freqrise_maps(result, loaded, n_masks=n_masks_plane, **masked),
            gradient_maps(result, loaded, kind="gradient", fmr=rate, **some),
            gradient_maps(result, loaded, steps=steps, fmr=rate, **some),
            joint_maps(result, loaded, grid=grid, **{**some, "pairs": in_turn[:n_joint]}),
        )
        exact = result["influence"].sel(model=loaded.name, side=side, drop=True)
        by_band = _by_band(exact.sel(pair=explained), maps)
        orders = _orders(by_band, maps)
        deleted: dict[str, xr.Dataset] = {
            domain: curves(
                result,
                loaded,
                ordered,
                domain=domain,
                side=side,
                fmr=rate,
                steps=deletion_steps,
                seed=seed,
                **shown,
            )
            for domain, ordered in orders.items()
        }
        costs = _costs(orders, maps, len(explained), result.sizes["band"])
        kinds = [(kind, float(size)) for kind, size in (one.split(":") for one in attacks)]
        attacked = features(result, loaded, attacks=kinds, key=key, fmr=rate, seed=seed, **shown)
        counted = (result, *maps, *deleted.values(), attacked)
        attrs = {
            "result": result.attrs["name"],
            "forward_passes": sum(int(one.attrs["forward_passes"]) for one in counted),
            "fmr_used": rate,
            "threshold": threshold_of(result, model=loaded.name, fmr=rate),
            "explained": explained,
            "in_turn": in_turn,
        }
        names = ("corrrise", "freqrise", "gradient", "integrated", "joint")
        return {
            "/": xr.Dataset(attrs=attrs),
            **{f"maps/{name}": one for name, one in zip(names, maps, strict=True)},
            **_agreements(by_band, maps, exact, grid, drawn),
            **{f"deletion/{domain}": _first(one, seed) for domain, one in deleted.items()},
            "explanations": compare_explanations(deleted, costs, **drawn),
            "complexity": _complexity(by_band, maps),
            "attacks": detection_errors(scores(attacked, folds=folds, seed=seed), **drawn),
        }

    return study_of(
        "saliency",
        faces,
        make,
        models=[model],
        store=store,
        run=run,
        pairs=pairs,
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


def _chosen(
    faces: Faces, pairs: pd.DataFrame | None, n_pairs: int | None, folds: int, seed: int
) -> pd.DataFrame:
    """Return the given pairs or a sample of each kind; without a list, draw pairs."""
    if pairs is None:
        return make_pairs(faces, n_pairs=n_pairs, folds=folds, seed=seed)
    if n_pairs is None or n_pairs >= len(pairs):
        return pairs
    return pairs.groupby("genuine").sample(n_pairs // 2, random_state=seed).sort_index()


def _in_turn(sample: xr.Dataset) -> list[int]:
    """Labels of genuine and impostor pairs in turn, and of the kind that has more, the rest."""
    labels, genuine = sample["pair"].to_numpy(), sample["genuine"].to_numpy()
    first, second = ([int(one) for one in labels[genuine == kind]] for kind in (True, False))
    both = [pair for couple in zip(first, second, strict=False) for pair in couple]
    return both + first[len(second) :] + second[len(first) :]


def _by_band(exact: xr.DataArray, maps: _Maps) -> dict[str, xr.DataArray]:
    return {
        "influence": exact,
        "FreqRISE": maps.plane["by_band"],
        "one gradient": maps.gradient["by_band"].sum("argument"),
        "integrated gradients": maps.integrated["by_band"].sum("argument"),
    }


def _orders(
    by_band: Mapping[str, xr.DataArray], maps: _Maps
) -> dict[Domain, dict[str, xr.DataArray]]:
    """Explanations by which bands, coefficients and pixels are removed."""
    return {
        "bands": dict(by_band),
        "frequency": {
            "FreqRISE by cell": maps.plane["map"],
            "integrated gradients by cell": maps.integrated["plane"].sum("argument"),
        },
        "space": {
            "CorrRISE": maps.space["map"],
            "integrated gradients in space": maps.integrated["space"].sum("argument"),
        },
    }


def _plain(maps: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """Drop coordinates of maps over bands that do not belong to the pairs."""
    return {
        name: one.drop_vars([coord for coord in one.coords if coord not in _OF_PAIR])
        for name, one in maps.items()
    }


def _agreements(
    by_band: Mapping[str, xr.DataArray],
    maps: _Maps,
    exact: xr.DataArray,
    grid: int,
    drawn: dict[str, Any],
) -> dict[str, xr.Dataset]:
    """Compute agreement of methods over bands and windows, with joint maps separate."""
    chosen = maps.joint["pair"].to_numpy()
    in_space = {
        "CorrRISE": windowed(maps.space["map"], grid),
        "one gradient": windowed(maps.gradient["space"].sum("argument"), grid),
        "integrated gradients": windowed(maps.integrated["space"].sum("argument"), grid),
    }
    joint_bands = {
        "joint, over windows": maps.joint["influence"].sum(["row", "column"], skipna=False),
        "influence": exact.sel(pair=chosen),
        "FreqRISE": maps.plane["by_band"].sel(pair=chosen),
    }
    joint_windows = {
        "joint, over bands": maps.joint["influence"].sum("band").drop_vars(["row", "column"]),
        "CorrRISE": in_space["CorrRISE"].sel(pair=chosen),
    }
    return {
        "agreement/bands": agreement(_plain(by_band), **drawn),
        "agreement/windows": agreement(in_space, **drawn),
        "agreement/joint_bands": agreement(_plain(joint_bands), **drawn),
        "agreement/joint_windows": agreement(joint_windows, **drawn),
    }


def _first(curves: xr.Dataset, seed: int) -> xr.Dataset:
    """Curves of the first explanation and of the baselines, as they are drawn."""
    every = [str(name) for name in curves["order"].to_numpy()]
    kept = [every[0], *every[every.index("amplitude") :]]
    return deletion_errors(curves.sel(order=kept), n_draws=1, seed=seed)


def _costs(
    orders: Mapping[Domain, Mapping[str, xr.DataArray]], maps: _Maps, n_pairs: int, n_bands: int
) -> dict[str, tuple[float, float]]:
    """Forward passes and seconds that each explanation takes for a pair."""
    per_pair = {
        name: (float(one.attrs["passes"]) / n_pairs, float(one.attrs["seconds"]) / n_pairs)
        for name, one in (
            ("FreqRISE", maps.plane),
            ("one gradient", maps.gradient),
            ("integrated gradients", maps.integrated),
            ("CorrRISE", maps.space),
        )
    }
    second = per_pair["FreqRISE"][1] / per_pair["FreqRISE"][0]
    per_pair["influence"] = (n_bands, n_bands * second)
    return {
        name: per_pair[name.split(" by ")[0].split(" in ")[0]]
        for ordered in orders.values()
        for name in ordered
    }


def _complexity(by_band: Mapping[str, xr.DataArray], maps: _Maps) -> pd.DataFrame:
    spread = {
        "influence": by_band["influence"],
        "FreqRISE": maps.plane["map"],
        "integrated gradients, plane": maps.integrated["plane"].sum("argument"),
        "CorrRISE": maps.space["map"],
        "integrated gradients, space": maps.integrated["space"].sum("argument"),
    }
    return pd.DataFrame(
        {
            "complexity": {
                name: float(np.asarray(map_complexity(one))) for name, one in spread.items()
            }
        }
    )
