// SPDX-License-Identifier: Apache-2.0
#include <stdint.h>

#include <el2/console.h>
#include <el2/power.h>
#include <el2/psci.h>
#include <el2/uart.h>

static bool has_firmware;

void power_init(bool psci_smc)
{
    has_firmware = psci_smc;
}

_Noreturn void power_end(const char *reason)
{
    log_begin();
    log_text("end: ");
    log_text(reason);
    log_end();
    uart_drain();
    if (has_firmware) {
        register uint64_t function __asm__("x0") = PSCI_SYSTEM_OFF;
        __asm__ volatile("smc #0"
                         : "+r"(function)
                         :
                         : "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11",
                           "x12", "x13", "x14", "x15", "x16", "x17", "memory");
    }
    for (;;) {
        __asm__ volatile("wfi");
    }
}
