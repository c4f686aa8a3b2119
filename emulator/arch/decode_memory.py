# SPDX-License-Identifier: Apache-2.0
"""A64 loads and stores: decode, effective address, and the instruction syndrome of a stage 2
data abort (Arm ARM, "Loads and Stores" encoding group; ESR_ELx ISS for a Data Abort).

FEAT_LSE and FEAT_LRCPC instructions are decoded although Cortex-A72 has neither: whether an
instruction is UNDEFINED is the CPU's business. Pointer authentication, memory tagging, 64-byte
and memory copy instructions are not decoded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from aether_edgecloud.emulator.arch.esr import ISS_AR, ISS_ISV, ISS_SF, ISS_SSE

_MASK64 = (1 << 64) - 1
SP = 31


class MemoryKind(Enum):
    """What an instruction does to memory."""

    LOAD = "load"
    STORE = "store"
    ATOMIC = "atomic"
    PREFETCH = "prefetch"


class IndexMode(Enum):
    """How the base register is used: PRE and POST write the new address back."""

    OFFSET = "offset"
    PRE = "pre-index"
    POST = "post-index"


class Extend(Enum):
    """Extension of an offset register; the values are the `option` field."""

    UXTW = 2
    LSL = 3
    SXTW = 6
    SXTX = 7


@dataclass(frozen=True, slots=True)
class LoadStore:
    """A load, store, atomic or prefetch.

    rn is the base (31 = SP; None for a literal, which is relative to the PC), rt the first
    register transferred (31 = XZR for general-purpose registers), rt2 the second of a pair, rs
    the status, compare or operand register of exclusives and atomics. size_bytes is the size of
    one element, elements how many there are. sf: a general-purpose Rt is 64 bits wide.
    """

    kind: MemoryKind
    rt: int
    size_bytes: int
    rn: int | None
    rt2: int | None = None
    rs: int | None = None
    elements: int = 1
    sign_extend: bool = False
    sf: bool = False
    offset: int = 0
    rm: int | None = None
    extend: Extend = Extend.LSL
    shift: int = 0
    index: IndexMode = IndexMode.OFFSET
    acquire_release: bool = False
    exclusive: bool = False
    simd: bool = False
    unprivileged: bool = False

    @property
    def access_bytes(self) -> int:
        """Bytes of memory accessed from the effective address on."""
        return self.size_bytes * self.elements

    @property
    def is_store(self) -> bool:
        """Writes memory; an atomic reads it first."""
        return self.kind in (MemoryKind.STORE, MemoryKind.ATOMIC)

    @property
    def is_load(self) -> bool:
        """Reads memory."""
        return self.kind in (MemoryKind.LOAD, MemoryKind.ATOMIC)

    @property
    def pair(self) -> bool:
        """Transfers Rt and Rt2."""
        return self.rt2 is not None

    @property
    def literal(self) -> bool:
        """Addressed relative to the PC."""
        return self.rn is None

    @property
    def writeback(self) -> bool:
        """Changes the base register."""
        return self.index is not IndexMode.OFFSET


def _sign_extend(value: int, bits: int) -> int:
    sign = 1 << (bits - 1)
    return (value ^ sign) - sign


def _offset(ls: LoadStore, registers: Sequence[int]) -> int:
    if ls.rm is None:
        return ls.offset
    value = 0 if ls.rm == 31 else registers[ls.rm]
    if ls.extend is Extend.UXTW:
        value &= 0xFFFF_FFFF
    elif ls.extend is Extend.SXTW:
        value = _sign_extend(value & 0xFFFF_FFFF, 32)
    return value << ls.shift


def effective_address(ls: LoadStore, registers: Sequence[int], pc: int) -> int:
    """Virtual address of the first byte accessed. registers[0..30] are X0..X30, [31] the SP."""
    base = pc if ls.rn is None else registers[ls.rn]
    if ls.index is IndexMode.POST:
        return base & _MASK64
    return (base + _offset(ls, registers)) & _MASK64


def writeback_value(ls: LoadStore, registers: Sequence[int]) -> int | None:
    """New value of the base register, None without writeback."""
    if ls.rn is None or not ls.writeback:
        return None
    return (registers[ls.rn] + _offset(ls, registers)) & _MASK64


def iss_for_data_abort(ls: LoadStore) -> int:
    """ISV, SAS, SSE, SRT, SF and AR of a stage 2 data abort on `ls`, zero where ISV is 0.

    ISV is 1 only for loads and stores of a single general-purpose register, acquire and release
    and PC-relative ones included, that neither write back nor are exclusive or atomic.
    For an abort on a stage 1 walk ISV is 0: iss_data_abort(s1ptw=True) sees to that.
    """
    if (
        ls.kind not in (MemoryKind.LOAD, MemoryKind.STORE)
        or ls.simd
        or ls.exclusive
        or ls.writeback
        or ls.pair
    ):
        return 0
    return (
        ISS_ISV
        | (ls.size_bytes.bit_length() - 1) << 22
        | (ISS_SSE if ls.sign_extend else 0)
        | ls.rt << 16
        | (ISS_SF if ls.sf else 0)
        | (ISS_AR if ls.acquire_release else 0)
    )


def decode_memory(word: int) -> LoadStore | None:
    """Decode an instruction of the load/store group (bit 27 = 1, bit 25 = 0); None if unallocated
    or not one of those handled here."""
    group = (word >> 24) & 0x3F
    if group == 0b001000:
        return _exclusive_or_ordered(word)
    if group in (0b001100, 0b001101):
        return _structure(word)
    match group & 0b111011:  # without V
        case 0b011000:
            return _literal(word)
        case 0b011001:
            return _rcpc_unscaled(word)
        case 0b101000 | 0b101001:
            return _pair(word)
        case 0b111000:
            return _register(word)
        case 0b111001:
            return _unsigned_offset(word)
    return None


def _exclusive_or_ordered(word: int) -> LoadStore | None:
    size = word >> 30
    o2, load, o1 = (word >> 23) & 1, (word >> 22) & 1, (word >> 21) & 1
    rs, o0, rt2 = (word >> 16) & 0x1F, (word >> 15) & 1, (word >> 10) & 0x1F
    rn, rt = (word >> 5) & 0x1F, word & 0x1F
    kind = MemoryKind.LOAD if load else MemoryKind.STORE
    if o2 and o1:  # CAS, CASA, CASL, CASAL
        if rt2 != 31:
            return None
        return LoadStore(
            MemoryKind.ATOMIC,
            rt,
            1 << size,
            rn,
            rs=rs,
            sf=size == 3,
            acquire_release=bool(load or o0),
        )
    if o2:  # LDAR, STLR, and with o0 = 0 the limited-order LDLAR, STLLR
        return LoadStore(kind, rt, 1 << size, rn, sf=size == 3, acquire_release=bool(o0))
    if o1 and size < 2:  # CASP
        if rt2 != 31 or rs & 1 or rt & 1:
            return None
        return LoadStore(
            MemoryKind.ATOMIC,
            rt,
            4 << (size & 1),
            rn,
            rt2=rt + 1,
            rs=rs,
            elements=2,
            sf=bool(size & 1),
            acquire_release=bool(load or o0),
        )
    return LoadStore(
        kind,
        rt,
        1 << size,
        rn,
        rt2=rt2 if o1 else None,
        rs=None if load else rs,
        elements=2 if o1 else 1,
        sf=size == 3,
        acquire_release=bool(o0),
        exclusive=True,
    )


_STRUCTURE_REGISTERS = {
    0b0000: (4, 4),
    0b0010: (4, 1),
    0b0100: (3, 3),
    0b0110: (3, 1),
    0b0111: (1, 1),
    0b1000: (2, 2),
    0b1010: (2, 1),
}


def _structure(word: int) -> LoadStore | None:
    """LD1-LD4, ST1-ST4, LD1R-LD4R: multiple and single structures."""
    if word >> 31:
        return None
    q, single, post = (word >> 30) & 1, (word >> 24) & 1, (word >> 23) & 1
    kind = MemoryKind.LOAD if (word >> 22) & 1 else MemoryKind.STORE
    r, rm, size = (word >> 21) & 1, (word >> 16) & 0x1F, (word >> 10) & 3
    if not post and rm:
        return None
    if single:
        scale, s = (word >> 14) & 3, (word >> 12) & 1
        elements = ((word >> 13) & 1) * 2 + r + 1
        if scale == 3:
            if kind is MemoryKind.STORE or s:
                return None
            scale = size
        elif scale == 2:
            if size & 2 or (size & 1 and s):
                return None
            scale += size & 1
        elif scale == 1 and size & 1:
            return None
        size_bytes = 1 << scale
    else:
        registers, interleave = _STRUCTURE_REGISTERS.get((word >> 12) & 0xF, (0, 0))
        if r or not registers or (size == 3 and not q and interleave != 1):
            return None
        size_bytes = 1 << size
        elements = registers * (8 << q) // size_bytes
    return LoadStore(
        kind,
        word & 0x1F,
        size_bytes,
        (word >> 5) & 0x1F,
        elements=elements,
        offset=size_bytes * elements if post and rm == 31 else 0,
        rm=rm if post and rm != 31 else None,
        index=IndexMode.POST if post else IndexMode.OFFSET,
        simd=True,
    )


def _literal(word: int) -> LoadStore | None:
    opc, simd = word >> 30, bool((word >> 26) & 1)
    if simd and opc == 3:
        return None
    prefetch = opc == 3
    return LoadStore(
        MemoryKind.PREFETCH if prefetch else MemoryKind.LOAD,
        word & 0x1F,
        4 << opc if simd else (4, 8, 4, 8)[opc],
        None,
        sign_extend=not simd and opc == 2,
        sf=not simd and opc in (1, 2),
        offset=_sign_extend((word >> 5) & 0x7FFFF, 19) * 4,
        simd=simd,
    )


def _pair(word: int) -> LoadStore | None:
    """LDP, STP, LDPSW, LDNP, STNP, of general-purpose or SIMD registers."""
    opc, simd = word >> 30, bool((word >> 26) & 1)
    mode, load = (word >> 23) & 3, (word >> 22) & 1
    if opc == 3 or (not simd and opc == 1 and (not load or mode == 0)):
        return None  # opc 1 with L = 0 is STGP
    size_bytes = 4 << opc if simd else (4, 4, 8)[opc]
    return LoadStore(
        MemoryKind.LOAD if load else MemoryKind.STORE,
        word & 0x1F,
        size_bytes,
        (word >> 5) & 0x1F,
        rt2=(word >> 10) & 0x1F,
        elements=2,
        sign_extend=not simd and opc == 1,
        sf=not simd and opc != 0,
        offset=_sign_extend((word >> 15) & 0x7F, 7) * size_bytes,
        index=(IndexMode.OFFSET, IndexMode.POST, IndexMode.OFFSET, IndexMode.PRE)[mode],
        simd=simd,
    )


def _transfer(word: int) -> tuple[MemoryKind, int, bool, bool, bool] | None:
    """(kind, size_bytes, sign_extend, sf, simd) from size, V and opc of a single-register form."""
    size, simd, opc = word >> 30, bool((word >> 26) & 1), (word >> 22) & 3
    if simd:
        if opc & 2 and size:
            return None
        kind = MemoryKind.LOAD if opc & 1 else MemoryKind.STORE
        return kind, 16 if opc & 2 else 1 << size, False, False, True
    if opc < 2:
        return (MemoryKind.STORE, MemoryKind.LOAD)[opc], 1 << size, False, size == 3, False
    if size == 3:
        return None if opc == 3 else (MemoryKind.PREFETCH, 8, False, False, False)
    if size == 2 and opc == 3:
        return None
    return MemoryKind.LOAD, 1 << size, True, opc == 2, False


def _unsigned_offset(word: int) -> LoadStore | None:
    transfer = _transfer(word)
    if transfer is None:
        return None
    kind, size_bytes, sign_extend, sf, simd = transfer
    return LoadStore(
        kind,
        word & 0x1F,
        size_bytes,
        (word >> 5) & 0x1F,
        sign_extend=sign_extend,
        sf=sf,
        offset=((word >> 10) & 0xFFF) * size_bytes,
        simd=simd,
    )


def _register(word: int) -> LoadStore | None:
    """Unscaled, pre- and post-indexed, unprivileged, register offset; atomics."""
    form = (word >> 10) & 3
    if (word >> 21) & 1 and form != 2:
        return _atomic(word) if form == 0 else None
    transfer = _transfer(word)
    if transfer is None:
        return None
    kind, size_bytes, sign_extend, sf, simd = transfer
    rn, rt = (word >> 5) & 0x1F, word & 0x1F
    if (word >> 21) & 1:
        option = (word >> 13) & 7
        if not option & 2:
            return None
        return LoadStore(
            kind,
            rt,
            size_bytes,
            rn,
            sign_extend=sign_extend,
            sf=sf,
            rm=(word >> 16) & 0x1F,
            extend=Extend(option),
            shift=size_bytes.bit_length() - 1 if (word >> 12) & 1 else 0,
            simd=simd,
        )
    # Only the unscaled form prefetches, and SIMD registers have no unprivileged one.
    if (kind is MemoryKind.PREFETCH and form != 0) or (simd and form == 2):
        return None
    return LoadStore(
        kind,
        rt,
        size_bytes,
        rn,
        sign_extend=sign_extend,
        sf=sf,
        offset=_sign_extend((word >> 12) & 0x1FF, 9),
        index=(IndexMode.OFFSET, IndexMode.POST, IndexMode.OFFSET, IndexMode.PRE)[form],
        simd=simd,
        unprivileged=form == 2,
    )


def _atomic(word: int) -> LoadStore | None:
    """FEAT_LSE atomic memory operations, and LDAPR."""
    if (word >> 26) & 1:
        return None
    size, acquire, release = word >> 30, (word >> 23) & 1, (word >> 22) & 1
    rs, o3, opc = (word >> 16) & 0x1F, (word >> 15) & 1, (word >> 12) & 7
    rn, rt = (word >> 5) & 0x1F, word & 0x1F
    if o3 and opc == 4:
        if not acquire or release or rs != 31:
            return None
        return LoadStore(MemoryKind.LOAD, rt, 1 << size, rn, sf=size == 3, acquire_release=True)
    if o3 and opc:
        return None
    return LoadStore(
        MemoryKind.ATOMIC,
        rt,
        1 << size,
        rn,
        rs=rs,
        sf=size == 3,
        acquire_release=bool(acquire or release),
    )


def _rcpc_unscaled(word: int) -> LoadStore | None:
    """LDAPUR, STLUR and their sign-extending forms (FEAT_LRCPC2)."""
    if (word >> 26) & 1 or (word >> 21) & 1 or (word >> 10) & 3:
        return None
    transfer = _transfer(word)
    if transfer is None or transfer[0] is MemoryKind.PREFETCH:
        return None
    kind, size_bytes, sign_extend, sf, _ = transfer
    return LoadStore(
        kind,
        word & 0x1F,
        size_bytes,
        (word >> 5) & 0x1F,
        sign_extend=sign_extend,
        sf=sf,
        offset=_sign_extend((word >> 12) & 0x1FF, 9),
        acquire_release=True,
    )
