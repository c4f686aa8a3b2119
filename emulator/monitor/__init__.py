# SPDX-License-Identifier: Apache-2.0
"""Watches what EL2 does to translation: knows the architecture, and no hypervisor."""
