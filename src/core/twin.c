/* SPDX-License-Identifier: Apache-2.0 */
/* twin.c - two lives of one node id.  Pure. */
#include "core/twin.h"

#include "base/protection.h"
#include "core/member.h"

/* Two copies can have been started in the same microsecond. */
static bool is_above(const struct record_member *a, const struct record_member *b)
{
    return a->incarnation != b->incarnation ? a->incarnation > b->incarnation : a->seat > b->seat;
}

static bool is_copy(uint64_t known_seat, const struct record_member *other)
{
    return known_seat != other->seat && PROTECTED(one_life_an_id);
}

enum core_yield_kind twin_yields(const struct record_member *own, bool is_listed,
                                 const struct record_member *other)
{
    if (!member_is_there(other->state) || !PROTECTED(one_life_an_id))
        return CORE_YIELD_NOT;
    if (other->seat == own->seat)
        return other->incarnation > own->incarnation ? CORE_YIELD_ALL : CORE_YIELD_NOT;
    return !is_listed || is_above(other, own) ? CORE_YIELD_ID : CORE_YIELD_NOT;
}

bool twin_keeps_out(const struct record_member *listed, const struct record_member *joiner)
{
    return is_copy(listed->seat, joiner) ? member_is_there(listed->state)
                                         : joiner->incarnation < listed->incarnation;
}

bool twin_is_old_news(const struct record_member *known, const struct record_member *member)
{
    bool has_gone = member_is_gone(known->state);
    bool is_older = member->incarnation < known->incarnation;
    if (is_copy(known->seat, member) || (has_gone && is_older))
        return !member_is_there(member->state);
    return is_older;
}
