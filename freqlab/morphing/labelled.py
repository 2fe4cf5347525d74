"""Sets of pristine and manipulated images: their labels, and pairs of their images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from freqlab.errors import PairError, ParameterError, check_name
from freqlab.faces.table import Faces

__all__ = ["MANIPULATED", "PRISTINE", "manipulation_pairs"]

PRISTINE, MANIPULATED = "pristine", "manipulated"
"""Names of the two kinds of image in the column ``label`` of pairs."""

_SPELLED = {
    **dict.fromkeys((PRISTINE, "real", "0", "0.0", "bona fide", "bonafide"), PRISTINE),
    **dict.fromkeys((MANIPULATED, "fake", "1", "1.0"), MANIPULATED),
}


def manipulation_pairs(
    faces: Faces, *, label: str = "label", method: str | None = "method"
) -> pd.DataFrame:
    """Pair a pristine photograph of each subject with its other images, manipulated or pristine.

    The reference is the first pristine photograph of the subject, the untouched side of every
    pair; probes are the subject's other pristine images and its manipulated images. An image made
    from the reference itself would be more similar to it than a second photograph is. Such images
    are left out if the faces have a column ``source`` that names the face an image was made from.

    Parameters
    ----------
    faces
        The faces.
    label
        Column that labels faces ``pristine`` (``real``, ``0``, ``bona fide``) or ``manipulated``
        (``fake``, ``1``).
    method
        Column with the method of manipulation; None if there is no such column.

    Returns
    -------
    pandas.DataFrame
        Columns ``probe``, ``reference``, ``genuine`` (always true), ``label`` (``"pristine"`` or
        ``"manipulated"``) and ``method``: the method of the probe, ``"pristine"`` for pristine
        probes, ``"manipulated"`` if the set does not give the method.

    Raises
    ------
    UnknownNameError
        If there is no such column.
    ParameterError
        If a label is not recognised, or the method of a manipulated image is ``pristine``.
    PairError
        If a subject has no pristine photograph, or there is no pair of one of the two kinds.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(n_subjects=4, per_subject=3)
    >>> table = faces.table.assign(label=["pristine", "pristine", "manipulated"] * 4)
    >>> faces = fl.Faces(table, images=faces.images, aligned="arcface")
    >>> pairs = fl.morphing.manipulation_pairs(faces, method=None)
    >>> pairs["label"].tolist()[:2]
    ['pristine', 'manipulated']
    """
    table = faces.table[~faces.degraded]
    columns = [str(name) for name in table.columns]
    labels = _labels(table[check_name("label", label, columns)], label)
    methods = np.full(len(table), MANIPULATED, object)
    if method is not None:
        named = table[check_name("method", method, columns)].fillna("").astype(str).str.strip()
        methods = np.where(named == "", methods, named.to_numpy(object))
    methods[labels == PRISTINE] = PRISTINE
    if (methods[labels == MANIPULATED] == PRISTINE).any():
        raise ParameterError(f"a manipulated image cannot have the {method} {PRISTINE!r}")
    images = pd.DataFrame(
        {
            "source": faces.sources[~faces.degraded],
            "probe": table.index.astype(str),
            "subject": table["subject"].astype(str).to_numpy(),
            "label": labels,
            "method": methods,
        }
    )
    first = images[images["label"] == PRISTINE].drop_duplicates("subject")
    reference = images["subject"].map(first.set_index("subject")["probe"])
    alone = images["subject"][reference.isna()].unique()
    if len(alone):
        raise PairError(
            f"{len(alone)} subjects of {faces.name!r} have no pristine photograph with which their "
            f"manipulated images can be compared: {', '.join(alone[:3])}"
        )
    pairs = images.assign(reference=reference, genuine=True)
    source_of = images.set_index("probe")["source"]
    of_itself = pairs["source"] == pairs["reference"].map(source_of)
    pairs = pairs[~of_itself].reset_index(drop=True)
    for kind, why in (
        (PRISTINE, "no subject has two pristine photographs"),
        (MANIPULATED, "no image has this label, or all were made from the reference itself"),
    ):
        if not (pairs["label"] == kind).any():
            raise PairError(f"there is no {kind} pair in {faces.name!r}: {why}")
    return pairs[["probe", "reference", "genuine", "label", "method"]].rename_axis("pair")


def _labels(column: pd.Series, name: str) -> npt.NDArray[np.object_]:
    """Convert labels to :data:`PRISTINE` and :data:`MANIPULATED`."""
    spelled = column.fillna("").astype(str).str.strip().str.lower()
    labels = spelled.map(_SPELLED)
    unknown = sorted(set(column.fillna("").astype(str)[labels.isna()]))
    if unknown:
        seen, allowed = (", ".join(map(repr, labels)) for labels in (unknown[:5], _SPELLED))
        raise ParameterError(f"the column {name!r} contains {seen}; allowed are {allowed}")
    return labels.to_numpy(object)
