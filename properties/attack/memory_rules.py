# SPDX-License-Identifier: Apache-2.0
"""Mailboxes and memory between VMs: what each call may do in each state."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

from aether_edgecloud.properties.attack.abi import (
    COMPOSITE,
    ENDPOINT,
    EXECUTABLE,
    HEADER,
    MASK32,
    MOST_PAGES,
    MOST_SHARES,
    PAGE,
    RANGE,
    READ_ONLY,
    READ_WRITE,
    Code,
    Ffa,
    FrameState,
)
from aether_edgecloud.properties.attack.ownership import (
    Frame,
    Kind,
    Loan,
    Mailbox,
    Page,
    Rights,
    Share,
    State,
    end_loan,
    end_share,
    free_mailbox,
)
from aether_edgecloud.properties.attack.verdict import (
    Answer,
    Reasons,
    Verdict,
    exact,
    success,
    wrong,
)

INVALID = Code.INVALID_PARAMETERS
IPA_BITS = 40


def vm_id(vm: int) -> int:
    return vm + 1


def rxtx_map(state: State, vm: int, x: Sequence[int]) -> Verdict:
    """X1 = TX, X2 = RX, X3 = pages."""
    found = Reasons()
    tx, rx = x[1], x[2]
    found.add(state.boxes[vm] is not None, Code.DENIED, "the mailbox is mapped")
    found.add(x[3] != 1, INVALID, "not one page")
    found.allow(any(x[4:8]), INVALID)
    found.add(tx == rx, INVALID, "TX and RX are the same")
    for ipa in (tx, rx):
        found.add(ipa % PAGE, INVALID, "misaligned")
        _check_box_page(state, vm, ipa >> 12, found)

    def then(answer: Answer) -> State:
        success(answer, "RXTX_MAP")
        frames = {
            state.maps[vm][ipa >> 12].frame: Frame(vm, FrameState.MAILBOX) for ipa in (tx, rx)
        }
        return state.with_frames(frames).with_box(vm, Mailbox(tx >> 12, rx >> 12))

    return found.verdict(then)


def _check_box_page(state: State, vm: int, page: int, found: Reasons) -> None:
    entry = state.maps[vm].get(page)
    if entry is None:
        found.add(True, INVALID, f"page {page:#x} is not the VM's memory")
        found.allow(True, Code.DENIED)  # lent, or donated: it was once
        return
    frame = state.frames[entry.frame]
    if frame.owner != vm:
        found.add(True, INVALID, f"page {page:#x} is borrowed")
        found.allow(True, Code.DENIED)
    elif frame.state is not FrameState.OWNED:
        found.add(True, Code.DENIED, f"page {page:#x} is {frame.state.name}")


def rxtx_unmap(state: State, vm: int, x: Sequence[int]) -> Verdict:
    found = Reasons()
    box = state.boxes[vm]
    found.add((x[1] >> 16 & 0xFFFF) not in (0, vm_id(vm)), INVALID, "the id is another's")
    found.add(x[1] & 0xFFFF, INVALID, "X1[15:0] is not zero")
    found.add(box is None, INVALID, "no mailbox")
    found.allow(any(x[2:8]) or x[1] >> 32, INVALID)

    def then(answer: Answer) -> State:
        success(answer, "RXTX_UNMAP")
        assert box is not None
        return free_mailbox(state, vm, box)

    return found.verdict(then)


def rx_release(state: State, vm: int, x: Sequence[int]) -> Verdict:
    found = Reasons()
    box = state.boxes[vm]
    found.add(box is None or not box.full, Code.DENIED, "the RX buffer is not the VM's")
    found.allow(box is None, INVALID)
    found.allow(any(x[1:8]), INVALID)

    def then(answer: Answer) -> State:
        success(answer, "RX_RELEASE")
        assert box is not None
        return state.with_box(vm, replace(box, full=False))

    return found.verdict(then)


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A descriptor's fields, where they could be read."""

    sender: int
    attributes: int
    flags: int
    handle: int
    tag: int
    receiver: int = 0
    permissions: int = 0
    composite: int = 0
    ranges: tuple[tuple[int, int], ...] | None = None
    total: int = 0


