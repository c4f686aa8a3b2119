# SPDX-License-Identifier: Apache-2.0
"""An EL2 binary that knows nothing of bundles, with what it wants loaded, said as one says it to
QEMU: `-kernel`, `-append`, `-initrd`, `-dtb`, `-device guest-loader`, `-m`, `-smp`."""

from dataclasses import dataclass
from pathlib import Path

from aether_edgecloud.emulator import boards
from aether_edgecloud.emulator.adversary.plan import Plan
from aether_edgecloud.emulator.boards.board import Board
from aether_edgecloud.emulator.bundle.size import show
from aether_edgecloud.emulator.bundle.span import Span, check_apart
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch import foreign_dtb, kernel_file
from aether_edgecloud.emulator.launch.guest_loader import Module, ModuleKind
from aether_edgecloud.emulator.launch.kernel_file import Kernel
from aether_edgecloud.emulator.launch.target import read_file
from aether_edgecloud.emulator.machine.image import BootImage
from aether_edgecloud.emulator.machine.payload import Payload, Piece
from aether_edgecloud.emulator.report.request import MmuChoice, RunRequest

__all__ = ["DEFAULT_MEMORY", "Foreign", "Module", "ModuleKind", "QemuStyle", "load"]

_MIB = 1 << 20
DEFAULT_MEMORY = 128 * _MIB
"""As QEMU's."""
_INITRD_AT_MOST = 128 * _MIB
_PAGE = 4 << 10
_DTB_ALIGNMENT = 2 * _MIB


@dataclass(frozen=True, slots=True)
class QemuStyle:
    """The options. `memory` is the board's RAM in bytes. `symbols` is an ELF file that has them,
    for a `kernel` that is none itself."""

    kernel: Path
    append: str | None = None
    initrd: Path | None = None
    dtb: Path | None = None
    modules: tuple[Module, ...] = ()
    memory: int = DEFAULT_MEMORY
    cpus: int = 1
    board: str = "virt"
    symbols: Path | None = None


@dataclass(frozen=True, slots=True)
class Foreign:
    """A binary and what is loaded with it, found to be sound together: arguments of a `Machine`.
    `elf` has its symbols; None if nobody has."""

    name: str
    board: Board
    image: BootImage
    payload: Payload
    elf: Path | None

    def request(
        self,
        *,
        mmu: str = "model",
        max_instructions: int | None = None,
        quantum: int | None = None,
        seed: int = 0,
        adversary: Plan | None = None,
    ) -> RunRequest:
        """A run of it, for `build_machine` and all else that takes requests."""
        return RunRequest(
            target=self.name,
            binary=self.image.data,
            binary_sha256=self.image.sha256,
            binary_memory=self.image.memory_size,
            bundle=b"",
            bundle_sha256=self.payload.sha256,
            vms=(),
            board=self.board.name,
            ram_size=self.board.ram_size,
            cpus=self.board.cpus,
            mmu=MmuChoice(mmu),
            max_instructions=max_instructions,
            quantum=quantum,
            seed=seed,
            adversary=adversary,
            own_binary=False,
            elf=self.elf,
            payload=self.payload,
        )


def load(style: QemuStyle) -> Foreign:
    """Reads the files, and places them as QEMU does.

    UserError for a file that cannot be read or is no AArch64 binary, for a board that does not
    exist, and for what does not fit into RAM or lies over something else.
    """
    board = boards.by_name(style.board, ram_size=style.memory, cpus=style.cpus)
    contents = read_file(style.kernel)
    kernel = kernel_file.parse(contents, board.ram_base, str(style.kernel))
    modules = tuple((module, _contents(module.file)) for module in style.modules)
    initrd = None
    if style.initrd is not None:
        if not kernel.is_linux:
            fix = "give the binary as an Image or flat, or load a module with --guest-loader"
            raise UserError("no loader tells an ELF file of it", where="--initrd", fix=fix)
        initrd = Piece("the initrd", _initrd_address(board, kernel), _contents(style.initrd))
    dtb = _dtb(style, board, kernel, initrd, modules)
    pieces = [dtb] if initrd is None else [dtb, initrd]
    pieces += [Piece(f"module {m.file.name}", m.address, data) for m, data in modules]
    _check_places(board, kernel, pieces)
    payload = Payload(
        image=kernel.address,
        entry=kernel.entry,
        x0=dtb.address if kernel.is_linux else 0,
        pieces=tuple(pieces),
        has_initrd=initrd is not None,
    )
    if style.symbols is not None and not read_file(style.symbols).startswith(b"\x7fELF"):
        fix = "give the ELF file that the binary was made of"
        raise UserError("is no ELF file", where=str(style.symbols), fix=fix)
    elf = style.symbols if kernel.is_linux or style.symbols is not None else style.kernel
    image = BootImage(kernel.data, kernel.memory_size)
    return Foreign(str(style.kernel), board, image, payload, elf)


def _contents(file: Path) -> bytes:
    data = read_file(file)
    if not data:
        raise UserError("is empty", where=str(file), fix="name a file with something in it")
    return data


def _initrd_address(board: Board, kernel: Kernel) -> int:
    """Half-way into RAM, at most 128 MiB in, or behind the kernel."""
    middle = board.ram_base + min(board.ram_size // 2, _INITRD_AT_MOST)
    return _align_up(max(middle, kernel.span.stop), _PAGE)


def _dtb(
    style: QemuStyle,
    board: Board,
    kernel: Kernel,
    initrd: Piece | None,
    modules: tuple[tuple[Module, bytes], ...],
) -> Piece:
    """Behind the initrd, or where that would be; for an ELF file at the start of RAM, if there is
    room, where it has to look for it."""
    told = tuple((module, len(data)) for module, data in modules)
    span = None if initrd is None else initrd.span
    if style.dtb is None:
        data = foreign_dtb.made(board, span, style.append, told)
    else:
        own = read_file(style.dtb)
        data = foreign_dtb.patched(own, str(style.dtb), board, span, style.append, told)
    if kernel.is_linux:
        end = _initrd_address(board, kernel) if span is None else span.stop
        return Piece("the DTB", _align_up(end, _DTB_ALIGNMENT), data)
    start, taken = board.ram_base, kernel.span
    is_free = taken.stop <= start or taken.start >= start + len(data)
    return Piece("the DTB", start, data if is_free else b"")


def _check_places(board: Board, kernel: Kernel, pieces: list[Piece]) -> None:
    """Each in RAM, and apart."""
    where = f"board {board.name}"
    spans = [Span("the kernel", kernel.address, kernel.memory_size)]
    dtb, *others = pieces
    spans += [Span(piece.what, piece.address, len(piece.data)) for piece in (*others, dtb)]
    ram = Span("RAM", board.ram_base, board.ram_size)
    for span in spans:
        if not ram.holds(span):
            raise UserError(
                f"{span} is not within the {show(ram.size)} of {ram}",
                where=where,
                fix="give it more with --memory, or another address",
            )
    if board.spin_table is not None:
        pages = board.spin_table.pages
        spans.append(Span("the spin table", pages.start, len(pages)))
    check_apart(spans, where)


def _align_up(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment
