# SPDX-License-Identifier: Apache-2.0
"""Translation maps as regions of equal rights, memory type and owner."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.replay.views.memory import Space, Translator, translator
from aether_edgecloud.emulator.replay.views.owners import Owners
from aether_edgecloud.emulator.report.machine_state import (
    NoMap,
    el2_tables,
    read_register,
    stage2_tables,
)
from aether_edgecloud.stage2.decode import PAGE, Decoded, Geometry, Leaf, Regime, decode_tables

if TYPE_CHECKING:
    from aether_edgecloud.emulator.replay.replay import Replay

_HCR_VM = 1
_MMU_ON = 1
_HIGH = 1 << 64
_KiB4 = {0: 0, 1: 2}
"""TCR_EL1.TG0 and TG1 for the granule of 4 KiB."""
_PS_BITS = (32, 36, 40, 42, 44, 48)


class Map(Enum):
    """Which map."""

    STAGE2 = "stage2"  # of the VM in VTTBR_EL2
    STAGE1_EL2 = "el2"
    STAGE1_LOW = "el1-ttbr0"
    STAGE1_HIGH = "el1-ttbr1"


@dataclass(frozen=True, slots=True)
class Region:
    """[start, end) of input addresses that map alike to `pa` on (an IPA for stage 1 of EL1&0).
    `rights` are of EL1 and EL0 in a guest's maps, `rwx` for both or `rw-/r-x`. `owner` is who the
    frames belong to, if the hypervisor tells."""

    start: int
    end: int
    pa: int
    rights: str
    memory: str
    owner: str | None = None
    has_cursor: bool = False


@dataclass(frozen=True, slots=True)
class MapView:
    """A map at the cursor, from PA (or IPA) `root`; `none` says why there is no region to show.
    `tables` is how many pages of tables there are."""

    which: Map
    root: int | None
    regions: tuple[Region, ...]
    none: str | None = None
    malformed: tuple[str, ...] = ()
    tables: int = 0


@dataclass(frozen=True, slots=True)
class KeptMap:
    """A guest's map, and all that it was made of: where its tables are and what they held."""

    geometry: Geometry
    tables: dict[int, bytes | None]
    view: MapView


def translation_map(
    replay: "Replay",
    which: Map,
    *,
    cpu: int | None = None,
    kept: dict[Map, KeptMap] | None = None,
) -> MapView:
    """A map of a CPU (the cursor's). A kernel's has thousands of pages: with `kept`, in which maps
    are put, one is decoded again only if one of its tables has changed."""
    number = replay.cpu if cpu is None else cpu
    core = replay.machine.cpus[number]
    memory = replay.machine.memory
    if which is Map.STAGE2:
        if not _value(core, "HCR_EL2") & _HCR_VM:
            return MapView(which, None, (), "stage 2 is off (HCR_EL2.VM is 0)")
        found = stage2_tables(core, memory)
        cursor = _ipa_of_pc(replay, core, number)
        return _view(which, found, _rights_stage2, Owners(replay), cursor)
    if which is Map.STAGE1_EL2:
        found = el2_tables(core, memory)
        pc = core.pc if core.current_el == 2 else None
        return _view(which, found, _rights_el2, Owners(replay), pc)
    pc = core.pc if core.current_el < 2 else None
    return _guest_map(which, core, translator(replay, number), pc, kept)


def stage1_of(
    replay: "Replay", *, cpu: int | None = None, kept: dict[Map, KeptMap] | None = None
) -> tuple[MapView, ...]:
    """The stage 1 maps of the current EL: one at EL2, two below. `kept` as above."""
    number = replay.cpu if cpu is None else cpu
    if replay.machine.cpus[number].current_el == 2:
        return (translation_map(replay, Map.STAGE1_EL2, cpu=number),)
    return tuple(
        translation_map(replay, which, cpu=number, kept=kept)
        for which in (Map.STAGE1_LOW, Map.STAGE1_HIGH)
    )


def _value(core: Cpu, name: str) -> int:
    return read_register(core, name) or 0


def _ipa_of_pc(replay: "Replay", core: Cpu, number: int) -> int | None:
    if core.current_el == 2:
        return None
    memory = translator(replay, number)
    return memory.ipa(core.pc)


def _view(
    which: Map,
    found: Decoded | NoMap,
    rights: Callable[[Leaf], str],
    owners: Owners | None,
    cursor: int | None,
    offset: int = 0,
) -> MapView:
    if isinstance(found, NoMap):
        return MapView(which, None, (), found.why)
    regions = tuple(
        replace(region, has_cursor=cursor is not None and region.start <= cursor < region.end)
        for region in _merge(_pieces(found.leaves, rights, owners, offset))
    )
    malformed = tuple(
        f"level {bad.level} entry at {bad.entry:#x} for {bad.ia + offset:#x}: {bad.fault.value}"
        for bad in found.malformed
    )
    none = None if regions else "nothing is mapped"
    return MapView(which, found.geometry.root, regions, none, malformed, len(found.tables))


