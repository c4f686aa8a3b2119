# SPDX-License-Identifier: Apache-2.0
"""What a benchmark gives."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One number. `aim` is what the project wants of it, in the same unit; None: just told.
    `lower_is_better` says which side of the aim is the good one."""

    name: str
    value: float
    unit: str
    aim: float | None = None
    lower_is_better: bool = True


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A benchmark that could not be run here, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same measures of several subjects: in each row, for each subject, a value for each
    column, or None where it has none."""

    name: str
    columns: tuple[str, ...]
    subjects: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[int | None, ...] | None, ...]], ...]
