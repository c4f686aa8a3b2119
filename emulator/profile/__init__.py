# SPDX-License-Identifier: Apache-2.0
"""What any EL2 binary does with its instructions: what each exit costs, and in which functions.

It knows the architecture and the board, and no hypervisor.
"""

from aether_edgecloud.emulator.profile.profile import Profile
from aether_edgecloud.emulator.profile.profiler import Profiler

__all__ = ["Profile", "Profiler"]
