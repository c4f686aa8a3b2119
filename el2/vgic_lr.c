// SPDX-License-Identifier: Apache-2.0
// From the words of the vGIC to list registers and back. A list register is written as pending or
// as active, never both: an interrupt that is both waits for the end of the first, which the EOI
// bit (or, without a list register, EOICount) reports.
#include <el2/memory.h>
#include <el2/vgic_words.h>

#define STATE (GICH_LR_PENDING | GICH_LR_ACTIVE)

void vgic_touch(struct vcpu *vcpu)
{
    __atomic_store_n(&vcpu->vgic.changed, true, __ATOMIC_RELEASE);
    vcpu_kick(vcpu);
}

void vgic_notify(struct vcpu *vcpu, uint32_t index, uint32_t bits)
{
    struct vm *vm = vcpu->vm;
    uint32_t unclaimed = bits & ~vgic_word(vcpu, index)->claimed;
    for (uint32_t i = 0; i < vm->vcpu_count && bits != 0; i++) {
        struct vcpu *other = &vm->vcpus[i];
        uint32_t its = (bits & other->vgic.owned[index]) | (unclaimed & other->vgic.route[index]);
        if (its != 0 && (index != 0 || other == vcpu)) {
            vgic_touch(other);
        }
    }
}

static bool any(const uint32_t set[VGIC_WORDS])
{
    return (set[0] | set[1] | set[2]) != 0;
}

// Takes the interrupt of highest priority, of these the first, out of a set that is not empty. It
// takes the same time however many there are.
static uint32_t take_first(struct vcpu *vcpu, uint32_t set[VGIC_WORDS])
{
    uint32_t best[VGIC_WORDS] = {set[0], set[1], set[2]};
    for (uint32_t i = 0; i < VGIC_PRIORITY_BITS; i++) {
        uint32_t urgent[VGIC_WORDS];
        for (uint32_t index = 0; index < VGIC_WORDS; index++) {
            urgent[index] = best[index] & ~vgic_word(vcpu, index)->priority[i];
        }
        for (uint32_t index = 0; index < VGIC_WORDS && any(urgent); index++) {
            best[index] = urgent[index];
        }
    }
    uint32_t index = best[0] != 0 ? 0 : best[1] != 0 ? 1 : 2;
    uint32_t bit = (uint32_t)__builtin_ctz(best[index]);
    set[index] &= ~(1u << bit);
    return 32 * index + bit;
}

static void set_active(struct vcpu *vcpu, uint32_t intid, bool active)
{
    struct vgic_cpu *vgic = &vcpu->vgic;
    uint32_t index = intid / 32;
    uint32_t bit = 1u << intid % 32;
    struct vgic_word *word = vgic_word(vcpu, index);
    if ((vgic->overridden[index] & bit) == 0) {
        word->active = active ? word->active | bit : word->active & ~bit;
    }
    if ((word->active & bit) == 0) {
        vgic->owned[index] &= ~bit;
        word->claimed &= ~bit;
        if ((vgic_asserted(word) & bit & ~vgic->route[index]) != 0) {
            vgic_notify(vcpu, index, bit); // was given another target meanwhile
        }
    }
}

// What list register `i` has come to.
static void fold_one(struct vcpu *vcpu, uint32_t i, uint32_t state)
{
    struct vgic_cpu *vgic = &vcpu->vgic;
    uint32_t lr = vgic->lr[i];
    uint32_t intid = lr & GIC_INTID_MASK;
    uint32_t bit = 1u << intid % 32;
    struct vgic_word *word = vgic_word(vcpu, intid / 32);
    if (intid < VGIC_SGIS) {
        uint32_t source = lr >> GICH_LR_CPUID_SHIFT & GICH_LR_CPUID_MASK;
        if ((state & GICH_LR_PENDING) != 0) {
            vgic->sources[intid] |= (uint8_t)(1u << source);
        }
        vgic->active_source[intid] = (uint8_t)source;
        word->pending = vgic->sources[intid] != 0 ? word->pending | bit : word->pending & ~bit;
    } else if ((lr & ~state & GICH_LR_PENDING) != 0) { // acknowledged
        word->pending &= ~bit | word->fresh;
    }
    if (state == 0 && (lr & GICH_LR_HW) != 0) {
        word->held &= ~bit | word->held_again; // the guest's EOI has deactivated it
        word->held_again &= ~bit;
    }
    if (state == 0) {
        vgic->taken[intid / 32] &= ~bit;
    } else if ((lr & ~state & GICH_LR_PENDING) != 0) {
        vgic->taken[intid / 32] |= bit;
    }
    set_active(vcpu, intid, (state & GICH_LR_ACTIVE) != 0);
}

