"""Places where reports and stores cannot be, and outputs that nobody reads any more."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import freqlab as fl
from freqlab.errors import FreqlabError, ParameterError
from freqlab.reports import calls as reports
from freqlab.reports import index

COMMAND = [sys.executable, "-c", "from freqlab.cli import main; main()"]


class Papermill:
    """Leaves a notebook as papermill does, without executing one."""

    class PapermillExecutionError(Exception):
        pass

    def __init__(self, papermill):
        self.inspect_notebook = papermill.inspect_notebook
        self.modes = []

    def execute_notebook(self, notebook, path, *, parameters, **options):
        self.modes.append(stat.S_IMODE(os.stat(path).st_mode))
        notebook.metadata["papermill"] = {
            "parameters": parameters,
            "end_time": "2026-01-01T00:00:00",
        }
        with open(path, "w", encoding="utf-8") as file:
            nbformat.write(notebook, file)


@pytest.fixture
def papermill(monkeypatch):
    fake = Papermill(reports._papermill())
    monkeypatch.setattr(reports, "_papermill", lambda: fake)
    return fake


def test_reports_are_private(papermill, tmp_path):
    before = os.umask(0)
    try:
        fl.report("explore", out=tmp_path / "a" / "reports", progress=False)
    finally:
        os.umask(before)
    assert papermill.modes == [0o600]
    for path in (tmp_path / "a").rglob("*"):
        expected = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == expected, path
    names = {path.name for path in (tmp_path / "a" / "reports").iterdir()}
    assert names == {"explore.html", "explore.ipynb", "index.html"}


FOREIGN = {
    "mine.ipynb": nbformat.writes(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    ),
    "empty.ipynb": "",
    "broken.ipynb": "{not json",
    "old.ipynb": '{"worksheets": [], "nbformat": 3, "nbformat_minor": 0, "metadata": {}}',
    "list.ipynb": "[1, 2]",
    "no-cells.ipynb": '{"cells": [], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
    "bytes.ipynb": "\udcff",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_notebooks_that_are_no_reports(papermill, tmp_path, name):
    (tmp_path / name).write_bytes(os.fsencode(FOREIGN[name]))
    (tmp_path / name).with_suffix(".html").write_text("<p>mine")
    fl.report("explore", out=tmp_path, progress=False)
    index = (tmp_path / "index.html").read_text()
    assert 'href="explore.html"' in index
    assert f"not reports: <code>{name}</code>" in index
    assert (tmp_path / name).read_bytes() == os.fsencode(FOREIGN[name])


@pytest.mark.parametrize("name", ["explore.ipynb", "explore.html", "index.html"])
def test_what_is_no_report_is_not_overwritten(papermill, tmp_path, name):
    (tmp_path / name).write_text(FOREIGN["mine.ipynb"])
    with pytest.raises(reports.ReportError, match=f"holds '{name}', which freqlab did not make"):
        fl.report("explore", out=tmp_path, progress=False)
    assert (tmp_path / name).read_text() == FOREIGN["mine.ipynb"]
    assert papermill.modes == []


def test_a_second_report_takes_the_place_of_the_first(papermill, tmp_path):
    for _ in range(2):
        fl.report("explore", out=tmp_path, progress=False)
    fl.report("bias", out=tmp_path, progress=False)
    assert (tmp_path / "index.html").read_text().count("<li>") == 2


def test_places_where_no_report_can_be(papermill, tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "reports"):
        with pytest.raises(reports.ReportError, match=r"cannot be written: Not a directory.*file"):
            fl.report("explore", out=out, progress=False)
    for out in ("", "a\0b", 7):
        with pytest.raises(ParameterError, match="must be the path of a folder"):
            fl.report("explore", out=out, progress=False)
    with pytest.raises(reports.ReportError, match="cannot be written: File name too long"):
        fl.report("explore", out=tmp_path / ("x" * 300), progress=False)
    with pytest.raises(reports.ReportError, match="cannot be written: "):
        fl.report("explore", out="/proc/freqlab-reports", progress=False)


@pytest.mark.parametrize("at", ["running", "page", "index"])
def test_a_disk_that_is_full(papermill, tmp_path, monkeypatch, at):
    fl.report("explore", out=tmp_path, progress=False)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def refuse(*arguments, **options):
        raise full

    if at == "running":
        papermill.execute_notebook = refuse
    else:
        monkeypatch.setattr(reports if at == "page" else index, "written_whole", refuse)
    with pytest.raises(reports.ReportError, match="cannot be written: No space left on device"):
        fl.report("explore", out=tmp_path, progress=False)
    left = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    left.pop("explore.running.ipynb", None)
    assert left == before


@pytest.mark.slow
def test_the_command_line_in_an_impossible_place(tmp_path):
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    tmp_path.chmod(0o700)
    # the interpreter of this environment may be out of the other user's reach: import first
    code = "import os, papermill, nbconvert, nbformat, freqlab.reports.calls\n"
    code += "from freqlab import cli\n"
    code += "freqlab.reports.calls.report_parameters('explore'); import freqlab as fl; fl.report\n"
    code += "os.setgroups([]); os.setgid(65534); os.setuid(65534); cli.main()"
    ended = subprocess.run(
        [sys.executable, "-c", code, "report", "explore", "--out", str(tmp_path / "reports")],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": "/nonexistent"},
        cwd="/",
    )
    assert ended.returncode == 2, ended.stderr
    assert "Permission denied" in ended.stderr
    assert "Traceback" not in ended.stderr


def shell(line, **options):
    """Run a line in bash, `$FREQLAB` being the command; what it said on standard error, status."""
    ended = subprocess.run(
        ["bash", "-c", line, "bash", *COMMAND],
        capture_output=True, text=True, timeout=120, **options,
    )  # fmt: skip
    return ended.stdout, ended.stderr, ended.returncode


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        pytest.param("datasets", marks=pytest.mark.exhaustive),
        pytest.param("models", marks=pytest.mark.exhaustive),
        "info",
        "--help",
        "--version",
    ],
)
def test_outputs_that_nobody_reads(command, tmp_path):
    if command == "info":
        from small_stores import run

        run(tmp_path / "run.zarr")
        command = f"info {tmp_path / 'run.zarr'}"
    _, told, status = shell(f'"$@" {command} >&-')
    assert (told, status) == ("", 0)
    _, told, status = shell(f'"$@" {command} > /dev/full')
    assert told == "freqlab: the output cannot be written: No space left on device\n"
    assert status == 2
    # a reader that is gone before the first line
    _, told, _ = shell(f'mkfifo {tmp_path}/pipe; true < {tmp_path}/pipe & exec 3> {tmp_path}/pipe; '
                       f'wait; "$@" {command} >&3; echo $? > {tmp_path}/status')  # fmt: skip
    assert told == ""
    assert Path(f"{tmp_path}/status").read_text().strip() in ("141", "1")  # 1: of the help pages


def test_errors_where_standard_error_is_closed(tmp_path):
    out, _, status = shell(f'"$@" info {tmp_path}/absent 2>&-')
    assert (out, status) == ("", 2)


def test_stores_in_impossible_places(tmp_path):
    from small_stores import run

    (tmp_path / "file").write_text("")
    for store in (
        tmp_path / "file",
        tmp_path / "file" / "run.zarr",
        "/proc/freqlab.zarr",
        tmp_path / ("x" * 300),
        "a\0b",
        "",
    ):
        with pytest.raises(FreqlabError):
            run(store)
