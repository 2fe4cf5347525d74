"""Paired comparisons of runs: against loops, scikit-learn, identical runs and simulated truth."""

import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_curve

import freqlab as fl
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.results.error_changes import comparisons_of_pairs
from freqlab.statistics.resampling import draw_subjects, eer_of_draws, subject_codes
from freqlab.testing import result as made

LIMITS = {1e-1: 0.3, 1e-2: 0.4}


def people_of(n_people, n_genuine, n_impostor, seed=0):
    """Subjects of genuine pairs, the same number of each person, and of impostor pairs."""
    rng = np.random.default_rng(seed)
    names = np.array([f"p{i:02d}" for i in range(n_people)], object)
    first = list(np.repeat(np.arange(n_people), n_genuine))
    second = list(first)
    for _ in range(n_impostor):
        i, j = rng.choice(n_people, 2, replace=False)
        first.append(i)
        second.append(j)
    return np.array(first), np.array(second), names


def result_of(values, similarity, people, **options):
    first, second, names = people
    return made(
        values[None, :, None, :],
        probe_subject=names[first],
        reference_subject=names[second],
        similarity=similarity[None],
        **{"thresholds": LIMITS, **options},
    )


@pytest.fixture(scope="module")
def people():
    return people_of(6, 4, 40)


@pytest.fixture(scope="module")
def two(people):
    """Two runs on the same pairs, with pairs that have no values in one of them."""
    rng = np.random.default_rng(1)
    n = len(people[0])
    genuine = people[0] == people[1]
    similarity = rng.normal(np.where(genuine, 0.45, 0.15), 0.15)
    values = rng.normal(size=(n, 3))
    removed = rng.uniform(0, 2, (1, n, 1, 3))
    other = similarity + rng.normal(0, 0.1, n)
    other_values = values + rng.normal(size=(n, 3))
    similarity[5], values[5] = np.nan, np.nan
    other[-1], other_values[-1] = np.nan, np.nan
    before = result_of(values, similarity, people, removed_rms=removed)
    after = result_of(other_values, other, people, removed_rms=removed)
    after["threshold"] = after["threshold"] + 0.02
    return before, after


def counts_of(result, n_draws, seed):
    """How often each person is drawn, by name."""
    names = sorted({*result["probe_subject"].values, *result["reference_subject"].values})
    counts = np.random.default_rng(seed).multinomial(
        len(names), [1 / len(names)] * len(names), size=n_draws
    )
    return [dict(zip(names, one, strict=True)) for one in counts]


def weights_of(result, drawn):
    """Weight of each pair in a draw, by its definition."""
    ends = zip(result["probe_subject"].values, result["reference_subject"].values, strict=True)
    return np.array([drawn[a] if a == b else drawn[a] * drawn[b] for a, b in ends])


def eer_of(scores, genuine, weights):
    """Equal error rate by scikit-learn's curve, between whose points rates are interpolated."""
    used = weights > 0
    fpr, tpr, _ = roc_curve(
        genuine[used], scores[used], sample_weight=weights[used], drop_intermediate=False
    )
    gap = 1 - tpr - fpr
    k = int(np.argmax(gap <= 0))
    share = gap[k - 1] / (gap[k - 1] - gap[k])
    return fpr[k - 1] + share * (fpr[k] - fpr[k - 1])


@pytest.mark.parametrize("kind", ["directed", "absolute", "per_contrast"])
def test_differences_of_profiles_are_means_over_the_pairs_of_both(two, kind):
    n_draws = 40
    before, after = two
    compared = fl.compare([before, after], names=["before", "after"], n_draws=n_draws, seed=4)

    def quantity(result):
        values = result["influence"].values[0, :, 0]
        if kind == "absolute":
            return np.abs(values)
        if kind == "per_contrast":
            removed = result["removed_rms"].values[0, :, 0]
            return np.where(removed >= 0.5, values / np.where(removed > 0, removed, 1), np.nan)
        return values

    change = quantity(after) - quantity(before)
    genuine = before["genuine"].values
    for comparison, band in itertools.product(("genuine", "impostor"), range(3)):
        here = (genuine == (comparison == "genuine")) & np.isfinite(change[:, band])
        values = change[here, band]
        drawn = [
            np.average(values, weights=weights_of(before, one)[here])
            for one in counts_of(before, n_draws, 4)
            if weights_of(before, one)[here].sum()
        ]
        expected = [values.mean(), *np.quantile(drawn, [0.025, 0.975])]
        found = compared[f"{kind}_difference"].sel(run="after · m", comparison=comparison)
        if comparison == "genuine":
            np.testing.assert_allclose(found.values[band], expected, rtol=1e-6)
        else:  # products of weights make the intervals of impostor means too wide
            value, lower, upper = found.values[band]
            assert value == pytest.approx(expected[0])
            assert expected[1] < lower < value < upper < expected[2]
    both = np.isfinite(before["similarity"].values[0] + after["similarity"].values[0])
    counts = compared["n_pairs_compared"].sel(run="after · m")
    assert counts.values.tolist() == [(both & genuine).sum(), (both & ~genuine).sum()]


