"""Names from data stay text in sentences, tables, figures and on terminals."""

import html
import io
import re
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from conftest import Linear, make_faces
from matplotlib.cbook import is_math_text
from matplotlib.text import Text
from nbconvert.filters import markdown2html
from typer.testing import CliRunner

import freqlab as fl
from freqlab.cli import app
from freqlab.errors import FreqlabError, ParameterError
from freqlab.text.shown import as_html, as_markdown, one_line, visible
from freqlab.text.wording import styled

HOSTILE = [
    "[x](javascript:alert(1))",
    "[x](http://example.org)",
    "![x](x.png)",
    "<http://example.org>",
    "http://example.org/x",
    "www.example.org",
    "me@example.org",
    "$a$ and $b$",
    "$\\frac{$",
    "a$b",
    "\\(x\\)",
    "\\begin{align}x\\end{align}",
    "**bold** *it* _it_ __x__",
    "`code` ~~s~~",
    "<b>x</b>",
    "<script>alert(1)</script>",
    "&lt;b&gt; &copy; &#60;",
    "# head",
    "- item",
    "> quote",
    "1. first",
    "12) twelfth",
    "| a | b |",
    "===",
    "x\\",
    "\x1b[31mred\x1b[0m\x07",
    "\x9b31m",
    "two\nlines\r\n# three",
    "\u202egnp.exe",
    "\u2066x\u2069",
    "[bold]x[/bold]",
    "_hidden",
    "{{ 7 * 7 }} {0} %s",
    "=1+1",
    "x" * 500,
    "日本語 é ü",
]
ORDINARY = ["p1/0.jpg", "asian_females", "no glasses", "id@28-lanczos", "O'Brien", "a+b@alpha"]


def shown(markup):
    """What a reader of a piece of HTML sees, and its tags."""
    tags = set(re.findall(r"<\s*/?(\w+)", markup))
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", markup)).split()), tags


@pytest.mark.parametrize("name", [*HOSTILE, *ORDINARY])
@pytest.mark.parametrize("pattern", ["{0}", "**{0}**: so {0}, and {0}.", "- {0} differs; {0}"])
def test_markdown(name, pattern):
    text, tags = shown(markdown2html(pattern.format(as_markdown(name))))
    plain = pattern.replace("**", "").removeprefix("- ").format(one_line(name))
    assert text == " ".join(plain.split())
    assert tags <= {"p", "strong", "span", "ul", "li"}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_names_are_left_alone(name):
    assert as_markdown(name) == one_line(name) == visible(name) == name


@pytest.mark.parametrize("name", HOSTILE)
def test_terminals(name):
    line = one_line(name)
    assert line.isprintable()
    assert len(line) <= 200
    assert all(letter.isprintable() or letter in "\n\t" for letter in visible(name))
    assert "\x1b" not in str(ParameterError(f"faces: {name}"))


def test_tables():
    table = pd.DataFrame(
        {name: [name, 1] for name in HOSTILE},
        index=pd.MultiIndex.from_tuples([(HOSTILE[0], "x"), ("<i>", "$a$")], names=["<u>", None]),
    )
    markup = styled(table).set_caption(as_html(HOSTILE[4] + "$a$")).to_html()
    _, tags = shown(markup)
    assert tags <= {"table", "caption", "thead", "tbody", "tr", "th", "td", "style", "span"}
    for name in HOSTILE:
        assert visible(name).split()[0] in html.unescape(re.sub(r"</?span>", "", markup))
    assert not re.search(r"\$[^<]", re.sub(r"<style.*?</style>", "", markup, flags=re.DOTALL))
    kept = pd.DataFrame({"n": [1.5]}, index=["a"])
    assert "1.500" in styled(kept).format("{:.3f}").to_html()


