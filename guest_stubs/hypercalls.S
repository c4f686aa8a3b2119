// SPDX-License-Identifier: Apache-2.0
// Calls by HVC #0 unless they say otherwise. x4-x30 hold a pattern and must keep it.
#include "runtime/probe_macros.h"

#define GARBAGE 0xdeadbeef00000000 // for the upper half of a register that is a W argument

    .macro call name:req, function:req, a1=0, a2=0, a3=0
    probe   "\name"
    ldr     x0, =\function
    ldr     x1, =\a1
    ldr     x2, =\a2
    ldr     x3, =\a3
    hvc     #0
    endprobe
    .endm

    table psci_probes
    call "psci-version", 0x84000000
    call "psci-version-upper-half", (GARBAGE | 0x84000000)
    .macro feature name, function
    call "psci-features-\name", 0x8400000a, \function
    .endm
    feature "version", 0x84000000
    feature "cpu-suspend", 0x84000001
    feature "cpu-suspend-64", 0xc4000001
    feature "cpu-off", 0x84000002
    feature "cpu-on", 0x84000003
    feature "cpu-on-64", 0xc4000003
    feature "affinity-info", 0x84000004
    feature "affinity-info-64", 0xc4000004
    feature "migrate-info-type", 0x84000006
    feature "system-off", 0x84000008
    feature "system-reset", 0x84000009
    feature "features", 0x8400000a
    feature "smccc-version", 0x80000000
    feature "unknown", 0x8400003f
    feature "vendor", 0x86000000
    feature "upper-half", (GARBAGE | 0x84000008)
    call "cpu-on-self", 0x84000003, 0, 0x40200000
    call "cpu-on-self-64", 0xc4000003, 0, 0x40200000
    call "cpu-on-self-upper-half", 0x84000003, GARBAGE, 0x40200000
    call "affinity-info-self", 0x84000004, 0, 0
    call "affinity-info-self-64", 0xc4000004, 0, 0
    call "affinity-info-upper-half", 0x84000004, GARBAGE, GARBAGE
    call "migrate-info-type", 0x84000006
    endtable

    table psci_bad_probes
    call "cpu-on-nobody", 0x84000003, 1, 0x40200000
    call "cpu-on-nobody-64", 0xc4000003, 1, 0x40200000
    call "cpu-on-far-affinity", 0xc4000003, 0xff00000000, 0x40200000
    call "cpu-on-reserved-bits", 0xc4000003, 0x80000000, 0x40200000
    call "affinity-info-nobody", 0x84000004, 1, 0
    call "affinity-info-level-4", 0x84000004, 0, 4
    call "psci-version-64", 0xc4000000
    call "system-off-64", 0xc4000008
    call "migrate", 0x84000005, 0
    call "cpu-freeze", 0x8400000b
    call "system-suspend", 0xc400000e, 0x40200000
    call "system-reset2-unknown-type", 0x84000012, 0x12345678
    call "psci-unknown", 0x8400003f
    endtable

    table smccc_probes
    call "smccc-version", 0x80000000
    call "arch-features-version", 0x80000001, 0x80000000
    call "arch-features-itself", 0x80000001, 0x80000001
    call "arch-features-unknown", 0x80000001, 0x80003abc
    call "arch-features-psci", 0x80000001, 0x84000063
    endtable

    table vendor_probes
    call "call-count", 0x8600ff00
    call "call-uid", 0x8600ff01
    call "revision", 0x8600ff03
    call "aether-version", 0x86000000
    call "aether-version-upper-half", (GARBAGE | 0x86000000)
    call "aether-features-version", 0x86000001, 0x86000000
    call "aether-features-features", 0x86000001, 0x86000001
    call "aether-features-console", 0x86000001, 0xc6000002
    call "aether-features-unknown", 0x86000001, 0x8600abcd
    call "aether-features-upper-half", 0x86000001, (GARBAGE | 0x86000000)
    endtable

    table unknown_probes
    call "zero", 0
    call "yielding", 0x04000000
    call "yielding-64", 0x46000000
    call "minus-one", 0xffffffffffffffff
    call "minus-one-32", 0xffffffff
    call "arch-unknown", 0x80003abc
    call "sip", 0x82000001
    call "oem", 0x83000001
    call "standard-hypervisor", 0x85000001
    call "trusted-os", 0xb2000001
    call "vendor-unknown", 0x86001234
    call "vendor-reserved", 0x8600ff02
    call "vendor-reserved-bits", 0x86010000
    call "vendor-version-64", 0xc6000000
    call "vendor-console-32", 0x86000002, 0
    endtable

    .macro write name:req, count:req
    probe   "\name"
    ldr     x0, =0xc6000002
    ldr     x1, =\count
    ldr     x2, =0x6867666564636261
    ldr     x3, =0x706f6e6d6c6b6a69
    ldr     x4, =0x7877767574737271
    ldr     x5, =0x4645444342417a79
    ldr     x6, =0x4e4d4c4b4a494847
    ldr     x7, =0x565554535251504f
    hvc     #0
    endprobe
    .endm

    table console_probes
    write "console-0", 0
    write "console-1", 1
    write "console-7", 7
    write "console-8", 8
    write "console-48", 48
    write "console-49", 49
    write "console-huge", 0xffffffffffffffff
    write "console-2-32", 0x100000001
    endtable

    table conduit_probes
    .macro conduit name, insn
    probe   "\name"
    ldr     x0, =0x84000000
    \insn
    endprobe
    .endm
    conduit "by-hvc", "hvc #0"
    conduit "by-smc", "smc #0"
    conduit "by-hvc-1", "hvc #1"
    conduit "by-hvc-ffff", "hvc #0xffff"
    conduit "by-smc-1", "smc #1"
    conduit "by-smc-ffff", "smc #0xffff"
    probe "unknown-by-smc"
    ldr     x0, =0x82000001
    smc     #0
    endprobe
    probe "by-hvc-el1t", pstate=EL1T
    ldr     x0, =0x84000000
    hvc     #0
    endprobe
    // Two calls one after the other: the return address advanced by one instruction each time.
    probe "by-smc-then-hvc"
    ldr     x0, =0x84000000
    smc     #0
    ldr     x0, =0x86000000
    hvc     #0
    ldr     x0, =0x84000000
    smc     #0
    endprobe
    endtable
