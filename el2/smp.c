// SPDX-License-Identifier: Apache-2.0
#include <el2/gic.h>
#include <el2/mm.h>
#include <el2/power.h>
#include <el2/sched.h>
#include <el2/smp.h>
#include <el2/vcpu.h>
#include <el2/image.h>

#define WHERE "board CPU"

struct cpu cpus[CPU_MAX];
uint32_t cpu_count;

// Not static: boot.S takes it up. The CPU that is being started.
struct cpu *smp_starting;

static uint64_t start_time; // of the schedule; 0: not yet

__attribute__((visibility("hidden"))) void boot_secondary(void); // in boot.S
_Noreturn void smp_main(void);

bool smp_init(const struct board *board, struct boot_error *error)
{
    cpu_count = board->cpu_count;
    for (uint32_t i = 0; i < cpu_count; i++) {
        cpus[i].index = i;
        cpus[i].mpidr = board->cpus[i].mpidr;
        cpus[i].stack_top = image_address(stack_start) + i * STACK_STEP + STACK_SIZE;
        cpus[i].panic_stack_top =
            image_address(panic_stack_start) + i * PANIC_STACK_STEP + PANIC_STACK_SIZE;
    }
    if (cpu_count == 0 || cpus[0].mpidr != (READ_SYSREG(mpidr_el1) & MPIDR_AFFINITY)) {
        return refuse(error, WHERE, "the one that booted is not the first of /cpus",
                      "check the board's device tree");
    }
    return true;
}

// The entry point for a CPU that watches `release`.
static bool release_cpu(pa_t release)
{
    if (!mm_map(release, 8, MM_READ_WRITE)) {
        return false;
    }
    *(volatile uint64_t *)mm_pointer(release) = (uint64_t)(uintptr_t)boot_secondary;
    mm_flush(release, 8);
    __asm__ volatile("sev"); // it sleeps in WFE; mm_flush() has completed the store
    mm_unmap(release, 8);
    return true;
}

static bool start(struct cpu *cpu, const struct board_cpu *from)
{
    smp_starting = cpu;
    // It reads these with its MMU off.
    mm_flush(pa_of((uintptr_t)&smp_starting), sizeof(smp_starting));
    mm_flush(pa_of((uintptr_t)&mm_boot_registers), sizeof(mm_boot_registers));
    mm_flush(pa_of((uintptr_t)cpu), sizeof(*cpu));
    bool started = from->enable == BOARD_ENABLE_SPIN_TABLE
                       ? release_cpu(from->release)
                       : power_cpu_on(cpu->mpidr, (uintptr_t)boot_secondary);
    uint64_t limit = counter() + READ_SYSREG(cntfrq_el0); // one second
    while (started && __atomic_load_n(&cpu->online, __ATOMIC_ACQUIRE) == 0) {
        started = counter() < limit;
    }
    return started;
}

bool smp_start(const struct board *board, struct boot_error *error)
{
    for (uint32_t i = 1; i < cpu_count; i++) {
        if (cpus[i].slot_count != 0 && !start(&cpus[i], &board->cpus[i])) {
            return refuse(error, WHERE, "one that the schedule uses does not start",
                          "give its slots to other CPUs");
        }
    }
    return true;
}

_Noreturn void smp_run(void)
{
    // Far enough ahead for all of them to be there.
    uint64_t start = counter() + READ_SYSREG(cntfrq_el0) / 1000;
    for (uint32_t i = 0; i < vm_count; i++) {
        vm_boot(&vms[i], start);
    }
    __atomic_store_n(&start_time, start, __ATOMIC_RELEASE);
    __asm__ volatile("dsb ishst\n sev" : : : "memory"); // stored before they wake
    sched_run(start);
}

// Where boot.S leaves to on a CPU that start() has started.
_Noreturn void smp_main(void)
{
    struct cpu *cpu = this_cpu();
    vcpu_init_cpu();
    gic_cpu_init();
    __atomic_store_n(&cpu->online, 1, __ATOMIC_RELEASE);
    uint64_t start = 0;
    while (start == 0) {
        __asm__ volatile("wfe");
        start = __atomic_load_n(&start_time, __ATOMIC_ACQUIRE);
    }
    sched_run(start);
}
