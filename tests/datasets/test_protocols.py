"""Lists of pairs in their published formats."""

import pickle
import time

import numpy as np
import pandas as pd
import pytest

import freqlab as fl
from freqlab.datasets.protocols import PAIR_FORMATS, read_pairs
from freqlab.errors import FaceSetError, PairError, ParameterError, UnknownNameError


def faces_named(names, subjects):
    table = pd.DataFrame(
        {"subject": subjects, "path": list(names)}, index=pd.Index(list(names), name="face")
    )
    return fl.Faces(table, name="made")


@pytest.fixture
def lfw():
    names = [f"{who}/{who}_{i:04d}.jpg" for who in ("Ann", "Bo_Li", "Cy") for i in (1, 2, 3)]
    return faces_named(names, [name.split("/")[0] for name in names])


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def ends(pairs):
    """Reference and probe of each pair without folder, number padding and ending."""
    short = [
        pairs[side].astype(str).str.extract(r"([^/]+?)(?:\.\w+)?$")[0]
        for side in ("reference", "probe")
    ]
    return list(zip(*short, strict=True))


TWO_FOLDS = ("Ann\t1\t2", "Ann\t1\tCy\t3", "Bo_Li\t3\t1", "Bo_Li\t2\tAnn\t3")


@pytest.mark.parametrize("header", [(), ("2\t1",), ("2 1",)])
@pytest.mark.parametrize("separator", ["\t", " ", "   "])
@pytest.mark.parametrize("end", ["", "\r"])
def test_lfw(tmp_path, lfw, header, separator, end):
    lines = [line.replace("\t", separator) + end for line in (*header, *TWO_FOLDS)]
    pairs = read_pairs(write(tmp_path / "pairs.txt", *lines), lfw)
    assert pairs.columns.tolist() == ["probe", "reference", "genuine", "fold"]
    assert ends(pairs) == [
        ("Ann_0001", "Ann_0002"),
        ("Ann_0001", "Cy_0003"),
        ("Bo_Li_0003", "Bo_Li_0001"),
        ("Bo_Li_0002", "Ann_0003"),
    ]
    assert pairs["genuine"].tolist() == [True, False, True, False]
    assert pairs["genuine"].dtype == bool
    assert pairs["fold"].tolist() == [1, 1, 2, 2]
    assert pairs.index.equals(pd.RangeIndex(4, name="pair"))
    for side in ("probe", "reference"):
        assert pairs[side].cat.categories.tolist() == lfw.names


def test_the_development_view_of_lfw_has_no_folds(tmp_path, lfw):
    pairs = read_pairs(write(tmp_path / "pairsDevTest.txt", "1", "Ann 1 2", "Ann 1 Cy 1"), lfw)
    assert "fold" not in pairs.columns
    assert len(pairs) == 2


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("2 2", *TWO_FOLDS), "announces 8 pairs; the file has 4"),
        (("1 2", *TWO_FOLDS), "line 3 is of the other kind"),
        (("2 1", *TWO_FOLDS[:3], "Bo_Li 2 Ann"), "found.*Bo_Li  2  Ann"),
        (("Ann 1 2", "Ann one 2"), "found.*Ann  one  2"),
        (("Ann 1 2", "Ann"), "expected lines 'Name 1 4'"),
        (("Ann 1 2", "Ann 1 Cy 1 Bo_Li 2"), "not a list in the format of LFW"),
        (("2 1",), "found nothing"),
        (("Ann 1 2", "Ann 1 1"), "pair a face with itself"),
        (("Ann 1 2", "Ann 2 1"), "repeat a pair"),
    ],
)
def test_faults_of_a_list_of_lfw(tmp_path, lfw, lines, message):
    with pytest.raises(PairError, match=message):
        read_pairs(write(tmp_path / "pairs.txt", *lines), lfw, format="lfw", strict=True)


