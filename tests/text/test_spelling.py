"""Names that differ only in how they are spelled."""

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freqlab.text.spelling import (
    Folders,
    Spellings,
    affix_difference,
    difference,
    existing_path,
    nearest,
    plain,
    spelled_hint,
)

NFC, NFD = (unicodedata.normalize(form, "José") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("one", "other", "differ"),
    [
        (f"{NFC}/1.jpg", f"{NFD}/1.jpg", "Unicode form"),
        ("a\\b.jpg", "a/b.jpg", "backslashes"),
        ("./a/b.jpg", "a/b.jpg", "backslashes"),
        ("a /b.jpg", "a/b.jpg", "spaces"),
        ("Ann\u202fLee.jpg", "Ann Lee.jpg", "spaces"),
        ("\ufeffAnn.jpg", "Ann.jpg", "spaces"),
        ("Ann.JPG", "ann.jpg", "letter case"),
        (f"{NFC} ", NFD.upper(), "Unicode form and spaces and letter case"),
        ("a.jpg", "b.jpg", ""),
        ("a.jpg", "a.jpg", ""),
    ],
)
def test_what_two_names_differ_in(one, other, differ):
    assert difference(one, other) == difference(other, one) == differ


@given(st.text(), st.text())
def test_names_are_found_however_they_are_spelled(name, other):
    known = Spellings([name, other])
    assert known.find(name) == name
    for spelled in (unicodedata.normalize("NFD", name), f" {name}", name.replace("/", "\\")):
        found = known.find(spelled)
        assert found is None or found == spelled or difference(found, spelled)
    assert plain(plain(name)) == plain(name)


def test_what_is_alike_twice_is_not_guessed():
    known = Spellings(["Ann.jpg", "ann.jpg", NFC, NFC.upper()])
    assert known.find("ANN.jpg") is None
    assert known.find("Ann.jpg") == "Ann.jpg"
    assert known.find(NFD) == NFC
    assert known.find("bo") is None


def test_files_under_another_spelling(tmp_path, monkeypatch):
    place = tmp_path / NFD / "Ann Lee"
    place.mkdir(parents=True)
    (place / "1.JPG").write_text("")
    folders = Folders()
    path = str(tmp_path / NFC / "ann  lee" / "1.jpg")
    assert folders.find(path) == str(place / "1.JPG")
    assert folders.find(str(place / "1.JPG")) == str(place / "1.JPG")
    assert folders.find(str(place / "2.jpg")) is None
    assert folders.beside(str(place / "2.jpg")) == ["1.JPG"]
    assert folders.beside(str(tmp_path / "none" / "2.jpg")) is None
    assert existing_path(tmp_path / NFC) == tmp_path / NFD
    assert existing_path(tmp_path / NFC.upper()) == tmp_path / NFC.upper()
    assert "differs in Unicode form and letter case" in spelled_hint(tmp_path / NFC.upper())
    monkeypatch.chdir(place)
    assert Folders().find("1.JPG") == "1.JPG"
    assert Folders().find("1.jpg") == os.path.join(place, "1.JPG")
    assert Folders().find(f"..{os.sep}ann lee{os.sep}1.jpg") == os.path.join(place, "1.JPG")


@pytest.mark.parametrize(
    ("name", "known", "near"),
    [
        ("race", ["age", "gender", "glasses"], None),
        ("sex", ["age", "gender", "yes"], None),
        ("m", ["f", "n"], None),
        ("glases", ["age", "glasses"], "glasses"),
        ("Gender", ["age", "gender"], "gender"),
        ("poes", ["nose", "pose"], "pose"),
        ("centre", ["largest", "central", "only"], "central"),
        ("sharp", ["shape", "sharpness"], "sharpness"),
        ("hu", ["hue", "hat"], "hue"),
        ("mobilefacenet2", ["facenet-casia", "mobilefacenet"], "mobilefacenet"),
    ],
)
def test_only_a_misspelling_has_a_nearest_name(name, known, near):
    assert nearest(name, known) == near


@given(st.text("abc", min_size=4, max_size=8), st.integers(0, 7), st.sampled_from("abcx"))
def test_one_changed_letter_is_a_misspelling(name, place, letter):
    place %= len(name)
    changed = f"{name[:place]}{letter}{name[place + 1 :]}"
    assert nearest(changed, [name]) == name


def test_a_prefix_or_suffix_that_all_names_share_is_found():
    known = ["p0/0", "p0/1", "p1/0"]
    assert affix_difference(["data/p0/0", "data/p1/0"], known) == ("prefix", "data/", True)
    assert affix_difference(["p0/0.jpg", "p0/1.jpg"], known) == ("suffix", ".jpg", True)
    longer = [f"set/{name}.png" for name in known]
    assert affix_difference([f"set/{name}" for name in known], longer) == ("suffix", ".png", False)
    assert affix_difference([f"{name}.png" for name in known], longer) == ("prefix", "set/", False)
    assert affix_difference(["data/p0/0", "other/p1/0"], known) is None
    assert affix_difference(["q"], known) is None
    assert affix_difference([], known) is None
