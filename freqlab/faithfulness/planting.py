"""Planted bands: tests of the method, and of the method with a model, on a known answer.

In the first test no model is involved. An embedder is constructed that reads a signature in one
band with a matched filter, and everything else with random filters, whose responses to a face are
those to a signature of a fixed contrast. The test shows what the method can find.

In the second test a small network is trained on the spot. Each person has a separate pattern within
one band, which is added to photographs of any person. Only this band distinguishes the people, so
its influence should be the largest. Both constructions are our choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr

from freqlab.attrs import named
from freqlab.bands.base import Bands
from freqlab.bands.decompositions import Decomposition
from freqlab.bands.fills import noise_fill
from freqlab.edits.band_sets import BandSets
from freqlab.errors import ParameterError, check_number
from freqlab.faithfulness.sanity import band_profiles
from freqlab.models.callables import wrap_model
from freqlab.models.spec import Model
from freqlab.results.quantities import MIN_REMOVED_RMS
from freqlab.statistics.vectors import cosine, cosines

__all__ = ["FEWEST_CROPS", "LEARNED", "MARGIN", "learned_bands", "planted_bands"]

MARGIN = 2.0
"""Contrast over that of the distractor from which every planted band should be identified."""

LEARNED = 0.75
"""Area under the ROC curve from which a network has learned the planted patterns (our choice)."""

FEWEST_CROPS = 4
"""Smallest number of crops from which a network is trained and tested."""

_NAMES = {
    "accuracy": ("share of planted bands identified", "1"),
    "chance": ("share identified by chance", "1"),
    "contrast": ("contrast of the signature", "grey levels"),
    "profile": ("mean directed influence over genuine pairs", "cosine similarity"),
    "identified": ("planted band has the largest mean influence", "1"),
    "share": ("share of genuine pairs whose largest influence is the planted band", "1"),
    "auc": ("area under the ROC curve", "1"),
    "auc_without": ("area under the ROC curve without the planted band", "1"),
    "planted_contrast": ("contrast of the pattern", "grey levels"),
}

_N_DISTRACTORS = 8  # random filters
_SHIFTS = ((0, 0), (2, -2), (-2, 2), (3, 3))  # of the training faces, in pixels
_HIDDEN, _BATCH, _RATE, _SHARPNESS = 16, 64, 3e-3, 10.0

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
Images = npt.NDArray[np.float32]


class _Reader(torch.nn.Module):
    """Read signatures with matched filters, and everything else with random filters."""

    def __init__(self, signatures: torch.Tensor, others: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("filters", torch.cat([signatures, others]).flatten(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        filters: torch.Tensor = self.filters  # type: ignore[assignment]
        return (images - images.mean(dim=(2, 3), keepdim=True)).flatten(1) @ filters.T


def planted_bands(
    crops: Pixels,
    bands: Bands,
    *,
    contrasts: Sequence[float] = (4.0, 8.0, 16.0),
    distractor: float = 4.0,
    n_people: int = 6,
    template: str = "arcface",
    seed: int = 0,
) -> xr.Dataset:
    """Plant a signature in one band of faces, and test whether influence identifies the band.

    This is a test of the method: no model is involved. Two faces that share only a signature, noise
    in a single band, match for an embedder that reads the signature with a matched filter, which
    does not respond to the faces themselves. The embedder also reads all bands with random filters.
    Their joint response to a face is as large as that of the matched filter to a signature of the
    contrast `distractor`, whatever the contrast of the planted signature. The identified band is
    the one with the largest absolute influence per contrast removed, with the probe masked. The
    chance level is one over the number of bands.

    Parameters
    ----------
    crops
        Different faces ``(n, height, width, 3)``, two for each person.
    bands
        The bands; each in turn carries the signature.
    contrasts
        RMS of the signature, in grey levels.
    distractor
        RMS response of the random filters to faces, as the contrast in grey levels of a signature
        with the same response.
    n_people
        Number of people. Each has a signature and an embedder, so this number determines the
        precision of the result only.
    template
        The template of the crops.
    seed
        Seed of signatures and filters.

    Returns
    -------
    xarray.Dataset
        ``accuracy(contrast, band)``: share of people whose band is identified; ``chance``.

    Raises
    ------
    ParameterError
        If there are fewer than two faces for each person.

    Examples
    --------
    >>> import numpy as np
    >>> import freqlab as fl
    >>> crops = np.stack(fl.testing.faces(n_subjects=4, per_subject=2).images)
    >>> planted = fl.faithfulness.planted_bands(crops, fl.rings(28), contrasts=[16], n_people=4)
    >>> planted["accuracy"].dims
    ('contrast', 'band')
    """
    check_number("n_people", n_people, at_least=1, whole=True)
    check_number("distractor", distractor, above=0)
    check_number("seed", seed, at_least=0, whole=True)
    if len(crops) < 2 * n_people:
        raise ParameterError(
            f"n_people={n_people} needs {2 * n_people} crops, two for each; {len(crops)} are given"
        )
    height, width = crops.shape[1:3]
    faces = crops[: 2 * n_people].astype(np.float32)
    parts = bands.decompose(height, width)
    accuracy = np.full((len(contrasts), len(bands)), np.nan)
    for band in np.flatnonzero(parts.present):
        rng = np.random.default_rng([seed, int(band)])
        signatures = _patterns(parts, int(band), (n_people, height, width, 3), rng)
        signatures = _orthogonal(signatures, faces, parts, int(band))
        others = rng.normal(size=(_N_DISTRACTORS, height, width, 3)).astype(np.float32)
        responses = np.einsum("nhwc,khwc->nk", faces - faces.mean((1, 2), keepdims=True), others)
        others *= distractor * signatures[0].size / np.sqrt(np.square(responses).sum(axis=1).mean())
        reader = _Reader(*(torch.from_numpy(x).permute(0, 3, 1, 2) for x in (signatures, others)))
        model = wrap_model(reader, name=f"reader {band}", template=template)
        pairs = np.concatenate([signatures] * 2)
        planted = np.stack([faces + contrast * pairs for contrast in contrasts])
        found = _identified(planted.astype(np.float32), BandSets(model, bands, progress=False))
        accuracy[:, band] = (found == band).mean(axis=1)
    return named(
        xr.Dataset(
            {
                "accuracy": (("contrast", "band"), accuracy, {"long_name": "band identified"}),
                "chance": ((), 1 / parts.present.sum()),
            },
            coords={
                "contrast": ("contrast", list(contrasts), {"units": "grey levels"}),
                "band": bands.names,
            },
            attrs={"distractor": distractor, "n_people": n_people, "seed": seed},
        ),
        _NAMES,
    )


def _orthogonal(signatures: Images, faces: Images, parts: Decomposition, band: int) -> Images:
    """Remove from signatures what their own two faces have in the band.

    A matched filter then responds to the signature alone.

    Parameters
    ----------
    signatures
        One for each person ``(person, height, width, channel)``, in the band.
    faces
        Probes of all people, then their references.
    parts, band
        Decomposition of the crops, and the band.
    """
    images = torch.from_numpy(faces).permute(0, 3, 1, 2)
    own = parts.components(images, [band])[:, 0].permute(0, 2, 3, 1).flatten(1).numpy()
    flat = signatures.reshape(len(signatures), -1).astype(float)
    for person, signature in enumerate(flat):
        basis = np.linalg.qr(own[[person, len(flat) + person]].T.astype(float))[0]
        signature -= basis @ (basis.T @ signature)
    flat /= np.sqrt(np.square(flat).mean(axis=1, keepdims=True))
    return flat.reshape(signatures.shape).astype(np.float32)


def _identified(planted: Images, sets: BandSets) -> npt.NDArray[np.int64]:
    """Identify the band by the largest influence per contrast removed ``(contrast, person)``.

    Parameters
    ----------
    planted
        Probes of all people, then their references, at each contrast
        ``(contrast, face, height, width, channel)``.
    sets
        Sets of bands of the reader, with a matched filter for each person.
    """
    n_contrasts, n_people, n_bands = len(planted), planted.shape[1] // 2, len(sets.held)
    bands = np.flatnonzero(sets.held)
    images = planted.reshape(-1, *planted.shape[2:])
    every = np.arange(len(images))
    probes = every.reshape(n_contrasts, 2, n_people)[:, 0]
    intact = sets.embed(images, every, np.zeros((len(images), n_bands), bool))
    removed = np.tile(np.eye(n_bands, dtype=bool)[bands], (probes.size, 1))
    without = sets.embed(images, np.repeat(probes.ravel(), len(bands)), removed)
    without = without.reshape(n_contrasts, n_people, len(bands), -1)
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
    contrast = np.sqrt(sets.parts.energy(pixels).numpy())[:, bands]
    found = np.empty((n_contrasts, n_people), np.int64)
    for k, person in np.ndindex(found.shape):
        read = [person, *range(n_people, intact.shape[1])]  # the own filter and the random ones
        probe = probes[k, person]
        reference = intact[probe + n_people, read]
        influence = cosine(intact[probe, read], reference) - cosine(
            without[k, person][:, read], reference[None]
        )
        per_contrast = np.abs(influence) / np.maximum(contrast[probe], MIN_REMOVED_RMS)
        known = contrast[probe] >= MIN_REMOVED_RMS
        found[k, person] = bands[np.argmax(np.where(known, per_contrast, -1.0))]
    return found


def _patterns(
    parts: Decomposition, band: int, shape: tuple[int, ...], rng: np.random.Generator
) -> Images:
    """Noise in one band with an RMS of one grey level ``(n, height, width, channel)``."""
    noise = rng.normal(size=shape).astype(np.float32)
    patterns = noise_fill(noise, parts, bands=[band], seed=int(rng.integers(2**31)))
    return patterns / np.sqrt(np.square(patterns).mean(axis=(1, 2, 3), keepdims=True))


class _Learner(torch.nn.Module):
    """A network of two layers on the Fourier coefficients of the grey image.

    Coefficients are multiplied by their frequency, since the amplitude of natural images falls with
    it.
    """

    def __init__(self, size: tuple[int, int], generator: torch.Generator) -> None:
        super().__init__()
        height, width = size
        ky = torch.fft.fftfreq(height, 1 / height)[:, None]
        kx = torch.fft.rfftfreq(width, 1 / width)[None]
        gain = torch.hypot(ky, kx.expand(height, -1)) / (3 * height * width)
        self.register_buffer("gain", gain)
        self.first = torch.nn.Linear(2 * gain.numel(), _HIDDEN)
        self.last = torch.nn.Linear(_HIDDEN, _HIDDEN)
        with torch.no_grad():
            self.first.weight.normal_(0, 1e-4, generator=generator)
            self.last.weight.normal_(0, 0.5, generator=generator)
            self.first.bias.zero_()
            self.last.bias.zero_()

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Real and imaginary parts of the weighted coefficients; linear in the images."""
        gain: torch.Tensor = self.gain  # type: ignore[assignment]
        return torch.view_as_real(torch.fft.rfft2(images.mean(dim=1)) * gain).flatten(1)

    def head(self, features: torch.Tensor) -> torch.Tensor:
        """Embed features."""
        embedded: torch.Tensor = self.last(torch.tanh(self.first(features)))
        return embedded

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))


