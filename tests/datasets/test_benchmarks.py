"""Readers of published sets, on trees of the real layout and naming, and on the real data."""

import warnings

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import freqlab as fl
from freqlab.errors import FaceSetError, LeftOutWarning, ParameterError


def tree(root, *paths):
    """Tiny images under these paths; empty files where they do not end like images."""
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix in (".txt", ".db", ".tem", ".mat"):
            file.write_text("no image")
        else:
            Image.new("RGB", (4, 4)).save(file)
    return root


def columns(faces, *names):
    return [tuple(row) for row in faces.table[list(names)].itertuples(index=False)]


def stray(name, root, path):
    """An image that does not fit the set is named and left out, and the set is what it was."""
    before = fl.load_faces(name, root=root)
    tree(root, path)
    with pytest.warns(LeftOutWarning, match=f"1 photographs were .*names do not fit.*{path}"):
        faces = fl.load_faces(name, root=root)
    assert faces.names == before.names
    assert faces.left_out == 1
    assert path in repr(faces)
    (root / path).unlink()


LFW = ("Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", "Bo_Li/Bo_Li_0001.jpg")


@pytest.mark.parametrize("above", ["", "lfw_funneled/", "a/b/"])
def test_lfw(tmp_path, above):
    tree(tmp_path, *(above + path for path in LFW), "pairs.txt", above + "Ann/Thumbs.db")
    faces = fl.load_faces("lfw", root=tmp_path, aligned="arcface")
    assert faces.names == list(LFW)
    assert faces.subjects.tolist() == ["Ann", "Ann", "Bo_Li"]
    assert faces.aligned == "arcface"
    assert faces.name == "lfw"
    assert "Huang" in faces.credit
    assert faces.image(2).shape == (4, 4, 3)


def test_lfw_with_metadata(tmp_path):
    tree(tmp_path, *LFW)
    file = tmp_path / "images.csv"
    file.write_text("image,identity,gender\nAnn/Ann_0001.jpg,Ann,female\nBo_Li/Bo_Li_0001.jpg,B,\n")
    faces = fl.load_faces("lfw", root=tmp_path)
    assert faces.table["gender"].iloc[0] == "female"
    assert faces.table["gender"].isna().tolist() == [False, True, True]
    file.write_text("image,gender\nX/X_0001.jpg,male\n")
    with pytest.raises(FaceSetError, match=r"none of its faces \(X/X_0001.jpg"):
        fl.load_faces("lfw", root=tmp_path)
    file.write_text("image,gender\nAnn/Ann_0001.jpg,male\nAnn/Ann_0001.jpg,female\n")
    with pytest.raises(FaceSetError, match="more than one row"):
        fl.load_faces("lfw", root=tmp_path)
    file.write_text("picture,gender\n")
    with pytest.raises(FaceSetError, match="missing image"):
        fl.load_faces("lfw", root=tmp_path)


def test_lfw_in_another_layout(tmp_path):
    with pytest.raises(FaceSetError, match="Name/Name_0001.jpg; found nothing"):
        fl.load_faces("lfw", root=tmp_path)
    tree(tmp_path, *LFW, "Ann/Bo_0001.jpg", "Ann/cover.png", "Ann/d.png", "Ann/e.png")
    with pytest.raises(
        FaceSetError,
        match=r"found Ann/Bo_0001.jpg, Ann/cover.png, Ann/d.png, ... \(4 of 7 images\)",
    ):
        fl.load_faces("lfw", root=tmp_path)
    with pytest.raises(FaceSetError, match="no such folder"):
        fl.load_faces("lfw", root=tmp_path / "absent")
    with pytest.raises(ParameterError, match="'lfw' needs root="):
        fl.load_faces("lfw")


def test_two_copies_of_a_set_are_an_error(tmp_path):
    tree(tmp_path, *("raw/" + p for p in LFW), *("aligned/" + p for p in LFW[:2]))
    with pytest.raises(
        FaceSetError, match="2 faces occur more than once.*aligned/Ann/Ann_0001.jpg, raw/Ann"
    ):
        fl.load_faces("lfw", root=tmp_path)
    assert len(fl.load_faces("lfw", root=tmp_path / "raw")) == 3


