"""Common parts of random masking: moments of masks and scores, standard errors, stopping rule.

A face is masked at random many times. The value of a map at a point measures how the score varies
with the mask at that point. A point is a pixel or a coefficient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from freqlab.errors import ParameterError, check_name, check_number

__all__ = ["Estimate", "Moments", "Ranks", "estimate"]

Floats = npt.NDArray[np.float64]
Masks = npt.NDArray[np.float32]

_KINDS = ("correlation", "expectation")
_RANKED = "rank correlation"
_FLAT = 1e-12  # masks or scores with a smaller spread count as constant


class Estimate(NamedTuple):
    """Maps of one masked image, compared with each of its partners."""

    maps: npt.NDArray[np.float32]
    """Values ``(partner, ...)``; the last axes are those of a mask."""
    standard_error: npt.NDArray[np.float32]
    """Standard errors of `maps`, of the same shape."""
    reliability: Floats
    """Share of a map's mean square that is not noise, after each block ``(block, partner)``."""
    n_masks: int
    """Number of masks drawn, each of which took a forward pass."""
    converged: bool
    """Whether all maps reached the requested reliability."""


class Moments:
    """Sums over masks and scores, from which maps and their standard errors are computed.

    Parameters
    ----------
    shape
        Shape of a mask.
    n_partners
        Number of scores of a mask.
    """

    def __init__(self, shape: tuple[int, ...], n_partners: int) -> None:
        n_points = int(np.prod(shape))
        self.shape, self.n = shape, 0
        self._m, self._mm = np.zeros(n_points), np.zeros(n_points)
        self._s, self._ss = np.zeros(n_partners), np.zeros(n_partners)
        self._ms = np.zeros((n_partners, n_points))
        self._mss, self._mms, self._mmss = (np.zeros((n_partners, n_points)) for _ in range(3))
        self._origin: Floats | None = None

    def add(self, masks: Masks, scores: Floats) -> None:
        """Add masks ``(mask, ...)`` and their scores ``(mask, partner)``."""
        if self._origin is None:  # an origin near the mean avoids cancellation
            self._origin = scores.mean(axis=0)
        m, s = masks.reshape(len(masks), -1).astype(float), scores - self._origin
        mm, ss = m**2, s**2
        self.n += len(m)
        self._m += m.sum(axis=0)
        self._mm += mm.sum(axis=0)
        self._s += s.sum(axis=0)
        self._ss += ss.sum(axis=0)
        self._ms += s.T @ m
        self._mss += ss.T @ m
        self._mms += s.T @ mm
        self._mmss += ss.T @ mm

    def maps(self, kind: str) -> tuple[Floats, Floats]:
        """Compute the map of each partner and its standard errors, both ``(partner, point)``.

        Parameters
        ----------
        kind
            ``"correlation"`` of mask m and score s, or ``"expectation"``: E[s m] / E[m] - E[s], by
            how much the mean score is larger where the point is kept. Where the mask is the same
            in all draws, the value and its standard error are 0.

        Notes
        -----
        The standard error of a correlation r over n masks is sqrt((1 - r^2) / (n - 2)), which is
        conservative. That of an expectation is the root mean square of its influence function,
        divided by sqrt(n - 2).
        """
        check_name("kind of map", kind, _KINDS)
        mean_m, mean_s = self._m / self.n, (self._s / self.n)[:, None]
        square_m = self._mm / self.n
        var_m = np.maximum(square_m - mean_m**2, 0)
        var_s = np.maximum((self._ss / self.n)[:, None] - mean_s**2, 0)
        covariance = self._ms / self.n - mean_s * mean_m
        if kind == "correlation":
            return _correlations(covariance, var_s, var_m, self.n)
        varies = np.sqrt(var_s * var_m) > _FLAT
        kept = np.maximum(mean_m, _FLAT)
        gain = np.where(varies, covariance / kept, 0)
        # with e = s - E[s], the influence function is e (m / E[m] - 1) - gain m / E[m]
        em2 = self._mms / self.n - mean_s * square_m
        e2m = self._mss / self.n - 2 * mean_s * self._ms / self.n + mean_s**2 * mean_m
        e2m2 = self._mmss / self.n - 2 * mean_s * self._mms / self.n + mean_s**2 * square_m
        square = e2m2 / kept**2 - 2 * e2m / kept + var_s
        square += (gain**2 * square_m - 2 * gain * (em2 - kept * covariance)) / kept**2
        error = np.sqrt(np.maximum(square, 0) / max(self.n - 2, 1))
        return gain, np.where(varies, error, 0)