def _parse(tx: bytes, x: Sequence[int], found: Reasons, *, composite: bool) -> _Parsed | None:
    """None: too broken to say more."""
    length = x[1] & MASK32
    found.add(not HEADER < length <= PAGE, INVALID, "length")
    found.add(x[2] & MASK32 != length, INVALID, "fragment length is not the length")
    found.add(x[3] or x[4], INVALID, "a buffer address")
    found.allow(any(x[5:8]) or x[1] >> 32 or x[2] >> 32, INVALID)
    if not HEADER < length <= PAGE:
        return None
    data = tx[:length]
    sender, attributes, flags, handle, tag, size, count, at, reserved = struct.unpack_from(
        "<HHIQQIII12s", data
    )
    found.add(size != ENDPOINT, INVALID, "endpoint size")
    found.add(count != 1, INVALID, "not one receiver")
    found.add(at < HEADER or at % 16, INVALID, "endpoint offset")
    found.add(any(reserved), INVALID, "reserved bytes of the header")
    parsed = _Parsed(sender, attributes, flags, handle, tag)
    if at + ENDPOINT > length:
        found.add(True, INVALID, "endpoint outside")
        return parsed
    receiver, permissions, endpoint_flags, offset, zero = struct.unpack_from("<HBBIQ", data, at)
    found.add(endpoint_flags, INVALID, "endpoint flags")
    found.add(zero, INVALID, "reserved bytes of the endpoint")
    found.add(permissions >> 4, INVALID, "reserved permissions")
    parsed = replace(parsed, receiver=receiver, permissions=permissions, composite=offset)
    if not composite:
        found.add(offset, INVALID, "a composite")
        found.allow(at + ENDPOINT != length, INVALID)
        return parsed
    if offset + COMPOSITE > length:
        found.add(True, INVALID, "composite outside")
        return parsed
    found.allow(offset < at + ENDPOINT or offset % 16, INVALID)
    total, ranges, zero = struct.unpack_from("<IIQ", data, offset)
    found.add(zero, INVALID, "reserved bytes of the composite")
    found.add(not ranges, INVALID, "no range")
    end = offset + COMPOSITE + ranges * RANGE
    if end > length:
        found.add(True, INVALID, "ranges outside")
        return parsed
    found.allow(end != length, INVALID)
    read: list[tuple[int, int]] = []
    for n in range(ranges):
        address, pages, zero = struct.unpack_from("<QII", data, offset + COMPOSITE + n * RANGE)
        found.add(zero, INVALID, "reserved bytes of a range")
        found.add(address % PAGE or not pages, INVALID, "a range without whole pages")
        found.add(address + pages * PAGE > 1 << 64, INVALID, "a range that wraps")
        found.allow(address + pages * PAGE > 1 << IPA_BITS, INVALID)
        read.append((address, pages))
    found.add(sum(pages for _, pages in read) != total, INVALID, "the total is not the sum")
    return replace(parsed, ranges=tuple(read), total=total)


def send(state: State, vm: int, kind: Kind, x: Sequence[int], tx: bytes) -> Verdict:
    """FFA_MEM_SHARE, LEND and DONATE."""
    found = Reasons()
    if state.boxes[vm] is None:
        found.add(True, INVALID, "no mailbox")
        found.allow(True, Code.DENIED, Code.NO_MEMORY)
        return found.verdict()
    parsed = _parse(tx, x, found, composite=True)
    if parsed is None:
        return found.verdict()
    donates = kind is Kind.DONATE
    data, execute = parsed.permissions & 3, parsed.permissions >> 2 & 3
    found.add(parsed.sender != vm_id(vm), INVALID, "the sender is another")
    found.add(parsed.handle, INVALID, "a handle")
    # "Memory region attributes usage": in a donation, or a loan to one PE, the owner says none.
    attributes = (0, 0x2F) if kind is Kind.SHARE else (0,)
    found.add(parsed.attributes not in attributes, INVALID, "attributes")
    found.add(parsed.flags & ~(0 if kind is Kind.SHARE else 1), INVALID, "flags")
    found.add(
        parsed.receiver - 1 not in state.configs[vm].peers, INVALID, "the receiver is no peer"
    )
    found.add(data not in ((0,) if donates else (READ_ONLY, READ_WRITE)), INVALID, "data access")
    found.add(execute, INVALID, "instruction access")
    own = sum(s.owner == vm for s in state.shares.values())
    found.add(own >= MOST_SHARES, Code.NO_MEMORY, "no record is free")
    if parsed.ranges is None:
        found.allow(True, Code.NO_MEMORY, Code.DENIED)
        return found.verdict()
    pages = _pages(state, vm, parsed, found)

    def then(answer: Answer) -> State:
        success(answer, f"MEM_{kind.name}", 0, None, None)
        handle = answer.x[2] | answer.x[3] << 32
        _check_handle(state, vm, handle, answer)
        entries = tuple((page, state.maps[vm][page]) for page in pages)
        share = Share(
            vm,
            parsed.receiver - 1,
            kind,
            entries,
            donates or data == READ_WRITE,
            parsed.tag,
            bool(parsed.flags & 1),
        )
        left = {**state.maps[vm]}
        frame = Frame(vm, FrameState.SHARED if kind is Kind.SHARE else FrameState.LENT)
        values = {**state.values}
        for page, entry in entries:
            if kind is not Kind.SHARE:
                del left[page]
            if share.zero:
                values[entry.frame] = None  # at once, or when it is retrieved
        after = state.with_map(vm, left).changed(values=values)
        after = after.with_frames({entry.frame: frame for _, entry in entries})
        return after.with_share(handle, share)

    return found.verdict(then)


