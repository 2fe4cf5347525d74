"""Lists of pairs as others write them: separators, labels, first lines, names, faults."""

import itertools
import pickle
import unicodedata
import warnings

import numpy as np
import pandas as pd
import pytest
from datasets.test_insightface_bin import encoded

import freqlab as fl
from freqlab.errors import PairError, ParameterError

PEOPLE = ("Ann", "Bo_Li", "Cy")


def faces_named(names, subjects=None, name="made"):
    subjects = [one.split("/")[-2] for one in names] if subjects is None else subjects
    table = pd.DataFrame({"subject": list(subjects), "path": list(names)}, index=list(names))
    return fl.Faces(table.rename_axis("face"), name=name)


@pytest.fixture
def faces():
    return faces_named([f"{who}/{who}_{i:04d}.jpg" for who in PEOPLE for i in (1, 2, 3)])


def write(path, *lines, end="\n"):
    path.write_bytes((end.join(lines) + end).encode())
    return path


def found(pairs):
    """Each pair as reference, probe, genuine, names without folder and ending."""
    short = [
        pairs[side].astype(str).str.extract(r"([^/]+?)(?:\.\w+)?$")[0]
        for side in ("reference", "probe")
    ]
    return list(zip(*short, pairs["genuine"].tolist(), strict=True))


PAIRS = (
    ("Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", True),
    ("Ann/Ann_0001.jpg", "Cy/Cy_0003.jpg", False),
    ("Bo_Li/Bo_Li_0003.jpg", "Bo_Li/Bo_Li_0001.jpg", True),
    ("Bo_Li/Bo_Li_0002.jpg", "Ann/Ann_0003.jpg", False),
)
TRUTH = [
    ("Ann_0001", "Ann_0002", True),
    ("Ann_0001", "Cy_0003", False),
    ("Bo_Li_0003", "Bo_Li_0001", True),
    ("Bo_Li_0002", "Ann_0003", False),
]
LABELS = (
    *(("1", "0"), ("1", "-1"), ("true", "false"), ("True", "False"), ("same", "diff")),
    *(("genuine", "impostor"), ("Genuine", "Imposter"), ("yes", "no"), ("same", "different")),
    *(("match", "mismatch"), ("match", "non-match"), ("mated", "non-mated"), ("1.0", "0.0")),
    *(("positive", "negative"), ("T", "F")),
)


@pytest.mark.parametrize("format", ["auto", "lines"])
@pytest.mark.parametrize("separator", [" ", "   ", "\t", ",", ", ", ";", "|", " \t "])
@pytest.mark.parametrize("header", [None, "path1 path2 label", "img_a img_b issame"])
@pytest.mark.parametrize("first", [False, True])
def test_two_faces_and_a_label_on_a_line(tmp_path, faces, separator, header, first, format):
    rows = [(a, b, str(int(genuine))) for a, b, genuine in PAIRS]
    rows = [] if header is None else [tuple(header.split()), *rows]
    rows += [] if header is not None else [(a, b, str(int(g))) for a, b, g in PAIRS]
    lines = [separator.join((c, a, b) if first else (a, b, c)) for a, b, c in rows]
    pairs = fl.read_pairs(write(tmp_path / "list.txt", *lines), faces, format=format)
    assert found(pairs) == TRUTH
    assert pairs.columns.tolist() == ["probe", "reference", "genuine"]
    assert pairs["genuine"].dtype == bool


@pytest.mark.parametrize(("yes", "no"), LABELS)
@pytest.mark.parametrize("first", [False, True])
def test_labels(tmp_path, faces, yes, no, first):
    rows = [(a, b, yes if genuine else no) for a, b, genuine in PAIRS]
    lines = [" ".join((c, a, b) if first else (a, b, c)) for a, b, c in rows]
    assert found(fl.read_pairs(write(tmp_path / "list.txt", *lines, end="\r\n"), faces)) == TRUTH


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
@pytest.mark.parametrize("header", [False, True])
def test_paths_with_blanks(tmp_path, separator, header):
    faces = faces_named(
        ["my photos/Ann Lee/a 1.jpg", "my photos/Ann Lee/b 2.jpg", "x y/Bo/c 3.jpg"]
    )
    lines = [separator.join(("first", "second", "same"))] * header
    lines += [separator.join((faces.names[0], faces.names[k], str(2 - k))) for k in (1, 2)]
    pairs = fl.read_pairs(write(tmp_path / "list.csv", *lines), faces)
    assert found(pairs) == [("a 1", "b 2", True), ("a 1", "c 3", False)]


