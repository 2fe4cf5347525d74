import ast
import contextlib
import inspect
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import freqlab as fl
from freqlab import cli
from freqlab.cli import entry
from freqlab.errors import FreqlabError
from freqlab.reports.calls import report_names, report_parameters


@pytest.fixture
def call(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()

    def invoke(*words):
        result = runner.invoke(cli.app, [str(word) for word in words])
        if isinstance(result.exception, FreqlabError):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def few(tmp_path, orl):
    """Five ORL photographs of two people, as a folder."""
    for position in (0, 1, 2, 10, 11):
        subject, image = orl.names[position].split("/")
        (tmp_path / "few" / subject).mkdir(parents=True, exist_ok=True)
        (tmp_path / "few" / subject / f"{image}.pgm").write_bytes(orl.content(position))
    return "few"


def test_run_and_info(call, few):
    done = call(
        "run", "--faces", few, "--model", "mobilefacenet", "--bands", "rings:28",
        "--store", "runs/few.zarr", "--side", "probe", "--n-pairs", 4,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    result = fl.open_influence("runs/few.zarr")
    assert result["influence"].shape == (1, 4, 1, 3)
    assert np.isfinite(result["influence"]).all()
    said = call("info", "runs/few.zarr").output
    row = next(line for line in said.splitlines() if "called by you" in line)
    assert re.split("  +", row.strip())[2:] == [
        *("5", "4", "0", "probe", "3 cycles/image", "mobilefacenet", "called by you")
    ]
    assert "5 ok" in said


def test_what_is_left_out_is_said_once(call, few, tmp_path):
    folder = tmp_path / few
    (folder / "s1" / "9.cr2").write_bytes(b"raw")
    (folder / "s1" / ".ipynb_checkpoints").mkdir()
    done = call("landmarks", "--faces", few, "--out", "points.csv")
    assert "5 images, 0 without" in done.stdout
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("few: ")] == [
        "few: images left out, extension .cr2: 1 (a raw photograph of a camera: develop it first, "
        "into PNG, TIFF or JPEG)",
        "few: left out, hidden or system files and folders: 1 (s1/.ipynb_checkpoints)",
    ]
    assert "LeftOutWarning" not in done.output


def test_help_and_version(call):
    assert call("--version").output == f"freqlab {fl.__version__}\n"
    said = call("--help").output
    assert "Explain which spatial frequencies drive" in said
    for command in ("run", "report", "info", "landmarks"):
        assert command in said


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("re", ["report"]),
        ("--v", ["--version"]),
        ("run --pre", ["--precision"]),
        ("run --precision ", ["float32", "bfloat16", "auto"]),
        ("report bi", ["bias"]),
        ("report bias mo", ["morphing"]),
        ("report al", ["all"]),
        ("no-such-command --x", []),
    ],
)
def test_shells_complete_commands_options_and_values(capsys, monkeypatch, words, completed):
    line = f"freqlab {words}"
    monkeypatch.setattr("sys.argv", ["freqlab"])
    monkeypatch.setenv("_FREQLAB_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().out.split() == completed
    monkeypatch.setenv("_FREQLAB_COMPLETE", "complete_fish")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", line)
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().out.splitlines()
    assert [answer.split("\t")[0] for answer in said if answer] == completed


def test_every_report_is_completed(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["freqlab"])
    monkeypatch.setenv("_FREQLAB_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "freqlab report ")
    monkeypatch.setenv("COMP_CWORD", "2")
    with pytest.raises(SystemExit):
        cli.main()
    assert sorted(capsys.readouterr().out.split()) == sorted([*report_names(), "all"])


def test_bash_completes_after_installation(tmp_path):
    program = tmp_path / "freqlab"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m freqlab "$@"\n')
    program.chmod(0o700)
    paths = os.pathsep.join(path for path in sys.path if path)
    variables = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PYTHONPATH": paths}
    options = {"env": variables, "capture_output": True, "text": True, "check": True}
    installed = subprocess.run(
        ["bash", "--norc", "-c", f"{program} --install-completion; true"], **options
    )
    assert "bash completion installed" in installed.stdout
    script = (
        f"source ~/.bashrc; COMP_WORDS=(freqlab land); COMP_CWORD=1; _freqlab_completion {program}"
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", f'{script}; echo "${{COMPREPLY[@]}}"'], **options
    )
    assert done.stdout == "landmarks\n"


def test_completion_that_cannot_be_installed(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "home"))
    monkeypatch.setattr("typer._completion_shared._get_shell_name", lambda: "bash")
    monkeypatch.setattr("sys.argv", ["freqlab", "--install-completion"])
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    assert "freqlab: completion was not installed: " in capsys.readouterr().err


def test_landmarks(call, few):
    done = call("landmarks", "--faces", few, "--out", "points.csv")
    assert "5 images, 0 without" in done.output
    table = pd.read_csv("points.csv", index_col="face")
    assert table.shape == (5, 10)
    shipped = pd.read_csv(fl.resources.resource("data/orl_landmarks.csv"), index_col="face")
    np.testing.assert_allclose(table.loc["s1/1.pgm"], shipped.loc["s1/1"], atol=0.5)


def test_landmarks_are_used_by_a_run(call, few):
    call("landmarks", "--faces", few, "--out", "points.csv")
    table = pd.read_csv("points.csv", index_col="face") + 2
    table.to_csv("points.csv")
    call(
        "run", "--faces", few, "--model", "mobilefacenet", "--bands", "rings:56",
        "--store", "few.zarr", "--landmarks", "points.csv",
    )  # fmt: skip
    used = fl.open_run("few.zarr")["faces"]["landmarks"].to_numpy()
    np.testing.assert_allclose(used.reshape(5, 10), table, atol=1e-4)


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["run", "--faces", "orll", "--model", "m", "--store", "s"], "Did you mean 'orl'"),
        (
            ["run", "--faces", "orl", "--model", "mobilefacenett", "--store", "s"],
            "Did you mean 'mobilefacenet'",
        ),
        (
            ["run", "--faces", "orl", "--model", "m", "--store", "s", "--bands", "rings:4:cycles"],
            "cycles/image",
        ),
        (["report", "explor"], "Did you mean 'explore'"),
        (["report", "explore", "-p", "n_pair=5"], "Did you mean 'n_pairs'"),
        (["report", "explore", "-p", "n_pairs"], "key=value"),
        (["info", "absent.zarr"], "no such folder"),
        (["landmarks", "--faces", "orl", "--out", "absent/x.csv"], "there is no folder"),
    ],
)
def test_errors_name_what_is_allowed(call, words, near):
    with pytest.raises(FreqlabError, match=near):
        call(*words)


