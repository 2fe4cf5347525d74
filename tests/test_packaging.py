"""What is committed fits together: environment, constraints, notebooks, wheel."""

import importlib
import itertools
import json
import os
import pkgutil
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from importlib.metadata import requires
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import freqlab

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STACK = {
    "torch",
    "timm",
    "numpy",
    "xarray",
    "zarr",
    "seaborn",
    "ipywidgets",
    "jupyterlab",
    "papermill",
    "facenet-pytorch",
}


def pinned():
    lines = (ROOT / "constraints.txt").read_text().split()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in lines)
    return {canonicalize_name(name): version for name, version in (x.split("==") for x in lines)}


def reachable(extras):
    """All distributions that freqlab with these extras asks for, directly or not."""
    found, todo = set(), [("freqlab", extra) for extra in ("", *extras)]
    seen = set()
    while todo:
        name, extra = todo.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for text in requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
                continue
            found.add(canonicalize_name(requirement.name))
            wanted = ("", *requirement.extras)
            todo.extend((canonicalize_name(requirement.name), e) for e in wanted)
    return found - {"freqlab", "pip", "setuptools"}


def test_constraints_pin_everything_the_tests_run_with():
    versions = pinned()
    extras = ["test", "report", "demo"]
    assert not sorted(reachable(extras) - versions.keys())
    declared = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for requirement in map(Requirement, itertools.chain.from_iterable(declared)):
        if requirement.name != "freqlab":
            version = versions[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), requirement


def test_environment_file_is_in_step():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"][0] == "conda-forge"
    *packages, pip = environment["dependencies"]
    assert f"python{PROJECT['requires-python']}" in packages
    assert "pip" in packages
    (extra,) = re.findall(r"--editable \.\[(\w+)\]", "\n".join(pip["pip"]))
    assert extra in PROJECT["optional-dependencies"]
    assert "--constraint constraints.txt" in pip["pip"]
    makefile = (ROOT / "Makefile").read_text()
    assert f"report: .venv/installed-{extra}" in makefile


def test_the_whole_stack_is_declared():
    extras = PROJECT["optional-dependencies"]
    (everything,) = (Requirement(text) for text in extras["all"])
    declared = [*PROJECT["dependencies"], *itertools.chain(*(extras[e] for e in everything.extras))]
    names = {canonicalize_name(Requirement(text).name) for text in declared}
    assert names >= STACK
    assert not {"jupyterlab", "papermill"} & {
        canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]
    }
    assert SpecifierSet(PROJECT["requires-python"]).contains("3.11.0")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_clean(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.kernelspec.language == "python"
    for cell in notebook.cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in notebook.cells) == 1
    assert notebook.cells[0].source.startswith("# ")