@pytest.mark.parametrize(
    "line", ["{0} {1} {2}", "{2} {0} {1}", "{2}  {0}\t {1}", '"{0}" "{1}" {2}', '{2} "{0}" "{1}"']
)
def test_paths_with_blanks_between_blanks(tmp_path, line):
    """Quotes, or the endings of image files, say where a path ends."""
    faces = faces_named(["my photos/Ann Lee/a 1.jpg", "my photos/Ann Lee/b.jpg", "x y/Bo/c 3.PNG"])
    lines = [line.format(faces.names[0], faces.names[k], 2 - k) for k in (1, 2)]
    pairs = fl.read_pairs(write(tmp_path / "list.txt", *lines), faces)
    assert found(pairs) == [("a 1", "b", True), ("a 1", "c 3", False)]


def test_paths_with_commas_between_tabs(tmp_path):
    faces = faces_named(["Lee, Ann/1.jpg", "Lee, Ann/2.jpg", "Li, Bo/3.jpg"])
    lines = [f"{faces.names[0]}\t{faces.names[k]}\t{2 - k}" for k in (1, 2)]
    assert found(fl.read_pairs(write(tmp_path / "l.tsv", *lines), faces))[0] == ("1", "2", True)
    lines = [f'"{faces.names[0]}","{faces.names[k]}",{2 - k}' for k in (1, 2)]
    assert found(fl.read_pairs(write(tmp_path / "l.csv", *lines), faces))[1] == ("1", "3", False)


def test_names_of_numbers_alone(tmp_path):
    """The faces tell ``00001 00003 1`` from a list of LFW, whose names are people."""
    faces = faces_named([f"{i:05d}" for i in range(6)], list("aabbcc"))
    lines = ["00000 00001 1", "00002 00003 1", "00000 00005 0", "00004 00001 0"]
    pairs = fl.read_pairs(write(tmp_path / "list.txt", *lines), faces)
    assert pairs["probe"].astype(str).tolist() == ["00001", "00003", "00005", "00001"]
    assert pairs["genuine"].tolist() == [True, True, False, False]
    people = faces_named([f"{p:03d}/{p:03d}_{i:04d}.jpg" for p in (7, 8) for i in (1, 2)])
    lines = ["007 2 1", "008 1 2", "007 1 008 1", "007 2 008 2"]
    pairs = fl.read_pairs(write(tmp_path / "pairs.txt", *lines), people)
    assert found(pairs)[0] == ("007_0002", "007_0001", True)
    assert found(pairs)[3] == ("007_0002", "008_0002", False)
    with pytest.raises(PairError, match="only numbers, '7 12 0'.*template numbers"):
        fl.read_pairs(write(tmp_path / "t.txt", "1 11 1", "7 12 0"), people)


def test_without_labels_the_subjects_say(tmp_path, faces):
    lines = [f"{a} {b}" for a, b, _ in PAIRS]
    assert found(fl.read_pairs(write(tmp_path / "list.txt", *lines), faces)) == TRUTH
    lines = ["first,second", *(f"{a},{b}" for a, b, _ in PAIRS)]
    assert found(fl.read_pairs(write(tmp_path / "list.csv", *lines), faces)) == TRUTH


def test_comments_and_empty_lines(tmp_path, faces):
    lines = [f"{a} {b} {int(genuine)}" for a, b, genuine in PAIRS]
    head = ["# pairs of our set, drawn by hand in the year 2020", "", "# path path label"]
    path = write(tmp_path / "list.txt", *head, *lines[:2], "", *lines[2:], "")
    assert found(fl.read_pairs(path, faces)) == TRUTH
    with pytest.raises(PairError, match=r"label 'x' in line\(s\) 4"):
        fl.read_pairs(write(path, *head, lines[0][:-1] + "x", *lines[1:]), faces)


