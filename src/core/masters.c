/* SPDX-License-Identifier: Apache-2.0 */
/* masters.c - the head, and behind it the services that come first in the fixed order. */
#include "core/masters.h"

#include <string.h>

#include "base/hash.h"

enum { SEED_MASTERS = 11 };

static uint64_t order_of(const struct core_service *service)
{
    return hash_bytes64(service->host, strlen(service->host), SEED_MASTERS + service->port);
}

void masters_begin(struct masters *masters, uint32_t max, const struct core_service *head)
{
    masters->max = max < CORE_MASTERS_MAX ? max : CORE_MASTERS_MAX;
    masters->has_head = head != NULL;
    masters->n = 0;
    if (head)
        masters->services[masters->n++] = *head;
}

bool masters_have(const struct masters *masters, const struct core_service *service)
{
    for (uint32_t i = 0; i < masters->n; i++)
        if (core_service_equal(&masters->services[i], service))
            return true;
    return false;
}

void masters_offer(struct masters *masters, const struct core_service *service)
{
    uint64_t order = order_of(service);
    uint32_t first = masters->has_head ? 1 : 0, at = masters->n;
    while (at > first && masters->order[at - 1] > order)
        at--;
    if (at >= masters->max || masters_have(masters, service))
        return;
    if (masters->n < masters->max)
        masters->n++;
    for (uint32_t i = masters->n - 1; i > at; i--) {
        masters->services[i] = masters->services[i - 1];
        masters->order[i] = masters->order[i - 1];
    }
    masters->services[at] = *service;
    masters->order[at] = order;
}
