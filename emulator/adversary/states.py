# SPDX-License-Identifier: Apache-2.0
"""The classes of which the states of adversaries are made, for those who write them down."""

from aether_edgecloud.emulator.adversary.caches import SavedCaches, UninitialisedRead
from aether_edgecloud.emulator.adversary.tlb import Conflict, CpuTlbState, TlbState
from aether_edgecloud.emulator.adversary.tlb_exposure import ExposureState
from aether_edgecloud.emulator.adversary.tlb_garbage import GarbageState
from aether_edgecloud.emulator.adversary.tlb_stage1 import Leaving, Stage1State
from aether_edgecloud.emulator.cpu.observation import Unseen
from aether_edgecloud.emulator.cpu.views import SavedViews
from aether_edgecloud.emulator.interleave.interleaver import InterleaverState
from aether_edgecloud.emulator.interleave.switch_points import SwitchPointsSaved
from aether_edgecloud.emulator.monitor.entries import _Flush, _Group
from aether_edgecloud.emulator.monitor.journal import SavedTables
from aether_edgecloud.emulator.monitor.monitor import SavedMonitor
from aether_edgecloud.emulator.monitor.registers import CpuRegisters
from aether_edgecloud.emulator.monitor.trees import LivePage, Tree
from aether_edgecloud.emulator.monitor.unclean import Unclean
from aether_edgecloud.stage2.decode import Geometry, Regime

STATES: tuple[type, ...] = (
    SavedMonitor,
    Unseen,
    SavedTables,
    Unclean,
    _Group,
    _Flush,
    CpuRegisters,
    LivePage,
    Tree,
    Geometry,
    Regime,
    InterleaverState,
    SwitchPointsSaved,
    TlbState,
    CpuTlbState,
    Conflict,
    ExposureState,
    GarbageState,
    Stage1State,
    Leaving,
    SavedCaches,
    SavedViews,
    UninitialisedRead,
)