def test_an_empty_list(tmp_path, lfw):
    (tmp_path / "pairs.txt").write_text("")
    for kind in ("lfw", "calfw", "bfw", "csv"):
        with pytest.raises(PairError):
            read_pairs(tmp_path / "pairs.txt", lfw, format=kind)
    with pytest.raises(PairError, match="It begins with ''"):
        read_pairs(tmp_path / "pairs.txt", lfw)


@pytest.fixture
def rfw():
    names = [
        f"{race}/m.0{race[:2]}{p}/m.0{race[:2]}{p}_000{i}.jpg"
        for race in ("African", "Asian")
        for p in "xy"
        for i in (1, 2)
    ]
    return faces_named(names, [name.split("/")[1] for name in names])


def test_rfw(tmp_path, rfw):
    for race in ("African", "Asian"):
        a, b = f"m.0{race[:2]}x", f"m.0{race[:2]}y"
        write(
            tmp_path / "txts" / race / f"{race}_pairs.txt",
            *(f"{a}\t1\t2", f"{a}\t1\t{b}\t1", f"{b}\t2\t1", f"{b}\t2\t{a}\t2"),
        )
    one = read_pairs(tmp_path / "txts" / "Asian" / "Asian_pairs.txt", rfw)
    assert one["reference"].astype(str).tolist()[:1] == ["Asian/m.0Asx/m.0Asx_0001.jpg"]
    assert one["ethnicity"].tolist() == ["asian"] * 4
    assert one["fold"].tolist() == [1, 1, 2, 2]
    every = read_pairs(tmp_path / "txts", rfw)
    assert every["ethnicity"].tolist() == ["african"] * 4 + ["asian"] * 4
    assert every["fold"].tolist() == [1, 1, 2, 2] * 2
    # faces of the folder of one ethnicity alone are named without it
    alone = faces_named([n.removeprefix("Asian/") for n in rfw.names[4:]], rfw.subjects[4:])
    found = read_pairs(tmp_path / "txts" / "Asian" / "Asian_pairs.txt", alone)
    assert found["probe"].astype(str).tolist()[0] == "m.0Asx/m.0Asx_0002.jpg"
    with pytest.raises(PairError, match="a list of RFW must be named African_pairs.txt"):
        read_pairs(write(tmp_path / "pairs.txt", "m.0Asx 1 2"), rfw, format="rfw")
    (tmp_path / "none").mkdir()
    with pytest.raises(PairError, match="no list African_pairs.txt"):
        read_pairs(tmp_path / "none", rfw, format="rfw")


@pytest.mark.parametrize("name", ["calfw", "cplfw"])
def test_calfw_and_cplfw(tmp_path, name):
    images = [f"{who}_{i}.jpg" for who in ("Ann", "Bo_Li") for i in range(1, 21)]
    faces = faces_named(images, [image.rsplit("_", 1)[0] for image in images])
    genuine = [line for i in range(1, 11) for line in (f"Ann_{i}.jpg 1", f"Ann_{i + 10}.jpg 1")]
    impostor = [line for i in range(1, 21) for line in (f"Ann_{i}.jpg 0", f"Bo_Li_{i}.jpg 0")]
    path = write(tmp_path / "pairs.txt", *genuine, *impostor)
    for kind in ("auto", name):
        pairs = read_pairs(path, faces, format=kind)
        assert pairs["genuine"].tolist() == [True] * 10 + [False] * 20
        assert ends(pairs)[0] == ("Ann_1", "Ann_11")
        assert pairs["fold"].tolist()[:10] == list(range(1, 11))
        assert pairs.groupby("fold").size().tolist() == [3] * 10
    with pytest.raises(PairError, match="found 59 lines"):
        read_pairs(write(path, *genuine, *impostor[:-1]), faces, format=name)
    with pytest.raises(PairError, match="different labels; .* at line 3"):
        read_pairs(write(path, *genuine[:2], "Ann_2.jpg 1", "Ann_3.jpg 0"), faces, format=name)
    with pytest.raises(PairError, match=r"found \['Ann_2.jpg same'\]"):
        read_pairs(write(path, "Ann_1.jpg 1", "Ann_2.jpg same"), faces, format=name)
    path.write_bytes(b"Ann_1.jpg 1\n\xff\xfe 1\n")
    with pytest.raises(PairError, match="is not UTF-8 text"):
        read_pairs(path, faces, format=name)