SYSTEM = (
    "Ann/._Ann_0001.jpg",
    "__MACOSX/Ann/._Ann_0001.jpg",
    "__MACOSX/Ann/Ann_0009.jpg",
    ".cache/x.jpg",
    "Ann/.ipynb_checkpoints/Ann_0001-checkpoint.jpg",
    "Ann/@eaDir/Ann_0001.jpg/SYNOPHOTO_THUMB_M.jpg",
    "Ann/@eaDir/Ann_0003.jpg",
    "#recycle/Ann/Ann_0001.jpg",
    "@Recycle/Ann/Ann_0001.jpg",
    "$RECYCLE.BIN/S-1-5-21/Ann_0001.jpg",
    "$Recycle.Bin/x.jpg",
    "lost+found/Ann_0001.jpg",
    ".Trash-1000/files/Ann_0001.jpg",
    ".AppleDouble/Ann_0001.jpg",
    "Ann/.@__thumb/Ann_0001.jpg",
    "System Volume Information/Ann_0001.jpg",
    "Network Trash Folder/Ann_0001.jpg",
    "~snapshot/hourly.0/Ann/Ann_0001.jpg",
    "Ann/Thumbs.db",
)


@pytest.mark.parametrize("path", SYSTEM)
def test_hidden_and_system_files_are_left_out_and_counted(tmp_path, path):
    tree(tmp_path, *LFW, path)
    for faces in (fl.load_faces("lfw", root=tmp_path), fl.load_faces(tmp_path)):
        assert faces.names == list(LFW)
        assert set(faces.subjects) == {"Ann", "Bo_Li"}
        assert faces.left_out == 0
        (note,) = faces.notes
        assert note.startswith("left out, hidden or system files and folders: 1 (")
        assert note in repr(faces)


def test_every_known_set_leaves_system_files_out(tmp_path):
    trees = {
        "lfw": ("Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg"),
        "calfw": ("Ann_0001.jpg", "Bo_0001.jpg"),
        "cfp-fp": ("001/frontal/01.jpg", "001/profile/01.jpg"),
        "agedb": ("0_Ann_35_f.jpg", "1_Ann_36_f.jpg"),
        "rfw": ("African/m.1/m.1_0001.jpg", "African/m.1/m.1_0002.jpg"),
        "bfw": ("asian_males/n1/1_01.jpg", "asian_males/n1/2_01.jpg"),
        "utkface": ("1_1_4_20161219140623097.jpg", "26_0_2_20170104023102422.jpg"),
        "scface": ("001_frontal.jpg", "001_cam1_1.jpg"),
        "frll": ("neutral_front/001_03.jpg", "smiling_front/001_08.jpg"),
        "mad22": ("BonaFide/001_03.jpg", "OpenCV/001_03-vs-002_03.jpg"),
        "faceforensics": (
            "original_sequences/youtube/c23/frames/000/0000.png",
            "manipulated_sequences/Deepfakes/c23/frames/000_003/0000.png",
        ),
    }
    assert set(trees) | {"orl", "folder", "csv", "bin", "xqlfw", "cplfw"} == set(
        fl.datasets.names()
    )
    for name, images in trees.items():
        where = [image.rpartition("/") for image in images]
        hidden = [f"{above}/@eaDir/{file}".lstrip("/") for above, _, file in where]
        hidden += [f"{above}/._{file}".lstrip("/") for above, _, file in where]
        root = tree(tmp_path / name, *images, *hidden)
        faces = fl.load_faces(name, root=root)
        assert sorted(faces.names) == sorted(images)
        assert any("hidden or system" in note for note in faces.notes)


def test_a_set_in_which_most_images_are_strays_is_refused(tmp_path):
    tree(tmp_path, "Ann/Ann_0001.jpg", "Ann/Ann_0001_0.png")
    with pytest.warns(LeftOutWarning, match="Ann_0001_0.png"):
        assert fl.load_faces("lfw", root=tmp_path).names == ["Ann/Ann_0001.jpg"]
    tree(tmp_path, "Ann/portrait.png")
    with pytest.raises(FaceSetError, match=r"2 of 3 images"):
        fl.load_faces("lfw", root=tmp_path)


