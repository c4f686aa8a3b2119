# SPDX-License-Identifier: Apache-2.0
"""Translation tables: the C library, its specification, the decoder and the host build."""
