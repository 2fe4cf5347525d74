"""Sets of morphs and their pairs."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import freqlab as fl
from freqlab.errors import PairError, ParameterError, UnknownNameError


@pytest.fixture(scope="module")
def people(orl):
    """Three photographs each of four people."""
    return orl.select([10 * s + i for s in (0, 1, 3, 9) for i in (0, 1, 2)])


@pytest.fixture(scope="module")
def mixed(people, tmp_path_factory):
    folder = tmp_path_factory.mktemp("morphs")
    couples = pd.DataFrame({"a": ["s1/1", "s4/1"], "b": ["s2/1", "s10/1"]})
    made = fl.morphing.make_faces(people, couples, folder=folder, progress=False)
    mirrors = pd.DataFrame({"a": ["s1/1", "s2/1"], "b": [None, "s2/2"]})
    return fl.morphing.make_faces(made, mirrors, folder=folder, tool="self", progress=False), folder


def test_everyone_is_mixed_with_one_other_of_like_kind(orl):
    couples = fl.morphing.couples(orl, same=["gender"], seed=0)
    assert len(couples) == 40
    assert couples["a"].is_unique
    assert couples["b"].is_unique
    gender = orl.table["gender"]
    assert (gender[couples["a"]].to_numpy() == gender[couples["b"]].to_numpy()).all()
    subject = orl.table["subject"]
    assert (subject[couples["a"]].to_numpy() != subject[couples["b"]].to_numpy()).all()
    assert couples.equals(fl.morphing.couples(orl, same=["gender"], seed=0))
    assert len(fl.morphing.couples(orl, n=7)) == 7


def test_morphs_are_faces_that_name_their_contributors(mixed):
    faces, folder = mixed
    row = faces.table.loc["s1/1+s2/1@alpha0.5"]
    assert (row["subject"], row["contributor_a"], row["contributor_b"]) == ("s1+s2", "s1", "s2")
    assert row["morph"]
    assert faces.table.loc["s1/1+mirror@self", "subject"] == "s1"
    assert not faces.table.loc["s1/1", "morph"]
    assert len(list(folder.glob("*.png"))) == 4
    position = faces.names.index("s1/1+s2/1@alpha0.5")
    expected = fl.morphing.morph(*(faces.image(faces.names.index(n)) for n in ("s1/1", "s2/1")))
    assert np.abs(faces.image(position).astype(float) - expected).max() <= 1
    assert np.isnan(faces.landmarks[position]).all()


def test_files_are_kept_only_if_they_were_made_alike(people, tmp_path):
    couples = pd.DataFrame({"a": ["s1/1"], "b": ["s2/1"]})
    options = {"folder": tmp_path, "tool": "t", "progress": False}
    fl.morphing.make_faces(people, couples, alpha=0.5, **options)
    path = next(tmp_path.glob("*.png"))
    first, when = path.read_bytes(), path.stat().st_mtime_ns
    fl.morphing.make_faces(people, couples, alpha=0.5, **options)
    assert path.stat().st_mtime_ns == when
    fl.morphing.make_faces(people, couples, alpha=0.3, **options)
    assert path.read_bytes() != first
    assert not list(tmp_path.glob("*.partial*"))
    Image.open(path).verify()


def test_faces_in_memory_give_morphs_in_memory(people, tmp_path):
    some = [0, 3]
    table = people.table.iloc[some].drop(columns="path")
    faces = fl.Faces(table, images=[people.image(i) for i in some])
    couples = pd.DataFrame({"a": ["s1/1"], "b": ["s2/1"]})
    options = {"alpha": 0.0, "texture": 0.5, "progress": False}
    made = fl.morphing.make_faces(faces, couples, **options)
    assert made.names[-1] == "s1/1+s2/1@alpha0-texture0.5"
    assert made.images[-1].shape == made.images[0].shape
    again = fl.morphing.make_faces(faces, couples, folder=tmp_path, **options)
    np.testing.assert_array_equal(again.images[-1], made.images[-1])
    assert not list(tmp_path.iterdir())


def test_pairs_are_bona_fide_control_and_attack(mixed):
    faces, _ = mixed
    pairs = fl.morphing.make_pairs(faces)
    counts = pairs["attack"].value_counts().to_dict()
    # two live photographs of each of four people; each morph meets those of both contributors
    assert counts == {"bona fide": 8, "alpha0.5": 8, "control": 4}
    attacks = pairs[pairs["attack"] == "alpha0.5"]
    assert not attacks["genuine"].any()
    subject = faces.table["subject"]
    for _, row in attacks.iterrows():
        assert subject[row["probe"]] in (row["contributor_a"], row["contributor_b"])
    assert pairs[pairs["attack"] == "control"]["genuine"].all()
    first = pairs[pairs["attack"] == "bona fide"].iloc[0]
    assert (first["reference"], first["probe"]) == ("s1/1", "s1/2")


def test_known_morphs_pair_with_their_contributors(assets):
    faces = fl.load_faces("frll", root=assets / "frll", aligned="arcface")
    documents = [name for name in faces.names if name.startswith("neutral")]
    live = [name for name in faces.names if name.startswith("smiling")]
    pairs = fl.morphing.make_pairs(faces, documents=documents, live=live)
    assert (pairs["attack"] == "bona fide").sum() == 50
    assert (pairs["attack"] != "bona fide").sum() == 2 * 62


def test_what_is_not_allowed_is_told(mixed, people):
    faces, folder = mixed
    couples = pd.DataFrame({"a": ["s1/1"], "b": ["s99/1"]})
    with pytest.raises(ParameterError, match="'s99/1' is not a face"):
        fl.morphing.make_faces(people, couples, folder=folder, progress=False)
    with pytest.raises(ParameterError, match="need a folder"):
        fl.morphing.make_faces(people, couples, progress=False)
    with pytest.raises(ParameterError, match="columns 'a' and 'b'"):
        fl.morphing.make_faces(people, couples[["a"]], folder=folder, progress=False)
    again = pd.DataFrame({"a": ["s1/1"], "b": ["s2/1"]})
    with pytest.raises(ParameterError, match="already"):
        fl.morphing.make_faces(faces, again, folder=folder, progress=False)
    with pytest.raises(ParameterError, match="fl.morphing.make_faces adds them"):
        fl.morphing.make_pairs(people)
    with pytest.raises(PairError, match="no live photograph of 's1"):
        fl.morphing.make_pairs(faces, live=["s4/2", "s4/3"])
    with pytest.raises(ParameterError, match="documents and the live"):
        fl.morphing.make_pairs(faces, documents=["s1/1"], live=["s1/1"])
    with pytest.raises(PairError, match="no bona fide pair"):
        fl.morphing.make_pairs(faces, documents=[])
    whole = faces.select([i for i, m in enumerate(faces.table["tool"]) if m != "alpha0.5"])
    with pytest.raises(PairError, match="no attack pair"):
        fl.morphing.make_pairs(whole)
    with pytest.raises(ParameterError, match="unknown same"):
        fl.morphing.couples(people, same=["size"])
    one = people.select([0, 1])
    with pytest.raises(ParameterError, match="no two people"):
        fl.morphing.couples(one)


def test_documents_and_live_photographs_are_chosen(mixed, orl):
    faces, _ = mixed
    documents, live = fl.morphing.choose_documents(faces)
    assert documents == ["s1/1", "s2/1", "s4/1", "s10/1"]
    assert live == [f"{s}/{i}" for s in ("s1", "s2", "s4", "s10") for i in (2, 3)]
    assert fl.morphing.choose_documents(faces, n_live=1)[1] == ["s1/2", "s2/2", "s4/2", "s10/2"]
    documents, live = fl.morphing.choose_documents(
        faces, document="subject=s4", live="subject=s4", n_live=2
    )
    assert documents == ["s4/1", "s4/2", "s4/3"]
    assert live == ["s4/1", "s4/2"]
    documents, live = fl.morphing.choose_documents(faces, document="subject=s4")
    assert len(live) == 9
    with pytest.raises(ParameterError, match="document='neutral' must be a column and its value"):
        fl.morphing.choose_documents(faces, document="neutral")
    with pytest.raises(ParameterError, match="live='subject=s3': no photograph .* values s1, s10"):
        fl.morphing.choose_documents(faces, live="subject=s3")
    with pytest.raises(UnknownNameError, match="unknown column of live 'posture'"):
        fl.morphing.choose_documents(faces, live="posture=front")
    with pytest.raises(ParameterError, match="n_live"):
        fl.morphing.choose_documents(faces, n_live=0)


def test_shares_are_read_from_text():
    assert fl.morphing.shares("0.5") == (0.5, 0.5)
    assert fl.morphing.shares(0.3) == (0.3, 0.3)
    assert fl.morphing.shares("0:0.5") == (0.0, 0.5)
    for wrong in ("half", "1.5", "-0.1", "0.5:2", ":0.5", "nan"):
        with pytest.raises(ParameterError, match="must be a share from 0 to 1"):
            fl.morphing.shares(wrong)
