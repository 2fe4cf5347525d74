"""Identification errors of several scores against brute force, and a planted quality."""

import numpy as np
import pandas as pd
import pytest
from conftest import make_faces

import freqlab as fl
from freqlab import testing
from freqlab.bands.parsing import parse_bands
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.improve.fusion import band_scores, flip_scores, mirrored_embeddings
from freqlab.improve.identification import search
from freqlab.improve.matched import matched_scores
from freqlab.improve.search_vectors import enrolment_of, searches_by_score
from freqlab.improve.searches import search_discard, search_gain_table, search_gains

BANDS = parse_bands("rings:28")


def embedded(n_people=40, per_person=5, *, noise=1.0, seed=0):
    """Vectors of people: one enrolled photograph each, and the others as probes."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(n_people, 12))
    people = np.repeat(np.arange(n_people), per_person)
    probes = centre[people] + noise * rng.normal(size=(len(people), 12))
    gallery = centre + 0.3 * rng.normal(size=centre.shape)
    return probes, gallery, people


def searched(**options):
    probes, gallery, people = embedded(**options)
    return search(probes, gallery, people, np.arange(len(gallery))), people


def brute_force(noise, fpir, seed=0):
    """Errors at rank 1, and FNIR at a threshold, from the whole matrix of scores."""
    probes, gallery, people = embedded(noise=noise, seed=seed)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (probes, gallery)]
    scores = unit[0] @ unit[1].T
    own = scores[np.arange(len(people)), people]
    others = scores.copy()
    others[np.arange(len(people)), people] = -9
    highest = others.max(axis=1)
    edge = next(t for t in np.sort(highest) if (highest >= t).mean() <= fpir)
    return (own <= highest).mean(), ((own <= highest) | (own < edge)).mean()


def test_rates_against_brute_force():
    found = {"one": searched(noise=1.0)[0], "two": searched(noise=0.6)[0]}
    people = searched()[1]
    compared = search_gains(found, people, baseline="one", fpir=0.1, n_draws=50)
    for name, noise in (("one", 1.0), ("two", 0.6)):
        rank_1, fnir = brute_force(noise, 0.1)
        at = compared.sel(score_name=name, estimate="value").isel(fpir=0)
        assert float(at["rank_1_error"]) == pytest.approx(rank_1)
        rate = float(at["false_negative_identification_rate"])
        assert rate == pytest.approx(fnir, abs=1 / len(people))
    assert int(compared["n_mated"]) == int(compared["n_non_mated"]) == len(people)
    assert compared["rank_1_verdict"].values.tolist() == ["", "gain"]
    change = compared["rank_1_difference"].sel(score_name="two")
    assert float(change.sel(estimate="value")) == pytest.approx(
        brute_force(0.6, 0.1)[0] - brute_force(1.0, 0.1)[0]
    )
    table = search_gain_table(compared)
    assert table.loc["one", "verdict"] == table.loc["one", "verdict on FNIR"] == "baseline"
    assert table.loc["two", "verdict"] == "gain"
    assert "FNIR at FPIR 1e-1" in table


def test_the_interval_of_a_difference_is_that_of_resampled_people():
    """Bounds of the rank-1 difference against a bootstrap of our own, person by person."""
    found = {"one": searched(noise=1.0)[0], "two": searched(noise=0.8)[0]}
    people = searched()[1]
    compared = search_gains(found, people, baseline="one", fpir=0.1, n_draws=1000)
    bounds = compared["rank_1_difference"].sel(score_name="two", estimate=["lower", "upper"])
    change = (found["two"].rank > 1).astype(float) - (found["one"].rank > 1)
    of_person = np.array([change[people == p].mean() for p in range(40)])
    rng = np.random.default_rng(5)
    drawn = of_person[rng.integers(0, 40, (4000, 40))].mean(axis=1)
    np.testing.assert_allclose(bounds, np.quantile(drawn, [0.025, 0.975]), atol=0.012)


def test_a_rate_that_is_not_resolved_has_no_verdict():
    found, people = searched()
    compared = search_gains({"one": found, "two": found}, people, baseline="one", fpir=1e-2)
    assert compared["false_negative_identification_rate"].isnull().all()
    reason = "no threshold: 200 of 1,000 searches"
    assert set(compared["verdict"].values.ravel()) == {reason}
    assert list(search_gain_table(compared)) == [
        *("error at rank 1", "errors", "change, points", "verdict")
    ]
    assert compared["rank_1_verdict"].values.tolist() == ["", "no gain"]


def test_a_probe_without_a_score_is_left_out_of_all():
    probes, gallery, people = embedded()
    probes[:3] = np.nan
    found = search(probes, gallery, people, np.arange(40))
    compared = search_gains(
        {"one": found, "two": searched()[0]}, people, baseline="two", fpir=0.1, n_draws=10
    )
    assert int(compared["n_left_out"]) == 3
    assert int(compared["n_mated"]) == len(people) - 3


@pytest.mark.parametrize("fpir", [None, 0.1])
def test_discarding_probes_against_brute_force(fpir):
    """Noise that grows as the planted quality falls: errors fall as probes are discarded."""
    rng = np.random.default_rng(3)
    probes, gallery, people = embedded(noise=0.0)
    quality = rng.uniform(size=len(people))
    probes += 1.8 * (1 - quality)[:, None] * rng.normal(size=probes.shape)
    found = search(probes, gallery, people, np.arange(40))
    table = pd.DataFrame({"planted": quality, "other": rng.uniform(size=len(people))})
    rates = search_discard(found, people, table, fpir=fpir, n_draws=200)
    fixed = rates.sel(protocol="fixed")
    edge = -9.0
    if fpir:
        edge = next(
            t for t in np.sort(found.highest_other) if (found.highest_other >= t).mean() <= fpir
        )
    for k, share in ((0, 0.0), (8, 0.2), (20, 0.5)):
        kept = np.argsort(quality)[int(np.ceil(share * len(people) - 1e-9)) :]
        wrong = (found.rank[kept] > 1) | (found.own[kept] < edge)
        slack = 1.01 / len(kept) if fpir else 1e-9  # a threshold lies between two scores
        at = fixed["false_negative_identification_rate"].sel(measure="planted").isel(discarded=k)
        assert float(at.sel(estimate="value")) == pytest.approx(wrong.mean(), abs=slack)
    verdict = fixed["verdict"].sel(up_to=0.2)
    assert verdict.sel(measure="random").item() == "gain"
    assert verdict.sel(measure="other").item() == "gain"
    assert rates.attrs["fpir"] == (fpir or 1.0)
    written = fl.improve.discard_table(rates)
    error = "FNIR" if fpir else "error at rank 1"
    assert written.columns.tolist()[:2] == [
        *(f"{error} at 20 % discarded", f"mean {error} up to 20 %")
    ]
    at = fixed["false_negative_identification_rate"].sel(measure="planted").isel(discarded=8)
    value = f"{100 * float(at.sel(estimate='value')):.{2 if float(at[0]) < 0.1 else 1}f}"
    assert written.loc["planted"].iloc[0].startswith(value)
    assert list(rates["protocol"].values) == (["fixed", "renewed"] if fpir else ["fixed"])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    store = str(tmp_path_factory.mktemp("searches") / "run.zarr")
    faces = make_faces(n_subjects=8, per_subject=3)
    lower = fl.faces.degrade(faces, resolutions=[28])
    pairs = fl.make_pairs(faces, impostors_per_genuine=float("inf"), seed=0)
    turned = pairs.rename(columns={"probe": "reference", "reference": "probe"})[pairs.columns]
    both = pd.concat([fl.faces.degraded_pairs(one, lower) for one in (pairs, turned)])
    both = both.reset_index(drop=True)
    result = fl.influence(
        lower,
        both[both["resolution"].notna()],
        models=[testing.model()],
        bands=BANDS,
        sides=["probe", "reference"],
        store=store,
        progress=False,
    )
    return result.load(), lower, store


def test_scores_of_searches_are_those_of_pairs(run):
    """Searching by a score finds what comparing all pairs by it finds."""
    result, faces, store = run
    network = testing.model()
    names = [str(n) for n in np.unique(np.concatenate([result["probe"], result["reference"]]))]
    mirrored = mirrored_embeddings(store, network, names)
    enrolled = enrolment_of(faces, result, fl.open_embeddings(store, model="linear"))
    assert enrolled.gallery == [faces.names[3 * person] for person in range(8)]
    assert all("@28" in name for name in enrolled.probes)
    matched = matched_scores(result, network, resolution=28, folds=3, progress=False)
    found, n_passes = searches_by_score(
        *(enrolled, result, network),
        store=store,
        bands=BANDS,
        mirrored=dict(zip(names, mirrored, strict=True)),
        resolution=28,
        progress=False,
    )
    assert n_passes == 0  # the references without these bands are kept
    of_pairs = {
        "similarity": result["similarity"].sel(model="linear").to_numpy(),
        "bands": band_scores(result, folds=3, penalty=0.01)["bands"].to_numpy(),
        "flip": flip_scores(store, mirrored, names, result, model="linear"),
        "alike": matched["alike"].to_numpy(),
        "nyquist": matched["nyquist"].to_numpy(),
    }
    assert set(found) == set(of_pairs)
    ends = [result[end].to_numpy().astype(str) for end in ("probe", "reference")]
    genuine = result["genuine"].to_numpy()
    for name, scores in of_pairs.items():
        for i, probe in enumerate(enrolled.probes):
            there = (ends[0] == probe) & np.isin(ends[1], enrolled.gallery)
            highest = scores[there & ~genuine].max()
            assert found[name].highest_other[i] == pytest.approx(highest, abs=2e-5)
            own = scores[there & genuine]  # none where the own photograph is enrolled
            assert (found[name].rank[i] == 0) == (len(own) == 0)
            if len(own):
                assert found[name].own[i] == pytest.approx(own.max(), abs=2e-5)


def test_bad_input():
    found, people = searched()
    for given, codes, options, message in (
        ({"one": found}, people, {"fpir": 0}, "fpir=0 must be a number above 0"),
        ({"one": found}, people, {"fpir": 1.5}, "fpir=1.5 must be below 1"),
        ({"one": found}, people, {"n_draws": 0}, "n_draws=0"),
        ({"one": found}, people[:5], {}, r"searches\['one'\] has 200 probes, and people has 5"),
    ):
        with pytest.raises(ParameterError, match=message):
            search_gains(given, codes, baseline="one", **options)
    with pytest.raises(UnknownNameError, match="unknown baseline 'on'.*'one'"):
        search_gains({"one": found}, people, baseline="on")
    nobody = found._replace(rank=np.zeros_like(found.rank))
    with pytest.raises(ParameterError, match="none of the 200 probes has a mated search"):
        search_gains({"one": nobody}, people, baseline="one")
    table = pd.DataFrame({"q": np.arange(200.0)})
    with pytest.raises(ParameterError, match="quality has 2 rows for 200 probes"):
        search_discard(found, people, table[:2])
    with pytest.raises(ParameterError, match="fpir=0.001 requires 10,000 non-mated searches"):
        search_discard(found, people, table, fpir=1e-3)
    with pytest.raises(ParameterError, match=r"quality\['q'\] is 1 for all 200 samples"):
        search_discard(found, people, table * 0 + 1, fpir=0.1)