def learned_bands(
    crops: Pixels,
    bands: Bands,
    *,
    planted: Sequence[int] | None = None,
    strength: float = 2.0,
    least_contrast: float = 8.0,
    n_people: int = 6,
    steps: int = 60,
    template: str = "arcface",
    seed: int = 0,
) -> xr.Dataset:
    """Train a network to read one band, and test whether influence identifies the band.

    Each of `n_people` people has a pattern, noise within the planted band, which is added to
    photographs of any person. A small network is trained on half of the crops to distinguish these
    people, which only the pattern allows. Influence is computed on the other half, on pairs of
    two different photographs with the pattern of the same person, with the probe masked. The
    largest mean influence should be that of the planted band. Verification without the band shows
    that the network reads nothing else.

    Parameters
    ----------
    crops
        Different faces ``(n, height, width, 3)``; the more, the better the network learns.
    bands
        The bands.
    planted
        Positions of the bands that are planted, each with a network of its own; by default three,
        a quarter, a half and three quarters up the bands.
    strength, least_contrast
        Contrast of the pattern relative to that of the faces in the band, and its smallest value
        in grey levels. Weaker patterns are not learned in low bands.
    n_people
        Number of people.
    steps
        Number of training steps, of 64 photographs each.
    template
        The template of the crops.
    seed
        Seed of patterns, weights and training.

    Returns
    -------
    xarray.Dataset
        Along ``planted``, the name of the planted band: ``profile(planted, band)``, mean directed
        influence over the genuine pairs; ``identified``, 1 if the planted band has the largest mean
        influence, 0 if not, and ``share``, the share of pairs in which its influence is the
        largest, both NaN where the network has not learned to distinguish the people (``auc`` below
        0.75); ``auc`` and ``auc_without``, verification by the network with all bands, and without
        the planted band in the probe (0.5 is chance); ``planted_contrast``, in grey levels.

    Raises
    ------
    ParameterError
        If an argument is invalid, or there are fewer than four crops.

    Examples
    --------
    >>> import numpy as np
    >>> import freqlab as fl
    >>> crops = np.stack(fl.testing.faces(n_subjects=6, per_subject=2).images)
    >>> learned = fl.faithfulness.learned_bands(crops, fl.rings(28), planted=[1], steps=30)
    >>> learned["profile"].dims
    ('planted', 'band')
    """
    check_number("strength", strength, at_least=0)
    check_number("least_contrast", least_contrast, at_least=0)
    check_number("n_people", n_people, at_least=2, whole=True)
    check_number("steps", steps, at_least=1, whole=True)
    check_number("seed", seed, at_least=0, whole=True)
    if len(crops) < FEWEST_CROPS:
        raise ParameterError(f"crops: {len(crops)} faces are too few; give {FEWEST_CROPS} or more")
    parts = bands.decompose(*crops.shape[1:3])
    present = np.flatnonzero(parts.present)
    if planted is None:
        planted = sorted({int(present[len(present) * k // 4]) for k in (1, 2, 3)})
    for position in planted:
        if position not in present:
            raise ParameterError(
                f"planted={list(planted)!r} must be positions of bands with coefficients, "
                f"{', '.join(map(str, present))}"
            )
    images = torch.from_numpy(crops.astype(np.float32)).permute(0, 3, 1, 2).contiguous()
    own = parts.energy(images).mean(dim=0).sqrt().numpy()
    contrasts = [max(strength * float(own[band]), least_contrast) for band in planted]
    of_bands = []
    for band, contrast in zip(planted, contrasts, strict=True):
        rng = np.random.default_rng([seed, int(band)])
        patterns = contrast * _patterns(parts, int(band), (n_people, *crops.shape[1:3], 1), rng)
        model = _trained(images[::2], patterns, steps, int(rng.integers(2**31)), template)
        sets = BandSets(model, bands, progress=False)
        of_bands.append(_verified(crops[1::2].astype(np.float32), patterns, sets, int(band)))
    names = [bands.names[band] for band in planted]
    return named(
        xr.Dataset(
            {
                "profile": (("planted", "band"), np.stack([one[0] for one in of_bands])),
                **{
                    name: ("planted", [float(one[1][k]) for one in of_bands])
                    for k, name in enumerate(("identified", "share", "auc", "auc_without"))
                },
                "planted_contrast": ("planted", contrasts),
            },
            coords={"planted": names, "band": bands.names},
            attrs={
                **{"n_people": n_people, "steps": steps, "seed": seed},
                "n_pairs": len(crops[1::2]),
            },
        ),
        _NAMES,
    )


def _trained(faces: torch.Tensor, patterns: Images, steps: int, seed: int, template: str) -> Model:
    """Train a network to distinguish the people of patterns on faces of any person."""
    generator = torch.Generator().manual_seed(seed)
    n_people, size = len(patterns), (faces.shape[2], faces.shape[3])
    network = _Learner(size, generator)
    classes = torch.randn(n_people, _HIDDEN, generator=generator).requires_grad_()
    both = torch.cat([faces, faces.flip(3)])
    with torch.no_grad():
        of_faces = torch.cat([network.features(both.roll(shift, (2, 3))) for shift in _SHIFTS])
        of_people = network.features(torch.from_numpy(patterns).permute(0, 3, 1, 2))
    optimiser = torch.optim.Adam([*network.parameters(), classes], lr=_RATE)
    with torch.enable_grad():
        for _ in range(steps):
            face = torch.randint(len(of_faces), (_BATCH,), generator=generator)
            person = torch.randint(n_people, (_BATCH,), generator=generator)
            embedded = _unit(network.head(of_faces[face] + of_people[person]))
            loss = torch.nn.functional.cross_entropy(
                _SHARPNESS * embedded @ _unit(classes).T, person
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return wrap_model(network.eval(), name="learner", template=template)


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors, dim=1)


def _verified(
    faces: Images, patterns: Images, sets: BandSets, band: int
) -> tuple[Floats, tuple[float, float, float, float]]:
    """Verify the people of patterns on faces that the network has not seen.

    Returns
    -------
    profile : numpy.ndarray
        Mean influence ``(band,)``.
    figures : tuple of float
        Whether the planted band is identified, in which share of the pairs, and the areas under
        the ROC curve with and without the band.
    """
    n = len(faces)
    person = np.arange(n) % len(patterns)
    probes, references = faces + patterns[person], np.roll(faces, 1, axis=0) + patterns[person]
    images = np.concatenate([probes, references]).astype(np.float32)
    none = np.zeros((2 * n, len(sets.held)), bool)
    intact = sets.embed(images, np.arange(2 * n), none)
    profiles = band_profiles(sets, images, np.arange(n), intact[:n], intact[n:])
    without = none[:n].copy()
    without[:, band] = True
    masked = sets.embed(images, np.arange(n), without)
    auc, auc_without = (
        _area_under_roc(cosines(one, intact[n:]), person) for one in (intact[:n], masked)
    )
    profile = profiles.mean(axis=0)
    identified = float(np.nanargmax(profile) == band)
    share = float((np.nanargmax(profiles, axis=1) == band).mean())
    if not auc >= LEARNED:
        identified = share = np.nan
    return profile, (identified, share, auc, auc_without)


def _area_under_roc(scores: Floats, person: npt.NDArray[np.int64]) -> float:
    """Area under the ROC curve of all comparisons; NaN without genuine or impostor comparisons."""
    from sklearn.metrics import roc_auc_score

    genuine = person[:, None] == person
    if genuine.all() or not genuine.any():
        return float("nan")
    return float(roc_auc_score(genuine.ravel(), scores.ravel()))
