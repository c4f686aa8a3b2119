// SPDX-License-Identifier: Apache-2.0
// What each kind of witness does. What it says is the same in every life and at every speed.
#include "witness.h"
#include "../exceptions.h"

#define VM_INFO 0xC6000010
#define VM_CREATE 0xC6000011
#define VM_START 0xC6000012
#define VM_STOP 0xC6000015
#define VM_DESTROY 0xC6000016
#define STATE_DOWN 0
#define STATE_READY 6
#define STATE_ABSENT 8
#define PSCI_CPU_ON_64 0xC4000003UL
#define PSCI_INVALID_PARAMETERS (-2)
#define PSCI_ALREADY_ON (-4)
#define PSCI_INVALID_ADDRESS (-9)
#define WATCHED_VM 2
#define LIVES 1
#define CODE 0 // pages
#define TX 1
#define RX 2
#define NEW_TX 3
#define NEW_RX 4
#define DATA 8
#define LEFT_OPEN 20
#define SECRET 100
#define CODE_OF_IMAGE 1
#define CODE_OF_LAST_LIFE 2

enum witness_case { ALONE, LIVES_ON, MANAGER, OWNER, SERVER, TWO_ON_ONE_CPU };

static void zero_is(const char *what, uint64_t value)
{
    say(what, value == 0, value);
}

static void faults(const char *what, uint64_t value)
{
    say(what, value == FAULTED, value);
}

static void code_is(const char *what, uint64_t got, uint64_t wanted)
{
    say(what, got == wanted, got);
}

// Caches off: what its memory holds, not what some cache does.
static void fresh(uint64_t first)
{
    uint64_t count = 0;
    for (uint64_t i = first; i < PAGES; i++) {
        count += wrong(page(i), 0);
    }
    say("fresh memory", count == 0, count);
}

// Page 0 comes with the image.
static void live(void)
{
    // First of all, before a barrier of the guest ends what the hypervisor has begun.
    const uint64_t at_once = load_at_once(page(CODE) + ALIAS);
    faults("address of the last life, at once", at_once);
    fresh(1);
    code_is("code of the image, past the caches", call(page(CODE)), CODE_OF_IMAGE);
    for (uint64_t i = 1; i < PAGES; i++) {
        fill(page(i), SECRET);
    }
    mmu_on(false);
    faults("address of the last life", load(page(CODE) + ALIAS));
    alias_on();
    (void)load(page(CODE) + ALIAS);
    code_is("code of the image", call(page(CODE)), CODE_OF_IMAGE);
    write_code(page(CODE), CODE_OF_LAST_LIFE);
    code_written(page(CODE));
    code_is("code of this life", call(page(CODE)), CODE_OF_LAST_LIFE);
    // Dirty in the caches, and not cleaned.
    for (uint64_t i = 1; i < PAGES; i++) {
        fill(page(i), SECRET + 1);
    }
    (void)hvc(PSCI_SYSTEM_RESET, 0, 0, 0);
}

static void await(uint64_t state, uint64_t restarts)
{
    struct smccc args;
    do {
        rest();
        args = (struct smccc){{VM_INFO, WATCHED_VM}};
        hvc_call(&args);
    } while ((state != UINT64_MAX && args.x[1] != state) || args.x[3] < restarts);
}

static void control(uint64_t function)
{
    (void)hvc(function, WATCHED_VM, 0, 0);
}

static void manage(void)
{
    await(UINT64_MAX, LIVES);
    control(VM_STOP);
    await(STATE_DOWN, 0);
    control(VM_DESTROY);
    await(STATE_ABSENT, 0);
    control(VM_CREATE);
    await(STATE_READY, 0);
    control(VM_START);
    await(UINT64_MAX, 2 * LIVES);
    control(VM_STOP);
    await(STATE_DOWN, 0);
    say("another's lives", true, 0);
}

static void look(bool with_looker, const char *what, uint64_t address)
{
    if (with_looker) {
        faults(what, looker_reads(address));
    }
}

