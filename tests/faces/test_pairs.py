import dataclasses
import itertools
import math

import numpy as np
import pandas as pd
import pytest
from conftest import make_faces

import freqlab as fl
from freqlab.errors import PairError, ParameterError
from freqlab.faces.pairs import check_pairs


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
        (["p0/1", "p9/9"], ["p0/0", "p0/0"], [True, False], "not in the set:\n.*\n.*p9/9"),
        (
            ["P0\\1"],
            ["p0/0"],
            [True],
            r"the set \('P0.*1' differs from 'p0/1' in backslashes and le",
        ),
        (["p0/0"], ["p0/0"], [True], "with itself"),
        (["p0/1", "p0/0"], ["p0/0", "p0/1"], [True, True], "repeat"),
        (["p0/1"], ["p1/0"], [True], "contradict their subjects"),
        ([], [], [], "is empty"),
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


@pytest.fixture
def labelled():
    """Eight people in two groups, six crops each, at two resolutions."""
    faces = make_faces(n_subjects=8, per_subject=6, size=4)
    table = faces.table.assign(
        group=["x" if int(s[1:]) % 2 else "y" for s in faces.subjects],
        resolution=[28 if i % 6 < 2 else 112 for i in range(48)],
    )
    return fl.Faces(table, images=faces.images)


def column_of(faces, pairs, column):
    values = faces.table[column]
    return [values.loc[pairs[side].astype(str)].to_numpy() for side in ("probe", "reference")]


@pytest.mark.parametrize("ratio", [0.1, 1, math.inf])
def test_pairs_within_a_group(labelled, ratio):
    pairs = fl.make_pairs(labelled, impostors_per_genuine=ratio, within="group")
    probe, reference = column_of(labelled, pairs, "group")
    assert (probe == reference).all()
    check_pairs(labelled, pairs)
    if ratio == math.inf:
        assert len(pairs) == 2 * 24 * 23 / 2


@pytest.mark.parametrize("ratio", [0.1, 1, math.inf])
def test_pairs_across_resolutions(labelled, ratio):
    pairs = fl.make_pairs(labelled, impostors_per_genuine=ratio, across="resolution")
    probe, reference = column_of(labelled, pairs, "resolution")
    assert (probe != reference).all()
    check_pairs(labelled, pairs)
    if ratio == math.inf:
        assert len(pairs) == 16 * 32
        assert int(pairs["genuine"].sum()) == 8 * 2 * 4


def test_faces_without_a_value_are_not_paired(labelled):
    table = labelled.table.copy()
    table.loc[table.index[:3], "group"] = [None, "", np.nan]
    some = fl.Faces(table, images=labelled.images)
    pairs = fl.make_pairs(some, within="group", impostors_per_genuine=math.inf)
    named = set(pairs["probe"].astype(str)) | set(pairs["reference"].astype(str))
    assert named == set(table.index[3:])


def test_folds_share_no_subject(labelled):
    pairs = fl.make_pairs(labelled, folds=3, impostors_per_genuine=2, within="group")
    check_pairs(labelled, pairs)
    subjects = labelled.table["subject"]
    people = {
        fold: set(subjects.loc[part["probe"].astype(str)])
        | set(subjects.loc[part["reference"].astype(str)])
        for fold, part in pairs.groupby("fold")
    }
    assert sorted(people) == [0, 1, 2]
    assert sum(map(len, people.values())) == len(set.union(*people.values())) == 8
    again = fl.make_pairs(labelled, folds=3, impostors_per_genuine=2, within="group")
    pd.testing.assert_frame_equal(pairs, again)
    with pytest.raises(ParameterError, match="folds=9: there are 8 subjects"):
        fl.make_pairs(labelled, folds=9)


def test_folds_are_even_in_faces():
    sizes = [1, 1, 2, 3, 5, 8, 13, 2, 2, 4]
    table = pd.DataFrame(
        {"subject": np.repeat([f"s{i}" for i in range(10)], sizes), "path": "x.jpg"},
        index=[f"f{i}" for i in range(sum(sizes))],
    )
    pairs = fl.make_pairs(fl.Faces(table), folds=3, impostors_per_genuine=math.inf)
    sides = [pairs[[side, "fold"]].set_axis(["face", "fold"], axis=1)
             for side in ("probe", "reference")]  # fmt: skip
    named = pd.concat(sides)
    assert named.groupby("fold")["face"].nunique().between(12, 15).all()


def test_pairs_within_several_columns_agree_in_each(labelled):
    table = labelled.table.copy()
    table["glasses"] = ["" if i % 3 == 0 else f"{i % 2}" for i in range(len(table))]
    faces = dataclasses.replace(labelled, table=table)
    within = ["group", "glasses"]
    pairs = fl.make_pairs(faces, within=within, impostors_per_genuine=math.inf)
    found = {frozenset(ends) for ends in zip(pairs["probe"], pairs["reference"], strict=True)}
    known = table.index[(table[within] != "").all(axis=1) & table[within].notna().all(axis=1)]
    expected = {
        frozenset((a, b))
        for a, b in itertools.combinations(known, 2)
        if (table.loc[a, within] == table.loc[b, within]).all()
        and faces.sources[faces.names.index(a)] != faces.sources[faces.names.index(b)]
    }
    assert found == expected
    blocks = pd.concat(fl.pair_blocks(faces, within=within, block_size=7))
    assert {frozenset(ends) for ends in zip(blocks.probe, blocks.reference, strict=True)} == found
    one = fl.make_pairs(labelled, within=["group"], seed=3)
    pd.testing.assert_frame_equal(one, fl.make_pairs(labelled, within="group", seed=3))
    with pytest.raises(ParameterError, match="unknown within 'age'"):
        fl.make_pairs(labelled, within=["group", "age"])
    with pytest.raises(ParameterError, match="unknown within 3"):
        fl.make_pairs(labelled, within=3)


