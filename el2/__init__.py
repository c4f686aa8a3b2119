# SPDX-License-Identifier: Apache-2.0
"""Sources of the EL2 hypervisor: C11 and A64 assembly, built by `emulator.toolchain`."""