// A page goes and comes back, and another one to the same place.
static void lend_twice(uint64_t peer, bool with_looker)
{
    for (uint64_t i = 0; i < 2; i++) {
        const uint64_t seed = SECRET + 10 * i;
        const uint64_t at = page(DATA + i);
        fill(at, seed);
        if (with_looker) {
            (void)looker_reads(at);
        }
        const uint64_t handle = offer(OFFER_LEND, peer, at, 1, false);
        faults("lent", load(at));
        look(with_looker, "lent, at the other vCPU", at);
        const uint64_t there = order(peer, RETRIEVE, handle, 0);
        zero_is("borrowed, in memory", order(peer, CHECK, there + ALIAS, seed));
        zero_is("borrowed", order(peer, CHECK, there, seed));
        faults("borrowed, and executed", order(peer, CALL, there, 0));
        (void)order(peer, FILL, there, seed + 1);
        zero_is("relinquish", order(peer, RELINQUISH, handle, 0));
        faults("relinquished", order(peer, READ, there, 0));
        zero_is("reclaim", reclaim(handle));
        zero_is("reclaimed, in memory", wrong(at + ALIAS, seed + 1));
        zero_is("reclaimed", wrong(at, seed + 1));
        fill(at, seed + 2);
        faults("what was borrowed", order(peer, READ, there, 0));
    }
}

static void lend_zeroed(uint64_t peer)
{
    for (uint64_t i = 0; i < 4; i++) {
        fill(page(DATA + 2 + i), SECRET + 30 + i);
        clean(page(DATA + 2 + i)); // the secret is in memory, too
    }
    const uint64_t handle = offer(OFFER_LEND, peer, page(DATA + 2), 4, true);
    const uint64_t there = order(peer, RETRIEVE, handle, 0);
    for (uint64_t i = 0; i < 4; i++) {
        zero_is("zeroed, in memory", order(peer, CHECK, there + i * PAGE_SIZE + ALIAS, 0));
        zero_is("zeroed", order(peer, CHECK, there + i * PAGE_SIZE, 0));
        (void)order(peer, FILL, there + i * PAGE_SIZE, SECRET + 40);
    }
    zero_is("relinquish, zeroing", order(peer, RELINQUISH, handle, 1));
    zero_is("reclaim", reclaim(handle));
    for (uint64_t i = 0; i < 4; i++) {
        zero_is("zeroed again, in memory", wrong(page(DATA + 2 + i) + ALIAS, 0));
        zero_is("zeroed again", wrong(page(DATA + 2 + i), 0));
    }
}

// Other code in the same page, at the same place.
static void lend_code(uint64_t peer)
{
    for (uint32_t i = 1; i < 3; i++) {
        write_code(page(DATA + 6), i);
        const uint64_t handle = offer(OFFER_LEND, peer, page(DATA + 6), 1, false);
        const uint64_t there = order(peer, EXECUTE, handle, 0);
        code_is("code that was lent", order(peer, CALL, there, 0), i);
        (void)order(peer, RELINQUISH, handle, 0);
        (void)reclaim(handle);
    }
}

static void donate(uint64_t peer, bool with_looker)
{
    const uint64_t at = page(DATA + 7);
    fill(at, SECRET + 50);
    const uint64_t handle = offer(OFFER_DONATE, peer, at, 1, false);
    faults("donated", load(at));
    look(with_looker, "donated, at the other vCPU", at);
    const uint64_t there = order(peer, RETRIEVE, handle, 0);
    zero_is("given", order(peer, CHECK, there, SECRET + 50));
}

// The borrower ends; what it had is the owner's again, and not the borrower's next life's.
static void borrower_ends(uint64_t peer)
{
    const uint64_t at = page(DATA + 8);
    fill(at, SECRET + 60);
    const uint64_t handle = offer(OFFER_LEND, peer, at, 1, false);
    const uint64_t there = order(peer, RETRIEVE, handle, 0);
    (void)order(peer, READ, there, 0);
    (void)order(peer, RESET, 0, 0);
    while (reclaim(handle) != 0) {
        rest();
    }
    zero_is("after the borrower", wrong(at, SECRET + 60));
    fill(at, SECRET + 61);
    faults("after a life", order(peer, READ, there, 0));
}

static void new_mailbox(bool with_looker)
{
    (void)partitions();
    store(page(RX), 0);
    zero_is("mailbox moved", with_looker ? looker_moves_mailbox(page(NEW_TX), page(NEW_RX))
                                         : mailbox_end() + mailbox(page(NEW_TX), page(NEW_RX)));
    const uint64_t first = partitions();
    say("in the new mailbox", first != 0, first);
    zero_is("in the old mailbox", load(page(RX)));
}

