# SPDX-License-Identifier: Apache-2.0
"""Mechanical mutants of assembly: one instruction left out."""

import re

# An instruction, or the use of a macro's argument as one; not a label, a directive or a macro call
# that only looks like one.
_LINE = re.compile(
    rb"^[ \t]+(?P<instruction>(?:\\operation|[a-z][a-z0-9]*(?:\.[a-z]+)?)(?:[ \t]+[^/\n]*)?)", re.M
)
_DIRECTIVE_FREE = re.compile(rb"^[^.]")


def instructions(source: bytes) -> list[tuple[int, int, bytes, str]]:
    """Start and end of each instruction, what it becomes (nothing), and the kind of change."""
    macros = set(re.findall(rb"^\.macro[ \t]+(\w+)", source, re.M))
    found = []
    for match in _LINE.finditer(source):
        text = match["instruction"].rstrip()
        word = text.split()[0]
        if word in macros or not _DIRECTIVE_FREE.match(text):
            continue
        start = match.start("instruction")
        found.append((start, start + len(text), b"", "instruction removed"))
    return found
