# SPDX-License-Identifier: Apache-2.0
"""Times as people write them: 10ms, 64us, 1s."""

import re

from aether_edgecloud.emulator.errors import UserError

_DURATION = re.compile(r"([0-9]{1,9}) *(us|ms|s)")
_MICROSECONDS = {"us": 1, "ms": 1000, "s": 1_000_000}
LIMIT_US = 1 << 32
"""A time is below this."""


def parse(text: str, *, where: str) -> int:
    """The time in microseconds. Raises UserError at `where`."""
    match = _DURATION.fullmatch(text.strip())
    time = int(match[1]) * _MICROSECONDS[match[2]] if match else LIMIT_US
    if time >= LIMIT_US:
        raise UserError(f"{text!r} is not a time", where=where, fix="write it as 10ms, 64us or 1s")
    return time
