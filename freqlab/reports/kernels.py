"""The Jupyter kernel of reports and of the inspector's page: this interpreter and this freqlab.

Jupyter looks kernels up by name. The kernel installed as ``python3`` may be a different
interpreter, without freqlab or with a different version. No kernel is looked up here.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from traitlets import default

__all__ = ["OwnKernelManager", "OwnKernelSpecs"]

NAME = "python3"


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
