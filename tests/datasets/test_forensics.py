"""FaceForensics++ in its own layout; tables of one's own with labels."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import freqlab as fl
from freqlab.errors import FaceSetError


def draw(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), 128, np.uint8)).save(path)


@pytest.fixture
def set_folder(tmp_path):
    for path in (
        "original_sequences/youtube/c23/frames/000/0000.png",
        "original_sequences/youtube/c23/frames/003/0010.png",
        "manipulated_sequences/Deepfakes/c23/frames/000_003/0000.png",
        "manipulated_sequences/NeuralTextures/c40/frames/003_000/0020.png",
    ):
        draw(tmp_path / "ff" / path)
    return tmp_path / "ff"


def test_frames_are_labelled_by_their_folders(set_folder):
    faces = fl.load_faces("faceforensics", root=set_folder)
    table = faces.table
    assert len(faces) == 4
    assert table["label"].value_counts().to_dict() == {"pristine": 2, "manipulated": 2}
    swap = table.loc["manipulated_sequences/Deepfakes/c23/frames/000_003/0000.png"]
    assert (swap["subject"], swap["source_video"], swap["method"]) == ("000", "003", "Deepfakes")
    other = table.loc["manipulated_sequences/NeuralTextures/c40/frames/003_000/0020.png"]
    assert (other["compression"], other["frame"], other["subject"]) == ("c40", 20, "003")
    whole = table.loc["original_sequences/youtube/c23/frames/000/0000.png"]
    assert (whole["subject"], whole["method"], whole["label"]) == ("000", "", "pristine")
    assert (faces.image(0) == 128).all()


def test_other_layouts_are_told(set_folder, tmp_path):
    with pytest.raises(FaceSetError, match="no such folder"):
        fl.load_faces("faceforensics", root=tmp_path / "nowhere")
    draw(tmp_path / "bad" / "000" / "0000.png")
    with pytest.raises(FaceSetError, match="original_sequences/youtube"):
        fl.load_faces("faceforensics", root=tmp_path / "bad")
    draw(set_folder / "manipulated_sequences/Deepfakes/c23/frames/000/0000.png")
    with pytest.raises(FaceSetError, match="original_sequences/youtube"):
        fl.load_faces("faceforensics", root=set_folder)


@pytest.mark.parametrize("column", ["path", "image"])
def test_a_table_of_image_subject_label_and_method_is_read(tmp_path, column):
    for name in ("a.png", "b.png"):
        draw(tmp_path / name)
    table = pd.DataFrame(
        {
            "face": ["one", "two"],
            column: [str(tmp_path / "a.png"), str(tmp_path / "b.png")],
            "subject": ["p", "p"],
            "label": ["pristine", "manipulated"],
            "method": ["", "filter"],
        }
    )
    table.to_csv(tmp_path / "set.csv", index=False)
    faces = fl.load_faces(tmp_path / "set.csv")
    assert faces.table["label"].tolist() == ["pristine", "manipulated"]
    assert faces.table["method"].fillna("").tolist() == ["", "filter"]
    assert faces.table["path"].tolist() == [str(tmp_path / "a.png"), str(tmp_path / "b.png")]


def test_frames_pair_with_another_frame_of_their_pristine_video(set_folder):
    draw(set_folder / "original_sequences/youtube/c23/frames/000/0001.png")
    draw(set_folder / "manipulated_sequences/Deepfakes/c23/frames/000_003/0001.png")
    faces = fl.load_faces("faceforensics", root=set_folder)
    first, second = (f"original_sequences/youtube/c23/frames/000/{i:04d}.png" for i in (0, 1))
    source = faces.table["source"]
    assert source["manipulated_sequences/Deepfakes/c23/frames/000_003/0001.png"] == second
    assert source["manipulated_sequences/NeuralTextures/c40/frames/003_000/0020.png"] == ""
    pairs = fl.manipulation_pairs(faces)
    made = pairs[pairs["method"] == "Deepfakes"]  # that of frame 0 was made of the reference
    assert made["probe"].str.endswith("000_003/0001.png").tolist() == [True]
    assert made["reference"].tolist() == [first]
