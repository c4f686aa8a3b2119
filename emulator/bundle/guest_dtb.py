# SPDX-License-Identifier: Apache-2.0
"""The device tree a VM is given when its description asks for `dtb = "auto"`.

It holds what the VM really has, and nothing else: memory, CPUs with PSCI by HVC, the timer, the
GICv2, PL011s with the fixed clock their binding wants, devices passed through. Interrupts are named
only where there is a GIC; a guest that polls, as U-Boot does, needs none.
"""

from collections.abc import Sequence

from aether_edgecloud.emulator.bundle import fdt
from aether_edgecloud.emulator.bundle.description import ConfigValue, Passthrough
from aether_edgecloud.emulator.bundle.manifest import Device, DeviceKind, Memory

_CLOCK_PHANDLE = 1
_GIC_PHANDLE = 2
_UART_CLOCK_HZ = 24_000_000
_FIRST_PPI = 16
_FIRST_SPI = 32
_PPI, _SPI = 1, 0
_LEVEL_HIGH = 4
# Secure physical, physical, virtual, hypervisor. Only the virtual one works in a VM; the binding
# wants the ones before it, and Linux at EL1 takes the virtual one by itself.
_TIMERS = (29, 30, 27, 26)


def build(
    memory: Sequence[Memory],
    devices: Sequence[Device],
    *,
    vcpus: int = 1,
    bootargs: str | None = None,
    ramdisk: range | None = None,
    config: Sequence[tuple[str, ConfigValue]] = (),
    passthrough: Sequence[Passthrough] = (),
) -> bytes:
    """The DTB, the same bytes for the same VM.

    `ramdisk` is where it lies (IPA). `passthrough` says what the devices of that kind are called,
    in their order. `config` becomes the node /config, which U-Boot reads: `bootdelay` as -1 makes
    it go to its prompt at once, where its countdown would otherwise swallow piped input as keys
    pressed.
    """
    uarts = [d for d in devices if d.kind is DeviceKind.VPL011]
    passed = [d for d in devices if d.kind is DeviceKind.PASSTHROUGH]
    gic = next((d for d in devices if d.kind is DeviceKind.VGICV2), None)
    children = [_chosen(uarts, bootargs, ramdisk)]
    children += [_memory(m) for m in memory]
    children += [_cpus(vcpus), _psci(), _timer(vcpus, gic)]
    if gic is not None:
        children.append(_gic(gic))
    if uarts or any("arm,primecell" in p.compatible for p in passthrough):
        children.append(_clock())
    children += [_uart(device, gic) for device in uarts]
    children += [_passed(d, p, gic) for d, p in zip(passed, passthrough, strict=True)]
    children += [_telemetry(d) for d in devices if d.kind is DeviceKind.TELEMETRY]
    if config:
        children.append(
            fdt.Node("config", tuple(fdt.Property(k, _config_value(v)) for k, v in config))
        )
    properties = [
        fdt.Property("compatible", fdt.text("aether,guest", "linux,dummy-virt")),
        fdt.Property("model", fdt.text("Aether EdgeCloud VM")),
        fdt.Property("#address-cells", fdt.cells(2)),
        fdt.Property("#size-cells", fdt.cells(2)),
    ]
    if gic is not None:
        properties.append(fdt.Property("interrupt-parent", fdt.cells(_GIC_PHANDLE)))
    return fdt.write(fdt.Node("", tuple(properties), tuple(children)))


def chosen_properties(bootargs: str | None, ramdisk: range | None) -> tuple[fdt.Property, ...]:
    """What /chosen says of the command line and the ramdisk."""
    found: list[fdt.Property] = []
    if bootargs is not None:
        found.append(fdt.Property("bootargs", fdt.text(bootargs)))
    if ramdisk is not None:
        found.append(fdt.Property("linux,initrd-start", fdt.wide(ramdisk.start)))
        found.append(fdt.Property("linux,initrd-end", fdt.wide(ramdisk.stop)))
    return tuple(found)


def _chosen(uarts: Sequence[Device], bootargs: str | None, ramdisk: range | None) -> fdt.Node:
    stdout: tuple[fdt.Property, ...] = ()
    if uarts:
        stdout = (fdt.Property("stdout-path", fdt.text(f"/pl011@{uarts[0].ipa:x}")),)
    return fdt.Node("chosen", stdout + chosen_properties(bootargs, ramdisk))


def _memory(memory: Memory) -> fdt.Node:
    return fdt.Node(
        f"memory@{memory.ipa:x}",
        (
            fdt.Property("device_type", fdt.text("memory")),
            fdt.Property("reg", fdt.wide(memory.ipa, memory.size)),
        ),
    )


