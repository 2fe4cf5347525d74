"""The bias study: errors, influence and quality of groups before and after matching, stored."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple, Unpack

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.bands.radial import Bands, parse_bands
from freqlab.bias.crop_quality import quality
from freqlab.bias.error_rates import errors
from freqlab.bias.influence import profiles
from freqlab.bias.matching import match_groups, quality_table
from freqlab.faces.groups import group_labels
from freqlab.faces.pairs import make_pairs
from freqlab.faces.table import Faces
from freqlab.literals import Side
from freqlab.models.spec import Model
from freqlab.run.calls import embed, influence
from freqlab.run.studies import RunOptions, Studied, study_of
from freqlab.statistics.error_rates import check_fmr
from freqlab.store.reading import open_embeddings
from freqlab.store.studies import Nodes

__all__ = ["study"]


class _Matching(NamedTuple):
    on: str
    exact: Sequence[str]
    caliper: float


def study(
    faces: Faces,
    pairs: pd.DataFrame | None = None,
    *,
    group: str | Sequence[str],
    models: Studied,
    store: str | os.PathLike[str],
    baseline: str | None = None,
    bands: Bands | str = "rings:4",
    n_pairs: int | None = 200,
    impostors_per_genuine: int = 20,
    fmr: float = 1e-2,
    alpha: float = 0.05,
    match_on: str = "sharpness",
    match_exact: Sequence[str] = (),
    caliper: float = 0.2,
    n_draws: int = 1000,
    n_permutations: int = 1000,
    seed: int = 0,
    **run: Unpack[RunOptions],
) -> xr.DataTree:
    """Compute the differences between groups and store them in the run, or open stored ones.

    Parameters
    ----------
    faces
        The faces.
    pairs
        Comparisons over which errors are counted and whose faces are explained; all by default.
    group
        Column of the faces, or several columns to cross.
    models, store, bands, run
        As for :func:`freqlab.influence`.
    baseline
        Group with which the others are compared; by default the group with most subjects.
    n_pairs
        Number of pairs, drawn at random, whose faces are explained; None for all.
    impostors_per_genuine
        Impostor pairs per genuine pair, drawn among the explained faces without regard to group.
    fmr, alpha
        False match rate of the threshold, and level of the adjusted p-values, at which findings
        are reported.
    match_on, match_exact, caliper
        As for :func:`freqlab.bias.match_groups`.
    n_draws, n_permutations, seed
        Bootstrap draws over people, permutations of the labels, seed of all random draws.

    Returns
    -------
    xarray.DataTree
        ``/groups``, a table; ``/errors``, from :func:`freqlab.bias.errors`; ``/profiles`` and,
        where faces could be matched, ``/matched``, from :func:`freqlab.bias.profiles`;
        ``/quality/before`` and ``/quality/after``, tables; ``/influence``, the influence result.

    Raises
    ------
    ParameterError, PairError
        If an argument is invalid.
    StoreError
        If the store cannot be read or written.
    """
    check_fmr(fmr)
    parsed = parse_bands(bands) if isinstance(bands, str) else bands
    labels = group_labels(faces, group)
    matching = _Matching(match_on, match_exact, caliper)

    def make(loaded: list[Model]) -> Nodes:
        chosen = _chosen(faces, pairs, n_pairs, seed)
        explained = make_pairs(chosen, impostors_per_genuine=impostors_per_genuine, seed=seed)
        embed(faces, models=loaded, store=store, **run)
        sides: list[Side] = ["probe", "reference"]
        result = influence(
            faces, explained, models=loaded, bands=parsed, sides=sides, store=store, **run
        ).load()
        drawn: dict[str, Any] = {"n_draws": n_draws, "seed": seed}
        permuted = {"n_permutations": n_permutations, **drawn}
        found = profiles(result, labels, baseline=baseline, **permuted)
        held_against = str(found.attrs["baseline"])
        vectors = {
            model.name: open_embeddings(store, model=model.name).sel(face=faces.names).to_numpy()
            for model in loaded
        }
        template = loaded[0].template.name
        nodes: dict[str, xr.Dataset | pd.DataFrame] = {
            "groups": _counts(faces, labels),
            "profiles": found,
            "errors": errors(vectors, faces, labels, pairs, **drawn),
        }
        tables, matched = _matched(store, template, chosen, labels, held_against, matching)
        both = result["probe"].isin(matched) & result["reference"].isin(matched)
        kept = result.isel(pair=np.flatnonzero(both.to_numpy()))
        if len(matched) and len(set(labels[matched])) > 1 and kept.sizes["pair"]:
            nodes["matched"] = profiles(kept, labels, baseline=held_against, **permuted)
        attrs = {
            "result": result.attrs["name"],
            "forward_passes": result.attrs["forward_passes"],
            "group": str(labels.name),
            "baseline": held_against,
            "n_explained_faces": len(chosen),
            "n_explained_pairs": len(explained),
            "n_matched": len(matched),
        }
        return {**nodes, **tables, "/": xr.Dataset(attrs=attrs)}

    return study_of(
        "bias",
        faces,
        make,
        models=models,
        store=store,
        run=run,
        pairs=pairs,
        group=group if isinstance(group, str) else list(group),
        baseline=baseline,
        bands=parsed.key,
        n_pairs=n_pairs,
        impostors_per_genuine=impostors_per_genuine,
        fmr=fmr,
        alpha=alpha,
        match_on=match_on,
        match_exact=list(match_exact),
        caliper=caliper,
        n_draws=n_draws,
        n_permutations=n_permutations,
        seed=seed,
    )


def _chosen(faces: Faces, pairs: pd.DataFrame | None, n_pairs: int | None, seed: int) -> Faces:
    """Select the faces to explain: those of a sample of pairs, or all."""
    names = np.array(faces.names, object)
    if pairs is None and n_pairs is None:
        return faces
    sample = pairs if pairs is not None else make_pairs(faces, n_pairs=n_pairs, seed=seed)
    if pairs is not None and n_pairs is not None and n_pairs < len(pairs):
        sample = pairs.sample(n_pairs, random_state=seed)
    ends = [sample[end].astype(str).to_numpy(object) for end in ("probe", "reference")]
    return faces.select(np.flatnonzero(np.isin(names, np.unique(np.concatenate(ends)))))


def _counts(faces: Faces, labels: pd.Series[str]) -> pd.DataFrame:
    """Count the photographs and people of each group, the largest group first."""
    people = faces.table["subject"].groupby(labels.to_numpy()).nunique()
    counts = pd.DataFrame({"photographs": labels.value_counts(dropna=False), "people": people})
    named = counts.rename_axis(str(labels.name)).rename(index={np.nan: "no value"})
    return named.fillna(0).astype(int)


def _matched(
    store: str | os.PathLike[str],
    template: str,
    chosen: Faces,
    labels: pd.Series[str],
    baseline: str,
    matching: _Matching,
) -> tuple[dict[str, pd.DataFrame], pd.Index[str]]:
    """Tables of quality before and after matching, and the matched faces."""
    measured = quality(store, template=template, faces=chosen.names)
    table = measured.copy()
    for column in matching.exact:
        table[column] = chosen.table[column].reindex(table.index)
    names = match_groups(
        labels, table, on=matching.on, exact=matching.exact, caliper=matching.caliper
    )
    tables = {"quality/before": quality_table(labels, measured, baseline=baseline)}
    if len(names):
        after = quality_table(labels[names], measured.loc[names], baseline=baseline)
        tables["quality/after"] = after
    return tables, names