def test_errors_end_with_status_two_and_one_message(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["freqlab", "info", "absent.zarr"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "freqlab: run 'absent.zarr': no such folder\n"


def test_a_stopped_run_says_how_to_go_on(monkeypatch, call, few):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("freqlab.run.calls.embed_faces", stop)
    done = call("run", "--faces", few, "--model", "mobilefacenet", "--store", "few.zarr")
    assert done.exit_code == 130
    assert "repeat the command to resume" in done.output


def test_reports_and_their_parameters_are_listed(call):
    listed = call("report").output.split()
    assert listed == report_names()
    table = call("report", "bias", "--parameters").output
    for part in ("n_pairs", "int | None", "200", "str | list[str]", "'glasses'"):
        assert part in table
    helped = call("report", "--help").output
    for name in listed:
        assert name in helped


@pytest.mark.slow
def test_info_of_a_store_with_a_mean_per_channel(call, few):
    call("run", "--faces", few, "--model", "dlib", "--bands", "rings:56", "--store", "r.zarr",
         "--side", "probe", "--n-pairs", 2)  # fmt: skip
    assert "RGB, (pixel - [122.782, 117.001, 104.298]) / 256" in call("info", "r.zarr").output


def test_models(call):
    done = call("models")
    assert done.exit_code == 0
    for part in ("mobilefacenet", "150 x 150", "checkpoint=", "CC BY-NC-SA 4.0", "timm:hf_hub:"):
        assert part in done.output


def test_models_with_options(call, few, tmp_path):
    import torch

    from freqlab.models.mobilefacenet import MobileFaceNet

    torch.save(MobileFaceNet(64).state_dict(), tmp_path / "mine.pt")
    done = call(
        "run", "--faces", few, "--store", "r.zarr", "--bands", "rings:56", "--side", "probe",
        "--model", "mobilefacenet,checkpoint=mine.pt,name=mine", "--n-pairs", 2,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert fl.open_influence("r.zarr")["model"].to_numpy().tolist() == ["mine"]


def test_datasets(call):
    done = call("datasets")
    assert done.exit_code == 0
    for part in ("lfw", "cfp-fp", "scface", "Name/Name_0001.jpg", "freqlab downloads nothing"):
        assert part in done.output


def test_a_list_of_pairs(call, few, tmp_path):
    (tmp_path / "pairs.csv").write_text(
        "probe,reference,genuine\ns1/1.pgm,s1/2.pgm,1\ns1/1.pgm,s2/1.pgm,0\n"
    )
    options = ("run", "--faces", few, "--model", "mobilefacenet", "--bands", "rings:56",
               "--store", "r.zarr", "--side", "probe", "--pairs", "pairs.csv")  # fmt: skip
    done = call(*options)
    assert done.exit_code == 0, done.output
    assert fl.open_influence("r.zarr")["genuine"].to_numpy().tolist() == [True, False]
    with pytest.raises(FreqlabError, match="--pairs lists the pairs"):
        call(*options, "--n-pairs", 3)


LISTED = "probe,reference,genuine\ns1/1.pgm,s1/2.pgm,1\ns1/1.pgm,s2/1.pgm,0\n"
OF_LISTS = [
    (LISTED + "s1/1.pgm,s9/1.pgm,0\n", "missing='drop'", ("--missing", "drop"), "1 of 3 pairs"),
    (LISTED + "s1/2.pgm,s1/1.pgm,1\n", "repeated='drop'", ("--repeated", "drop"), "repeat earlier"),
    (LISTED + "s1/1.pgm,s1/1.pgm,1\n", None, (), "1 of a face with itself"),
    (LISTED + "s1/1.pgm,s2/2.pgm,1\n", None, (), "1 labelled against the subjects"),
    (
        LISTED.replace("probe", "p"),
        "columns='probe=NAME'",
        ("--format", "csv", "--columns", "probe=p"),
        None,
    ),
    (LISTED, None, ("--format", "lines"), None),
]


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize(("text", "advice", "options", "said"), OF_LISTS)
def test_what_an_error_of_a_list_advises_can_be_said_in_the_shell(
    monkeypatch, call, few, tmp_path, command, text, advice, options, said
):
    got = []
    for name in ("influence", "plan"):
        monkeypatch.setattr(fl, name, lambda faces, pairs, **_: got.append(pairs))
    (tmp_path / "pairs.csv").write_text(text)
    words = (command, "--faces", few, "--model", "mobilefacenet", "--bands", "rings:56",
             "--store", "r.zarr", "--side", "probe", "--pairs", "pairs.csv")  # fmt: skip
    if advice is not None:
        strict = ("--format", "csv") if "columns" in advice else ()
        with pytest.raises(FreqlabError, match=advice):
            call(*words, *strict)
    if said is None:
        done = call(*words, *options)
    else:
        with pytest.warns(UserWarning, match=said):
            done = call(*words, *options)
    assert done.exit_code == 0, done.output
    assert len(got) == 1
    assert got[0]["genuine"].tolist() == [True, False]
    if said is not None and not options:
        with pytest.raises(FreqlabError, match="with itself|contradict their subjects"):
            call(*words, "--strict")


def test_options_of_lists(call, few, tmp_path):
    (tmp_path / "pairs.txt").write_text("s1/1.pgm s1/2.pgm 1\ns2/1.pgm s2/2.pgm 1\n")
    words = ("plan", "--faces", few, "--model", "mobilefacenet", "--calibrate", 0)
    for option in (("--missing", "drop"), ("--strict",), ("--fold", 1), ("--format", "lines")):
        with pytest.raises(FreqlabError, match=f"{option[0]} applies only together with --pairs"):
            call(*words, *option)
    with pytest.raises(FreqlabError, match="fold=.*has no folds"):
        call(*words, "--pairs", "pairs.txt", "--fold", 1)
    with pytest.raises(FreqlabError, match="Did you mean 'lines'"):
        call(*words, "--pairs", "pairs.txt", "--format", "line")
    with pytest.raises(FreqlabError, match="columns='probe' must be roles and columns"):
        call(*words, "--pairs", "pairs.txt", "--columns", "probe")


@pytest.mark.parametrize(
    ("text", "command", "shown"),
    [
        ("missing='drop' leaves their pairs out", "run", "--missing drop leaves their pairs out"),
        (
            "missing='drop' leaves their pairs out",
            "report",
            "-p missing=drop leaves their pairs out",
        ),
        ("say outside=True if", "plan", "say --outside if"),
        ("say outside=True if", "report", "say -p outside=true if"),
        ("faces 'csv' needs root=, the file", "run", "faces 'csv' needs --root, the file"),
        ("compute it with keep_crops=True", "run", "compute it with --keep-crops"),
        ("fl.influence(..., repair=True)", "run", "fl.influence(..., repair=True)"),
        ("columns='probe=NAME'. It", "run", "--columns probe=NAME. It"),
        ("checkpoint= with its path", "run", "checkpoint= with its path"),
        ("n_pairs=3", "run", "n_pairs=3"),
    ],
)
def test_advice_in_the_words_of_the_shell(text, command, shown):
    assert entry.for_shell(text, command) == shown


def test_errors_and_warnings_of_the_shell_are_one_line(monkeypatch, capsys, few, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.csv").write_text(OF_LISTS[0][0] + "s1/1.pgm,s1/1.pgm,1\n")
    words = ["freqlab", "plan", "--faces", few, "--model", "mobilefacenet", "--calibrate", "0",
             "--pairs", "pairs.csv"]  # fmt: skip
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("freqlab: pairs.csv: 1 of the 4 faces")
    assert "--missing drop leaves their pairs out" in error
    monkeypatch.setattr("sys.argv", [*words, "--missing", "drop"])
    with warnings.catch_warnings(), contextlib.suppress(SystemExit):
        warnings.simplefilter("default")
        warnings.showwarning = warnings._showwarning_orig
        cli.main()
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("freqlab: ")]
    assert len(said) == 2
    assert "1 of 4 pairs are left out because 1 of the 4 faces" in said[0]
    assert "1 of a face with itself" in said[1]
    assert "; --strict refuses such a list" in said[1]


def _advice():
    """Every argument that a message of freqlab names, with the module."""
    package = Path(fl.__file__).parent
    for file in sorted(package.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        documented = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef)
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and id(node) not in documented and "xarray.open" not in text:
                for name in re.findall(r"(?<![\w.-])([a-z_]+)=(?:'\w+'|True)", text):
                    yield name, file.relative_to(package).as_posix(), text


# What cannot be met in the shell, or is written there in another way.
ELSEWHERE = {
    "trust": "an option behind --model",
    "layout": "an option behind --model, and behind --faces",
    "device": "--device",
    "kernel": "a parameter of the report cross-resolution",
    "measure": "a parameter of the report cross-resolution",
    "cut_by": "of fl.templates",
    "paired": "of fl.compare",
    "by": "of fl.faithfulness.deletion_curves",
    "dim": "of fl.concat",
    "extension": "behind --bands, as in rings:4:mirror",
    "centred": "of fl.custom; the file of custom:FILE.npy is reordered instead",
}


def test_every_advice_in_a_message_is_an_option_or_a_parameter_of_reports():
    options = {name for name in ("run", "plan", "inspect", "landmarks") for name in _options(name)}
    of_reports = {name: set(report_parameters(name)) for name in report_names()}
    parameters = set().union(*of_reports.values())
    for name, module, text in _advice():
        known = name in options or name in parameters or name in ELSEWHERE
        assert known, f"{module}: {text!r} advises {name}=, which the shell lacks"
    for name in entry.ADVISED:
        assert name in options, name
    lists = set(inspect.signature(fl.read_pairs).parameters) - {"path", "faces"}
    sets = set(inspect.signature(fl.load_faces).parameters) - {"source"}
    sets -= {"columns", "layout"}  # options behind --faces
    for command in ("run", "plan"):
        assert lists | sets <= _options(command)
    for name, given in of_reports.items():
        assert sets <= given, name
        if "pairs" in given:
            fixed = {"format", "columns"} if name == "morphing" else set()
            assert lists - fixed - {"fold"} <= given, name


def _options(command):
    functions = {one.callback.__name__: one.callback for one in cli.app.registered_commands}
    return set(inspect.signature(functions[command]).parameters)
