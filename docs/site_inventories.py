"""Links to the documentation of other packages, from a list of names instead of a network.

The list holds the names that pages of freqlab refer to and no others: a name that is not here is a
broken reference and stops the build. Addresses follow the layout of each package's own site.
"""

from __future__ import annotations

import zlib
from pathlib import Path

_PYTHON = {
    "class": {
        "library/stdtypes.html": "bool bytes dict float frozenset int list object range set "
        "slice str tuple type",
        "library/os.html": "os.PathLike",
        "library/pathlib.html": "pathlib.Path",
        "library/collections.abc.html": "collections.abc.Callable collections.abc.Collection "
        "collections.abc.Generator collections.abc.Iterable collections.abc.Iterator "
        "collections.abc.Mapping collections.abc.Sequence collections.abc.MutableMapping "
        "collections.abc.Hashable",
        "library/datetime.html": "datetime.datetime",
        "library/typing.html": "typing.IO",
    },
    "data": {
        "library/typing.html": "typing.Any typing.Literal typing.Union typing.Optional "
        "typing.Unpack typing.Annotated",
        "library/constants.html": "None True False",
    },
    "exception": {
        "library/exceptions.html": "ArithmeticError AttributeError Exception FileExistsError "
        "FileNotFoundError ImportError ModuleNotFoundError IndexError KeyError KeyboardInterrupt "
        "MemoryError NotImplementedError OSError PermissionError RuntimeError TypeError "
        "UserWarning ValueError Warning",
    },
}

_GENERATED = {
    "numpy": (
        "https://numpy.org/doc/stable/",
        "reference/generated/{}.html",
        "class",
        "numpy.ndarray numpy.dtype",
    ),
    "xarray": (
        "https://docs.xarray.dev/en/stable/",
        "generated/{}.html",
        "class",
        "xarray.Dataset xarray.DataArray xarray.DataTree",
    ),
    "pandas": (
        "https://pandas.pydata.org/docs/",
        "reference/api/{}.html",
        "class",
        "pandas.DataFrame pandas.Series pandas.Index pandas.Categorical",
    ),
    "torch": (
        "https://docs.pytorch.org/docs/stable/",
        "generated/{}.html",
        "class",
        "torch.nn.Module",
    ),
    "matplotlib": (
        "https://matplotlib.org/stable/",
        "api/_as_gen/{}.html",
        "class",
        "matplotlib.axes.Axes",
    ),
}

_SCALARS = "bool bool_ float32 float64 floating generic int32 int64 integer number object_ uint8"

_OTHERS = {
    "numpy": [
        *(
            (f"numpy.{name}", "class", f"reference/arrays.scalars.html#numpy.{name}")
            for name in _SCALARS.split()
        ),
        ("numpy.typing.NDArray", "data", "reference/typing.html#numpy.typing.NDArray"),
        ("numpy.typing.ArrayLike", "data", "reference/typing.html#numpy.typing.ArrayLike"),
    ],
    "torch": [
        ("torch.Tensor", "class", "tensors.html#torch.Tensor"),
        ("torch.device", "class", "tensor_attributes.html#torch.device"),
        ("torch.dtype", "class", "tensor_attributes.html#torch.dtype"),
        ("torch.memory_format", "class", "tensor_attributes.html#torch.memory_format"),
    ],
    "matplotlib": [
        ("matplotlib.figure.Figure", "class", "api/figure_api.html#matplotlib.figure.Figure"),
        (
            "matplotlib.colors.Colormap",
            "class",
            "api/_as_gen/matplotlib.colors.Colormap.html#matplotlib.colors.Colormap",
        ),
    ],
}


def _inventory(project: str, entries: list[tuple[str, str, str]]) -> bytes:
    lines = "".join(f"{name} py:{role} 1 {where} -\n" for name, role, where in sorted(entries))
    head = (
        "# Sphinx inventory version 2\n"
        f"# Project: {project}\n"
        "# Version: \n"
        "# The remainder of this file is compressed using zlib.\n"
    )
    return head.encode() + zlib.compress(lines.encode())


def write(folder: Path) -> dict[str, tuple[str, str]]:
    """Write the inventories to a folder, and return the mapping for intersphinx."""
    entries: dict[str, list[tuple[str, str, str]]] = {"python": []}
    addresses = {"python": "https://docs.python.org/3/"}
    for role, pages in _PYTHON.items():
        for page, names in pages.items():
            entries["python"] += [(name, role, f"{page}#{name}") for name in names.split()]
    for project, (address, pattern, role, names) in _GENERATED.items():
        addresses[project] = address
        entries[project] = [
            (name, role, f"{pattern.format(name)}#{name}") for name in names.split()
        ] + _OTHERS.get(project, [])
    folder.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for project, listed in entries.items():
        file = folder / f"{project}.inv"
        file.write_bytes(_inventory(project, listed))
        mapping[project] = (addresses[project], str(file))
    return mapping