// The second names no more than a page; a range of the first is where it has its end.
static void offer_nonsense(uint64_t peer)
{
    const uint64_t at = page(DATA + 13);
    const uint64_t twice = offer_page_twice(peer, at);
    const uint64_t beyond = offer_beyond_its_end(peer, at + PAGE_SIZE);
    zero_is("offer of a page twice", twice);
    zero_is("offer beyond its end", beyond);
    zero_is("offer of more than it says", offer_more_than_said(peer, at));
}

static void own(uint64_t peer, bool with_looker)
{
    mmu_on(true);
    exceptions_take();
    // What was borrowed of this VM's former life, if there was one, is not there any more.
    if (order(peer, COUNT, 0, 0) > 10) {
        faults("after the owner", order(peer, READ, UINT64_C(0x70000000) + PAGE_SIZE, 0));
        zero_is("fresh memory", wrong(page(LEFT_OPEN), 0));
        if (with_looker) {
            looker_start(false);
            code_is("code of the image", looker_calls(page(CODE)), CODE_OF_IMAGE);
        }
        (void)order(peer, OFF, 0, 0);
        power_off();
    }
    if (with_looker) {
        looker_start(false);
        write_code(page(CODE), CODE_OF_LAST_LIFE);
        code_written(page(CODE));
        code_is("code of this life", looker_calls(page(CODE)), CODE_OF_LAST_LIFE);
    }
    zero_is("mailbox", mailbox(page(TX), page(RX)));
    faults("behind its memory", load(page(PAGES)));
    faults("before its memory", load((uint64_t)_start - PAGE_SIZE));
    zero_is("offer of what is not its own", offer(OFFER_LEND, peer, page(PAGES), 1, false));
    lend_twice(peer, with_looker);
    lend_zeroed(peer);
    lend_code(peer);
    borrower_ends(peer);
    donate(peer, with_looker);
    new_mailbox(with_looker);
    lend_twice(peer, with_looker);
    offer_nonsense(peer);
    // A second page beside the donated one, which is still borrowed at this life's end.
    fill(page(LEFT_OPEN), SECRET + 70);
    const uint64_t handle = offer(OFFER_LEND, peer, page(LEFT_OPEN), 1, false);
    const uint64_t there = order(peer, RETRIEVE, handle, 0);
    if (with_looker) {
        code_is("code of this life", looker_calls(page(CODE)), CODE_OF_LAST_LIFE);
    }
    say("lent at the end", order(peer, CHECK, there, SECRET + 70) == 0, there);
    (void)hvc(PSCI_SYSTEM_RESET, 0, 0, 0);
}

static void says(const char *what, int64_t answer, int64_t wanted)
{
    say(what, answer == wanted, (uint64_t)answer);
}

static int64_t cpu_on(uint64_t vcpu, uint64_t entry)
{
    return (int64_t)hvc(PSCI_CPU_ON_64, vcpu, entry, 0);
}

// The second vCPU has no alias in its tables; the first uses it all the time.
static void two_on_one_cpu(void)
{
    mmu_on(true);
    exceptions_take();
    says("start of nobody", cpu_on(2, (uint64_t)_start), PSCI_INVALID_PARAMETERS);
    says("start at no memory", cpu_on(1, (uint64_t)_start - PAGE_SIZE), PSCI_INVALID_ADDRESS);
    looker_start(true);
    says("start of one that is on", cpu_on(1, (uint64_t)_start), PSCI_ALREADY_ON);
    for (uint64_t i = 0; i < 4; i++) {
        const uint64_t at = page(DATA + i);
        store(at + ALIAS, SECRET + i);
        zero_is("the first's own address", load(at + ALIAS) ^ (SECRET + i));
        faults("the first's address at the second", looker_reads(at + ALIAS));
    }
}

void stub_main(void)
{
    const uint64_t peer = stub_parameter & 0xff;
    switch (stub_case) {
    case ALONE:
        fresh(0);
        break;
    case LIVES_ON:
        exceptions_take();
        live();
        break;
    case MANAGER:
        manage();
        break;
    case OWNER:
        own(peer, (stub_parameter & 0x100) != 0);
        break;
    case SERVER:
        mmu_on(true);
        exceptions_take();
        (void)mailbox(page(TX), page(RX));
        serve(peer);
    default:
        two_on_one_cpu();
    }
}
