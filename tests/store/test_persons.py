"""Whatever shows a person or names them: faces made of them, images, columns, texts, leftovers."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from conftest import Linear, make_faces
from PIL import Image, PngImagePlugin
from small_stores import everything_decoded, texts
from typer.testing import CliRunner

import freqlab as fl
from freqlab.cli import app
from freqlab.errors import ParameterError, UnknownNameError
from freqlab.store.chunks import open_root
from freqlab.store.locking import locked
from freqlab.store.persons import Names

ADA = "Ada Lovelace"
ALL_NAMES = ("lovelace", "al-photo")


def embedded(store, faces, pairs=None, **options):
    model = fl.wrap_model(Linear(), name="linear")
    given = {"models": [model], "store": store, "progress": False}
    if pairs is None:
        fl.embed(faces, **given)
    else:
        fl.influence(faces, pairs, **given, **options)


def everywhere(store):
    """All text of a store and all names of its files, in small letters."""
    parts = [file.read_bytes().decode("latin1") for file in Path(store).rglob("zarr.json")]
    return "\n".join([texts(store), *parts]).casefold()


@pytest.fixture
def rich(tmp_path):
    """A run in which a person is in every place at once, and its folder of photographs."""
    base = make_faces(n_subjects=6, per_subject=2)
    subjects = [ADA if s == "p2" else s for s in base.table["subject"]]
    names = [n.replace("p2/", "al-photo/") for n in base.names]
    folder = tmp_path / "photographs"
    for name, image in zip(names, base.images, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{name}.png")
    table = pd.DataFrame(
        {"subject": subjects, "path": [str(folder / f"{n}.png") for n in names]},
        index=pd.Index(names, name="face"),
    )
    faces = fl.Faces(table, aligned="arcface", name="six")
    mixed = faces
    morphs = tmp_path / "morphs"
    morphs.mkdir()
    made = []
    for a, b in (("p0/0", "al-photo/0"), ("p0/0", "p1/0")):
        i, j = names.index(a), names.index(b)
        made.append((f"{a}+{b}@half", subjects[i], subjects[j], a, b))
        pixels = (base.images[i] // 2 + base.images[j] // 2).astype(np.uint8)
        write_morph(morphs / f"{made[-1][0].replace('/', '_')}.png", pixels, faces, i, j)
    rows = pd.DataFrame(
        {
            "subject": [f"{a}+{b}" for _, a, b, *_ in made],
            "path": [str(morphs / f"{n.replace('/', '_')}.png") for n, *_ in made],
            "morph": True,
            "contributor_a": [a for _, a, *_ in made],
            "contributor_b": [b for _, _, b, *_ in made],
        },
        index=pd.Index([n for n, *_ in made], name="face"),
    )
    mixed = fl.Faces(
        pd.concat([faces.table.assign(morph=False, contributor_a="", contributor_b=""), rows]),
        aligned="arcface",
        name="six",
    )
    mixed = fl.faces.degrade(mixed, resolutions=[28], probes=["al-photo/1", made[0][0], "p1/1"])
    store = tmp_path / "run.zarr"
    pairs = fl.make_pairs(mixed, impostors_per_genuine=2, seed=0)
    embedded(store, mixed, pairs, name="r")
    embedded(store, mixed, pairs, name="ada-lovelace_2", sides=["probe"])
    return store, morphs, folder


def write_morph(path, pixels, faces, i, j):
    """A file as freqlab marks those it makes; the pixels are of no matter here."""
    note = PngImagePlugin.PngInfo()
    first, second = (hashlib.sha256(faces.content(k)).hexdigest() for k in (i, j))
    note.add_text("freqlab-morph", json.dumps({"first": first, "second": second}))
    Image.fromarray(pixels).save(path, pnginfo=note)


@pytest.mark.slow
def test_nothing_is_left_and_nobody_else_is_touched(rich, tmp_path):
    store, morphs, folder = rich
    unused = morphs / "of another tool.png"  # in the folder, but not in the run
    shutil.copy(next(path for path in morphs.iterdir() if "al-photo" in path.name), unused)
    (morphs / ".p0_0+al-photo_0@half.png.x1.partial").write_bytes(b"begun")
    mine = morphs / "mine.png"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(mine)
    before = {name: fl.open_influence(store, name).load() for name in fl.store.result_names(store)}
    embeddings = fl.open_embeddings(store, model="linear").load()
    photographs = {path: path.read_bytes() for path in folder.rglob("*.png")}
    assert all(name in everywhere(store) for name in ALL_NAMES)

    removed = fl.store.forget(store, subject=ADA)
    assert removed["mentions"] == {}
    assert removed["faces"] == 2 + 1 + 2  # photographs, a morph, and both degraded
    assert removed["images"] == 3
    assert len(removed["photographs"]) == 2
    assert not [name for name in ALL_NAMES if name in everywhere(store)]
    assert {path.name for path in morphs.iterdir()} == {"p0_0+p1_0@half.png", "mine.png"}
    assert {path: path.read_bytes() for path in folder.rglob("*.png")} == photographs

    after = fl.store.result_names(store)
    assert len(after) == 2
    assert "r" in after
    renamed = next(name for name in after if name != "r")
    for old, new in (("r", "r"), ("ada-lovelace_2", renamed)):
        left = fl.open_influence(store, new).load()
        others = [
            not any(text in f"{probe} {reference}" for text in ("al-photo",))
            for probe, reference in zip(
                before[old]["probe"].to_numpy(), before[old]["reference"].to_numpy(), strict=True
            )
        ]
        kept = before[old].isel(pair=np.flatnonzero(others))
        assert 0 < kept.sizes["pair"] < before[old].sizes["pair"]
        for variable in ("influence", "similarity", "removed_rms", "threshold"):
            np.testing.assert_array_equal(left[variable], kept[variable])
        assert list(left["probe"].to_numpy()) == list(kept["probe"].to_numpy())
    alive = fl.open_embeddings(store, model="linear").load()
    assert "p0/0+p1/0@half" in alive["face"].to_numpy()
    assert "p1/1@28" in alive["face"].to_numpy()
    np.testing.assert_array_equal(alive, embeddings.sel(face=alive["face"].to_numpy()))
    assert len(fl.store.check(store)) == 0
    with pytest.raises(UnknownNameError, match="holds no subject"):
        fl.store.forget(store, subject=ADA)


@pytest.mark.slow
def test_real_morphs_go_with_their_files(tmp_path):
    """Landmark morphs of two demo faces, made by freqlab itself."""
    orl = fl.load_faces("orl").select([0, 1, 90, 91, 190, 191])
    couples = pd.DataFrame({"a": ["s1/1", "s10/1"], "b": ["s10/1", "s20/1"]})
    assert set(couples.to_numpy().ravel()) <= set(orl.names)
    folder, store = tmp_path / "morphs", tmp_path / "run.zarr"
    mixed = fl.morphing.make_faces(orl, couples, folder=folder, progress=False)
    fl.morphing.make_faces(
        orl, couples, folder=folder, alpha=0.3, progress=False
    )  # never in the run
    fl.embed(mixed, models=["mobilefacenet"], store=store, progress=False)
    assert len(list(folder.iterdir())) == 4
    removed = fl.store.forget(store, subject="s1")
    assert removed["images"] == 2
    assert removed["faces"] == 3
    assert sorted(path.name for path in folder.iterdir()) == [
        "s10_1+s20_1@alpha0.3.png",
        "s10_1+s20_1@alpha0.5.png",
    ]
    assert all(Path(path).is_file() for path in removed["photographs"])
    assert removed["mentions"] == {}  # s10 is another person


def run_of(tmp_path, **columns):
    faces = make_faces(n_subjects=4, per_subject=2)
    faces = fl.Faces(
        faces.table.assign(**columns), images=faces.images, aligned="arcface", name="set"
    )
    store = tmp_path / "run.zarr"
    embedded(store, faces)
    return store


def left(store):
    return list(fl.open_run(store)["faces"]["face"].to_numpy())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("contributor_b", "p1"),
        ("contributors", "somebody+p1"),
        ("target", "p1/0"),
        ("source", "p1/1"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("contributors", "p1 + p3"),
                ("contributors", "p2;p1"),
                ("actors", "p1"),
                ("source_video", "p1"),
                ("source_subject", "p1"),
                ("target_video", "p1"),
                ("pristine_video", "p1"),
                ("target", "p1"),
                ("source", "p1"),
            )
        ),
    ],
)
def test_what_derives_from_a_person(tmp_path, column, value):
    store = run_of(tmp_path, **{column: ["", "", "", "", "", "", "", value]})
    removed = fl.store.forget(store, subject="p1")
    assert removed["faces"] == 3
    assert removed["mentions"] == {}
    assert left(store) == ["p0/0", "p0/1", "p2/0", "p2/1", "p3/0"]
    assert "p1" not in texts(store)


def test_a_subject_that_is_a_list_of_subjects(tmp_path):
    faces = make_faces(n_subjects=4, per_subject=2)
    faces.table["subject"] = ["p0", "p0", "p1", "p1", "p2", "p0+p1", "p1, p2", "p1x+p2"]
    store = tmp_path / "run.zarr"
    embedded(store, fl.Faces(faces.table, images=faces.images, aligned="arcface"))
    assert fl.store.forget(store, subject="p1")["faces"] == 4
    assert left(store) == ["p0/0", "p0/1", "p2/0", "p3/1"]


@pytest.mark.slow
def test_names_that_hold_separators(tmp_path):
    faces = make_faces(n_subjects=4, per_subject=2)
    people = ["Ada", "Ada", "Lovelace, Ada", "Lovelace, Ada", "Bo+Cy", "Bo+Cy"]
    faces.table["subject"] = [*people, "m1", "m2"]
    faces.table["contributor_a"] = [*[""] * 6, "Lovelace, Ada", "Bo+Cy+Ada"]
    store = tmp_path / "run.zarr"
    embedded(store, fl.Faces(faces.table, images=faces.images, aligned="arcface"))
    assert fl.store.forget(store, subject="Ada")["faces"] == 3
    assert left(store) == ["p1/0", "p1/1", "p2/0", "p2/1", "p3/0"]
    assert fl.store.forget(store, subject="Bo+Cy")["faces"] == 2
    assert left(store) == ["p1/0", "p1/1", "p3/0"]


@pytest.mark.slow
def test_labels_of_nought_and_one_are_no_people(tmp_path):
    faces = make_faces(n_subjects=2, per_subject=2)
    faces.table["subject"] = ["0", "0", "1", "1"]
    faces.table["target"] = ["0", "1", "0", "1"]
    store = tmp_path / "run.zarr"
    embedded(store, fl.Faces(faces.table, images=faces.images, aligned="arcface"))
    assert fl.store.forget(store, subject="1")["faces"] == 2
    assert left(store) == ["p0/0", "p0/1"]


@pytest.mark.slow
def test_columns_that_readers_declare(tmp_path):
    faces = make_faces(n_subjects=3, per_subject=2)
    table = faces.table.assign(donor=["", "", "", "", "", "p1"])
    declared = fl.Faces(table, images=faces.images, aligned="arcface", names_people=["donor"])
    embedded(tmp_path / "run.zarr", declared)
    assert fl.store.forget(tmp_path / "run.zarr", subject="p1")["faces"] == 3
    plain = fl.Faces(table, images=faces.images, aligned="arcface")
    embedded(tmp_path / "plain.zarr", plain)
    removed = fl.store.forget(tmp_path / "plain.zarr", subject="p1")
    assert removed["faces"] == 2
    assert removed["mentions"] == {"faces/donor": 1}
    again = fl.store.forget(tmp_path / "plain.zarr", subject="p1", people=["donor"])
    assert again["faces"] == 1
    assert again["mentions"] == {}
    with pytest.raises(UnknownNameError, match="unknown column in people= 'doner'.*'donor'"):
        fl.store.forget(tmp_path / "plain.zarr", subject="p2", people=["doner"])
    with pytest.raises(UnknownNameError, match="unknown column in names_people= 'doner'"):
        fl.Faces(table, images=faces.images, aligned="arcface", names_people=["doner"])
    with pytest.raises(ParameterError, match="names_people='donor' must be a list"):
        fl.Faces(table, images=faces.images, aligned="arcface", names_people="donor")


def test_known_sets_declare_theirs(tmp_path):
    frames = {
        "original_sequences/youtube/c23/frames/000": "0000.png",
        "original_sequences/youtube/c23/frames/003": "0000.png",
        "original_sequences/youtube/c23/frames/007": "0000.png",
        "manipulated_sequences/Deepfakes/c23/frames/000_003": "0000.png",
        "manipulated_sequences/Deepfakes/c23/frames/007_000": "0000.png",
    }
    rng = np.random.default_rng(0)
    for folder, file in frames.items():
        (tmp_path / "ff" / folder).mkdir(parents=True)
        pixels = rng.integers(0, 255, (112, 112, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "ff" / folder / file)
    faces = fl.load_faces("faceforensics", root=tmp_path / "ff", aligned="arcface")
    store = tmp_path / "run.zarr"
    embedded(store, faces)
    assert fl.open_run(store)["faces"].attrs["names_people"] == [
        *("pristine_video", "source", "source_video")
    ]
    assert fl.store.forget(store, subject="003")["faces"] == 2
    assert sorted(name.split("/")[-2] for name in left(store)) == ["000", "007", "007_000"]


@pytest.mark.slow
def test_tables_whose_people_are_numbers(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c", "d"):
        Image.fromarray(rng.integers(0, 255, (112, 112, 3), np.uint8)).save(
            tmp_path / f"{name}.png"
        )
    rows = ["a.png,001,,", "b.png,002,,", "c.png,m,001,002", "d.png,003,,"]
    table = "image,subject,contributor_a,contributor_b\n" + "\n".join(rows) + "\n"
    (tmp_path / "faces.csv").write_text(table)
    embedded(tmp_path / "run.zarr", fl.load_faces(tmp_path / "faces.csv", aligned="arcface"))
    assert fl.store.forget(tmp_path / "run.zarr", subject="002")["faces"] == 2
    assert left(tmp_path / "run.zarr") == ["a.png", "d.png"]
    # and where they were stored as numbers
    numbers = run_of(tmp_path / "numbers", contributor_a=[np.nan] * 7 + [7.0])
    run = zarr.open_group(numbers, mode="r+")
    subjects = run["faces/subject"]
    subjects[0] = "7"
    assert fl.store.forget(numbers, subject="7")["faces"] == 2


@pytest.mark.slow
def test_documents_of_a_table_of_pairs(tmp_path):
    """The faces do not say of whom a morph is; the pairs do."""
    faces = make_faces(n_subjects=3, per_subject=2)
    subjects = ["p0", "p0", "p1", "p1", "morph 1", "morph 2"]
    faces = fl.Faces(faces.table.assign(subject=subjects), images=faces.images, aligned="arcface")
    pairs = pd.DataFrame(
        {
            "probe": ["p0/1", "p1/1", "p0/1", "p1/1", "p0/1"],
            "reference": ["p0/0", "p1/0", "p2/0", "p2/0", "p2/1"],
            "genuine": [True, True, False, False, False],
            "attack": ["bona fide", "bona fide", "mix", "mix", "mix"],
            "contributor_a": ["p0", "p1", "p0", "p0", "p0"],
            "contributor_b": ["p0", "p1", "p1", "p1", "somebody"],
        }
    )
    store = tmp_path / "run.zarr"
    embedded(store, faces, pairs, name="r")
    removed = fl.store.forget(store, subject="p1")
    assert removed["faces"] == 3
    assert removed["pairs"] == 3
    assert left(store) == ["p0/0", "p0/1", "p2/1"]
    assert "p1" not in texts(store)


def orphans(store):
    return [file for file in store.rglob("*") if "/c/1" in str(file) and file.is_file()]


@pytest.mark.slow
def test_leftovers_of_a_growth_that_was_killed(tmp_path):
    """Rows and whole chunks behind the last face, in every node, of faces that were never added."""
    store = run_of(tmp_path)
    root = zarr.open_group(store, mode="r+")
    for path in ("faces", "crops/arcface", "embeddings/linear/intact"):
        for name, array in root[path].arrays():
            before = array.shape
            array.resize((40, *before[1:]))
            array[8:] = "Ada Lovelace" if array.dtype.kind == "T" else 7
            if path == "faces" and name != "subject":
                (store / path / name / "zarr.json").write_text(
                    (store / path / name / "zarr.json").read_text().replace("40", "8", 1)
                )
    assert orphans(store)
    assert "lovelace" in everywhere(store)
    fl.store.forget(store, subject="p1")
    assert not orphans(store)
    assert "lovelace" not in everywhere(store)
    for path, values in everything_decoded(store).items():
        if path.startswith(("crops", "embeddings")) and values.dtype.kind != "T":
            assert not (values[8:] == 7).any(), path


def test_what_remains_is_told_until_nothing_does(tmp_path):
    notes = ["", "", "", "", "", "a friend of p1/0 and P1.", "see p12", ""]
    store = run_of(tmp_path, note=notes, fold=["p1x"] * 8)
    result = CliRunner().invoke(app, ["forget", str(store), "--subject", "p1"])
    assert result.exit_code == 1, result.output
    assert "removed 2 faces" in result.output
    assert "faces/note: 1" in result.output
    assert "--accept" in result.output
    again = CliRunner().invoke(app, ["forget", str(store), "--subject", "p1"])
    assert again.exit_code == 1
    root = zarr.open_group(store, mode="r+")
    root["faces/note"][5] = ""
    done = CliRunner().invoke(app, ["forget", str(store), "--subject", "p1"])
    assert done.exit_code == 0, done.output
    assert "mentioned" not in zarr.open_group(store, mode="r").attrs
    assert fl.store.check(store).empty
    with pytest.raises(UnknownNameError):
        fl.store.forget(store, subject="p1")


def test_what_remains_may_be_accepted(tmp_path):
    store = run_of(tmp_path, note=[*[""] * 7, "p1"])
    result = CliRunner().invoke(app, ["forget", str(store), "--subject", "p1", "--accept"])
    assert result.exit_code == 0
    assert "faces/note: 1" in result.output
    assert "mentioned" not in zarr.open_group(store, mode="r").attrs
    with pytest.raises(UnknownNameError, match="It is named in faces/note"):
        fl.store.forget(store, subject="p1")


@pytest.mark.filterwarnings("ignore:Object at p1.txt is not recognized")
def test_names_in_attributes_columns_and_files(tmp_path):
    faces = make_faces(n_subjects=4, per_subject=2, credit="Photographs: p1 and others")
    faces = fl.Faces(
        faces.table.assign(**{"likes p1": "x"}),
        images=faces.images, aligned="arcface", name="p1", credit=faces.credit,
    )  # fmt: skip
    pairs = fl.make_pairs(faces, seed=0).assign(note="p1's neighbour", people="p0, p1, p2")
    store = tmp_path / "p1.zarr"
    embedded(store, faces, pairs, name="r")
    zarr.open_group(store, mode="r+").attrs["by"] = json.dumps({"who": ["p1"]})
    (store / "p1.txt").write_text("a stray file")
    removed = fl.store.forget(store, subject="p1")
    assert removed["mentions"] == {
        "@by": 1,
        "the name of the run": 1,
        "p1.txt (its name)": 1,
        "faces/likes p1 (its name)": 1,
        "faces@whole": 1,
        "influence/r/note": fl.open_influence(store, "r").sizes["pair"],
        "influence/r/people": fl.open_influence(store, "r").sizes["pair"],
        "influence/r@credit": 1,
    }
    assert fl.open_influence(store, "r").attrs["face_set"] == "(forgotten)"
    assert (store / "p1.txt").is_file()


def copies(store):
    """What the record of a store says, as it lies on the disk."""
    files = [file for file in Path(store, "digests").rglob("*") if file.is_file()]
    return "\n".join(file.read_bytes().decode("latin1") for file in files).casefold()


def test_the_bytes_of_texts(tmp_path):
    """Each text has a twin of bytes for programs without a type for text."""
    store = run_of(tmp_path, note=[*[""] * 6, "by Ada Lovelace", ""])
    root = zarr.open_group(store, mode="r+")
    twins = [name for name, array in root["faces"].arrays() if "text_of" in array.attrs]
    assert {"face_utf8", "subject_utf8", "note_utf8"} <= set(twins)
    root["faces/subject"][2:4] = ADA
    as_bytes = np.frombuffer(f"{ADA:\0<64}".encode(), np.uint8)
    root["faces/subject_utf8"][2:4] = np.tile(as_bytes, (2, 1))
    removed = fl.store.forget(store, subject=ADA)
    assert removed["faces"] == 2
    assert removed["mentions"] == {"faces/note": 1}
    root["faces/note"][6] = ""  # with a program that knows nothing of the bytes
    assert b"Lovelace" in root["faces/note_utf8"][:].tobytes()
    assert fl.store.forget(store, subject=ADA)["mentions"] == {}
    for name in twins:
        decoded = root[f"faces/{name}"][:].tobytes().replace(b"\0", b"").decode().casefold()
        assert "lovelace" not in decoded, name
        texts_of = "".join(map(str, root["faces"][name.removesuffix("_utf8")][:]))
        assert decoded == texts_of.casefold(), name
    assert fl.store.check(store).empty
    root["faces/note_utf8"][0] = np.frombuffer(b"p3".ljust(64, b"\0"), np.uint8)
    with locked(store):
        del open_root(store, "r+")["faces"]["note"]
    assert list(fl.store.forget(store, subject="p3")["mentions"]) == ["faces/note_utf8"]


@pytest.mark.slow
def test_copies_of_descriptions(tmp_path):
    """The record of a store keeps what each description says, also of results that are gone."""
    faces = make_faces(n_subjects=4, per_subject=2)
    faces.table["subject"] = [ADA if s == "p1" else s for s in faces.table["subject"]]
    faces = fl.Faces(faces.table, images=faces.images, aligned="arcface", name="of Ada Lovelace")
    pairs = fl.make_pairs(faces, seed=0)
    store = tmp_path / "run.zarr"
    embedded(store, faces, pairs, name="ada-lovelace")
    with locked(store):
        open_root(store, "r+").attrs["told"] = "by Ada Lovelace"
    assert "lovelace" in copies(store)
    removed = fl.store.forget(store, subject=ADA)
    assert removed["mentions"] == {"@told": 1}
    with locked(store):
        open_root(store, "r+").attrs["told"] = "by somebody"
    assert fl.store.forget(store, subject=ADA)["mentions"] == {}
    assert "lovelace" not in copies(store)
    assert "lovelace" not in everywhere(store)
    assert fl.store.check(store).empty
    # what was edited before, by another program, is in the copy only
    with locked(store):
        open_root(store, "r+")["faces"].attrs["told"] = "of p2"
    zarr.open_group(store, mode="r+")["faces"].attrs["told"] = "of somebody"
    told = {"digests (copy of faces/zarr.json)": 1}
    assert fl.store.forget(store, subject="p2")["mentions"] == told
    assert fl.store.forget(store, subject="p2")["mentions"] == {}
    assert "p2" not in copies(store)
    assert fl.store.check(store).empty


def test_a_record_that_is_damaged(tmp_path):
    store = run_of(tmp_path)
    log = store / "digests" / "log-0123456789ab-00000" / "zarr.json"
    log.parent.mkdir()
    log.write_text('{"attributes": {"entries": {"influence/p1/zarr.json": [')
    assert list(fl.store.forget(store, subject="p1")["mentions"]) == [
        "digests/log-0123456789ab-00000"
    ]


def test_what_was_set_aside(tmp_path):
    store = run_of(tmp_path, note=["p1", *[""] * 7])
    root = zarr.open_group(store, mode="r")
    aside = tmp_path / "run.zarr.set-aside"
    for path in ("faces/subject", "faces/fold_utf8", "embeddings/linear/intact/embedding"):
        (aside / path / "c").mkdir(parents=True)
    chunk = (store / "faces" / "subject" / "c" / "0").read_bytes()
    (aside / "faces" / "subject" / "c" / "0").write_bytes(chunk)
    (aside / "faces" / "subject" / "c" / "0~").write_bytes(chunk[:-1])  # damaged
    (aside / "embeddings" / "linear" / "intact" / "embedding" / "c" / "0").write_bytes(b"\x00" * 9)
    (aside / "of p1.txt").write_text("a list")
    (aside / "list.txt").write_text("p2 and p3\n")
    (aside / "zarr.json").write_text(
        json.dumps({**root.metadata.to_dict(), "attributes": {"by": "p1"}})
    )
    told = {
        "faces/note": 1,
        "run.zarr.set-aside/faces/subject/c/0": 1,
        "run.zarr.set-aside/of p1.txt": 1,
        "run.zarr.set-aside/zarr.json": 1,
        "run.zarr.set-aside (files that may show the person)": 2,
    }
    assert fl.store.forget(store, subject="p1")["mentions"] == told
    root = zarr.open_group(store, mode="r+")
    root["faces/note"][0] = ""
    del told["faces/note"]
    assert fl.store.forget(store, subject="p1")["mentions"] == told
    for name in ("faces/subject/c/0", "of p1.txt", "zarr.json"):
        (aside / name).unlink()
    only = "run.zarr.set-aside (files that may show the person)"
    assert fl.store.forget(store, subject="p1")["mentions"] == {only: 2}
    assert "p1" not in zarr.open_group(store, mode="r").attrs["mentioned"]
    assert fl.store.forget(store, subject="p1")["mentions"] == {only: 2}
    shutil.rmtree(aside)
    assert fl.store.forget(store, subject="p1")["mentions"] == {}
    assert fl.store.check(store).empty


@pytest.mark.parametrize(
    ("name", "text", "held"),
    [
        ("s1", "s1", True),
        ("s1", "S1/3.pgm", True),
        ("s1", "s1_0001", True),
        ("s1", "s12", False),
        ("s1", "as1", False),
        ("1", "1", True),
        ("1", "subjects 1, 2 and 3", True),
        ("1", "1+2", True),
        ("1", "/set/1/a.png", True),
        ("1", "11", False),
        ("1", "0.1", False),
        ("1", "1.5", False),
        ("1", "2026-01-1", False),
        ("1", "a1", False),
        ("1", "img_1.png", False),
        ("Ada Lovelace", "ada_lovelace-2.png", True),
        ("Ada Lovelace", "Ada King, Countess of Lovelace", False),
        ("José", "Jose\u0301 G.", True),
        ("$$", "$$", True),
        ("$$", "a $$ b", False),
    ],
)
def test_what_holds_a_name(name, text, held):
    assert Names([name]).held_by(text) is held


KILLED = """
import sys
import os
import pathlib
import freqlab as fl

left = int(sys.argv[2])
unlink = pathlib.Path.unlink
def die(path, missing_ok=False):
    global left
    if "al-photo" in path.name:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
    return unlink(path, missing_ok)
pathlib.Path.unlink = die
fl.store.forget(sys.argv[1], subject="Ada Lovelace")
"""


@pytest.mark.slow
def test_killed_while_images_are_removed(rich, tmp_path):
    store, morphs, _ = rich
    (tmp_path / "killed.py").write_text(KILLED)
    (morphs / ".p0_0+al-photo_0@half.png.x1.partial").write_bytes(b"begun")
    ended = subprocess.run([sys.executable, tmp_path / "killed.py", store, "1"])
    assert ended.returncode == -9
    removed = fl.store.forget(store, subject=ADA)
    assert removed["mentions"] == {}
    assert not [name for name in ALL_NAMES if name in everywhere(store)]
    assert [path.name for path in morphs.iterdir()] == ["p0_0+p1_0@half.png"]
