// SPDX-License-Identifier: Apache-2.0
#include <stdint.h>

#include <el2/console.h>
#include <el2/power.h>
#include <el2/psci.h>
#include <el2/uart.h>

static bool has_firmware;

// A PSCI function by SMC. SMCCC 1.0 leaves X4 to X17 to the callee.
static int64_t firmware_call(uint32_t function, uint64_t a, uint64_t b, uint64_t c)
{
    register uint64_t x0 __asm__("x0") = function;
    register uint64_t x1 __asm__("x1") = a;
    register uint64_t x2 __asm__("x2") = b;
    register uint64_t x3 __asm__("x3") = c;
    __asm__ volatile("smc #0"
                     : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3)
                     :
                     : "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
                       "x16", "x17", "memory");
    return (int64_t)x0;
}

void power_init(bool psci_smc)
{
    has_firmware = psci_smc;
}

bool power_cpu_on(uint64_t mpidr, uint64_t entry)
{
    return has_firmware && firmware_call(PSCI_CPU_ON_64, mpidr, entry, 0) == 0;
}

_Noreturn void power_end(const char *reason)
{
    struct line line;
    line.used = 0;
    line_text(&line, "end: ");
    line_text(&line, reason);
    log_show(&line);
    uart_drain();
    if (has_firmware) {
        (void)firmware_call(PSCI_SYSTEM_OFF, 0, 0, 0);
    }
    for (;;) {
        __asm__ volatile("wfi");
    }
}
