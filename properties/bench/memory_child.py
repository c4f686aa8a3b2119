# SPDX-License-Identifier: Apache-2.0
"""A run in a process of its own that tells its peak memory: TARGET VCPUS MMU on the command line.

Prints JSON: `peak` is the process's largest resident size, `touched` what of it is the RAM of the
emulated board at the end (it never shrinks), both in bytes.
"""

import json
import re
import sys
from pathlib import Path

from aether_edgecloud.emulator.launch import binary
from aether_edgecloud.emulator.launch.machine import build_machine
from aether_edgecloud.emulator.launch.request import build_request
from aether_edgecloud.emulator.launch.target import GuestChoice
from aether_edgecloud.emulator.machine import StopKind

_KIB = 1024
_HEAD = re.compile(r"([0-9a-f]+)-([0-9a-f]+) ")
_RSS = re.compile(r"Rss: +(\d+) kB")


def main(target: str, vcpus: str, mmu: str) -> int:
    """Runs the guest to its end; the exit status."""
    guest = GuestChoice() if vcpus == "1" else GuestChoice(cpus=int(vcpus))
    request = build_request(target, binary.load(None), mmu=mmu, guest=guest)
    machine = build_machine(request)
    stop = machine.run()
    if stop.kind is not StopKind.SYSTEM_OFF:
        print(stop.kind.value, file=sys.stderr)
        return 1
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    print(json.dumps({"peak": int(peak[1]) * _KIB, "touched": _resident(request.ram_size)}))
    return 0


def _resident(size: int) -> int:
    """Resident bytes of mappings of `size` bytes: the board's RAM."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if head := _HEAD.match(line):
            inside = int(head[2], 16) - int(head[1], 16) == size
        elif inside and (rss := _RSS.match(line)):
            found += int(rss[1]) * _KIB
    return found


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