// The guest has ended one that no list register had, and that may be inactive already.
static void end_unlisted(struct vcpu *vcpu, uint32_t intid)
{
    struct vgic_cpu *vgic = &vcpu->vgic;
    uint32_t bit = 1u << intid % 32;
    vgic->taken[intid / 32] &= ~bit;
    if ((vgic->owned[intid / 32] & bit) != 0) {
        set_active(vcpu, intid, false);
    }
}

// What another vCPU has made inactive, and no list register tells of.
static void end_overridden(struct vcpu *vcpu, uint32_t index)
{
    struct vgic_cpu *vgic = &vcpu->vgic;
    uint32_t bits = vgic->overridden[index] & vgic->owned[index];
    for (bits &= ~vgic_word(vcpu, index)->active; bits != 0; bits &= bits - 1) {
        set_active(vcpu, 32 * index + (uint32_t)__builtin_ctz(bits), false);
    }
    vgic->overridden[index] = 0;
}

// The short way: `lr` but for its priority was listed before, and that list register has run empty.
// Once it holds it again all is as it was then. False: no such one.
static bool list_again(struct vcpu *vcpu, uint32_t lr)
{
    struct vgic_cpu *vgic = &vcpu->vgic;
    for (uint32_t bits = vgic->listed & gich_read(GICH_ELRSR0); bits != 0; bits &= bits - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(bits);
        if ((vgic->lr[i] & ~GICH_LR_PRIORITY) == lr) {
            gich_write(GICH_LR0 + 4 * i, vgic->lr[i]);
            telemetry_inject(vcpu);
            return true;
        }
    }
    return false;
}

// SGIs that vCPUs have sent. True: some are to be listed.
static bool take_sgis(struct vcpu *vcpu)
{
    struct vgic_cpu *vgic = &vcpu->vgic;
    bool more = false;
    for (uint32_t i = 0; i < VGIC_SGIS / 8; i++) {
        uint64_t sent = __atomic_load_n(&vgic->inbox[i], __ATOMIC_RELAXED);
        if (sent != 0) {
            sent = __atomic_exchange_n(&vgic->inbox[i], 0, __ATOMIC_ACQUIRE);
        }
        for (; sent != 0; sent &= sent - 1) {
            uint32_t bit = (uint32_t)__builtin_ctzll(sent);
            uint32_t sgi = 8 * i + bit / 8;
            uint32_t lr = sgi | bit % 8 << GICH_LR_CPUID_SHIFT | GICH_LR_PENDING;
            if (vgic->changed || !list_again(vcpu, lr)) {
                vgic->sources[sgi] |= (uint8_t)(1u << bit % 8);
                vgic->private.pending |= 1u << sgi;
                more = true;
            }
        }
    }
    return more;
}

void vgic_release(struct vgic_word *word, uint32_t index)
{
    uint32_t done = word->held & ~(word->pending | word->claimed);
    if (done != 0) {
        word->held &= ~done;
        gic_write(GICD_ICACTIVER, index, done);
    }
}

static void fold(struct vcpu *vcpu, uint32_t words)
{
    struct vgic_cpu *vgic = &vcpu->vgic;
    if (vgic->listed == 0 && !any(vgic->unlisted)) {
        return;
    }
    for (uint32_t bits = vgic->listed; bits != 0; bits &= bits - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(bits);
        fold_one(vcpu, i, gich_read(GICH_LR0 + 4 * i) & STATE);
    }
    vgic->listed = 0;
    if (any(vgic->unlisted)) {
        // Their ends are only counted; a guest ends interrupts in order of priority.
        uint32_t ends = gich_read(GICH_HCR) >> GICH_HCR_EOICOUNT_SHIFT;
        while (ends-- != 0 && any(vgic->unlisted)) {
            end_unlisted(vcpu, take_first(vcpu, vgic->unlisted));
        }
        memset(vgic->unlisted, 0, sizeof(vgic->unlisted));
    }
    for (uint32_t index = 0; index < words; index++) {
        vgic_release(vgic_word(vcpu, index), index);
    }
}

static void take_notification(struct vcpu *vcpu)
{
    struct vgic_cpu *vgic = &vcpu->vgic;
    if (__atomic_load_n(&vgic->notified, __ATOMIC_RELAXED) &&
        __atomic_exchange_n(&vgic->notified, false, __ATOMIC_ACQUIRE)) {
        vgic->private.pending |= 1u << VGIC_NOTIFICATION;
        vgic->private.fresh |= 1u << VGIC_NOTIFICATION;
    }
}

void vgic_send_notification(struct vcpu *vcpu)
{
    __atomic_store_n(&vcpu->vgic.notified, true, __ATOMIC_RELEASE);
    vgic_touch(vcpu);
}