def test_a_first_line_that_counts_the_pairs(tmp_path, faces):
    lines = [f"{a} {b} {int(genuine)}" for a, b, genuine in PAIRS]
    assert found(fl.read_pairs(write(tmp_path / "list.txt", "4", *lines), faces)) == TRUTH


def test_fields_before_and_between_the_faces(tmp_path, faces):
    lines = [f"{k} {int(g)} {a} {b}" for k, (a, b, g) in enumerate(PAIRS, 5)]
    with pytest.warns(UserWarning, match="field 1 of the lines has no name"):
        assert found(fl.read_pairs(write(tmp_path / "list.txt", *lines), faces)) == TRUTH
    lines = [f"{a},{int(g)},{b}" for a, b, g in PAIRS]
    assert found(fl.read_pairs(write(tmp_path / "list.csv", *lines), faces)) == TRUTH
    lines = [f"{a},{a[:2]},{b},{b[:2]}" for a, b, _ in PAIRS]
    with pytest.warns(UserWarning, match="field 2, 4 of the lines has no name"):
        assert found(fl.read_pairs(write(tmp_path / "list.csv", *lines), faces)) == TRUTH
    pairs = fl.read_pairs(write(tmp_path / "list.csv", "a,id a,b,id b", *lines), faces)
    assert pairs["id a"].tolist() == ["An", "An", "Bo", "Bo"]


def test_a_list_in_utf_16(tmp_path, faces):
    (tmp_path / "list.txt").write_text("a.jpg b.jpg 1\n", encoding="utf-16")
    with pytest.raises(PairError, match="UTF-16 text; save it as UTF-8"):
        fl.read_pairs(tmp_path / "list.txt", faces)


def test_further_fields(tmp_path, faces):
    lines = [f"{k},{a},{b},{int(g)},{k % 2 + 1},0.{k}" for k, (a, b, g) in enumerate(PAIRS)]
    head = "number,image 1,image 2,same,fold,score"
    pairs = fl.read_pairs(write(tmp_path / "list.csv", head, *lines), faces)
    assert found(pairs) == TRUTH
    assert pairs["fold"].tolist() == [1, 2, 1, 2]
    assert pairs["score"].tolist() == [0, 0.1, 0.2, 0.3]
    with pytest.warns(UserWarning, match="field 1, 5, 6 of the lines has no name and is left out"):
        assert found(fl.read_pairs(write(tmp_path / "list.csv", *lines), faces)) == TRUTH


@pytest.mark.parametrize(
    ("head", "turned"),
    [
        ("probe_path,gallery_path,label", True),
        ("selfie,id_document,match", True),
        ("query,image,same", True),
        ("gallery,query,same", False),
        ("a,b,same", False),
    ],
)
def test_a_first_line_may_say_which_is_the_probe(tmp_path, faces, head, turned):
    lines = [f"{a},{b},{int(genuine)}" for a, b, genuine in PAIRS]
    pairs = fl.read_pairs(write(tmp_path / "list.csv", head, *lines), faces)
    truth = [(b, a, g) for a, b, g in TRUTH] if turned else TRUTH
    assert found(pairs) == truth


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_with_known_columns_in_any_separator(tmp_path, faces, separator):
    for head in ("reference,probe,genuine", "p1,p2,label", "image_a,image_b,same"):
        lines = [head, *(f"{a},{b},{int(g)}" for a, b, g in PAIRS)]
        lines = [line.replace(",", separator) for line in lines]
        assert found(fl.read_pairs(write(tmp_path / "table.csv", *lines), faces)) == TRUTH


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("a.jpg b.jpg 1", "a.jpg c.jpg maybe"), r"label 'maybe' in line\(s\) 2; allowed are 1/0"),
        (("a.jpg b.jpg 0.7", "a.jpg c.jpg 0.2"), r"label '0.7' in line\(s\) 1, 2"),
        (("a.jpg b.jpg 1", "", "a.jpg c.jpg 2"), r"label '2' in line\(s\) 3"),
        (("x,y,same", "a.jpg,b.jpg,1", "a.jpg,c.jpg,?"), r"label '\?' in line\(s\) 3"),
        ((*["a.jpg b.jpg 1"] * 9, "a.jpg b 1.jpg 1"), r"more or fewer .* 3 fields.*line\(s\) 10"),
        ((*["a.jpg b.jpg 1"] * 9, "a.jpg b.jpg"), r"more or fewer .* 3 fields.*line\(s\) 10"),
        (("Ann 3", "Bo 5", "Cy 1"), "a list of people"),
        (("3", "Ann\t3", "Bo\t5", "Cy\t1"), "a list of people"),
    ],
)
def test_faults_of_lines(tmp_path, lines, message):
    faces = faces_named(["a.jpg", "b.jpg", "c.jpg"], "aac")
    with pytest.raises(PairError, match=message):
        fl.read_pairs(write(tmp_path / "list.txt", *lines), faces)


