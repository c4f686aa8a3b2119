// SPDX-License-Identifier: Apache-2.0
// The distributor that a VM sees: GIC-400's registers, in one security state. An access of a size
// or to an offset that a register does not have reads as zero or is ignored.
#include <el2/memory.h>
#include <el2/vgic_words.h>

#define BITMAP_SIZE 0x80u // of each register with a bit for each interrupt
#define IIDR_GIC400 0x0200043bu
#define SGI_BITS 0xffffu

static uint8_t all_vcpus(const struct vcpu *vcpu)
{
    return (uint8_t)((1u << vcpu->vm->vcpu_count) - 1);
}

static uint32_t read_bitmap(struct vcpu *vcpu, uint32_t offset, uint32_t index)
{
    const struct vgic_word *word = vgic_word(vcpu, index);
    if (offset < GICD_ISPENDR) {
        return word->enabled;
    }
    vgic_fold(vcpu);
    uint32_t value = offset < GICD_ISACTIVER ? vgic_asserted(word) : word->active;
    for (uint32_t i = 0; i < vcpu->vm->vcpu_count && index != 0; i++) {
        struct vcpu *other = &vcpu->vm->vcpus[i];
        if (other != vcpu && (other->vgic.owned[index] & value) != 0) {
            vgic_touch(other); // perhaps it is over there: a later read tells
        }
    }
    return value;
}

static void put(uint32_t *word, uint32_t bits, bool set)
{
    *word = set ? *word | bits : *word & ~bits;
}

static void write_active(struct vcpu *vcpu, uint32_t index, uint32_t bits, bool set)
{
    struct vgic_word *word = vgic_word(vcpu, index);
    struct vgic_cpu *vgic = &vcpu->vgic;
    for (uint32_t i = 0; i < vcpu->vm->vcpu_count && index != 0; i++) {
        struct vgic_cpu *other = &vcpu->vm->vcpus[i].vgic;
        if (other != vgic) { // has its own idea in a list register
            other->overridden[index] |= bits & other->owned[index];
        }
    }
    uint32_t mine = bits & (set ? ~word->claimed : vgic->owned[index]);
    vgic->owned[index] ^= mine;
    word->claimed ^= mine;
    put(&word->active, bits, set);
}

static void write_bitmap(struct vcpu *vcpu, uint32_t offset, uint32_t index, uint32_t bits)
{
    struct vgic_word *word = vgic_word(vcpu, index);
    bool set = (offset & BITMAP_SIZE) == 0;
    uint32_t concerned = bits;
    if (offset < GICD_ISPENDR) {
        concerned &= vgic_asserted(word);
        put(&word->enabled, index == 0 ? bits & ~SGI_BITS : bits, set); // SGIs are always enabled
    } else if (offset < GICD_ISACTIVER) {
        concerned &= index == 0 ? ~SGI_BITS : UINT32_MAX; // these by their own registers
        vgic_fold(vcpu);
        put(&word->pending, concerned, set);
        put(&word->fresh, concerned, set);
        vgic_release(word, index);
    } else {
        vgic_fold(vcpu);
        write_active(vcpu, index, bits, set);
        vgic_release(word, index);
    }
    if (concerned != 0) {
        vgic_notify(vcpu, index, concerned);
    }
}

// The lowest of the vCPUs that an SPI is sent to gets it. With a single one there is no choice.
static void write_target(struct vcpu *vcpu, uint32_t intid, uint8_t value)
{
    struct vm *vm = vcpu->vm;
    uint32_t bit = 1u << intid % 32;
    uint8_t *targets = &vm->vgic.targets[intid - 32];
    if (*targets != 0) {
        vm->vcpus[__builtin_ctz(*targets)].vgic.route[intid / 32] &= ~bit;
    }
    *targets = value & all_vcpus(vcpu);
    if (*targets != 0) {
        vm->vcpus[__builtin_ctz(*targets)].vgic.route[intid / 32] |= bit;
    }
    vgic_notify(vcpu, intid / 32, bit & vgic_asserted(vgic_word(vcpu, intid / 32)));
}

static uint8_t read_byte(struct vcpu *vcpu, uint32_t offset)
{
    uint32_t intid = offset % GICD_IPRIORITYR;
    if (offset >= GICD_CPENDSGIR) {
        vgic_fold(vcpu);
        return vcpu->vgic.sources[offset % VGIC_SGIS];
    }
    if (intid >= VGIC_INTERRUPTS || (offset >= GICD_ITARGETSR && vcpu->vm->vcpu_count == 1)) {
        return 0;
    }
    if (offset < GICD_ITARGETSR) {
        return vgic_priority(vgic_word(vcpu, intid / 32), intid);
    }
    return (uint8_t)(intid < 32 ? 1u << vcpu->index : vcpu->vm->vgic.targets[intid - 32]);
}

