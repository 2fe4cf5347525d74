"""The study as a whole: its summary, and the trust cards that it saves."""

import numpy as np
import pytest
import zarr
from conftest import Deep, make_faces

import freqlab as fl
from freqlab.errors import ParameterError, StoreError
from freqlab.faithfulness import making
from freqlab.faithfulness.trust_cards import trust_cards_of

PLAIN = "plain"
COMPARING = ("outperforms", "better", "worse", "beats", "contains zero")


def study_of(store):
    models = [
        fl.wrap_model(Deep(), name="deep", version="1"),
        fl.wrap_model(lambda x: x.flatten(1), name=PLAIN, version="1"),
    ]
    return fl.faithfulness.study(
        make_faces(6, 3), models=models, store=store, bands="rings:28", sides=["probe"],
        n_pairs=8, n_sample=4, n_ordered=4, n_random=1, beam=1, most_permutations=4, most_bands=2,
        depths=[0.0, 1.0], contrasts=[8.0], fmr=0.1, n_draws=20, progress=False, device="cpu",
        compile=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("study") / "run.zarr"


@pytest.fixture(scope="module")
def study(store):
    return study_of(store)


def with_people(study, n_people, bounds):
    """A study of so many people, with the same advantage over every baseline."""
    other = study.copy(deep=True)
    errors = other["errors"].to_dataset().assign_attrs(n_people=n_people)
    errors["advantage"][...] = np.array(bounds)
    errors["curve"].loc[{"order": "influence"}] = 0.5
    errors["curve"].loc[{"order": "amplitude"}] = 0.4
    other["errors"] = errors
    other.attrs["n_people"] = n_people
    return other


@pytest.mark.slow
def test_a_summary_of_few_people_compares_nothing(study):
    texts = fl.faithfulness.summary(with_people(study, 19, (0.2, 0.1, 0.3)))
    assert 4 <= len(texts) <= 10  # two more for the second model
    assert "The orders are not compared, because 19 people are tested, fewer than 20." in texts
    assert not any(word in text for text in texts for word in COMPARING)
    assert texts[0].startswith("**deep**, probe masked:")
    assert texts[0].count("+0.200 [+0.100,\u00a0+0.300]") == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bounds", "statement"),
    [
        ((0.2, 0.1, 0.3), "the order of influence outperforms the order of amplitude"),
        ((-0.2, -0.3, -0.1), "the order of amplitude outperforms the order of influence"),
        ((0.2, -0.1, 0.3), "interval of the advantage of influence over amplitude contains zero"),
        ((0.2, np.nan, np.nan), "advantage of influence over amplitude contains zero"),
    ],
)
def test_a_summary_compares_by_the_interval(study, bounds, statement):
    texts = fl.faithfulness.summary(with_people(study, 20, bounds))
    assert 4 <= len(texts) <= 9
    assert not any(". " in text for text in texts)  # one sentence each
    assert statement in texts[0]
    assert ("outperforms" in texts[0]) == ("outperforms" in statement)
    assert texts[0].count(" pairs in ") == 4


def test_a_summary_has_the_numbers_of_the_study(study):
    texts = " ".join(fl.faithfulness.summary(study))
    kept = study["stability"]["correlation"].sel(model="deep").sel(estimate="value")
    assert f"{float(kept.min()):.2f} [" in texts
    assert fl.faithfulness.describe_learned(study) in texts
    assert texts.count("Test of the method") == 1  # with a model rather than without one
    decided = fl.faithfulness.describe_decisions(study, model="deep")
    if "errors_by_decision" in study.children:
        part = study["errors_by_decision"].to_dataset()
        assert decided == fl.faithfulness.describe_decisions(part, model="deep")
    else:
        assert decided.endswith("orders by decision need a threshold, which is not resolved.")
    shuffled = study["checks"]["shuffled"].sel(model=PLAIN, kind="directed").to_numpy()
    value, lower, upper = shuffled
    interval = f"{value:.2f} [{lower:.2f},\u00a0{upper:.2f}] with another partner"
    assert f"{interval} ({PLAIN}; weights not randomised)" in texts


