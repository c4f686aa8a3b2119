# SPDX-License-Identifier: Apache-2.0
"""From the slots a person describes to the manifest's schedule."""

from collections.abc import Sequence

from aether_edgecloud.emulator.bundle.check_schedule import MAX_CPUS
from aether_edgecloud.emulator.bundle.description import (
    ScheduleDescription,
    SlotDescription,
    VmDescription,
)
from aether_edgecloud.emulator.bundle.schedule import (
    CpuSlots,
    Schedule,
    Slot,
    equal_shares,
    own_cpus,
)
from aether_edgecloud.emulator.errors import UserError


def resolve(schedule: ScheduleDescription, vms: Sequence[VmDescription]) -> Schedule:
    """The schedule with every choice made. UserError for slots that fit no VM."""
    pins = [_pins(vm) for vm in vms]
    if schedule.cpus is None:
        return equal_shares(pins, frame_us=schedule.frame_us, window_us=schedule.window_us)
    cpus = tuple(
        CpuSlots(number, _fill(number, slots, schedule, vms, pins))
        for number, slots in enumerate(schedule.cpus)
    )
    for vm, vm_pins in zip(vms, pins, strict=True):
        if vm.cpus is not None:
            _check_pins(vm, vm_pins, cpus, vms)
    return Schedule(schedule.frame_us, schedule.window_us, cpus)


def _pins(vm: VmDescription) -> tuple[int, ...]:
    if vm.cpus is None:
        return own_cpus(vm.vcpus)
    if len(vm.cpus) != vm.vcpus:
        raise UserError(
            f"{len(vm.cpus)} CPUs for {vm.vcpus} vCPUs",
            where=f"{vm.where}: vm {vm.name}",
            fix="give one CPU for each vCPU",
        )
    for cpu in vm.cpus:
        if cpu >= MAX_CPUS:
            raise UserError(
                f"CPU {cpu}, and the hypervisor runs on CPUs 0 to {MAX_CPUS - 1}",
                where=f"{vm.where}: vm {vm.name}",
                fix="use one of them",
            )
    return vm.cpus


def _fill(
    cpu: int,
    slots: Sequence[SlotDescription],
    schedule: ScheduleDescription,
    vms: Sequence[VmDescription],
    pins: Sequence[Sequence[int]],
) -> tuple[Slot, ...]:
    """The slots of a CPU; what they leave of the frame is nobody's."""
    found = [_slot(cpu, slot, vms, pins) for slot in slots]
    left = schedule.frame_us - sum(slot.length_us for slot in found)
    if left > schedule.window_us:
        found.append(Slot(None, 0, left))
    elif left > 0:
        raise UserError(
            f"the slots of CPU {cpu} leave {left} us of the frame, which is not longer than the"
            f" window of {schedule.window_us} us",
            where=schedule.where,
            fix="make the last one longer, so that they fill the frame",
        )
    return tuple(found)


def _slot(
    cpu: int,
    slot: SlotDescription,
    vms: Sequence[VmDescription],
    pins: Sequence[Sequence[int]],
) -> Slot:
    if slot.vm is None:
        return Slot(None, 0, slot.length_us)
    index = next((i for i, vm in enumerate(vms) if vm.name == slot.vm), None)
    if index is None:
        raise UserError(
            f"no VM is called {slot.vm!r}",
            where=slot.where,
            fix=f"VMs here: {', '.join(vm.name for vm in vms)}",
        )
    vcpu = slot.vcpu
    if vcpu is None:
        at_home = [i for i, home in enumerate(pins[index]) if home == cpu]
        if vms[index].vcpus == 1:
            at_home = [0]
        if len(at_home) != 1:
            raise UserError(
                f"which vCPU of {slot.vm} has this slot of CPU {cpu}?",
                where=slot.where,
                fix="say vcpu = ...",
            )
        vcpu = at_home[0]
    return Slot(index, vcpu, slot.length_us)


def _check_pins(
    vm: VmDescription, pins: Sequence[int], cpus: Sequence[CpuSlots], vms: Sequence[VmDescription]
) -> None:
    """Refuses a schedule that contradicts the VM's own `cpus`."""
    for cpu in cpus:
        for slot in cpu.slots:
            if slot.vm is None or vms[slot.vm] is not vm or slot.vcpu >= len(pins):
                continue
            if pins[slot.vcpu] != cpu.cpu:
                raise UserError(
                    f"vCPU {slot.vcpu} is to be on CPU {pins[slot.vcpu]}, and the schedule has it"
                    f" on CPU {cpu.cpu}",
                    where=f"{vm.where}: vm {vm.name}",
                    fix="correct one of them, or leave `cpus` out",
                )
