// SPDX-License-Identifier: Apache-2.0
// The boot: from the board's device tree and the bundle to a running VM.
#include <stddef.h>

#include <el2/board.h>
#include <el2/bundle.h>
#include <el2/console.h>
#include <el2/frames.h>
#include <el2/gic.h>
#include <el2/image.h>
#include <el2/manifest.h>
#include <el2/memory.h>
#include <el2/mm.h>
#include <el2/power.h>
#include <el2/sysregs.h>
#include <el2/version.h>
#include <el2/vm.h>

#define DTB_MAX_SIZE 0x200000u // of the arm64 boot protocol
#define FIRST_VMID 1u

// What an observer looks for by its symbol.
struct vm vm0;

_Noreturn void main(uint64_t dtb, uint64_t entered_at_el3);

static _Noreturn void boot_fail(const struct boot_error *error)
{
    log_begin();
    log_text("boot: ");
    log_text(error->where);
    log_text(": ");
    log_text(error->what);
    log_text("; ");
    log_text(error->fix);
    log_end();
    power_end("boot-failed");
}

// Maps the blob, first only as much as says how long it is.
static bool open_dtb(uint64_t address, struct fdt *fdt, struct board_range *dtb,
                     struct boot_error *error)
{
    const char *fix = "start the hypervisor with the address of a device tree in x0";
    uint32_t size;
    pa_t base = pa_of(address & ~PAGE_MASK);
    uint64_t skip = address & PAGE_MASK;
    if (address == 0 || address % 8 != 0 || !mm_map(base, skip + FDT_HEADER_SIZE, MM_READ_ONLY)) {
        return refuse(error, "board device tree", "not at a possible address", fix);
    }
    if (!fdt_total_size(mm_pointer(pa_of(address)), &size) || size > DTB_MAX_SIZE) {
        return refuse(error, "board device tree", "not a device tree (bad magic or size)", fix);
    }
    mm_unmap(base, skip + FDT_HEADER_SIZE);
    *dtb = (struct board_range){base, skip + size};
    if (!mm_map(base, dtb->size, MM_READ_ONLY)) {
        return refuse(error, "board device tree", "overlaps the hypervisor", fix);
    }
    const char *damage = fdt_open(fdt, mm_pointer(pa_of(address)), size);
    if (damage != NULL) {
        return refuse(error, "board device tree", damage, fix);
    }
    return true;
}

static bool silence_interrupts(const struct fdt *fdt, struct boot_error *error)
{
    pa_t distributor;
    pa_t cpu_interface;
    if (board_find_gic(fdt, &distributor, &cpu_interface) &&
        !gic_silence(distributor, cpu_interface)) {
        return refuse(error, "board device tree", "the GIC is not at a possible address",
                      "check the board's device tree");
    }
    return true;
}

static bool open_bundle(const struct board *board, struct bundle *bundle, struct boot_error *error)
{
    struct board_range range = board->bundle;
    if (range.size == 0) {
        return refuse(error, "bundle", "there is none",
                      "pass a file made by `aether bundle` as the initrd");
    }
    if (!mm_map(range.base, range.size, MM_READ_ONLY)) {
        return refuse(error, "bundle", "overlaps the hypervisor or the device tree",
                      "check how the hypervisor was started");
    }
    return bundle_open(bundle, mm_pointer(range.base), range.size, error);
}

static bool boot(uint64_t dtb_address, bool entered_at_el3, struct boot_error *error)
{
    struct fdt fdt;
    struct board_range dtb;
    struct board board;
    struct bundle bundle;
    struct vm_config config;
    pa_t uart;
    log_line("Aether EdgeCloud EL2 " AETHER_VERSION_TEXT);
    if (!open_dtb(dtb_address, &fdt, &dtb, error)) {
        return false;
    }
    bool good = board_read(&fdt, &board, error);
    power_init(board.psci_smc && !entered_at_el3); // before the console, which may not work
    bool has_uart = board_find_uart(&fdt, &uart) && mm_map(uart, PAGE_SIZE, MM_DEVICE);
    if (has_uart) {
        console_init(uart);
    }
    if (good && !has_uart) {
        return refuse(error, "board device tree", "no PL011", "use a board with a PL011");
    }
    if (!good || !silence_interrupts(&fdt, error)) {
        return false;
    }
    if (READ_SYSREG(cntfrq_el0) == 0) {
        return refuse(error, "timer", "CNTFRQ_EL0 is 0", "use firmware that sets it");
    }
    if (!frames_init(&board, dtb, error) || !open_bundle(&board, &bundle, error) ||
        !manifest_read(&bundle, &config, error) ||
        !vm_create(&vm0, FIRST_VMID, &bundle, &config, error)) {
        return false;
    }
    mm_unmap(dtb.base, dtb.size);
    return true;
}

_Noreturn void main(uint64_t dtb, uint64_t entered_at_el3)
{
    struct boot_error error;
    if (!boot(dtb, entered_at_el3 != 0, &error)) {
        boot_fail(&error);
    }
    vm_run(&vm0);
}
