"""Arguments of the morphing study, which are checked before anything is computed."""

import pytest

import freqlab as fl
from freqlab.errors import PairError, ParameterError
from freqlab.morphing import making


@pytest.fixture(scope="module")
def faces():
    return fl.testing.morphed_faces(6, 3)


def refused(faces, monkeypatch, tmp_path, pairs=None, **options):
    monkeypatch.setattr(making, "study_of", None)
    store = tmp_path / "run.zarr"
    with pytest.raises(ParameterError) as raised:
        fl.morphing.study(faces, pairs, models=["mobilefacenet"], store=store, **options)
    assert not store.exists()
    return raised.value


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("document", "first", "document='first' must be a column and its value"),
        ("document", "subjects=p0", "unknown column of document 'subjects'; allowed: subject"),
        ("live", "subject=nobody", "live='subject=nobody': no photograph has this value"),
        ("n_live", 0, "n_live=0 must be"),
        ("n_couples", 0, "n_couples=0 must be"),
        ("morphs", "0.5", "morphs='0.5' must be a list"),
        ("morphs", ["0.5", "half"], "morphs: 'half' must be a share from 0 to 1"),
        ("morphs", ["0:1.5"], "morphs: '0:1.5' must be a share from 0 to 1"),
        ("same", "gender", "same='gender' must be a list"),
        ("same", ["gendr"], "unknown same 'gendr'; allowed: subject"),
        ("same", ["subject"], "no two people of"),
        ("threshold", [0.3, 0.4], "must be 1 thresholds, one for each model"),
        ("threshold", float("nan"), "threshold=nan must be a number"),
        ("fmr", 1.0, "fmr=1.0"),
        ("folds", 2, "folds=2 must be a whole number of 3 or more"),
        ("n_draws", 0, "n_draws=0 must be"),
        ("seed", -1, "seed=-1 must be"),
        ("bands", "rings", "rings"),
    ],
)
def test_arguments_are_checked_first(argument, value, message, faces, monkeypatch, tmp_path):
    error = refused(faces, monkeypatch, tmp_path, **{argument: value})
    assert message in str(error)


def test_documents_are_not_live(faces, monkeypatch, tmp_path):
    chosen = f"subject={faces.subjects[0]}"
    error = refused(faces, monkeypatch, tmp_path, document=chosen, live=chosen)
    assert "both select" in str(error)


def test_a_photograph_is_live(monkeypatch, tmp_path):
    faces = fl.testing.morphed_faces(6, 3)
    rows = [i for i, name in enumerate(faces.names) if name in first_of_each(faces)]
    error = refused(faces.select(rows), monkeypatch, tmp_path)
    assert "no photograph" in str(error)


def first_of_each(faces):
    documents, _ = fl.morphing.choose_documents(faces)
    return set(documents)


def test_columns_of_a_labelled_set_are_checked_first(faces, monkeypatch, tmp_path):
    error = refused(faces, monkeypatch, tmp_path, labelled=faces, label="lable")
    assert "unknown label 'lable'" in str(error)


def test_pairs_need_their_columns_and_both_kinds(faces, monkeypatch, tmp_path):
    pairs = fl.morphing.make_pairs(faces)
    error = refused(faces, monkeypatch, tmp_path, pairs.drop(columns=["attack"]))
    assert isinstance(error, PairError)
    assert "pairs lack the columns attack" in str(error)
    bona_fide = pairs["attack"] == "bona fide"
    error = refused(faces, monkeypatch, tmp_path, pairs[~bona_fide])
    assert "no bona fide pair" in str(error)
    error = refused(faces, monkeypatch, tmp_path, pairs[bona_fide])
    assert "no attack pair" in str(error)


def test_a_set_without_gender_can_be_studied(faces, monkeypatch, tmp_path):
    called = []
    monkeypatch.setattr(making, "study_of", lambda *args, **options: called.append(options))
    fl.morphing.study(faces, models=["mobilefacenet"], store=tmp_path / "run.zarr")
    assert called[0]["same"] == ["gender"]