def _pages(state: State, vm: int, parsed: _Parsed, found: Reasons) -> list[int]:
    assert parsed.ranges is not None
    count = sum(pages for _, pages in parsed.ranges)
    if count > MOST_PAGES or len(parsed.ranges) > MOST_PAGES or parsed.total > MOST_PAGES:
        found.add(count > MOST_PAGES, Code.NO_MEMORY, "more pages than a transaction has")
        found.allow(True, Code.NO_MEMORY, Code.DENIED, INVALID)
        if count > MOST_PAGES:
            return []
    pages = [(address >> 12) + n for address, pages in parsed.ranges for n in range(pages)]
    found.add(len(set(pages)) != len(pages), INVALID, "a page twice")
    for page in pages:
        entry = state.maps[vm].get(page)
        frame = None if entry is None else state.frames[entry.frame]
        good = frame is not None and frame.owner == vm and frame.state is FrameState.OWNED
        found.add(not good, Code.DENIED, f"page {page:#x} is {frame or 'no memory of the VM'}")
    return pages


def _check_handle(state: State, vm: int, handle: int, answer: Answer) -> None:
    if handle in state.finished:
        wrong(f"handle {handle:#x} was given before", answer)
    if handle in state.shares:
        wrong(f"handle {handle:#x} is in use", answer)
    if not handle >> 63 or handle >> 8 & 0xFF != vm_id(vm) or handle & 0xFF >= MOST_SHARES:
        wrong(f"handle {handle:#x} is not as one is", answer)


def retrieve(state: State, vm: int, x: Sequence[int], tx: bytes) -> Verdict:
    found = Reasons()
    box = state.boxes[vm]
    if box is None:
        found.add(True, INVALID, "no mailbox")
        found.allow(True, Code.DENIED, Code.BUSY)
        return found.verdict()
    found.add(box.full, Code.BUSY, "the RX buffer is full")
    parsed = _parse(tx, x, found, composite=False)
    if parsed is None:
        return found.verdict()
    data, execute = parsed.permissions & 3, parsed.permissions >> 2 & 3
    share = state.shares.get(parsed.handle)
    found.allow(parsed.attributes not in (0, 0x2F), INVALID)
    found.add(parsed.receiver != vm_id(vm), INVALID, "the receiver is another")
    found.add(parsed.flags & ~0x19, INVALID, "flags")
    found.add(data == 3 or execute == 3, INVALID, "permissions")
    if share is None or share.receiver != vm:
        found.add(True, INVALID, "no such transaction")
        return found.verdict()
    asked = parsed.flags >> 3 & 3
    found.add(asked not in (0, share.kind.value), INVALID, "another type of transaction")
    found.add(parsed.flags & 1 and share.kind is Kind.SHARE, INVALID, "zeroing a share")
    found.add(parsed.sender != vm_id(share.owner), INVALID, "the sender is another")
    found.add(parsed.tag != share.tag, INVALID, "another tag")
    found.add(share.loan is not None, Code.DENIED, "retrieved already")
    found.add(data == READ_WRITE and not share.write, Code.DENIED, "more access than granted")
    found.add(execute == EXECUTABLE and share.kind is Kind.SHARE, Code.DENIED, "execution")
    found.allow(parsed.flags & 1 and not share.write, Code.DENIED, INVALID)
    place = state.place(vm, len(share.pages))
    found.add(place is None, Code.NO_MEMORY, "no room in the window")
    donates = share.kind is Kind.DONATE
    found.allow(donates and data == READ_ONLY, Code.DENIED, INVALID)
    rights = Rights(
        write=donates or (share.write and data != READ_ONLY), execute=execute == EXECUTABLE
    )

    def then(answer: Answer) -> State:
        length = answer.x[1]
        exact(answer, "RETRIEVE_REQ", Ffa.MEM_RETRIEVE_RESP, length, length)
        assert place is not None
        _check_response(answer, share, parsed, rights, place)
        pages = {**state.maps[vm]}
        frames: dict[int, Frame] = {}
        values = {**state.values}
        for n, (_, entry) in enumerate(share.pages):
            pages[place + n] = Page(entry.frame, rights)
            frames[entry.frame] = (
                Frame(vm) if donates else replace(state.frames[entry.frame], borrower=vm)
            )
            if share.zero or parsed.flags & 1:
                values[entry.frame] = 0
        values[pages[box.rx].frame] = None
        after = state.with_map(vm, pages).with_frames(frames).changed(values=values)
        after = after.with_box(vm, replace(box, full=True))
        if donates:
            return after.with_share(parsed.handle, None)
        return after.with_share(parsed.handle, replace(share, loan=Loan(place, rights)))

    return found.verdict(then)