def test_xqlfw(tmp_path):
    tree(tmp_path, *("lfw_original_imgs_min_qual0.85variant11/" + path for path in LFW))
    faces = fl.load_faces("xqlfw", root=tmp_path)
    assert faces.names == list(LFW)
    assert faces.name == "xqlfw"
    assert "Knoche" in faces.credit


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("calfw", ["Ann_0001.jpg", "Ann_0002.jpg", "Bo_Li_0001.jpg"]),
        ("cplfw", ["Ann_1.jpg", "Ann_2.jpg", "Bo_Li_1.jpg"]),
    ],
)
def test_calfw_and_cplfw(tmp_path, name, images):
    tree(tmp_path, *(f"aligned images/{image}" for image in images), "ForTraining/x.txt")
    faces = fl.load_faces(name, root=tmp_path)
    assert faces.names == images
    assert faces.subjects.tolist() == ["Ann", "Ann", "Bo_Li"]
    assert faces.name == name
    stray(name, tmp_path, "aligned images/Ann.jpg")
    stray(name, tmp_path, f"aligned images/{images[0][:-4]}_0.png")
    tree(tmp_path, *(f"images/{image}" for image in images))
    with pytest.raises(FaceSetError, match="3 faces occur more than once"):
        fl.load_faces(name, root=tmp_path)


def test_cfp(tmp_path):
    images = ["001/frontal/01.jpg", "001/frontal/02.jpg", "001/profile/01.jpg", "002/profile/1.jpg"]
    tree(tmp_path, *(f"Data/Images/{image}" for image in images), "Data/Fiducials/001/x.txt")
    faces = fl.load_faces("cfp-fp", root=tmp_path)
    assert sorted(faces.names) == images
    by_name = faces.table["pose"].to_dict()
    assert [by_name[image] for image in images] == ["frontal", "frontal", "profile", "profile"]
    assert set(faces.subjects) == {"001", "002"}
    stray("cfp-fp", tmp_path, "Data/Images/001/above/01.jpg")


def test_agedb(tmp_path):
    tree(tmp_path, "0_MariaCallas_35_f.jpg", "1_MariaCallas_40_f.jpg", "10_Bo_Li_7_m.jpg")
    faces = fl.load_faces("agedb", root=tmp_path)
    assert columns(faces, "subject", "age", "gender") == [
        ("MariaCallas", 35, "female"),
        ("MariaCallas", 40, "female"),
        ("Bo_Li", 7, "male"),
    ]
    stray("agedb", tmp_path, "2_MariaCallas_x_f.jpg")


def test_rfw(tmp_path):
    images = [
        f"{race}/m.0{i}x/m.0{i}x_000{k}.jpg"
        for i, race in enumerate(("African", "Asian", "Caucasian", "Indian"))
        for k in (1, 2)
    ]
    tree(tmp_path, *(f"test/data/{image}" for image in images), "test/txts/African/x_pairs.txt")
    faces = fl.load_faces("rfw", root=tmp_path)
    assert faces.names == images
    assert faces.subjects.tolist()[:3] == ["m.00x", "m.00x", "m.01x"]
    assert faces.table["ethnicity"].tolist()[::2] == ["african", "asian", "caucasian", "indian"]
    stray("rfw", tmp_path, "test/data/Martian/m.1/m.1_0001.jpg")


def test_bfw(tmp_path):
    images = [
        f"{ethnicity}_{gender}/n00000{i}/000{i}_01.jpg"
        for i, ethnicity in enumerate(("asian", "black", "indian", "white"))
        for gender in ("females", "males")
    ]
    tree(tmp_path, *(f"bfw-cropped-aligned/{image}" for image in images))
    faces = fl.load_faces("bfw", root=tmp_path)
    assert faces.names == images
    assert columns(faces, "group", "ethnicity", "gender")[:2] == [
        ("asian_females", "asian", "female"),
        ("asian_males", "asian", "male"),
    ]
    stray("bfw", tmp_path, "bfw-cropped-aligned/asian_children/n000009/0001_01.jpg")


