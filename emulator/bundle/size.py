# SPDX-License-Identifier: Apache-2.0
"""Sizes as people write them: 4096, 64KiB, 128MiB, 1GiB."""

import re

from aether_edgecloud.emulator.errors import UserError

_SIZE = re.compile(r"(0[xX][0-9a-fA-F]+|[0-9]+) *(?:([KMG])(?:iB)?|B)?")
LIMIT = 1 << 63
"""A size is below this."""
_SHIFT = {None: 0, "K": 10, "M": 20, "G": 30}


def parse(text: str, *, where: str) -> int:
    """The size in bytes. K, M and G count in powers of 1024. Raises UserError at `where`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or len(text) > 40 or _bytes(match) >= LIMIT:
        raise UserError(
            f"{text!r} is not a size", where=where, fix="write it as 128MiB, 64KiB or a byte count"
        )
    return _bytes(match)


def _bytes(match: re.Match[str]) -> int:
    return int(match[1], 0 if match[1][:2].lower() == "0x" else 10) << _SHIFT[match[2]]


def show(size: int) -> str:
    """The size in the largest unit that holds it exactly."""
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift} {unit}"
    return f"{size} B"
