# SPDX-License-Identifier: Apache-2.0
"""What a new address space does to the TLB: for its own VMID, whoever's VTTBR_EL2 is loaded."""

import pytest

from aether_edgecloud.stage2.host import Arena
from aether_edgecloud.stage2.protocol import Event, EventKind
from aether_edgecloud.stage2.spec import Config, Regime, Status

VMID = 7
OTHER_VM = 0x00EE_0000_0BAD_0000


def init_events(loaded: int) -> tuple[list[Event], int]:
    """Of pgt_init(), while VTTBR_EL2 is `loaded`; and the new space's own VTTBR_EL2."""
    arena = Arena(4)
    arena.vttbr = loaded
    assert (
        arena.init(0, Config(regime=Regime.STAGE2, ia_bits=40, pa_bits=48, vmid=VMID)) is Status.OK
    )
    events, own = list(arena.take_events()), VMID << 48 | arena.root_of(0)
    assert arena.vttbr == loaded
    arena.close()
    return events, own


@pytest.mark.parametrize("loaded", [0, OTHER_VM], ids=["none", "another"])
def test_init_invalidates_its_own_vmid(loaded: int) -> None:
    """TLBI VMALLS12E1IS works on the VMID in VTTBR_EL2, and is only done when a DSB ISH is."""
    events, own = init_events(loaded)
    vttbr, in_flight, done = loaded, False, 0
    for event in events:
        if event.kind is EventKind.SET_VTTBR:
            assert not in_flight, "VTTBR_EL2 changed before the TLBI had finished"
            vttbr = event.a
        elif event.kind is EventKind.TLBI_VMALLS12E1IS:
            assert vttbr == own, "TLBI under the VMID of somebody else"
            in_flight = True
        elif event.kind is EventKind.DSB_ISH:
            done += in_flight
            in_flight = False
    assert done == 1


def test_init_shows_the_cleared_root_before_it_is_reached() -> None:
    """A walker may start as soon as VTTBR_EL2 leads to the root: zeros, DSB, then VTTBR_EL2."""
    events, own = init_events(OTHER_VM)
    kinds = [event.kind for event in events]
    loaded = next(i for i, e in enumerate(events) if e.kind is EventKind.SET_VTTBR and e.a == own)
    last_zero = max(i for i, kind in enumerate(kinds) if kind is EventKind.ZERO)
    assert last_zero < loaded
    assert EventKind.DSB_ISHST in kinds[last_zero:loaded]
