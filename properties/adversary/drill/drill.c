// SPDX-License-Identifier: Apache-2.0
// Uses the page-table library as no hypervisor here does, on live tables, and looks what its
// changes have come to: by accesses at EL2, and by AT under stage 2.
#include <el2/sysregs.h>
#include <stage2/pgtable.h>
#include <stage2/primitives.h>

#define PAGE 0x1000ul
#define BLOCK 0x200000ul
#define UART 0x09000000ul
#define FAULTED 0xfa0000000000fa11ul
#define RET 0xd65f03c0ul
#define HVC 0xd4000002ul
#define AT_RET 8u // of each page
#define AT_HVC 12u
#define WINDOW 0x1000000000ul
#define UPPER_HALF 0x8000000000ul // of 40 bits: in the second of two root tables
#define DATA_OFFSET 0x1000000ul
#define POOL_PAGES 64u
#define PAR_F 1u
#define PAR_ATTR_SHIFT 56u
#define EL2_BITS 39u // the most that three levels translate
#define PA_BITS 40u
#define GIB 0x40000000ul
#define BEYOND_RAM 0x8000000000ul
#define LITTER 0x7fful // valid at each level, and all permitted

#pragma GCC visibility push(hidden) // reached without a GOT
extern char image_start[], bss_start[], image_end[];
extern uint64_t drill_registers[3];
uint64_t drill_load(uint64_t va);
uint64_t drill_store(uint64_t va, uint64_t value);
uint64_t drill_call(uint64_t va);
uint64_t drill_run(uint64_t ipa);
void drill_build(void);
void drill(void);
_Noreturn void drill_panic(uint64_t esr, uint64_t elr);
#pragma GCC visibility pop

uint64_t drill_registers[3];
static struct pgt_pool pool;
static struct pgt el2;
static struct pgt vms[2];
static uint8_t pool_pages[POOL_PAGES * PAGE] __attribute__((aligned(4096), section(".bss.pages")));
static uint8_t el2_root[PAGE] __attribute__((aligned(4096), section(".bss.pages")));
static uint8_t vm_roots[2][2 * PAGE] __attribute__((aligned(8192), section(".bss.pages")));

static const struct pgt_attr DATA = {{true, true, false, false}, PGT_NORMAL_WB};
static const struct pgt_attr CODE = {{true, false, true, false}, PGT_NORMAL_WB};
static const struct pgt_attr CONSTANTS = {{true, false, false, false}, PGT_NORMAL_WB};
static const struct pgt_attr NON_CACHEABLE = {{true, true, false, false}, PGT_NORMAL_NC};
static const struct pgt_attr BOTH = {{true, true, true, false}, PGT_NORMAL_WB};
static const struct pgt_attr DEVICE = {{true, true, false, false}, PGT_DEVICE_nGnRE};
static const struct pgt_attr DEVICE_CODE = {{true, false, true, true}, PGT_DEVICE_nGnRE};
static const struct pgt_attr GUEST = {{true, true, true, true}, PGT_NORMAL_WB};
static const struct pgt_attr FORBIDDEN = {{false, false, false, false}, PGT_NORMAL_WB};
static const struct pgt_perm READ_ONLY = {true, false, false, false};
static const struct pgt_perm READ_WRITE = {true, true, false, false};

static void put(const char *text)
{
    for (; *text != '\0'; text++) {
        *(volatile uint32_t *)UART = (uint8_t)*text;
    }
}

static void put_hex(uint64_t value)
{
    put("0x");
    for (int shift = 60; shift >= 0; shift -= 4) {
        char digit[2] = {"0123456789abcdef"[value >> shift & 0xf], '\0'};
        put(digit);
    }
}

static void say(const char *what, uint64_t got, uint64_t wanted)
{
    put("drill: ");
    put(what);
    if (got == wanted) {
        put(": as it should be\n");
    } else {
        put(": WRONG ");
        put_hex(got);
        put("\n");
    }
}

