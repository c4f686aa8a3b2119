# SPDX-License-Identifier: Apache-2.0
"""What UBSan has said before it ended a run: the text that zig's runtime writes to stderr."""

import re

_PANIC = re.compile(r"^(?:thread \d+ )?panic: (?P<what>.+)$", re.MULTILINE)
_FRAME = re.compile(
    r"^(?P<file>\S+?):(?P<line>[\d?]+):[\d?]+: 0x[0-9a-f]+ in (?P<function>\S+) \((?P<unit>.*)\)$",
    re.MULTILINE,
)
_HYPERVISOR = re.compile(r"(?:.*/)?(?P<source>(?:el2|stage2)/\w+\.[ch])")
"""The hypervisor itself: neither el2/host/ nor stage2/recorder/, which stand for hardware."""
_RUNTIME = "ubsan_rt"


def report(output: str) -> str | None:
    """The last report in the output of a process, with file and line; None: there is none, or what
    it is about is no source of the hypervisor, and so the end of the process says nothing."""
    panics = list(_PANIC.finditer(output))
    if not panics:
        return None
    panic = panics[-1]
    for frame in _FRAME.finditer(output, panic.end()):
        if frame["unit"] == _RUNTIME:
            continue
        # Only the function that did it: its callers have not.
        place = _HYPERVISOR.fullmatch(frame["file"])
        if place is None:
            return None
        where = f"{place['source']}:{frame['line']} in {frame['function']}"
        return f"UndefinedBehaviour: {panic['what']} at {where}"
    return None