def test_what_is_no_list_of_lines(tmp_path, faces):
    for text in ("once upon a time", "", "a.jpg"):
        with pytest.raises(PairError, match="two images and a label on each line"):
            fl.read_pairs(write(tmp_path / "l.txt", text), faces, format="lines")
    (tmp_path / "l.txt").write_bytes(b"a.jpg b\xff.jpg 1\n")
    with pytest.raises(PairError, match="text in UTF-8"):
        fl.read_pairs(tmp_path / "l.txt", faces, format="lines")


# LFW's lists as tables


MATCHES = ["Ann,1,2", "Bo_Li,3,1"]
MISMATCHES = ["Ann,1,Cy,3", "Bo_Li,2,Ann,3"]
WHOLE = [MATCHES[0] + ",", MISMATCHES[0], MATCHES[1] + ",", MISMATCHES[1]]


@pytest.mark.parametrize(
    "head",
    [
        None,
        "name,imagenum1,imagenum2,",
        "name,imagenum1,imagenum2,Unnamed: 3",
        "name,imagenum1,name2,imagenum2",
        "2,1,,",
    ],
)
@pytest.mark.parametrize("commas", ["", ",", ",,"])
@pytest.mark.parametrize("separator", [",", ";", "\t", ", "])
def test_lists_of_lfw_as_tables(tmp_path, faces, head, commas, separator):
    lines = [line + commas for line in ([] if head is None else [head]) + WHOLE]
    lines = [line.replace(",", separator) for line in lines]
    pairs = fl.read_pairs(write(tmp_path / "pairs.csv", *lines), faces)
    assert found(pairs) == TRUTH
    assert pairs["fold"].tolist() == [1, 1, 2, 2]


def test_the_two_halves_of_a_list_of_lfw(tmp_path, faces):
    """As they are given out with names of columns: three for matches, four for mismatches."""
    for head in ([], ["name,imagenum1,imagenum2"], ["person,image_1,image_2"]):
        pairs = fl.read_pairs(write(tmp_path / "matchpairsDevTest.csv", *head, *MATCHES), faces)
        assert found(pairs) == [TRUTH[0], TRUTH[2]]
        assert "fold" not in pairs
    for head in ([], ["name,imagenum1,name,imagenum2"], ["name,imagenum1,name.1,imagenum2"]):
        path = write(tmp_path / "mismatchpairsDevTest.csv", *head, *MISMATCHES)
        pairs = fl.read_pairs(path, faces)
        assert found(pairs) == [TRUTH[1], TRUTH[3]]
        assert "fold" not in pairs


def test_further_dresses_of_lfw(tmp_path, faces):
    four = ["Ann,1,Ann,2", MISMATCHES[0], "Bo_Li,3,Bo_Li,1", MISMATCHES[1]]
    head = "name1,imagenum1,name2,imagenum2"
    pairs = fl.read_pairs(write(tmp_path / "pairs.csv", head, *four), faces)
    assert found(pairs) == TRUTH  # a name twice is a genuine pair
    assert pairs["fold"].tolist() == [1, 1, 2, 2]
    index = [",name,imagenum1,imagenum2,", *(f"{k},{line}" for k, line in enumerate(WHOLE))]
    assert found(fl.read_pairs(write(tmp_path / "pairs.csv", *index), faces)) == TRUTH


