import numpy as np
import pandas as pd
import pytest
from PIL import Image

import freqlab as fl
from freqlab.errors import FaceSetError, ParameterError, UnknownNameError
from freqlab.faces import LANDMARK_COLUMNS


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
    assert fl.face_set_names()[0] == "orl"
