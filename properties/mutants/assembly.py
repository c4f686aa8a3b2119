# SPDX-License-Identifier: Apache-2.0
"""Mechanical mutants of assembly: one instruction left out, or one use of a macro."""

import re

# An instruction or the use of a macro, or of a macro's argument as one; no label, no directive.
_LINE = re.compile(
    rb"^[ \t]+(?P<instruction>(?:\\operation|[a-z_][a-z0-9_]*(?:\.[a-z]+)?)(?:[ \t]+[^/\n]*)?)",
    re.M,
)


def instructions(source: bytes) -> list[tuple[int, int, bytes, str]]:
    """Start and end of each instruction, what it becomes (nothing), and the kind of change."""
    macros = set(re.findall(rb"^\.macro[ \t]+(\w+)", source, re.M))
    found = []
    for match in _LINE.finditer(source):
        text = match["instruction"].rstrip()
        word = text.split()[0]
        start = match.start("instruction")
        kind = "use of a macro removed" if word in macros else "instruction removed"
        found.append((start, start + len(text), b"", kind))
    return found
