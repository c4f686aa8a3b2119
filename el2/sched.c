// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include <el2/console.h>
#include <el2/gic.h>
#include <el2/power.h>
#include <el2/sched.h>
#include <el2/traps.h>
#include <el2/vcpu.h>

#define US_PER_SECOND 1000000u
#define KICK_MARGIN_US 160u // a kick takes less; so it never lands in another's slot
#define RESERVE_US 8u       // of a window, for what follows the console

// In ticks; written before a second CPU runs.
static uint64_t frame;
static uint64_t window;
static uint64_t kick_margin;
static uint64_t step;
static uint64_t reserve;

void sched_init(const struct schedule_config *schedule)
{
    uint64_t frequency = READ_SYSREG(cntfrq_el0);
    frame = schedule->frame_us * frequency / US_PER_SECOND;
    window = schedule->window_us * frequency / US_PER_SECOND;
    kick_margin = KICK_MARGIN_US * frequency / US_PER_SECOND;
    step = SLOT_STEP_US * frequency / US_PER_SECOND;
    reserve = RESERVE_US * frequency / US_PER_SECOND;
    for (uint32_t c = 0; c < cpu_count; c++) {
        struct cpu *cpu = &cpus[c];
        cpu->telemetry = &telemetry_page.hypervisor.cpus[c];
        cpu->slot_count = schedule->slot_count[c];
        for (uint32_t i = 0; i < cpu->slot_count; i++) {
            const struct slot_config *slot = &schedule->slots[c][i];
            uint64_t end_us = (uint64_t)slot->offset_us + slot->length_us;
            struct vcpu *vcpu = NULL;
            if (slot->vm != SLOT_IDLE) {
                vcpu = &vms[slot->vm].vcpus[slot->vcpu];
                vcpu->cpu = cpu;
                uint32_t own_us = slot->length_us - schedule->window_us - SLOT_ENTRY_US;
                vcpu->longest_us = own_us > vcpu->longest_us ? own_us : vcpu->longest_us;
            }
            cpu->slots[i] = (struct slot){vcpu, slot->offset_us * frequency / US_PER_SECOND,
                                          end_us * frequency / US_PER_SECOND};
        }
    }
    if (cpus[0].slot_count == 0) { // it has the UART all the same
        cpus[0].slots[0] = (struct slot){NULL, 0, frame};
        cpus[0].slot_count = 1;
    }
    telemetry_start(cpu_count, frame, window, frequency);
}

void vcpu_kick(const struct vcpu *target)
{
    __asm__ volatile("dmb ish" : : : "memory"); // what changed is seen before it looks
    uint64_t until = __atomic_load_n(&target->run_until, __ATOMIC_RELAXED);
    const struct cpu *cpu = this_cpu();
    if (target->cpu != cpu && counter() + kick_margin < until) {
        gic_kick(target->cpu);
        if (cpu->current != NULL) {
            telemetry_sent_kick(cpu->current);
        }
    }
}

static void publish(struct vcpu *vcpu, uint64_t until)
{
    __atomic_store_n(&vcpu->run_until, until, __ATOMIC_RELAXED);
    __asm__ volatile("dmb ish" : : : "memory"); // before a look at what would have been a kick
}

static void arm(uint64_t at)
{
    WRITE_SYSREG(cnthp_cval_el2, at);
    WRITE_SYSREG(cnthp_ctl_el2, TIMER_ENABLE);
    isb(); // armed before a sleep
}

static void wait_for_interrupt(void)
{
    __asm__ volatile("dsb sy\n wfi" : : : "memory"); // all stores done before the sleep
}

// Nothing else wakes the CPU, so that it goes on at exactly this tick.
static void sleep_until(uint64_t at)
{
    arm(at);
    while (counter() < at) {
        wait_for_interrupt();
    }
}

// Where no guest runs: kicks, one from each CPU at most, and the end of the slot. None is left to
// be taken in the next slot.
static void take_interrupts(void)
{
    for (uint32_t i = 0; i < CPU_MAX; i++) {
        uint32_t iar = gic_acknowledge();
        if ((iar & GIC_INTID_MASK) >= GIC_FIRST_SPECIAL) {
            return;
        }
        gic_drop(iar);
        gic_deactivate(iar);
    }
}

// In a slot whose vCPU cannot run: work for its VM, or sleep. True: it can run now. Not if it has
// given the slot up.
static bool serve(struct cpu *cpu, struct vcpu *vcpu, bool given_up)
{
    bool runs = false;
    arm(cpu->slot_end);
    publish(vcpu, cpu->slot_end);
    gic_window(false);
    while (!runs && counter() + step < cpu->slot_end) {
        runs = !given_up && vm_take_up(vcpu);
        if (!runs) {
            if (given_up || !vm_step(vcpu)) {
                wait_for_interrupt();
            }
            take_interrupts();
        }
    }
    if (!runs) {
        publish(vcpu, 0);
        gic_window(true);
        sleep_until(cpu->slot_end);
        return false;
    }
    if (vcpu->index == 0) {
        vm_publish(vcpu->vm);
    }
    vcpu_load(vcpu);
    cpu->current = vcpu;
    return true;
}

