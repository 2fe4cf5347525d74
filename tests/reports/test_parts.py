"""Shared output of report notebooks."""

import ast
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

import freqlab as fl
from freqlab.reports import parts
from freqlab.reports.rendering import _clean


@pytest.mark.parametrize(
    ("store", "name"), [("runs/orl.zarr", "be53845c"), ('my runs/<b>$a$ it\'s "x".zarr', "a`b")]
)
def test_how_to_open_a_pair(store, name, monkeypatch):
    """The command and the call name the store, the result and the pair, whatever is in names."""
    shown = []
    monkeypatch.setattr(parts, "_display", shown.append)
    result = fl.testing.result(np.zeros((1, 1, 1, 3), np.float32), bands=fl.rings(8, max=16))
    parts.show_how_to_open(result.assign_attrs(store=store, name=name), pair=16)
    (output,) = shown
    page = BeautifulSoup(_clean(output.data), "html.parser")
    assert page.p["class"] == ["open"]
    assert not page.select("b")
    command, call = (code.get_text() for code in page.select("code"))
    assert shlex.split(command) == ["freqlab", "inspect", store, "--name", name, "--pair", "16"]
    tree = ast.parse(call, mode="eval").body
    assert [ast.literal_eval(value) for value in tree.args] == [store]
    given = {keyword.arg: ast.literal_eval(keyword.value) for keyword in tree.keywords}
    assert given == {"name": name, "pair": 16}


@pytest.mark.parametrize("align", ["left", "center"])
def test_the_alignment_of_a_table_stays_on_the_page(align, monkeypatch):
    """The cleaning of markup takes the styles of a table away, not its class."""
    shown = []
    monkeypatch.setattr(parts, "_display", shown.append)
    parts.show_table(pd.DataFrame({"reading": ["a long text"]}), "Readings", align=align)
    table = BeautifulSoup(_clean(shown[0].to_html()), "html.parser").table
    assert table["class"] == [align]
    style = (Path(parts.__file__).parent / "pages" / "style.css").read_text()
    assert re.search(rf"table\.{align} td.*text-align: {align}", style)


def test_a_label_of_all_rows_stands_in_the_caption(monkeypatch):
    """One model takes no column of a table; two do."""
    shown = []
    monkeypatch.setattr(parts, "_display", shown.append)
    one = pd.MultiIndex.from_tuples([("<net>", "a"), ("<net>", "b")], names=["model", "score"])
    two = pd.MultiIndex.from_tuples([("net", "a"), ("other", "a")], names=["model", "score"])
    for index in (one, two):
        parts.show_table(pd.DataFrame({"rate": [1, 2]}, index=index), "Rates")
    first, second = (BeautifulSoup(_clean(table.to_html()), "html.parser") for table in shown)
    assert first.caption.get_text() == "<net>: Rates"
    assert "net" not in first.tbody.get_text()
    assert second.caption.get_text() == "Rates"
    assert "other" in second.tbody.get_text()
