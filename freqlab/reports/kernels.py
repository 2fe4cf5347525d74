"""The Jupyter kernel of reports and of the inspector's page: this interpreter and this freqlab.

Jupyter looks kernels up by name. The kernel installed as ``python3`` may be a different
interpreter, without freqlab or with a different version. No kernel is looked up here.
"""

from __future__ import annotations

import contextlib
import os
import site
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from traitlets import default

__all__ = ["ARGUMENTS", "OwnKernelManager", "OwnKernelSpecs", "kernels_in_advance"]

NAME = "python3"
ARGUMENTS = ["--IPKernelApp.log_level=50"]  # no log about local transport
_IMPORTS = "import matplotlib.pyplot, torch, freqlab.reports.parts, freqlab.run.calls"


@contextlib.contextmanager
def kernels_in_advance() -> Iterator[Callable[[bool], type[AsyncKernelManager]]]:
    """Start the kernel of the next notebook while another one is being executed.

    Starting a kernel and importing torch takes seconds, in which the other cores would be idle.

    Yields
    ------
    callable
        Of whether another notebook follows; returns the class of kernel manager of the next
        notebook. On exit, a kernel that was not used is shut down.
    """
    waiting: list[OwnKernelManager] = []

    def next_manager(more: bool) -> type[AsyncKernelManager]:
        ready = waiting.pop() if waiting else None
        if more:
            waiting.append(_started())
        if ready is None or not run_sync(ready.is_alive)():
            return OwnKernelManager
        return _class_of(ready)

    try:
        yield next_manager
    finally:
        for manager in waiting:
            run_sync(manager.shutdown_kernel)(now=True)


def _started() -> OwnKernelManager:
    """Start a kernel that imports, in a namespace of its own, what notebooks begin with."""
    manager = OwnKernelManager(kernel_name=NAME)
    lines = [f"exec({_IMPORTS!r}, {{}})"]
    run_sync(manager.start_kernel)(
        extra_arguments=[*ARGUMENTS, f"--IPKernelApp.exec_lines={lines!r}"]
    )
    return manager


def _class_of(manager: OwnKernelManager) -> type[AsyncKernelManager]:
    """Return a class whose construction gives this manager, as notebook clients ask for a class."""

    class Ready(OwnKernelManager):
        def __new__(cls, *_: Any, **__: Any) -> OwnKernelManager:  # type: ignore[misc]
            return manager

    return Ready


class OwnKernelSpecs(KernelSpecManager):
    """Provide one kernel under the name that notebooks request."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Kernel of this interpreter, for any name."""
        env = {**_environment(), "FREQLAB_PROGRESS": "stderr"}  # pages leave standard error out
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, env=env, display_name="Python 3", language="python")

    def find_kernel_specs(self) -> dict[str, str]:
        """Folders of the kernels by name: one kernel, without a folder."""
        return {NAME: ""}

    def get_all_specs(self) -> dict[str, dict[str, Any]]:
        """All kernels by name."""
        spec = self.get_kernel_spec(NAME)
        return {NAME: {"resource_dir": "", "spec": spec.to_dict()}}


class OwnKernelManager(AsyncKernelManager):
    """Start the kernel of this interpreter."""

    @default("kernel_spec_manager")
    def _own_specs(self) -> KernelSpecManager:
        return OwnKernelSpecs(parent=self)


def _environment() -> dict[str, str]:
    """Environment in which a kernel imports the running freqlab, even if it is not installed."""
    above = str(Path(__file__).resolve().parents[2])
    installed = {*site.getsitepackages(), site.getusersitepackages()}
    installed |= {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    if above in {os.path.realpath(path) for path in installed}:
        return {}
    others = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([above, *([others] if others else [])])}
