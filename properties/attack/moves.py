# SPDX-License-Identifier: Apache-2.0
"""What guests do: calls, accesses, ends and beginnings of lives, two at once. A move takes a
session and a `Pick`, which makes all choices."""

from collections.abc import Callable

from aether_edgecloud.properties.attack.abi import MASK32, PAGE, Ffa, Life, Vendor
from aether_edgecloud.properties.attack.caller import Pair, torn
from aether_edgecloud.properties.attack.calls import (
    KEPT_PAGES,
    ODD,
    Pick,
    actor,
    any_page,
    discovery,
    give_back,
    gives_kept,
    memory_call,
    message,
    notification,
    partition,
    retrieve,
    send,
)
from aether_edgecloud.properties.attack.memory_rules import vm_id
from aether_edgecloud.properties.attack.ownership import WINDOW, Doing
from aether_edgecloud.properties.attack.puppet_code import Piece
from aether_edgecloud.properties.attack.session import Session


def memory(s: Session, pick: Pick) -> None:
    who = partition(s, pick)
    if who is not None:
        registers, tx = memory_call(s, who[0], pick)
        s.call(who, *registers, tx=tx)


def talk(s: Session, pick: Pick) -> None:
    who = partition(s, pick)
    call = None if who is None else message(s, who, pick)
    if who is not None and call is not None:
        s.call(who, *call[0])


def notify(s: Session, pick: Pick) -> None:
    who = partition(s, pick)
    if who is not None:
        s.call(who, *notification(s, who[0], pick)[0])


def discover(s: Session, pick: Pick) -> None:
    who = partition(s, pick)
    if who is not None:
        s.call(who, *discovery(s, who[0], pick)[0])


def touch(s: Session, pick: Pick) -> None:
    """A guest's access, or several."""
    who = actor(s, s.actors, pick)
    if who is None:
        return
    vm = who[0]
    match pick.of(["scribble", "scribble", "access", "sweep", "by VA"]):
        case "scribble":
            base = s.state.configs[vm].base
            pages = [p for p in s.state.maps[vm] if not base <= p < base + KEPT_PAGES]
            others = [p for p in pages if p in WINDOW] or pages
            if pages:
                s.scribble(vm, pick.of(pick.of([others, pages])), pick.number(1, 9999))
        case "access":
            piece = pick.of([Piece.LOAD, Piece.STORE, Piece.EXECUTE])
            s.access(who, piece, any_page(s, vm, pick) << 12 & (1 << 40) - 1)
        case "by VA":
            piece = pick.of([Piece.LOAD, Piece.STORE, Piece.EXECUTE])
            s.access_by_va(who, piece, any_page(s, vm, pick) << 12)
        case _:
            start = pick.of([WINDOW.start, s.state.configs[vm].base, WINDOW.start + 64])
            s.sweep(who, start, 64, write=pick.of([False, True]))


def interrupts(s: Session, pick: Pick) -> None:
    """A guest has notifications tell it, is told, whatever it waits for, and takes what it is
    told."""
    vm = pick.of([n for n, config in enumerate(s.state.configs) if config.partition])
    notes = s.state.notes[vm]
    mine = [w for w in s.actors if w[0] == vm]
    if vm not in s.state.armed:
        if (vm, 0) in mine:
            s.arm(vm)
        return
    if notes.rings and (vm, 0) in mine and not pick.once_in(3):
        s.take_interrupt(vm)
        return
    free = [(bit, sender) for bit, sender in notes.bound.items() if not notes.pending >> bit & 1]
    senders = [w for w in s.actors if any(sender == w[0] for _, sender in free)]
    who = actor(s, senders or mine, pick)
    if who is None:
        return
    if senders:
        bits = 1 << pick.of([bit for bit, sender in free if sender == who[0]])
        parties = vm_id(who[0]) << 16 | vm_id(vm)
        s.call(who, Ffa.NOTIFICATION_SET, parties, 0, bits & MASK32, bits >> 32)
    elif notes.pending:
        s.call(who, Ffa.NOTIFICATION_GET, vm_id(vm), 2)
    else:
        parties = vm_id(pick.of(sorted(s.state.configs[vm].peers))) << 16 | vm_id(vm)
        s.call(who, Ffa.NOTIFICATION_BIND, parties, 0, 1 << pick.number(0, 31), 0)


def live(s: Session, pick: Pick) -> None:
    """A VM's own end, and its vCPUs'."""
    who = actor(s, s.actors, pick)
    if who is None or who[0] == len(s.state.configs) - 1:
        return  # the manager stays
    off = [w[1] for w, v in s.state.vcpus.items() if w[0] == who[0] and v.doing is Doing.OFF]
    if off and not pick.once_in(4):
        s.cpu_on(who, pick.of(off))
        return
    match pick.of(["CPU_ON", "CPU_OFF", "reset", "crash", "off"]):
        case "CPU_ON":
            s.cpu_on(who, pick.number(0, s.state.configs[who[0]].vcpus - 1))
        case "CPU_OFF":
            if s.state.vcpus[who].doing is Doing.RESTS:
                s.cpu_off(who)
        case "reset":
            s.reset(who)
        case "crash":
            s.crash(who)
        case _:
            s.off(who)