_Noreturn void drill_panic(uint64_t esr, uint64_t elr)
{
    put("drill: panic ");
    put_hex(esr);
    put(" ");
    put_hex(elr - (uint64_t)image_start);
    put("\n");
    __asm__ volatile("mov x0, #8\n movk x0, #0x8400, lsl #16\n smc #0");
    for (;;) {
    }
}

static uint64_t data(uint64_t offset)
{
    return (uint64_t)image_start + DATA_OFFSET + offset;
}

static enum pgt_status map(uint64_t va, uint64_t pa, uint64_t size, struct pgt_attr attr)
{
    return pgt_map(&el2, ia_of_va(va_of(va)), pa_of(pa), size, attr);
}

static enum pgt_status unmap(uint64_t va, uint64_t size)
{
    return pgt_unmap(&el2, ia_of_va(va_of(va)), size);
}

static enum pgt_status protect(uint64_t va, uint64_t size, struct pgt_perm perm)
{
    return pgt_protect(&el2, ia_of_va(va_of(va)), size, perm);
}

// The pool as whoever had its pages before may have left it: every word leads somewhere.
static void litter(void)
{
    for (uint64_t at = 0; at < sizeof(pool_pages); at += 8) {
        *(volatile uint64_t *)(pool_pages + at) = data(at / PAGE * PAGE) | LITTER;
    }
}

// With the MMU off.
void drill_build(void)
{
    struct pgt_config config = {.regime = PGT_EL2, .ia_bits = EL2_BITS, .pa_bits = PA_BITS};
    uint64_t image = (uint64_t)image_start;
    uint64_t code = (uint64_t)bss_start;
    litter();
    (void)pgt_pool_init(&pool, pa_of((uint64_t)pool_pages), POOL_PAGES);
    (void)pgt_init(&el2, &config, pa_of((uint64_t)el2_root), &pool);
    (void)map(image, image, code - image, CODE);
    (void)map(code, code, (uint64_t)image_end - code, DATA);
    (void)map(UART, UART, PAGE, DEVICE);
    (void)map(data(0), data(0), 8 * BLOCK, DATA);
    drill_registers[0] = pgt_ttbr0_el2(&el2);
    drill_registers[1] = pgt_tcr_el2(&el2);
    drill_registers[2] = PGT_MAIR_EL2;
}

// Each page begins with its own PA, and has a function that does nothing and a call of EL2.
static void mark(void)
{
    for (uint64_t offset = 0; offset < 8 * BLOCK; offset += PAGE) {
        *(volatile uint64_t *)data(offset) = data(offset);
        *(volatile uint64_t *)data(offset + AT_RET) = RET | HVC << 32;
        __asm__ volatile("dc civac, %0" : : "r"(data(offset)) : "memory"); // to memory, for EL1
    }
    __asm__ volatile("dsb sy\n ic iallu\n dsb sy\n isb" : : : "memory"); // before any is fetched
}

// Pages of [va, va + size) that do not show those at pa.
static uint64_t others(uint64_t va, uint64_t pa, uint64_t size)
{
    uint64_t count = 0;
    for (uint64_t at = 0; at < size; at += PAGE) {
        count += drill_load(va + at) != pa + at;
    }
    return count;
}

static uint64_t reachable(uint64_t va, uint64_t size)
{
    uint64_t count = 0;
    for (uint64_t at = 0; at < size; at += PAGE) {
        count += drill_load(va + at) != FAULTED;
    }
    return count;
}

