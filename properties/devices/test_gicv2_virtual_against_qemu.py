# SPDX-License-Identifier: Apache-2.0
"""The GIC's virtual interface against QEMU's, by the same sequence of accesses to both.

Left out is where QEMU 7.2 differs from IHI 0048B, and the model follows the specification:
- HPPIR depends on GICV_PMR; GICV_AIAR, AEOIR and AHPPIR are not there;
- IAR answers 1022 for a Group 1 interrupt without AckCtl though it is not signalled, and gives one
  of a group that is off with AckCtl: AckCtl stays, and nobody asks while a group is off;
- the end of an interrupt that is only pending in its list register is not counted in EOICount;
- preemption compares the whole priority, which matters where GICH_APR does not fit the binary
  point: neither changes while an interrupt is active;
- GICV_ABPR takes less than its minimum;
- IAR takes CPUID from an SGI in a list register with HW, where it is part of the physical ID;
- GICV_DIR of an interrupt in no list register is counted without EOImode, too.
"""

from pathlib import Path

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from aether_edgecloud.emulator.boards.devices import build_devices
from aether_edgecloud.emulator.boards.virt import virt
from aether_edgecloud.emulator.devices.device import Device
from aether_edgecloud.emulator.devices.gicv2_distributor import Gicd
from aether_edgecloud.emulator.devices.gicv2_hypervisor import Gich
from aether_edgecloud.emulator.devices.gicv2_virtual import Gicv
from aether_edgecloud.properties.devices.stopped_qemu import stopped_qemu

GICD, GICH, GICV = 0x0800_0000, 0x0803_0000, 0x0804_0000
HW, GRP1, EOI = 1 << 31, 1 << 30, 1 << 19
BOTH_GROUPS, ACK_CTL, EOI_MODE = 0b11, 1 << 2, 1 << 9

# A step is a write (base, offset, value), "acknowledge", "end", "end another" or "deactivate".
Step = tuple[int, int, int] | str


@st.composite
def list_registers(draw: st.DrawFn) -> Step:
    """A write of one; the virtual and physical IDs in two of them are never the same."""
    index = draw(st.integers(0, 3))
    state = draw(st.sampled_from([0, 1, 1, 1, 1, 2, 3]))
    virtual = index + 4 * draw(st.integers(0, 15))
    value = state << 28 | draw(st.integers(0, 31)) << 23 | virtual
    value |= draw(st.sampled_from([0, GRP1]))
    if state != 3 and virtual >= 16 and draw(st.booleans()):
        value |= HW | (16 + index + 4 * draw(st.integers(0, 7))) << 10
    else:
        value |= draw(st.sampled_from([0, EOI])) | draw(st.integers(0, 7)) << 10
    return (GICH, Gich.LR + 4 * index, value)


controls = st.sampled_from([0x3, 0x3, 0x203, 0x203, 0x13, 0xB, 0x1, 0x2, 0x0]).map(
    lambda value: value | ACK_CTL
)
machine_controls = st.builds(
    lambda mask, points, control: mask << 27 | points << 18 | control,
    st.sampled_from([31, 31, 16, 0]),
    st.integers(0, 63),
    controls,
)
steps = st.one_of(
    st.sampled_from(["acknowledge", "acknowledge", "end", "end", "end another", "deactivate"]),
    list_registers(),
    list_registers(),
    st.builds(
        lambda sources, count: (GICH, Gich.HCR, 1 | sources | count << 27),
        st.integers(0, 0xFF),
        st.sampled_from([0, 0, 1, 31]),
    ),
    st.sampled_from([0, 1, 1]).map(lambda value: (GICH, Gich.HCR, value)),
    machine_controls.map(lambda value: (GICH, Gich.VMCR, value)),
    st.sampled_from([0, 1]).map(lambda value: (GICH, Gich.APR, value)),
    controls.map(lambda value: (GICV, Gicv.CTLR, value)),
    st.sampled_from([0xFF, 0xFF, 0x80, 0x47]).map(lambda value: (GICV, Gicv.PMR, value)),
    st.builds(
        lambda register, value: (GICV, register, value),
        st.sampled_from([Gicv.BPR, Gicv.ABPR]),
        st.integers(3, 7),
    ),
    st.builds(
        lambda word, bits: (GICD, Gicd.ISACTIVER + word, bits & 0xFFFF_0000),
        st.sampled_from([0]),
        st.integers(0, 0xFFFF_FFFF),
    ),
)
BINARY_POINT = {
    (GICH, Gich.VMCR),
    (GICV, Gicv.CTLR),
    (GICV, Gicv.BPR),
    (GICV, Gicv.ABPR),
    (GICH, Gich.APR),
}
START: list[Step] = [
    (GICH, Gich.HCR, 1),
    (GICH, Gich.VMCR, 0xF84C_0000 | ACK_CTL | 3),
]
OBSERVED = (
    *((GICH, register) for register in Gich),
    *((GICH, Gich.LR + 4 * n) for n in range(1, 5)),
    *((GICV, r) for r in (Gicv.CTLR, Gicv.PMR, Gicv.BPR, Gicv.ABPR, Gicv.RPR, Gicv.APR0)),
    (GICV, Gicv.IIDR),
    (GICD, Gicd.ISACTIVER),
    (GICD, Gicd.ISPENDR),
)


# No shrinking: every try starts a QEMU.
@settings(max_examples=25, phases=(Phase.explicit, Phase.generate))
@given(sequence=st.lists(steps, min_size=30, max_size=80))
def test_the_virtual_interface_does_as_qemus(qemu: Path, sequence: list[Step]) -> None:
    devices = build_devices(virt())
    ours: dict[int, Device] = {window.base: window.device for window in devices.windows()}
    taken: list[int] = []
    with stopped_qemu(qemu) as memory:

        def write(base: int, offset: int, value: int) -> None:
            memory.write(base + offset, 4, value)
            ours[base].write(offset, 4, value)

        def only_pending(intid: int) -> bool:
            values = [ours[GICH].read(Gich.LR + 4 * n, 4) for n in range(4)]
            return any(v >> 28 & 3 == 1 and v & 0x3FF == intid & 0x3FF for v in values)

        for step in START + sequence:
            if isinstance(step, tuple):
                if step[:2] not in BINARY_POINT or not ours[GICH].read(Gich.APR, 4):
                    write(*step)
            elif step == "acknowledge":
                if ours[GICV].read(Gicv.CTLR, 4) & BOTH_GROUPS != BOTH_GROUPS:
                    continue
                value = memory.read(GICV + Gicv.IAR, 4)
                assert ours[GICV].read(Gicv.IAR, 4) == value
                if value & 0x3FF < 1020:
                    taken.append(value)
            elif step == "end another":
                write(GICV, Gicv.EOIR, 1000)
            elif taken:
                value = taken.pop() if step == "end" else taken[-1]
                split = ours[GICV].read(Gicv.CTLR, 4) & EOI_MODE
                if not only_pending(value) and (step == "end" or split):
                    write(GICV, Gicv.EOIR if step == "end" else Gicv.DIR, value)
            devices.wire(0, 0)
        for base, offset in OBSERVED:
            theirs = memory.read(base + offset, 4)
            assert ours[base].read(offset, 4) == theirs, (hex(base), hex(offset))


def test_there_are_no_aliases_for_other_cpus(qemu: Path) -> None:
    gich = build_devices(virt()).gic.hypervisor_interface()
    with stopped_qemu(qemu) as memory:
        for offset in range(0x200, 0x6000, 0x200):
            assert memory.read(GICH + offset + Gich.VTR, 4) == gich.read(offset + Gich.VTR, 4)
