# SPDX-License-Identifier: Apache-2.0
"""Telemetry pages as values for JSON."""

from aether_edgecloud.emulator.telemetry import layout
from aether_edgecloud.emulator.telemetry.layout import HypervisorPage, VcpuCounters, VmPage


def vm_page(page: VmPage) -> dict[str, object]:
    """The sums over the vCPUs, and each of them; exits that never were are left out."""
    return {**_vcpu(layout.total(page.vcpus)), "vcpus": [_vcpu(vcpu) for vcpu in page.vcpus]}


def _vcpu(vcpu: VcpuCounters) -> dict[str, object]:
    return {
        "exits": {k: n for k, n in zip(layout.EXITS, vcpu.exits, strict=True) if n},
        "el2_ticks": vcpu.el2_ticks,
        "slots": vcpu.slots,
        "late": vcpu.late,
        "injected": vcpu.injected,
        "kicks": vcpu.kicks,
    }


def hypervisor_page(page: HypervisorPage) -> dict[str, object]:
    """The schedule, and each physical CPU."""
    return {
        "frame_ticks": page.frame,
        "window_ticks": page.window,
        "ticks_per_second": page.frequency,
        "cpus": [
            {
                "slots": cpu.slots,
                "late": cpu.late,
                "idle_slots": cpu.idle_slots,
                "switches": cpu.switches,
                "most_window_ticks": cpu.most_ticks,
            }
            for cpu in page.cpus
        ],
    }
