# SPDX-License-Identifier: Apache-2.0
"""What a test did with machines, as properties of its JUnit report."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from aether_edgecloud.emulator.toolchain.artefacts import sha256_of
from aether_edgecloud.properties.plugin.lab import Use

IMAGE = "aether_image_sha256"
ELF = "aether_elf_sha256"
SEED = "aether_seed"
INSTRUCTIONS = "aether_instructions"

_elf_sums: dict[tuple[Path, int], str] = {}


def note(item: pytest.Item, call: pytest.CallInfo[None], used: Sequence[Use]) -> None:
    """Once for a test, after its call."""
    if call.when != "call":
        return
    for use in used:
        use.count()
    found: dict[tuple[str, object], None] = {}
    for use in used:
        found[IMAGE, use.el2.image.sha256] = None
        if use.el2.elf is not None:
            found[ELF, _sum(use.el2.elf)] = None
        found[SEED, use.seed] = None
    found[INSTRUCTIONS, sum(use.instructions for use in used)] = None
    item.user_properties += list(found)


def _sum(elf: Path) -> str:
    key = elf, elf.stat().st_mtime_ns
    if key not in _elf_sums:
        _elf_sums[key] = sha256_of(elf)
    return _elf_sums[key]
