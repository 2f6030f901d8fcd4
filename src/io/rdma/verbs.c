/* SPDX-License-Identifier: Apache-2.0 */
/* verbs.c - the words of verbs.h that a person reads. */
#include "io/rdma/verbs.h"

const char *verbs_status_text(enum verbs_status status)
{
    static const char *const texts[] = {
#define S(value, text) [value] = text,
        VERBS_STATUSES(S)
#undef S
    };
    return texts[status];
}
