# SPDX-License-Identifier: Apache-2.0
"""The rules of a schedule: slots fill the frame, and each vCPU is at home on one CPU."""

from aether_edgecloud.emulator.bundle.manifest import Manifest
from aether_edgecloud.emulator.bundle.schedule import (
    FFA_SLOT_US,
    SLOT_US,
    CpuSlots,
    Schedule,
    Slot,
)
from aether_edgecloud.emulator.errors import UserError

MAX_CPUS = 8
MAX_SLOTS = 16
MAX_FRAME_US = 1_000_000


def check_schedule(manifest: Manifest, *, where: str, board_cpus: int | None) -> None:
    """Raises UserError for the first rule that the manifest's schedule breaks.

    `board_cpus` is how many CPUs the board has, when that is known.
    """
    schedule = manifest.schedule
    _check_times(schedule, where)
    numbers = [cpu.cpu for cpu in schedule.cpus]
    if numbers != sorted(set(numbers)) or not numbers or numbers[0] != 0:
        raise UserError(
            f"slots for the CPUs {numbers}", where=where, fix="list each CPU once, from CPU 0 on"
        )
    if numbers[-1] >= MAX_CPUS:
        raise UserError(
            f"CPU {numbers[-1]}, and the hypervisor runs on CPUs 0 to {MAX_CPUS - 1}",
            where=where,
            fix="use fewer CPUs",
        )
    if board_cpus is not None and numbers[-1] >= board_cpus:
        raise UserError(
            f"CPU {numbers[-1]}, and the board has {_count(board_cpus, 'CPU')}",
            where=where,
            fix="give the board more with --cpus, or the VMs fewer",
        )
    homes: dict[tuple[int, int], int] = {}
    for cpu in schedule.cpus:
        _check_slots(cpu, manifest, where)
        for slot in cpu.slots:
            if slot.vm is None:
                continue
            home = homes.setdefault((slot.vm, slot.vcpu), cpu.cpu)
            if home != cpu.cpu:
                raise UserError(
                    f"{_named(slot, manifest)} has slots on CPU {home} and on CPU {cpu.cpu}",
                    where=where,
                    fix="keep a vCPU on one CPU",
                )
    for index, vm in enumerate(manifest.vms):
        for vcpu in range(vm.vcpus):
            if (index, vcpu) not in homes:
                raise UserError(
                    f"vCPU {vcpu} of {vm.name} has no slot", where=where, fix="give it one"
                )


def _check_times(schedule: Schedule, where: str) -> None:
    if not 1 <= schedule.frame_us <= MAX_FRAME_US:
        raise UserError(
            f"a frame of {schedule.frame_us} us", where=where, fix="use one of 1 us to 1 s"
        )
    if not 1 <= schedule.window_us < schedule.frame_us:
        raise UserError(
            f"a window of {schedule.window_us} us in a frame of {schedule.frame_us} us",
            where=where,
            fix="use a window of 1 us or more, and shorter than the frame",
        )


def _check_slots(cpu: CpuSlots, manifest: Manifest, where: str) -> None:
    schedule = manifest.schedule
    place = f"{where}: CPU {cpu.cpu}"
    if not 1 <= len(cpu.slots) <= MAX_SLOTS:
        raise UserError(
            f"{len(cpu.slots)} slots, and a CPU has 1 to {MAX_SLOTS}",
            where=place,
            fix="put fewer vCPUs on it",
        )
    for index, slot in enumerate(cpu.slots):
        if slot.vm is not None and slot.vm >= len(manifest.vms):
            raise UserError(
                f"slot {index} is for VM {slot.vm}, and there are {len(manifest.vms)}",
                where=place,
                fix="make the bundle again with `aether bundle`",
            )
        if slot.vm is not None and slot.vcpu >= manifest.vms[slot.vm].vcpus:
            vm = manifest.vms[slot.vm]
            raise UserError(
                f"slot {index} is for vCPU {slot.vcpu} of {vm.name}, which has"
                f" {_count(vm.vcpus, 'vCPU')}",
                where=place,
                fix="correct the number, or give the VM more",
            )
        least = schedule.window_us + _room(slot, manifest)
        if slot.length_us < least:
            raise UserError(
                f"slot {index} ({_named(slot, manifest)}) of {slot.length_us} us: the window takes"
                f" {schedule.window_us} us of it, which leaves too little",
                where=place,
                fix=f"make it {least} us or longer",
            )
    total = sum(slot.length_us for slot in cpu.slots)
    if total != schedule.frame_us:
        more = total > schedule.frame_us
        raise UserError(
            f"slots of {total} us {'exceed' if more else 'do not fill'} the frame of"
            f" {schedule.frame_us} us",
            where=place,
            fix=f"make them {'shorter' if more else 'longer'}, or the frame",
        )


def _room(slot: Slot, manifest: Manifest) -> int:
    """What a slot must leave behind its window, in us."""
    if slot.vm is None:
        return 1
    return SLOT_US if manifest.vms[slot.vm].peers is None else FFA_SLOT_US


def _named(slot: Slot, manifest: Manifest) -> str:
    if slot.vm is None:
        return "nobody"
    return f"vCPU {slot.vcpu} of {manifest.vms[slot.vm].name}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
