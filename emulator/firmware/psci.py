# SPDX-License-Identifier: Apache-2.0
"""PSCI 1.1 (DEN 0022) and SMCCC 1.2 (DEN 0028) as EL3 firmware answers them by SMC.

The answers are those of a firmware like TF-A on cores such as Cortex-A72: no trusted OS, the
original StateID format, CVE-2017-5715 mitigated by SMCCC_ARCH_WORKAROUND_1, CVE-2018-3639
mitigated for good. The model never changes a CPU: it says in `FirmwareResult.power` what is to
happen, and the machine does it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from aether_edgecloud.emulator.devices.device import State, saved_ints

_SMC64 = 1 << 30
_MASK32 = 0xFFFF_FFFF
_MASK64 = 0xFFFF_FFFF_FFFF_FFFF

PSCI_1_1 = 0x0001_0001
SMCCC_1_2 = 0x0001_0002
TRUSTED_OS_NOT_PRESENT = 2
"""MIGRATE_INFO_TYPE: no trusted OS, or one that needs no migration."""


class Function(IntEnum):
    """Function IDs in their SMC32 form; bit 30 makes the SMC64 one."""

    SMCCC_VERSION = 0x8000_0000
    SMCCC_ARCH_FEATURES = 0x8000_0001
    SMCCC_ARCH_WORKAROUND_2 = 0x8000_7FFF
    SMCCC_ARCH_WORKAROUND_1 = 0x8000_8000
    PSCI_VERSION = 0x8400_0000
    CPU_SUSPEND = 0x8400_0001
    CPU_OFF = 0x8400_0002
    CPU_ON = 0x8400_0003
    AFFINITY_INFO = 0x8400_0004
    MIGRATE_INFO_TYPE = 0x8400_0006
    SYSTEM_OFF = 0x8400_0008
    SYSTEM_RESET = 0x8400_0009
    PSCI_FEATURES = 0x8400_000A
    SYSTEM_RESET2 = 0x8400_0012


_WITH_SMC64 = frozenset(
    {Function.CPU_SUSPEND, Function.CPU_ON, Function.AFFINITY_INFO, Function.SYSTEM_RESET2}
)


class Status(IntEnum):
    """PSCI and SMCCC return codes; in a register sign-extended to 64 bits."""

    SUCCESS = 0
    NOT_SUPPORTED = -1
    INVALID_PARAMETERS = -2
    DENIED = -3
    ALREADY_ON = -4
    ON_PENDING = -5
    INTERNAL_FAILURE = -6
    NOT_PRESENT = -7
    DISABLED = -8
    INVALID_ADDRESS = -9


WORKAROUND_NOT_NEEDED = 1
"""SMCCC_ARCH_FEATURES of a workaround: the call exists, but this core need not make it."""


class CpuState(IntEnum):
    """What AFFINITY_INFO answers at level 0."""

    ON = 0
    OFF = 1
    ON_PENDING = 2


@dataclass(frozen=True, slots=True)
class CpuOn:
    """Start `cpu` at PA `entry` in the caller's Exception level, MMU off, `context_id` in x0.

    The machine calls `Firmware.cpu_started` when it runs.
    """

    cpu: int
    entry: int
    context_id: int


@dataclass(frozen=True, slots=True)
class CpuOff:
    """Stop `cpu`; its SMC does not return."""

    cpu: int


@dataclass(frozen=True, slots=True)
class CpuStandby:
    """`cpu` sleeps until an interrupt is asserted to it, then its SMC returns SUCCESS."""

    cpu: int


@dataclass(frozen=True, slots=True)
class CpuPowerDown:
    """`cpu` sleeps until an interrupt is asserted to it, then starts as after `CpuOn`."""

    cpu: int
    entry: int
    context_id: int


@dataclass(frozen=True, slots=True)
class SystemOff:
    """The machine is switched off."""


@dataclass(frozen=True, slots=True)
class SystemReset:
    """The machine restarts; a warm reset keeps RAM. `cookie` is SYSTEM_RESET2's."""

    warm: bool = False
    cookie: int = 0


PowerEvent = CpuOn | CpuOff | CpuStandby | CpuPowerDown | SystemOff | SystemReset


@dataclass(frozen=True, slots=True)
class FirmwareResult:
    """x0 to x3 after the SMC (x4 and up are preserved), and what happens to power, if anything."""

    values: tuple[int, int, int, int]
    power: PowerEvent | None = None


def affinity(cpu: int) -> int:
    """The MPIDR_EL1 affinity of a CPU: up to eight make one cluster, numbered in Aff0."""
    return cpu


