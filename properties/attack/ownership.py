# SPDX-License-Identifier: Apache-2.0
"""Who owns what and who reaches what: the specification as a pure state, and its laws.

A frame is a number (PA >> 12). A page of a VM is a number too (IPA >> 12). A `State` is never
changed: steps copy it (`changed`). Nothing here knows how the hypervisor does it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from aether_edgecloud.properties.attack.abi import (
    OWNER_VM,
    WINDOW_IPA,
    WINDOW_PAGES,
    FrameState,
    Life,
)

WINDOW = range(WINDOW_IPA >> 12, (WINDOW_IPA >> 12) + WINDOW_PAGES)


class Kind(Enum):
    """Of a transaction; the value is the type field of a retrieve request's flags."""

    SHARE = 1
    LEND = 2
    DONATE = 3


@dataclass(frozen=True, slots=True)
class Rights:
    """What a stage-2 page allows beside reading."""

    write: bool = True
    execute: bool = True

    def __str__(self) -> str:
        return "r" + ("w" if self.write else "-") + ("x" if self.execute else "-")


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a VM's stage 2."""

    frame: int
    rights: Rights = Rights()


@dataclass(frozen=True, slots=True)
class Frame:
    """As the frame table has it; VMs by number, `borrower` None: nobody."""

    owner: int
    state: FrameState = FrameState.OWNED
    borrower: int | None = None

    def __str__(self) -> str:
        lent = "" if self.borrower is None else f", reached by VM {self.borrower}"
        return f"VM {self.owner}'s, {self.state.name}{lent}"


@dataclass(frozen=True, slots=True)
class Loan:
    """What a receiver has retrieved: contiguous from `page` on in its window."""

    page: int
    rights: Rights


@dataclass(frozen=True, slots=True)
class Share:
    """A transaction that is not over. `pages`: the owner's pages with what it had there."""

    owner: int
    receiver: int
    kind: Kind
    pages: tuple[tuple[int, Page], ...]
    write: bool
    tag: int
    zero: bool
    loan: Loan | None = None


@dataclass(frozen=True, slots=True)
class Mailbox:
    """Pages of the VM; `full`: the RX buffer is the VM's."""

    tx: int
    rx: int
    full: bool = False


class Doing(Enum):
    """What a vCPU is at."""

    RESTS = "is in its VM"
    WAITS = "waits for a message"
    ASKS = "waits for an answer"
    SERVES = "is in its VM, with a request to answer"
    TOLD = "is in its VM, told of an interrupt while it asks"
    OFF = "is off"


@dataclass(frozen=True, slots=True)
class Vcpu:
    """A vCPU; `peer` is (VM, vCPU) of the one that it asked or that asked it, `owes` what it is at
    again when it has its answer, if not at rest: it serves."""

    doing: Doing = Doing.OFF
    peer: tuple[int, int] | None = None
    owes: "Vcpu | None" = None

    def answered(self) -> "Vcpu":
        """One that asks, when it has its answer."""
        return self.owes or Vcpu(Doing.RESTS)

    def without(self, vm: int) -> "Vcpu":
        """When a VM, not its own, has ended: one that asked it hears of that, now or when it waits
        again; one that serves it has nobody left to answer."""
        owes = None if self.owes is None else self.owes.without(vm)
        if self.peer is None or self.peer[0] != vm:
            return Vcpu(self.doing, self.peer, owes)
        if self.doing is Doing.SERVES:
            return Vcpu(Doing.SERVES)
        after = Vcpu(self.doing, self.peer, owes)
        return after.answered() if self.doing is Doing.ASKS else after


@dataclass(frozen=True, slots=True)
class Notes:
    """Notifications of a receiver: who may set a bit, and what is pending."""

    bound: Mapping[int, int] = field(default_factory=dict)
    pending: int = 0
    rings: bool = False
    """The interrupt that says so is pending at vCPU 0."""


