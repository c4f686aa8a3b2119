// SPDX-License-Identifier: Apache-2.0
// The life of a VM. Whoever wants it to end says so and wakes its vCPUs; when all are parked, the
// first vCPU's pCPU does the rest.
#include <stddef.h>

#include <el2/console.h>
#include <el2/power.h>
#include <el2/sched.h>
#include <el2/vcpu.h>
#include <el2/vm_load.h>

#define CRASH_LINES 4u // before those of the registers
#define REGISTERS_A_LINE 4u
#define RECORD_END (CRASH_LINES + 8u)

// Counts what vm_move() has done: whether a look at all VMs has missed one.
static uint32_t moves;

// Out of a state that nobody else takes it out of.
static void set_state(struct vm *vm, enum vm_state state)
{
    vm->step = 0;
    vm->offset = 0;
    __atomic_store_n(&vm->state, state, __ATOMIC_RELEASE);
    vm_publish(vm);
}

static void reset_hardware(struct vm *vm)
{
    vgic_reset(vm);
    for (uint32_t i = 0; i < vm->config.device_count; i++) {
        const struct vm_device_config *device = &vm->config.devices[i];
        vpl011_reset(vm, &vm->uarts[i], device->interrupt_count != 0 ? device->interrupts[0] : 0);
    }
    spin_lock(&vm->lock);
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        vm->vcpus[i].parked = false;
        vm->vcpus[i].power = VCPU_OFF;
    }
    vm->ended = false;
    spin_unlock(&vm->lock);
}

static void begin(struct vm *vm, uint64_t time)
{
    spin_lock(&vm->lock);
    vm->begins = false;
    vm->cntvoff = time;
    vm->vcpus[0].entry = ipa_value(vm->config.entry);
    vm->vcpus[0].context = ipa_value(vm->config.dtb_address);
    vm->vcpus[0].power = VCPU_ON_PENDING;
    spin_unlock(&vm->lock);
}

static void start(struct vm *vm, uint64_t time)
{
    reset_hardware(vm);
    begin(vm, time);
    set_state(vm, VM_RUNNING);
}

void vm_boot(struct vm *vm, uint64_t time)
{
    if (vm->config.manual) {
        set_state(vm, VM_ABSENT);
    } else {
        start(vm, time);
    }
}

static void kick_all(const struct vm *vm)
{
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        vcpu_kick(&vm->vcpus[i]);
    }
}

bool vm_move(struct vm *vm, uint32_t from, enum vm_state to)
{
    enum vm_state state = __atomic_load_n(&vm->state, __ATOMIC_ACQUIRE);
    bool moved = false;
    // Again if the VM itself, or another one, was faster, and has left it in such a state.
    for (uint32_t tries = 0; tries < VM_MAX && !moved && (from & 1u << state) != 0; tries++) {
        moved = __atomic_compare_exchange_n(&vm->state, &state, to, false, __ATOMIC_ACQ_REL,
                                            __ATOMIC_ACQUIRE);
    }
    if (moved) {
        (void)__atomic_fetch_add(&moves, 1, __ATOMIC_RELEASE);
        kick_all(vm);
    }
    return moved;
}

bool vm_stop_later(struct vm *vm)
{
    const uint32_t between =
        1u << VM_STOPPING | 1u << VM_RELEASING | 1u << VM_RECORDING | 1u << VM_LOADING;
    if ((between & 1u << __atomic_load_n(&vm->state, __ATOMIC_ACQUIRE)) == 0) {
        return false;
    }
    __atomic_store_n(&vm->unwanted, true, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); // before the caller's look at the state
    return true;
}

bool vm_take_up(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    if (vm_is_running(vm) && vcpu->power == VCPU_ON) { // who ends that kicks
        return true;
    }
    spin_lock(&vm->lock);
    bool runs = vm->state == VM_RUNNING && vcpu->power != VCPU_OFF;
    if (runs && vcpu->power == VCPU_ON_PENDING) {
        vcpu_reset(vcpu, vcpu->entry, vcpu->context);
        vcpu->power = VCPU_ON;
    }
    // Not while its registers are still in the pCPU.
    bool parks = vm->state == VM_STOPPING && !vcpu->parked && this_cpu()->current != vcpu;
    vcpu->parked |= parks;
    spin_unlock(&vm->lock);
    if (parks) {
        vcpu_kick(&vm->vcpus[0]); // perhaps it waited for this one
    }
    return runs;
}

