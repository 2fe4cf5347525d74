import os
import re
import unicodedata

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import freqlab as fl
from freqlab.errors import FaceSetError, LeftOutWarning, ParameterError, UnknownNameError
from freqlab.faces.table import LANDMARK_COLUMNS


def save(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value, 0, 0)).save(path)


def test_orl_is_whole(orl):
    assert len(orl) == 400
    assert orl.table["subject"].value_counts().tolist() == [10] * 40
    assert orl.image(0).shape == (112, 92, 3)
    assert orl.landmarks.shape == (400, 5, 2)
    assert np.isfinite(orl.landmarks).all()
    assert "AT&T" in orl.credit


def test_orl_attributes_are_complete(orl):
    allowed = {
        "glasses": {"yes", "no"},
        "facial_hair": {"yes", "no"},
        "gender": {"female", "male"},
        "pose": {"left", "frontal", "right"},
        "eyes_closed": {"yes", "no"},
    }
    for column, values in allowed.items():
        assert set(orl.table[column]) == values
    doubts = set(";".join(orl.table["doubt"]).split(";"))
    assert doubts <= {"", *allowed}
    for column in ("gender", "facial_hair"):
        assert (orl.table.groupby("subject")[column].nunique() == 1).all()


def test_pose_agrees_with_where_the_nose_lies(orl):
    """The annotation, made by eye, against the landmarks, made by a network."""
    eyes = orl.landmarks[:, :2].mean(1)
    distance = np.linalg.norm(orl.landmarks[:, 1] - orl.landmarks[:, 0], axis=1)
    offset = (orl.landmarks[:, 2, 0] - eyes[:, 0]) / distance
    medians = pd.Series(offset).groupby(orl.table["pose"].to_numpy()).median()
    assert medians["left"] < -0.1 < medians["frontal"] < 0.1 < medians["right"]


def test_folder_in_natural_order(tmp_path):
    for name in ("s10/1.png", "s2/10.png", "s2/9.png"):
        save(tmp_path / name)
    (tmp_path / "s2" / "notes.txt").write_text("not a face")
    faces = fl.load_faces(tmp_path)
    assert faces.names == ["s2/9.png", "s2/10.png", "s10/1.png"]
    assert faces.subjects.tolist() == ["s2", "s2", "s10"]
    assert fl.load_faces("folder", root=tmp_path).names == faces.names


def test_folders_of_groups_are_read_as_said(tmp_path):
    for name in ("asian/007/1.png", "asian/008/1.png", "white/009/2.png", "white/009/3.png"):
        save(tmp_path / name)
    with pytest.raises(
        FaceSetError,
        match="expected subject/image.*most images are in 2 folders: pass "
        "layout='group/subject/image' or layout='subject/session/image', or FOLDER,layout=group",
    ):
        fl.load_faces(tmp_path)
    faces = fl.load_faces(tmp_path, layout="ethnicity/subject/image")
    assert faces.subjects.tolist() == ["007", "008", "009", "009"]
    assert faces.table["ethnicity"].tolist() == ["asian", "asian", "white", "white"]
    assert faces.names[0] == "asian/007/1.png"
    named = fl.load_faces(f"{tmp_path},layout=ethnicity/subject/image")
    pd.testing.assert_frame_equal(named.table, faces.table)
    both = fl.load_faces("folder", root=tmp_path, layout="subject/subject/image")
    assert both.subjects.tolist() == ["asian/007", "asian/008", "white/009", "white/009"]
    sessions = fl.load_faces(tmp_path, layout="subject/session/image")
    assert sessions.subjects.tolist() == ["asian", "asian", "white", "white"]
    save(tmp_path / "asian" / "009" / "1.png")
    with pytest.raises(
        FaceSetError, match="'009' is in the folders asian and white.*layout='subject/subject/image"
    ):
        fl.load_faces(tmp_path, layout="group/subject/image")
    for layout in ("group/image", "subject", "subject/image/image", "path/subject/image", 3):
        with pytest.raises(ParameterError, match=f"layout={layout!r} must name the folders"):
            fl.load_faces(tmp_path, layout=layout)
    with pytest.raises(ParameterError, match="layout='subject/image': faces 'orl' is not a folder"):
        fl.load_faces("orl", layout="subject/image")


