# SPDX-License-Identifier: Apache-2.0
"""From a recipe to an artefact: look where it may lie already, else compile, check and keep it."""

import shutil
from pathlib import Path

from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.toolchain import artefacts, compilers, recipes, sources
from aether_edgecloud.emulator.toolchain.artefacts import Artefact, Origin
from aether_edgecloud.emulator.toolchain.cache import aside, cache_folder, publish
from aether_edgecloud.emulator.toolchain.recipes import Recipe
from aether_edgecloud.emulator.toolchain.sources import SOURCE_ROOT

_SHIPPED = Path(__file__).resolve().parent / "shipped"


def recipe_names(root: Path = SOURCE_ROOT) -> tuple[str, ...]:
    """Everything that can be built, in the order in which a person would read it."""
    return tuple(recipe.name for recipe in recipes.all_recipes(root))


def artefact(name: str, *, root: Path = SOURCE_ROOT) -> Artefact:
    """The product `name` of the sources at `root`, built now if it is not there yet.

    UserError: unknown name, no compiler, an error in the sources, no place to keep the result.
    """
    recipe = recipes.find(name, root)
    compiler = compilers.select(recipe.kind)
    key = _key(recipe, compiler, root)
    folder = _folder_name(recipe, key)
    found = artefacts.load(_SHIPPED / folder, key, Origin.SHIPPED)
    if found is not None:
        return found
    kept = cache_folder("artefacts")
    found = artefacts.load(kept / folder, key, Origin.CACHED)
    return found if found is not None else build(name, into=kept, root=root)


def shared_library(name: str) -> Path:
    """The library `name` for this machine. Errors as `artefact`."""
    return artefact(name).elf


def build(name: str, *, into: Path, root: Path = SOURCE_ROOT) -> Artefact:
    """Compile without looking for an earlier result; the files appear in `into`, whole or not.

    UserError as `artefact`.
    """
    # Only a real build needs the ELF readers, and they take a while to import.
    from aether_edgecloud.emulator.toolchain.making import make

    recipe = recipes.find(name, root)
    compiler = compilers.select(recipe.kind)
    key = _key(recipe, compiler, root)
    final = into / _folder_name(recipe, key)
    with aside(into) as folder:
        make(recipe, compiler, key, root, folder).save_description()
        while not publish(folder, final):
            # Another process was faster, or what lies there is damaged.
            found = artefacts.load(final, key, Origin.CACHED)
            if found is not None:
                return found
            shutil.rmtree(final)
    built = artefacts.load(final, key, Origin.BUILT)
    if built is None:
        raise UserError("the built files changed at once", where=str(final), fix="try again")
    return built


def product_key(name: str, *, root: Path = SOURCE_ROOT) -> str:
    """What decides whether `name` is built again: a hash of sources, flags and compiler, as hex.

    UserError: unknown name, a source that is missing, no compiler.
    """
    recipe = recipes.find(name, root)
    return _key(recipe, compilers.select(recipe.kind), root)


def prebuild(into: Path, *, root: Path = SOURCE_ROOT) -> None:
    """Build everything into `into`, for shipping in a package."""
    for name in recipe_names(root):
        build(name, into=into, root=root)


def shipped_folder(package_root: Path) -> Path:
    """Where a package installed at `package_root` carries its prebuilt artefacts."""
    return package_root / _SHIPPED.relative_to(SOURCE_ROOT)


def _key(recipe: Recipe, compiler: compilers.Compiler, root: Path) -> str:
    command = (*compiler.arguments(recipe.kind), *recipes.arguments(recipe))
    return sources.key(recipe, root, compiler.identity, command)


def _folder_name(recipe: Recipe, key: str) -> str:
    return f"{recipe.basename}-{key[:16]}"
