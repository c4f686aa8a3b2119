# SPDX-License-Identifier: Apache-2.0
"""Builds everything that is not Python: the EL2 binary, the guest stubs and the emulator's C hooks.

`artefact("el2")` and `artefact("stub:NAME")` give bare-metal images, `shared_library("hooks")` a
library for this machine. A result is kept under a key made of the sources, the flags and the
compiler, so it is built again exactly when one of them changed. `recipe_names()` lists all names.
"""

from aether_edgecloud.emulator.toolchain.artefacts import Artefact, Origin
from aether_edgecloud.emulator.toolchain.build import (
    artefact,
    build,
    prebuild,
    product_key,
    recipe_names,
    shared_library,
    shipped_folder,
)
from aether_edgecloud.emulator.toolchain.sources import SOURCE_ROOT

__all__ = [
    "SOURCE_ROOT",
    "Artefact",
    "Origin",
    "artefact",
    "build",
    "prebuild",
    "product_key",
    "recipe_names",
    "shared_library",
    "shipped_folder",
]
