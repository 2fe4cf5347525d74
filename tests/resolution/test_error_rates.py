"""Verification figures over the resolution, against brute force and scikit-learn."""

import numpy as np
import pytest
from conftest import make_faces
from sklearn.metrics import roc_curve

import freqlab as fl
from freqlab.errors import ParameterError, UnknownNameError


@pytest.fixture(scope="module")
def embedded():
    """Faces at three resolutions with made-up embeddings that lose identity as they fall."""
    faces = fl.faces.degrade(make_faces(n_subjects=12, per_subject=4), resolutions=[28, 7])
    rng = np.random.default_rng(0)
    identity = {subject: rng.standard_normal(32) for subject in sorted(set(faces.subjects))}
    loss = {112: 0.9, 28: 1.5, 7: 4.0}
    resolution = faces.table["resolution"].fillna(112).to_numpy()
    vectors = np.stack(
        [
            identity[subject] + loss[int(r)] * rng.standard_normal(32)
            for subject, r in zip(faces.subjects, resolution, strict=True)
        ]
    )
    return faces, vectors.astype(np.float32)


def brute_force(faces, vectors, resolution):
    """Scores of every face at a resolution against every other source as it is."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    at = faces.table["resolution"].fillna(112).to_numpy()
    genuine, impostor = [], []
    for i in np.flatnonzero(at == resolution):
        for j in np.flatnonzero(at == 112):
            if faces.sources[i] != faces.sources[j]:
                same = faces.subjects[i] == faces.subjects[j]
                (genuine if same else impostor).append(float(unit[i] @ unit[j]))
    return np.array(genuine), np.array(impostor)


def test_rates_are_those_of_all_comparisons(embedded):
    faces, vectors = embedded
    errors = fl.resolution.errors({"m": vectors}, faces, n_draws=50)
    assert errors["resolution"].to_numpy().tolist() == [112, 28, 7]
    threshold = float(errors["threshold"].sel(model="m", fmr=1e-2))
    for resolution in (112, 28, 7):
        genuine, impostor = brute_force(faces, vectors, resolution)
        part = errors.sel(model="m", resolution=resolution)
        assert int(part["n_genuine"]) == len(genuine) == 12 * 4 * 3
        assert int(part["n_impostor"]) == len(impostor)
        at = part.sel(fmr=1e-2, estimate="value")
        assert float(at["false_non_match_rate"]) == pytest.approx((genuine < threshold).mean())
        assert float(at["false_match_rate"]) == pytest.approx((impostor >= threshold).mean())
        truth = np.repeat([1, 0], [len(genuine), len(impostor)])
        scores = np.concatenate([genuine, impostor])
        fmr, tmr, _ = roc_curve(truth, scores, drop_intermediate=False)
        nearest = np.argmin(np.abs(fmr - (1 - tmr)))
        eer = (fmr[nearest] + 1 - tmr[nearest]) / 2
        assert float(part["eer"].sel(estimate="value")) == pytest.approx(eer, abs=0.01)
    fnmr = errors["false_non_match_rate"].sel(model="m", fmr=1e-2, estimate="value").to_numpy()
    assert (np.diff(fnmr) > 0).all()


def test_thresholds_rest_on_faces_as_they_are(embedded):
    faces, vectors = embedded
    errors = fl.resolution.errors({"m": vectors}, faces, n_draws=5)
    whole = ~faces.degraded
    expected, n_impostor = fl.statistics.impostor_thresholds(
        vectors[whole], faces.subjects[whole], faces.sources[whole]
    )
    np.testing.assert_array_equal(errors["threshold"].sel(model="m"), expected)
    assert int(errors["impostor_comparisons"].sel(model="m")) == n_impostor


def test_listed_pairs_are_counted_as_listed(embedded):
    faces, vectors = embedded
    whole = faces.select(np.flatnonzero(~faces.degraded))
    pairs = fl.make_pairs(whole, n_pairs=40, seed=0)
    table = fl.faces.degraded_pairs(pairs, faces)
    errors = fl.resolution.errors({"m": vectors}, faces, table, n_draws=5)
    assert (errors["n_genuine"] == pairs["genuine"].sum()).all()
    assert (errors["n_impostor"] == (~pairs["genuine"]).sum()).all()


def test_a_face_that_was_lost_is_a_failure_to_acquire(embedded):
    faces, vectors = embedded
    lost = vectors.copy()
    lost[faces.names.index("p0/0@7")] = np.nan
    errors = fl.resolution.errors({"m": lost}, faces, n_draws=5)
    failures = errors["failure_to_acquire"].sel(model="m").to_numpy()
    np.testing.assert_allclose(failures, [0, 0, 1 / 48])
    assert int(errors["n_genuine"].sel(model="m", resolution=7)) == 12 * 4 * 3 - 3


def test_a_model_that_ignores_detail_loses_nothing():
    faces = fl.faces.degrade(make_faces(n_subjects=6, per_subject=3), resolutions=[56, 28])
    rng = np.random.default_rng(1)
    of_source = {source: rng.standard_normal(16) for source in sorted(set(faces.sources))}
    vectors = np.stack([of_source[source] for source in faces.sources]).astype(np.float32)
    errors = fl.resolution.errors({"m": vectors}, faces, n_draws=5)
    assert np.ptp(errors["eer"].sel(estimate="value").to_numpy()) == 0


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"embeddings": {}}, ParameterError, "at least one model"),
        ({"embeddings": {"m": np.zeros((3, 8))}}, ParameterError, r"shape \(3, 8\) for"),
        ({"degradation": "lanczos"}, UnknownNameError, "allowed: area"),
        ({"n_draws": 0}, ParameterError, "n_draws=0"),
    ],
)
def test_what_is_not_allowed_is_told(embedded, change, error, said):
    faces, vectors = embedded
    arguments = {"embeddings": {"m": vectors}, **change}
    with pytest.raises(error, match=said):
        fl.resolution.errors(arguments.pop("embeddings"), faces, **arguments)
