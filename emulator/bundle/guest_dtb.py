# SPDX-License-Identifier: Apache-2.0
"""The device tree a VM is given when its description asks for `dtb = "auto"`.

It holds what the VM really has, and nothing else: memory, one CPU with PSCI by HVC, the virtual
timer, the emulated PL011 with the fixed clock its binding wants. There is no interrupt controller
in it because a VM has none yet, and so no node says `interrupts`; a guest that polls, as U-Boot
does, needs none.
"""

from collections.abc import Sequence

from aether_edgecloud.emulator.bundle import fdt
from aether_edgecloud.emulator.bundle.manifest import Device, DeviceKind, Memory

ConfigValue = int | str

_CLOCK_PHANDLE = 1
_UART_CLOCK_HZ = 24_000_000


def build(
    memory: Sequence[Memory],
    devices: Sequence[Device],
    *,
    bootargs: str | None = None,
    config: Sequence[tuple[str, ConfigValue]] = (),
) -> bytes:
    """The DTB, the same bytes for the same VM.

    `config` becomes the node /config, which U-Boot reads: `bootdelay` as -1 makes it go to its
    prompt at once, where its countdown would otherwise swallow piped input as keys pressed.
    """
    uarts = [d for d in devices if d.kind is DeviceKind.VPL011]
    chosen: list[fdt.Property] = []
    if uarts:
        chosen.append(fdt.Property("stdout-path", fdt.text(f"/pl011@{uarts[0].ipa:x}")))
    if bootargs is not None:
        chosen.append(fdt.Property("bootargs", fdt.text(bootargs)))
    children = [fdt.Node("chosen", tuple(chosen))]
    children += [_memory(m) for m in memory]
    children += [_cpus(), _psci(), _timer()]
    if uarts:
        children.append(_uart_clock())
    children += [_uart(device) for device in uarts]
    if config:
        children.append(
            fdt.Node("config", tuple(fdt.Property(k, _config_value(v)) for k, v in config))
        )
    root = fdt.Node(
        "",
        (
            fdt.Property("compatible", fdt.text("aether,guest", "linux,dummy-virt")),
            fdt.Property("model", fdt.text("Aether EdgeCloud VM")),
            fdt.Property("#address-cells", fdt.cells(2)),
            fdt.Property("#size-cells", fdt.cells(2)),
        ),
        tuple(children),
    )
    return fdt.write(root)


def _memory(memory: Memory) -> fdt.Node:
    return fdt.Node(
        f"memory@{memory.ipa:x}",
        (
            fdt.Property("device_type", fdt.text("memory")),
            fdt.Property("reg", fdt.wide(memory.ipa, memory.size)),
        ),
    )


def _cpus() -> fdt.Node:
    cpu = fdt.Node(
        "cpu@0",
        (
            fdt.Property("device_type", fdt.text("cpu")),
            fdt.Property("compatible", fdt.text("arm,armv8")),
            fdt.Property("reg", fdt.cells(0)),
            fdt.Property("enable-method", fdt.text("psci")),
        ),
    )
    return fdt.Node(
        "cpus",
        (
            fdt.Property("#address-cells", fdt.cells(1)),
            fdt.Property("#size-cells", fdt.cells(0)),
        ),
        (cpu,),
    )


def _psci() -> fdt.Node:
    return fdt.Node(
        "psci",
        (
            fdt.Property("compatible", fdt.text("arm,psci-1.0", "arm,psci-0.2")),
            fdt.Property("method", fdt.text("hvc")),
        ),
    )


def _timer() -> fdt.Node:
    return fdt.Node(
        "timer",
        (
            fdt.Property("compatible", fdt.text("arm,armv8-timer")),
            fdt.Property("always-on", b""),
        ),
    )


def _uart_clock() -> fdt.Node:
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


def _uart(device: Device) -> fdt.Node:
    return fdt.Node(
        f"pl011@{device.ipa:x}",
        (
            fdt.Property("compatible", fdt.text("arm,pl011", "arm,primecell")),
            fdt.Property("reg", fdt.wide(device.ipa, device.size)),
            fdt.Property("clocks", fdt.cells(_CLOCK_PHANDLE, _CLOCK_PHANDLE)),
            fdt.Property("clock-names", fdt.text("uartclk", "apb_pclk")),
        ),
    )


def _config_value(value: ConfigValue) -> bytes:
    if isinstance(value, str):
        return fdt.text(value)
    return fdt.cells(value & 0xFFFFFFFF)
