# SPDX-License-Identifier: Apache-2.0
"""Which VM each CPU runs, worked out from the ERETs of EL2."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from aether_edgecloud.emulator.recording.events import EventKind

_Rows = npt.NDArray[np.void]


class VmSwitches:
    """Looks at the events of a run, part by part."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}  # the VM of each CPU
        self._seen: set[int] = set()

    def insert(self, rows: _Rows) -> _Rows:
        """The same rows, with a VM_SWITCH before each ERET of EL2 to another VM than before."""
        entries = np.flatnonzero((rows["kind"] == EventKind.ERET) & (rows["c"] == 2))
        places, switches = [], []
        for cpu in sorted(set(rows["cpu"][entries].tolist())):
            at = entries[rows["cpu"][entries] == cpu]
            vms = rows["vm"][at].astype(np.int64)
            before = np.concatenate(([self._last.get(cpu, 0)], vms[:-1]))
            changed = np.flatnonzero(vms != before)
            new = rows[at[changed]].copy()
            new["kind"] = EventKind.VM_SWITCH
            new["a"], new["b"], new["c"] = before[changed], vms[changed], 0
            places.append(at[changed])
            switches.append(new)
            self._last[cpu] = int(vms[-1])
        if not places:
            return rows
        where, what = np.concatenate(places), np.concatenate(switches)
        order = np.argsort(where, kind="stable")
        return np.insert(rows, where[order], what[order])

    def first_entries(self, rows: _Rows) -> Iterator[tuple[int, int]]:
        """VMID and position of each VM that is entered for the first time. VMID 0 is no VM's."""
        switches = rows[rows["kind"] == EventKind.VM_SWITCH]
        for vm, position in zip(switches["b"].tolist(), switches["position"].tolist(), strict=True):
            if vm and vm not in self._seen:
                self._seen.add(vm)
                yield vm, position
