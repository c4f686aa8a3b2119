# SPDX-License-Identifier: Apache-2.0
"""Who called whom, by frame pointers (X29), at EL2 and in a guest."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aether_edgecloud.emulator.cpu import registers as reg
from aether_edgecloud.emulator.cpu.cpu import Cpu
from aether_edgecloud.emulator.replay.program import SourceLine
from aether_edgecloud.emulator.replay.steps import Caller
from aether_edgecloud.emulator.replay.views.memory import Space, Translator, translator

if TYPE_CHECKING:
    from aether_edgecloud.emulator.replay.replay import Replay

_PAIR_MASK = 0xFFC0_7FFF
_LDP_FP_LR = (0xA8C0_7BFD, 0xA940_7BFD)  # LDP X29, X30, [SP], #n and [SP, #n]
_STP_FP_LR = (0xA980_7BFD, 0xA900_7BFD)  # STP X29, X30, [SP, #-n]! and [SP, #n]
_SET_FP_MASK, _SET_FP = 0xFFC0_03FF, 0x9100_03FD  # MOV X29, SP and ADD X29, SP, #n
_RET = 0xD65F_03C0
_B_MASK, _B = 0xFC00_0000, 0x1400_0000
_MOST_FRAME = 1 << 20
_PROLOGUE = 64
"""Instructions within which a function has saved its frame pointer."""
_SPSR_EL = 0b1100


@dataclass(frozen=True, slots=True)
class Frame:
    """A function that is active: `pc` in it, a VA at `el`; `fp` is its frame pointer. `kind` says
    how it was found: `pc`, `link` (X30), `frame` (saved beside a frame pointer), or `exception` for
    the one an exception interrupted."""

    number: int
    el: int
    pc: int
    fp: int
    kind: str
    symbol: str | None = None
    source: SourceLine | None = None


@dataclass(frozen=True, slots=True)
class StackWord:
    """64 bits on the stack, None where there is no RAM; `symbol` if they are an address of code."""

    va: int
    value: int | None
    symbol: str | None = None


def backtrace(replay: "Replay", *, cpu: int | None = None, limit: int = 64) -> tuple[Frame, ...]:
    """The innermost first; from EL2 on to what was interrupted below it."""
    number = replay.cpu if cpu is None else cpu
    core = replay.machine.cpus[number]
    memory = translator(replay, number)
    x = core.registers()
    found = _chain(replay, memory, core.current_el, core.pc, x, limit)
    if core.current_el == 2:
        spsr = core.engine.read(reg.SPSR_EL2)
        elr = core.engine.read(reg.ELR[2])
        el = spsr >> 2 & 3
        if el < 2 and spsr & _SPSR_EL == el << 2 and elr:
            found.append(Frame(0, el, elr, 0, "exception"))
    return tuple(
        Frame(n, f.el, f.pc, f.fp, f.kind, *_names(replay, f)) for n, f in enumerate(found[:limit])
    )


def _names(replay: "Replay", frame: Frame) -> tuple[str | None, SourceLine | None]:
    if frame.el != 2:
        return None, None
    # A return address may be that of the next line, or of the next function.
    va = frame.pc if frame.kind == "pc" else frame.pc - 4
    name = replay.symbols.at(va)
    if name is not None and frame.kind != "pc":
        base, _, offset = name.partition("+")
        name = f"{base}+{int(offset or '0', 16) + 4:#x}"
    return name, replay.source_line(va)


def _chain(
    replay: "Replay", memory: Translator, el: int, pc: int, x: list[int], limit: int
) -> list[Frame]:
    space = Space.VA_EL2 if el == 2 else Space.VA_GUEST
    fp, lr, sp = x[29:32]
    frames = [Frame(0, el, pc, fp, "pc")]
    if not sp <= fp < sp + _MOST_FRAME:
        return frames  # X29 is still that of whoever was interrupted
    if lr and not has_frame(replay, memory, pc, el):
        frames.append(Frame(0, el, lr, fp, "link"))
    seen: set[int] = set()
    while fp and fp % 8 == 0 and fp not in seen and len(frames) < limit:
        seen.add(fp)
        above, back = memory.word(fp, space), memory.word(fp + 8, space)
        if above is None or not back or back % 4:
            break
        frames.append(Frame(0, el, back, above, "frame"))
        if above and above <= fp:
            break
        fp = above
    return frames


def has_frame(replay: "Replay", memory: Translator, pc: int, el: int) -> bool:
    """Whether X29 points to the frame of the function at `pc`: what comes last before `pc`, from
    its start on as far as that is known, is that X29 is set, and not that it is restored."""
    space = Space.VA_EL2 if el == 2 else Space.VA_GUEST
    start = max(pc - 4 * _PROLOGUE, 0)
    names = replay.symbols.at(pc) if el == 2 else None
    if names is not None:
        start = pc - int(names.partition("+")[2] or "0", 16)
        start = max(start, pc - (1 << 16))
    is_past = False
    for va in range(pc - 4, start - 4, -4):
        data = memory.read(va, 4, space)
        if data is None:
            return False
        word = int.from_bytes(data, "little")
        if word & _SET_FP_MASK == _SET_FP:
            return True
        if word & _PAIR_MASK in _STP_FP_LR or (word & _PAIR_MASK in _LDP_FP_LR and not is_past):
            return False
        if names is None and word == _RET:
            return False
        # What ends in a jump is another way through the function.
        is_past |= word == _RET or word & _B_MASK == _B
    return False


def callers(replay: "Replay", cpu: int) -> tuple[Caller, ...]:
    """Where the function that a CPU is in returns to, for StepOut."""
    frames = backtrace(replay, cpu=cpu, limit=3)
    if len(frames) < 2:
        return ()
    nearest = frames[1]
    if nearest.kind == "exception":
        return (Caller(nearest.pc, el=nearest.el),)
    return (Caller(nearest.pc, 1 if nearest.kind == "frame" else 0),)


def stack(replay: "Replay", words: int = 32, *, cpu: int | None = None) -> tuple[StackWord, ...]:
    """What SP points to."""
    number = replay.cpu if cpu is None else cpu
    core: Cpu = replay.machine.cpus[number]
    memory = translator(replay, number)
    sp = core.registers()[31]
    found = []
    for va in range(sp, sp + 8 * words, 8):
        value = memory.word(va)
        symbol = None
        if value is not None and core.current_el == 2 and replay.program.has(value):
            symbol = replay.symbols.at(value)
        found.append(StackWord(va, value, symbol))
    return tuple(found)
