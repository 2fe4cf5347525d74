"""Error versus discard characteristic against brute force and planted qualities."""

import numpy as np
import pandas as pd
import pytest

from freqlab import testing
from freqlab.errors import ParameterError
from freqlab.improve.discarding import RANDOM, discard_table, error_discard
from freqlab.statistics.error_rates import threshold_at_fmr


def compared(n_people=30, per_person=6, n_impostor=2000, seed=0):
    """A result of which bad samples lower the genuine similarity, and the quality of its faces."""
    rng = np.random.default_rng(seed)
    n_faces = n_people * per_person
    quality = rng.uniform(size=n_faces)
    person = np.repeat(np.arange(n_people), per_person)
    pairs = [
        (i, j)
        for start in range(0, n_faces, per_person)
        for i in range(start, start + per_person)
        for j in range(i + 1, start + per_person)
    ]
    n_genuine = len(pairs)
    while len(pairs) < n_genuine + n_impostor:
        i, j = rng.integers(0, n_faces, 2)
        if person[i] != person[j]:
            pairs.append((i, j))
    first, second = np.array(pairs).T
    genuine = person[first] == person[second]
    worst = np.minimum(quality[first], quality[second])
    score = np.where(genuine, 0.2 + 0.6 * worst, 0.0) + rng.normal(0, 0.15, len(pairs))
    names = np.array([f"f{i}" for i in range(n_faces)], object)
    people = np.array([f"p{i}" for i in person], object)
    result = testing.result(
        np.zeros((1, len(pairs), 1, 2)),
        probe_subject=people[first],
        reference_subject=people[second],
        similarity=score,
        columns={"probe": names[first], "reference": names[second]},
    )
    noise = rng.uniform(size=n_faces)
    table = pd.DataFrame({"planted": quality, "noise": noise}, index=pd.Index(names, name="face"))
    return result, table


def brute_force(result, quality, share, *, fmr, renewed):
    """FNMR of the genuine pairs of the faces that are not among the worst share."""
    kept = quality.sort_values(kind="stable").index[int(np.ceil(share * len(quality) - 1e-9)) :]
    probes, references = result["probe"].to_numpy(), result["reference"].to_numpy()
    remains = np.isin(probes, kept) & np.isin(references, kept)
    score, genuine = result["similarity"].to_numpy()[0], result["genuine"].to_numpy()
    chosen = remains if renewed else np.ones_like(remains)
    edge = threshold_at_fmr(score[~genuine & chosen], fmr)
    return (score[genuine & remains] < edge).mean()


def test_the_characteristic_against_brute_force():
    result, quality = compared()
    found = error_discard(result, quality, fmr=2e-2, n_draws=20)
    rates = found["false_non_match_rate"].sel(estimate="value")
    for measure in ("planted", "noise"):
        for k in (0, 4, 9, 16):
            share = float(found["discarded"][k])
            for protocol in ("fixed", "renewed"):
                expected = brute_force(
                    result, quality[measure], share, fmr=2e-2, renewed=protocol == "renewed"
                )
                at = rates.sel(measure=measure, protocol=protocol).isel(discarded=k)
                if share == 0 or protocol == "fixed" or np.isfinite(float(at)):
                    assert float(at) == pytest.approx(expected, nan_ok=True)


def test_a_planted_quality_is_better_than_chance_and_noise_is_not():
    result, quality = compared()
    found = error_discard(result, quality, fmr=2e-2, n_draws=200)
    fixed = found.sel(protocol="fixed")
    assert (
        fixed["verdict"].sel(measure=[RANDOM, "noise"], up_to=0.2).values.tolist() == ["gain"] * 2
    )
    other = error_discard(result, quality, measure="noise", fmr=2e-2, n_draws=200)
    verdict = other["verdict"].sel(protocol="fixed", up_to=0.2)
    assert verdict.sel(measure=RANDOM).item() == "no gain"
    assert verdict.sel(measure="planted").item() == "loss"
    table = discard_table(found)
    assert list(table.index) == ["planted", "noise", "random"]
    assert table.loc["noise", "verdict on planted"] == "gain"


def test_the_area_is_the_trapezoid_below_the_characteristic():
    result, quality = compared()
    found = error_discard(result, quality, fmr=2e-2, n_draws=10).sel(protocol="fixed")
    rates = found["false_non_match_rate"].sel(measure="planted", estimate="value")
    for end in (0.2, 0.5):
        part = rates.where(rates["discarded"] <= end + 1e-9, drop=True)
        expected = float(part.integrate("discarded")) / end
        area = found["area"].sel(measure="planted", up_to=end, estimate="value")
        assert float(area) == pytest.approx(expected)
    flat = found["false_non_match_rate"].sel(measure=RANDOM, estimate="value")
    assert np.ptp(flat.to_numpy()) == 0
    assert float(flat[0]) == float(rates[0])


def test_only_probes_are_discarded_if_told_so():
    result, quality = compared()
    found = error_discard(result, quality, side="probe", fmr=2e-2, n_draws=5)
    assert int(found["n_samples"]) == len(np.unique(result["probe"].to_numpy()))
    value = found["false_non_match_rate"].sel(measure="planted", protocol="fixed", estimate="value")
    probes = np.unique(result["probe"].to_numpy())
    part = quality["planted"].loc[probes]
    kept = part.sort_values().index[int(0.5 * len(part)) :]
    remains = np.isin(result["probe"].to_numpy(), kept) & result["genuine"].to_numpy()
    score = result["similarity"].to_numpy()[0]
    edge = float(found["threshold"])
    assert float(value[-1]) == pytest.approx((score[remains] < edge).mean(), abs=0.005)


def test_a_face_without_a_quality_is_discarded_first():
    result, quality = compared()
    worst = quality["planted"].idxmax()
    missing = quality.copy()
    missing.loc[worst, "planted"] = np.nan
    lowest = quality.copy()
    lowest.loc[worst, "planted"] = -1.0
    found = [error_discard(result, one, fmr=2e-2, n_draws=5) for one in (missing, lowest)]
    dropped = error_discard(result, quality.drop(index=worst), fmr=2e-2, n_draws=5)
    for other in (found[1], dropped):
        one, two = (d["false_non_match_rate"].sel(measure="planted") for d in (found[0], other))
        np.testing.assert_array_equal(one.to_numpy(), two.to_numpy())


def test_few_errors_have_no_verdict():
    result, quality = compared()
    result["similarity"] = result["similarity"] + 2 * result["genuine"]
    found = error_discard(result, quality, fmr=2e-2, n_draws=20)
    verdict = found["verdict"].sel(measure=RANDOM, protocol="fixed", up_to=0.2).item()
    assert verdict == f"too few errors ({int(found['n_errors'])})"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"side": "left"}, "unknown side 'left'"),
        ({"fmr": 1e-3}, "fmr=0.001 requires 10,000 impostor pairs, and the result has 2,000"),
        ({"fmr": 0}, "fmr"),
        ({"measure": "plnted"}, "unknown measure 'plnted'.*planted"),
        ({"model": "x"}, "unknown model 'x'"),
        ({"n_draws": 0}, "n_draws=0"),
    ],
)
def test_bad_input(options, message):
    result, quality = compared()
    with pytest.raises(ParameterError, match=message):
        error_discard(result, quality, **options)


def test_bad_qualities_and_pairs():
    result, quality = compared()
    for bad, message in (
        (quality.assign(planted=1.0), r"quality\['planted'\] is 1 for all 180 samples; a constant"),
        (quality.assign(planted=np.nan), r"quality\['planted'\] is NaN for all 180 samples"),
        (quality.set_axis([f"x{i}" for i in range(180)]), "no face of the pairs has a row"),
        (pd.concat([quality, quality[:1]]), "a face has two rows"),
    ):
        with pytest.raises(ParameterError, match=message):
            error_discard(result, bad, fmr=2e-2)
    genuine = result.isel(pair=result["genuine"].to_numpy())
    with pytest.raises(ParameterError, match="there are no impostor pairs"):
        error_discard(genuine, quality)
    blank = result.assign(similarity=result["similarity"] * np.nan)
    with pytest.raises(ParameterError, match=r"no genuine pairs .*2,450 of 2,450 are NaN"):
        error_discard(blank, quality)