static void blocks_are_split(uint64_t va, uint64_t pa)
{
    uint64_t page = va + 5 * PAGE;
    say("map", map(va, pa, 2 * BLOCK, DATA), PGT_OK);
    say("mapped", others(va, pa, 2 * BLOCK), 0);
    say("protect", protect(page, PAGE, READ_ONLY), PGT_OK);
    say("store to what is read-only", drill_store(page, 0), FAULTED);
    say("split", others(va, pa, 2 * BLOCK), 0);
    say("call in what was split", drill_call(va + PAGE + AT_RET), FAULTED);
    say("store beside it", drill_store(page + PAGE, pa + 6 * PAGE), 0);
    say("protect", protect(page, PAGE, READ_WRITE), PGT_OK);
    say("store", drill_store(page, pa + 5 * PAGE), 0);
    say("protect", protect(page, PAGE, READ_ONLY), PGT_OK);
    say("store to what is read-only again", drill_store(page, 0), FAULTED);
}

static void pages_are_replaced(uint64_t va, uint64_t pa)
{
    uint64_t page = va + 5 * PAGE;
    say("unmap", unmap(page, PAGE), PGT_OK);
    say("unmapped", drill_load(page), FAULTED);
    say("map another", map(page, pa + 3 * BLOCK, PAGE, DATA), PGT_OK);
    say("another", drill_load(page), pa + 3 * BLOCK);
    say("unmap the lower half", unmap(va, BLOCK / 2), PGT_OK);
    say("upper half", others(va + BLOCK / 2, pa + BLOCK / 2, BLOCK + BLOCK / 2), 0);
    say("unmap all", unmap(va + BLOCK / 2, BLOCK + BLOCK / 2), PGT_OK);
    say("reachable", reachable(va, 2 * BLOCK), 0);
}

// Tables that were freed serve other addresses.
static void tables_are_reused(uint64_t va, uint64_t pa)
{
    say("pages", map(va, pa + PAGE, BLOCK, DATA), PGT_OK);
    say("mapped", others(va, pa + PAGE, BLOCK), 0);
    say("unmap", unmap(va, BLOCK), PGT_OK);
    say("elsewhere", map(va + 8 * BLOCK, pa + 2 * BLOCK + PAGE, BLOCK, DATA), PGT_OK);
    say("not there any more", reachable(va, BLOCK), 0);
    say("mapped elsewhere", others(va + 8 * BLOCK, pa + 2 * BLOCK + PAGE, BLOCK), 0);
    say("unmap", unmap(va + 8 * BLOCK, BLOCK), PGT_OK);
    say("pool", pool.free_pages >= POOL_PAGES - 16, 1);
}

static void constants_are_split(uint64_t va, uint64_t pa)
{
    say("map constants", map(va, pa, BLOCK, CONSTANTS), PGT_OK);
    say("call of constants", drill_call(va + AT_RET), FAULTED);
    say("protect", protect(va + 5 * PAGE, PAGE, READ_WRITE), PGT_OK);
    say("call of constants that were split", drill_call(va + AT_RET), FAULTED);
    say("unmap", unmap(va, BLOCK), PGT_OK);
}

// As a byte of MAIR_EL2; FAULTED: nothing is there.
static uint64_t type_of(uint64_t va)
{
    __asm__ volatile("at s1e2r, %0\n isb" : : "r"(va) : "memory");
    uint64_t par = READ_SYSREG(par_el1);
    return (par & PAR_F) != 0 ? FAULTED : par >> PAR_ATTR_SHIFT;
}

static void types_stay(uint64_t va, uint64_t pa)
{
    say("map, past the caches", map(va, pa, BLOCK, NON_CACHEABLE), PGT_OK);
    say("type", type_of(va), 0x44);
    say("protect", protect(va, PAGE, READ_ONLY), PGT_OK);
    say("type of what was protected", type_of(va), 0x44);
    say("type of what was split", type_of(va + PAGE), 0x44);
    say("unmap", unmap(va, BLOCK), PGT_OK);
    say("type of nothing", type_of(va), FAULTED);
}

