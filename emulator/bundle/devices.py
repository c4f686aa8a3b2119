# SPDX-License-Identifier: Apache-2.0
"""Where the devices of a VM stand, and what they interrupt with."""

from collections.abc import Sequence

from aether_edgecloud.emulator.bundle.check_vm import GICC_SIZE, GICD_SIZE, LAST_SPI
from aether_edgecloud.emulator.bundle.description import Passthrough
from aether_edgecloud.emulator.bundle.manifest import Device, DeviceKind, Window

GICD_IPA = 0x0800_0000
GICC_IPA = 0x0801_0000
UART_IPA = 0x0900_0000
UART_SIZE = 0x1000
UART_INTID = 33
TELEMETRY_IPA = 0x0A00_0000


def place(devices: Sequence[DeviceKind | Passthrough]) -> tuple[Device, ...]:
    """The devices with their windows; those of PL011s lie one after another. From the second on
    they interrupt from the last SPI down, out of the way of devices that are passed through."""
    found: list[Device] = []
    uarts = 0
    for device in devices:
        match device:
            case Passthrough():
                found.append(_passthrough(device))
            case DeviceKind.VPL011:
                found.append(
                    Device(
                        device,
                        UART_IPA + uarts * UART_SIZE,
                        UART_SIZE,
                        interrupts=(LAST_SPI + 1 - uarts if uarts else UART_INTID,),
                    )
                )
                uarts += 1
            case DeviceKind.VGICV2:
                interface = Window(GICC_IPA, GICC_SIZE)
                found.append(Device(device, GICD_IPA, GICD_SIZE, cpu_interface=interface))
            case DeviceKind.TELEMETRY:
                found.append(Device(device, TELEMETRY_IPA, UART_SIZE))
            case DeviceKind.PASSTHROUGH:
                raise ValueError("a device is passed through by a Passthrough")
    return tuple(found)


def _passthrough(device: Passthrough) -> Device:
    return Device(
        DeviceKind.PASSTHROUGH,
        device.host if device.ipa is None else device.ipa,
        device.size,
        interrupts=device.interrupts,
        host_address=device.host,
    )
