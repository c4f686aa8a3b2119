# SPDX-License-Identifier: Apache-2.0
"""What to run: a guest by name, a description in TOML, or a finished bundle."""

from dataclasses import dataclass
from pathlib import Path

from aether_edgecloud.emulator.bundle import build, format, toml
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.guests import catalogue


@dataclass(frozen=True, slots=True)
class Target:
    """A bundle, and what the user called it."""

    name: str
    bundle: bytes


def resolve(text: str) -> Target:
    """The bundle for what stands on the command line. Raises UserError.

    FILE.toml and FILE.bundle are files; anything else with a slash in it too, told apart by its
    first bytes; the rest are names of guests.
    """
    path = Path(text)
    if path.suffix == ".toml":
        return Target(text, build.build(toml.load(path), where=text))
    if path.suffix == ".bundle" or "/" in text or path.is_file():
        data = read_file(path)
        if path.suffix != ".bundle" and not data.startswith(format.MAGIC):
            raise UserError(
                "is neither TOML nor a bundle",
                where=text,
                fix="give a guest's name, FILE.toml or FILE.bundle",
            )
        build.open_bundle(data, where=text)
        return Target(text, data)
    return Target(text, build.build((catalogue.description(text),), where=text))


def read_file(path: Path) -> bytes:
    """The contents of a file the user named. Raises UserError."""
    try:
        return path.read_bytes()
    except OSError as e:
        raise UserError(
            f"cannot be read ({e.strerror})", where=str(path), fix="name a file that exists"
        ) from None