@pytest.mark.parametrize(
    "lines", [("a.jpg\x000", "b.jpg 1", "c.jpg 0"), ("a.jpg 1", "b.jpg\x001"), ("\x00",)]
)
def test_lines_without_a_label(tmp_path, lines):
    file = tmp_path / "pairs_CALFW.txt"
    write(file, *lines)
    with pytest.raises(PairError, match="expected two lines 'image label' for each pair"):
        read_pairs(file, faces_named(["a.jpg", "b.jpg", "c.jpg"], list("abc")), format="calfw")


@pytest.fixture
def cfp(tmp_path):
    names = [f"00{s}/{pose}/0{i}.jpg" for s in (1, 2) for pose, i in POSES]
    folder = tmp_path / "Protocol"
    for letter, pose in (("F", "frontal"), ("P", "profile")):
        images = [f"../Data/Images/{name}" for name in names if pose in name]
        write(
            folder / f"Pair_list_{letter}.txt",
            *(f"{i} {image}" for i, image in enumerate(images, 1)),
        )
    for kind, same, diff in (
        ("FP", ("1,1", "3,2"), ("1,2", "3,1")),
        ("FF", ("1,2", "3,4"), ("1,3", "2,4")),
    ):
        for fold in (1, 2):
            split = folder / "Split" / kind / f"0{fold}"
            write(split / "same.txt", same[fold - 1])
            write(split / "diff.txt", diff[fold - 1])
    return folder, faces_named(names, [name[:3] for name in names])


POSES = (("frontal", 1), ("frontal", 2), ("profile", 1))


def test_cfp(cfp):
    folder, faces = cfp
    for path in (folder, folder.parent, folder / "Split" / "FP"):
        pairs = read_pairs(path, faces)
        assert pairs["reference"].astype(str).tolist() == [
            *("001/frontal/01.jpg", "001/frontal/01.jpg"),
            *("002/frontal/01.jpg", "002/frontal/01.jpg"),
        ]
        assert pairs["probe"].astype(str).tolist() == [
            *("001/profile/01.jpg", "002/profile/01.jpg"),
            *("002/profile/01.jpg", "001/profile/01.jpg"),
        ]
        assert pairs["genuine"].tolist() == [True, False] * 2
        assert pairs["fold"].tolist() == [1, 1, 2, 2]
    both = read_pairs(folder / "Split" / "FF", faces, format="cfp")
    assert both["probe"].astype(str).str.contains("frontal").all()


def test_faults_of_cfp(cfp, tmp_path):
    folder, faces = cfp
    write(folder / "Split" / "FP" / "02" / "diff.txt", "1,9")
    with pytest.raises(PairError, match="number 9, which is not in the list"):
        read_pairs(folder, faces)
    write(folder / "Split" / "FP" / "02" / "diff.txt", "1;2")
    with pytest.raises(PairError, match="expected lines 'number,number'; found 1;2"):
        read_pairs(folder, faces)
    (folder / "Split" / "FP" / "02" / "diff.txt").unlink()
    with pytest.raises(PairError, match="diff.txt: no such file"):
        read_pairs(folder, faces)
    write(folder / "Pair_list_P.txt", "one 001/profile/01.jpg")
    with pytest.raises(PairError, match="expected lines 'number path'"):
        read_pairs(folder, faces)
    (tmp_path / "empty" / "of" / "all").mkdir(parents=True)
    with pytest.raises(PairError, match="expected CFP's folder Protocol"):
        read_pairs(tmp_path / "empty" / "of" / "all", faces, format="cfp")