static void write_byte(struct vcpu *vcpu, uint32_t offset, uint8_t value)
{
    uint32_t intid = offset % GICD_IPRIORITYR;
    uint32_t sgi = offset % VGIC_SGIS;
    if (offset >= GICD_CPENDSGIR) {
        vgic_fold(vcpu);
        uint8_t *sources = &vcpu->vgic.sources[sgi];
        *sources &= (uint8_t)~value;
        *sources |= offset < GICD_SPENDSGIR ? 0 : value & all_vcpus(vcpu);
        put(&vcpu->vgic.private.pending, 1u << sgi, *sources != 0);
    } else if (intid < VGIC_INTERRUPTS && offset < GICD_ITARGETSR) {
        vgic_set_priority(vgic_word(vcpu, intid / 32), intid, value);
        vgic_notify(vcpu, intid / 32, vgic_word(vcpu, intid / 32)->claimed & 1u << intid % 32);
    } else if (intid < VGIC_INTERRUPTS && intid >= 32 && vcpu->vm->vcpu_count > 1) {
        write_target(vcpu, intid, value);
    }
}

static __attribute__((noinline)) void write_bytes(struct vcpu *vcpu, uint32_t offset, unsigned size,
                                                  uint32_t value)
{
    for (uint32_t i = 0; i < size; i++) {
        write_byte(vcpu, offset + i, (uint8_t)(value >> 8 * i));
    }
}

static uint32_t read_config(struct vcpu *vcpu, uint32_t first)
{
    uint32_t edge = first < VGIC_INTERRUPTS ? vgic_word(vcpu, first / 32)->edge >> first % 32 : 0;
    uint32_t value = 0;
    for (uint32_t i = 0; i < 16; i++) {
        value |= (edge >> i & 1) << (2 * i + 1);
    }
    return value;
}

// SGIs and PPIs are what they are.
static void write_config(struct vcpu *vcpu, uint32_t first, uint32_t value)
{
    for (uint32_t intid = first; intid < first + 16 && intid < VGIC_INTERRUPTS; intid++) {
        struct vgic_word *word = vgic_word(vcpu, intid / 32);
        uint32_t bit = 1u << intid % 32;
        bool edge = (value >> intid % 16 * 2 & 2) != 0;
        if (intid < 32 || edge == ((word->edge & bit) != 0)) {
            continue;
        }
        word->edge ^= bit;
        if ((vcpu->vm->vgic.forwarded[intid / 32] & bit) != 0) {
            gic_set_edge(intid, edge);
        }
        vgic_notify(vcpu, intid / 32, word->line & bit);
    }
}

// Apart, as the other long ways are, so that a short way saves few registers.
static __attribute__((noinline)) void send_sgi(struct vcpu *vcpu, uint32_t value)
{
    uint32_t sgi = value % VGIC_SGIS;
    uint32_t self = 1u << vcpu->index;
    const uint32_t targets[] = {value >> GICD_SGIR_TARGETS_SHIFT, ~self, self, 0};
    uint32_t filter = value >> GICD_SGIR_FILTER_SHIFT & 3;
    for (uint32_t bits = targets[filter] & all_vcpus(vcpu); bits != 0; bits &= bits - 1) {
        struct vcpu *target = &vcpu->vm->vcpus[__builtin_ctz(bits)];
        __atomic_fetch_or(&target->vgic.inbox[sgi / 8], (uint64_t)self << sgi % 8 * 8,
                          __ATOMIC_RELEASE);
        vcpu_kick(target);
    }
}

static uint32_t read_word(struct vcpu *vcpu, uint32_t offset)
{
    static const uint8_t id[] = {0x04, 0, 0, 0, 0x90, 0xb4, 0x2b, 0, 0x0d, 0xf0, 0x05, 0xb1};
    switch (offset) {
    case GICD_CTLR:
        return vcpu->vm->vgic.enabled ? GICD_CTLR_ENABLE : 0;
    case GICD_TYPER:
        return (vcpu->vm->vcpu_count - 1) << GICD_TYPER_CPUS_SHIFT | (VGIC_WORDS - 1);
    case GICD_IIDR:
        return IIDR_GIC400;
    default:
        if (offset >= GICD_ICFGR && offset < GICD_SGIR) {
            return read_config(vcpu, (offset - GICD_ICFGR) * 4);
        }
        return offset >= GICD_PIDR4 ? id[(offset - GICD_PIDR4) / 4] : 0;
    }
}