def test_deep_and_flat_folders_are_hinted_at(tmp_path):
    save(tmp_path / "deep" / "a/b/c/1.png")
    with pytest.raises(FaceSetError, match="3 folders: pass layout='level3/level2/subject/image'"):
        fl.load_faces(tmp_path / "deep")
    save(tmp_path / "flat" / "1.png")
    with pytest.raises(FaceSetError, match="put the images of each person into a folder, or name"):
        fl.load_faces(tmp_path / "flat")


@pytest.mark.parametrize("column", ["identity", "person", "label", "id", "Identity"])
def test_a_column_of_another_name_is_mapped(tmp_path, column):
    save(tmp_path / "1.png")
    table = tmp_path / "faces.csv"
    table.write_text(f"path,{column},age\n1.png,007,30\n")
    advice = re.escape(
        f"load_faces(..., columns={ {column: 'subject'}!r}), or FILE,subject={column} on the"
    )
    with pytest.raises(FaceSetError, match=advice):
        fl.load_faces(table)
    for faces in (
        fl.load_faces(table, columns={column: "subject"}),
        fl.load_faces(table, columns={"subject": column}),
        fl.load_faces(f"{table},subject={column}"),
        fl.load_faces("csv", root=table, columns={column: "subject"}),
    ):
        assert faces.subjects.tolist() == ["007"]
        assert faces.table["age"].tolist() == [30]
        assert column not in faces.table


def test_columns_that_cannot_be_mapped(tmp_path):
    save(tmp_path / "1.png")
    table = tmp_path / "faces.csv"
    table.write_text("filename,identity,subject\n1.png,ann,portrait\n")
    with pytest.raises(FaceSetError, match=r"missing path.*'filename' holds the path of the image"):
        fl.load_faces(table)
    with pytest.raises(FaceSetError, match="'identity' cannot be read as 'subject', because"):
        fl.load_faces(table, columns={"filename": "path", "identity": "subject"})
    names = {"filename": "path", "identity": "subject", "subject": "topic"}
    faces = fl.load_faces(table, columns=names)
    assert faces.subjects.tolist() == ["ann"]
    assert faces.table["topic"].tolist() == ["portrait"]
    with pytest.raises(
        FaceSetError, match="no column 'person' or 'subject_id' to map; the columns"
    ):
        fl.load_faces(table, columns={"person": "subject_id"})
    with pytest.raises(ParameterError, match="columns='identity' must be a dictionary, such as"):
        fl.load_faces(table, columns="identity")
    with pytest.raises(ParameterError, match="columns=.*: faces 'orl' is not a CSV file"):
        fl.load_faces("orl", columns={"identity": "subject"})
    with pytest.raises(ParameterError, match="names columns, and columns= is given too"):
        fl.load_faces(f"{table},path=filename", columns={"filename": "path"})
    comma = tmp_path / "a,b=c.csv"
    comma.write_text("path,subject\n1.png,ann\n")
    assert fl.load_faces(comma).subjects.tolist() == ["ann"]


def test_folder_that_is_laid_out_otherwise(tmp_path):
    save(tmp_path / "loose.png")
    with pytest.raises(FaceSetError, match=r"expected subject/image.*found loose\.png"):
        fl.load_faces(tmp_path)
    with pytest.raises(FaceSetError, match="no such folder"):
        fl.load_faces("folder", root=tmp_path / "absent")
    with pytest.raises(ParameterError, match="root="):
        fl.load_faces("folder")
    with pytest.raises(ParameterError, match="root="):
        fl.load_faces("csv")