def test_version_has_one_place():
    from importlib.metadata import version

    assert version("freqlab") == freqlab.__version__
    assert "version" not in PROJECT
    assert f"## {freqlab.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_import_is_light_and_every_name_is_there():
    code = (
        "import sys, json, types, freqlab as fl\n"
        "heavy = [m for m in ('torch', 'matplotlib', 'xarray') if m in sys.modules]\n"
        "names = [(fl, n) for n in fl.__all__]\n"
        "names += [(m, n) for m in map(fl.__dict__.get, fl.__all__)\n"
        "          if isinstance(m, types.ModuleType) for n in m.__all__]\n"
        "missing = [f'{m.__name__}.{n}' for m, n in names if not hasattr(m, n)]\n"
        "print(json.dumps([heavy, missing]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[], []]


def test_no_module_hides_what_its_package_exports():
    """Importing ``package.name`` puts the module in the place of a function of that name."""
    n_packages = 0
    for stub in (ROOT / "freqlab").glob("*/__init__.pyi"):
        package = importlib.import_module(f"freqlab.{stub.parent.name}")
        modules = {one.name for one in pkgutil.iter_modules(package.__path__)}
        assert not modules & set(package.__all__), package.__name__
        n_packages += 1
    assert n_packages > 10


def test_citation_names_the_version_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == freqlab.__version__
    assert citation["license"] == PROJECT["license"]
    paper = citation["preferred-citation"]
    assert [author["family-names"] for author in paper["authors"]] == ["Huber", "Damer"]
    assert paper["identifiers"][0]["value"] == "arXiv:2407.11941"
    assert paper["title"].strip() in (ROOT / "README.md").read_text().replace("\n", " ")


def test_pages_show_the_rows_of_imports():
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    contracts = tool["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if "layers" in contract)
    declared = [set(row.split(" | ")) for row in layers]
    page = (ROOT / "docs" / "developing" / "architecture.md").read_text()
    table = re.findall(r"^\| (\d+) \| (.*) \|$", page, re.M)
    assert [set(re.findall(r"`(\w+)`", row)) for _, row in table] == declared
    assert [int(number) for number, _ in table] == list(range(len(declared), 0, -1))
    indented = re.findall(
        r"^    ((?:[a-z]+  )*[a-z]+)$", (ROOT / "CONTRIBUTING.md").read_text(), re.M
    )
    assert [set(row.split("  ")) for row in indented] == declared


def test_settings_of_services_are_sound_and_name_what_is_there():
    files = [*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml"]
    assert len(files) >= 6
    for file in [*files, ROOT / ".readthedocs.yaml"]:
        assert isinstance(yaml.safe_load(file.read_text()), dict), file
    site = yaml.safe_load((ROOT / ".readthedocs.yaml").read_text())
    assert (ROOT / site["sphinx"]["configuration"]).is_file()
    (extra,) = site["python"]["install"][0]["extra_requirements"]
    assert extra in PROJECT["optional-dependencies"]
    targets = (ROOT / "Makefile").read_text()
    for file in files:
        for target in re.findall(r"run: make (\S+)", file.read_text()):
            assert f"\n{target}:" in targets, target
    first = SpecifierSet(PROJECT["requires-python"])
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    for version in workflow["jobs"]["test"]["strategy"]["matrix"]["python"]:
        assert first.contains(f"{version}.0")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT], check=True)
    (path,) = folder.glob("*.whl")
    return path


def report_elsewhere(environment, folder, **given):
    """With what an environment installed, make a report in an empty folder."""
    variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    variables |= given
    folder.mkdir()
    python = environment / "bin" / "python"
    run = {"check": True, "cwd": folder, "env": variables}
    where = subprocess.run(
        [python, "-c", "import freqlab; print(freqlab.__file__)"],
        stdout=subprocess.PIPE,
        text=True,
        **run,
    )
    assert Path(where.stdout).is_relative_to(environment)
    subprocess.run(
        [environment / "bin" / "freqlab", "report", "explore", "-p", "n_pairs=20"], **run
    )
    assert (folder / "reports" / "explore.html").stat().st_size > 500_000
    assert (folder / "runs" / "orl.zarr").is_dir()


@pytest.mark.slow
def test_a_wheel_elsewhere(wheel, tmp_path):
    """All files are in it; what it needs is taken from the environment of the tests."""
    held = set(zipfile.ZipFile(wheel).namelist())
    frontend = ROOT / "freqlab" / "inspector" / "frontend"
    files = [path for path in frontend.rglob("*") if path.is_file()]
    assert len(files) >= 7
    assert {path.relative_to(ROOT).as_posix() for path in files} <= held
    environment = tmp_path / "env"
    venv.create(environment, with_pip=True)
    install = [environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*install, wheel], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "needed.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    templates = Path(sysconfig.get_path("data")) / "share" / "jupyter"
    report_elsewhere(environment, tmp_path / "elsewhere", JUPYTER_PATH=str(templates))


@pytest.mark.exhaustive  # some gigabytes
def test_a_wheel_in_a_fresh_environment(wheel, tmp_path):
    """Install it where nothing is."""
    environment = tmp_path / "env"
    venv.create(environment, with_pip=True)
    install = [environment / "bin" / "python", "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, "-c", ROOT / "constraints.txt", f"{wheel}[demo,report]"], check=True)
    report_elsewhere(environment, tmp_path / "elsewhere")
