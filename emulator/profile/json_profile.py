# SPDX-License-Identifier: Apache-2.0
"""A profile as JSON.

Always these keys. All numbers are instructions or counts; equal runs give equal bytes.

    format         "aether-exit-profile"
    version        1
    target         what the command line named
    binary_sha256  of the EL2 image as loaded
    board          name of the board
    cpus           its CPUs
    end            why the run stopped, in words
    symbols        the file that names the functions, or null: then they are pages of 4 KiB
    instructions   {"el0", "el1", "el2"}: retired
    exits          what came from below EL2, a list, the most costly class first: {"class", FIGURES,
                   "inside": instructions of exceptions taken at EL2 meanwhile, in no other figure
                   of this class; "groups": a list of {"name", FIGURES, "items": a list of {"name",
                   FIGURES}}: the device and the addresses, the register, the call}
    at_el2         exceptions taken at EL2 itself, the same
    boot           from a CPU's start to its first ERET to a lower level, the same
    not_returned   stays that no ERET ended: a list of {"class", "instructions"}
    functions      a list, the most costly first: {"name", "address", "instructions", "entered":
                   how often its first instruction ran, "by_class": {CLASS: instructions}}

FIGURES are "count", "min", "median" (the lower one), "max", "total", and "histogram": a list of
{"from", "below", "count"}, the bounds powers of 2, empty buckets left out. Addresses are strings.
"""

import json
from dataclasses import dataclass

from aether_edgecloud.emulator.profile.figures import Figures
from aether_edgecloud.emulator.profile.profile import Profile, StaysOfClass, rank

FORMAT = "aether-exit-profile"
VERSION = 1


@dataclass(frozen=True, slots=True)
class About:
    """What was profiled, in the words of the keys above."""

    target: str
    binary_sha256: str
    board: str
    cpus: int
    end: str
    symbols: str | None


def render(profile: Profile, about: About) -> str:
    """The JSON text, ended by a newline."""
    el0, el1, el2 = profile.by_el
    ranked: tuple[list[object], ...] = ([], [], [])
    for stay in profile.stays:
        ranked[rank(stay.name)].append(_stays(stay))
    exits, at_el2, boot = ranked
    fields = {
        "format": FORMAT,
        "version": VERSION,
        "target": about.target,
        "binary_sha256": about.binary_sha256,
        "board": about.board,
        "cpus": about.cpus,
        "end": about.end,
        "symbols": about.symbols,
        "instructions": {"el0": el0, "el1": el1, "el2": el2},
        "exits": exits,
        "at_el2": at_el2,
        "boot": boot,
        "not_returned": [{"class": n, "instructions": count} for n, count in profile.unfinished],
        "functions": [
            {
                "name": function.name,
                "address": f"{function.start:#x}",
                "instructions": function.instructions,
                "entered": function.entered,
                "by_class": dict(function.by_class),
            }
            for function in profile.functions
        ],
    }
    return json.dumps(fields, indent=2) + "\n"


def _stays(stay: StaysOfClass) -> dict[str, object]:
    groups = [
        {
            "name": group.name,
            **_figures(group.figures),
            "items": [{"name": item, **_figures(found)} for item, found in group.items],
        }
        for group in stay.groups
    ]
    return {"class": stay.name, **_figures(stay.figures), "inside": stay.inside, "groups": groups}


def _figures(found: Figures) -> dict[str, object]:
    histogram = [
        {"from": 1 << n - 1 if n else 0, "below": 1 << n, "count": count}
        for n, count in enumerate(found.buckets)
        if count
    ]
    return {
        "count": found.count,
        "min": found.low,
        "median": found.median,
        "max": found.high,
        "total": found.total,
        "histogram": histogram,
    }