def test_csv(tmp_path):
    save(tmp_path / "images" / "a.png", 7)
    points = dict(zip(LANDMARK_COLUMNS, range(10), strict=True))
    rows = [{"path": "images/a.png", "subject": "007", "age": 41, **points}]
    pd.DataFrame(rows).to_csv(tmp_path / "set.csv", index=False)
    faces = fl.load_faces(tmp_path / "set.csv", aligned="arcface")
    assert faces.names == ["images/a.png"]
    assert faces.subjects.tolist() == ["007"]
    assert faces.table["age"].tolist() == [41]
    assert faces.image(0)[0, 0, 0] == 7
    assert faces.landmarks[0, 4].tolist() == [8, 9]
    assert faces.aligned == "arcface"
    assert "nose_x" not in faces.table.columns
    moved = fl.load_faces(tmp_path / "set.csv", root=tmp_path / "elsewhere")
    assert "elsewhere" in moved.table["path"].iloc[0]


def test_csv_faults(tmp_path):
    file = tmp_path / "set.csv"
    file.write_text("file,subject\na,b\n")
    with pytest.raises(FaceSetError, match="missing path, found file, subject"):
        fl.load_faces(file)
    file.write_text("path,subject\na.png,x\n,y\n")
    with pytest.raises(FaceSetError, match=r"line\(s\) \[3\]"):
        fl.load_faces(file)
    with pytest.raises(FaceSetError, match="no such"):
        fl.load_faces(tmp_path / "absent.csv")


def test_names_of_columns_in_other_letters_are_told(tmp_path):
    (tmp_path / "set.csv").write_text("path,Subject\na.png,x\n")
    with pytest.raises(FaceSetError, match="'Subject' meant for 'subject'. It differs in letter"):
        fl.load_faces(tmp_path / "set.csv")
    with pytest.raises(ParameterError, match="source=''"):
        fl.load_faces("")


def test_a_csv_is_text_where_it_says_na(tmp_path):
    file = tmp_path / "set.csv"
    file.write_text("path,subject,country\na.png,NA,None\nb.png,NA,\n")
    faces = fl.load_faces(file)
    assert faces.subjects.tolist() == ["NA", "NA"]
    assert faces.table["country"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    "content", [b"", b"path,subject\n\xff\xfe,x\n", b'path,subject\n"a,b\nc,d,e,f\n']
)
def test_csv_that_cannot_be_read(tmp_path, content):
    (tmp_path / "set.csv").write_bytes(content)
    with pytest.raises(FaceSetError, match="set.csv"):
        fl.load_faces(tmp_path / "set.csv")


def test_landmarks_of_a_table(tmp_path):
    for name in ("x/1.png", "x/2.png"):
        save(tmp_path / "faces" / name)
    table = pd.DataFrame([range(10)], columns=LANDMARK_COLUMNS).assign(face="x/2.png")
    table.to_csv(tmp_path / "points.csv", index=False)
    faces = fl.load_faces(tmp_path / "faces", landmarks=tmp_path / "points.csv")
    assert np.isnan(faces.landmarks[0]).all()
    assert faces.landmarks[1].ravel().tolist() == list(range(10))
    table.assign(face="y/9.png").to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(FaceSetError, match="none of its faces"):
        fl.load_faces(tmp_path / "faces", landmarks=tmp_path / "other.csv")
    table.assign(nose_x="far").to_csv(tmp_path / "points.csv", index=False)
    with pytest.raises(FaceSetError, match="nose_x hold text"):
        fl.load_faces(tmp_path / "faces", landmarks=tmp_path / "points.csv")


def test_unknown_set_names_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'orl'"):
        fl.load_faces("orll")
    with pytest.raises(UnknownNameError, match="no such folder or CSV file.*sets: orl"):
        fl.load_faces("photo")
    for source in (None, 3, ["a"]):
        with pytest.raises(ParameterError, match="source="):
            fl.load_faces(source)
    with pytest.raises(ParameterError, match="neither root"):
        fl.load_faces("orl", root="x")
    assert fl.datasets.names()[0] == "orl"