bool vgic_signals(const struct vcpu *vcpu)
{
    uint32_t vmcr = gich_read(GICH_VMCR);
    uint32_t active = gich_read(GICH_APR); // a bit for each priority, the highest first
    uint32_t running = active != 0 ? (uint32_t)__builtin_ctz(active) : 32;
    bool signals = false;
    for (uint32_t bits = vcpu->vgic.listed; bits != 0; bits &= bits - 1) {
        uint32_t lr = gich_read(GICH_LR0 + 4 * (uint32_t)__builtin_ctz(bits));
        uint32_t priority = (lr & GICH_LR_PRIORITY) >> GICH_LR_PRIORITY_SHIFT;
        signals |= (lr & GICH_LR_PENDING) != 0 && priority < vmcr >> GICH_VMCR_MASK_SHIFT &&
                   priority < running;
    }
    return signals && (vmcr & GICH_VMCR_ENABLE) != 0;
}

void vgic_fold(struct vcpu *vcpu)
{
    fold(vcpu, VGIC_WORDS);
    take_notification(vcpu);
    vcpu->vgic.changed = true;
    (void)take_sgis(vcpu);
}

static void list(struct vcpu *vcpu, uint32_t i, uint32_t intid, uint32_t state)
{
    struct vgic_cpu *vgic = &vcpu->vgic;
    struct vgic_word *word = vgic_word(vcpu, intid / 32);
    uint32_t bit = 1u << intid % 32;
    uint32_t lr = intid | state | (uint32_t)vgic_priority(word, intid) << GICH_LR_PRIORITY_TOP;
    bool again = false; // is there to be another one after this?
    if (state == GICH_LR_ACTIVE) {
        again = (vgic_asserted(word) & word->enabled & bit) != 0;
        lr |= intid < VGIC_SGIS ? (uint32_t)vgic->active_source[intid] << GICH_LR_CPUID_SHIFT : 0;
    } else if (intid < VGIC_SGIS) {
        lr |= (uint32_t)__builtin_ctz(vgic->sources[intid]) << GICH_LR_CPUID_SHIFT;
        vgic->sources[intid] &= (uint8_t)(vgic->sources[intid] - 1);
        again = vgic->sources[intid] != 0;
    } else {
        again = (word->line & ~word->edge & bit) != 0;
        word->fresh &= ~bit;
    }
    if ((word->held & bit) != 0 && !again) {
        lr |= GICH_LR_HW | intid << GICH_LR_PHYSICAL_SHIFT;
    } else if (again) {
        lr |= GICH_LR_EOI;
    }
    word->claimed |= bit;
    vgic->owned[intid / 32] |= bit;
    vgic->listed |= 1u << i;
    vgic->lr[i] = lr;
    gich_write(GICH_LR0 + 4 * i, lr);
    if (state == GICH_LR_PENDING) {
        telemetry_inject(vcpu);
    }
}

static void clear_from(struct vgic_cpu *vgic, uint32_t i)
{
    for (; i < gic_list_registers; i++) {
        if (vgic->lr[i] != 0) {
            vgic->lr[i] = 0;
            gich_write(GICH_LR0 + 4 * i, 0);
        }
    }
}

// Pending interrupts first: they cannot be taken without a list register, but active ones can end.
static void fill(struct vcpu *vcpu, uint32_t words)
{
    struct vgic_cpu *vgic = &vcpu->vgic;
    uint32_t pending[VGIC_WORDS] = {0};
    uint32_t active[VGIC_WORDS] = {0};
    uint32_t i = 0;
    uint32_t hcr = GICH_HCR_EN;
    for (uint32_t index = 0; index < words; index++) {
        const struct vgic_word *word = vgic_word(vcpu, index);
        end_overridden(vcpu, index);
        active[index] = vgic->owned[index];
        pending[index] = vcpu->vm->vgic.enabled ? vgic_asserted(word) & word->enabled &
                                                      vgic->route[index] & ~word->claimed
                                                : 0;
    }
    bool trapped = (gich_read(GICH_VMCR) & GICH_VMCR_EOIMODE) != 0; // ends by DIR, not counted
    for (uint32_t index = 0; index < VGIC_WORDS; index++) {
        vgic->taken[index] &= trapped ? vgic->owned[index] : UINT32_MAX;
        vgic->unlisted[index] = vgic->taken[index];
    }
    for (; i < gic_list_registers && any(pending); i++) {
        list(vcpu, i, take_first(vcpu, pending), GICH_LR_PENDING);
    }
    for (; i < gic_list_registers && any(active); i++) {
        uint32_t intid = take_first(vcpu, active);
        vgic->unlisted[intid / 32] &= ~(1u << intid % 32);
        list(vcpu, i, intid, GICH_LR_ACTIVE);
    }
    clear_from(vgic, i);
    hcr |= any(pending) ? GICH_HCR_NPIE : 0;
    hcr |= any(vgic->unlisted) ? GICH_HCR_LRENPIE : 0;
    gich_write(GICH_HCR, hcr); // EOICount = 0
}