@pytest.fixture
def bfw():
    names = [f"{g}/n00000{s}/000{i}_01.jpg" for g, s in GROUPS for i in (1, 2)]
    return faces_named(names, [name.split("/")[1] for name in names])


GROUPS = (("asian_females", 1), ("asian_females", 2), ("white_males", 3))


def test_the_published_table_of_bfw(tmp_path, bfw):
    a, b, c, d, *_ = bfw.names
    path = write(
        tmp_path / "bfw-v0.1.5-datatable.csv",
        "fold,p1,p2,label,id1,id2,att1,att2,vgg16,g1,e1",
        f"1,{a},{b},1,0,0,asian_females,asian_females,0.5,F,A",
        f"5,{c},{a},0,1,0,asian_females,asian_females,,F,A",
        f"5.0,{d},{a},0.0,1,0,asian_females,asian_females,0.1,F,A",
    )
    pairs = read_pairs(path, bfw)
    assert pairs.columns.tolist() == [
        *("probe", "reference", "genuine", "fold"),
        *("id1", "id2", "att1", "att2", "vgg16", "g1", "e1"),
    ]
    assert pairs["reference"].astype(str).tolist() == [a, c, d]
    assert pairs["probe"].astype(str).tolist() == [b, a, a]
    assert pairs["genuine"].tolist() == [True, False, False]
    assert pairs["fold"].tolist() == [1, 5, 5]
    assert pairs["att1"].tolist() == ["asian_females"] * 3
    assert pairs["vgg16"].isna().tolist() == [False, True, False]
    assert len(read_pairs(path, bfw, fold=5)) == 2
    assert len(read_pairs(path, bfw, fold=[1, 5])) == 3
    for wrong in (2, [1, 3], [], "1", 1.5):
        with pytest.raises(ParameterError, match="of the folds 1, 5"):
            read_pairs(path, bfw, fold=wrong)
    with pytest.raises(PairError, match="expected the columns p1, p2, label or image_a"):
        read_pairs(write(path, "a,b", "1,2"), bfw, format="bfw")


LABELS = [("1", "0"), ("True", "False"), ("yes", "no"), ("same", "different")]


@pytest.mark.parametrize(("yes", "no"), [*LABELS, ("Genuine", "IMPOSTOR "), ("1.0", "0.0")])
def test_csv(tmp_path, lfw, yes, no):
    path = write(
        tmp_path / "mine.csv",
        "live,document,mate,split,note",
        f"Ann/Ann_0001,Ann/Ann_0002,{yes},3,a",
        f"Ann/Ann_0001,Cy/Cy_0002,{no},4,",
    )
    roles = {"probe": "live", "reference": "document", "genuine": "mate", "fold": "split"}
    pairs = read_pairs(path, lfw, columns=roles)
    assert ends(pairs) == [("Ann_0002", "Ann_0001"), ("Cy_0002", "Ann_0001")]
    assert pairs["genuine"].tolist() == [True, False]
    assert pairs["fold"].tolist() == [3, 4]
    assert pairs["note"].fillna("").tolist() == ["a", ""]
    del roles["genuine"]
    assert read_pairs(path, lfw, columns=roles)["genuine"].tolist() == [True, False]


def test_csv_with_the_names_of_results(tmp_path, lfw):
    first = read_pairs(write(tmp_path / "pairs.txt", "2 1", *TWO_FOLDS), lfw)
    first.to_csv(tmp_path / "again.csv", index=False)
    again = read_pairs(tmp_path / "again.csv", lfw)
    pd.testing.assert_frame_equal(again, first)
    first.reset_index(drop=True).to_csv(tmp_path / "again.csv")  # with an index without a name
    pd.testing.assert_frame_equal(read_pairs(tmp_path / "again.csv", lfw), first)