def test_six_faces_of_two(tmp_path):
    """Copies that a notebook, a NAS and a Mac left are no people and no photographs."""
    real = ("Ann/1.jpg", "Ann/2.jpg")
    left = (
        *(".ipynb_checkpoints/1-checkpoint.jpg", "__MACOSX/1.jpg", "@eaDir/1.jpg"),
        *("Ann/._1.jpg", "#recycle/x.jpg", "lost+found/x.jpg"),
    )
    for name in (*real, *left):
        save(tmp_path / name)
    (tmp_path / "Ann" / "Thumbs.db").write_text("")
    (tmp_path / "Ann" / "desktop.ini").write_text("")
    faces = fl.load_faces(tmp_path)
    assert faces.names == list(real)
    assert faces.subjects.tolist() == ["Ann", "Ann"]
    assert faces.notes == (
        "left out, hidden or system files and folders: 8 "
        "(#recycle, .ipynb_checkpoints, @eaDir, ...)",
    )
    assert repr(faces).endswith(faces.notes[0] + ">")
    assert faces.select([0]).notes == faces.notes


def test_images_elsewhere_and_folders_that_cannot_be_entered_are_counted(tmp_path, monkeypatch):
    for name in ("Ann/1.png", "loose.png", "Bo/session/2.png", "closed/3.png"):
        save(tmp_path / name)
    (tmp_path / "back").symlink_to(tmp_path)
    real = os.scandir

    def scandir(path):
        if str(path).endswith("closed/"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", lambda path: scandir(f"{path}/"))
    with pytest.warns(LeftOutWarning, match="3 photographs were left out"):
        faces = fl.load_faces(tmp_path)
    assert faces.names == ["Ann/1.png"]
    said = repr(faces)
    assert "paths are not subject/image: 2 (Bo/session/2.png, loose.png)" in said
    assert "not searched as they cannot be read (Permission denied): 1 (closed/)" in said
    assert "not searched as they lead back to a folder above: 1 (back)" in said


def test_a_person_may_be_called_like_an_image(tmp_path):
    save(tmp_path / "J.Ras" / "1.png")
    (tmp_path / "J.Ras" / "2.jpg").mkdir()
    faces = fl.load_faces(tmp_path)
    assert faces.names == ["J.Ras/1.png", "J.Ras/2.jpg"]  # an empty folder: an unreadable image


JOSE = {form: unicodedata.normalize(form, "José") for form in ("NFC", "NFD")}


def test_one_person_in_two_forms_of_unicode_is_one(tmp_path):
    assert JOSE["NFC"] != JOSE["NFD"]
    for i, name in enumerate(JOSE.values()):
        save(tmp_path / name / f"{i}.png")
    faces = fl.load_faces(tmp_path)
    assert set(faces.subjects) == {JOSE["NFC"]}
    assert "two Unicode normal forms" in repr(faces)
    pairs = fl.make_pairs(faces, impostors_per_genuine=0)
    assert pairs["genuine"].tolist() == [True]


@pytest.mark.parametrize(
    ("there", "named", "differ"),
    [
        (f"{JOSE['NFD']}/1.png", f"{JOSE['NFC']}/1.png", "Unicode form"),
        (f"{JOSE['NFC']}/1.png", f"{JOSE['NFD']}/1.png", "Unicode form"),
        ("Ann/b/1.png", "Ann\\b\\1.png", "backslashes"),
        ("Ann/1.png", "ann/1.PNG", "letter case"),
        ("Ann Lee/1.png", "Ann  Lee/1.png", "spaces"),
        ("Ann /1.png", "Ann/1.png", "spaces"),
        ("Ann\u00a0Lee/1.png", "Ann Lee/1.png", "spaces"),
        (f"{JOSE['NFD']}/1.png", f"{JOSE['NFC'].upper()}\\1.png", "Unicode form and backslashes"),
    ],
)
def test_paths_of_a_table_that_are_spelled_otherwise(tmp_path, there, named, differ):
    save(tmp_path / there, 7)
    save(tmp_path / "other.png")
    (tmp_path / "set.csv").write_text(f'path,subject\n"{named}",a\nother.png,b\n')
    faces = fl.load_faces(tmp_path / "set.csv")
    assert faces.image(0)[0, 0, 0] == 7
    assert faces.names[0] == named
    (note,) = faces.notes
    assert note.startswith("1 path(s) differ from the names of the files in ")
    assert differ in note
    points = dict(zip(LANDMARK_COLUMNS, range(10), strict=True))
    pd.DataFrame([{"face": there, **points}]).to_csv(tmp_path / "points.csv", index=False)
    marked = fl.load_faces(tmp_path / "set.csv", landmarks=tmp_path / "points.csv")
    assert marked.landmarks[0, 4].tolist() == [8, 9]
    assert any(differ in note and "points.csv" in note for note in marked.notes)


def test_letter_case_that_tells_files_apart_is_kept(tmp_path):
    save(tmp_path / "a.png", 1)
    save(tmp_path / "A.png", 2)
    (tmp_path / "set.csv").write_text("path,subject\na.png,x\nA.png,x\nA.PNG,y\n")
    faces = fl.load_faces(tmp_path / "set.csv")
    assert [faces.image(i)[0, 0, 0] for i in (0, 1)] == [1, 2]
    assert any("not found: 1 of 3 files, such as 'A.PNG'" in note for note in faces.notes)


@pytest.mark.parametrize(
    ("named", "hint"),
    [
        ("Ann/1.jpg", "the extension differs: '1.png' exists"),
        ("Ann/11.png", "is '1.png' meant?"),
        ("Anna/1.png", "there is no folder '.*Anna'; .* exists"),
        (r"C:\faces\Ann\1.png", "a Windows path: give root="),
    ],
)
def test_what_differs_in_files_that_are_not_there(tmp_path, named, hint):
    save(tmp_path / "Ann" / "1.png")
    (tmp_path / "set.csv").write_text(f"path,subject\n{named},a\n")
    (note,) = fl.load_faces(tmp_path / "set.csv").notes
    assert re.search(f"not found: 1 of 1 files.*{hint}", note)


def test_files_of_a_table_that_cannot_be_read_are_counted(tmp_path):
    (tmp_path / "set.csv").write_text("path,subject\na.cr2,x\nb.CR2,x\nc.mp4,y\nd.jpg,y\n")
    for name in ("a.cr2", "b.CR2", "c.mp4", "d.jpg"):
        (tmp_path / name).write_bytes(b"")
    assert [note.partition(" (")[0] for note in fl.load_faces(tmp_path / "set.csv").notes] == [
        "cannot be read, extension .cr2: 2",
        "cannot be read, extension .mp4: 1",
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt"])
def test_tables_of_any_separator_and_encoding(tmp_path, separator, encoding, suffix):
    save(tmp_path / "José.png", 3)
    points = np.arange(10) + 0.25
    row = {"path": "José.png", "subject": "007", "age": 41.5}
    row |= dict(zip(LANDMARK_COLUMNS, points, strict=True))
    decimal = "." if separator == "," else ","
    file = tmp_path / f"set{suffix}"
    text = pd.DataFrame([row]).to_csv(None, sep=separator, index=False, decimal=decimal)
    file.write_bytes(text.replace("\n", "\r\n").encode(encoding))
    faces = fl.load_faces(file)
    assert faces.names == ["José.png"]
    assert faces.subjects.tolist() == ["007"]
    np.testing.assert_array_equal(faces.landmarks[0].ravel(), points)
    assert faces.table["age"].tolist() == [41.5]
    assert faces.image(0)[0, 0, 0] == 3
    assert faces.notes == ()
    named = fl.load_faces("csv", root=file)
    assert named.names == faces.names


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\npath;subject\na.png;x\n",
        "path, subject\na.png , x \n",
        "path,subject,\na.png,x,\n",
        "path,subject\na.png,x,\n",
        ",path,subject\n0,a.png,x\n",
        'path;subject\n"a.png";"x"\n',
    ],
)
def test_what_spreadsheets_write_around_a_table(tmp_path, text):
    save(tmp_path / "a.png")
    (tmp_path / "set.csv").write_text(text)
    faces = fl.load_faces(tmp_path / "set.csv")
    assert (faces.names, faces.subjects.tolist()) == (["a.png"], ["x"])
    assert list(faces.table.columns) == ["path", "subject"]
    assert faces.image(0).shape == (8, 8, 3)


