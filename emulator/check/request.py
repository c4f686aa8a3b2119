# SPDX-License-Identifier: Apache-2.0
"""What is to be checked, and how."""

from dataclasses import dataclass
from pathlib import Path

from aether_edgecloud.emulator.report.request import RunRequest


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """`binary` is what the user called it; `rules` are the ids of those to check; `recording` is
    the file to record the run to."""

    binary: str
    run: RunRequest
    rules: frozenset[str]
    by_difference: bool = False
    recording: Path | None = None
