"""Synthetic faces and linear networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from freqlab.errors import ParameterError, check_number
from freqlab.faces.table import Faces
from freqlab.models.callables import wrap_model
from freqlab.models.spec import Model

__all__ = ["SIZE", "LinearNetwork", "faces", "model", "morphed_faces"]

SIZE = 112
"""Width and height of the crops in pixels."""


class LinearNetwork(torch.nn.Module):
    """A fixed random linear map of the pixels, so that influence is known in closed form.

    With the matrix ``A``, pixels ``x`` of one face and ``y`` of the other, and ``x_b`` the part of
    ``x`` in band ``b``, the similarity is ``cos(A x, A y)``. The influence of the band, removed
    from the first face, is ``cos(A x, A y) - cos(A (x - x_b), A y)``.

    Parameters
    ----------
    n_features
        Length of an embedding.
    size
        Width and height of a crop in pixels.
    seed
        Seed of the matrix.

    Examples
    --------
    >>> import torch
    >>> import freqlab as fl
    >>> network = fl.testing.LinearNetwork(n_features=8)
    >>> tuple(network(torch.zeros(2, 3, 112, 112)).shape)
    (2, 8)
    """

    matrix: torch.Tensor

    def __init__(self, n_features: int = 16, size: int = SIZE, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        matrix = torch.randn(n_features, 3 * size * size, generator=generator)
        self.register_buffer("matrix", matrix / (3 * size * size) ** 0.5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Embeddings ``(n, feature)`` of images ``(n, channel, height, width)``."""
        return images.flatten(1) @ self.matrix.T


def model(name: str = "linear", *, n_features: int = 16, seed: int = 0) -> Model:
    """A :class:`freqlab.testing.LinearNetwork` as a model for any study.

    Parameters
    ----------
    name
        Name of the model in results.
    n_features, seed
        As for :class:`freqlab.testing.LinearNetwork`.

    Returns
    -------
    Model
        Model of the template ``"arcface"``.

    Examples
    --------
    >>> import freqlab as fl
    >>> fl.testing.model().name
    'linear'
    """
    return wrap_model(LinearNetwork(n_features, seed=seed), name=name)


def faces(
    n_subjects: int = 4,
    per_subject: int = 3,
    seed: int = 0,
    size: int = SIZE,
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    ages: bool = False,
    **options: Any,
) -> Faces:
    """Aligned random crops with detail at all frequencies, similar within a subject.

    Parameters
    ----------
    n_subjects, per_subject
        Number of people (``p0``, ``p1``, ...) and of photographs of each (``p0/0``, ``p0/1``, ...).
    seed
        Seed of the pixels and ages.
    size
        Width and height in pixels.
    groups
        Columns of the table and their values, which are assigned to the subjects in turn.
    ages
        Whether to add a column ``age`` in years; the photographs of a subject are one to five
        years apart.
    **options
        Passed to :class:`freqlab.Faces`.

    Returns
    -------
    Faces
        Aligned to the template ``"arcface"``.

    Raises
    ------
    ParameterError
        If a number is below 1, or a group has no values.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.faces(2, 2, groups={"glasses": ["yes", "no"]})
    >>> faces.names
    ['p0/0', 'p0/1', 'p1/0', 'p1/1']
    >>> faces.table["glasses"].tolist()
    ['yes', 'yes', 'no', 'no']
    """
    for argument, number in (
        ("n_subjects", n_subjects),
        ("per_subject", per_subject),
        ("size", size),
    ):
        check_number(argument, number, at_least=1, whole=True)
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(n_subjects):
        own = rng.normal(128, 40, (size, size, 3))
        images += [
            np.clip(own + rng.normal(0, 20, own.shape), 0, 255).astype(np.uint8)
            for _ in range(per_subject)
        ]
    subject = np.repeat(np.arange(n_subjects), per_subject)
    photograph = np.tile(np.arange(per_subject), n_subjects)
    columns: dict[str, Any] = {"subject": [f"p{s}" for s in subject]}
    for column, values in (groups or {}).items():
        if not len(values):
            raise ParameterError(f"groups: {column!r} has no values")
        columns[column] = np.array(values, object)[subject % len(values)]
    if ages:
        years = np.random.default_rng(seed)
        first = years.integers(18, 60, (n_subjects, 1))
        later = years.integers(1, 6, (n_subjects, per_subject)).cumsum(axis=1)
        columns["age"] = (first + later - later[:, :1]).ravel()
    names = [f"p{s}/{i}" for s, i in zip(subject, photograph, strict=True)]
    table = pd.DataFrame(columns, index=pd.Index(names, name="face"))
    return Faces(table, images=images, **{"aligned": "arcface", "name": "synthetic", **options})


def morphed_faces(n_subjects: int = 6, per_subject: int = 3, seed: int = 0) -> Faces:
    """Synthetic faces, and a morph of each two neighbours: the mean of their pixels.

    Parameters
    ----------
    n_subjects, per_subject, seed
        As for :func:`freqlab.testing.faces`; at least two people and two photographs of each.

    Returns
    -------
    Faces
        Faces with the columns that :func:`freqlab.morphing.make_pairs` reads.

    Examples
    --------
    >>> import freqlab as fl
    >>> faces = fl.testing.morphed_faces()
    >>> faces.names[-1]
    'p5+p0'
    """
    for argument, number in (("n_subjects", n_subjects), ("per_subject", per_subject)):
        check_number(argument, number, at_least=2, whole=True)
    people = faces(n_subjects, per_subject, seed)
    images = [np.asarray(image) for image in people.images or ()]
    whole = people.table.assign(morph=False, contributor_a="", contributor_b="", tool="")
    rows, mixed = {}, []
    for k in range(n_subjects):
        a, b = f"p{k}", f"p{(k + 1) % n_subjects}"
        first, second = (images[per_subject * int(name[1:])] for name in (a, b))
        mixed.append(((first.astype(float) + second) / 2).round().astype(np.uint8))
        rows[f"{a}+{b}"] = (f"{a}+{b}", True, a, b, "mean")
    columns = ["subject", "morph", "contributor_a", "contributor_b", "tool"]
    morphs = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table = pd.concat([whole, morphs]).rename_axis("face")
    return Faces(table, images=[*images, *mixed], aligned="arcface", name="synthetic")
