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
    whole = fl.load_faces("faceforensics", root=set_folder)
    draw(set_folder / "manipulated_sequences/Deepfakes/c23/frames/000/0000.png")
    with pytest.warns(UserWarning, match="left out: 1 with other names"):
        faces = fl.load_faces("faceforensics", root=set_folder)
    assert faces.names == whole.names


BENCHMARK = [
    "original_sequences/youtube/{c}/frames/000/000.png",
    "original_sequences/youtube/{c}/frames/000/010.png",
    "original_sequences/youtube/{c}/frames/003/000.png",
    "original_sequences/actors/{c}/frames/01__exit_phone_room/000.png",
    "original_sequences/actors/{c}/frames/01__talking_against_wall/000.png",
    "original_sequences/actors/{c}/frames/02__exit_phone_room/000.png",
    "manipulated_sequences/Deepfakes/{c}/frames/000_003/000.png",
    "manipulated_sequences/FaceShifter/{c}/frames/003_000/000.png",
    "manipulated_sequences/DeepFakeDetection/{c}/frames/01_02__exit_phone_room__YVGY8LOK/000.png",
    "manipulated_sequences/DeepFakeDetection/{c}/frames/02_01__talking_against_wall__0XUW13RW/000.png",
]
BESIDE = [
    "original_sequences/youtube/{c}/masks/000/000.png",
    "original_sequences/youtube/{c}/landmarks/000/000.png",
    "manipulated_sequences/Deepfakes/{c}/masks/000_003/000.png",
    "manipulated_sequences/Deepfakes/{c}/mask/000_003/000.png",
    "manipulated_sequences/Deepfakes/masks/frames/000_003/000.png",
    "manipulated_sequences/NeuralTextures/{c}/frames_masks/000_003/000.png",
]
VIDEOS = [
    "original_sequences/youtube/{c}/videos/000.mp4",
    "manipulated_sequences/Deepfakes/{c}/videos/000_003.mp4",
    "manipulated_sequences/Deepfakes/masks/videos/000_003.mp4",
    "manipulated_sequences/Deepfakes/{c}/landmarks/000_003/000.npy",
]


def lay_out(root, paths, c="c23"):
    for path in paths:
        file = root / path.format(c=c)
        if file.suffix == ".png":
            draw(file)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"no image")


@pytest.mark.parametrize("above", ["", "rgb/FaceForensics++"])
@pytest.mark.parametrize("c", ["c23", "raw"])
def test_as_benchmarks_lay_it_out(tmp_path, above, c):
    lay_out(tmp_path / above, [*BENCHMARK, *BESIDE, *VIDEOS], c)
    with pytest.warns(
        UserWarning, match="1 in frames_masks, 1 in landmarks, 1 in mask, 3 in masks"
    ):
        faces = fl.load_faces("faceforensics", root=tmp_path)
    assert sorted(faces.names) == sorted(path.format(c=c) for path in BENCHMARK)
    table = faces.table
    for name in faces.names:
        assert table.loc[name, "label"] == (
            "pristine" if name.startswith("original") else "manipulated"
        )
    # the published names say target, source, scene and an identifier
    swap = table.loc[BENCHMARK[8].format(c=c)]
    assert (swap["subject"], swap["source_video"]) == ("01", "02")
    assert (swap["method"], swap["compression"], swap["frame"]) == ("DeepFakeDetection", c, 0)
    assert swap["pristine_video"] == "01__exit_phone_room"
    assert swap["source"] == BENCHMARK[3].format(c=c)
    assert table.loc[BENCHMARK[9].format(c=c), "source"] == ""  # no such scene of this actor here
    actor = table.loc[BENCHMARK[4].format(c=c)]
    assert (actor["subject"], actor["video"]) == ("01", "01__talking_against_wall")
    assert (actor["source_video"], actor["method"]) == ("", "")
    assert table.loc[BENCHMARK[6].format(c=c), "source"] == BENCHMARK[0].format(c=c)
    assert table.loc[BENCHMARK[6].format(c=c), "pristine_video"] == "000"
    assert fl.morphing.manipulation_pairs(faces)["method"].isin(["pristine", "FaceShifter"]).any()


def test_frames_only_are_read_where_crops_lie_beside_them(tmp_path):
    lay_out(tmp_path, [BENCHMARK[0], BENCHMARK[6]])
    lay_out(tmp_path, [p.replace("frames", "crops") for p in (BENCHMARK[0], BENCHMARK[6])])
    with pytest.warns(UserWarning, match="not frames are left out: 2 in crops"):
        assert len(fl.load_faces("faceforensics", root=tmp_path)) == 2
    for path in (BENCHMARK[0], BENCHMARK[6]):
        frames = tmp_path / path.format(c="c23")
        frames.parent.parent.rename(frames.parent.parent.with_name("faces"))
    with pytest.raises(FaceSetError, match="names, crops, faces; rename those to read to 'frames'"):
        fl.load_faces("faceforensics", root=tmp_path)
    for path in (BENCHMARK[0], BENCHMARK[6]):
        crops = (tmp_path / path.format(c="c23").replace("frames", "crops")).parent.parent
        crops.rename(crops.with_name("masks"))
    with pytest.warns(UserWarning, match="2 in masks"):
        assert len(fl.load_faces("faceforensics", root=tmp_path)) == 2


@pytest.mark.parametrize("frame", ["0007.png", "frame_0007.png", "frame7.jpg", "000_003_0007.png"])
def test_names_of_frames(tmp_path, frame):
    draw(tmp_path / "manipulated_sequences/Deepfakes/c23/frames/000_003" / frame)
    assert fl.load_faces("faceforensics", root=tmp_path).table["frame"].tolist() == [7]


def test_strays_among_frames(tmp_path):
    lay_out(tmp_path, BENCHMARK)
    draw(tmp_path / "original_sequences/youtube/c23/frames/000/cover.png")
    draw(tmp_path / "poster.png")
    with pytest.warns(UserWarning, match=r"1 in no folder, 1 with other names .*000/cover.png"):
        assert len(fl.load_faces("faceforensics", root=tmp_path)) == len(BENCHMARK)


def test_videos_and_masks_alone_are_told(tmp_path):
    lay_out(tmp_path / "videos", VIDEOS[:3])
    with pytest.raises(FaceSetError, match=r"found 3 videos \(.*extract their frames"):
        fl.load_faces("faceforensics", root=tmp_path / "videos")
    lay_out(tmp_path / "masks", BESIDE[2:4])
    with pytest.raises(FaceSetError, match="found 1 images in mask"):
        fl.load_faces("faceforensics", root=tmp_path / "masks")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FaceSetError, match="expected frames .*found nothing"):
        fl.load_faces("faceforensics", root=tmp_path / "empty")


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
    pairs = fl.morphing.manipulation_pairs(faces)
    made = pairs[pairs["method"] == "Deepfakes"]  # that of frame 0 was made of the reference
    assert made["probe"].str.endswith("000_003/0001.png").tolist() == [True]
    assert made["reference"].tolist() == [first]
