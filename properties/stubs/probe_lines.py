# SPDX-License-Identifier: Apache-2.0
"""Reads the lines that probes print (`guest_stubs/runtime/probe.c` describes the form)."""

import re
from dataclasses import dataclass

_LINE = re.compile(r"^(?P<before>.*?)probe (?P<name>[^\s:]+): (?P<fields>.*)$")
_FIELD = re.compile(r"(?P<key>\w+)=(?P<value>\+?[0-9a-fx]+)")


@dataclass(frozen=True, slots=True)
class ProbeLine:
    """What one probe saw."""

    name: str
    before: str
    """What stood on the line already: characters the probe itself sent."""
    fields: dict[str, int]
    """Values by key. `elr` is an address, or missing; `at` is ELR counted from the probe's first
    instruction, when it lies in the probe."""

    def __getitem__(self, key: str) -> int:
        return self.fields[key]


def parse(console: bytes) -> list[ProbeLine]:
    """All probe lines of a console, in order."""
    lines = []
    for text in console.decode("latin-1").splitlines():
        match = _LINE.match(text)
        if match is None:
            continue
        fields = {}
        for field in _FIELD.finditer(match["fields"]):
            key, value = field["key"], field["value"]
            if value.startswith("+"):
                key, value = "at", value[1:]
            fields[key] = int(value, 0)
        lines.append(ProbeLine(match["name"], match["before"], fields))
    return lines
