"""SYN-MAD-2022 on trees of its described layout and naming."""

import pytest
from PIL import Image

import freqlab as fl
from freqlab.errors import FaceSetError, LeftOutWarning, ParameterError


def tree(root, *paths):
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(file)
    return root


PEOPLE = ("001_03.jpg", "001_08.jpg", "002_03.jpg", "002_08.jpg")
BONA_FIDE = tuple(f"BonaFide/{file}" for file in PEOPLE)


def test_every_tool_is_read_with_its_contributors(tmp_path):
    tree(
        tmp_path,
        *BONA_FIDE,
        "FaceMorpher/001_03-vs-002_03.jpg",
        "MIPGAN_I/001_03-vs-002_03.png",
        "MIPGAN_II/002_03-vs-001_03.png",
        "OpenCV_aligned/001_03-vs-002_03.jpg",
        "Webmorph_cropped/001_03-vs-002_03.jpg",
        "MorDIFF/morph_001_03_and_002_03.png",
    )
    faces = fl.load_faces("mad22", root=tmp_path, aligned="arcface")
    table = faces.table
    morphs = table[table["morph"]].set_index("tool")
    assert sorted(morphs.index) == [
        "FaceMorpher", "MIPGAN_I", "MIPGAN_II", "MorDIFF", "OpenCV", "Webmorph",
    ]  # fmt: skip
    assert morphs.loc["MorDIFF", ["contributor_a", "contributor_b", "subject"]].tolist() == [
        *("001", "002", "001+002")
    ]
    assert morphs.loc["MIPGAN_II", "subject"] == "002+001"
    assert set(morphs["expression"]) == {""}
    photographs = table[~table["morph"]]
    assert photographs.index.tolist() == list(BONA_FIDE)
    assert photographs["expression"].tolist() == ["neutral", "smiling"] * 2
    assert photographs["subject"].tolist() == ["001", "001", "002", "002"]
    assert (faces.name, faces.aligned) == ("mad22", "arcface")
    assert "SYN-MAD 2022" in faces.credit
    pairs = fl.morphing.make_pairs(faces)
    # a bona fide pair for each of two people; each morph meets both of them
    assert pairs["attack"].value_counts().to_dict() == {
        "bona fide": 2, **dict.fromkeys(morphs.index, 2),
    }  # fmt: skip


def test_folders_may_lie_deeper_and_be_aligned_copies(tmp_path):
    tree(tmp_path, *(f"set/BonaFide_aligned/{file}" for file in PEOPLE))
    tree(tmp_path, "set/morphs/opencv_aligned/001_03-vs-002_03.jpg")
    table = fl.load_faces("mad22", root=tmp_path).table
    assert table.loc["opencv_aligned/001_03-vs-002_03.jpg", "tool"] == "OpenCV"
    assert "BonaFide_aligned/001_03.jpg" in table.index


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("OpenCV/001_03-vs-002_03.jpg",), "no folder BonaFide; .*the morphs in OpenCV"),
        ((*BONA_FIDE, "WebMorf/001_03-vs-002_03.jpg"), r"is Webmorph meant.*\(1 of 5 images\)"),
        ((*BONA_FIDE[:1], "OpenCV/a.jpg", "OpenCV/b.jpg"), r"found OpenCV/a.jpg.*\(2 of 3 images"),
        ((*BONA_FIDE, "BonaFide/001_03.png"), "one person with the same expression"),
        (
            (*BONA_FIDE, *("OpenCV" + c + "/001_03-vs-002_03.jpg" for c in ("", "_aligned"))),
            "OpenCV exists in 2 copies, OpenCV, OpenCV_aligned",
        ),
        (("photos/001_03.jpg",), "expected a folder BonaFide.*found photos"),
    ],
)
def test_what_is_laid_out_otherwise_is_told(tmp_path, files, message):
    with pytest.raises(FaceSetError, match=message):
        fl.load_faces("mad22", root=tree(tmp_path, *files))


@pytest.mark.parametrize(
    "stray", ["OpenCV/001_002.jpg", "OpenCV/001_03-vs-001_08.jpg", "BonaFide/001_01.jpg", "x.jpg"]
)
def test_an_image_that_does_not_fit_is_named_and_left_out(tmp_path, stray):
    tree(tmp_path, *BONA_FIDE, stray)
    with pytest.warns(LeftOutWarning, match=stray):
        faces = fl.load_faces("mad22", root=tmp_path)
    assert faces.names == list(BONA_FIDE)


def test_an_empty_folder_and_no_folder_are_told(tmp_path):
    with pytest.raises(FaceSetError, match="expected a folder BonaFide.*found nothing"):
        fl.load_faces("mad22", root=tmp_path)
    with pytest.raises(ParameterError, match="'mad22' needs root="):
        fl.load_faces("mad22")


def test_real_photographs_under_its_names_are_those_of_the_london_set(tmp_path, assets):
    known = fl.load_faces("frll", root=assets / "frll", aligned="arcface")
    table = known.table
    for _, row in table.iterrows():
        if row["morph"]:
            name = f"OpenCV/{row['contributor_a']}_03-vs-{row['contributor_b']}_03.jpg"
        else:
            name = (
                f"BonaFide/{row['subject']}_{'03' if row['expression'] == 'neutral' else '08'}.jpg"
            )
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(row["path"])
    faces = fl.load_faces("mad22", root=tmp_path, aligned="arcface")
    columns = ["subject", "expression", "morph", "contributor_a", "contributor_b"]
    rows = [sorted(one[columns].itertuples(index=False, name=None)) for one in (faces.table, table)]
    assert rows[0] == rows[1]
    chosen = fl.morphing.choose_documents(
        faces, document="expression=neutral", live="expression=smiling"
    )
    pairs = fl.morphing.make_pairs(faces, documents=chosen[0], live=chosen[1])
    assert pairs["attack"].value_counts().to_dict() == {"OpenCV": 124, "bona fide": 50}
