# SPDX-License-Identifier: Apache-2.0
"""No maintenance that nobody needs: a TLBI that is too many is no mistake that the protocol knows,
but every CPU pays for it, and one of another regime takes the translations of a VM away."""

import pytest

from aether_edgecloud.stage2.host import Arena
from aether_edgecloud.stage2.protocol import EventKind
from aether_edgecloud.stage2.spec import PAGE, Attr, Config, Memory, Perm, Regime, Status

RW = Attr(Perm(True, True, False, False), Memory.NORMAL_WB)
RO = Perm(True, False, False, False)
BLOCK = 1 << 21
TLBIS = {
    Regime.EL2: {EventKind.TLBI_VAE2IS: 1},
    # By IPA, then, since combined entries are tagged by VA, all of the VMID.
    Regime.STAGE2: {EventKind.TLBI_IPAS2E1IS: 1, EventKind.TLBI_VMALLE1IS: 1},
}
ANY_TLBI = [kind for kind in EventKind if kind.name.startswith("TLBI")]


class Counted:
    """An address space with two pages mapped, and what an operation on it does."""

    def __init__(self, regime: Regime) -> None:
        self.regime = regime
        self.arena = Arena(8)
        assert self.arena.init(0, Config(regime=regime, ia_bits=40, pa_bits=40)) is Status.OK
        assert self.arena.map(0, 0, 0, 2 * PAGE, RW) is Status.OK
        self.arena.take_events()

    def tlbis(self) -> dict[EventKind, int]:
        """Of each kind, since the last look."""
        kinds = [event.kind for event in self.arena.take_events()]
        if self.regime is Regime.EL2:
            assert EventKind.SET_VTTBR not in kinds, "EL2's own tables are under no VMID"
        return {kind: kinds.count(kind) for kind in ANY_TLBI if kind in kinds}


@pytest.fixture(params=Regime)
def counted(request: pytest.FixtureRequest) -> Counted:
    return Counted(request.param)


def test_what_was_invalid_needs_none(counted: Counted) -> None:
    """An invalid entry is in no TLB (Arm ARM D8, "TLB maintenance")."""
    for ia, size in ((2 * PAGE, PAGE), (BLOCK, BLOCK), (1 << 30, 3 * PAGE)):
        assert counted.arena.map(0, ia, ia, size, RW) is Status.OK
        assert counted.tlbis() == {}


def test_one_page_needs_one(counted: Counted) -> None:
    assert counted.arena.protect(0, 0, PAGE, RO) is Status.OK
    assert counted.tlbis() == TLBIS[counted.regime]
    assert counted.arena.unmap(0, 0, PAGE) is Status.OK
    assert counted.tlbis() == TLBIS[counted.regime]


def test_what_changes_nothing_needs_none(counted: Counted) -> None:
    free = counted.arena.free_pages
    for call in (
        counted.arena.map(0, 0, 0, PAGE, RW),
        counted.arena.unmap(0, BLOCK, PAGE),
        counted.arena.protect(0, PAGE, 2 * PAGE, RO),
    ):
        assert call is not Status.OK
        assert counted.tlbis() == {}
    assert counted.arena.free_pages == free
