"""Text of results has one dtype, which files take as it is."""

import numpy as np
import pytest
import xarray as xr

import freqlab as fl
from freqlab.attrs import named, with_object_text


@pytest.fixture
def mixed():
    return xr.Dataset(
        {
            "score": (("model", "pair"), np.arange(6.0).reshape(2, 3)),
            "note": ("pair", np.array(["", "two", "a longer note"])),
        },
        coords={
            "model": ["a", "bb"],
            "kind": ("pair", np.array(["x", "y", "z"], np.dtypes.StringDType())),
            "person": ("pair", np.array(["p", "q", "r"], object)),
        },
        attrs={"level": 0.95},
    )


def test_all_text_becomes_objects_and_nothing_else_changes(mixed):
    mixed["kind"].attrs["long_name"] = "kind"
    result = with_object_text(mixed)
    assert {str(result[name].dtype) for name in ("note", "model", "kind", "person")} == {"object"}
    assert all(type(value) is str for value in result["kind"].to_numpy())
    assert result["kind"].attrs == {"long_name": "kind"}
    assert result.attrs == mixed.attrs
    assert set(result.coords) == set(mixed.coords)
    assert result["score"].dtype == np.float64
    assert result["note"].to_numpy().tolist() == ["", "two", "a longer note"]
    assert result.sel(model="bb")["score"].to_numpy().tolist() == [3, 4, 5]


@pytest.mark.parametrize("version", [2, 3])
def test_files_take_it_without_a_warning(mixed, tmp_path, version):
    result = named(mixed, {"score": ("score", "1")})
    result.to_netcdf(tmp_path / "result.nc")
    again = xr.load_dataset(tmp_path / "result.nc")
    assert again["note"].to_numpy().tolist() == result["note"].to_numpy().tolist()
    result.to_zarr(tmp_path / "result.zarr", zarr_format=version, consolidated=False)
    again = xr.open_zarr(tmp_path / "result.zarr", consolidated=False).load()
    assert again["kind"].to_numpy().tolist() == ["x", "y", "z"]


@pytest.mark.parametrize(
    "make",
    [
        "influence",
        "verification",
        "group_profiles",
        "resolution_profiles",
        *(
            pytest.param(make, marks=pytest.mark.slow)
            for make in ("morph_profiles", "deletion_curves", "corrrise_maps")
        ),
    ],
)
def test_results_of_studies_hold_no_other_text(make):
    result = getattr(fl.testing, make)()
    kinds = {str(name): values.dtype.kind for name, values in result.variables.items()}
    assert not {name for name, kind in kinds.items() if kind in "UTS"}