def test_differences_of_errors_are_paired_and_at_own_thresholds(two):
    n_draws = 50
    before, after = two
    compared = fl.compare([before, after], names=["before", "after"], n_draws=n_draws, seed=2)
    scores = [one["similarity"].values[0].astype(np.float32) for one in (before, after)]
    both = np.isfinite(scores[0] + scores[1])
    genuine = before["genuine"].values
    limits = [one["threshold"].values[0] for one in (before, after)]
    draws = [np.ones(len(both)), *(weights_of(before, d) for d in counts_of(before, n_draws, 2))]
    eer, fnmr = [], []
    for weights in draws:
        of_genuine = both & genuine
        if not weights[of_genuine].sum() or not weights[both & ~genuine].sum():
            continue
        one, other = (eer_of(s[both], genuine[both], weights[both]) for s in scores)
        eer.append(other - one)
        one, other = (
            [np.average(s[of_genuine] < t, weights=weights[of_genuine]) for t in edges]
            for s, edges in zip(scores, limits, strict=True)
        )
        fnmr.append(np.subtract(other, one))
    after_run = compared.sel(run="after · m")
    expected = [eer[0], *np.quantile(eer[1:], [0.025, 0.975])]
    np.testing.assert_allclose(after_run["eer_difference"], expected, atol=1e-9)
    bounds = np.quantile(fnmr[1:], [0.025, 0.975], axis=0)
    expected = np.stack([fnmr[0], *bounds], axis=1)
    np.testing.assert_allclose(after_run["false_non_match_rate_difference"], expected, atol=1e-9)


def test_the_equal_error_rate_of_every_draw_is_that_of_scikit_learn(two):
    before, _ = two
    similarity, codes = before["similarity"].values[0], subject_codes(before)
    comparisons = comparisons_of_pairs(similarity, codes)
    draws = draw_subjects(int(codes.max()) + 1, 60, 3)
    found = eer_of_draws(comparisons, draws)
    used = np.isfinite(similarity)
    genuine = before["genuine"].values[used]
    for drawn, rate in zip(counts_of(before, 60, 3), found, strict=True):
        weights = weights_of(before, drawn)[used]
        if weights[genuine].sum() and weights[~genuine].sum():
            scores = similarity[used].astype(np.float32)
            assert rate == pytest.approx(eer_of(scores, genuine, weights), abs=1e-9)
        else:
            assert np.isnan(rate)


def test_identical_runs_differ_by_exactly_zero(two):
    before, _ = two
    again = before.isel(pair=np.random.default_rng(0).permutation(before.sizes["pair"]))
    compared = fl.compare([before, again], names=["before", "again"], n_draws=30)
    run = compared.sel(run="again · m")
    for kind in ("directed", "absolute", "per_contrast"):
        assert (run[f"{kind}_difference"] == 0).all()
    assert (run["eer_difference"] == 0).all()
    assert (run["false_non_match_rate_difference"].sel(fmr=1e-2) == 0).all()
    assert run["largest_change"] == 0
    assert fl.results.comparison_summary(compared, fmr=1e-2)[0] == (
        "again · m compared with before · m: every similarity and every influence is identical."
    )
    first = compared.sel(run="before · m")
    assert first["eer_difference"].isnull().all()
    assert first["directed_difference"].isnull().all()


def planted(n_people, *, shift, similarity_shift=0.0, n_bands=6, seed=0):
    """A run, and one in which band 2 has another influence on genuine pairs."""
    rng = np.random.default_rng(seed)
    people = people_of(n_people, 3, 10 * n_people, seed)
    genuine = people[0] == people[1]
    similarity = rng.normal(np.where(genuine, 0.5, 0.1), 0.12)
    values = rng.normal(0, 0.02, (len(genuine), n_bands))
    other = values + rng.normal(0, 0.002, values.shape)
    other[genuine, 2] += shift
    moved = similarity - similarity_shift * genuine
    return [result_of(values, similarity, people), result_of(other, moved, people)]