def test_a_comma_in_a_table_of_commas_is_no_decimal_comma(tmp_path):
    (tmp_path / "set.csv").write_text('path,subject,codes\na.png,x,"1,2"\n')
    assert fl.load_faces(tmp_path / "set.csv").table["codes"].tolist() == ["1,2"]


def test_landmarks_of_faces_that_are_not_there_are_counted(tmp_path):
    for name in ("x/1.png", "x/2.png"):
        save(tmp_path / "faces" / name)
    table = pd.DataFrame([range(10)] * 2, columns=LANDMARK_COLUMNS)
    table.assign(face=["x/2.png", "x/3.png"]).to_csv(tmp_path / "points.csv", index=False)
    faces = fl.load_faces(tmp_path / "faces", landmarks=tmp_path / "points.csv")
    assert faces.notes == (
        "points.csv: 1 of its 2 names match no face of the set: x/3.png",
        "points.csv: 1 faces have no landmarks in it and will be detected: x/1.png",
    )
    table.assign(face=["x/2.png", "X/2.png"]).to_csv(tmp_path / "points.csv", index=False)
    with pytest.raises(FaceSetError, match="'x/2.png' has more than one row"):
        fl.load_faces(tmp_path / "faces", landmarks=tmp_path / "points.csv")


def test_roots_that_are_spelled_otherwise(tmp_path):
    save(tmp_path / JOSE["NFD"] / "Ann" / "1.png")
    assert len(fl.load_faces(tmp_path / JOSE["NFC"])) == 1
    save(tmp_path / "Photos" / "Ann" / "1.png")
    for call in (
        lambda: fl.load_faces(tmp_path / "photos"),
        lambda: fl.load_faces("folder", root=tmp_path / "photos"),
    ):
        with pytest.raises(FaceSetError, match="Photos' meant. It differs in letter case"):
            call()


