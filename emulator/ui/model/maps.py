# SPDX-License-Identifier: Apache-2.0
"""The map panes: regions by owner, and the way to the one under the cursor."""

from collections.abc import Sequence

from rich.text import Text

from aether_edgecloud.emulator.arch.mmu_faults import WalkStep
from aether_edgecloud.emulator.bundle import size
from aether_edgecloud.emulator.replay.views.maps import Map, MapView, Region
from aether_edgecloud.emulator.replay.views.memory import Space
from aether_edgecloud.emulator.ui.model import styles
from aether_edgecloud.emulator.ui.model.row import Address, Mapped, Row

NAMES = {
    Map.STAGE2: "IPA to PA",
    Map.STAGE1_EL2: "EL2, VA to PA",
    Map.STAGE1_LOW: "TTBR0_EL1, VA to IPA",
    Map.STAGE1_HIGH: "TTBR1_EL1, VA to IPA",
}
_ROOMY = 58


def rows(views: Sequence[MapView], width: int) -> list[Row]:
    """The maps one below the other. The region that the CPU accesses has an arrow."""
    found: list[Row] = []
    for view in views:
        head = NAMES[view.which]
        if view.root is not None:
            head += f", root {view.root:#x}"
        found.append(Row(Text(head, style=styles.NAME)))
        if view.none is not None:
            found.append(Row(Text(f"  {view.none}", style=styles.DIM)))
        found += [_region(region, view.which, width) for region in view.regions]
        found += [Row(Text(f"  {line}", style=styles.ALARM)) for line in view.malformed]
    return found


def _region(region: Region, which: Map, width: int) -> Row:
    arrow = "▶" if region.has_cursor else " "
    line = Text.assemble((arrow, styles.NAME), f"{region.start:x}-{region.end - 1:x} ")
    line.append(region.rights, style=styles.NAME)
    if region.owner:
        line.append(f" {region.owner}", style=styles.SYMBOL)
    if width >= _ROOMY:
        line.append(" same" if region.pa == region.start else f" to {region.pa:x}")
        line.append(f" {size.show(region.end - region.start)} {region.memory}", style=styles.DIM)
    elif region.pa != region.start:
        line.append(f" >{region.pa:x}", style=styles.DIM)
    return Row(line, Mapped(which, region.start, region.pa))


def entries(steps: Sequence[WalkStep], width: int) -> list[Row]:
    """The entries of a walk, with their PAs."""
    return [Row(_entry(step, width), Address(Space.PA, step.pa)) for step in steps]


def _entry(step: WalkStep, width: int) -> Text:
    if width < _ROOMY:
        value = "no memory" if step.descriptor is None else f"{step.descriptor:x}"
        return Text.assemble((f"L{step.level} {step.pa:x} ", styles.DIM), value)
    value = "no memory" if step.descriptor is None else f"{step.descriptor:016x}"
    return Text.assemble((f"level {step.level} at {step.pa:x} ", styles.DIM), value)
