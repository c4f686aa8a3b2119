# SPDX-License-Identifier: Apache-2.0
"""Checkers that know the Arm architecture and no hypervisor, for any EL2 binary."""
