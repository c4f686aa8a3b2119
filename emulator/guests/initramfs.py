# SPDX-License-Identifier: Apache-2.0
"""The initramfs of the guest `linux`: busybox, and an /init that does what the command line says.

`aether.then=WORD` on the kernel's command line says what comes after the start (`THEN`), and
`aether.work=N` has each CPU count to N before that. With `aether.times=N`, and a telemetry page in
the VM, a VM that ends by `sysrq`, `reboot` or `wild-store` does so in its first N lives only, and
powers off in the next. The last word of a kind counts.
"""

import re

from aether_edgecloud.emulator.bundle.devices import TELEMETRY_IPA
from aether_edgecloud.emulator.errors import UserError
from aether_edgecloud.emulator.guests import cpio

THEN = ("poweroff", "shell", "sysrq", "reboot", "wild-store", "loop", "sleep")
"""What /init does in the end; the first one if nothing is said."""
WILD_IPA = 0x2000_0000
"""Where `wild-store` stores: no memory and no device of the guest `linux`."""

_SHELL = "/bin/busybox"
_TELEMETRY_NODE = f"telemetry@{TELEMETRY_IPA:x}"
_RESTARTS_IPA = TELEMETRY_IPA + 56
"""Of the telemetry page of a VM, version 1: how often it was started again."""
_INIT = f"""\
#!{_SHELL} sh
export PATH=/bin HOME=/ TERM=vt100
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev

next=poweroff
work=0
times=
for word in $(cat /proc/cmdline); do
    case "$word" in
    aether.then=*) next="${{word#*=}}" ;;
    aether.work=*) work="${{word#*=}}" ;;
    aether.times=*) times="${{word#*=}}" ;;
    esac
done
echo "aether: userspace, $(nproc) cpus"

count() {{
    i=0
    while [ "$i" -lt "$work" ]; do i=$((i + 1)); done
}}
if [ "$work" -gt 0 ]; then
    cpu=0
    while [ "$cpu" -lt "$(nproc)" ]; do
        count &
        taskset -p "$(printf %x $((1 << cpu)))" $! >/dev/null
        cpu=$((cpu + 1))
    done
    wait
    echo "aether: work done"
fi

if [ -n "$times" ] && [ -d /proc/device-tree/{_TELEMETRY_NODE} ]; then
    lives=$(($(devmem {_RESTARTS_IPA:#x} 64)))
    echo "aether: restarts so far: $lives"
    case "$next" in
    sysrq | reboot | wild-store) [ "$lives" -lt "$times" ] || next=poweroff ;;
    esac
fi

case "$next" in
shell)
    echo "aether: a shell; leave it with exit"
    setsid cttyhack sh
    ;;
sysrq)
    echo "aether: crash by sysrq"
    sleep 1
    echo c >/proc/sysrq-trigger
    ;;
reboot)
    echo "aether: reboot"
    reboot -f
    ;;
wild-store)
    echo "aether: store to {WILD_IPA:#x}"
    devmem {WILD_IPA:#x} 32 0x1
    echo "aether: the store returned"
    ;;
loop)
    echo "aether: loop"
    while :; do :; done
    ;;
sleep)
    echo "aether: sleep"
    while :; do sleep 3600; done
    ;;
poweroff) ;;
*)
    echo "aether: aether.then=$next is not known"
    ;;
esac
echo "aether: poweroff"
poweroff -f
"""
_APPLETS = re.compile(rb"\[\0\[\[\0(?:[A-Za-z0-9._-]+\0)+")
_NEEDED = (
    "cat", "cttyhack", "devmem", "mount", "nproc", "poweroff", "printf", "reboot", "setsid", "sh",
    "sleep", "taskset",
)  # fmt: skip


def build(busybox: bytes) -> bytes:
    """The archive, the same for the same busybox (a static one, for arm64). UserError when
    something that /init needs is not in it."""
    applets = _applets(busybox)
    entries = [cpio.folder(name) for name in ("bin", "dev", "proc", "sys")]
    entries.append(cpio.folder("tmp", 0o1777))
    # The kernel opens it before /init has mounted anything.
    entries.append(cpio.character_device("dev/console", 5, 1))
    entries.append(cpio.file("bin/busybox", busybox, 0o755))
    entries.append(cpio.file("init", _INIT.encode(), 0o755))
    entries += [cpio.link(f"bin/{name}", "busybox") for name in applets if name != "busybox"]
    return cpio.archive(entries)


def _applets(busybox: bytes) -> tuple[str, ...]:
    """The commands a busybox has, from the list of their names in it."""
    found = _APPLETS.search(busybox)
    names = tuple(found[0][:-1].decode().split("\0")) if found else ()
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise UserError(
            f"this busybox has no {', '.join(missing)}",
            where="busybox",
            fix="fetch the guest again with `aether guests fetch linux`",
        )
    return names