def test_columns_of_csv_in_either_order(tmp_path, lfw):
    path = tmp_path / "mine.csv"
    write(path, "a,b,genuine", "Ann/Ann_0001,Ann/Ann_0002,1")
    expected = read_pairs(path, lfw, columns={"probe": "a", "reference": "b"})
    found = read_pairs(path, lfw, columns={"a": "probe", "b": "reference"})
    pd.testing.assert_frame_equal(found, expected)


def test_faults_of_csv(tmp_path, lfw):
    path = tmp_path / "mine.csv"
    write(path, "a,b,genuine", "Ann/Ann_0001,Ann/Ann_0002,maybe")
    roles = {"probe": "a", "reference": "b"}
    with pytest.raises(PairError, match=r"label 'maybe' in line\(s\) 2; allowed are 1/0"):
        read_pairs(path, lfw, columns=roles)
    with pytest.raises(UnknownNameError, match="allowed: probe, reference, genuine, fold.*'probe'"):
        read_pairs(path, lfw, columns={"prob": "a"})
    with pytest.raises(UnknownNameError, match="column for probe 'A'; allowed: a, b, genuine"):
        read_pairs(path, lfw, columns={**roles, "probe": "A"})
    with pytest.raises(ParameterError, match="name one column twice"):
        read_pairs(path, lfw, columns={"probe": "a", "reference": "a"})
    with pytest.raises(PairError, match="there is no column probe or reference"):
        read_pairs(path, lfw, format="csv")
    with pytest.raises(ParameterError, match="belongs to format='csv', not to 'bfw'"):
        read_pairs(path, lfw, format="bfw", columns=roles)
    write(path, "probe,reference,genuine", "Ann/Ann_0001,,1")
    with pytest.raises(PairError, match=r"no reference in line\(s\) 2"):
        read_pairs(path, lfw)
    write(path, "probe,reference,fold", "Ann/Ann_0001,Ann/Ann_0002,first")
    with pytest.raises(PairError, match=r"fold in line\(s\) 2 is not a whole number"):
        read_pairs(path, lfw)
    write(path, "probe,reference,genuine", "Ann/Ann_0001,Ann/Ann_0002,0")
    with pytest.raises(PairError, match="have labels that contradict their subjects"):
        read_pairs(path, lfw)
    write(path, "probe,reference,similarity", "Ann/Ann_0001,Ann/Ann_0002,0.5")
    with pytest.raises(PairError, match="cannot be named 'similarity'"):
        read_pairs(path, lfw)


@pytest.mark.parametrize(
    "name",
    [
        "Ann/Ann_0001.jpg",
        "Ann/Ann_0001",
        "Ann/Ann_0001.png",
        "./Ann/Ann_0001.jpg",
        "Ann_0001.jpg",
        "Ann_0001",
        r"Ann\Ann_0001.jpg",
        r"C:\data\lfw\Ann\Ann_0001.jpg",
        "../images/Ann/Ann_0001",
    ],
)
def test_ways_to_name_a_face(tmp_path, lfw, name):
    path = write(tmp_path / "pairs.csv", "probe,reference", f"{name},Cy/Cy_0001.jpg")
    assert ends(read_pairs(path, lfw)) == [("Cy_0001", "Ann_0001")]


def test_an_ambiguous_name_is_an_error(tmp_path):
    faces = faces_named(["a/01.jpg", "b/01.jpg", "b/02.jpg", "c/x.jpg", "c/x.png"], list("abbcc"))
    with pytest.raises(PairError, match=r"1 names match several.*01.jpg \(a/01.jpg, b/01.jpg\)"):
        read_pairs(write(tmp_path / "p.csv", "probe,reference", "01.jpg,b/02.jpg"), faces)
    with pytest.raises(PairError, match=r"c/x \(c/x.jpg, c/x.png\)"):
        read_pairs(write(tmp_path / "p.csv", "probe,reference", "c/x,b/02.jpg"), faces)
    pairs = read_pairs(write(tmp_path / "p.csv", "probe,reference", "d/c/x.png,b/02.jpg"), faces)
    assert pairs["probe"].tolist() == ["c/x.png"]