def hostile_run(store):
    """Faces, subjects, groups, kinds, model and set, all of hostile names."""
    faces = make_faces(n_subjects=12, per_subject=3)
    groups = [HOSTILE[0], HOSTILE[7], HOSTILE[27]]
    count = len(HOSTILE)
    names = [f"{HOSTILE[i % count]} {i}" for i in range(len(faces))]
    table = pd.DataFrame(
        {
            "subject": [f"{HOSTILE[(i // 3) % count]} {i // 3}" for i in range(len(faces))],
            "group": [groups[i // 3 % 3] for i in range(len(faces))],
        },
        index=pd.Index(names, name="face"),
    )
    faces = fl.Faces(
        table, images=faces.images, aligned="arcface", name=HOSTILE[12], credit=HOSTILE[0]
    )
    model = fl.wrap_model(Linear(), name="$a$ [x](http://example.org) <b>_m_</b>")
    pairs = fl.make_pairs(faces, impostors_per_genuine=8, seed=0)
    result = fl.influence(
        faces, pairs, models=[model], bands="rings:14", sides=["probe", "reference"], store=store
    )
    return faces, model, result


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    store = tmp_path_factory.mktemp("hostile") / "run.zarr"
    with pytest.MonkeyPatch.context() as patch:
        told = io.StringIO()
        patch.setattr("sys.stderr", told)
        faces, model, result = hostile_run(store)
    return store, faces, model, result.load(), told.getvalue()


@pytest.fixture(scope="module")
def bias(run):
    store, faces, model, result, _ = run
    labels = fl.faces.group_labels(faces, "group")
    profiles = fl.bias.profiles(result, labels, n_draws=20, n_permutations=39, seed=0)
    vectors = {model.name: fl.open_embeddings(store, model=model.name).sel(face=faces.names)}
    errors = fl.bias.errors(
        {m: v.to_numpy() for m, v in vectors.items()}, faces, labels, n_draws=20
    )
    return profiles, errors


def test_progress_and_info(run):
    store, *_, told = run
    assert told
    assert "\x1b[31m" not in told
    said = CliRunner().invoke(app, ["info", str(store)]).output
    assert all(letter.isprintable() or letter == "\n" for letter in said)
    assert len(said.splitlines()) < 20


def test_info_of_names_that_are_sequences(tmp_path):
    """Names that the library lets in by another way than a model's declaration."""
    import zarr

    store = tmp_path / "\x1b[2Jrun.zarr"
    faces = make_faces(n_subjects=2, per_subject=2)
    broken = faces.table.assign(path=["\x1b[31mred\nfaces: 9 ok"] * 4)
    broken.index = pd.Index([f"\x1b[31m{i}\nforged: line" for i in range(4)], name="face")
    broken = fl.Faces(broken, images=faces.images, aligned="arcface")
    fl.embed(broken, models=[fl.wrap_model(Linear(), name="linear")], store=store, progress=False)
    run = zarr.open_group(store, mode="r+")
    run["faces/status"][:2] = 3
    said = CliRunner().invoke(app, ["info", str(store)]).output
    assert "\x1b" not in said
    assert "no face found" in said
    assert not any(line.startswith("forged") for line in said.splitlines())
    with pytest.raises(FreqlabError) as caught:
        fl.open_influence(store)
    assert "\x1b" not in str(caught.value)


def test_sentences(run, bias):
    _, _, model, result, _ = run
    profiles, _ = bias
    told = [
        fl.bias.describe_groups(profiles),
        *(
            fl.bias.describe_group_differences(profiles, model=model.name, kind=kind)
            for kind in ("directed", "absolute", "per_contrast")
        ),
        fl.results.describe_pair(result, pair=0, model=model.name, fmr=0.1),
        fl.results.describe_profile(fl.results.mean_profile(result), model=model.name),
    ]
    assert HOSTILE[0].replace("[", "\\[").replace("]", "\\]") in told[0]
    for sentence in told:
        text, tags = shown(markdown2html(sentence))
        assert tags <= {"p", "strong", "span"}
        assert (
            "$a$ and $b$" not in re.sub("<[^>]*>", "", markdown2html(sentence)) or "&" in sentence
        )
    text, _ = shown(markdown2html(told[0]))
    for group in profiles["group"].to_numpy():
        assert " ".join(one_line(group).split()) in text


def drawn(tmp_path):
    """Draw all figures; no name in them is a formula, or more than a line that was not ours."""
    for number in plt.get_fignums():
        figure = plt.figure(number)
        figure.savefig(tmp_path / "figure.png")
        figure.savefig(tmp_path / "figure.svg")
        for text in figure.findobj(Text):
            said = text.get_text()
            if "mathdefault" in said:  # the ticks of a logarithmic axis
                continue
            assert not is_math_text(said) or "$" not in said.replace(r"\$", ""), said
            assert all(letter.isprintable() or letter in "\n\u200b" for letter in said), repr(said)
        svg = Path(tmp_path / "figure.svg").read_text()
        assert "<script" not in svg
    plt.close("all")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")
def test_figures(run, bias, tmp_path):
    store, faces, model, result, _ = run
    profiles, errors = bias
    name = model.name
    fl.plots.group_profile_plot(profiles, model=name)
    fl.plots.group_difference_plot(profiles, model=name)
    fl.plots.group_heat_plot(profiles, model=name)
    fl.plots.group_error_plot(errors, fmr=0.1)
    fl.plots.gaps_plot(fl.bias.gaps_together(profiles, errors, fmr=0.1), outcome="EER gap")
    for pair in range(0, 12, 3):
        fl.plots.heat_plot(result, pair=pair, model=name, fmr=0.1)
    fl.plots.profile_plot(fl.results.mean_profile(result), model=name)
    fl.plots.contact_sheet(store)
    compared = fl.compare([result, result], names=[HOSTILE[7], HOSTILE[31]], n_draws=20)
    ax = fl.plots.comparison_plot(compared)
    assert len(ax.get_legend().get_texts()) == 2  # also of a name with an underscore before it
    figures = fl.verify(
        faces, models=[model], store=store, group="group", n_draws=20, progress=False
    )
    groups = [str(group) for group in figures["group"].to_numpy()]
    fl.plots.det_plot(figures, groups=groups)
    fl.plots.extremes_plot(figures, model=name)
    drawn(tmp_path)


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")
def test_figures_of_attacks(run, tmp_path):
    """The names of attacks and tools come from tables of pairs."""
    _, _, model, result, _ = run
    kinds = np.array(["bona fide", HOSTILE[7], HOSTILE[0], HOSTILE[31]], object)
    kind = kinds[np.arange(result.sizes["pair"]) % 4]
    people = {f"contributor_{side}": ("pair", result["probe_subject"].to_numpy()) for side in "ab"}
    attacked = result.assign_coords(attack=("pair", kind), **people)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        profiles = fl.morphing.profiles(attacked, n_draws=20)
        changes = fl.morphing.manipulation_by_kind(
            attacked, by="attack", pristine="bona fide", n_draws=20
        )
    fl.plots.attack_profile_plot(profiles, model=model.name, side="probe")
    fl.plots.manipulation_plot(changes, model=model.name)
    drawn(tmp_path)


@pytest.mark.slow
def test_the_page_of_bias(tmp_path, monkeypatch):
    """The whole report, of photographs whose groups are links, formulas and markup."""
    orl = fl.load_faces("orl")
    groups = ["[free](http://example.org/prize)", "$a$ costs $b$ <b>bold</b>"]
    rows = []
    for position in range(0, 200, 5):
        subject, image = orl.names[position].split("/")
        target = tmp_path / "photos" / subject / f"{image}.pgm"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(orl.content(position))
        rows.append((f"{subject}/{image}.pgm", subject, groups[int(subject[1:]) % 2]))
    table = pd.DataFrame(rows, columns=["path", "subject", "team"])
    table.to_csv(tmp_path / "photos" / "[link](http:x).csv", index=False)
    monkeypatch.chdir(tmp_path)
    page = fl.report(
        "bias", faces="photos/[link](http:x).csv", group="team", bands="rings:28", n_pairs=20,
        n_draws=20, n_permutations=39, fmr=0.1, progress=False,
    ).read_text()  # fmt: skip
    links = set(re.findall(r'<a[^>]*href="([^"]*)"', page))
    assert not [link for link in links if "example.org" in link or link.startswith("http")]
    text, _ = shown(page)
    for group in groups:
        assert group in text
    assert "<b>bold" not in page