def _cpus(count: int) -> fdt.Node:
    cpus = tuple(
        fdt.Node(
            f"cpu@{number:x}",
            (
                fdt.Property("device_type", fdt.text("cpu")),
                fdt.Property("compatible", fdt.text("arm,armv8")),
                fdt.Property("reg", fdt.cells(number)),
                fdt.Property("enable-method", fdt.text("psci")),
            ),
        )
        for number in range(count)
    )
    return fdt.Node(
        "cpus",
        (
            fdt.Property("#address-cells", fdt.cells(1)),
            fdt.Property("#size-cells", fdt.cells(0)),
        ),
        cpus,
    )


def _psci() -> fdt.Node:
    return fdt.Node(
        "psci",
        (
            fdt.Property("compatible", fdt.text("arm,psci-1.0", "arm,psci-0.2")),
            fdt.Property("method", fdt.text("hvc")),
        ),
    )


def _timer(vcpus: int, gic: Device | None) -> fdt.Node:
    properties = [
        fdt.Property("compatible", fdt.text("arm,armv8-timer")),
        fdt.Property("always-on", b""),
    ]
    if gic is not None:
        flags = ((1 << vcpus) - 1) << 8 | _LEVEL_HIGH
        cells = [cell for intid in _TIMERS for cell in (_PPI, intid - _FIRST_PPI, flags)]
        properties.append(fdt.Property("interrupts", fdt.cells(*cells)))
    return fdt.Node("timer", tuple(properties))


def _gic(device: Device) -> fdt.Node:
    assert device.cpu_interface is not None
    windows = (device.ipa, device.size, device.cpu_interface.ipa, device.cpu_interface.size)
    return fdt.Node(
        f"interrupt-controller@{device.ipa:x}",
        (
            fdt.Property("compatible", fdt.text("arm,gic-400")),
            fdt.Property("reg", fdt.wide(*windows)),
            fdt.Property("interrupt-controller", b""),
            fdt.Property("#interrupt-cells", fdt.cells(3)),
            fdt.Property("#address-cells", fdt.cells(0)),
            fdt.Property("phandle", fdt.cells(_GIC_PHANDLE)),
        ),
    )


def _clock() -> fdt.Node:
    return fdt.Node(
        "apb-pclk",
        (
            fdt.Property("compatible", fdt.text("fixed-clock")),
            fdt.Property("#clock-cells", fdt.cells(0)),
            fdt.Property("clock-frequency", fdt.cells(_UART_CLOCK_HZ)),
            fdt.Property("clock-output-names", fdt.text("clk24mhz")),
            fdt.Property("phandle", fdt.cells(_CLOCK_PHANDLE)),
        ),
    )


def _uart(device: Device, gic: Device | None) -> fdt.Node:
    return fdt.Node(
        f"pl011@{device.ipa:x}",
        (
            fdt.Property("compatible", fdt.text("arm,pl011", "arm,primecell")),
            fdt.Property("reg", fdt.wide(device.ipa, device.size)),
            *_interrupts(device, gic),
            fdt.Property("clocks", fdt.cells(_CLOCK_PHANDLE, _CLOCK_PHANDLE)),
            fdt.Property("clock-names", fdt.text("uartclk", "apb_pclk")),
        ),
    )


def _passed(device: Device, words: Passthrough, gic: Device | None) -> fdt.Node:
    properties: list[fdt.Property] = []
    if words.compatible:
        properties.append(fdt.Property("compatible", fdt.text(*words.compatible)))
    properties.append(fdt.Property("reg", fdt.wide(device.ipa, device.size)))
    properties += _interrupts(device, gic)
    if "arm,primecell" in words.compatible:
        properties.append(fdt.Property("clocks", fdt.cells(_CLOCK_PHANDLE)))
        properties.append(fdt.Property("clock-names", fdt.text("apb_pclk")))
    return fdt.Node(f"{words.name}@{device.ipa:x}", tuple(properties))


def _interrupts(device: Device, gic: Device | None) -> tuple[fdt.Property, ...]:
    if gic is None or not device.interrupts:
        return ()
    cells = [c for intid in device.interrupts for c in (_SPI, intid - _FIRST_SPI, _LEVEL_HIGH)]
    return (fdt.Property("interrupts", fdt.cells(*cells)),)


def _telemetry(device: Device) -> fdt.Node:
    return fdt.Node(
        f"telemetry@{device.ipa:x}",
        (
            fdt.Property("compatible", fdt.text(device.kind.value)),
            fdt.Property("reg", fdt.wide(device.ipa, device.size)),
        ),
    )


def _config_value(value: ConfigValue) -> bytes:
    if isinstance(value, str):
        return fdt.text(value)
    return fdt.cells(value & 0xFFFFFFFF)
