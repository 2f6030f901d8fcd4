/* SPDX-License-Identifier: Apache-2.0 */
/*
 * over_model.c - part of a peercache._native whose nodes use the model of an RDMA adapter
 * (tests/rdma), for machines without a device.  All nodes of the process share one wire.
 */
#include "io/rdma/module.h"
#include "live.h"

#define EXPORTED __attribute__((visibility("default")))

EXPORTED void over_model_refuse_memory(void);

static struct live *live;

__attribute__((constructor)) static void take_the_model(void)
{
    struct model_settings settings = model_settings_default(1);
    struct model *model = model_new(&settings);
    model_add_device(model, "model0", 1);
    live = live_new(model);
    rdma_module_stand_in(live_verbs(live));
}

/* The next registration finds no room. */
void over_model_refuse_memory(void)
{
    live_refuse_memory(live, 0);
}