class Firmware:
    """The firmware of `cpus` CPUs, of which CPU 0 has been started, or all (`all_on`).

    `entry_points` holds the physical addresses where a CPU may be started: non-secure RAM.
    """

    def __init__(
        self, cpus: int, entry_points: range = range(1 << 48), *, all_on: bool = False
    ) -> None:
        self._entry_points = entry_points
        others = CpuState.ON if all_on else CpuState.OFF
        self._states = [CpuState.ON] + [others] * (cpus - 1)

    def state(self, cpu: int) -> CpuState:
        """The power state of a CPU."""
        return self._states[cpu]

    def cpu_started(self, cpu: int) -> None:
        """A CPU that was switched on has executed its first instruction."""
        self._states[cpu] = CpuState.ON

    def call(self, x: tuple[int, ...], cpu: int) -> FirmwareResult:
        """An SMC #0 by `cpu` with x0, x1, ... in `x`; arguments left out are 0.

        The function ID is W0. An SMC32 call has 32-bit arguments. x1 to x3 are preserved.
        """
        given = (*x, 0, 0, 0, 0)
        identifier = given[0] & _MASK32
        width = _MASK64 if identifier & _SMC64 else _MASK32
        answer, power = self._answer(
            identifier, (given[1] & width, given[2] & width, given[3] & width), cpu
        )
        x0 = given[0] if answer is None else answer & _MASK64
        return FirmwareResult((x0, given[1], given[2], given[3]), power)

    def _answer(
        self, identifier: int, arguments: tuple[int, int, int], cpu: int
    ) -> tuple[int | None, PowerEvent | None]:
        """x0 (None: preserved) and the power event."""
        a, b, c = arguments
        match _function(identifier):
            case None:
                return Status.NOT_SUPPORTED, None
            case Function.SMCCC_VERSION:
                return SMCCC_1_2, None
            case Function.SMCCC_ARCH_FEATURES:
                return _arch_features(a & _MASK32), None
            case Function.SMCCC_ARCH_WORKAROUND_1 | Function.SMCCC_ARCH_WORKAROUND_2:
                return None, None
            case Function.PSCI_VERSION:
                return PSCI_1_1, None
            case Function.PSCI_FEATURES:
                return _psci_features(a & _MASK32), None
            case Function.MIGRATE_INFO_TYPE:
                return TRUSTED_OS_NOT_PRESENT, None
            case Function.CPU_SUSPEND:
                return self._cpu_suspend(cpu, power_state=a, entry=b, context_id=c)
            case Function.CPU_OFF:
                self._states[cpu] = CpuState.OFF
                return Status.SUCCESS, CpuOff(cpu)
            case Function.CPU_ON:
                return self._cpu_on(a, entry=b, context_id=c)
            case Function.AFFINITY_INFO:
                return self._affinity_info(a, b), None
            case Function.SYSTEM_OFF:
                return Status.SUCCESS, SystemOff()
            case Function.SYSTEM_RESET:
                return Status.SUCCESS, SystemReset()
            case Function.SYSTEM_RESET2:
                # reset_type 0 is SYSTEM_WARM_RESET, the only architectural one; the vendor's
                # types, with bit 31 set, are for this firmware to define, and it has none.
                if a & _MASK32:
                    return Status.INVALID_PARAMETERS, None
                return Status.SUCCESS, SystemReset(warm=True, cookie=b)

    def _cpu_on(
        self, target: int, *, entry: int, context_id: int
    ) -> tuple[Status, PowerEvent | None]:
        cpu = self._by_affinity(target)
        if cpu is None:
            return Status.INVALID_PARAMETERS, None
        if entry not in self._entry_points or entry % 4:
            return Status.INVALID_ADDRESS, None
        if self._states[cpu] is CpuState.ON:
            return Status.ALREADY_ON, None
        if self._states[cpu] is CpuState.ON_PENDING:
            return Status.ON_PENDING, None
        self._states[cpu] = CpuState.ON_PENDING
        return Status.SUCCESS, CpuOn(cpu, entry, context_id)

    def _cpu_suspend(
        self, cpu: int, *, power_state: int, entry: int, context_id: int
    ) -> tuple[Status, PowerEvent | None]:
        """power_state, original format: PowerLevel [25:24], StateType [16], StateID [15:0]."""
        power_state &= _MASK32
        if power_state & ~0x0301_FFFF or power_state >> 24 > 1:  # levels: core, cluster
            return Status.INVALID_PARAMETERS, None
        if not power_state >> 16 & 1:
            return Status.SUCCESS, CpuStandby(cpu)
        if entry not in self._entry_points or entry % 4:
            return Status.INVALID_ADDRESS, None
        return Status.SUCCESS, CpuPowerDown(cpu, entry, context_id)

    def _affinity_info(self, target: int, lowest_level: int) -> int:
        cpu = self._by_affinity(target)
        if cpu is None or lowest_level & _MASK32:  # from PSCI 1.0 only level 0 is required
            return Status.INVALID_PARAMETERS
        return self._states[cpu]

    def _by_affinity(self, target: int) -> int | None:
        return next((c for c in range(len(self._states)) if affinity(c) == target), None)

    def save(self) -> State:
        """The whole state."""
        return {"states": [int(state) for state in self._states]}

    def restore(self, state: Mapping[str, object]) -> None:
        """Become what was saved."""
        self._states = [CpuState(value) for value in saved_ints(state, "states")]


def _function(identifier: int) -> Function | None:
    """The function of an ID, if it exists in that calling form."""
    try:
        function = Function(identifier & ~_SMC64)
    except ValueError:
        return None
    if identifier & _SMC64 and function not in _WITH_SMC64:
        return None
    return function


def _arch_features(identifier: int) -> int:
    match identifier:
        case (
            Function.SMCCC_VERSION | Function.SMCCC_ARCH_FEATURES | Function.SMCCC_ARCH_WORKAROUND_1
        ):
            return Status.SUCCESS
        case Function.SMCCC_ARCH_WORKAROUND_2:
            return WORKAROUND_NOT_NEEDED
    return Status.NOT_SUPPORTED


def _psci_features(identifier: int) -> int:
    """0 for what exists (for CPU_SUSPEND: original StateID format, no OS-initiated mode)."""
    function = _function(identifier)
    is_psci = function is not None and function >= Function.PSCI_VERSION
    if is_psci or function is Function.SMCCC_VERSION:
        return Status.SUCCESS
    return Status.NOT_SUPPORTED