def test_utkface(tmp_path):
    images = [
        "1_1_4_20161219140623097.jpg.chip.jpg",
        "26_0_2_20170104023102422.jpg.chip.jpg",
        "39_1_20170116174525125.jpg.chip.jpg",  # these three are published so
        "53__0_20170116184028385.jpg",
        "55_0_0_20170116232725357jpg.chip.jpg",
    ]
    tree(tmp_path, *images)
    with pytest.warns(UserWarning, match=r"2 of 5 .*\(age 0, gender 1, ethnicity 1\): 39_1_"):
        faces = fl.load_faces("utkface", root=tmp_path / "")
    table = faces.table
    assert faces.names == images
    assert table["subject"].is_unique
    assert table["age"].tolist() == [1, 26, 39, 53, 55]
    assert table["gender"].fillna("?").tolist() == ["female", "male", "female", "?", "male"]
    assert table["ethnicity"].fillna("?").tolist() == ["others", "asian", "?", "white", "white"]
    tree(tmp_path, "26_0_2_20170104023102422.jpg")
    with pytest.raises(FaceSetError, match="more than once"):
        fl.load_faces("utkface", root=tmp_path)


@pytest.mark.parametrize(
    ("image", "age", "gender", "ethnicity"),
    [
        ("61_1_20170109142408075.jpg", 61, "female", None),
        ("61_1_20170109150557335.jpg.chip.jpg", 61, "female", None),
        ("61_3_20170109150557335.jpg", 61, None, "indian"),
        ("39_1_20170116174525125.jpg.chip.jpg", 39, "female", None),
        ("24_0_1_20170116220224657 .jpg", 24, "male", "black"),
        ("55_0_0_20170116232725357jpg.jpg", 55, "male", "white"),
        ("44_1_4_20170116235150272.pg.chip.jpg", 44, "female", "others"),
        ("29_1_1_20170117021448638_face.png", 29, "female", "black"),
        ("_0_2_20170104023102422.jpg", None, "male", "asian"),
        ("26_0__20170104023102422.jpg", 26, "male", None),
        ("26_20170104023102422.jpg", 26, None, None),
        ("26_2_2_20170104023102422.jpg", 26, None, "asian"),
        ("26_0_5_20170104023102422.jpg", 26, "male", None),
        ("26_m_2_20170104023102422.jpg", 26, None, "asian"),
        ("999_0_2_20170104023102422.jpg", None, "male", "asian"),
    ],
)
def test_one_odd_name_does_not_refuse_utkface(tmp_path, image, age, gender, ethnicity):
    sound = [f"{30 + i}_{i % 2}_{i % 5}_2017010402310242{i}.jpg.chip.jpg" for i in range(9)]
    tree(tmp_path, *sound, image)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        table = fl.load_faces("utkface", root=tmp_path).table
    assert len(table) == 10
    row = table.loc[image]
    for value, wanted in zip(
        row[["age", "gender", "ethnicity"]], (age, gender, ethnicity), strict=True
    ):
        assert pd.isna(value) if wanted is None else value == wanted
    whole = None not in (age, gender, ethnicity)
    assert ["1 of 10 images" in str(one.message) for one in said] == [True] * (not whole)
    assert table.loc[sound[4], ["age", "gender", "ethnicity"]].tolist() == [34, "male", "others"]


def test_agedb_with_missing_fields(tmp_path):
    tree(tmp_path, "0_MariaCallas_35_f.jpg", "1_MariaCallas__f.jpg", "2_Bo_Li_40_.jpg")
    with pytest.warns(UserWarning, match=r"agedb: .* 2 of 3 .*\(age 1, gender 1\): 1_Maria"):
        table = fl.load_faces("agedb", root=tmp_path).table
    assert table["subject"].tolist() == ["MariaCallas", "MariaCallas", "Bo_Li"]
    assert table["age"].fillna(-1).tolist() == [35, -1, 40]
    assert table["gender"].fillna("?").tolist() == ["female", "female", "?"]


@pytest.mark.parametrize("wrong", ["26_2_2_20170104023102422.jpg", "26_0_5_20170104023102422.jpg"])
def test_utkface_with_an_unknown_code(tmp_path, wrong):
    tree(tmp_path, wrong)
    with pytest.raises(FaceSetError, match="gender 0 or 1 and race 0 to 4"):
        fl.load_faces("utkface", root=tmp_path)


