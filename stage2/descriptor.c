// SPDX-License-Identifier: Apache-2.0
#include "descriptor.h"

// Lower and upper attributes of a leaf.
#define DESC_UPPER UINT64_C(0xfff0000000000000) // bits 63:52
#define DESC_LOWER UINT64_C(0x0000000000000ffc) // bits 11:2
#define DESC_AF (UINT64_C(1) << 10)
#define DESC_SH_SHIFT 8u
#define SH_OUTER UINT64_C(2)
#define SH_INNER UINT64_C(3)

// Stage 2 leaf.
#define S2_MEMATTR_SHIFT 2u
#define S2_MEMATTR_MASK UINT64_C(0xf)
#define S2_MEMATTR_DEVICE_nGnRnE UINT64_C(0x0)
#define S2_MEMATTR_DEVICE_nGnRE UINT64_C(0x1)
#define S2_MEMATTR_NORMAL_NC UINT64_C(0x5)
#define S2_MEMATTR_NORMAL_WB UINT64_C(0xf)
#define S2_AP_READ (UINT64_C(1) << 6)
#define S2_AP_WRITE (UINT64_C(1) << 7)
// XN[1:0], bits 54:53: 00 both, 01 EL0 only, 10 neither, 11 EL1 only. So bit 54 forbids EL0, and
// bit 53 says that EL1 differs from EL0. Without FEAT_XNX bit 53 is RES0 and the two are equal.
#define S2_XN1 (UINT64_C(1) << 54)
#define S2_XN0 (UINT64_C(1) << 53)
#define S2_PERM (S2_AP_READ | S2_AP_WRITE | S2_XN1 | S2_XN0)

// Stage 1 leaf of a regime with one privilege level (EL2 without VHE).
#define EL2_ATTRINDX_SHIFT 2u
#define EL2_ATTRINDX_MASK UINT64_C(0x7)
#define EL2_AP1_RES1 (UINT64_C(1) << 6)
#define EL2_AP2_READ_ONLY (UINT64_C(1) << 7)
#define EL2_XN (UINT64_C(1) << 54)
#define EL2_PERM (EL2_AP1_RES1 | EL2_AP2_READ_ONLY | EL2_XN)

// VTCR_EL2 and TCR_EL2.
#define TCR_IRGN0_WB (UINT64_C(1) << 8)
#define TCR_ORGN0_WB (UINT64_C(1) << 10)
#define TCR_SH0_INNER (UINT64_C(3) << 12)
#define TCR_PS_SHIFT 16u
#define TCR_EL2_RES1 ((UINT64_C(1) << 31) | (UINT64_C(1) << 23))
#define VTCR_RES1 (UINT64_C(1) << 31)
#define VTCR_SL0_SHIFT 6u
#define VTTBR_VMID_SHIFT 48u

#define CONCATENATION_BITS 4u // up to 16 root tables
#define VMID_MAX 255u

const struct level levels[] = {{39, false}, {30, true}, {21, true}, {12, true}};

uint64_t pgt_level_size(unsigned level)
{
    return UINT64_C(1) << levels[level].shift;
}

unsigned start_level_of(const struct pgt_config *config)
{
    unsigned extra = config->regime == PGT_STAGE2 ? CONCATENATION_BITS : 0;
    unsigned level = 0;
    while (level < PGT_LAST_LEVEL - 1 && config->ia_bits <= levels[level].shift + extra) {
        level++;
    }
    return level;
}

// The PS field for an output address size; -1 for a size that the architecture does not have.
static int ps_of_pa_bits(unsigned pa_bits)
{
    static const uint8_t sizes[] = {32, 36, 40, 42, 44, 48};
    for (unsigned ps = 0; ps < sizeof(sizes); ps++) {
        if (sizes[ps] == pa_bits) {
            return (int)ps;
        }
    }
    return -1;
}

size_t pgt_root_size(const struct pgt_config *config)
{
    bool stage2 = config->regime == PGT_STAGE2;
    if ((!stage2 && config->regime != PGT_EL2) || ps_of_pa_bits(config->pa_bits) < 0 ||
        config->ia_bits < PGT_IA_BITS_MIN || config->ia_bits > PGT_IA_BITS_MAX ||
        (stage2 && config->ia_bits > config->pa_bits) || config->vmid > (stage2 ? VMID_MAX : 0)) {
        return 0;
    }
    unsigned index_bits = config->ia_bits - levels[start_level_of(config)].shift;
    size_t size = sizeof(uint64_t) << index_bits;
    return size > PAGE_SIZE ? size : PAGE_SIZE;
}

bool attr_allowed(const struct pgt_config *config, struct pgt_attr attr)
{
    struct pgt_perm perm = attr.perm;
    bool executable = perm.exec || perm.exec_el0;
    bool device = attr.type == PGT_DEVICE_nGnRnE || attr.type == PGT_DEVICE_nGnRE;
    if (!device && attr.type != PGT_NORMAL_WB && attr.type != PGT_NORMAL_NC) {
        return false;
    }
    if ((perm.write || executable) && !perm.read) {
        return false;
    }
    if (device && executable) {
        return false;
    }
    if (config->regime == PGT_EL2) {
        return perm.read && !perm.exec_el0 && !(perm.write && perm.exec);
    }
    return config->xnx || perm.exec == perm.exec_el0;
}