@pytest.mark.parametrize("separator", [" ", "\t", ",", "; "])
@pytest.mark.parametrize("head", [[], ["image label"]])
def test_two_lines_for_a_pair_in_other_dresses(tmp_path, faces, separator, head):
    lines = [f"{face} {int(g)}" for a, b, g in PAIRS for face in (a, b)]
    lines = [line.replace(" ", separator) for line in head + lines]
    assert found(fl.read_pairs(write(tmp_path / "list.txt", *lines), faces)) == TRUTH


def test_names_of_people_with_blanks(tmp_path, faces):
    lines = [line.replace("Bo_Li", "Bo Li") for line in WHOLE]
    with pytest.warns(UserWarning, match="3 of the 7 names .*letter case, spaces.*: Bo Li/Bo Li_"):
        pairs = fl.read_pairs(write(tmp_path / "pairs.csv", *lines), faces)
    assert found(pairs) == TRUTH


def test_the_real_list_of_lfw_in_every_dress(tmp_path, assets):
    faces = fl.load_faces("lfw", root=assets / "lfw", aligned="arcface")
    plain = fl.read_pairs(assets / "lfw" / "pairs.txt", faces)
    rows = [line.split() for line in (assets / "lfw" / "pairs.txt").read_text().splitlines()[1:]]
    table = ["name,imagenum1,imagenum2,", *(",".join([*r, ""][:4]) for r in rows)]
    dressed = fl.read_pairs(write(tmp_path / "pairs.csv", *table), faces)
    pd.testing.assert_frame_equal(dressed, plain)
    ends = [plain[side].astype(str) for side in ("reference", "probe")]
    for prefix, ending in (("lfw-deepfunneled/", ".png"), ("", ""), ("C:\\lfw\\", ".jpg")):
        lines = [
            f"{prefix}{a[:-4]}{ending}\t{b[:-4]}{ending}\t{2 * g - 1}"
            for a, b, g in zip(*ends, plain["genuine"], strict=True)
        ]
        lines = [line.replace("\t", f"\t{prefix}", 1) for line in lines]
        listed = fl.read_pairs(write(tmp_path / "list.txt", *lines), faces)
        pd.testing.assert_frame_equal(listed, plain.drop(columns="fold"))


# Names that differ from those of the set


DIFFERENT = {
    "folders": ("lfw-deepfunneled/{who}/{who}_{i:04d}.jpg", "images/{who}/{who}_{i:04d}.jpg"),
    "deeper folders": ("/data/raw/{who}/{who}_{i:04d}.jpg", "a/b/c/{who}/{who}_{i:04d}.png"),
    "a folder in the set": ("{who}/{who}_{i:04d}.jpg", "images/{who}/{who}_{i:04d}.jpg"),
    "a folder in the list": ("images/{who}/{who}_{i:04d}.jpg", "{who}/{who}_{i:04d}.jpg"),
    "one folder of all": ("photos/{who}_{i:04d}.jpg", "images/{who}_{i:04d}.png"),
    "no ending": ("x/{who}/{who}_{i:04d}", "images/{who}/{who}_{i:04d}.jpg"),
    "a suffix in the set": ("{who}/{who}_{i:04d}.jpg", "{who}/{who}_{i:04d}_aligned.png"),
    "a number in the set": ("{who}/{who}_{i:04d}.jpg", "{who}/{who}_{i:04d}_0.png"),
    "a suffix in the list": ("{who}/{who}_{i:04d}_112x112.png", "{who}/{who}_{i:04d}.jpg"),
    "two endings": ("{who}/{who}_{i:04d}", "{who}/{who}_{i:04d}.jpg.chip.jpg"),
    "a prefix in the set": ("{who}_{i:04d}.jpg", "all/aligned_{who}_{i:04d}.jpg"),
    "folders and a suffix": ("raw/{who}/{who}_{i:04d}.jpg", "crops/{who}/{who}_{i:04d}_crop.jpg"),
    "zeros": ("{who}/{who}_{i:04d}.jpg", "{who}/{who}_{i}.jpg"),
    "zeros and folders": ("lfw/{who}/{who}_{i}.jpg", "images/{who}/{who}_{i:06d}.png"),
    "capitals": ("{who}/{who}_{i:04d}.JPG", "images/{low}/{low}_{i:04d}.jpg"),
}


