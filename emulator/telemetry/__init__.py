# SPDX-License-Identifier: Apache-2.0
"""The hypervisor's counters: read from its pages, published for others to watch."""