def test_scface(tmp_path):
    tree(
        tmp_path,
        "mugshot_frontal_cropped_all/001_frontal.jpg",
        "mugshot_frontal_original_all/001_frontal.jpg",
        "mugshot_rotation_all/001_L4.jpg",
        "surveillance_cameras_all/001_cam1_1.jpg",
        "surveillance_cameras_all/001_cam7_3.jpg",
        "surveillance_cameras_all/001_cam8.jpg",
        "surveillance_cameras_distance_1/cam_1/001_cam1_1.jpg",
        "surveillance_cameras_distance_2/cam_5/002_cam5_2.jpg",
    )
    faces = fl.load_faces("scface", root=tmp_path)
    table = faces.table
    assert sorted(faces.names) == [
        *("001_L4.jpg", "001_cam1_1.jpg", "001_cam7_3.jpg", "001_cam8.jpg", "001_frontal.jpg"),
        "002_cam5_2.jpg",
    ]
    assert table["distance"].dropna().to_dict() == {
        "001_cam1_1.jpg": 4.2,
        "001_cam7_3.jpg": 1.0,
        "002_cam5_2.jpg": 2.6,
    }
    assert table.loc["001_frontal.jpg", ["camera", "pose"]].tolist() == ["mugshot", "frontal"]
    assert table.loc["001_L4.jpg", ["camera", "pose"]].tolist() == ["mugshot", "L4"]
    assert table.loc["001_cam8.jpg", ["camera", "pose"]].tolist() == ["cam8", ""]
    assert "surveillance_cameras_all" in table.loc["001_cam1_1.jpg", "path"]
    assert "cropped" in table.loc["001_frontal.jpg", "path"]
    assert any("2 others are not" in note for note in faces.notes)
    stray("scface", tmp_path, "surveillance_cameras_all/001_cam1_4.jpg")


def test_frll_as_published(tmp_path):
    tree(
        tmp_path,
        "neutral_front/001_03.jpg",
        "neutral_front/001_03.tem",
        "neutral_front/002_03.jpg",
        "smiling_front/001_08.jpg",
        "neutral_left_profile/001_01.jpg",
        "morph_opencv/001_002.jpg",
        "morph_amsl/001_03_002_03.png",
    )
    (tmp_path / "london_faces_info.csv").write_text(
        "face_id,face_age,face_sex,face_eth\nX001,24,female,white\nX002,NA,male,black\n"
    )
    faces = fl.load_faces("frll", root=tmp_path)
    table = faces.table
    assert set(faces.names) == {
        *("neutral_front/001_03.jpg", "neutral_front/002_03.jpg", "smiling_front/001_08.jpg"),
        *("morph_opencv/001_002.jpg", "morph_amsl/001_03_002_03.png"),
    }
    morphs = table[table["morph"]]
    assert morphs["subject"].tolist() == ["001+002"] * 2
    assert sorted(morphs["tool"]) == ["amsl", "opencv"]
    assert set(morphs["contributor_a"] + morphs["contributor_b"]) == {"001002"}
    smiling = table.loc["smiling_front/001_08.jpg"]
    assert smiling[["subject", "expression", "tool", "gender"]].tolist() == [
        *("001", "smiling", "", "female")
    ]
    assert table.loc["neutral_front/001_03.jpg", "age"] == 24
    assert np.isnan(table.loc["neutral_front/002_03.jpg", "age"])


def test_frll_as_given_out_with_the_morphs(tmp_path):
    tree(tmp_path, *("raw/001_03.jpg", "raw/001_08.jpg", "morph_stylegan/001_002.jpg"))
    faces = fl.load_faces("frll", root=tmp_path)
    assert columns(faces, "subject", "expression") == [
        *(("001+002", ""), ("001", "neutral"), ("001", "smiling"))
    ]
    tree(tmp_path, "neutral_front/001_03.jpg")
    with pytest.raises(FaceSetError, match="2 photographs are of one person with one expression"):
        fl.load_faces("frll", root=tmp_path)


