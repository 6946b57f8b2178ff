"""Compile the scoring kernel into the package when it is built or installed in place, if that is possible."""

from __future__ import annotations

import importlib.util
import os
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = "embplug/methods/kernels"


class KernelBuildHook(BuildHookInterface[Any]):
    """Puts the compiled kernel into a wheel, which is then one for this platform and any Python 3.

    Without a compiler the wheel is one for all platforms, whose codes numpy scores. The environment variable
    ``EMBPLUG_KERNEL=0`` asks for that one, ``EMBPLUG_KERNEL=require`` for an error instead.
    """

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile the kernel beside its source, and count it among the files of the wheel."""
        setting = os.environ.get("EMBPLUG_KERNEL", "")
        if setting == "0":
            return
        builder = _load(Path(self.root) / FOLDER / "build.py")
        try:
            library = builder.build()
        except builder.BuildError as error:
            if setting == "require":
                raise
            self.app.display_warning(
                "embplug is installed without its compiled kernel, so that numpy scores codes, which takes "
                f"a few times longer: {error}"
            )
            return
        build_data["artifacts"].append(f"{FOLDER}/{library.name}")
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"


def _load(path: Path) -> Any:
    """The module at a path, without importing the package that it is in."""
    specification = importlib.util.spec_from_file_location("kernel_build", path)
    if specification is None or specification.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
