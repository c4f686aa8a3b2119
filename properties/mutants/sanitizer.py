# SPDX-License-Identifier: Apache-2.0
"""What UBSan has said before it ended a run: the text that zig's runtime writes to stderr."""

import re

_PANIC = re.compile(r"^(?:thread \d+ )?panic: (?P<what>.+)$", re.MULTILINE)
_FRAME = re.compile(
    r"^(?:\S*/)?(?P<place>(?:el2|stage2)/\w+\.[ch]:\d+):\d+: 0x[0-9a-f]+ in (?P<function>\w+)",
    re.MULTILINE,
)
"""Of the hypervisor itself: neither el2/host/ nor stage2/recorder/, which stand for hardware."""


def report(output: str) -> str | None:
    """The report in the output of a process, with file and line; None: there is none, or it names
    no source of the hypervisor, and so the end of the process says nothing."""
    panic = _PANIC.search(output)
    frame = None if panic is None else _FRAME.search(output, panic.end())
    if panic is None or frame is None:
        return None
    return f"UndefinedBehaviour: {panic['what']} at {frame['place']} in {frame['function']}"