static void next_slot(struct cpu *cpu)
{
    uint64_t now = counter();
    if (++cpu->slot == cpu->slot_count) {
        cpu->slot = 0;
        cpu->frame_start += frame;
    }
    if (now >= cpu->frame_start + cpu->slots[cpu->slot].end) { // missed: to the one it is time for
        cpu->frame_start += (now - cpu->frame_start) / frame * frame;
        cpu->slot = 0;
        while (now >= cpu->frame_start + cpu->slots[cpu->slot].end) {
            cpu->slot++;
        }
    }
    cpu->slot_end = cpu->frame_start + cpu->slots[cpu->slot].end;
}

// What EL2 does in a window, before it sleeps. Nothing in it looks at the VM whose slot begins:
// when it is done depends on whose slot has ended.
static void work(struct cpu *cpu, struct vcpu *vcpu, uint64_t entry)
{
    if (cpu->current != vcpu && cpu->current != NULL) {
        vcpu_save(cpu->current);
        cpu->current = NULL;
    }
    if (cpu->index == 0) {
        vm_end_machine();
        // Late already (a simulator that follows the host's clock): then it does not matter.
        uint64_t until = entry - reserve;
        uint64_t now = counter();
        console_window(now < until ? until : now + window);
    }
}

// After the window. True: the vCPU can run, and is loaded.
static bool take_up(struct cpu *cpu, struct vcpu *vcpu)
{
    publish(vcpu, cpu->slot_end);
    bool runs = vm_take_up(vcpu);
    if (!runs && cpu->current != NULL) {
        vcpu_save(vcpu);
        cpu->current = NULL;
    } else if (runs && cpu->current == NULL) {
        vcpu_load(vcpu);
        cpu->current = vcpu;
        telemetry_add_one(&cpu->telemetry->switches);
    }
    if (runs && vcpu->index == 0) {
        vm_publish(vcpu->vm);
        vpl011_slot(vcpu->vm);
    }
    return runs;
}

// True: its window was missed.
static bool count_slot(struct cpu *cpu, uint64_t ticks)
{
    bool late = ticks > window;
    telemetry_add_one(&cpu->telemetry->slots);
    cpu->telemetry->late += late;
    if (ticks > cpu->telemetry->most_ticks) {
        cpu->telemetry->most_ticks = ticks;
    }
    return late;
}

// The window of the current slot. True: its vCPU is loaded, and to be entered at once.
static bool open_slot(struct cpu *cpu)
{
    const struct slot *slot = &cpu->slots[cpu->slot];
    uint64_t start = cpu->frame_start + slot->start;
    work(cpu, slot->vcpu, start + window);
    bool late = count_slot(cpu, counter() - start);
    sleep_until(start + window);
    bool runs = slot->vcpu != NULL && take_up(cpu, slot->vcpu);
    cpu->telemetry->idle_slots += !runs;
    if (runs) {
        telemetry_add_one(&slot->vcpu->telemetry->slots);
        slot->vcpu->telemetry->late += late;
    }
    arm(cpu->slot_end);
    gic_window(false);
    return runs;
}

static _Noreturn void enter(struct cpu *cpu)
{
    if (vgic_changed(&cpu->current->vgic)) {
        vgic_enter(cpu->current);
    }
    if (cpu->current->ffa.blocked) {
        guest_wait();
    }
    guest_enter();
}

// Its interrupts are taken as if the guest ran.
_Noreturn void sched_wait(void)
{
    struct vcpu *vcpu = this_cpu()->current;
    while (!ffa_wait_ends(vcpu)) {
        wait_for_interrupt();
        trap_interrupt(vcpu); // does not return when the slot ends, or the VM is not to run
    }
    guest_enter();
}

// Until a guest can be entered. From the end of the window's sleep on, the way to the guest does
// not depend on what ran before.
static _Noreturn void run(struct cpu *cpu)
{
    bool runs = false;
    while (!runs) {
        next_slot(cpu);
        runs = open_slot(cpu);
        struct vcpu *vcpu = cpu->slots[cpu->slot].vcpu;
        if (!runs && vcpu != NULL) {
            runs = serve(cpu, vcpu, false);
        } else if (!runs) {
            gic_window(true);
            sleep_until(cpu->slot_end);
        }
    }
    enter(cpu);
}

_Noreturn void sched_slot_end(void)
{
    struct cpu *cpu = this_cpu();
    gic_window(true);
    publish(cpu->current, 0);
    run(cpu);
}

static _Noreturn void give_up(bool whole_slot)
{
    struct cpu *cpu = this_cpu();
    struct vcpu *vcpu = cpu->current;
    vcpu_save(vcpu);
    cpu->current = NULL;
    if (serve(cpu, vcpu, whole_slot)) {
        enter(cpu);
    }
    run(cpu);
}

_Noreturn void sched_park(void)
{
    give_up(false);
}

bool sched_has_time(uint64_t ticks)
{
    return counter() + ticks < this_cpu()->slot_end;
}

_Noreturn void sched_yield_slot(void)
{
    give_up(true);
}

_Noreturn void sched_run(uint64_t start)
{
    struct cpu *cpu = this_cpu();
    cpu->slot = cpu->slot_count - 1;
    cpu->frame_start = start - frame;
    gic_window(true);
    sleep_until(start);
    run(cpu);
}
