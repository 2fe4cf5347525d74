import numpy as np
import pandas as pd
import pytest
from conftest import make_faces

import freqlab as fl
from freqlab.errors import PairError, ParameterError
from freqlab.pairs import check_pairs


def test_all_genuine_pairs_and_as_many_impostors(orl):
    pairs = fl.make_pairs(orl)
    assert len(pairs) == 3600
    assert int(pairs["genuine"].sum()) == 40 * 45
    positions = check_pairs(orl, pairs)
    subjects = orl.subjects
    same = subjects[positions[:, 0]] == subjects[positions[:, 1]]
    np.testing.assert_array_equal(same, pairs["genuine"])
    assert (positions[:, 1] < positions[:, 0]).all()
    assert not pairs[["probe", "reference"]].duplicated().any()
    assert pairs["probe"].dtype == "category"


def test_the_seed_decides(orl):
    pd.testing.assert_frame_equal(fl.make_pairs(orl, seed=3), fl.make_pairs(orl, seed=3))
    a, b = (fl.make_pairs(orl, seed=s).loc[1800:] for s in (0, 1))
    assert (a["probe"].to_numpy() != b["probe"].to_numpy()).any()


def test_samples(orl):
    pairs = fl.make_pairs(orl, n_pairs=200)
    assert pairs["genuine"].value_counts().to_dict() == {True: 100, False: 100}
    check_pairs(orl, pairs)
    uneven = fl.make_pairs(orl, n_pairs=40, impostors_per_genuine=3)
    assert int(uneven["genuine"].sum()) == 10
    for n_pairs in (2, 5, 9, 41, 42, 201):
        for ratio in (1, 3):
            assert len(fl.make_pairs(orl, n_pairs=n_pairs, impostors_per_genuine=ratio)) == n_pairs
    assert len(fl.make_pairs(orl, n_pairs=10**6)) == 3600


def test_as_many_impostors_as_there_are():
    faces = make_faces(n_subjects=3, per_subject=2, size=4)
    pairs = fl.make_pairs(faces, impostors_per_genuine=100)
    assert len(pairs) == 3 + 12
    check_pairs(faces, pairs)
    assert len(fl.make_pairs(faces, impostors_per_genuine=0)) == 3


def test_impostors_are_drawn_evenly(orl):
    pairs = fl.make_pairs(orl, impostors_per_genuine=5).loc[1800:]
    counts = pd.concat([pairs["probe"], pairs["reference"]]).value_counts()
    assert len(counts) == 400
    assert counts.to_numpy().std() < 2 * np.sqrt(counts.mean())


def test_one_source_is_never_paired():
    faces = make_faces(n_subjects=3, per_subject=2, size=4)
    table = faces.table.assign(source=["p0/0", "p0/0", "", "", None, None])
    derived = fl.Faces(table, images=faces.images)
    pairs = fl.make_pairs(derived, impostors_per_genuine=100)
    assert int(pairs["genuine"].sum()) == 2
    check_pairs(derived, pairs)
    bad = pd.DataFrame({"probe": ["p0/1"], "reference": ["p0/0"], "genuine": [True]})
    with pytest.raises(PairError, match="one source"):
        check_pairs(derived, bad)


@pytest.mark.parametrize(
    ("probe", "reference", "genuine", "fault"),
    [
        (["p0/1", "p9/9"], ["p0/0", "p0/0"], [True, False], "does not have:\n.*\n.*p9/9"),
        (["p0/0"], ["p0/0"], [True], "with itself"),
        (["p0/1", "p0/0"], ["p0/0", "p0/1"], [True, True], "repeat"),
        (["p0/1"], ["p1/0"], [True], "against their subjects"),
        ([], [], [], "no pairs"),
    ],
)
def test_bad_pairs_show_their_rows(synthetic, probe, reference, genuine, fault):
    pairs = pd.DataFrame({"probe": probe, "reference": reference, "genuine": genuine})
    with pytest.raises(PairError, match=fault):
        check_pairs(synthetic, pairs)
    with pytest.raises(PairError, match="lack"):
        check_pairs(synthetic, pairs.drop(columns="genuine"))


def test_bad_numbers(synthetic):
    for arguments in (
        {"n_pairs": 0},
        {"n_pairs": "5"},
        {"n_pairs": 2.5},
        {"n_pairs": 1, "impostors_per_genuine": 9},
        {"impostors_per_genuine": -1},
        {"impostors_per_genuine": np.nan},
        {"seed": -1},
        {"seed": "a"},
    ):
        with pytest.raises(ParameterError, match=next(iter(arguments))):
            fl.make_pairs(synthetic, **arguments)
    with pytest.raises(ParameterError, match="no genuine pair"):
        fl.make_pairs(make_faces(per_subject=1, size=4))
