# SPDX-License-Identifier: Apache-2.0
"""The board a bundle is to run on, as the rules for bundles need it."""

from aether_edgecloud.emulator import boards
from aether_edgecloud.emulator.boards.board import Board
from aether_edgecloud.emulator.bundle import size
from aether_edgecloud.emulator.bundle.check import HostLayout, Span


def board(name: str, ram: str) -> Board:
    """The board `name` with RAM as written by a person. Raises UserError for either."""
    return sized_board(name, size.parse(ram, where="--ram"))


def sized_board(name: str, ram_size: int) -> Board:
    """The board `name` with `ram_size` bytes. Raises UserError for either."""
    return boards.by_name(name, ram_size=ram_size)


def layout(board: Board, binary_memory: int, bundle_size: int) -> HostLayout:
    """What RAM holds when the hypervisor is entered. UserError when it does not all fit.

    Sizes in bytes; `binary_memory` is the image with its BSS.
    """
    place = board.place(binary_memory, bundle_size)
    taken = [_span("the hypervisor's memory", place.image), _span("the board's DTB", place.dtb)]
    if place.initrd is not None:
        taken.append(_span("the bundle", place.initrd))
    return HostLayout(_span("RAM", board.ram), tuple(taken))


def _span(what: str, addresses: range) -> Span:
    return Span(what, addresses.start, len(addresses))
