"""Machines without a home, a name, an installation, or with another kernel of the same name."""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import make_faces

import freqlab as fl
from freqlab.reports import calls as reports
from freqlab.reports.kernels import OwnKernelSpecs
from freqlab.store.run_store import RunStore
from freqlab.system.homes import with_a_home

CHECKOUT = str(Path(fl.__file__).resolve().parents[1])
NOTEBOOK = """
import getpass, os, sys
import freqlab as fl
import matplotlib.pyplot as plt
plt.figure()
where = [sys.executable, fl.__file__, fl.bands.__name__]
"""
SMALL_REPORT = """
import json, os, sys
sys.path.insert(0, {checkout!r})
import freqlab as fl
from freqlab.reports import calls as reports
from pathlib import Path
reports._notebook = lambda name: Path(sys.argv[1])
page = reports.report("small", out=sys.argv[2], progress=False)
print(json.dumps([sys.executable, fl.__file__]))
"""


@pytest.fixture
def small(tmp_path):
    """A report of one cell that tells where it runs."""
    cells = [
        nbformat.v4.new_markdown_cell("# Small\n\nIt says where it runs."),
        nbformat.v4.new_code_cell("n = 1", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(f"{NOTEBOOK}print(*where, sep='|')"),
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), tmp_path / "n.ipynb")
    return tmp_path / "n.ipynb"


def where_it_ran(folder):
    notebook = nbformat.read(folder / "small.ipynb", as_version=4)
    texts = [o["text"] for cell in notebook.cells for o in cell.get("outputs", []) if "text" in o]
    return "".join(texts).strip().split("|")


@pytest.mark.slow
def test_another_kernel_called_python3(small, tmp_path, monkeypatch):
    """Reports run in the interpreter that was asked, not in a user's of the name."""
    wrong = tmp_path / "jupyter" / "kernels" / "python3"
    wrong.mkdir(parents=True)
    spec = {"argv": ["/bin/false", "{connection_file}"], "language": "python", "display_name": "x"}
    (wrong / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setattr(reports, "_notebook", lambda name: small)
    page = reports.report("small", out=tmp_path / "out", progress=False)
    assert "It says where it runs" in page.read_text()
    assert where_it_ran(tmp_path / "out") == [sys.executable, fl.__file__, "freqlab.bands"]


def test_the_inspectors_page_looks_no_kernel_up():
    pytest.importorskip("voila")
    given = "--VoilaConfiguration.kernel_spec_manager_class=freqlab.reports.kernels.OwnKernelSpecs"
    source = Path(fl.__file__).parent.joinpath("inspector", "serving.py").read_text()
    assert given in source
    from voila.configuration import VoilaConfiguration

    name = given.partition("=")[2]
    assert (
        VoilaConfiguration(kernel_spec_manager_class=name).kernel_spec_manager_class
        is OwnKernelSpecs
    )
    specs = OwnKernelSpecs().get_all_specs()
    assert list(specs) == ["python3"]
    assert specs["python3"]["spec"]["argv"][0] == sys.executable


def nameless():
    """How to become a user with a number and no name; skips where the system does not let one."""
    words = ["unshare", "--user", "--map-user=54321"]
    if not shutil.which("unshare") or subprocess.run([*words, "true"], check=False).returncode:
        pytest.skip("no user namespaces here")
    return words


def bare(**more):
    """An environment without home and name."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "PYTHONPATH", "FREQLAB_CACHE")
        if name in os.environ
    }
    return {**kept, "OMP_NUM_THREADS": "1", **more}


@pytest.mark.slow
@pytest.mark.parametrize(
    "home",
    [
        {},
        pytest.param({"HOME": "/nowhere"}, marks=pytest.mark.exhaustive),
        pytest.param({"HOME": "/proc"}, marks=pytest.mark.exhaustive),
    ],
)
def test_a_report_without_a_home(small, tmp_path, home):
    script = SMALL_REPORT.format(checkout=CHECKOUT)
    command = [*nameless(), sys.executable, "-c", script, str(small), str(tmp_path / "out")]
    environment = bare(**home)
    environment.pop("PYTHONPATH", None)  # nor an installation: the kernel must find it all the same
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert where_it_ran(tmp_path / "out")[:2] == json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_run_by_a_nameless_user(tmp_path):
    script = (
        "import sys\n"
        f"sys.path[:0] = [{os.path.dirname(__file__)!r}, {CHECKOUT!r}]\n"
        "from small_stores import compute\n"
        "import freqlab as fl\n"
        "from freqlab.store.locking import locked\n"
        "compute(sys.argv[1])\n"
        "with locked(sys.argv[1]): print(open(sys.argv[1] + '.lock').read())\n"
    )
    store = str(tmp_path / "run.zarr")
    command = [*nameless(), sys.executable, "-W", "error", "-c", script, store]
    done = subprocess.run(command, env=bare(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["user"] == "uid 54321"
    assert len(fl.store.check(store)) == 0


def test_a_package_that_is_not_installed(tmp_path, monkeypatch):
    """On PYTHONPATH alone there is no metadata of an installation, and no command."""

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    run = RunStore(tmp_path / "run.zarr")
    run.add_faces(make_faces(size=4))
    assert run.root.attrs["freqlab_version"] == fl.__version__
    command = [sys.executable, "-m", "freqlab", "--version"]
    environment = {**os.environ, "PYTHONPATH": CHECKOUT}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert said.stdout == f"freqlab {fl.__version__}\n"


def test_a_home_is_lent_and_given_back(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with with_a_home():
        assert os.environ["HOME"] == str(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "gone"))
    with with_a_home():
        lent = os.environ["HOME"]
        assert Path(lent).is_dir()
        assert Path(lent).stat().st_mode & 0o77 == 0
    assert os.environ["HOME"] == str(tmp_path / "gone")
    assert not Path(lent).exists()