def test_drawn_pairs_within_cells_are_even(labelled):
    """Of a big and a small group every pair is as likely."""
    table = labelled.table.assign(group=["x"] * 36 + ["y"] * 12)
    faces = fl.Faces(table, images=labelled.images)
    every = fl.make_pairs(faces, within="group", impostors_per_genuine=math.inf)
    expected = (column_of(faces, every[~every["genuine"]], "group")[0] == "y").mean()
    found = [
        (column_of(faces, pairs[~pairs["genuine"]], "group")[0] == "y").mean()
        for seed in range(40)
        for pairs in [fl.make_pairs(faces, within="group", impostors_per_genuine=0.5, seed=seed)]
    ]
    assert np.mean(found) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("options", [{}, {"within": "group"}, {"across": "resolution"}])
@pytest.mark.parametrize("block_size", [7, 100, 10_000])
def test_blocks_hold_all_pairs_once(labelled, options, block_size):
    blocks = list(fl.pair_blocks(labelled, block_size=block_size, **options))
    assert all(len(block) == block_size for block in blocks[:-1])
    every = pd.concat(blocks)
    assert every.index.tolist() == list(range(len(every)))
    check_pairs(labelled, every)
    expected = fl.make_pairs(labelled, impostors_per_genuine=math.inf, **options)
    keys = [
        set(zip(t["probe"], t["reference"], t["genuine"], strict=True)) for t in (every, expected)
    ]
    assert keys[0] == keys[1]


def test_unknown_columns_of_faces(labelled):
    for argument in ("within", "across"):
        with pytest.raises(
            ParameterError, match=f"unknown {argument} 'grup'.*Did you mean 'group'"
        ):
            fl.make_pairs(labelled, **{argument: "grup"})
    with pytest.raises(ParameterError, match="block_size=0"):
        fl.pair_blocks(labelled, block_size=0)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_ten_million_pairs_in_bounded_memory():
    n = 100_000
    table = pd.DataFrame(
        {"subject": np.repeat(np.arange(n // 5), 5).astype(str), "path": "x.jpg"},
        index=[f"f{i}" for i in range(n)],
    )
    faces = fl.Faces(table)
    for options in ({}, {"folds": 10}):
        pairs = fl.make_pairs(faces, impostors_per_genuine=49, **options)
        assert len(pairs) == 10_000_000
        assert pairs.memory_usage(deep=True).sum() < 500e6
    blocks = itertools.islice(fl.pair_blocks(faces), 10)
    assert sum(map(len, blocks)) == 10_000_000


def test_pairs_given_as_faces_are_named_and_not_printed(synthetic, linear):
    pairs = fl.make_pairs(synthetic)
    for call in (
        lambda: fl.influence(pairs, synthetic, models=[linear]),
        lambda: fl.embed(pairs, models=[linear]),
        lambda: fl.make_pairs(pairs),
        lambda: fl.pair_blocks(pairs),
        lambda: fl.read_pairs("pairs.txt", pairs),
    ):
        with pytest.raises(ParameterError, match=f"^faces is a table of {len(pairs)} pairs, not"):
            call()
    with pytest.raises(PairError, match="not a Faces; the arguments are faces first, then pairs"):
        fl.influence(synthetic, synthetic, models=[linear])
    with pytest.raises(ParameterError, match="with the columns subject; it must be Faces, as"):
        fl.make_pairs(synthetic.table)
    with pytest.raises(ParameterError, match="faces='orl' must be Faces"):
        fl.make_pairs("orl")
    with pytest.raises(ParameterError, match="faces is a list; it must be Faces"):
        fl.make_pairs([synthetic])


def test_names_that_differ_by_a_prefix_or_a_suffix_are_explained(synthetic):
    pairs = fl.make_pairs(synthetic)
    names = {side: pairs[side].astype(str) for side in ("probe", "reference")}
    for changed, text in (
        ("data/" + names["probe"], r"all begin with 'data/', .*str.removeprefix\('data/'\)"),
        (names["probe"] + ".jpg", r"all end with '.jpg', .*str.removesuffix\('.jpg'\)"),
        (names["probe"].str.removeprefix("p"), r"all lack 'p' at their beginning, .*'p' \+ pairs"),
    ):
        with pytest.raises(PairError, match=text):
            check_pairs(synthetic, pairs.assign(probe=changed))
    other = pairs.assign(probe="data/" + names["probe"], reference="set/" + names["reference"])
    with pytest.raises(PairError, match=r"not in the set:\n"):
        check_pairs(synthetic, other)
