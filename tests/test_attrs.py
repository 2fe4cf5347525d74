import numpy as np
import xarray as xr

from freqlab.attrs import names_of


def test_names_are_plain_text():
    data = xr.Dataset(
        coords={"model": np.array(["a", "b"], object), "kind": ("model", np.array(["x", "y"]))}
    )
    for axis, expected in (("model", ["a", "b"]), ("kind", ["x", "y"])):
        assert names_of(data, axis) == expected
        assert all(type(name) is str for name in names_of(data, axis))