def test_a_file_of_the_same_name_elsewhere_is_not_meant(tmp_path):
    """BFW's file names repeat from person to person: a unique one proves nothing."""
    faces = faces_named(["asian_females/n1/0001_01.jpg", "asian_females/n2/0002_01.jpg"], "ab")
    path = write(
        tmp_path / "p.csv", "p1,p2,label", "white_males/n9/0001_01.jpg,asian_females/n2/0002_01,0"
    )
    with pytest.raises(PairError, match="1 of the 2 faces named are not in 'made': white_males"):
        read_pairs(path, faces)


def test_faces_that_the_set_lacks(tmp_path, lfw):
    path = write(tmp_path / "pairs.txt", "2 1", *TWO_FOLDS)
    part = lfw.select([i for i, name in enumerate(lfw.names) if "Cy" not in name])
    with pytest.raises(
        PairError, match="1 of the 7 faces named are not in 'made': Cy/Cy_0003; the set has Ann"
    ):
        read_pairs(path, part)
    with pytest.warns(UserWarning, match="1 of 4 pairs are left out because 1 of the 7 faces"):
        pairs = read_pairs(path, part, missing="drop")
    assert pairs["fold"].tolist() == [1, 2, 2]
    assert pairs.index.tolist() == [0, 1, 2]
    assert pairs["probe"].cat.categories.tolist() == part.names
    with pytest.raises(PairError, match="7 of the 7.*No pair remains"):
        read_pairs(path, faces_named(["x"], ["x"]), missing="drop")
    with pytest.raises(PairError, match="Is 'Ann/Ann_0001.jpg' meant for 'Ann/Ann_00001'"):
        read_pairs(write(path, "probe,reference", "Ann/Ann_00001,Cy/Cy_0001"), lfw)


def test_pairs_that_are_listed_again(tmp_path, lfw):
    path = write(tmp_path / "pairs.txt", "Ann 1 2", "Ann 2 1", "Ann 1 Cy 1")
    with pytest.raises(PairError, match="(?s)pairs.txt: 1 of 3 pairs repeat.*repeated='drop'"):
        read_pairs(path, lfw)
    with pytest.warns(UserWarning, match="1 of 3 pairs repeat earlier"):
        pairs = read_pairs(path, lfw, repeated="drop")
    assert pairs["genuine"].tolist() == [True, False]
    assert pairs.index.equals(pd.RangeIndex(2, name="pair"))
    assert len(read_pairs(write(path, "Ann 1 2"), lfw, repeated="drop")) == 1


def test_arguments(tmp_path, lfw):
    path = write(tmp_path / "pairs.txt", *TWO_FOLDS)
    with pytest.raises(UnknownNameError, match="Did you mean 'lfw'"):
        read_pairs(path, lfw, format="lwf")
    with pytest.raises(UnknownNameError, match="missing 'skip'; allowed: raise, drop"):
        read_pairs(path, lfw, missing="skip")
    with pytest.raises(UnknownNameError, match="repeated 'keep'"):
        read_pairs(path, lfw, repeated="keep")
    with pytest.raises(ParameterError, match="fl.load_faces"):
        read_pairs(path, "lfw")
    with pytest.raises(PairError, match="no such list"):
        read_pairs(tmp_path / "absent.txt", lfw)
    with pytest.raises(ParameterError, match="has no folds"):
        read_pairs(write(path, "1", "Ann 1 2", "Ann 1 Cy 1"), lfw, fold=1)
    for kind in set(PAIR_FORMATS) - {"auto", "cfp", "rfw"}:
        with pytest.raises(PairError, match="is a folder"):
            read_pairs(tmp_path, lfw, format=kind)


