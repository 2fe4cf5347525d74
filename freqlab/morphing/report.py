"""Results of a morphing study as tables, and sentences on its faces and pairs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pandas as pd
import xarray as xr

from freqlab.attrs import names_of
from freqlab.datasets.pair_tables import CONTROL
from freqlab.errors import ParameterError, check_name
from freqlab.faces.table import Faces
from freqlab.morphing.detection import OWN_SCORES
from freqlab.morphing.paired import FEWEST_PEOPLE, points
from freqlab.morphing.score_fits import FUSION
from freqlab.store.layout import node_name
from freqlab.store.studies import as_frame
from freqlab.text.shown import as_markdown
from freqlab.text.wording import percent

__all__ = [
    "band_choice_table",
    "describe_documents",
    "describe_labelled",
    "describe_morphing_pairs",
    "detections",
    "error_table",
    "kind_difference_table",
    "score_difference_table",
    "vulnerability_table",
]

_POOLED = "all"


def vulnerability_table(risk: xr.Dataset, *, model: str, fmr: float | None = None) -> pd.DataFrame:
    """Tabulate morphs that match both contributors, by attack, and rejected bona fide pairs.

    Parameters
    ----------
    risk
        From :func:`freqlab.morphing.vulnerability`.
    model
        Name of the model.
    fmr
        False match rate of the threshold, if there are several.

    Returns
    -------
    pandas.DataFrame
        A row for each attack, for all pooled, and for bona fide pairs, intervals in brackets.

    Raises
    ------
    UnknownNameError, ParameterError
        If there is no such model or rate.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> risk = study["vulnerability"].to_dataset()
    >>> fl.morphing.vulnerability_table(risk, model="linear").columns.tolist()
    ['morphs', 'MMPMR', 'product form']
    """
    check_name("model", model, names_of(risk, "model"))
    data = risk.sel(model=model)
    if "fmr" in data.dims:
        rates = data["fmr"].to_numpy()
        near = np.flatnonzero(np.isclose(rates, np.nan if fmr is None else fmr, rtol=1e-6))
        if len(rates) > 1 and not len(near):
            allowed = ", ".join(f"{rate:g}" for rate in rates)
            raise ParameterError(f"fmr={fmr!r} must be one of {allowed}")
        data = data.isel(fmr=int(near[0]) if len(near) else 0)
    rows = {}
    for attack in data["attack"].to_numpy():
        part = data.sel(attack=attack)
        rows["all attacks" if attack == _POOLED else str(attack)] = {
            "morphs": f"{int(part['n_morphs']):,}",
            "MMPMR": percent(part["mmpmr"], 1),
            "product form": percent(part["prodavg_mmpmr"], 1),
        }
    refused = percent(data["false_non_match_rate"], 1)
    rows["bona fide rejected"] = {"morphs": "", "MMPMR": refused, "product form": ""}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("attack")


def kind_difference_table(risk: xr.Dataset, *, model: str) -> pd.DataFrame:
    """Tabulate the paired differences in MMPMR between kinds of morph, in percentage points.

    Parameters
    ----------
    risk
        From :func:`freqlab.morphing.vulnerability`; the first false match rate is used.
    model
        Name of the model.

    Returns
    -------
    pandas.DataFrame
        A row for each two kinds, intervals in brackets; kinds with fewer than
        :data:`FEWEST_PEOPLE` people are left out. Empty for a single kind.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> risk = study["vulnerability"].to_dataset()
    >>> len(fl.morphing.kind_difference_table(risk, model="linear"))  # there is one kind of morph
    0
    """
    check_name("model", model, names_of(risk, "model"))
    data = risk.sel(model=model)
    data = data.isel(fmr=0) if "fmr" in data.dims else data
    people = data["n_people"]
    kinds = [
        kind
        for kind in names_of(data, "other_attack")
        if int(people.sel(attack=kind)) >= FEWEST_PEOPLE
    ]
    rows = {
        f"{one} minus {other}": points(data["mmpmr_difference"].sel(attack=one, other_attack=other))
        for one, other in itertools.combinations(kinds, 2)
    }
    table = pd.DataFrame({"difference in MMPMR": rows}, index=list(rows), dtype=object)
    return table.rename_axis("kinds of morph")


def score_difference_table(errors: xr.Dataset, *, attack: str = _POOLED) -> pd.DataFrame:
    """Tabulate the paired differences in D-EER from the baselines, in percentage points.

    Parameters
    ----------
    errors
        From :func:`freqlab.morphing.detection_errors`.
    attack
        Name of the attack.

    Returns
    -------
    pandas.DataFrame
        A row for each score of :data:`OWN_SCORES` and for the fusion, a column for each baseline,
        intervals in brackets; negative where the score has fewer errors. Without rows for fewer
        than :data:`FEWEST_PEOPLE` people.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> errors = study["detection/linear"].to_dataset()
    >>> fl.morphing.score_difference_table(errors).columns.tolist()
    ['minus similarity', 'minus power spectrum', 'minus residual spectrum', 'minus supervised']
    """
    check_name("attack", attack, names_of(errors, "attack"))
    data = errors.sel(attack=attack)
    scores = (*OWN_SCORES, FUSION) if int(data["n_people"]) >= FEWEST_PEOPLE else ()
    rows = {
        score: {
            f"minus {baseline}": points(
                data["d_eer_difference"].sel(score_name=score, baseline=baseline)
            )
            for baseline in names_of(data, "baseline")
        }
        for score in scores
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("score")


def band_choice_table(errors: xr.Dataset) -> pd.DataFrame:
    """Tabulate the D-EER of the band that is best for one attack on every attack.

    Parameters
    ----------
    errors
        From :func:`freqlab.morphing.detection_errors`.

    Returns
    -------
    pandas.DataFrame
        A row for each attack on which a band is chosen, a column for each attack on which it is
        tested, intervals in brackets; ``(chosen here)`` where the two are the same, which is
        optimistic.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> errors = study["detection/linear"].to_dataset()
    >>> fl.morphing.band_choice_table(errors).index.tolist()
    ['chosen on mean: band rest']
    """
    kinds = _attacks(errors)
    bands = [s for s in names_of(errors, "score_name") if s.startswith("band ")]
    d_eer = errors["d_eer"].sel(score_name=bands)
    rows = {}
    for kind in kinds:
        value = d_eer.sel(attack=kind, estimate="value").to_numpy()
        if not np.isfinite(value).any():
            continue
        pick = bands[int(np.nanargmin(value))]
        row = {}
        for other in kinds:
            text = percent(d_eer.sel(score_name=pick, attack=other), 1)
            row[other] = f"{text} (chosen here)" if other == kind else text
        rows[f"chosen on {kind}: {pick}"] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def error_table(errors: xr.Dataset) -> pd.DataFrame:
    """Tabulate the D-EER of each score except single bands, per attack, intervals in brackets.

    Parameters
    ----------
    errors
        From :func:`freqlab.morphing.detection_errors`.

    Returns
    -------
    pandas.DataFrame
        A row for each score except single bands, baselines last; columns ``all``, each attack, and
        the control, where 50 % means that a score does not distinguish controls from bona fide
        documents.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> errors = study["detection/linear"].to_dataset()
    >>> fl.morphing.error_table(errors).columns.tolist()
    ['all', 'mean']
    """
    rows = {}
    for score in (*OWN_SCORES, FUSION, *names_of(errors, "baseline")):
        part = errors["d_eer"].sel(score_name=score)
        rows[score] = {
            str(attack): percent(part.sel(attack=attack), 1)
            for attack in errors["attack"].to_numpy()
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("score")


def _attacks(errors: xr.Dataset) -> list[str]:
    names = names_of(errors, "attack")
    return [name for name in names if name not in (_POOLED, CONTROL)]


def detections(study: xr.DataTree) -> Iterator[tuple[str, xr.Dataset, xr.Dataset]]:
    """Iterate over the models of a study, with their scores and errors.

    Parameters
    ----------
    study
        From :func:`freqlab.morphing.study`.

    Yields
    ------
    model : str
        Name of the model.
    scores : xarray.Dataset
        Its scores.
    errors : xarray.Dataset
        Their error rates.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> for model, scores, errors in fl.morphing.detections(study):
    ...     print(model, errors["attack"].to_numpy().tolist())
    linear ['all', 'mean']
    """
    for name in study.attrs["models"]:
        node = node_name(name)
        yield name, study[f"scores/{node}"].to_dataset(), study[f"detection/{node}"].to_dataset()


def describe_documents(study: xr.DataTree) -> str:
    """State how many documents and live photographs there are, and where morphs come from.

    Parameters
    ----------
    study
        From :func:`freqlab.morphing.study`.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> print(fl.morphing.describe_documents(study))
    20 bona fide documents and 40 live photographs of 20 people. Morphs and ...
    """
    kinds, attrs = as_frame(study["kinds"]), study.attrs
    source = {
        "made here": "Morphs made here are named after the share of the second person (alpha), and "
        "after the share of that person's texture where it differs; all others are part of the "
        "set.",
        "given": "The morphs are part of the set.",
    }[attrs["morphs_are"]]
    if attrs["morphs_from"] == "the table":
        source = "Morphs and controls are those of the table."
    return (
        f"{int(kinds['documents']['bona fide']):,} bona fide documents and "
        f"{int(attrs['n_live']):,} live photographs of {int(attrs['n_people']):,} people. {source}"
    )


def describe_morphing_pairs(study: xr.DataTree) -> str:
    """State the number of pairs, and in how many a face was not detected.

    Parameters
    ----------
    study
        From :func:`freqlab.morphing.study`.

    Returns
    -------
    str
        Sentences.

    Examples
    --------
    >>> import freqlab as fl
    >>> study = fl.testing.study("morphing")
    >>> print(fl.morphing.describe_morphing_pairs(study))
    120 pairs.
    """
    lost = int(study.attrs["n_lost"])
    text = f"{int(study.attrs['n_pairs']):,} pairs."
    return text + (f" In {lost:,} of them, a face could not be detected." if lost else "")


def describe_labelled(study: xr.DataTree, faces: Faces) -> str:
    """State, in Markdown, the contents of the labelled set.

    Parameters
    ----------
    study
        From :func:`freqlab.morphing.study`.
    faces
        The labelled set.

    Returns
    -------
    str
        Sentences, in Markdown.

    Examples
    --------
    >>> import pandas as pd
    >>> import xarray as xr
    >>> import freqlab as fl
    >>> kinds = pd.DataFrame({"pairs": [8, 4]}, index=["pristine", "manipulated"])
    >>> study = xr.DataTree.from_dict({"labelled_kinds": fl.store.studies.as_dataset(kinds)})
    >>> print(fl.morphing.describe_labelled(study, fl.testing.faces(n_subjects=4)))
    **synthetic**: images of 4 people compared with the first pristine photograph ...
    """
    kinds = as_frame(study["labelled_kinds"])["pairs"]
    counts = ", ".join(f"{as_markdown(kind)} {n:,}" for kind, n in kinds.items())
    return (
        f"**{as_markdown(faces.name)}**: images of {faces.table['subject'].nunique():,} people "
        f"compared with the first pristine photograph of each person; pairs by method: {counts}. "
        f"{as_markdown(faces.about, 5_000)}"
    )