def test_orders_with_equal_error_rates_are_not_compared(study):
    other = with_people(study, 20, (0.2, 0.1, 0.3))
    errors = other["errors"].to_dataset()
    errors["curve"][...] = 0.5
    other["errors"] = errors
    assert "cannot be compared" in fl.faithfulness.summary(other)[0]
    assert "do not differ" in fl.faithfulness.describe_amplitude(errors, model="deep")


def test_cards_are_saved_with_the_study(study, store):
    cards = trust_cards_of(store)
    assert set(cards) == {"deep", PLAIN}
    assert cards["deep"]["created_at"] == study.attrs["created_at"]
    assert cards["deep"]["people"] == study["errors"].attrs["n_people"] > 1


def test_missing_cards_are_saved_when_the_study_is_opened(study, store):
    before = trust_cards_of(store)
    group = zarr.open_group(store, path="trust/deep", mode="r+")
    del group.attrs["card"]
    assert set(trust_cards_of(store)) == {PLAIN}
    assert study_of(store).attrs["was_kept"] == 1
    assert trust_cards_of(store) == before


def test_a_card_that_is_there_stays_when_the_study_is_opened(study, store, monkeypatch):
    monkeypatch.setattr(making, "save_trust_card", None)
    assert study_of(store).attrs["was_kept"] == 1


def test_a_study_is_opened_from_a_run_that_cannot_be_written(study, store, monkeypatch):
    def refuse(store, card):
        raise StoreError("the run is read-only")

    monkeypatch.setattr(making, "save_trust_card", refuse)
    monkeypatch.setattr(making, "trust_cards_of", lambda store: {})
    opened = study_of(store)
    assert opened.attrs["was_kept"] == 1
    opened.attrs["was_kept"] = 0
    with pytest.raises(StoreError, match="read-only"):
        making._save_cards(store, opened)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("sides", "probe", "sides='probe' must be a list"),
        ("sides", [], "sides=[] must have one value or more"),
        ("sides", ["probe", "prob"], "unknown sides 'prob'; allowed: probe, reference, both"),
        ("sides", ["both", "both"], "must not repeat 'both'"),
        ("side", "both", "unknown side 'both'; allowed: probe, reference"),
        ("n_pairs", 1, "n_pairs=1 must be a whole number of 2 or more"),
        ("n_sample", 0, "n_sample=0 must be"),
        ("n_random", 1.5, "n_random=1.5 must be"),
        ("n_ordered", 0, "n_ordered=0 must be"),
        ("beam", 0, "beam=0 must be"),
        ("most_bands", 0, "most_bands=0 must be"),
        ("most_permutations", 5, "most_permutations=5 must be even"),
        ("most_permutations", 2, "most_permutations=2 must be a whole number of 4 or more"),
        ("tolerance", -0.1, "tolerance=-0.1 must be"),
        ("depths", [0.0, 1.5], "depths=1.5 must be shares of the layers from 0 to 1"),
        ("depths", [-0.5], "depths=-0.5 must be"),
        ("contrasts", [8.0, 0.0], "contrasts=0.0 must be a number above 0"),
        ("contrasts", 8.0, "contrasts=8.0 must be a list"),
        ("fmr", 0.0, "fmr=0.0"),
        ("n_draws", 0, "n_draws=0 must be"),
        ("seed", -1, "seed=-1 must be"),
    ],
)
def test_arguments_are_checked_before_anything_is_computed(
    argument, value, message, tmp_path, monkeypatch
):
    monkeypatch.setattr(making, "study_of", None)
    with pytest.raises(ParameterError) as raised:
        fl.faithfulness.study(
            make_faces(6, 3), models=["mobilefacenet"], store=tmp_path / "run.zarr",
            **{argument: value},
        )  # fmt: skip
    assert message in str(raised.value)
    assert not (tmp_path / "run.zarr").exists()
