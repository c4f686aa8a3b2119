# SPDX-License-Identifier: Apache-2.0
"""What to run: a guest by name, a description in TOML, or a finished bundle."""

from dataclasses import dataclass, fields, replace
from pathlib import Path

from aether_edgecloud.emulator.bundle import build, format, size, toml
from aether_edgecloud.emulator.bundle.description import VmDescription
from aether_edgecloud.emulator.bundle.manifest import Memory
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.guests import catalogue

LINUX = "linux"
SHELL_ARGUMENT = "aether.then=shell"
"""What makes Linux' initramfs go on with a shell."""
SHELL_PROMPT = " # "
"""What it shows when it takes commands."""


@dataclass(frozen=True, slots=True)
class Target:
    """A bundle, and what the user called it."""

    name: str
    bundle: bytes


@dataclass(frozen=True, slots=True)
class GuestChoice:
    """What the user says of a guest that is run by name. None: as the catalogue has it.

    `kernel` in place of a guest: a VM of that kernel with what the other options give it.
    """

    cpus: int | None = None
    memory: str | None = None
    kernel: Path | None = None
    ramdisk: Path | None = None
    dtb: Path | None = None
    append: str | None = None
    shell: bool = False

    @property
    def given(self) -> tuple[str, ...]:
        """The options that say anything."""
        return tuple(f"--{f.name}" for f in fields(self) if getattr(self, f.name) != f.default)


AS_IT_IS = GuestChoice()


def resolve(text: str, guest: GuestChoice = AS_IT_IS) -> Target:
    """The bundle for what stands on the command line. Raises UserError.

    FILE.toml and FILE.bundle are files; anything else with a slash in it too, told apart by its
    first bytes; the rest are names of guests.
    """
    path = Path(text)
    if path.suffix in (".toml", ".bundle") or "/" in text or path.is_file():
        if guest.given:
            fix = "describe it in FILE.toml, or leave it out"
            raise UserError("is for a guest by name", where=guest.given[0], fix=fix)
        return _file(text, path)
    described = _by_name(text, guest)
    return Target(text, build.build((described,), where=text))


def _file(text: str, path: Path) -> Target:
    if path.suffix == ".toml":
        return Target(text, build.build(toml.load(path), where=text))
    data = read_file(path)
    if path.suffix != ".bundle" and not data.startswith(format.MAGIC):
        raise UserError(
            "is neither TOML nor a bundle",
            where=text,
            fix="give a guest's name, FILE.toml or FILE.bundle",
        )
    build.open_bundle(data, where=text)
    return Target(text, data)


def _by_name(name: str, guest: GuestChoice) -> VmDescription:
    """The catalogue's VM with the user's changes, or one around the user's kernel."""
    found = catalogue.description(name) if guest.kernel is None else _own_kernel(name, guest)
    has_kernel = found.kernel is not None
    for option, given in (("--ramdisk", guest.ramdisk), ("--append", guest.append)):
        if given is not None and not has_kernel:
            fix = "use it with linux or with --kernel"
            raise UserError(f"{name!r} is no kernel that takes it", where=option, fix=fix)
    if guest.shell and (name != LINUX or guest.ramdisk is not None or guest.kernel is not None):
        fix = "use `aether run linux --shell`, with the initramfs that comes with it"
        raise UserError("is for the guest linux", where="--shell", fix=fix)
    words = [found.bootargs, guest.append, SHELL_ARGUMENT if guest.shell else None]
    return replace(
        found,
        memory=found.memory if guest.memory is None else _resized(found.memory, guest.memory),
        vcpus=found.vcpus if guest.cpus is None else guest.cpus,
        ramdisk=found.ramdisk if guest.ramdisk is None else guest.ramdisk,
        dtb=found.dtb if guest.dtb is None else guest.dtb,
        bootargs=" ".join(filter(None, words)) or None,
    )


def _own_kernel(name: str, guest: GuestChoice) -> VmDescription:
    if name not in (LINUX, catalogue.DEFAULT):
        fix = "leave TARGET out with --kernel"
        raise UserError(f"takes the place of {name!r}", where="--kernel", fix=fix)
    return VmDescription(LINUX, (build.KERNEL_MEMORY,), kernel=guest.kernel, where="--kernel")


def _resized(memory: tuple[Memory, ...], text: str) -> tuple[Memory, ...]:
    """The first range with another size."""
    return (replace(memory[0], size=size.parse(text, where="--memory")), *memory[1:])


def read_file(path: Path) -> bytes:
    """The contents of a file the user named. Raises UserError."""
    try:
        return path.read_bytes()
    except OSError as e:
        raise UserError(
            f"cannot be read ({e.strerror})", where=str(path), fix="name a file that exists"
        ) from None