@pytest.mark.parametrize("names", DIFFERENT.values(), ids=DIFFERENT)
def test_names_that_all_differ_alike(tmp_path, names):
    every = [(who, i) for who in PEOPLE for i in (1, 2, 3)]
    listed, of_set = (
        [name.format(who=who, low=who.lower(), i=i) for who, i in every] for name in names
    )
    faces = faces_named(of_set, [who for who, _ in every])
    of = {pair: k for k, pair in enumerate(every)}
    places = [[of[name.split("/")[1][:-9], int(name[-5])] for name in (a, b)] for a, b, _ in PAIRS]
    lines = [
        f"{listed[i]},{listed[j]},{int(genuine)}"
        for (i, j), (_, _, genuine) in zip(places, PAIRS, strict=True)
    ]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        pairs = fl.read_pairs(write(tmp_path / "list.csv", *lines), faces)
    assert pairs["reference"].cat.codes.tolist() == [i for i, _ in places]
    assert pairs["probe"].cat.codes.tolist() == [j for _, j in places]
    plain = names[0].startswith(("{who}/{who}_{i:04d}.jpg", "images/")) and "images" in "".join(
        names
    )
    assert len(said) == (0 if plain else 1)
    assert all(" is read as " in str(one.message) for one in said)


def test_composed_and_decomposed_letters_are_the_same_name(tmp_path):
    names = ["José/José_0001.jpg", "José/José_0002.jpg", "Zoë/Zoë_0001.jpg"]
    for of_set, of_list in itertools.permutations(("NFC", "NFD")):
        faces = faces_named([unicodedata.normalize(of_set, name) for name in names])
        a, b, c = (unicodedata.normalize(of_list, name) for name in names)
        pairs = fl.read_pairs(write(tmp_path / "list.txt", f"{a} {b} 1", f"{a} {c} 0"), faces)
        assert pairs["probe"].cat.codes.tolist() == [1, 2]


def test_a_common_difference_is_no_reason_to_take_one_person_for_another(tmp_path):
    """Two folders of people, in which files are called alike."""
    faces = faces_named([f"asian/n1/000{i}_01.jpg" for i in (1, 2)])
    more = faces_named([*faces.names, "asian/n2/0003_01.jpg"])
    lines = ["white/n9/0001_01.jpg white/n9/0002_01.jpg 1"]
    with pytest.raises(PairError, match="2 of the 2 faces named are not in"):
        fl.read_pairs(write(tmp_path / "list.txt", *lines), more)


def test_a_difference_and_faces_that_are_absent(tmp_path):
    names = [f"images/{who}/{who}_{i:04d}.jpg" for who in PEOPLE for i in (1, 2)]
    faces = faces_named(names)
    lines = [f"lfw/{who}/{who}_0001.jpg lfw/{who}/{who}_0002.jpg 1" for who in (*PEOPLE, "Di")]
    path = write(tmp_path / "list.txt", *lines)
    said = pytest.warns(UserWarning, match=r"folders 'lfw/' \('images/' in 'made'\)")
    with said, pytest.raises(PairError, match=r"2 of the 8 faces .*lfw/Di.*missing='drop'"):
        fl.read_pairs(path, faces)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert len(fl.read_pairs(path, faces, missing="drop")) == 3
    assert ["1 of 4 pairs are left out" in str(one.message) for one in heard] == [False, True]


