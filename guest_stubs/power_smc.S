// SPDX-License-Identifier: Apache-2.0
    .text
    .global smc_system_off
smc_system_off:
    movz    w0, #0x8400, lsl #16
    movk    w0, #0x0008             // SYSTEM_OFF
    smc     #0
    b       power_off               // it returned: try the other conduit
