/* SPDX-License-Identifier: Apache-2.0 */
/*
 * twin.h - two lives of one node id, and which of them has to go.
 *
 * A record's `seat` says where its id is kept: a number made of the seat's lock file
 * (io/state_dir.h) on this boot of this host, or 0 where the id was given or is random.  A seat is
 * locked, so of two lives of one seat the older is over, or about to be.  Of two seats with one id
 * both may be running: somebody has copied a state directory.
 *
 *     the other's seat is the same, its incarnation higher    this one stops for good
 *     ... lower                                               a former life: nothing
 *     the other's seat is another, and it is alive            one of the two takes another id
 *
 * Masters keep a copy out while the first one is alive, and where two of their tables meet, the
 * higher incarnation stands.  So of two copies the one that no master lists takes another id: its
 * master has the other one in its place, or it sees a higher incarnation.
 */
#ifndef CORE_TWIN_H
#define CORE_TWIN_H

#include "core/core.h"

/* What a life that @is_listed (by a master that answers it) does about @other, which bears its node
 * id. */
enum core_yield_kind twin_yields(const struct record_member *own, bool is_listed,
                                 const struct record_member *other);

/* A master: whether @listed keeps @joiner, of the same node id, out of the member list. */
bool twin_keeps_out(const struct record_member *listed, const struct record_member *joiner);
/* Anybody: whether what a master says of @member is no news, because a life is known that it must
 * not replace.  A copy replaces one of a higher incarnation too: that one has gone.  So does an
 * older life of the same seat when the newer one is known to have gone: it had not noticed that
 * there was one. */
bool twin_is_old_news(const struct record_member *known, const struct record_member *member);

#endif
