"""The bias study: errors, influence and quality of groups before and after matching, stored."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.bands.base import Bands
from freqlab.bands.parsing import parse_bands
from freqlab.bias.crop_quality import MEASURES, quality
from freqlab.bias.error_rates import errors
from freqlab.bias.group_comparison import differences, gaps
from freqlab.bias.group_names import group_label
from freqlab.bias.influence import profiles
from freqlab.bias.matching import match_groups, quality_differences, quality_table
from freqlab.errors import ParameterError, check_name, check_number
from freqlab.faces.groups import group_codes, group_labels
from freqlab.faces.pairs import check_pairs, make_pairs
from freqlab.faces.table import Faces
from freqlab.literals import Side
from freqlab.models.spec import Model
from freqlab.run.calls import embed, influence
from freqlab.run.studies import RunOptions, Studied, study_of
from freqlab.statistics.error_rates import check_fmr, rates_with
from freqlab.statistics.resampling import check_draws
from freqlab.store.reading import open_embeddings
from freqlab.store.studies import Nodes

__all__ = ["study"]


_SIDES: tuple[Side, ...] = ("probe", "reference")
_OF_LANDMARKS = ("resolution", "yaw")  # measures that need the landmarks of a photograph


@dataclass(frozen=True)
class _Settings:
    """All arguments of a study except faces, pairs, models, store and options of the run."""

    group: str | list[str]
    baseline: str | None
    bands: Bands
    n_pairs: int | None
    impostors_per_genuine: int
    fmr: float
    alpha: float
    match_on: str
    match_exact: list[str]
    caliper: float
    n_draws: int
    n_permutations: int
    seed: int

    @property
    def drawn(self) -> dict[str, Any]:
        """Options of the bootstrap."""
        return {"n_draws": self.n_draws, "seed": self.seed}

    @property
    def permuted(self) -> dict[str, Any]:
        """Options of the bootstrap and the permutation tests."""
        return {"n_permutations": self.n_permutations, **self.drawn}

    def as_json(self) -> dict[str, Any]:
        """Arguments as JSON values, by which the stored study is identified."""
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names} | {"bands": self.bands.key}


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
    """Compute the differences between groups and store the study, or open a stored one.

    Parameters
    ----------
    faces
        The faces.
    pairs
        Comparisons over which error rates are computed and from whose faces those to explain are
        drawn; all against all by default.
    group
        Column of the faces, or several columns to cross.
    models, store, bands
        As for :func:`freqlab.influence`.
    **run
        Options of the computation, as for :func:`freqlab.influence`.
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
        ``/differences`` and ``/matched_differences``, from :func:`freqlab.bias.differences` of
        these; ``/gaps``, from :func:`freqlab.bias.gaps`; ``/quality/before``, ``/quality/after``
        and ``/quality/differences``, tables; ``/influence``, the influence result.

    Raises
    ------
    ParameterError, PairError
        If an argument is invalid; nothing is computed then.
    StoreError
        If the store cannot be read or written.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=8, per_subject=3, groups={"glasses": ["yes", "no"]})
    >>> options = {"models": [fl.testing.model()], "bands": "rings:28", "fmr": 0.1}
    >>> options |= {"n_draws": 50, "n_permutations": 50, "progress": False}
    >>> study = fl.bias.study(faces, group="glasses", store="run.zarr", **options)
    >>> sorted(study.children)
    ['differences', 'errors', 'gaps', 'groups', 'influence', 'matched', 'matched_differences',
     'profiles', 'quality']
    """
    if isinstance(match_exact, str):
        raise ParameterError(f"match_exact={match_exact!r} must be a list, as in ['pose']")
    settings = _Settings(
        group=group if isinstance(group, str) else list(group),
        baseline=baseline,
        bands=parse_bands(bands) if isinstance(bands, str) else bands,
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
    labels = group_labels(faces, group)
    _check(faces, pairs, labels, settings)
    return study_of(
        "bias",
        faces,
        lambda loaded: _nodes(faces, pairs, labels, loaded, store, settings, run),
        models=models,
        store=store,
        run=run,
        pairs=pairs,
        **settings.as_json(),
    )


def _check(
    faces: Faces, pairs: pd.DataFrame | None, labels: pd.Series[str], settings: _Settings
) -> None:
    """Check the arguments of a study before anything is computed.

    Raises
    ------
    ParameterError, PairError
        If an argument is invalid.
    """
    check_fmr(settings.fmr)
    check_draws(settings.n_draws, 0.95, settings.seed)
    check_number("n_permutations", settings.n_permutations, at_least=1, whole=True)
    check_number("alpha", settings.alpha, above=0)
    check_number("caliper", settings.caliper, above=0)
    check_number("impostors_per_genuine", settings.impostors_per_genuine, at_least=0)
    if settings.n_pairs is not None:
        check_number("n_pairs", settings.n_pairs, at_least=1, whole=True)
    if pairs is not None:
        check_pairs(faces, pairs)
    groups = _checked_groups(labels, settings, "the faces")
    if settings.baseline is not None:
        check_name("baseline", settings.baseline, groups)
    own = [settings.group] if isinstance(settings.group, str) else settings.group
    columns = [str(name) for name in faces.table.columns if name not in ("path", *own)]
    for name in settings.match_exact:
        check_name("match_exact", name, columns)
    on = check_name("match_on", settings.match_on, [*MEASURES, *settings.match_exact])
    if on in settings.match_exact:
        if not pd.api.types.is_numeric_dtype(faces.table[on]):
            raise ParameterError(f"match_on={on!r} must name a measure or a numeric column")
    elif on in _OF_LANDMARKS and _without_photographs(faces):
        raise ParameterError(
            f"match_on={on!r} needs the photographs, and the faces of {faces.name!r} are crops "
            f"of template {faces.aligned!r}; use match_on='sharpness'"
        )


def _without_photographs(faces: Faces) -> bool:
    """Whether faces are crops whose place in a photograph is unknown."""
    return faces.aligned is not None and faces.landmarks is None


def _checked_groups(labels: pd.Series[str], settings: _Settings, where: str) -> list[str]:
    """Return the groups of some faces.

    Raises
    ------
    ParameterError
        If there are fewer than two.
    """
    groups, _ = group_codes(labels)
    if len(groups) < 2:
        raise ParameterError(
            f"group={settings.group!r}: {where} have {len(groups)} group(s) {groups}; a comparison "
            f"needs two"
        )
    return groups


def _check_explained(explained: pd.DataFrame, labels: pd.Series[str], settings: _Settings) -> None:
    """Check that the explained pairs have faces of two groups or more, the baseline among them.

    Raises
    ------
    ParameterError
        Otherwise.
    """
    faces = np.unique(explained[["probe", "reference"]].astype(str).to_numpy(object))
    groups = _checked_groups(labels[faces], settings, "the explained pairs")
    if settings.baseline is not None and settings.baseline not in groups:
        raise ParameterError(
            f"baseline={settings.baseline!r}: the explained pairs have faces of {groups} only; "
            f"ask for more pairs with n_pairs="
        )


def _nodes(
    faces: Faces,
    pairs: pd.DataFrame | None,
    labels: pd.Series[str],
    models: list[Model],
    store: str | os.PathLike[str],
    settings: _Settings,
    run: RunOptions,
) -> Nodes:
    """Compute the nodes of the study."""
    sample = _sampled_faces(faces, pairs, settings)
    explained = make_pairs(
        sample, impostors_per_genuine=settings.impostors_per_genuine, seed=settings.seed
    )
    _check_explained(explained, labels, settings)
    embed(faces, models=models, store=store, **run)
    result = influence(
        *(faces, explained),
        models=models,
        bands=settings.bands,
        sides=_SIDES,
        store=store,
        fmrs=rates_with(settings.fmr),
        **run,
    ).load()
    by_group = profiles(result, labels, baseline=settings.baseline, **settings.permuted)
    baseline = str(by_group.attrs["baseline"])
    embeddings = {
        model.name: open_embeddings(store, model=model.name).sel(face=faces.names).to_numpy()
        for model in models
    }
    fmrs = rates_with(settings.fmr)
    rates = errors(
        *(embeddings, faces, labels, pairs), baseline=baseline, fmrs=fmrs, **settings.permuted
    )
    nodes: dict[str, xr.Dataset | pd.DataFrame] = {
        "groups": _counts(faces, labels),
        "profiles": by_group,
        "differences": differences(by_group, alpha=settings.alpha),
        "errors": rates,
        "gaps": gaps(by_group, rates),
    }
    template = models[0].template.name
    tables, matched = _matched(store, template, sample, labels, baseline, settings)
    both = result["probe"].isin(matched) & result["reference"].isin(matched)
    kept = result.isel(pair=np.flatnonzero(both.to_numpy()))
    if len(matched) and len(set(labels[matched])) > 1 and kept.sizes["pair"]:
        of_matched = profiles(kept, labels, baseline=baseline, **settings.permuted)
        nodes["matched"] = of_matched
        nodes["matched_differences"] = differences(of_matched, alpha=settings.alpha)
    attrs = {
        "result": result.attrs["name"],
        "forward_passes": result.attrs["forward_passes"],
        "group": str(labels.name),
        "baseline": baseline,
        "n_explained_faces": len(sample),
        "n_explained_pairs": len(explained),
        "n_matched": len(matched),
    }
    return {**nodes, **tables, "/": xr.Dataset(attrs=attrs)}


def _sampled_faces(faces: Faces, pairs: pd.DataFrame | None, settings: _Settings) -> Faces:
    """Select the faces to explain: those of a sample of pairs, or all."""
    n_pairs, seed = settings.n_pairs, settings.seed
    if pairs is None and n_pairs is None:
        return faces
    sample = pairs if pairs is not None else make_pairs(faces, n_pairs=n_pairs, seed=seed)
    if pairs is not None and n_pairs is not None and n_pairs < len(pairs):
        sample = pairs.sample(n_pairs, random_state=seed)
    ends = [sample[end].astype(str).to_numpy(object) for end in ("probe", "reference")]
    chosen = np.isin(np.array(faces.names, object), np.unique(np.concatenate(ends)))
    return faces.select(np.flatnonzero(chosen))


def _counts(faces: Faces, labels: pd.Series[str]) -> pd.DataFrame:
    """Count the photographs and people of each group, the largest group first."""
    column = str(labels.name)
    people = faces.table["subject"].groupby(labels.to_numpy()).nunique()
    counts = pd.DataFrame({"photographs": labels.value_counts(dropna=False), "people": people})
    rows = [group_label(column, v) if isinstance(v, str) else "no value" for v in counts.index]
    return counts.set_axis(pd.Index(rows, name="group")).fillna(0).astype(int)


def _matched(
    store: str | os.PathLike[str],
    template: str,
    sample: Faces,
    labels: pd.Series[str],
    baseline: str,
    settings: _Settings,
) -> tuple[dict[str, pd.DataFrame], pd.Index[str]]:
    """Tabulate quality before and after matching, and return the matched faces."""
    measured = quality(store, template=template, faces=sample.names)
    columns = measured.copy()
    for name in settings.match_exact:
        columns[name] = sample.table[name].reindex(columns.index)
    matched = match_groups(
        labels,
        columns,
        on=settings.match_on,
        exact=settings.match_exact,
        caliper=settings.caliper,
    )
    chosen = {"before": measured.index, "after": matched}
    tables, apart = {}, {}
    for when, faces in chosen.items():
        if len(faces):
            some = labels[faces], measured.loc[faces]
            tables[f"quality/{when}"] = quality_table(*some, baseline=baseline)
            apart[when] = quality_differences(*some, baseline=baseline)
    tables["quality/differences"] = pd.concat(apart, names=["matching"])
    return tables, matched
