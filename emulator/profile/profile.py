# SPDX-License-Identifier: Apache-2.0
"""What a profile has found."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aether_edgecloud.emulator.cpu.exits import BOOT
from aether_edgecloud.emulator.profile.code_names import CodeNames
from aether_edgecloud.emulator.profile.exit_class import (
    ATTACHED,
    IS_INSIDE,
    Detail,
    class_name,
)
from aether_edgecloud.emulator.profile.figures import Figures, figures


@dataclass(frozen=True, slots=True)
class Group:
    """Those stays of a class that were about one device, register or call; `items` are their
    addresses, where there are any. The most costly first."""

    name: str
    figures: Figures
    items: tuple[tuple[str, Figures], ...]


@dataclass(frozen=True, slots=True)
class StaysOfClass:
    """The stays at EL2 that one class of exception began and an ERET ended: `figures` of their
    instructions, without those of stays inside them, which come to `inside`. `groups` are the same
    stays by what they were about, if there is more to tell than the class; the most costly
    first."""

    name: str
    figures: Figures
    inside: int
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class FunctionCost:
    """Instructions at EL2 in one function itself, by the class of the stay. `entered` is how often
    its first instruction ran, `start` its address (VA)."""

    name: str
    start: int
    instructions: int
    entered: int
    by_class: tuple[tuple[str, int], ...]

    @property
    def at_boot(self) -> int:
        """Those of its instructions that no exception led to."""
        return sum(count for name, count in self.by_class if rank(name) == _NO_EXCEPTION)

    @property
    def in_exits(self) -> int:
        """The others."""
        return self.instructions - self.at_boot


@dataclass(frozen=True, slots=True)
class Profile:
    """All instructions retired at EL2 while the profile was on: each is in exactly one of `stays`,
    `unfinished`, and in exactly one of `functions`.

    `by_el` counts EL0, EL1 and EL2. `stays` are exits from below, the most costly first, then
    exceptions taken at EL2 itself, then what came before the first entry. `unfinished` are the
    class and the instructions of stays that no ERET ended: CPUs that were at EL2 when they were
    switched off, or when the profile ended.
    """

    by_el: tuple[int, int, int]
    stays: tuple[StaysOfClass, ...]
    unfinished: tuple[tuple[str, int], ...]
    functions: tuple[FunctionCost, ...]

    @property
    def exits(self) -> tuple[StaysOfClass, ...]:
        """Those of `stays` that are exits from below."""
        return tuple(found for found in self.stays if rank(found.name) == 0)

    def stay(self, name: str) -> StaysOfClass | None:
        """The class of that name, if there was one."""
        return next((found for found in self.stays if found.name == name), None)


_NO_EXCEPTION = 2


def rank(name: str) -> int:
    """0 for exits from below, 1 for exceptions taken at EL2, 2 for what no exception began."""
    if name in (BOOT, ATTACHED):
        return _NO_EXCEPTION
    return int(name.endswith(IS_INSIDE))


Lengths = Mapping[tuple[str, Detail], Counter[int]]
Code = Mapping[tuple[int, int, int, bool], int]
"""How often code ran at EL2 without a break, by its first VA, its instructions, the tag of the stay
(`buffers`), and whether that was inside another."""


def stays_of(lengths: Lengths, inside: Mapping[str, int]) -> tuple[StaysOfClass, ...]:
    """From the lengths of stays by class and detail."""
    by_class: dict[str, dict[str, dict[str, Counter[int]]]] = {}
    for (name, detail), found in lengths.items():
        by_class.setdefault(name, {}).setdefault(detail.group, {})[detail.item] = found
    made = []
    for name, groups in by_class.items():
        of_class = [_group(group, items) for group, items in groups.items()]
        figures_of_class = figures(_sum(_sum(items.values()) for items in groups.values()))
        told = tuple(sorted((g for g in of_class if g.name), key=_most_first))
        made.append(StaysOfClass(name, figures_of_class, inside.get(name, 0), told))
    return tuple(sorted(made, key=lambda s: (rank(s.name), *_most_first(s))))


def _group(name: str, items: Mapping[str, Counter[int]]) -> Group:
    told = ((item, figures(found)) for item, found in items.items() if item)
    return Group(
        name,
        figures(_sum(items.values())),
        tuple(sorted(told, key=lambda one: (-one[1].total, one[0]))),
    )


def _sum(counts: Iterable[Counter[int]]) -> Counter[int]:
    found: Counter[int] = Counter()
    for one in counts:
        found.update(one)
    return found


def _most_first(found: Group | StaysOfClass) -> tuple[int, str]:
    return -found.figures.total, found.name


def functions_of(code: Code, names: CodeNames) -> tuple[FunctionCost, ...]:
    """The most costly first."""
    costs: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    entered: Counter[tuple[int, str]] = Counter()
    for (pc, instructions, tag, is_inside), runs in code.items():
        of_class = class_name(tag, is_inside=is_inside)
        for piece in names.cut(pc, instructions):
            function = (piece.start, piece.name)
            costs[function][of_class] += piece.instructions * runs
            entered[function] += runs if piece.address == piece.start else 0
    found = (
        FunctionCost(
            name,
            start,
            by_class.total(),
            entered[start, name],
            tuple(sorted(by_class.items(), key=lambda one: (-one[1], one[0]))),
        )
        for (start, name), by_class in costs.items()
    )
    return tuple(sorted(found, key=lambda f: (-f.instructions, f.start)))
