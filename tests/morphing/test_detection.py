"""Detection scores: planted attacks, chance where there is none, and fits on other people."""

import numpy as np
import pytest
import xarray as xr

import freqlab as fl
from freqlab.errors import ParameterError, UnknownNameError

N_BANDS = 8


def made_result(seed=0, n_people=40, planted=None, gap=20.0, own=0.0, n_tools=1, lower=0.0):
    """Pairs of made-up influence; attacks differ in one band of the document, if any.

    People have profiles of their own with `own`; the profile of a morph is a sum of two, of the
    same variance. Attacks have a similarity that is `lower`.
    """
    rng = np.random.default_rng(seed)
    names = [f"p{i:02d}" for i in range(n_people)]
    rows = [(name, name, "bona fide") for name in names for _ in range(2)]
    tools = ["tool", *(f"tool{k}" for k in range(1, n_tools))]
    rows += [
        (names[i], names[(i + 1 + k) % n_people], tool)
        for k, tool in enumerate(tools)
        for i in range(n_people)
        for _ in "ab"
    ]
    n = len(rows)
    influence = rng.normal(0.1, 0.02, (1, n, 2, N_BANDS))
    attack = np.array([row[2] for row in rows], object)
    profiles = own * rng.normal(0, 0.02, (n_people, 2, N_BANDS))
    ends = np.array([[names.index(name) for name in row[:2]] for row in rows]).T
    whole = np.where(ends[0] == ends[1], 0.5, np.sqrt(0.5))
    influence[0] += whole[:, None, None] * profiles[ends].sum(axis=0)
    if planted is not None:
        influence[0, attack == "tool", 1, planted] += gap * 0.02
    removed = np.exp(rng.normal(0, 0.1, influence.shape))
    found = fl.testing.result(
        influence,
        removed_rms=removed,
        similarity=rng.normal(0.6, 0.05, (1, n)) - lower * (attack != "bona fide"),
        columns={
            "attack": attack,
            "contributor_a": np.array([row[0] for row in rows], object),
            "contributor_b": np.array([row[1] for row in rows], object),
        },
    )
    return found.assign_coords(band=[f"b{i}" for i in range(N_BANDS)])


def test_a_planted_attack_is_detected_by_its_bands_score_without_error():
    scores = fl.morphing.scores(made_result(planted=5), model="m")
    errors = fl.morphing.detection_errors(scores)
    value = errors["d_eer"].sel(attack="tool", estimate="value").to_series()
    assert value["band b5"] == 0
    assert value["mahalanobis"] < 0.05
    others = [f"band b{i}" for i in range(N_BANDS) if i != 5]
    assert value[others].min() > 0.3
    assert fl.morphing.detection_table(errors).index[0] in ("band b5", "supervised", "mahalanobis")


def test_differences_from_baselines_are_of_the_same_pairs():
    scores = fl.morphing.scores(made_result(planted=5), model="m")
    errors = fl.morphing.detection_errors(scores)
    value = errors["d_eer"].sel(estimate="value")
    change = errors["d_eer_difference"]
    for baseline in ("similarity", "power spectrum", "supervised"):
        found = change.sel(baseline=baseline, estimate="value")
        expected = value - value.sel(score_name=baseline)
        others = [n for n in errors["score_name"].to_numpy() if n != baseline]
        np.testing.assert_allclose(found.sel(score_name=others), expected.sel(score_name=others))
        assert np.isnan(found.sel(score_name=baseline)).all()
    planted = change.sel(score_name="band b5", baseline="similarity", attack="tool")
    assert float(planted.sel(estimate="upper")) < 0
    assert errors["n_people"].to_numpy().tolist() == [40, 40]


def null_rates(n_runs, **options):
    """D-EER of each score where there is nothing to detect ``(score,)``, and its standard error."""
    values = []
    for seed in range(n_runs):
        scores = fl.morphing.scores(made_result(seed=seed, **options), model="m", seed=seed)
        errors = fl.morphing.detection_errors(scores)
        values.append(errors["d_eer"].sel(attack="all", estimate="value").to_series())
    spread = np.std(values, axis=0, ddof=1) / np.sqrt(n_runs)
    return np.mean(values, axis=0), spread


def test_without_a_difference_no_score_detects():
    mean, _ = null_rates(4)
    assert (np.abs(mean - 0.5) < 0.08).all()


@pytest.mark.exhaustive
@pytest.mark.parametrize(("own", "n_tools"), [(0.0, 1), (0.0, 3), (1.0, 1)])
def test_without_a_difference_the_rates_are_those_of_chance(own, n_tools):
    """With priors taken from the fits, the supervised score is at 55 to 56 % here."""
    mean, error = null_rates(60, own=own, n_tools=n_tools)
    assert (np.abs(mean - 0.5) < 3 * error + 0.01).all()


