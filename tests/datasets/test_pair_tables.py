"""Tables of documents and live photographs, by hand."""

import numpy as np
import pandas as pd
import pytest

import freqlab as fl
from freqlab.errors import PairError

SUBJECTS = {
    **{f"{p}/{i}.jpg": p for p in ("01", "02", "03") for i in ("id", "live", "other")},
    "morphs/01_02.png": "01+02",
    "warped/03.png": "03",
}
TWO = "document,live,attack,contributor_a,contributor_b"
ONE = "document,live,attack,contributors"
ATTACK = "morphs/01_02.png,01/live.jpg,gan,01,02"


@pytest.fixture
def faces():
    table = pd.DataFrame({"subject": SUBJECTS, "path": {name: name for name in SUBJECTS}})
    return fl.Faces(table.rename_axis("face"), name="made")


def write(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("format", ["auto", "morphs"])
def test_a_table_gives_what_pairs_of_morphs_have(tmp_path, faces, format):
    file = write(
        tmp_path / "pairs.csv",
        TWO + ",camera",
        "01/id.jpg,01/live.jpg,,,,x",
        "02/id,02/live,bona fide,02,02,y",
        "morphs/01_02.png,01/live.jpg,landmarks,01,02,x",
        "morphs/01_02.png,02/live.jpg,landmarks,01,02,x",
        "warped/03.png,03/live.jpg,Control,,,x",
    )
    pairs = fl.read_pairs(file, faces, format=format)
    assert pairs["reference"].astype(str).tolist()[1:3] == ["02/id.jpg", "morphs/01_02.png"]
    assert pairs["probe"].astype(str).tolist()[1:3] == ["02/live.jpg", "01/live.jpg"]
    assert pairs["attack"].tolist() == ["bona fide", "bona fide", *["landmarks"] * 2, "control"]
    assert pairs["genuine"].tolist() == [True, True, False, False, True]
    assert pairs["contributor_a"].tolist() == ["01", "02", "01", "01", "03"]
    assert pairs["contributor_b"].tolist() == ["01", "02", "02", "02", "03"]
    assert pairs["camera"].tolist() == ["x", "y", "x", "x", "x"]
    assert pairs.index.name == "pair"


@pytest.mark.parametrize("both", ["01+02", "01; 02", " 01 ;02 "])
def test_contributors_may_stand_in_one_column(tmp_path, faces, both):
    file = write(
        tmp_path / "pairs.csv", ONE,
        "01/id.jpg,01/live.jpg,bonafide,", "02/id.jpg,02/live.jpg,,02+02",
        f"morphs/01_02.png,02/live.jpg,gan,{both}",
    )  # fmt: skip
    pairs = fl.read_pairs(file, faces)
    assert "contributors" not in pairs
    assert pairs["contributor_a"].tolist() == ["01", "02", "01"]
    assert pairs["contributor_b"].tolist() == ["01", "02", "02"]


@pytest.mark.parametrize(
    ("header", "lines", "message"),
    [
        (TWO, [], "no attack pair"),
        (TWO, ["morphs/01_02.png,01/live.jpg,gan,01,"], "1 of 2 pairs are attacks and lack"),
        (ONE, ["morphs/01_02.png,01/live.jpg,gan,01"], "1 of 2 pairs are attacks and lack"),
        (ONE, ["morphs/01_02.png,01/live.jpg,gan,01+01"], "with only one contributor"),
        (ONE, ["morphs/01_02.png,01/live.jpg,gan,01+02+03"], r"more than two .* line\(s\) 3"),
        (TWO, ["morphs/01_02.png,03/live.jpg,gan,01,02"], "subject is neither contributor"),
        (TWO, ["02/id.jpg,01/live.jpg,,,", ATTACK], "subject is neither contributor"),
        (TWO, ["02/id.jpg,02/live.jpg,,02,01", ATTACK], "not attacks but have a contributor"),
        (TWO, ["warped/03.png,03/live.jpg,gan,03,01"], "a subject of its own"),
        (TWO, ["morphs/01_02.png,01/live.jpg,all,01,02"], "name 'all' is reserved"),
        (TWO, ["morphs/01_03.png,01/live.jpg,gan,01,03"], "morphs/01_03.png"),
        (TWO + ",contributors", ["morphs/01_02.png,01/live.jpg,gan,01,02,"], "not in both"),
        ("document,live,contributors", [], "missing attack"),
    ],
)
def test_what_does_not_fit_is_told(tmp_path, faces, header, lines, message):
    whole = "01/id.jpg,01/other.jpg" + "," * (header.count(",") - 1)
    file = write(tmp_path / "pairs.csv", header, whole, *lines)
    with pytest.raises(PairError, match=message):
        fl.read_pairs(file, faces, strict=True)


def test_attacks_need_something_to_be_held_against(tmp_path, faces):
    file = write(tmp_path / "pairs.csv", TWO, ATTACK)
    with pytest.raises(PairError, match="no bona fide pair"):
        fl.read_pairs(file, faces)


def test_documents_of_attacks_set_no_threshold(tmp_path, faces):
    """The set has no column that tells morphs: the table does."""
    file = write(
        tmp_path / "pairs.csv", TWO, "01/id.jpg,01/live.jpg,,,", "02/id.jpg,02/live.jpg,,,",
        "morphs/01_02.png,01/live.jpg,gan,01,02", "morphs/01_02.png,02/live.jpg,gan,01,02",
        "warped/03.png,03/live.jpg,control,,",
    )  # fmt: skip
    pairs = fl.read_pairs(file, faces)
    vectors = np.random.default_rng(0).normal(size=(len(faces), 8))
    risk = fl.morphing.vulnerability({"m": vectors}, faces, pairs)
    # nine photographs: 36 comparisons, three of them genuine for each of three people
    assert int(risk["impostor_comparisons"].sel(model="m")) == 36 - 9
    given = fl.morphing.vulnerability({"m": vectors}, faces, pairs, thresholds={"m": -2})
    assert float(given["mmpmr"].sel(attack="gan", estimate="value").item()) == 1


def test_a_table_gives_the_pairs_that_are_made_of_the_set(tmp_path, assets):
    faces = fl.load_faces("frll", root=assets / "frll", aligned="arcface")
    chosen = fl.morphing.choose_documents(
        faces, document="expression=neutral", live="expression=smiling"
    )
    made = fl.morphing.make_pairs(faces, documents=chosen[0], live=chosen[1])
    morphs = pd.read_csv(assets / "frll" / "morphs.csv", dtype=str)
    lines = [f"neutral_112/{name}.jpg,smiling_112/{name}.jpg,,," for name in sorted(
        {*faces.subjects[~fl.morphing.is_morph(faces)]})]  # fmt: skip
    for a, b in zip(morphs["id_a"], morphs["id_b"], strict=True):
        lines += [f"{a}_{b}.jpg,smiling_112/{live}.jpg,unnamed,{a},{b}" for live in (a, b)]
    listed = fl.read_pairs(write(tmp_path / "pairs.csv", TWO, *lines), faces)
    columns = [*made.columns]
    rows = [
        sorted(map(tuple, one[columns].astype(str).to_numpy().tolist())) for one in (made, listed)
    ]
    assert rows[0] == rows[1]