static bool all_parked(struct vm *vm)
{
    bool parked = true;
    spin_lock(&vm->lock);
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        parked = parked && vm->vcpus[i].parked;
    }
    spin_unlock(&vm->lock);
    return parked;
}

static bool restarts(const struct vm *vm)
{
    return vm->end != VM_END_STOPPED &&
           (vm->end == VM_END_RESET || vm->config.restart == VM_RESTART_ALWAYS ||
            (vm->end == VM_END_CRASH && vm->config.restart == VM_RESTART_CRASH));
}

static void describe_end(const struct vm *vm, struct line *line)
{
    line_text(line, "vm ");
    line_text(line, vm->config.name);
    if (vm->end == VM_END_CRASH) {
        line_text(line, ": crash: ");
        line_text(line, vm->crash.why);
    } else {
        line_text(line, vm->end == VM_END_RESET ? ": reset"
                        : vm->end == VM_END_OFF ? ": off"
                                                : ": stopped");
    }
    if (vm->end != VM_END_RESET && restarts(vm)) {
        line_text(line, "; restarts");
    }
}

// Line `step` of the record of a crash.
static void describe_crash(const struct vm_crash_record *crash, uint32_t step, struct line *line)
{
    switch (step) {
    case 1:
        line_named(line, "  pc ", crash->pc);
        line_named(line, " spsr ", crash->pstate);
        break;
    case 2:
        line_named(line, "  esr ", crash->esr);
        line_text(line, " (");
        line_text(line, exception_class_name(crash->esr >> ESR_EC_SHIFT & ESR_EC_MASK));
        line_text(line, ")");
        break;
    case 3:
        line_named(line, "  far ", crash->far);
        line_named(line, " ipa ", crash->ipa);
        break;
    default:
        line_registers(line, crash->x, REGISTERS_A_LINE * (step - CRASH_LINES));
    }
}

// False: the console has no room for the line yet.
static bool record(struct vm *vm)
{
    struct line line;
    line.used = 0;
    if (vm->step == 0) {
        describe_end(vm, &line);
    } else {
        describe_crash(&vm->crash, vm->step, &line);
    }
    // The only VM's end is the machine's, which says why.
    bool silent = vm_count == 1 && vm->end == VM_END_OFF && !restarts(vm);
    if (!silent && !vm_log(vm, &line)) {
        return false;
    }
    vm->step++;
    if (vm->end != VM_END_CRASH || vm->step == RECORD_END) {
        vm->restarts = restarts(vm) && !__atomic_load_n(&vm->unwanted, __ATOMIC_RELAXED);
        if (!vm->restarts) {
            __atomic_store_n(&vm->unwanted, false, __ATOMIC_RELAXED);
        }
        set_state(vm, vm->restarts ? VM_LOADING : VM_DOWN);
    }
    return true;
}

// False: the console has no room for the line yet.
static bool log_start(struct vm *vm)
{
    struct line line;
    line.used = 0;
    line_text(&line, "vm ");
    line_text(&line, vm->config.name);
    line_text(&line, ": start");
    return vm_log(vm, &line);
}

// Its memory is as it is to be for the first instruction.
static void loaded(struct vm *vm)
{
    if (vm->restarts) {
        telemetry_add_one(&vm->telemetry->restarts);
        start(vm, this_cpu()->frame_start);
    } else {
        reset_hardware(vm);
        vm->begins = true;
        set_state(vm, VM_READY);
    }
    // The new state is stored before the look, as vm_stop_later() looks after its store.
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (__atomic_load_n(&vm->unwanted, __ATOMIC_RELAXED)) {
        (void)vm_move(vm, 1u << VM_RUNNING | 1u << VM_READY, VM_STOPPING);
    }
}

