"""References in docstrings and annotations, resolved to the public name that is documented.

Objects are documented under the shortest public name, ``freqlab.influence``. Docstrings and
annotations also name the module that defines an object, or its place in a package.
"""

from __future__ import annotations

import importlib
import sys
import types
from typing import Any

from sphinx.ext.intersphinx import resolve_reference_any_inventory
from sphinx.util.nodes import make_refnode

import freqlab

PACKAGES = [
    "verification",
    "bias",
    "resolution",
    "morphing",
    "faithfulness",
    "saliency",
    "adversarial",
    "improve",
    "results",
    "faces",
    "datasets",
    "models",
    "bands",
    "images",
    "plots",
    "store",
    "edits",
    "inspector",
    "engine",
    "statistics",
    "testing",
    "errors",
]

# Names that have no page here or in the inventories: types of packages that are optional.
IGNORED = [
    (r"py:class", r"(distributed\.)?Client|ipywidgets\..*|anywidget\..*|numpy\._typing\..*"),
]

# How modules abbreviate packages, and where xarray and pandas define what they export.
_ALIASES = {
    "xr": "xarray",
    "np": "numpy",
    "pd": "pandas",
    "npt": "numpy.typing",
    "t": "typing",
    "matplotlib.axes._axes": "matplotlib.axes",
    "xarray.core.dataset": "xarray",
    "xarray.core.dataarray": "xarray",
    "xarray.core.datatree": "xarray",
}


def _public(module: types.ModuleType) -> list[str]:
    return [
        name for name in module.__all__ if not isinstance(getattr(module, name), types.ModuleType)
    ]


def documented() -> dict[str, list[str]]:
    """Return the names to document, per package, each object once; ``""`` is the top level."""
    names = {"": _public(freqlab)}
    seen = {id(getattr(freqlab, name)) for name in names[""]}
    for package in PACKAGES:
        module = getattr(freqlab, package)
        names[package] = [n for n in _public(module) if id(getattr(module, n)) not in seen]
        seen |= {id(getattr(module, n)) for n in names[package] if callable(getattr(module, n))}
    return names


def aliases() -> dict[str, str]:
    """Return the documented name of each other name under which an object can be reached."""
    canonical: dict[int, str] = {}
    for package, names in documented().items():
        module = getattr(freqlab, package) if package else freqlab
        for name in names:
            found = f"{module.__name__}.{name}"
            canonical.setdefault(id(getattr(module, name)), found)
    other = {}
    for package in ["", *PACKAGES]:
        module = getattr(freqlab, package) if package else freqlab
        for name in _public(module):
            value = getattr(module, name)
            target = canonical.get(id(value))
            if target is None:
                continue
            other[f"{module.__name__}.{name}"] = target
            if hasattr(value, "__qualname__"):
                other[f"{value.__module__}.{value.__qualname__}"] = target
    return other


def set_up(app: Any) -> None:
    """Resolve references that no page has under the name that was written."""
    known = aliases()
    names = _defined()

    def candidates(node: Any) -> list[str]:
        target = node["reftarget"]
        place, _, last = target.rpartition(".")
        tried = [f"{_ALIASES[place]}.{last}"] if place in _ALIASES else []
        module = node.get("py:module") or "freqlab"
        tried += [target, f"{module}.{target}", f"freqlab.{target}"]
        owner = node.get("py:class")
        if owner:
            tried.append(f"{module}.{owner}.{target}")
        tried += [name for name in known if name.endswith(f".{target}")]
        tried += [f"{place}.{target}" for place in ("collections.abc", "typing")]
        parent, _, member = target.rpartition(".")
        if parent:
            tried += [f"{known[p]}.{member}" for p in (parent, f"{module}.{parent}") if p in known]
        return [known.get(name, name) for name in tried]

    def resolve(app: Any, env: Any, node: Any, contnode: Any) -> Any:
        if node.get("refdomain") != "py":
            return None
        domain = env.get_domain("py")
        for name in candidates(node):
            entry = domain.objects.get(name)
            if entry is not None:
                return _link(app, node, contnode, entry)
        for name in candidates(node):
            found = _elsewhere(app, env, node, contnode, name)
            if found is not None:
                return found
        is_there = node["reftarget"] in names or _exists(node["reftarget"])
        return contnode if is_there else None

    app.connect("missing-reference", resolve, priority=400)


def _link(app: Any, node: Any, contnode: Any, entry: Any) -> Any:
    builder, here = app.builder, node.get("refdoc", app.env.docname)
    return make_refnode(builder, here, entry.docname, entry.node_id, contnode, node["reftarget"])


def _elsewhere(app: Any, env: Any, node: Any, contnode: Any, name: str) -> Any:
    asked = node.deepcopy()
    asked["reftarget"] = name
    for role in (node["reftype"], "class", "func", "data", "mod", "attr"):
        asked["reftype"] = role
        found = resolve_reference_any_inventory(env, False, asked, contnode)
        if found is not None:
            return found
    return None


def _defined() -> set[str]:
    """Return the names in all modules of freqlab: types and constants that have no page."""
    modules = [module for name, module in sys.modules.items() if name.startswith("freqlab.")]
    return {name for module in modules for name in vars(module) if not name.startswith("_")}


def _exists(target: str) -> bool:
    """Whether a name of a private module is there: it is shown without a link."""
    if not target.startswith("freqlab."):
        return False
    parts = target.split(".")
    for n in range(len(parts), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:n]))
        except ImportError:
            continue
        for part in parts[n:]:
            if not hasattr(value, part) and part not in getattr(value, "__annotations__", {}):
                return False
            value = getattr(value, part, None)
        return True
    return False
