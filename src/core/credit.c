/* SPDX-License-Identifier: Apache-2.0 */
/* credit.c - an equal share of the whole for each holder that is naming. */
#include "core/credit.h"

void credit_begin(struct credit *credit, uint16_t peer)
{
    credit->n_naming += !credit->is_naming[peer];
    credit->is_naming[peer] = true;
}

void credit_end(struct credit *credit, uint16_t peer)
{
    credit->n_naming -= credit->is_naming[peer];
    credit->is_naming[peer] = false;
}

uint32_t credit_grant(const struct credit *credit)
{
    uint32_t share = CREDIT_TOTAL / (credit->n_naming > 0 ? credit->n_naming : 1);
    if (share > CREDIT_A_HOLDER_MAX)
        return CREDIT_A_HOLDER_MAX;
    return share > CREDIT_A_HOLDER_MIN ? share : CREDIT_A_HOLDER_MIN;
}