static bool release(struct vm *vm)
{
    bool more = vm->config.ffa && (ffa_messages_release(vm) || ffa_notifications_release(vm) ||
                                   ffa_memory_release_step(vm));
    if (!more) {
        set_state(vm, VM_RECORDING);
    }
    return true;
}

bool vm_step(struct vcpu *vcpu)
{
    struct vm *vm = vcpu->vm;
    if (vcpu->index != 0) {
        return false;
    }
    vm_publish(vm);
    switch (__atomic_load_n(&vm->state, __ATOMIC_ACQUIRE)) {
    case VM_RUNNING:
        if (!vm->begins || !log_start(vm)) {
            return false;
        }
        begin(vm, this_cpu()->frame_start);
        return true;
    case VM_STOPPING:
        if (!all_parked(vm)) {
            return false;
        }
        vm->end = vm->ended ? vm->end : VM_END_STOPPED;
        if (vm->end == VM_END_CRASH) {
            telemetry_add_one(&vm->telemetry->crashes);
        }
        set_state(vm, VM_RELEASING);
        return true;
    case VM_RELEASING:
        return release(vm);
    case VM_RECORDING:
        return record(vm);
    case VM_LOADING:
        if (vm_load_page(vm) == VM_LOAD_DONE) {
            loaded(vm);
        }
        return true;
    case VM_SCRUBBING:
        if (vm_scrub_page(vm) == VM_LOAD_DONE) {
            set_state(vm, VM_ABSENT);
        }
        return true;
    default:
        return false;
    }
}

void vm_end_machine(void)
{
    const uint32_t dormant = 1u << VM_DOWN | 1u << VM_READY | 1u << VM_PAUSED | 1u << VM_ABSENT;
    uint32_t before = __atomic_load_n(&moves, __ATOMIC_ACQUIRE);
    bool crash = false;
    for (uint32_t i = 0; i < vm_count; i++) {
        if ((dormant & 1u << __atomic_load_n(&vms[i].state, __ATOMIC_ACQUIRE)) == 0) {
            return;
        }
        crash |= vms[i].end == VM_END_CRASH;
    }
    if (__atomic_load_n(&moves, __ATOMIC_ACQUIRE) != before) {
        return; // one was woken behind the look, perhaps by one ahead of it
    }
    console_flush_all();
    power_end(crash ? "guest-crash" : "guest-off");
}

// `why`: of a crash.
static _Noreturn void stop(struct vcpu *vcpu, enum vm_end end, const char *why, ipa_t ipa)
{
    struct vm *vm = vcpu->vm;
    spin_lock(&vm->lock);
    // RUNNING, or just PAUSED. The first to end it says why, unless a VM that manages it was
    // faster.
    if (__atomic_exchange_n(&vm->state, VM_STOPPING, __ATOMIC_ACQ_REL) != VM_STOPPING) {
        vm->end = end; // nobody looks before this vCPU is parked
        vm->ended = true;
        if (end == VM_END_CRASH) {
            struct vm_crash_record *crash = &vm->crash;
            crash->why = why;
            for (unsigned i = 0; i < 31; i++) {
                crash->x[i] = vcpu->x[i];
            }
            crash->pc = vcpu->pc;
            crash->pstate = vcpu->pstate;
            crash->esr = READ_SYSREG(esr_el2);
            crash->far = READ_SYSREG(far_el2);
            crash->ipa = ipa_value(ipa);
        }
    }
    spin_unlock(&vm->lock);
    kick_all(vm);
    sched_park();
}

_Noreturn void vm_off(struct vcpu *vcpu)
{
    stop(vcpu, VM_END_OFF, NULL, ipa_of(0));
}

_Noreturn void vm_reset(struct vcpu *vcpu)
{
    stop(vcpu, VM_END_RESET, NULL, ipa_of(0));
}

_Noreturn void vm_crash(struct vcpu *vcpu, const char *why, ipa_t ipa)
{
    stop(vcpu, VM_END_CRASH, why, ipa);
}