static void code_is_code(uint64_t va, uint64_t pa)
{
    say("map code", map(va, pa, PAGE, CODE), PGT_OK);
    say("reachable beside it", reachable(va + PAGE, BLOCK - PAGE), 0);
    say("call", drill_call(va + AT_RET), 0);
    say("store to code", drill_store(va, 0), FAULTED);
    say("unmap", unmap(va, PAGE), PGT_OK);
    say("call of nothing", drill_call(va + AT_RET), FAULTED);
    say("writable code", map(va, pa, PAGE, BOTH), PGT_BAD_ATTR);
    say("code of a device", pgt_map(&vms[0], ia_of_ipa(ipa_of(0)), pa_of(pa), PAGE, DEVICE_CODE),
        PGT_BAD_ATTR);
}

static void sizes_are_checked(uint64_t pa)
{
    struct pgt_walk walk;
    uint64_t end = 1ul << EL2_BITS;
    uint64_t pa_end = 1ul << PA_BITS;
    say("size that wraps", map(WINDOW, pa, 0 - WINDOW - PAGE, DATA), PGT_RANGE);
    say("size that wraps to nothing", unmap(WINDOW, 0 - WINDOW), PGT_RANGE);
    say("input beyond its end", map(end, pa, PAGE, DATA), PGT_RANGE);
    say("output beyond its end", map(WINDOW, pa_end - PAGE, 2 * PAGE, DATA), PGT_RANGE);
    say("walk beyond the end", pgt_walk(&el2, ia_of_va(va_of(end)), &walk), PGT_RANGE);
}

static void use(const struct pgt *vm)
{
    (void)pgt_prim_set_vttbr(pgt_vttbr_el2(vm));
}

// Where stage 2 leads a load, or a store; FAULTED: nowhere.
static uint64_t leads(uint64_t ipa, bool store)
{
    if (store) {
        __asm__ volatile("at s12e1w, %0\n isb" : : "r"(ipa) : "memory");
    } else {
        __asm__ volatile("at s12e1r, %0\n isb" : : "r"(ipa) : "memory");
    }
    uint64_t par = READ_SYSREG(par_el1);
    return (par & PAR_F) != 0 ? FAULTED : (par & 0x0000fffffffff000ul);
}

static enum pgt_status map2(struct pgt *vm, uint64_t ipa, uint64_t pa, uint64_t size)
{
    return pgt_map(vm, ia_of_ipa(ipa_of(ipa)), pa_of(pa), size, GUEST);
}

static void guest_begins(unsigned i)
{
    struct pgt_config config = {
        .regime = PGT_STAGE2, .ia_bits = 40, .pa_bits = PA_BITS, .vmid = (uint16_t)(i + 1)};
    say("init", pgt_init(&vms[i], &config, pa_of((uint64_t)vm_roots[i]), &pool), PGT_OK);
}

static void guests_begin(void)
{
    guest_begins(0);
    guest_begins(1);
    WRITE_SYSREG(vtcr_el2, pgt_vtcr_el2(&vms[0]));
    WRITE_SYSREG(hcr_el2, HCR_RW | HCR_VM);
    isb();
    use(&vms[0]);
}

static void stage2_changes(uint64_t ipa, uint64_t pa)
{
    struct pgt *vm = &vms[0];
    ia_t page = ia_of_ipa(ipa_of(ipa + 7 * PAGE));
    say("nothing", leads(ipa, false), FAULTED);
    say("map", map2(vm, ipa, pa, BLOCK), PGT_OK);
    say("leads", leads(ipa + 7 * PAGE, false), pa + 7 * PAGE);
    say("protect", pgt_protect(vm, page, PAGE, READ_ONLY), PGT_OK);
    say("stores", leads(ipa + 7 * PAGE, true), FAULTED);
    say("loads", leads(ipa + 7 * PAGE, false), pa + 7 * PAGE);
    say("beside it", leads(ipa + 8 * PAGE, true), pa + 8 * PAGE);
    say("last of the block", leads(ipa + BLOCK - PAGE, true), pa + BLOCK - PAGE);
    say("unmap", pgt_unmap(vm, page, PAGE), PGT_OK);
    say("unmapped", leads(ipa + 7 * PAGE, false), FAULTED);
    say("reserve", pgt_reserve(vm, page, PAGE), PGT_OK);
    say("fill", pgt_fill(vm, page, pa_of(pa + BLOCK), PAGE, GUEST), PGT_OK);
    say("filled", leads(ipa + 7 * PAGE, true), pa + BLOCK);
    say("hold", pgt_hold(vm, page, PAGE), PGT_OK);
    say("held", leads(ipa + 7 * PAGE, false), FAULTED);
}

