"""Similarity of the pairs of a run with sets of bands removed, for tests of explanations."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from freqlab.attrs import names_of
from freqlab.edits.band_sets import BandSets
from freqlab.engine.pairing import SIDES
from freqlab.errors import ParameterError, StoreError, check_name
from freqlab.models.spec import Model
from freqlab.results.selection import about_model, bands_of, with_axes
from freqlab.statistics.vectors import cosine
from freqlab.store.reading import open_crops, open_embeddings

__all__ = ["SCORES", "PairSets"]

SCORES = ("cosine", "dot")
"""Comparison of two embeddings; the plain dot product is for tests of linear models."""

_JOBS_AT_ONCE = 16_384

Floats = npt.NDArray[np.float64]


class PairSets:
    """The pairs of a result, with arbitrary bands removed from their images.

    Similarities of untouched pairs, and of pairs without one band, are taken from the result.

    Parameters
    ----------
    result
        From :func:`freqlab.influence`, with a store that keeps the crops.
    model
        One of its models, loaded.
    score
        One of :data:`SCORES`.
    batch_size, progress
        As for :class:`freqlab.edits.band_sets.BandSets`.

    Raises
    ------
    ParameterError
        If the model is not the one of the result.
    StoreError
        If the run keeps no crops.
    """

    def __init__(
        self,
        result: xr.Dataset,
        model: Model,
        *,
        score: str = "cosine",
        batch_size: int | None = None,
        progress: bool = True,
    ) -> None:
        check_name("score", score, SCORES)
        if "view" in result.attrs:
            raise ParameterError(
                f"result holds the view {result.attrs['view']!r}; give the result of fl.influence"
            )
        result = with_axes(result)
        check_name("model", model.name, names_of(result, "model"))
        if about_model(result, model.name)["checkpoint"] != model.checkpoint:
            raise ParameterError(
                f"model {model.name!r} has other weights than the result was made with"
            )
        self.model, self.bands, self._score = model, bands_of(result), score
        store = str(result.attrs["store"])
        self.data = result.sel(model=model.name)
        """Selection of the model from the result."""
        ends = [self.data[end].to_numpy().astype(str) for end in SIDES[:2]]
        names, positions = np.unique(np.stack(ends), return_inverse=True)
        self.ends = positions.reshape(2, -1)
        """Rows in :attr:`crops` of the probe and reference of each pair ``(2, pair)``."""
        crops = open_crops(store, template=model.spec.template)
        if "crop" not in crops:
            raise StoreError(f"run {store!r} keeps no crops, from which bands could be removed")
        self.crops = crops["crop"].sel(face=names).to_numpy()
        """``(face, height, width, 3)``, of all faces of the pairs."""
        self.intact = open_embeddings(store, model=model.name).sel(face=names).to_numpy()
        """Untouched embeddings ``(face, feature)``."""
        self.sets = BandSets(
            model, self.bands, store=store, batch_size=batch_size, progress=progress
        )
        self.held = self.sets.held
        """Whether each band has coefficients at the model's input size ``(band,)``."""
        self.usable = np.isfinite(self.intact[self.ends]).all(axis=(0, 2))
        """Whether both faces of a pair could be embedded ``(pair,)``."""

    def similarity(
        self, pairs: npt.NDArray[np.integer], removed: npt.NDArray[np.bool_], side: str
    ) -> Floats:
        """Similarity of pairs with bands removed.

        Parameters
        ----------
        pairs
            Position of a pair in each job ``(job,)``.
        removed
            Bands removed in each job ``(job, band)``.
        side
            Image from which the bands are removed.

        Returns
        -------
        numpy.ndarray
            ``(job,)``.
        """
        check_name("side", side, SIDES)
        pairs, removed = np.asarray(pairs), removed & self.held
        similarity = self._known(pairs, removed, side)
        jobs = np.flatnonzero(np.isnan(similarity) & self.usable[pairs])
        first = self.ends[0 if side != "reference" else 1][pairs[jobs]]
        jobs = jobs[np.argsort(first, kind="stable")]  # sets of one face are consecutive
        for start in range(0, len(jobs), _JOBS_AT_ONCE):
            some = jobs[start : start + _JOBS_AT_ONCE]
            masked = [
                self._embedded(end[pairs[some]], removed[some])
                if side in (name, "both")
                else self.intact[end[pairs[some]]]
                for name, end in zip(SIDES[:2], self.ends, strict=True)
            ]
            similarity[some] = self.compare(*masked)
        return similarity

    def compare(
        self, probe: npt.NDArray[np.floating], reference: npt.NDArray[np.floating]
    ) -> Floats:
        """Score of embeddings along their last axis."""
        first, second = probe.astype(float), reference.astype(float)
        return (first * second).sum(axis=-1) if self._score == "dot" else cosine(first, second)

    def _embedded(
        self, faces: npt.NDArray[np.integer], removed: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float32]:
        embeddings = self.intact[faces]
        some = removed.any(axis=1)
        if some.any():
            embeddings[some] = self.sets.embed(self.crops, faces[some], removed[some])
        return embeddings

    def _known(
        self, pairs: npt.NDArray[np.integer], removed: npt.NDArray[np.bool_], side: str
    ) -> Floats:
        """Similarities that are in the result; NaN elsewhere."""
        similarity = np.full(len(pairs), np.nan)
        if self._score == "dot":
            return similarity
        n_removed = removed.sum(axis=1)
        untouched = self.data["similarity"].to_numpy().astype(float)
        whole = n_removed == 0
        similarity[whole] = untouched[pairs[whole]]
        if side in self.data["side"].to_numpy():
            influence = self.data["influence"].sel(side=side).transpose("pair", "band").to_numpy()
            single = np.flatnonzero(n_removed == 1)
            band = removed[single].argmax(axis=1)
            similarity[single] = untouched[pairs[single]] - influence[pairs[single], band]
        return similarity
