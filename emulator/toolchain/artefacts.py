# SPDX-License-Identifier: Apache-2.0
"""A finished product on disk: its files and what is known of them, and how it is read back."""

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

DESCRIPTION = "artefact.json"


class Origin(Enum):
    """Where an artefact came from."""

    SHIPPED = "shipped"
    """It lay in the installed package."""
    CACHED = "cached"
    BUILT = "built"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes by section flags, as `size` counts them."""

    text: int
    """Allocated and not writable: code and constants."""
    data: int
    """Allocated, writable, with contents."""
    bss: int
    """Allocated, without contents."""


@dataclass(frozen=True, slots=True)
class Artefact:
    """One product. `sha256` is that of the flat image (of the library for a shared library)."""

    name: str
    key: str
    compiler: str
    elf: Path
    flat: Path
    """What a machine loads; for a shared library the same file as `elf`."""
    sha256: str
    elf_sha256: str
    sizes: Sizes
    lines_of_code: int
    """Lines of its C, assembly and headers that are neither blank nor comment."""
    origin: Origin

    def save_description(self) -> None:
        """Write the description beside the files."""
        fields = asdict(self) | {"elf": self.elf.name, "flat": self.flat.name}
        del fields["origin"]
        path = self.elf.with_name(DESCRIPTION)
        path.write_text(json.dumps(fields, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's contents, as hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def load(directory: Path, key: str, origin: Origin) -> Artefact | None:
    """The artefact in `directory`, or None if it is missing, damaged or of another key."""
    try:
        fields = json.loads((directory / DESCRIPTION).read_text(encoding="utf-8"))
        found = Artefact(
            **fields
            | {
                "elf": directory / fields["elf"],
                "flat": directory / fields["flat"],
                "sizes": Sizes(**fields["sizes"]),
                "origin": origin,
            }
        )
        intact = (
            found.key == key
            and sha256_of(found.flat) == found.sha256
            and sha256_of(found.elf) == found.elf_sha256
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if intact else None
