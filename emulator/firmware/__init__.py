# SPDX-License-Identifier: Apache-2.0
"""What answers by SMC from EL3."""
