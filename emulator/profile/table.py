# SPDX-License-Identifier: Apache-2.0
"""A profile as tables for people."""

from collections.abc import Iterable, Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from aether_edgecloud.emulator.profile.figures import Figures
from aether_edgecloud.emulator.profile.profile import FunctionCost, Profile, rank
from aether_edgecloud.emulator.report.vm_tables import plain_table

_BARS = " ▁▂▃▄▅▆▇█"
_CLASSES_OF_FUNCTION = 3
_OTHERS = ("", "taken at EL2 itself", "")


def render(
    profile: Profile, named_by: str, *, details: int, functions: int
) -> Iterator[RenderableType]:
    """The tables, with at most so many rows of details for each class, and of functions. `named_by`
    says where the functions' names are from."""
    yield _whole(profile)
    if profile.stays:
        yield Text()
        yield _stays(profile, details)
    if functions and profile.functions:
        yield Text()
        yield _functions(profile, named_by, functions)


def _whole(profile: Profile) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True)
    every, el2 = sum(profile.by_el), profile.by_el[2]
    exits = sum(found.figures.total for found in profile.exits)
    table.add_row("instructions", f"{every:,}")
    table.add_row("at EL2", f"{el2:,} ({_percent(el2, every)}), {exits:,} of them in exits")
    if profile.unfinished:
        left = ", ".join(f"{name} {count:,}" for name, count in profile.unfinished)
        table.add_row("not returned", Text(f"{left} instructions"))
    return table


def _stays(profile: Profile, most: int) -> Table:
    of_exits = [found.figures for found in profile.exits]
    shown = _span(of_exits)
    table = plain_table()
    table.add_column("exits to EL2", no_wrap=True)
    for heading in ("count", "min", "median", "max", "total", "of exits"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(f"2^{shown.start - 1}..2^{shown.stop - 1}" if shown else "", no_wrap=True)
    whole = sum(found.total for found in of_exits)
    last = 0
    for stay in profile.stays:
        place = rank(stay.name)
        if place != last and _OTHERS[place]:
            table.add_row(Text(_OTHERS[place], style="dim"))
        last = place
        share = "" if place else _percent(stay.figures.total, whole)
        histogram = "" if place else bars(stay.figures.buckets, shown)
        table.add_row(Text(stay.name), *_numbers(stay.figures), share, Text(histogram, "magenta"))
        for group in stay.groups[:most]:
            table.add_row(Text(f"  {group.name}"), *_numbers(group.figures), style="dim")
        if most and len(stay.groups) > most:
            table.add_row(f"  and {len(stay.groups) - most} more", style="dim")
    return table


def _span(found: Iterable[Figures]) -> range:
    """The buckets that any of them uses."""
    used = [n for one in found for n, count in enumerate(one.buckets) if count]
    return range(min(used), max(used) + 1) if used else range(0)


def bars(buckets: Sequence[int], shown: range) -> str:
    """A bar for each bucket shown, the highest for the fullest; what is not empty shows."""
    most = max(buckets, default=0)
    heights = (
        -(-(len(_BARS) - 1) * buckets[n] // most) if n < len(buckets) and most else 0 for n in shown
    )
    return "".join(_BARS[height] for height in heights)


def _numbers(found: Figures) -> tuple[str, ...]:
    return tuple(f"{n:,}" for n in (found.count, found.low, found.median, found.high, found.total))


def _functions(profile: Profile, named_by: str, most: int) -> Table:
    """Sorted by what they cost once guests run."""
    table = plain_table()
    table.add_column(Text(f"at EL2, {named_by}"), no_wrap=True)
    for heading in ("in exits", "of exits", "at boot", "entered"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("most of it in", no_wrap=True)
    ranked = sorted(profile.functions, key=lambda f: (-f.in_exits, -f.instructions, f.start))
    whole = sum(function.in_exits for function in ranked)
    for function in ranked[:most]:
        table.add_row(
            Text(function.name),
            f"{function.in_exits:,}",
            _percent(function.in_exits, whole),
            f"{function.at_boot:,}",
            f"{function.entered:,}",
            Text(_classes(function), style="dim"),
        )
    left = ranked[most:]
    if left:
        rest = sum(function.in_exits for function in left)
        boot = sum(function.at_boot for function in left)
        name = Text(f"and {len(left):,} more", style="dim")
        table.add_row(name, f"{rest:,}", _percent(rest, whole), f"{boot:,}", style="dim")
    return table


def _classes(function: FunctionCost) -> str:
    """The classes of exits that it runs most in, each with its share of them."""
    shown = [(name, n) for name, n in function.by_class if rank(name) < 2]
    return ", ".join(
        f"{name} {_percent(n, function.in_exits)}" for name, n in shown[:_CLASSES_OF_FUNCTION]
    )


def _percent(part: int, whole: int) -> str:
    if not part or not whole:
        return ""
    return f"{part / whole:.1%}" if 1000 * part >= whole else "<0.1%"