static uint64_t desc_of_perm(enum pgt_regime regime, struct pgt_perm perm)
{
    if (regime == PGT_EL2) {
        return EL2_AP1_RES1 | (perm.write ? 0 : EL2_AP2_READ_ONLY) | (perm.exec ? 0 : EL2_XN);
    }
    return (perm.read ? S2_AP_READ : 0) | (perm.write ? S2_AP_WRITE : 0) |
           (perm.exec_el0 ? 0 : S2_XN1) | (perm.exec != perm.exec_el0 ? S2_XN0 : 0);
}

uint64_t desc_of_attr(enum pgt_regime regime, struct pgt_attr attr)
{
    uint64_t memory = (uint64_t)attr.type << EL2_ATTRINDX_SHIFT;
    if (regime == PGT_STAGE2) {
        static const uint8_t memattr[] = {
            [PGT_NORMAL_WB] = S2_MEMATTR_NORMAL_WB,
            [PGT_NORMAL_NC] = S2_MEMATTR_NORMAL_NC,
            [PGT_DEVICE_nGnRnE] = S2_MEMATTR_DEVICE_nGnRnE,
            [PGT_DEVICE_nGnRE] = S2_MEMATTR_DEVICE_nGnRE,
        };
        memory = (uint64_t)memattr[attr.type] << S2_MEMATTR_SHIFT;
    }
    // Device and Non-cacheable memory count as Outer Shareable whatever SH says: say so.
    uint64_t sh = attr.type == PGT_NORMAL_WB ? SH_INNER : SH_OUTER;
    return memory | desc_of_perm(regime, attr.perm) | (sh << DESC_SH_SHIFT) | DESC_AF;
}

struct pgt_attr attr_of_desc(enum pgt_regime regime, uint64_t desc)
{
    struct pgt_attr attr;
    if (regime == PGT_EL2) {
        attr.type = (enum pgt_memory)((desc >> EL2_ATTRINDX_SHIFT) & EL2_ATTRINDX_MASK);
        attr.perm.read = true;
        attr.perm.write = (desc & EL2_AP2_READ_ONLY) == 0;
        attr.perm.exec = (desc & EL2_XN) == 0;
        attr.perm.exec_el0 = false;
        return attr;
    }
    switch ((desc >> S2_MEMATTR_SHIFT) & S2_MEMATTR_MASK) {
    case S2_MEMATTR_NORMAL_WB:
        attr.type = PGT_NORMAL_WB;
        break;
    case S2_MEMATTR_NORMAL_NC:
        attr.type = PGT_NORMAL_NC;
        break;
    case S2_MEMATTR_DEVICE_nGnRE:
        attr.type = PGT_DEVICE_nGnRE;
        break;
    default: // no other encoding is ever written
        attr.type = PGT_DEVICE_nGnRnE;
        break;
    }
    attr.perm.read = (desc & S2_AP_READ) != 0;
    attr.perm.write = (desc & S2_AP_WRITE) != 0;
    attr.perm.exec_el0 = (desc & S2_XN1) == 0;
    attr.perm.exec = attr.perm.exec_el0 != ((desc & S2_XN0) != 0);
    return attr;
}

uint64_t desc_with_perm(enum pgt_regime regime, uint64_t desc, struct pgt_perm perm)
{
    uint64_t mask = regime == PGT_EL2 ? EL2_PERM : S2_PERM;
    return (desc & ~mask) | desc_of_perm(regime, perm);
}

uint64_t desc_leaf(uint64_t oa, uint64_t attributes, unsigned level)
{
    uint64_t type = level == PGT_LAST_LEVEL ? DESC_TABLE | DESC_VALID : DESC_VALID;
    return oa | (attributes & (DESC_UPPER | DESC_LOWER)) | type;
}

static uint64_t tcr_common(const struct pgt_config *config)
{
    return (64u - config->ia_bits) | TCR_IRGN0_WB | TCR_ORGN0_WB | TCR_SH0_INNER |
           ((uint64_t)ps_of_pa_bits(config->pa_bits) << TCR_PS_SHIFT);
}

uint64_t pgt_vtcr_el2(const struct pgt *pgt)
{
    uint64_t sl0 = 2u - pgt->start_level;
    return tcr_common(&pgt->config) | (sl0 << VTCR_SL0_SHIFT) | VTCR_RES1;
}

uint64_t pgt_tcr_el2(const struct pgt *pgt)
{
    return tcr_common(&pgt->config) | TCR_EL2_RES1;
}

uint64_t pgt_vttbr_el2(const struct pgt *pgt)
{
    return ((uint64_t)pgt->config.vmid << VTTBR_VMID_SHIFT) | pa_value(pgt->root);
}

uint64_t pgt_ttbr0_el2(const struct pgt *pgt)
{
    return pa_value(pgt->root);
}