def test_all_that_was_left_out_stands_with_the_pairs(tmp_path, faces):
    path = write(tmp_path / "list.txt", "Ann 1 2", "Ann 2 1", "Di 1 2", "Cy 1 1", "Ann 1 Cy 1")
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        pairs = fl.read_pairs(path, faces, missing="drop", repeated="drop")
    assert len(pairs) == 2
    said = pairs.attrs["left_out"]
    assert [text.split(" pairs ")[0] for text in said] == ["1 of 5", "1 of 4", "1 of 3"]
    assert "left_out" not in fl.read_pairs(write(path, "Ann 1 2"), faces).attrs


# Pairs that nothing can be learnt of


FAULTY = [
    ("Ann/Ann_0001", "Ann/Ann_0002", "1"),
    ("Ann/Ann_0001", "Ann/Ann_0001", "1"),
    ("Ann/Ann_0001", "Ann/Ann_0003", "0"),
    ("Ann/Ann_0001", "Cy/Cy_0001", "1"),
    ("Ann/Ann_0001", "Bo_Li/Bo_Li_0001", "0"),
]


@pytest.mark.parametrize("form", ["lines", "csv", "bfw", "calfw", "bin"])
def test_faulty_pairs_are_left_out_and_counted(tmp_path, faces, form):
    if form == "bin":
        a, b, c, d, e = (encoded(value) for value in (0, 50, 100, 150, 200))
        couples = [(a, b, 1), (b, c, 1), (a, a, 1), (d, d, 0), (a, c, 0), (a, e, 0)]
        images = [image for one, other, _ in couples for image in (one, other)]
        path = tmp_path / "set.bin"
        path.write_bytes(pickle.dumps((images, [bool(label) for *_, label in couples])))
        faces = fl.load_faces(path)
        kept, said = [True, True, False], "3 of 6 .*2 of a face with itself.*1 labelled against"
        folds = [1, 2, 6]
    else:
        kept, said = [True, False], "3 of 5 .*1 of a face with itself.*2 labelled against"
        folds = None
        head = {"csv": ["reference,probe,genuine"], "bfw": ["p1,p2,label"]}.get(form, [])
        lines = [*head, *(",".join(pair) for pair in FAULTY)]
        if form == "calfw":
            lines = [f"{face} {label}" for *ends, label in FAULTY for face in ends]
            folds = [1, 2]
        path = write(tmp_path / "list.txt", *lines)
    with pytest.warns(UserWarning, match=f"{path.name}: {said}.*strict=True refuses"):
        pairs = fl.read_pairs(path, faces, repeated="drop")
    assert pairs["genuine"].tolist() == kept
    assert pairs.index.equals(pd.RangeIndex(len(kept), name="pair"))
    if form == "bin":
        assert pairs["fold"].tolist() == folds
    (text,) = pairs.attrs["left_out"]
    assert text.startswith(f"3 of {len(kept) + 3} pairs are left out: ")
    with pytest.raises(PairError, match="pair a face with itself"):
        fl.read_pairs(path, faces, strict=True)
    fl.faces.check_pairs(faces, pairs)


def test_faulty_pairs_of_lfw_rfw_and_cfp(tmp_path, faces):
    path = write(tmp_path / "pairs.txt", "2 2", "Ann 1 2", "Ann 1 1", "Ann 1 Cy 1", "Ann 3 Cy 3",
                 "Cy 1 2", "Cy 2 3", "Cy 1 Bo_Li 1", "Cy 1 Bo_Li 2")  # fmt: skip
    merged = faces_named(faces.names, ["Ann" if "Cy_0003" in n else n[:2] for n in faces.names])
    merged.table["subject"] = merged.table["subject"].replace("An", "Ann")
    with pytest.warns(UserWarning, match="3 of 8 .*1 of a face with itself.*2 labelled against"):
        pairs = fl.read_pairs(path, merged)
    assert pairs["fold"].tolist() == [1, 1, 2, 2, 2]
    people = [f"African/m.{p}/m.{p}_000{i}.jpg" for p in "xy" for i in (1, 2)]
    rfw = write(tmp_path / "African_pairs.txt", "m.x 1 2", "m.x 1 1", "m.x 1 m.y 1", "m.y 1 m.y 2")
    with pytest.warns(UserWarning, match="1 of 4 "):
        assert len(fl.read_pairs(rfw, faces_named(people))) == 3
    protocol = tmp_path / "Protocol"
    (protocol / "Split" / "FF" / "01").mkdir(parents=True)
    images = [f"00{p}/frontal/0{i}.jpg" for p in (1, 2) for i in (1, 2)]
    write(protocol / "Pair_list_F.txt", *(f"{i} x/{name}" for i, name in enumerate(images, 1)))
    write(protocol / "Split" / "FF" / "01" / "same.txt", "1,2", "1,1")
    write(protocol / "Split" / "FF" / "01" / "diff.txt", "1,3", "3,4")
    cfp = faces_named(images, [name[:3] for name in images])
    with pytest.warns(UserWarning, match="2 of 4 .*1 of a face with itself.*1 labelled against"):
        assert fl.read_pairs(protocol / "Split" / "FF", cfp)["genuine"].tolist() == [True, False]