def test_what_auto_looked_for(tmp_path, lfw):
    path = write(tmp_path / "list.txt", "once upon a time")
    with pytest.raises(PairError, match="looked for .*lfw.*calfw.*bfw.*rfw.*begins with 'once"):
        read_pairs(path, lfw)
    with pytest.raises(PairError, match="folder with Pair_list_F.txt"):
        read_pairs(tmp_path, lfw)


def test_a_bin_that_is_none(tmp_path, lfw):
    path = tmp_path / "set.bin"
    path.write_bytes(pickle.dumps({"no": "set"}))
    with pytest.raises(FaceSetError, match="not an insightface .bin"):
        read_pairs(path, lfw)


def test_a_million_pairs_in_seconds(tmp_path):
    n, per_subject = 2000, 10
    names = [f"P{i // per_subject}/P{i // per_subject}_{i % per_subject:04d}.jpg" for i in range(n)]
    faces = faces_named(names, [name.split("/")[0] for name in names])
    first, second = np.triu_indices(n, 1)
    first, second = (side[:1_000_000] for side in (first, second))
    listed = pd.DataFrame(
        {"probe": np.array(names)[first], "reference": np.array(names)[second], "fold": 1}
    )
    listed.to_csv(tmp_path / "pairs.csv", index=False)
    begun = time.perf_counter()
    pairs = read_pairs(tmp_path / "pairs.csv", faces)
    assert time.perf_counter() - begun < 20  # about one on an idle core
    assert len(pairs) == 1_000_000
    same = first // per_subject == second // per_subject
    assert (pairs["genuine"].to_numpy() == same).all()
    assert (pairs["probe"].cat.codes.to_numpy() == first).all()


def test_the_real_lfw(assets):
    faces = fl.load_faces("lfw", root=assets / "lfw", aligned="arcface")
    pairs = read_pairs(assets / "lfw" / "pairs.txt", faces)
    counts = pairs.groupby(["fold", "genuine"]).size()
    assert counts.to_dict() == {(f, g): 300 for f in range(1, 6) for g in (False, True)}
    assert ends(pairs)[0] == ("Abel_Pacheco_0001", "Abel_Pacheco_0004")
    assert len(read_pairs(assets / "lfw" / "pairs.txt", faces, fold=2)) == 600
    used = set(pairs["probe"]) | set(pairs["reference"])
    assert used <= set(faces.names)


def test_the_real_bfw(assets):
    faces = fl.load_faces("bfw", root=assets / "bfw", aligned="arcface")
    pairs = read_pairs(assets / "bfw" / "pairs.csv", faces)
    assert len(pairs) == len(pd.read_csv(assets / "bfw" / "pairs.csv"))
    group = faces.table["group"]
    for side in ("probe", "reference"):
        assert (group.loc[pairs[side].astype(str)].to_numpy() == pairs["group"]).all()
    assert pairs["group"].nunique() == 8


@pytest.mark.parametrize("names", [["1", "001", "2", "002"], ["1.1", "1.10", "2.2", "2.20"]])
def test_names_that_look_like_numbers_stay_text(tmp_path, names):
    table = pd.DataFrame({"subject": list("abcd"), "path": "x.png"}, index=names)
    faces = fl.Faces(table)
    (tmp_path / "p.csv").write_text(f"probe,reference,genuine\n{names[1]},{names[3]},0\n")
    found = fl.read_pairs(tmp_path / "p.csv", faces)
    assert found[["probe", "reference"]].astype(str).to_numpy().tolist() == [[names[1], names[3]]]
    (tmp_path / "q.csv").write_text(f"a,b,genuine\n{names[1]},{names[3]},0\n")
    columns = {"probe": "a", "reference": "b"}
    found = fl.read_pairs(tmp_path / "q.csv", faces, columns=columns)
    assert found["probe"].astype(str).tolist() == [names[1]]
