// SPDX-License-Identifier: Apache-2.0
// What vgic_distributor.c and vgic_lr.c share. All of it under vgic.lock, or of the vCPU's own
// word.
#ifndef EL2_VGIC_WORDS_H
#define EL2_VGIC_WORDS_H

#include <el2/vcpu.h>
#include <el2/vgic.h>

static inline struct vgic_word *vgic_word(struct vcpu *vcpu, uint32_t index)
{
    return index == 0 ? &vcpu->vgic.private : &vcpu->vm->vgic.shared[index - 1];
}

// As in GICD_IPRIORITYR.
static inline uint8_t vgic_priority(const struct vgic_word *word, uint32_t intid)
{
    uint32_t value = 0;
    for (uint32_t i = 0; i < VGIC_PRIORITY_BITS; i++) {
        value |= (word->priority[i] >> intid % 32 & 1u) << (7 - i);
    }
    return (uint8_t)value;
}

static inline void vgic_set_priority(struct vgic_word *word, uint32_t intid, uint8_t value)
{
    for (uint32_t i = 0; i < VGIC_PRIORITY_BITS; i++) {
        uint32_t bit = 1u << intid % 32;
        bool set = (value >> (7 - i) & 1u) != 0;
        word->priority[i] = set ? word->priority[i] | bit : word->priority[i] & ~bit;
    }
}

static inline uint32_t vgic_asserted(const struct vgic_word *word)
{
    return word->pending | (word->line & ~word->edge);
}

// Take back what the vCPU, the one that is loaded here, has in list registers: its words are exact.
void vgic_fold(struct vcpu *vcpu);

// Physical interrupts behind what is neither pending nor active any more, however that came.
void vgic_release(struct vgic_word *word, uint32_t index);

// Something has changed for whoever has, or should get, these interrupts: the list registers are
// to be written anew.
void vgic_notify(struct vcpu *vcpu, uint32_t index, uint32_t bits);

// The same for one vCPU.
void vgic_touch(struct vcpu *vcpu);

#endif