def test_a_planted_difference_is_found_where_it_was_planted():
    results = planted(30, shift=0.05, similarity_shift=0.25)
    compared = fl.compare(results, names=["before", "after"], n_draws=300)
    change = compared["directed_difference"].sel(run="after · m", comparison="genuine")
    assert change.sel(estimate="lower").values.argmax() == 2
    assert change.isel(band=2).sel(estimate="value") == pytest.approx(0.05, abs=0.002)
    said = fl.results.comparison_summary(compared, fmr=1e-1)
    assert said[0].startswith("after · m compared with before · m, probe masked: for genuine pairs")
    assert "of the band 8 to 12\u00a0cycles/image (+0.05" in said[0]
    assert said[1].startswith("For impostor pairs, ")
    assert any(s.startswith("The EER rises to ") for s in said)
    assert any(s.startswith("The FNMR at FMR\u00a01e-1 rises to ") for s in said)


def test_without_a_difference_the_sentences_name_none():
    people = people_of(25, 3, 200)
    rng = np.random.default_rng(3)
    genuine = people[0] == people[1]
    similarity = rng.normal(np.where(genuine, 0.45, 0.15), 0.15)
    values = rng.normal(size=(len(genuine), 3))
    other = similarity + rng.normal(0, 1e-3, len(genuine))
    runs = [result_of(v, s, people) for v, s in ((values, similarity), (values, other))]
    said = " ".join(fl.results.comparison_summary(fl.compare(runs, n_draws=200), fmr=1e-1))
    assert "For impostor pairs, the changes in mean influence are compatible with zero" in said
    assert "of 3 bands excludes zero (about 0.1 would without any difference)" not in said
    assert "rises" not in said
    assert "falls" not in said
    assert said.count("is compatible with zero.") == 2


def test_few_people_are_not_compared_in_words():
    compared = fl.compare(planted(12, shift=0.5, similarity_shift=0.3), n_draws=50)
    said = fl.results.comparison_summary(compared, fmr=1e-1)
    assert said[0].endswith("probe masked: genuine pairs: 12 people, too few to compare.")
    assert said[2:4] == [
        "EER: 12 people, too few to compare.",
        "FNMR at FMR\u00a01e-1: 12 people, too few to compare.",
    ]


def test_intervals_of_profile_differences_cover_the_truth():
    """Differences with an effect of the person and one of the pair; their mean is known."""
    covered = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        people = people_of(40, 2, 2, seed)
        n = len(people[0])
        own = rng.normal(0, 0.05, (40, 60))
        values = rng.normal(size=(n, 60))
        other = values + 0.1 + own[people[0]] + rng.normal(0, 0.05, (n, 60))
        similarity = rng.normal(size=n)
        compared = fl.compare(
            [result_of(v, similarity, people) for v in (values, other)], n_draws=200, seed=seed
        )
        change = compared["directed_difference"].isel(run=1).sel(comparison="genuine")
        covered.append(
            (change.sel(estimate="lower") <= 0.1) & (change.sel(estimate="upper") >= 0.1)
        )
    assert 0.88 <= np.mean(covered) <= 0.98


@pytest.mark.slow
@pytest.mark.exhaustive
def test_intervals_of_error_differences_cover_the_truth():
    """Normal scores of equal variance: the EER is Phi(-distance / 2), FNMR is Phi as well."""
    covered, fnmr_covered = [], []
    truth = stats.norm.cdf(-1.0 / 0.5 / 2) - stats.norm.cdf(-0.8 / 0.5 / 2)
    fnmr_truth = stats.norm.cdf(0.5, 1.0, 0.5) - stats.norm.cdf(0.5, 0.8, 0.5)
    for seed in range(100):
        rng = np.random.default_rng(seed)
        people = people_of(50, 3, 250, seed)
        genuine = people[0] == people[1]
        own, pair = rng.normal(0, 0.2, 50), rng.normal(0, 0.3, len(genuine))
        noise = [rng.normal(0, np.sqrt(0.25 - 0.04 - 0.09), len(genuine)) for _ in range(2)]
        shared = own[people[0]] + pair  # the same people and pairs in both runs
        runs = []
        for mean, own_noise in zip((0.8, 1.0), noise, strict=True):
            scores = mean * genuine + shared + own_noise
            values = np.zeros((len(genuine), 1))
            runs.append(result_of(values, scores, people, thresholds={1e-1: 0.5}))
        compared = fl.compare(runs, n_draws=200, seed=seed).isel(run=1)
        for name, true, into in (
            ("eer_difference", truth, covered),
            ("false_non_match_rate_difference", fnmr_truth, fnmr_covered),
        ):
            change = compared[name].squeeze()
            low, high = (float(change.sel(estimate=e)) for e in ("lower", "upper"))
            into.append(low <= true <= high)
    assert 0.90 <= np.mean(covered) <= 1
    assert 0.87 <= np.mean(fnmr_covered) <= 0.99


