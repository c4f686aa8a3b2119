# SPDX-License-Identifier: Apache-2.0
"""Bundles: what the hypervisor is given at boot besides itself.

A bundle is one file with a manifest (a DTB that describes the VMs) and the guests' images. It is
handed over as an initrd, so QEMU, board firmware and the emulator all pass it the same way.
`toml` reads what people write, `manifest` is the typed description, `build` puts a bundle
together, `format` is its outer layout, `check` holds the rules both sides of the boot agree on.
"""