class Ranks:
    """Masks and scores, from which maps of rank correlations are computed.

    Ranks of the scores depend on all of them, so the masks are stored: one byte for each point of
    a binary mask.

    Parameters
    ----------
    shape
        Shape of a mask.
    n_partners
        Number of scores of a mask.
    """

    def __init__(self, shape: tuple[int, ...], n_partners: int) -> None:
        self.shape, self.n = shape, 0
        self._masks: list[npt.NDArray[Any]] = []
        self._scores = np.zeros((0, n_partners))

    def add(self, masks: Masks, scores: Floats) -> None:
        """Add masks ``(mask, ...)`` and their scores ``(mask, partner)``."""
        flat = masks.reshape(len(masks), -1)
        binary = bool(((flat == 0) | (flat == 1)).all())
        self._masks.append(flat.astype(np.uint8) if binary else flat)
        self._scores = np.concatenate([self._scores, scores])
        self.n += len(flat)

    def maps(self, kind: str) -> tuple[Floats, Floats]:
        """Compute the map of each partner and its standard errors, both ``(partner, point)``.

        Parameters
        ----------
        kind
            ``"rank correlation"`` of mask and score (Spearman), with mean ranks for ties. Where
            the mask is the same in all draws, the value and its standard error are 0.

        Notes
        -----
        A binary mask is a linear function of its ranks, so only the scores are ranked. The
        standard error is that of a correlation, as in :meth:`Moments.maps`.
        """
        from scipy.stats import rankdata

        check_name("kind of map", kind, [_RANKED])
        parts = self._masks
        if any(part.dtype != np.uint8 for part in parts):
            parts = [rankdata(np.concatenate(parts), axis=0)]
        ranks = rankdata(self._scores, axis=0) - (self.n + 1) / 2
        n_points = parts[0].shape[1]
        total, square = np.zeros(n_points), np.zeros(n_points)
        covariance = np.zeros((ranks.shape[1], n_points))
        start = 0
        for part in parts:
            masks = part.astype(float)
            total += masks.sum(axis=0)
            square += (masks**2).sum(axis=0)
            covariance += ranks[start : start + len(part)].T @ masks
            start += len(part)
        var_masks = np.maximum(square / self.n - (total / self.n) ** 2, 0)
        var_ranks = (ranks**2).mean(axis=0)[:, None]
        return _correlations(covariance / self.n, var_ranks, var_masks, self.n)


def _correlations(
    covariance: Floats, var_scores: Floats, var_masks: Floats, n: int
) -> tuple[Floats, Floats]:
    """Correlations and their standard errors; both are 0 where masks or scores are constant."""
    spread = np.sqrt(var_scores * var_masks)
    varies = spread > _FLAT
    r = np.divide(covariance, spread, out=np.zeros_like(spread), where=varies).clip(-1, 1)
    return r, np.where(varies, np.sqrt((1 - r**2) / max(n - 2, 1)), 0)


def estimate(
    draw: Callable[[int], Masks],
    score: Callable[[Masks], Floats],
    shape: tuple[int, ...],
    n_partners: int,
    *,
    kind: str,
    most: int,
    reliability: float,
    block: int = 100,
) -> Estimate:
    """Draw and score masks until the maps are reliable or the largest number is reached.

    Parameters
    ----------
    draw
        Function that draws `n` masks ``(n, *shape)``, independent of earlier ones.
    score
        Function that returns the scores of masks ``(n, partner)``.
    shape, n_partners
        Shape of a mask; number of scores of a mask.
    kind
        As for :meth:`Moments.maps` or :meth:`Ranks.maps`.
    most
        Largest number of masks.
    reliability
        Reliability of the least reliable map at which masking stops. The reliability is 1 minus
        the mean squared standard error divided by the mean square of the map. With 1, masking
        does not stop early.
    block
        Number of masks between two checks of the reliability. The first check is after two
        blocks.

    Raises
    ------
    ParameterError
        If a number is out of range.
    """
    check_number("n_masks", most, at_least=3, whole=True)
    check_number("block", block, at_least=3, whole=True)
    check_number("reliability", reliability, above=0)
    if reliability > 1:
        raise ParameterError(f"reliability={reliability!r} must be above 0 and at most 1")
    moments = (Ranks if kind == _RANKED else Moments)(shape, n_partners)
    history: list[Floats] = []
    while True:
        masks = draw(min(block, most - moments.n))
        moments.add(masks, score(masks))
        maps, error = moments.maps(kind)
        square = (maps**2).mean(axis=1)
        noise = (error**2).mean(axis=1)
        share = np.divide(noise, square, out=np.ones_like(square), where=square > 0)
        history.append(np.maximum(1 - share, 0))
        enough = len(history) >= 2 and bool(history[-1].min() >= reliability)
        if enough or moments.n >= most:
            break
    full_shape = (n_partners, *shape)
    return Estimate(
        maps.reshape(full_shape).astype(np.float32),
        error.reshape(full_shape).astype(np.float32),
        np.stack(history),
        moments.n,
        enough,
    )