def test_models_within_one_result_are_runs(two):
    before, after = two
    together = fl.concat([before, after], dim="run", names=["old", "new"])
    together.attrs["face_set"] = "mine"
    compared = fl.compare(together, n_draws=10)
    assert compared["run"].values.tolist() == ["mine · old · m", "mine · new · m"]
    assert compared["baseline"].values.tolist() == ["", "mine · old · m"]
    apart = fl.compare([before, after], n_draws=10)
    np.testing.assert_array_equal(apart["eer_difference"], compared["eer_difference"])
    both = fl.compare([together, together.copy()], names=["one", "two"], n_draws=10)
    assert both["baseline"].values.tolist() == [
        *("", "one · old · m", "one · old · m", "one · new · m")
    ]


def test_other_pairs_people_bands_and_rates_are_refused(two):
    before, after = two
    with pytest.raises(
        ParameterError, match=r"'after · m' lacks 2 of them, such as \('probe0', .* paired=False"
    ):
        fl.compare([before, after.isel(pair=slice(2, None))], names=["before", "after"])
    with pytest.raises(ParameterError, match=r"'before · m' lacks 1 of them"):
        fl.compare([before.isel(pair=slice(1, None)), after], names=["before", "after"])
    renamed = after.assign_coords(probe_subject=("pair", after["probe_subject"].values + "x"))
    with pytest.raises(ParameterError, match="probe_subject of 64 pairs of .* differs"):
        fl.compare([before, renamed], names=["before", "after"])
    with pytest.raises(ParameterError, match=r"'after' \(1e-1\) differ .* \(1e-1, 1e-2\)"):
        fl.compare([before, after.isel(fmr=[0])], names=["before", "after"])
    wider = after.assign_coords(band_bounds=after["band_bounds"] * 2)
    with pytest.raises(ParameterError, match="the bands of result 'after' differ"):
        fl.compare([before, wider], names=["before", "after"])
    with pytest.raises(ParameterError, match="names='ab': 1 names for 2 results"):
        fl.compare([before, after], names="ab")
    with pytest.raises(ParameterError, match="results: a str is not a result"):
        fl.compare("runs/orl.zarr")
    with pytest.raises(UnknownNameError, match="side='both' was not computed"):
        fl.compare([before, after], side="both")


def test_a_comparison_without_differences_has_none_to_tell(two):
    apart = fl.compare(list(two), paired=False, n_draws=10)
    assert "directed_difference" not in apart
    for told in (fl.results.comparison_summary, fl.plots.difference_plot):
        with pytest.raises(ParameterError, match="paired=True"):
            told(apart)
    alone = fl.compare(two[0], n_draws=10)
    with pytest.raises(ParameterError, match="a single run"):
        fl.results.comparison_summary(alone, fmr=1e-1)
    with pytest.raises(UnknownNameError, match="run 'me'"):
        fl.results.comparison_summary(fl.compare(list(two), n_draws=10), run="me", fmr=1e-1)


def test_the_figure_marks_the_bands_whose_interval_excludes_zero():
    compared = fl.compare(planted(30, shift=0.05), names=["before", "after"], n_draws=100)
    ax = fl.plots.difference_plot(compared)
    change = compared["directed_difference"].sel(run="after · m", comparison="genuine")
    lower, upper = (change.sel(estimate=e).values for e in ("lower", "upper"))
    marked = (lower > 0) | (upper < 0)
    assert marked[2]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), change.sel(estimate="value"))
    np.testing.assert_allclose(ax.lines[1].get_ydata(), change.sel(estimate="value").values[marked])
    label = ax.get_legend().get_texts()[0].get_text()
    assert label == "after · m minus before · m\n(90 pairs, 30 people)"
    few = fl.compare(planted(12, shift=0.05), n_draws=50)
    ax = fl.plots.difference_plot(few)
    assert "too few to compare" in ax.get_legend().get_texts()[0].get_text()
    assert len(ax.lines) == 2  # the values and the line at zero