def _pieces(
    leaves: tuple[Leaf, ...], rights: Callable[[Leaf], str], owners: Owners | None, offset: int
) -> Iterator[Region]:
    for leaf in leaves:
        memory = str(leaf.memory) + ("" if leaf.af else " AF=0")
        words = rights(leaf)
        split = [(leaf.pa, leaf.size, None)] if owners is None else owners.split(leaf.pa, leaf.size)
        for pa, size, owner in split:
            start = leaf.ia + offset + pa - leaf.pa
            yield Region(start, start + size, pa, words, memory, owner)


def _merge(pieces: Iterator[Region]) -> Iterator[Region]:
    run: Region | None = None
    for piece in pieces:
        if run is not None and _continues(run, piece):
            run = replace(run, end=piece.end)
            continue
        if run is not None:
            yield run
        run = piece
    if run is not None:
        yield run


def _continues(run: Region, piece: Region) -> bool:
    follows = piece.start == run.end and piece.pa == run.pa + run.end - run.start
    alike = (piece.rights, piece.memory, piece.owner) == (run.rights, run.memory, run.owner)
    return follows and alike


def _rwx(*, read: bool, write: bool, execute: bool) -> str:
    return ("r" if read else "-") + ("w" if write else "-") + ("x" if execute else "-")


def _both(el1: str, el0: str) -> str:
    return el1 if el1 == el0 else f"{el1}/{el0}"


def _rights_stage2(leaf: Leaf) -> str:
    el1 = _rwx(read=leaf.read, write=leaf.write, execute=leaf.exec_el1)
    return _both(el1, _rwx(read=leaf.read, write=leaf.write, execute=leaf.exec_el0))


def _rights_el2(leaf: Leaf) -> str:
    return _rwx(read=leaf.read, write=leaf.write, execute=leaf.exec_el1)


def _rights_el1(leaf: Leaf) -> str:
    """By AP[2:1], PXN and UXN; what is writable at EL0 is never executed at EL1."""
    read_only, el0 = leaf.descriptor >> 7 & 1, leaf.descriptor >> 6 & 1
    pxn, uxn = leaf.descriptor >> 53 & 1, leaf.descriptor >> 54 & 1
    write = not read_only
    el1 = _rwx(read=True, write=write, execute=not pxn and not (el0 and write))
    return _both(el1, _rwx(read=bool(el0), write=bool(el0 and write), execute=not uxn))


def _guest_map(
    which: Map,
    core: Cpu,
    memory: Translator,
    pc: int | None,
    kept: dict[Map, KeptMap] | None,
) -> MapView:
    if not _value(core, "SCTLR_EL1") & _MMU_ON:
        return MapView(which, None, (), "stage 1 is off (SCTLR_EL1.M is 0)")
    tcr = _value(core, "TCR_EL1")
    half = 1 if which is Map.STAGE1_HIGH else 0
    if tcr >> (23 if half else 7) & 1:
        return MapView(which, None, (), f"no walks are made (TCR_EL1.EPD{half} is 1)")
    if tcr >> (30 if half else 14) & 3 != _KiB4[half]:
        return MapView(which, None, (), f"TCR_EL1.TG{half} is not the 4 KiB granule")
    ia_bits = 64 - (tcr >> (16 if half else 0) & 0x3F)
    if not 16 <= ia_bits <= 48:
        return MapView(which, None, (), f"TCR_EL1.T{half}SZ is out of range")
    root = _value(core, f"TTBR{half}_EL1") & 0x0000_FFFF_FFFF_FFFE
    geometry = Geometry(
        Regime.EL2,
        root,
        ia_bits,
        next(n for n, shift in ((3, 12), (2, 21), (1, 30), (0, 39)) if ia_bits <= shift + 9),
        _PS_BITS[min(tcr >> 32 & 7, len(_PS_BITS) - 1)],
        mair=_value(core, "MAIR_EL1"),
    )

    def table(ipa: int) -> bytes | None:
        return memory.read(ipa, PAGE, Space.IPA)

    last = None if kept is None else kept.get(which)
    if (
        last is not None
        and last.geometry == geometry
        and all(table(ipa) == data for ipa, data in last.tables.items())
    ):
        return _with_cursor(last.view, pc)
    tables: dict[int, bytes | None] = {}

    def read_table(ipa: int, entries: int, /) -> list[int] | None:
        data = tables[ipa] = table(ipa)
        return None if data is None else memoryview(data).cast("Q").tolist()[:entries]

    found = decode_tables(read_table, geometry)
    offset = _HIGH - (1 << ia_bits) if half else 0
    view = _view(which, found, _rights_el1, None, pc, offset)
    if kept is not None:
        kept[which] = KeptMap(geometry, tables, view)
    return view


def _with_cursor(view: MapView, cursor: int | None) -> MapView:
    regions = [
        region
        if region.has_cursor == (has := cursor is not None and region.start <= cursor < region.end)
        else replace(region, has_cursor=has)
        for region in view.regions
    ]
    return replace(view, regions=tuple(regions))
