"""Error rates of groups and fairness indices, against brute force and cases worked by hand."""

import numpy as np
import pandas as pd
import pytest
from conftest import make_faces

import freqlab as fl
from freqlab.errors import ParameterError


@pytest.fixture(scope="module")
def study():
    """Made-up embeddings, of which one group's are noisier."""
    faces = make_faces(n_subjects=40, per_subject=4)
    subject = np.array([int(name.split("/")[0][1:]) for name in faces.names])
    labels = pd.Series(np.where(subject % 2, "odd", "even"), index=faces.names, name="parity")
    rng = np.random.default_rng(0)
    identity = rng.standard_normal((40, 24))
    noise = np.where(subject % 2, 1.6, 0.9)[:, None] * rng.standard_normal((len(subject), 24))
    vectors = (identity[subject] + noise).astype(np.float32)
    return faces, labels, vectors, subject


def test_group_rates_are_those_of_pairs_within_the_group(study):
    faces, labels, vectors, subject = study
    errors = fl.bias.errors({"m": vectors}, faces, labels, n_draws=100)
    assert errors["group"].to_numpy().tolist() == ["all", "even", "odd", "mixed"]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = unit @ unit.T
    i, j = np.triu_indices(len(subject), 1)
    same, score = subject[i] == subject[j], scores[i, j]
    threshold = float(errors["threshold"].sel(model="m", fmr=1e-2))
    assert (score[~same] >= threshold).mean() == pytest.approx(0.01, abs=2e-3)
    for name, parity in (("even", 0), ("odd", 1)):
        here = (subject[i] % 2 == parity) & (subject[j] % 2 == parity)
        at = errors.sel(model="m", group=name, fmr=1e-2, estimate="value")
        assert float(at["false_match_rate"]) == pytest.approx(
            (score[here & ~same] >= threshold).mean()
        )
        fnmr = (score[here & same] < threshold).mean()
        assert float(at["false_non_match_rate"]) == pytest.approx(fnmr)
    rates = errors.sel(model="m", group=["even", "odd"], fmr=1e-2, estimate="value")
    gap = errors["fairness"].sel(model="m", index="fnmr_gap", fmr=1e-2)
    fnmr = rates["false_non_match_rate"].to_numpy()
    assert float(gap) == pytest.approx(fnmr[1] - fnmr[0])


def test_figures_are_those_of_verify(study, linear):
    faces, labels, _, _ = study
    table = faces.table.assign(parity=labels.to_numpy())
    known = fl.Faces(table, images=faces.images, aligned="arcface")
    store = "memory://bias-test"
    found = fl.verify(
        known, models=[linear], group="parity", store=store, n_draws=50, progress=False
    )
    vectors = fl.open_embeddings(store, model="linear").sel(face=known.names).to_numpy()
    errors = fl.bias.errors(
        {"linear": vectors}, known, fl.faces.group_labels(known, "parity"), n_draws=50
    )
    for name in ("eer", "false_match_rate", "false_non_match_rate", "failure_to_acquire"):
        np.testing.assert_array_equal(errors[name], found[name])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"embeddings": {}}, "at least one model"),
        ({"embeddings": {"m": np.zeros((2, 3))}}, r"shape \(2, 3\)"),
        ({"one_group": True}, r"1 group\(s\)"),
    ],
)
def test_what_is_not_allowed_is_told(study, change, said):
    faces, labels, vectors, _ = study
    if "one_group" in change:
        labels = labels.map(lambda _: "same")
    with pytest.raises(ParameterError, match=said):
        fl.bias.errors(change.get("embeddings", {"m": vectors}), faces, labels)
