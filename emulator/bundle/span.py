# SPDX-License-Identifier: Apache-2.0
"""Ranges of addresses, and what is asked of every one of them."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from aether_edgecloud.emulator.bundle import size
from aether_edgecloud.emulator.errors import UserError

PAGE = 4096
"""Granule of guest memory and device windows, bytes."""
IPA_LIMIT = 1 << 40
PA_LIMIT = 1 << 48


@dataclass(frozen=True, slots=True)
class Span:
    """`size` bytes from `start`, named for messages. One address space at a time."""

    what: str
    start: int
    size: int

    @property
    def end(self) -> int:
        """First address behind the span."""
        return self.start + self.size

    def overlaps(self, other: "Span") -> bool:
        """Whether the two share a byte."""
        return self.start < other.end and other.start < self.end

    def holds(self, other: "Span") -> bool:
        """Whether `other` lies wholly inside."""
        return self.start <= other.start and other.end <= self.end

    def __str__(self) -> str:
        return f"{self.what} {self.start:#x}..{self.end - 1:#x}"


def check_pages(span: Span, limit: int, space: str, place: str) -> None:
    """Refuses what is not whole pages below `limit`; `space` names the addresses."""
    if span.size == 0:
        raise UserError(
            f"{span.what} at {span.start:#x} has no size", where=place, fix="give it a size"
        )
    if span.start % PAGE or span.size % PAGE:
        raise UserError(
            f"{span.what} at {span.start:#x} of {size.show(span.size)} is not 4 KiB-aligned",
            where=place,
            fix="align address and size to 4 KiB",
        )
    if span.end > limit:
        raise UserError(
            f"{span} lies above the highest {space} {limit - 1:#x}",
            where=place,
            fix="use a lower address",
        )


def check_apart(spans: Sequence[Span], place: str) -> None:
    """Refuses two that share a byte."""
    ordered = sorted((s for s in spans if s.size), key=lambda s: (s.start, s.end, s.what))
    for low, high in itertools.pairwise(ordered):
        if low.overlaps(high):
            raise UserError(f"{high} overlaps {low}", where=place, fix="move one of them")