def _check_response(
    answer: Answer, share: Share, asked: _Parsed, rights: Rights, place: int
) -> None:
    """The descriptor in RX."""
    length = answer.x[1]
    if not HEADER + ENDPOINT + COMPOSITE + RANGE <= length <= PAGE:
        wrong("the length of the response", answer)
    data = answer.rx[:length]
    sender, _, _, handle, tag, size, count, at, _ = struct.unpack_from("<HHIQQIII12s", data)
    if (sender, handle, tag) != (vm_id(share.owner), asked.handle, share.tag):
        wrong("sender, handle and tag of the response", answer)
    if (size, count) != (ENDPOINT, 1) or not HEADER <= at <= length - ENDPOINT:
        wrong("the response has not one receiver", answer)
    receiver, permissions, flags, offset, _ = struct.unpack_from("<HBBIQ", data, at)
    given = (READ_WRITE if rights.write else READ_ONLY) | (2 if rights.execute else 1) << 2
    if (receiver, permissions, flags) != (vm_id(share.receiver), given, 0):
        wrong(f"the response gives {permissions:#x} to {receiver}, must be {given:#x}", answer)
    if not at + ENDPOINT <= offset <= length - COMPOSITE - RANGE:
        wrong("the response has no composite", answer)
    total, ranges, _ = struct.unpack_from("<IIQ", data, offset)
    address, pages, _ = struct.unpack_from("<QII", data, offset + COMPOSITE)
    if (total, ranges, pages, address) != (len(share.pages), 1, len(share.pages), place << 12):
        wrong(f"the response says {pages} pages at {address:#x}, must be {place << 12:#x}", answer)


def relinquish(state: State, vm: int, x: Sequence[int], tx: bytes) -> Verdict:
    found = Reasons()
    if state.boxes[vm] is None:
        found.add(True, INVALID, "no mailbox")
        found.allow(True, Code.DENIED)
        return found.verdict()
    handle, flags, count, who = struct.unpack_from("<QIIH", tx)
    found.allow(any(x[1:8]), INVALID)
    found.add(count != 1, INVALID, "not one endpoint")
    found.add(who != vm_id(vm), INVALID, "the endpoint is another")
    found.add(flags & ~1, INVALID, "flags")
    share = state.shares.get(handle)
    if share is None:
        found.add(True, INVALID, "no such transaction")
        return found.verdict()
    loan = share.loan if share.receiver == vm else None
    if loan is None:
        found.add(True, Code.DENIED, "not retrieved by the caller")
        found.allow(share.receiver != vm, INVALID)
        found.allow(flags & 1, INVALID)
        return found.verdict()
    found.add(flags & 1 and (share.kind is Kind.SHARE or not loan.rights.write), INVALID, "zeroing")

    def then(answer: Answer) -> State:
        success(answer, "MEM_RELINQUISH")
        return end_loan(state, handle, zero=bool(flags & 1))

    return found.verdict(then)


def reclaim(state: State, vm: int, x: Sequence[int]) -> Verdict:
    found = Reasons()
    handle = x[1] & MASK32 | (x[2] & MASK32) << 32
    found.add(x[3] & MASK32 & ~1, INVALID, "flags")
    found.allow(any(x[4:8]) or any(v >> 32 for v in x[1:4]), INVALID)
    share = state.shares.get(handle)
    if share is None or share.owner != vm:
        found.add(True, INVALID, "not the caller's transaction")
        return found.verdict()
    found.add(share.loan is not None, Code.DENIED, "still retrieved")

    def then(answer: Answer) -> State:
        success(answer, "MEM_RECLAIM")
        values = {**state.values}
        if x[3] & 1:
            values.update({entry.frame: 0 for _, entry in share.pages})
        return end_share(state.changed(values=values), handle)

    return found.verdict(then)