def test_a_home_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save(tmp_path / "photos" / "Ann" / "1.png")
    assert fl.load_faces("~/photos").names == ["Ann/1.png"]
    assert fl.load_faces("folder", root="~/photos").names == ["Ann/1.png"]


def test_other_things_that_are_no_faces(tmp_path):
    with pytest.raises(FaceSetError, match="does not download face sets"):
        fl.load_faces("https://example.org/lfw.tgz")
    (tmp_path / "run.zarr").mkdir()
    (tmp_path / "run.zarr" / "zarr.json").write_text("{}")
    with pytest.raises(FaceSetError, match="is a Zarr store, not a face set"):
        fl.load_faces(tmp_path / "run.zarr")
    records = tmp_path / "faces_emore"
    records.mkdir()
    (records / "train.rec").write_bytes(b"\x0a\x23\xd7\xce")
    (records / "train.idx").write_text("0\t0\n")
    with pytest.raises(FaceSetError, match=r"1 \.rec \(a file of MXNet records"):
        fl.load_faces(records)
    (tmp_path / "lfw.tgz").write_bytes(b"\x1f\x8b")
    for name in ("lfw", "frll", "folder"):
        with pytest.raises(FaceSetError, match="lfw.tgz' is not a folder but an archive: unpack"):
            fl.load_faces(name, root=tmp_path / "lfw.tgz")
