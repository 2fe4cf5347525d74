"""The page of the data model lists what a store holds, and nothing else."""

import re
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image

import freqlab as fl
from freqlab.store.layout import FLAGS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "store.md"
ADDED = {"resolution", "source", "light"}  # columns of these faces and pairs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with every kind of column: photographs in files, degraded faces, refined bands."""
    folder = tmp_path_factory.mktemp("model")
    rng = np.random.default_rng(0)
    for name in ("a/0", "a/1", "b/0"):
        file = folder / "photos" / f"{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)).save(file)
    faces = fl.load_faces(folder / "photos", aligned="arcface")
    pairs = fl.make_pairs(faces).assign(light="day")
    fl.influence(
        fl.faces.degrade(faces, resolutions=[28]),
        pairs,
        models=[fl.testing.model()],
        bands="rings:28",
        refine=0.5,
        name="fine",
        store=folder / "run.zarr",
        progress=False,
    )
    return folder / "run.zarr"


@pytest.fixture(scope="module")
def tree(run):
    return fl.open_run(run)


def rows(title):
    """Rows of the table below a heading, as lists of cells."""
    (section,) = re.findall(
        rf"^## {re.escape(title)}\n(.*?)(?=^## )", PAGE.read_text(), re.M | re.S
    )
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def stored(tree, group):
    """Dimensions and type of each variable, as the page writes them."""
    held = {}
    for name, variable in tree[group].variables.items():
        kind = "text" if variable.dtype == object else str(variable.dtype)
        held[name] = (", ".join(map(str, variable.dims)), kind)
    return held


def listed(table):
    """The same as the page lists it; a row may name several variables."""
    found = {}
    for names, dims, kind, *_ in table:
        for name in re.findall(r"`(\w+)`", names):
            found[name] = (name if dims == "each its own" else dims, kind)
    return found


@pytest.mark.parametrize(
    ("title", "group"), [("`/faces`", "/faces"), ("`/influence/<name>`", "/influence/fine")]
)
def test_variables_of_faces_and_results(tree, title, group):
    held = stored(tree, group)
    assert set(held) & ADDED
    assert listed(rows(title)) == {name: held[name] for name in held.keys() - ADDED}


def test_variables_of_crops_and_embeddings(tree):
    tables, group = {}, ""
    for first, *rest in rows("`/crops` and `/embeddings`"):
        group = first.strip("`") or group
        tables.setdefault(group, []).append(rest)
    nodes = tree["/embeddings/linear"].children.values()
    bands = next(node.name for node in nodes if "band" in node.dims)
    named = {"<template>": "arcface", "<model>": "linear", "<bands>": bands}
    for group, table in tables.items():
        for name, value in named.items():
            group = group.replace(name, value)
        held = stored(tree, group)
        held.pop("face", None)  # the coordinate
        assert listed(table) == held, group


def test_groups(run):
    titles = {cells[0].strip("`").split("/")[1] for cells in rows("Groups")}
    held = {name for name, _ in zarr.open_group(run, mode="r").groups()}
    assert held == {"faces", "crops", "embeddings", "influence", "digests"}
    assert titles == held | {"sets", "saliency", "studies", "trust"}


def test_codes_of_status():
    assert {int(code): meaning for code, meaning in rows("Status")} == FLAGS


def test_attributes(run):
    names = set(
        re.findall(r"`(\w+)`", PAGE.read_text().split("## Attributes")[1].split("Together")[0])
    )
    attributes = fl.open_influence(run, "fine").attrs
    assert len(names) > 8
    assert names <= attributes.keys()
