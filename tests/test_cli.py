import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import freqlab as fl
from freqlab import cli
from freqlab.errors import FreqlabError


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
    assert "4 pairs x 3 bands" in said
    assert "5 ok" in said


def test_what_is_left_out_is_said_once(call, few, tmp_path):
    folder = tmp_path / few
    (folder / "s1" / "9.cr2").write_bytes(b"raw")
    (folder / "s1" / ".ipynb_checkpoints").mkdir()
    done = call("landmarks", "--faces", few, "--out", "points.csv")
    assert "5 faces, 0 without" in done.stdout
    lines = done.stderr.splitlines()
    assert [line for line in lines if line.startswith("few: ")] == [
        "few: images left out, ending .cr2: 1 (a raw photograph of a camera: develop it first, "
        "into PNG, TIFF or JPEG)",
        "few: left out, hidden or system files and folders: 1 (s1/.ipynb_checkpoints)",
    ]
    assert "LeftOutWarning" not in done.output


def test_help_and_version(call):
    assert call("--version").output == f"freqlab {fl.__version__}\n"
    said = call("--help").output
    assert "Which spatial frequencies decide" in said
    for command in ("run", "report", "info", "landmarks"):
        assert command in said


def test_landmarks(call, few):
    done = call("landmarks", "--faces", few, "--out", "points.csv")
    assert "5 faces, 0 without" in done.output
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

    monkeypatch.setattr("freqlab.run.embed_faces", stop)
    done = call("run", "--faces", few, "--model", "mobilefacenet", "--store", "few.zarr")
    assert done.exit_code == 130
    assert "the same command goes on" in done.output


def test_parameters_are_read_as_json_where_they_can_be():
    read = [cli._parse(text) for text in ("200", "1e-3", "true", "null", '["a"]', "rings:4")]
    assert read == [200, 0.001, True, None, ["a"], "rings:4"]


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
    for part in ("lfw", "cfp-fp", "scface", "Name/Name_0001.jpg", "Nothing is ever downloaded"):
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
