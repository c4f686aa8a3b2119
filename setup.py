# SPDX-License-Identifier: Apache-2.0
"""The flat folders as packages of `aether_edgecloud`, and the artefacts built into a wheel.

Everything static is in pyproject.toml.
"""

import sys
import types
from pathlib import Path
from typing import ClassVar

from setuptools import Command, Distribution, find_namespace_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build

ROOT = Path(__file__).resolve().parent
PACKAGE = "aether_edgecloud"
FOLDERS = ("el2", "emulator", "guest_stubs", "properties", "stage2")
SOURCES = ["*.c", "*.h", "*.S", "*.inc", "*.ld", "*.lds"]
DATA = ["*.md", "*.toml", "*.json", "*.txt", "py.typed"]


def package_dirs() -> dict[str, str]:
    """Import name to folder, for every folder that holds a file."""
    found = {}
    for folder in FOLDERS:
        for name in ("", *find_namespace_packages(folder, exclude=["*__pycache__*", "*.shipped*"])):
            path = "/".join((folder, *name.split("."))).rstrip("/")
            found[f"{PACKAGE}.{path.replace('/', '.')}"] = path
    return found


class BuildArtefacts(Command):
    """Build the EL2 binary, the guest stubs and the hooks into the package."""

    description = "build the EL2 binary, the guest stubs and the emulator's hooks"
    user_options: ClassVar = []
    editable_mode = False

    def initialize_options(self) -> None:
        self.build_lib = None

    def finalize_options(self) -> None:
        self.set_undefined_options("build_py", ("build_lib", "build_lib"))

    def run(self) -> None:
        # An editable install builds on first use, and again when a source changed.
        if not self.editable_mode:
            toolchain = _toolchain()
            toolchain.prebuild(toolchain.shipped_folder(Path(self.build_lib) / PACKAGE))

    def get_source_files(self) -> list[str]:
        return []

    def get_outputs(self) -> list[str]:
        return []

    def get_output_mapping(self) -> dict[str, str]:
        return {}


class Build(build):
    sub_commands: ClassVar = [*build.sub_commands, ("build_artefacts", None)]


class PlatformDistribution(Distribution):
    """The hooks are machine code of one platform."""

    def has_ext_modules(self) -> bool:
        return True


class BdistWheel(bdist_wheel):
    """The Python code is of any version, whatever version builds the wheel."""

    def get_tag(self) -> tuple[str, str, str]:
        return ("py3", "none", super().get_tag()[2])


def _toolchain() -> types.ModuleType:
    """`aether_edgecloud.emulator.toolchain` from this tree, which is not installed yet."""
    package = types.ModuleType(PACKAGE)
    package.__path__ = [str(ROOT)]
    sys.modules[PACKAGE] = package
    from aether_edgecloud.emulator import toolchain

    return toolchain


PACKAGE_DIRS = package_dirs()

setup(
    distclass=PlatformDistribution,
    packages=sorted(PACKAGE_DIRS),
    package_dir=PACKAGE_DIRS,
    package_data={"": [*SOURCES, *DATA]},
    include_package_data=False,
    cmdclass={"build": Build, "build_artefacts": BuildArtefacts, "bdist_wheel": BdistWheel},
)
