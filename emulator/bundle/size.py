# SPDX-License-Identifier: Apache-2.0
"""Sizes as people write them: 4096, 64KiB, 128MiB, 1GiB."""

import re

from aether_edgecloud.emulator.errors import UserError

_SIZE = re.compile(r"(0[xX][0-9a-fA-F]+|[0-9]+) *(?:([KMGTPE])(?:iB)?|B)?")
LIMIT = 1 << 63
"""A size is below this."""
_SHIFT = {None: 0, "K": 10, "M": 20, "G": 30}
"""Nothing here is as large as a T."""
_LONGEST = 40


def parse(text: str, *, where: str) -> int:
    """The size in bytes. K, M and G count in powers of 1024. Raises UserError at `where`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UserError(
            f"{text!r} is not a size", where=where, fix="write it as 128MiB, 64KiB or a byte count"
        )
    if match[2] not in _SHIFT or len(text) > _LONGEST or _bytes(match) >= LIMIT:
        raise UserError(f"{text!r} is too large", where=where, fix="give less than 1024GiB")
    return _bytes(match)


def _bytes(match: re.Match[str]) -> int:
    return int(match[1], 0 if match[1][:2].lower() == "0x" else 10) << _SHIFT[match[2]]


def show(size: int) -> str:
    """The size in the largest unit that holds it exactly."""
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift} {unit}"
    return f"{size} B"
