/* SPDX-License-Identifier: Apache-2.0 */
/* choice.h - which devices, ports and GIDs RDMA goes by, and why: pure rules over a survey. */
#ifndef IO_RDMA_CHOICE_H
#define IO_RDMA_CHOICE_H

#include "io/rdma/survey.h"

enum { CHOICE_WHY_BYTES = 256 };

/* The options device_names, ib_port and gid_index. */
struct choice_wishes {
    const char *device_names; /* separated by commas; "": all that work */
    uint32_t port;
    int32_t gid_index; /* or GID_INDEX_AUTO */
};

struct choice {
    bool is_used;
    const struct gid *gid;      /* of the survey; NULL unless @is_used */
    char why[CHOICE_WHY_BYTES]; /* a sentence's end, whether it is used or not */
};

void choice_make(const struct survey_device *device, const struct choice_wishes *wishes,
                 struct choice *ret_choice);

/* The next name of device_names, from *@cursor on; false: that was all. */
bool choice_next_name(const char **cursor, char ret_name[VERBS_NAME_BYTES]);

/* Whether any device is used; if none is, @ret_reason is a sentence that says why, and what to
 * change. */
bool choice_works(const struct survey *survey, const struct choice_wishes *wishes,
                  char ret_reason[CHOICE_WHY_BYTES]);

/* "down", "initializing", "armed", "active" */
const char *choice_state_text(enum verbs_port_state state);
/* "InfiniBand", "Ethernet", "unknown" */
const char *choice_link_text(enum verbs_link link);

#endif
