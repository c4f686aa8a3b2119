# SPDX-License-Identifier: Apache-2.0
"""The architecture as pure models: registers, syndromes, traps, exceptions, decoding, the MMU."""