def manage(s: Session, pick: Pick) -> None:
    """A manager's calls; and those of a VM that manages nobody."""
    managers = [w for w in s.actors if s.state.configs[w[0]].manages]
    if pick.once_in(8):
        managers = s.actors
    if not managers:
        return
    who = pick.of(managers)
    target = pick.of([1, 2, 1, 2, 1, 2, 3, 0, 4, 255, (1 << 64) - 1])
    fitting = {
        Life.RUNNING: [Vendor.VM_INFO, Vendor.VM_PAUSE, Vendor.VM_STOP],
        Life.PAUSED: [Vendor.VM_RESUME, Vendor.VM_RESUME, Vendor.VM_STOP],
        Life.READY: [Vendor.VM_START, Vendor.VM_START, Vendor.VM_DESTROY, Vendor.VM_STOP],
        Life.DOWN: [Vendor.VM_CREATE, Vendor.VM_CREATE, Vendor.VM_DESTROY],
        Life.ABSENT: [Vendor.VM_CREATE],
    }
    stopped = [n + 1 for n, life in enumerate(s.state.lives) if life is not Life.RUNNING]
    if stopped and not pick.once_in(3):
        target = pick.of(stopped)
    every: list[Vendor] = [v for v in Vendor if v is not Vendor.VERSION]
    function = pick.of(every)
    if 0 < target <= len(s.state.lives) and not pick.once_in(5):
        function = pick.of(fitting[s.state.lives[target - 1]])
    s.call(who, function, target, pick.of(ODD) if pick.once_in(20) else 0)


def recover(s: Session, pick: Pick) -> None:
    """The manager brings a VM back, and that VM its other vCPU."""
    manager = next((w for w in s.actors if s.state.configs[w[0]].manages), None)
    stopped = [n for n, life in enumerate(s.state.lives) if life is not Life.RUNNING]
    if manager is not None and stopped:
        vm = pick.of(stopped)
        steps = {
            Life.PAUSED: [Vendor.VM_RESUME],
            Life.DOWN: [Vendor.VM_CREATE, Vendor.VM_START],
            Life.ABSENT: [Vendor.VM_CREATE, Vendor.VM_START],
            Life.READY: [Vendor.VM_START],
        }
        for function in steps[s.state.lives[vm]]:
            s.call(manager, function, vm + 1)
    for who, vcpu in list(s.state.vcpus.items()):
        if vcpu.doing is Doing.OFF and s.able((who[0], 0)):
            s.cpu_on((who[0], 0), who[1])


def race(s: Session, pick: Pick) -> None:
    """Two vCPUs on different pCPUs at once."""
    pairs = [(a, b) for a in s.actors for b in s.actors if s.can_race(a, b)]
    if not pairs:
        return
    calls: dict[Pair, tuple[int, ...]] = {}
    for who in pick.of(pairs):
        if s.state.configs[who[0]].partition:
            registers, tx = pick.of([memory_call, memory_call, notification])(s, who[0], pick)
            same = any(other[0] == who[0] for other in calls)
            if tx is not None and not same:
                s.note(f"{s.name(who)}: TX={tx.hex(' ', 8)}")
                s.put_tx(who[0], tx)
        else:
            registers = (Vendor.VM_INFO, 1)
        calls[who] = registers
    quantum = pick.of([1000, 1, 10, 30, 100, 300])
    s.race(calls, quantum, pick.number(0, 99), pick.of([0, 30, 100, 300, 600, 900, 1200]))


def flip(s: Session, pick: Pick) -> None:
    """TX is changed while it is read."""
    pairs = [(a, b) for a in s.actors for b in s.actors if s.can_race(a, b) and a[0] == b[0]]
    pairs = [(a, b) for a, b in pairs if s.state.boxes[a[0]] is not None]
    if not pairs:
        return
    who, other = pick.of(pairs)
    registers, tx = pick.of([send, retrieve, give_back])(s, who[0], pick)
    if tx is None or len(tx) < 16:
        return
    offset = pick.of(list(range(0, len(tx) // 8 * 8, 8)))
    word = int.from_bytes(tx[offset : offset + 8], "little")
    second = word ^ 1 << pick.number(0, 63) if pick.once_in(2) else pick.of([0, word + PAGE, ~word])
    second &= (1 << 64) - 1
    if any(gives_kept(s, who[0], content) for content in torn(tx, offset, second)):
        return
    s.flip(
        who,
        other,
        registers,
        tx,
        offset,
        second,
        pick.of([1, 10, 40, 200]),
        pick.number(0, 99),
    )


Mix = tuple[tuple[Callable[[Session, Pick], None], int], ...]
MOVES: Mix = (
    (memory, 12),
    (talk, 3),
    (notify, 3),
    (interrupts, 2),
    (discover, 2),
    (touch, 4),
    (live, 2),
    (manage, 2),
    (recover, 2),
    (race, 2),
    (flip, 1),
)
"""With how often each is made, in a campaign."""