def test_a_bona_fide_pair_of_two_people(tmp_path):
    names = ["01/id.jpg", "01/live.jpg", "02/id.jpg", "02/live.jpg", "m/01_02.png"]
    faces = faces_named(names, ["01", "01", "02", "02", "01+02"])
    path = write(
        tmp_path / "morphs.csv", "document,live,attack,contributors", "01/id,01/live,,",
        "02/id,01/live,,", "02/id,02/id,,", "m/01_02,01/live,gan,01+02",
    )  # fmt: skip
    with pytest.warns(UserWarning, match="2 of 4 .*1 of a face with itself.*1 labelled against"):
        pairs = fl.read_pairs(path, faces)
    assert pairs["attack"].tolist() == ["bona fide", "gan"]
    with pytest.raises(PairError, match="subject is neither contributor"):
        fl.read_pairs(path, faces, strict=True)


def test_faces_of_one_source_are_no_pair(tmp_path):
    table = pd.DataFrame(
        {"subject": list("aab"), "path": "x", "source": ["", "a1", ""]}, index=["a1", "a2", "b1"]
    )
    path = write(tmp_path / "l.csv", "reference,probe,genuine", "a1,a2,1", "a1,b1,0")
    with pytest.warns(UserWarning, match=r"1 of two faces made from one source \(a1 and a2\)"):
        assert fl.read_pairs(path, fl.Faces(table))["probe"].tolist() == ["b1"]


def test_labels_that_are_the_wrong_way_round(tmp_path, faces):
    lines = [f"{a} {b} {int(not genuine)}" for a, b, genuine in PAIRS]
    with pytest.raises(PairError, match="4 of 4 pairs have labels .*inverted"):
        fl.read_pairs(write(tmp_path / "list.txt", *lines), faces)
    path = write(tmp_path / "list.txt", *lines, "Cy/Cy_0001 Cy/Cy_0002 1")
    with pytest.warns(UserWarning, match="4 of 5 .*inverted"):
        assert len(fl.read_pairs(path, faces)) == 1


def test_strict_is_a_truth_value(tmp_path, faces):
    with pytest.raises(ParameterError, match="strict='yes' must be true or false"):
        fl.read_pairs(write(tmp_path / "l.txt", "Ann 1 2"), faces, strict="yes")


def test_a_sound_list_says_nothing(tmp_path, faces):
    """Also one of many lines, of which the first alone are looked at for the form."""
    rng = np.random.default_rng(0)
    names = [f"P{i // 5}/P{i // 5}_{i % 5:04d}.jpg" for i in range(500)]
    many = faces_named(names)
    first, second = rng.integers(0, 500, (2, 3000))
    keep = first < second
    codes = np.unique(first[keep] * 500 + second[keep])
    first, second = codes // 500, codes % 500
    same = first // 5 == second // 5
    lines = [f"{names[i]} {names[j]} {int(g)}" for i, j, g in zip(first, second, same, strict=True)]
    pairs = fl.read_pairs(write(tmp_path / "list.txt", *lines), many, strict=True)
    assert (pairs["probe"].cat.codes.to_numpy() == second).all()
    assert (pairs["genuine"].to_numpy() == same).all()