static __attribute__((noinline)) void write_word(struct vcpu *vcpu, uint32_t offset, uint32_t value)
{
    struct vm *vm = vcpu->vm;
    if (offset >= GICD_ICFGR && offset < GICD_SGIR) {
        write_config(vcpu, (offset - GICD_ICFGR) * 4, value);
    } else if (offset == GICD_CTLR) {
        vm->vgic.enabled = (value & GICD_CTLR_ENABLE) != 0;
        for (uint32_t i = 0; i < vm->vcpu_count; i++) {
            vgic_touch(&vm->vcpus[i]);
        }
    }
}

static bool is_bitmap(uint32_t offset)
{
    return offset >= GICD_ISENABLER && offset < GICD_IPRIORITYR &&
           offset % BITMAP_SIZE < VGIC_INTERRUPTS / 8;
}

static bool has_bytes(uint32_t offset)
{
    return (offset >= GICD_IPRIORITYR && offset < GICD_ICFGR) ||
           (offset >= GICD_CPENDSGIR && offset < GICD_SPENDSGIR + VGIC_SGIS);
}

static bool possible(uint32_t offset, unsigned size)
{
    return (size == 4 && offset % 4 == 0) || (size == 1 && has_bytes(offset));
}

uint64_t vgic_distributor_read(struct vcpu *vcpu, uint64_t offset, unsigned size)
{
    uint32_t at = (uint32_t)offset;
    uint32_t value = 0;
    spin_lock(&vcpu->vm->vgic.lock);
    if (!possible(at, size)) {
        value = 0;
    } else if (is_bitmap(at)) {
        value = read_bitmap(vcpu, at, at % BITMAP_SIZE / 4);
    } else if (has_bytes(at)) {
        for (uint32_t i = 0; i < size; i++) {
            value |= (uint32_t)read_byte(vcpu, at + i) << 8 * i;
        }
    } else {
        value = read_word(vcpu, at);
    }
    spin_unlock(&vcpu->vm->vgic.lock);
    return value;
}

void vgic_distributor_write(struct vcpu *vcpu, uint64_t offset, unsigned size, uint64_t value)
{
    uint32_t at = (uint32_t)offset;
    if (!possible(at, size)) {
        return;
    }
    if (at == GICD_SGIR) {
        send_sgi(vcpu, (uint32_t)value); // needs no lock
        return;
    }
    spin_lock(&vcpu->vm->vgic.lock);
    if (is_bitmap(at)) {
        write_bitmap(vcpu, at, at % BITMAP_SIZE / 4, (uint32_t)value);
    } else if (has_bytes(at)) {
        write_bytes(vcpu, at, size, (uint32_t)value);
    } else {
        write_word(vcpu, at, (uint32_t)value);
    }
    spin_unlock(&vcpu->vm->vgic.lock);
}

void vgic_dir(struct vcpu *vcpu, uint32_t value)
{
    uint32_t intid = value & GIC_INTID_MASK;
    if (intid < VGIC_INTERRUPTS && (gich_read(GICH_VMCR) & GICH_VMCR_EOIMODE) != 0) {
        spin_lock(&vcpu->vm->vgic.lock); // without EOImode an EOI does all
        write_bitmap(vcpu, GICD_ICACTIVER, intid / 32, 1u << intid % 32);
        spin_unlock(&vcpu->vm->vgic.lock);
    }
}

void vgic_reset(struct vm *vm)
{
    struct vgic *vgic = &vm->vgic;
    vgic->enabled = false;
    for (uint32_t index = 1; index < VGIC_WORDS; index++) {
        gic_write(GICD_ICACTIVER, index, vgic->shared[index - 1].held);
    }
    memset(vgic->shared, 0, sizeof(vgic->shared));
    memset(vgic->targets, 0, sizeof(vgic->targets));
    for (uint32_t i = 0; i < vm->vcpu_count; i++) {
        struct vgic_cpu *cpu = &vm->vcpus[i].vgic;
        memset(cpu, 0, sizeof(*cpu));
        cpu->private.enabled = SGI_BITS;
        cpu->private.edge = SGI_BITS | (vm->config.ffa ? 1u << VGIC_NOTIFICATION : 0);
        cpu->route[0] = UINT32_MAX;
        cpu->route[1] = vm->vcpu_count == 1 ? UINT32_MAX : 0;
        cpu->route[2] = cpu->route[1];
    }
    for (uint32_t i = 0; i < vm->config.device_count; i++) {
        const struct vm_device_config *device = &vm->config.devices[i];
        for (uint32_t j = 0; j < device->interrupt_count && device->kind == VM_DEVICE_PASSTHROUGH;
             j++) {
            uint32_t intid = device->interrupts[j];
            vgic->forwarded[intid / 32] |= 1u << intid % 32;
            gic_set_edge(intid, false);
        }
    }
}
