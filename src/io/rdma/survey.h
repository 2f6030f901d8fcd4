/* SPDX-License-Identifier: Apache-2.0 */
/* survey.h - the RDMA devices of this machine, and all that is needed to choose among them. */
#ifndef IO_RDMA_SURVEY_H
#define IO_RDMA_SURVEY_H

#include "io/rdma/gid.h"
#include "io/rdma/verbs.h"

enum { SURVEY_PCI_BYTES = 32, SURVEY_NUMA_UNKNOWN = -1 };

struct survey_device {
    char name[VERBS_NAME_BYTES];
    int error; /* of opening or asking it; then what follows is zero, but for place */
    struct verbs_device_info info;
    struct verbs_port_info ports[VERBS_PORTS_MAX]; /* port 1 is at 0 */
    uint32_t port_count;                           /* at most VERBS_PORTS_MAX */
    struct gid *gids;                              /* of all ports */
    uint32_t gid_count;
    int32_t numa_node;
    char pci[SURVEY_PCI_BYTES]; /* address on the bus; empty: it is not on one */
};

struct survey {
    struct survey_device *devices;
    uint32_t count;
    char
        unlisted[VERBS_NAME_BYTES]; /* where there is none: one that only the kernel knows; or "" */
};

/* Opens each device for a moment.  @root stands before /sys: "" but in tests.  -ENOSYS: the kernel
 * has no RDMA.  A device that fails is listed with its error. */
int survey_take(const struct verbs *verbs, const char *root, struct survey *ret_survey);
void survey_fini(struct survey *survey);
/* Its error, as a sentence. */
void survey_explain(int error, char *ret_text, size_t size);

#endif
