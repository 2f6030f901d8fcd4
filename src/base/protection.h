/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protection.h - the named protections between a reader and a wrong byte or a lost page.
 *
 * Each check that the proofs rely on stands in this table and is asked for by name at the place
 * where it works: `if (PROTECTED(word_after_copy) && ...)`.  In a release build PROTECTED() is the
 * constant true and costs nothing.  In the tests' library one can be turned off by name
 * (protection_disable(), or PEERCACHE_TEST_PROTECTIONS_OFF=name,name in the environment of a
 * program built with it), so that the tests can show that something fails without it.
 */
#ifndef BASE_PROTECTION_H
#define BASE_PROTECTION_H

#include <stdbool.h>

/* name, what goes wrong without it */
#define PROTECTIONS(P)                                                                             \
    P(word_before_copy, "a reader copies from a slot that already holds another page")             \
    P(word_after_copy, "a page overwritten while it was copied counts as whole")                   \
    P(header_digest, "a slot that holds another key's page counts as a hit")                       \
    P(header_length, "a page of another length counts as a hit")                                   \
    P(void_before_reuse, "a slot's bytes change while its word still says sealed")                 \
    P(pins_block_void, "a page is evicted while the holder sends or copies it")                    \
    P(serve_generation, "the holder sends whatever the slot holds now")                            \
    P(fresh_generation, "a location of a former filling matches the present one")                  \
    P(publish_after_seal, "a page is announced before its bytes are there")                        \
    P(holder_incarnation, "locations of a holder's former life are believed")                      \
    P(retract_generation, "a late retract removes the entry of a newer filling")                   \
    P(retract_overflow, "a third holder's entry outlives the page that it retracts")               \
    P(sweep_unnamed, "what a holder no longer has stays in the directory after its sync")          \
    P(muddled_sync_again, "what a holder let go stays in the directory after broken syncs")        \
    P(sync_on_connect, "pages announced before a connection broke are not found again")            \
    P(sync_on_ring_change, "pages are not found at their new owners")                              \
    P(suspect_on_hangup, "exists promises the pages of a holder that was killed")                  \
    P(old_owners_forget, "former owners keep entries of pages that they own no more")              \
    P(sync_credit, "a holder sends its owners more than they can take")                            \
    P(ring_before, "pages are not found while their new owners are being told")                    \
    P(lookup_fallback, "an owner that does not know yet answers for those that do")                \
    P(owner_failover, "pages are missed because one of their owners does not answer")              \
    P(epoch_in_digest, "a cleared page is found again")                                            \
    P(cancel_drains, "an operation that timed out leaves slots filling for ever")                  \
    P(groups_leave_whole, "parts of a hybrid page that is not whole any more are found")           \
    P(copy_keeps_checksum, "a page damaged on its way is published by its reader")                 \
    P(masters_agree, "a master that a member does not reach takes it away from everybody")         \
    P(fresh_masters_only, "a restarted master takes away those who have not spoken to it yet")     \
    P(stopped_master_is_young, "a master that was stopped calls everybody dead when it goes on")   \
    P(reborn_after_pause, "a node that was stopped for long goes on under its old incarnation")    \
    P(reborn_hangs_up, "a new life speaks under the name of the former one")                       \
    P(one_life_an_id, "two nodes of one id push each other out of the member list for ever")       \
    P(version_gate, "a message of a newer version goes to a node that hangs up on it")             \
    P(rdma_fence, "the header is sampled while payload is still read, and vouches for it")         \
    P(rdma_header, "a page that was overwritten while an adapter read it counts as whole")         \
    P(rdma_own_verdict, "a header read by one queue pair vouches for the bytes of another")        \
    P(rdma_completion, "a landing buffer is believed before the adapter says that it is full")     \
    P(rdma_break, "an adapter goes on writing into memory that its caller got back")               \
    P(rdma_members_only, "who is no member gets queue pairs and the keys of the whole pool")

enum protection {
#define P(name, without) PROTECTION_##name,
    PROTECTIONS(P)
#undef P
        PROTECTION_COUNT
};

const char *protection_name(enum protection protection);
const char *protection_without(enum protection protection);

#ifdef PEERCACHE_PROTECTIONS_SWITCHABLE
bool protection_is_on(enum protection protection);
/* Returns false when no protection has this name. */
bool protection_disable(const char *name);
void protection_enable_all(void);
#define PROTECTED(name) protection_is_on(PROTECTION_##name)
#else
#define PROTECTED(name) true
#endif

#endif