def test_frll_of_several_sizes(tmp_path):
    kinds = {"neutral": "001.jpg", "smiling": "001.jpg", "morph": "001_002.jpg"}
    tree(tmp_path, *(f"{kind}_{size}/{f}" for kind, f in kinds.items() for size in (112, 512)))
    sized = {a: fl.load_faces("frll", root=tmp_path, aligned=a).names for a in (None, "arcface")}
    assert sized[None] == ["morph_512/001_002.jpg", "neutral_512/001.jpg", "smiling_512/001.jpg"]
    assert sized["arcface"] == [name.replace("512", "112") for name in sized[None]]


def test_frll_in_another_layout(tmp_path):
    tree(tmp_path, "photos/001.jpg")
    with pytest.raises(FaceSetError, match="expected folders neutral_front.*found photos"):
        fl.load_faces("frll", root=tmp_path)
    tree(tmp_path, "neutral_front/001_08.jpg")  # a smile among the neutral faces
    with pytest.raises(FaceSetError, match=r"found neutral_front/001_08.jpg \(1 of 1 images\)"):
        fl.load_faces("frll", root=tmp_path)


def test_known_face_sets():
    table = fl.datasets.known()
    assert table.index.tolist() == fl.datasets.names()
    assert table.index.name == "name"
    assert table.columns.tolist() == ["title", "layout", "get", "terms", "citation"]
    benchmarks = table.drop(["folder", "csv", "bin"])
    assert (benchmarks != "").all(axis=None)
    named = {"lfw", "xqlfw", "calfw", "cplfw", "cfp-fp", "agedb", "rfw", "bfw", "utkface", "frll"}
    assert named | {"scface"} <= set(table.index)


def test_every_named_set_needs_its_root():
    for name in fl.datasets.names():
        if name != "orl":
            with pytest.raises(ParameterError, match=f"'{name}' needs root="):
                fl.load_faces(name)


@pytest.mark.parametrize("name", ["lfw", "bfw", "frll", "utkface", "scface"])
def test_an_empty_folder_is_an_error(tmp_path, name):
    (tmp_path / "readme.txt").write_text("")
    with pytest.raises(FaceSetError, match="expected .*found"):
        fl.load_faces(name, root=tmp_path)


def test_the_real_lfw(assets):
    faces = fl.load_faces("lfw", root=assets / "lfw", aligned="arcface")
    assert len(faces) == 3811
    assert len(set(faces.subjects)) == 2086
    assert faces.image(17).shape == (112, 112, 3)
    given = pd.read_csv(assets / "lfw" / "images.csv").set_index("image").loc[faces.names]
    assert faces.table["gender"].fillna("").tolist() == given["gender"].fillna("").tolist()
    assert set(faces.table["gender"].dropna()) == {"female", "male"}
    assert (faces.table["subject"] == given["identity"]).all()


def test_the_real_bfw(assets):
    faces = fl.load_faces("bfw", root=assets / "bfw", aligned="arcface")
    assert faces.table["group"].value_counts().to_dict() == {
        f"{e}_{g}": 500 for e in ("asian", "black", "indian", "white") for g in ("females", "males")
    }
    assert len(set(faces.subjects)) == 400
    given = pd.read_csv(assets / "bfw" / "images.csv").set_index("image").loc[faces.names]
    for column in ("ethnicity", "gender"):
        assert (faces.table[column] == given[column]).all()


@pytest.mark.parametrize(("aligned", "size"), [(None, 512), ("arcface", 112)])
def test_the_real_frll(assets, aligned, size):
    faces = fl.load_faces("frll", root=assets / "frll", aligned=aligned)
    table = faces.table
    assert table["expression"].value_counts().to_dict() == {"neutral": 50, "smiling": 50, "": 62}
    assert table.loc[~table["morph"], "subject"].nunique() == 50
    assert faces.image(0).shape == (size, size, 3)
    known = table.loc[~table["morph"], ["age", "gender", "ethnicity"]].notna().sum()
    assert known.tolist() == [98, 100, 100]  # one person's age is not given
    given = pd.read_csv(assets / "frll" / "morphs.csv", dtype=str)
    morphs = table[table["morph"]]
    assert (morphs["contributor_a"].to_numpy() == given["id_a"]).all()
    assert (morphs["contributor_b"].to_numpy() == given["id_b"]).all()