@dataclass(frozen=True, slots=True)
class Config:
    """What the manifest says of a VM."""

    name: str
    frames: tuple[int, ...]
    """Of its memory, in order from `base` on."""
    vcpus: int
    base: int = 0x4_0000
    peers: frozenset[int] = frozenset()
    manages: frozenset[int] = frozenset()
    partition: bool = False
    restarts_crash: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """Everything the calls are about. `maps` has for each VM its pages of RAM."""

    configs: tuple[Config, ...]
    frames: Mapping[int, Frame]
    maps: tuple[Mapping[int, Page], ...]
    lives: tuple[Life, ...]
    vcpus: Mapping[tuple[int, int], Vcpu]
    boxes: tuple[Mailbox | None, ...]
    notes: tuple[Notes, ...]
    shares: Mapping[int, Share] = field(default_factory=dict)
    finished: frozenset[int] = frozenset()
    """Handles that will never be good again."""
    armed: frozenset[int] = frozenset()
    """VMs whose vCPU 0 has the interrupt of notifications, and nothing else, enabled."""
    values: Mapping[int, int | None] = field(default_factory=dict)
    """The word kept in a frame where it is known; None: anything. 0 in a frame that is missing."""

    def home(self, frame: int) -> int:
        """The VM whose memory the manifest makes a frame."""
        return next(n for n, c in enumerate(self.configs) if frame in c.frames)

    def changed(self, **parts: object) -> "State":
        return replace(self, **parts)  # type: ignore[arg-type]

    def with_box(self, vm: int, box: Mailbox | None) -> "State":
        return self.changed(boxes=(*self.boxes[:vm], box, *self.boxes[vm + 1 :]))

    def with_life(self, vm: int, life: Life) -> "State":
        return self.changed(lives=(*self.lives[:vm], life, *self.lives[vm + 1 :]))

    def with_notes(self, vm: int, notes: Notes) -> "State":
        return self.changed(notes=(*self.notes[:vm], notes, *self.notes[vm + 1 :]))

    def with_map(self, vm: int, pages: Mapping[int, Page]) -> "State":
        return self.changed(maps=(*self.maps[:vm], pages, *self.maps[vm + 1 :]))

    def with_vcpus(self, vcpus: Mapping[tuple[int, int], Vcpu]) -> "State":
        return self.changed(vcpus={**self.vcpus, **vcpus})

    def with_frames(self, frames: Mapping[int, Frame]) -> "State":
        return self.changed(frames={**self.frames, **frames})

    def with_share(self, handle: int, share: Share | None) -> "State":
        """A transaction as it is now; None: it is over."""
        shares = {**self.shares}
        if share is None:
            del shares[handle]
            return self.changed(shares=shares, finished=self.finished | {handle})
        shares[handle] = share
        return self.changed(shares=shares)

    def taken_window(self, vm: int) -> frozenset[int]:
        """Pages of a VM's window where nothing can be put: mapped, or the owner's while lent."""
        held = {page for s in self.shares.values() if s.owner == vm for page, _ in s.pages}
        return frozenset(page for page in (*self.maps[vm], *held) if page in WINDOW)

    def place(self, vm: int, count: int) -> int | None:
        """The lowest place for so many pages in a VM's window."""
        taken = self.taken_window(vm)
        start = WINDOW.start
        while start + count <= WINDOW.stop:
            hit = max((p for p in range(start, start + count) if p in taken), default=None)
            if hit is None:
                return start
            start = hit + 1
        return None


def initial(configs: tuple[Config, ...]) -> State:
    """Every VM has been loaded and runs on vCPU 0."""
    return State(
        configs,
        {frame: Frame(n) for n, c in enumerate(configs) for frame in c.frames},
        tuple(own_map(c) for c in configs),
        tuple(Life.RUNNING for _ in configs),
        {
            (n, v): Vcpu(Doing.OFF if v else Doing.RESTS)
            for n, c in enumerate(configs)
            for v in range(c.vcpus)
        },
        tuple(None for _ in configs),
        tuple(Notes() for _ in configs),
    )


def own_map(config: Config) -> dict[int, Page]:
    """The pages that the manifest gives."""
    return {config.base + i: Page(frame) for i, frame in enumerate(config.frames)}


# Lives.


def end_life(state: State, vm: int) -> State:
    """All that a VM borrowed, offered, was given or bound is given back; its vCPUs are off."""
    state = _return_loans(state, vm)
    state = _revoke(state, vm)
    box = state.boxes[vm]
    if box is not None:
        state = free_mailbox(state, vm, box)
    state = _send_home(state, vm)
    vcpus: dict[tuple[int, int], Vcpu] = {}
    for who, vcpu in state.vcpus.items():
        if who[0] == vm:
            vcpus[who] = Vcpu()
        else:
            vcpus[who] = vcpu.without(vm)
    state = state.with_vcpus(vcpus).changed(armed=state.armed - {vm})
    for other, notes in enumerate(state.notes):
        bound = {bit: sender for bit, sender in notes.bound.items() if vm not in (sender, other)}
        lost = sum(1 << bit for bit in notes.bound if bit not in bound)
        rings = notes.rings and other != vm
        state = state.with_notes(other, Notes(bound, notes.pending & ~lost, rings))
    return state


def free_mailbox(state: State, vm: int, box: Mailbox) -> State:
    frames = {state.maps[vm][page].frame: Frame(vm) for page in (box.tx, box.rx)}
    return state.with_frames(frames).with_box(vm, None)


def _return_loans(state: State, vm: int) -> State:
    for handle, share in list(state.shares.items()):
        if share.receiver == vm and share.loan is not None:
            state = end_loan(state, handle, zero=False)
    return state