// The tree of a VM changes while VTTBR_EL2 names another.
static void another_vm_changes(uint64_t ipa, uint64_t pa)
{
    say("map", map2(&vms[1], ipa, pa + 2 * BLOCK, 2 * PAGE), PGT_OK);
    use(&vms[1]);
    say("leads", leads(ipa, false), pa + 2 * BLOCK);
    use(&vms[0]);
    say("unmap of another's", pgt_unmap(&vms[1], ia_of_ipa(ipa_of(ipa)), PAGE), PGT_OK);
    say("its own still", leads(ipa, false), pa);
    use(&vms[1]);
    say("unmapped", leads(ipa, false), FAULTED);
    say("beside it", leads(ipa + PAGE, false), pa + 2 * BLOCK + PAGE);
    pgt_clear(&vms[1]);
    say("cleared", leads(ipa + PAGE, false), FAULTED);
    use(&vms[0]);
    pgt_clear(&vms[0]);
    say("cleared", leads(ipa, false), FAULTED);
}

static void execution(uint64_t ipa, uint64_t pa)
{
    struct pgt *vm = &vms[0];
    ia_t page = ia_of_ipa(ipa_of(ipa));
    say("map", map2(vm, ipa, pa, PAGE), PGT_OK);
    say("executed", drill_run(ipa + AT_HVC), EC_HVC64);
    say("protect", pgt_protect(vm, page, PAGE, READ_WRITE), PGT_OK);
    say("execution of data", drill_run(ipa + AT_HVC), EC_IABT_LOWER);
    say("unmap", pgt_unmap(vm, page, PAGE), PGT_OK);
    say("execution of nothing", drill_run(ipa + AT_HVC), EC_IABT_LOWER);
    say("map, nothing permitted", pgt_map(vm, page, pa_of(pa), PAGE, FORBIDDEN), PGT_OK);
    say("load of what is forbidden", leads(ipa, false), FAULTED);
    say("execution of what is forbidden", drill_run(ipa + AT_HVC), EC_IABT_LOWER);
    pgt_clear(vm);
}

// A VM begins with the VMID and the root of one that has ended, and had a block in its root.
static void vmid_is_used_again(void)
{
    say("map of the ended one", map2(&vms[1], 0, BEYOND_RAM, GIB), PGT_OK);
    use(&vms[1]);
    say("leads", leads(PAGE, false), BEYOND_RAM + PAGE);
    use(&vms[0]);
    guest_begins(1);
    use(&vms[1]);
    say("of the ended one", leads(PAGE, false), FAULTED);
    use(&vms[0]);
}

void drill(void)
{
    mark();
    blocks_are_split(WINDOW, data(0));
    pages_are_replaced(WINDOW, data(0));
    tables_are_reused(WINDOW, data(0));
    constants_are_split(WINDOW, data(0));
    types_stay(WINDOW, data(0));
    guests_begin();
    code_is_code(WINDOW, data(7 * BLOCK));
    sizes_are_checked(data(0));
    stage2_changes(0, data(0));
    stage2_changes(UPPER_HALF, data(0));
    another_vm_changes(UPPER_HALF, data(0));
    execution(UPPER_HALF, data(0));
    vmid_is_used_again();
}