// How many words a vCPU needs that its list registers are written from: the first is its own, the
// lock is for the others, if one is `involved`. What changes meanwhile is followed by vgic_touch().
static uint32_t lock_words(struct vcpu *vcpu, uint32_t involved)
{
    for (uint32_t index = 1; index < VGIC_WORDS; index++) {
        const struct vgic_word *word = vgic_word(vcpu, index);
        involved |= vcpu->vgic.owned[index];
        involved |= vgic_asserted(word) & word->enabled & vcpu->vgic.route[index];
    }
    if (involved == 0) {
        return 1;
    }
    spin_lock(&vcpu->vm->vgic.lock);
    return VGIC_WORDS;
}

static void unlock_words(struct vcpu *vcpu, uint32_t words)
{
    if (words != 1) {
        spin_unlock(&vcpu->vm->vgic.lock);
    }
}

void vgic_enter(struct vcpu *vcpu)
{
    if (take_sgis(vcpu) || vcpu->vgic.changed) {
        vcpu->vgic.changed = false;
        __atomic_thread_fence(__ATOMIC_SEQ_CST); // before the look at what else may change
        take_notification(vcpu);
        uint32_t words = lock_words(vcpu, 0);
        fold(vcpu, words);
        fill(vcpu, words);
        unlock_words(vcpu, words);
    }
}

void vgic_physical(struct vcpu *vcpu, uint32_t intid)
{
    uint32_t lr = intid | intid << GICH_LR_PHYSICAL_SHIFT | GICH_LR_PENDING | GICH_LR_HW;
    if (intid < 32 && !vcpu->vgic.changed && list_again(vcpu, lr)) {
        return;
    }
    uint32_t index = intid / 32;
    uint32_t bit = 1u << intid % 32;
    struct vgic_word *word = vgic_word(vcpu, index);
    uint32_t words = lock_words(vcpu, index);
    fold(vcpu, words); // its own last one may be among them
    vcpu->vgic.changed = true;
    word->pending |= bit;
    word->fresh |= bit;
    word->held_again |= word->held & bit;
    word->held |= bit;
    vgic_notify(vcpu, index, bit & word->enabled);
    unlock_words(vcpu, words);
}

void vgic_maintenance(struct vcpu *vcpu)
{
    vcpu->vgic.changed = true; // fill() leaves no reason for another
}

void vgic_set_level(struct vm *vm, uint32_t intid, bool level)
{
    struct vcpu *any = &vm->vcpus[0]; // of an SPI
    struct vgic_word *word = vgic_word(any, intid / 32);
    uint32_t bit = 1u << intid % 32;
    spin_lock(&vm->vgic.lock);
    if (level != ((word->line & bit) != 0)) {
        word->line ^= bit;
        if (level) {
            word->pending |= word->edge & bit;
            word->fresh |= word->edge & bit;
        }
        if ((word->enabled & bit) != 0) {
            vgic_notify(any, intid / 32, bit);
        }
    }
    spin_unlock(&vm->vgic.lock);
}

// The physical interrupts of a loaded vCPU: PPI 27 active if it holds it, the forwarded SPIs on.
static void switch_physical(struct vcpu *vcpu, bool on)
{
    if (vcpu->vgic.private.held != 0) {
        gic_write(on ? GICD_ISACTIVER : GICD_ICACTIVER, 0, vcpu->vgic.private.held);
    }
    for (uint32_t index = 1; index < VGIC_WORDS && vcpu->index == 0; index++) {
        uint32_t forwarded = vcpu->vm->vgic.forwarded[index];
        for (uint32_t bits = forwarded; bits != 0 && on; bits &= bits - 1) {
            gic_route(32 * index + (uint32_t)__builtin_ctz(bits));
        }
        if (forwarded != 0) {
            gic_write(on ? GICD_ISENABLER : GICD_ICENABLER, index, forwarded);
        }
    }
}

void vgic_load(struct vcpu *vcpu)
{
    gich_write(GICH_VMCR, vcpu->vgic.vmcr);
    gich_write(GICH_APR, vcpu->vgic.apr);
    switch_physical(vcpu, true);
    vcpu->vgic.changed = true;
}

void vgic_save(struct vcpu *vcpu)
{
    struct vgic_cpu *vgic = &vcpu->vgic;
    uint32_t words = lock_words(vcpu, 0);
    fold(vcpu, words);
    switch_physical(vcpu, false);
    clear_from(vgic, 0);
    gich_write(GICH_HCR, 0);
    vgic->vmcr = gich_read(GICH_VMCR);
    vgic->apr = gich_read(GICH_APR);
    unlock_words(vcpu, words);
}