def end_loan(state: State, handle: int, *, zero: bool) -> State:
    """The receiver has no access any more; the transaction can be retrieved again."""
    share = state.shares[handle]
    assert share.loan is not None
    pages = {**state.maps[share.receiver]}
    frames: dict[int, Frame] = {}
    values = {**state.values}
    for i, (_, page) in enumerate(share.pages):
        del pages[share.loan.page + i]
        frames[page.frame] = replace(state.frames[page.frame], borrower=None)
        if zero:
            values[page.frame] = 0
    state = state.with_map(share.receiver, pages).with_frames(frames).changed(values=values)
    return state.with_share(handle, replace(share, loan=None))


def end_share(state: State, handle: int) -> State:
    """The owner has everything back as it was; nobody else has."""
    share = state.shares[handle]
    assert share.loan is None
    pages = {**state.maps[share.owner], **dict(share.pages)}
    frames = {page.frame: Frame(share.owner) for _, page in share.pages}
    return state.with_map(share.owner, pages).with_frames(frames).with_share(handle, None)


def _revoke(state: State, vm: int) -> State:
    for handle, share in list(state.shares.items()):
        if share.owner == vm:
            if share.loan is not None:
                state = end_loan(state, handle, zero=False)
            state = end_share(state, handle)
        elif share.receiver == vm and share.kind is Kind.DONATE:
            pass  # never retrieved: it stays sent
    return state


def _send_home(state: State, vm: int) -> State:
    pages = {**state.maps[vm]}
    frames: dict[int, Frame] = {}
    values = {**state.values}
    for page, entry in state.maps[vm].items():
        home = state.home(entry.frame)
        if home != vm:
            del pages[page]
            frames[entry.frame] = Frame(home)
            values[entry.frame] = 0
    return state.with_map(vm, pages).with_frames(frames).changed(values=values)


def load(state: State, vm: int) -> State:
    """The VM is loaded anew: it finds all of its manifest's memory that nobody else owns."""
    own = {p: e for p, e in own_map(state.configs[vm]).items() if state.frames[e.frame].owner == vm}
    values = {**state.values, **{entry.frame: 0 for entry in own.values()}}
    values[state.configs[vm].frames[0]] = None
    return state.with_map(vm, own).changed(values=values)


def start(state: State, vm: int) -> State:
    """vCPU 0 begins."""
    return state.with_life(vm, Life.RUNNING).with_vcpus({(vm, 0): Vcpu(Doing.RESTS)})


# Laws.


def broken_laws(state: State) -> Iterator[str]:
    """What must hold in every state, in words for each breach; reaches are judged by the shares
    alone, so that a wrong step above is found as well."""
    everything = {frame for c in state.configs for frame in c.frames}
    if state.frames.keys() != everything:
        yield "frames have appeared or vanished"
    agreed: dict[tuple[int, int], Rights] = {}
    for share in state.shares.values():
        for i, (_, page) in enumerate(share.pages):
            if state.frames[page.frame].owner != share.owner:
                yield f"frame {page.frame:#x} is offered by one who does not own it"
            if share.loan is not None:
                agreed[share.receiver, page.frame] = share.loan.rights
                if share.loan.rights.write and not share.write:
                    yield f"frame {page.frame:#x} is lent read-only and written"
                if share.loan.page + i not in state.maps[share.receiver]:
                    yield f"a loan of frame {page.frame:#x} is not mapped"
    for vm, pages in enumerate(state.maps):
        reached = [entry.frame for entry in pages.values()]
        if len(reached) != len(set(reached)):
            yield f"VM {vm} reaches a frame at two places"
        for at, entry in pages.items():
            frame = state.frames[entry.frame]
            if frame.owner == vm:
                if frame.state is FrameState.LENT:
                    yield f"VM {vm} reaches frame {entry.frame:#x}, which it has lent"
            elif (vm, entry.frame) not in agreed:
                yield f"VM {vm} reaches frame {entry.frame:#x} of VM {frame.owner}, not agreed"
            elif entry.rights != agreed[vm, entry.frame]:
                yield f"VM {vm} reaches page {at:#x} with other rights than agreed"
    for number, frame in state.frames.items():
        offers = [s for s in state.shares.values() if any(p.frame == number for _, p in s.pages)]
        if (frame.state in (FrameState.SHARED, FrameState.LENT)) != (len(offers) == 1):
            yield f"frame {number:#x} is {frame} and in {len(offers)} transactions"
        if frame.borrower is not None and not any(
            s.loan is not None and s.receiver == frame.borrower for s in offers
        ):
            yield f"frame {number:#x} has a borrower without a loan"


def owner_byte(vm: int) -> int:
    """A VM in the frame table."""
    return OWNER_VM + vm + 1
