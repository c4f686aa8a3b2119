# SPDX-License-Identifier: Apache-2.0
"""`aether noninterference`: whether the other VMs notice what one VM keeps secret.

Exit status 0: none of those that were compared did, in any of the pairs of runs; 1: one did.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import click

from aether_edgecloud.emulator.adversary.plan import Plan
from aether_edgecloud.emulator.bundle import duration, size
from aether_edgecloud.emulator.cli import noninterference_view as view
from aether_edgecloud.emulator.cli import options, output
from aether_edgecloud.emulator.cli.run_record import record as recorder_of
from aether_edgecloud.emulator.elf import objects
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.launch import host
from aether_edgecloud.emulator.launch.choice import RunChoice
from aether_edgecloud.emulator.launch.host import BoardChoice
from aether_edgecloud.emulator.launch.target import GuestChoice
from aether_edgecloud.emulator.noninterference.compare import compare, record
from aether_edgecloud.emulator.noninterference.pair import Options, Subject
from aether_edgecloud.emulator.noninterference.result import Comparison
from aether_edgecloud.emulator.noninterference.secret import Secret, SecretKind
from aether_edgecloud.emulator.noninterference.subject import compared, subject_of
from aether_edgecloud.emulator.report.request import MmuChoice, RunRequest
from aether_edgecloud.emulator.signals import SignalWatch

_US = 1_000_000
_FIRST_WORD_S = 1.0


class _Progress:
    """How far it is, in a line of stderr that goes away; and the place where a signal ends it."""

    def __init__(self, ticks: int, seeds: int, signals: SignalWatch) -> None:
        self.seed = 0
        self._ticks, self._seeds, self._signals = ticks, seeds, signals
        self._next = time.monotonic() + _FIRST_WORD_S
        self._is_shown = False

    def at(self, counter: int) -> None:
        """The runs have got so far."""
        self._signals.check()
        now = time.monotonic()
        if sys.stderr.isatty() and now >= self._next:
            share = min(100, 100 * counter // self._ticks)
            words = f"pair {self.seed + 1} of {self._seeds}: {share} %"
            print(f"\r\x1b[K{words}", end="", file=sys.stderr, flush=True)
            self._next, self._is_shown = now + 0.2, True

    def clear(self) -> None:
        """Take the line away."""
        if self._is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@click.command("noninterference")
@click.argument("target_name", metavar="TARGET")
@click.option("--secret", "secret_name", required=True, metavar="VM",
              help="The VM that has a secret; its name.")  # fmt: skip
@click.option("--kind", "kinds", multiple=True,
              type=click.Choice([kind.value for kind in SecretKind]),
              help="Where the secret lies; may be repeated. Without it in memory and registers, "
              "and in input if the VM has a PL011.")  # fmt: skip
@click.option("--range", "ranges", multiple=True, metavar="IPA:SIZE",
              help="Only this memory of the VM holds it, or an object of an ELF file linked at its "
              "IPA: FILE:SYMBOL. May be repeated.")  # fmt: skip
@click.option("--compare", "names", multiple=True, metavar="VM",
              help="Compare only this VM, whatever channels the manifest opens to it; may be "
              "repeated.")  # fmt: skip
@click.option("--for", "length", default="100ms", show_default=True, metavar="TIME",
              help="How long the runs are, in the machine's own time.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
              help="How many pairs of secrets are tried.")  # fmt: skip
@click.option("--first-seed", type=click.IntRange(min=0), default=0, show_default=True,
              metavar="N", help="The first pair.")  # fmt: skip
@click.option(
    "--ignore-time",
    is_flag=True,
    help="Compare no counter, timer and interrupt: for schedules that let time flow.",
)
@click.option("--ignore-memory", is_flag=True, help="Do not look at memory.")
@click.option("--record", "record_files", nargs=2, type=click.Path(path_type=Path),
              metavar="A B", help="Record both runs of the pair that differs, or of the first; for "
              "`aether replay`.")  # fmt: skip
@options.guest_options
@options.board_options
@options.emulator_options
@options.binary_option
@click.option("--json", "json_file", type=click.Path(path_type=Path, allow_dash=True),
              metavar="FILE", help="Write the outcome as JSON; - for stdout alone.")  # fmt: skip
def command(
    target_name: str,
    secret_name: str,
    kinds: tuple[str, ...],
    ranges: tuple[str, ...],
    names: tuple[str, ...],
    length: str,
    seeds: int,
    first_seed: int,
    ignore_time: bool,
    ignore_memory: bool,
    record_files: tuple[Path, Path] | None,
    guest: GuestChoice,
    board: BoardChoice,
    mmu: str,
    quantum: int | None,
    seed: int,
    adversary: Plan | None,
    binary: Path | None,
    json_file: Path | None,
) -> int:
    """Run TARGET twice with different secrets in one VM, and compare what every other VM sees:
    registers at each entry, exits, results of calls, interrupts, time, memory.

    VMs that the manifest gives a channel to the secret are left out, and named. Exit status 1: a
    VM sees a difference; the first is shown.
    """
    choice = RunChoice(target_name, guest, board, binary=binary)
    output.check_place(json_file)
    if record_files is not None:
        _check_recordings(record_files, mmu)
    one, other = record_files or (None, None)
    output.check_apart({"--record": one, "--record B": other, "--json": json_file}, choice.files())
    request = choice.request(mmu=mmu, quantum=quantum, seed=seed, adversary=adversary)
    subject = subject_of(request, secret_name)
    first = Secret(0, _kinds(kinds, subject), tuple(_range(text) for text in ranges))
    frequency = host.sized_board(request.board, request.ram_size, request.cpus).counter_hz
    ticks = duration.parse(length, where="--for") * frequency // _US
    wanted = Options(
        max(ticks, 1),
        compared(subject, names),
        is_timed=not ignore_time,
        has_memory=not ignore_memory,
    )
    results: list[Comparison] = []
    with SignalWatch(lambda: None) as signals:
        progress = _Progress(wanted.ticks, seeds, signals)
        try:
            for progress.seed in range(seeds):
                pair = 2 * (first_seed + progress.seed)
                secrets = (replace(first, seed=pair), replace(first, seed=pair + 1))
                results.append(compare(subject, secrets, wanted, progress.at))
                if not results[-1].holds:
                    break
            if record_files is not None:
                found = results[-1] if not results[-1].holds else results[0]
                record(
                    subject,
                    (found.a, found.b),
                    wanted,
                    record_files,
                    found,
                    lambda machine, path: recorder_of(machine, path, request),
                    progress.at,
                )
        finally:
            progress.clear()
    _tell(request, results, wanted, record_files, json_file)
    return 0 if results[-1].holds else 1


def _tell(
    request: RunRequest,
    results: list[Comparison],
    wanted: Options,
    record_files: tuple[Path, Path] | None,
    json_file: Path | None,
) -> None:
    if json_file is not None:
        output.write(json_file, view.render(request, results, wanted, record_files))
    if json_file != output.STDOUT:
        view.print_outcome(results, wanted, record_files)


def _kinds(wanted: tuple[str, ...], subject: Subject) -> frozenset[SecretKind]:
    if not wanted:
        return subject.kinds
    kinds = frozenset(SecretKind(text) for text in wanted)
    if SecretKind.INPUT in kinds - subject.kinds:
        raise UserError("nothing can be typed for that VM", where="--kind", fix="leave input out")
    return kinds


def _range(text: str) -> range:
    """IPA:SIZE, or FILE:SYMBOL."""
    fix = "write it as 0x40100000:4KiB, or as guest.elf:symbol"
    place, colon, rest = text.rpartition(":")
    if not colon:
        raise UserError(f"{text!r} is no range", where="--range", fix=fix)
    if not place.lower().startswith("0x"):
        return objects.place_of(Path(place), rest, where="--range")
    try:
        start = int(place, 16)
    except ValueError:
        raise UserError(f"{place!r} is no address", where="--range", fix=fix) from None
    return range(start, start + size.parse(rest, where="--range"))


def _check_recordings(files: tuple[Path, Path], mmu: str) -> None:
    """Refuses what cannot be recorded, before anything runs."""
    if mmu != MmuChoice.MODEL.value:
        raise UserError(
            "only runs with the MMU model are recorded", where="--record", fix="use --mmu model"
        )
    for file in files:
        output.check_place(file)