def test_bona_fide_and_attack_pairs_are_scored_by_fits_on_equally_many_people(monkeypatch):
    from freqlab.morphing import score_fits

    result, people_of_fits = made_result(), {}
    people = np.stack([result[f"contributor_{k}"].to_numpy() for k in "ab"])
    attack = result["attack"].to_numpy()

    def spy(values):
        def score(fit):
            n_people = len(np.unique(people[:, fit.bona_fide]))
            for kind in np.unique(attack[fit.scored]):
                people_of_fits.setdefault(kind, set()).add(n_people)
            return np.zeros(int(fit.scored.sum()))

        return score

    monkeypatch.setattr(score_fits, "_mahalanobis", spy)
    fl.morphing.scores(result, model="m")
    assert people_of_fits == {"bona fide": {24}, "tool": {24}}  # three of five folds


def test_fusion_has_what_the_similarity_and_influence_have():
    """Both detect; together they detect better than either."""
    result = made_result(planted=5, gap=1.5, lower=0.06)
    errors = fl.morphing.detection_errors(fl.morphing.scores(result, model="m"))
    value = errors["d_eer"].sel(attack="tool", estimate="value").to_series()
    assert value["fusion"] < value["similarity"] - 0.03
    assert value["fusion"] < value["supervised"] - 0.03
    result = made_result(planted=5, gap=3.0, lower=0.06)
    errors = fl.morphing.detection_errors(fl.morphing.scores(result, model="m"))
    change = errors["d_eer_difference"].sel(
        score_name="fusion", baseline="similarity", attack="tool", estimate="upper"
    )
    assert change < 0
    assert "**gain**" in fl.morphing.describe_fusion(errors)
    nothing = made_result(lower=0.06)
    errors = fl.morphing.detection_errors(fl.morphing.scores(nothing, model="m"))
    assert "**gain**" not in fl.morphing.describe_fusion(errors)  # profiles of noise cost accuracy


def test_spectra_are_those_of_the_documents():
    result, rng = made_result(), np.random.default_rng(0)
    documents = result["reference"].to_numpy().astype(str)
    names = np.unique(documents)
    attacked = {name: result["attack"].to_numpy()[documents == name][0] == "tool" for name in names}
    values = rng.normal(size=(len(names), 2, 3))
    values[[attacked[name] for name in names], 0, 1] += 6
    spectra = xr.DataArray(
        values, dims=("face", "region", "ring"), coords={"face": names.astype(object)}
    )
    order = rng.permutation(len(names))
    errors = fl.morphing.detection_errors(
        fl.morphing.scores(result, model="m", spectra=spectra.isel(face=order))
    )
    rate = errors["d_eer"].sel(score_name="residual spectrum", attack="all", estimate="value")
    assert rate < 0.02
    some = spectra.isel(face=np.arange(len(names)) % 4 > 0)  # without a quarter of the documents
    scores = fl.morphing.scores(result, model="m", spectra=some)
    unknown = ~np.isin(documents, some["face"].to_numpy().astype(str))
    found = scores["score"].sel(score_name="residual spectrum")
    np.testing.assert_array_equal(np.isnan(found), unknown)
    with pytest.raises(ParameterError, match="none of which is a document"):
        fl.morphing.scores(
            result, model="m", spectra=spectra.assign_coords(face=[f"x{n}" for n in names])
        )


def test_no_contributor_is_known_to_what_tests_it(monkeypatch):
    from freqlab.morphing import score_fits

    result = made_result()
    seen = []

    def spy(values):
        def score(fit):
            seen.append(fit)
            return np.zeros(int(fit.scored.sum()))

        return score

    monkeypatch.setattr(score_fits, "_mahalanobis", spy)
    fl.morphing.scores(result, model="m")
    people = np.stack([result[f"contributor_{k}"].to_numpy() for k in "ab"])
    tested = np.zeros(result.sizes["pair"], int)
    for fit, attacks, here in seen[::2]:  # both profiles, then the spectrum
        known = set(people[:, fit | attacks].ravel())
        assert not known & set(people[:, here].ravel())
        assert (result["attack"].to_numpy()[fit] == "bona fide").all()
        tested += here
    assert (tested == 1).all()


def test_what_is_not_allowed_is_told():
    result = made_result()
    with pytest.raises(ParameterError, match="folds=2"):
        fl.morphing.scores(result, model="m", folds=2)
    with pytest.raises(UnknownNameError, match="unknown model"):
        fl.morphing.scores(result, model="n")
    with pytest.raises(ParameterError, match="4 people are too few"):
        fl.morphing.scores(made_result(n_people=4), model="m")
    with pytest.raises(ParameterError, match="it lacks"):
        fl.morphing.scores(result.drop_vars("attack"), model="m")
    with pytest.raises(ParameterError, match="both sides masked"):
        fl.morphing.scores(result.sel(side=["probe"]), model="m")
    scores = fl.morphing.scores(result, model="m")
    with pytest.raises(ParameterError, match="level=1"):
        fl.morphing.detection_errors(scores, level=1)
