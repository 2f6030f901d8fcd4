/* SPDX-License-Identifier: Apache-2.0 */
/*
 * choice.c - takes or leaves each device, by the first rule that it fails.
 *
 * The reasons are for a person in front of a machine whose RDMA does not work: they name what was
 * found and the option or the part of the machine that would change it.
 */
#include "io/rdma/choice.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

__attribute__((format(printf, 2, 3))) static bool refuse(struct choice *choice, const char *format,
                                                         ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(choice->why, sizeof choice->why, format, arguments);
    va_end(arguments);
    return false;
}

bool choice_next_name(const char **cursor, char ret_name[VERBS_NAME_BYTES])
{
    *cursor += strspn(*cursor, ", ");
    size_t len = strcspn(*cursor, ", ");
    snprintf(ret_name, VERBS_NAME_BYTES, "%.*s", (int)len, *cursor);
    *cursor += len;
    return len > 0;
}

static bool is_named(const char *names, const char *name)
{
    char word[VERBS_NAME_BYTES];
    if (!names[0])
        return true;
    while (choice_next_name(&names, word))
        if (strcmp(word, name) == 0)
            return true;
    return false;
}

static bool check_device(const struct survey_device *device, struct choice *choice)
{
    if (device->error == -EACCES || device->error == -EPERM)
        return refuse(choice, "it may not be opened: give this user the devices in "
                              "/dev/infiniband");
    if (device->error)
        return refuse(choice, "it does not answer: %s", strerror(-device->error));
    if (!device->info.is_usable)
        return refuse(choice, "it speaks neither InfiniBand nor RoCE");
    if (device->info.limits.reads_asked == 0 || device->info.limits.reads_served == 0)
        return refuse(choice, "it can neither ask for nor serve RDMA reads");
    return true;
}

static bool check_port(const struct survey_device *device, uint32_t number, struct choice *choice)
{
    if (number < 1 || number > device->port_count)
        return refuse(choice, "it has %u port%s, and ib_port=%u", device->port_count,
                      device->port_count == 1 ? "" : "s", number);
    const struct verbs_port_info *port = &device->ports[number - 1];
    if (port->state != VERBS_PORT_ACTIVE)
        return refuse(choice, "port %u is %s%s", number, choice_state_text(port->state),
                      port->link == VERBS_LINK_INFINIBAND ? ": is there a subnet manager?"
                                                          : ": is its cable in, and its network "
                                                            "interface up?");
    if (port->link == VERBS_LINK_UNKNOWN)
        return refuse(choice, "port %u has neither InfiniBand's nor Ethernet's link layer", number);
    return true;
}

static bool check_gid(const struct survey_device *device, const struct choice_wishes *wishes,
                      struct choice *choice)
{
    choice->gid = gid_choose(device->gids, device->gid_count, wishes->port, wishes->gid_index);
    if (choice->gid)
        return true;
    if (wishes->gid_index != GID_INDEX_AUTO)
        return refuse(choice, "port %u has no address at gid_index=%d", wishes->port,
                      wishes->gid_index);
    return refuse(choice, "port %u has no address: give its network interface one", wishes->port);
}

/* Whether the port has a GID that is worse than @gid in this respect. */
static bool has_other(const struct survey_device *device, const struct gid *gid, bool by_scope)
{
    for (uint32_t i = 0; i < device->gid_count; i++) {
        const struct gid *other = &device->gids[i];
        if (other->entry.port != gid->entry.port)
            continue;
        if (by_scope ? gid_scope(other) == GID_SCOPE_LINK_LOCAL
                     : other->entry.type != gid->entry.type)
            return true;
    }
    return false;
}

static void explain(const struct survey_device *device, const struct choice_wishes *wishes,
                    struct choice *choice)
{
    const struct gid *gid = choice->gid;
    char address[GID_TEXT_BYTES];
    gid_format(gid, address);
    int len = snprintf(choice->why, sizeof choice->why, "port %u, GID %u: %s %s", gid->entry.port,
                       gid->entry.index, gid_type_text(gid->entry.type), address);
    const char *reason = "";
    bool is_link_local = gid_scope(gid) == GID_SCOPE_LINK_LOCAL;
    bool over_scope = !is_link_local && has_other(device, gid, true);
    bool over_type = gid->entry.type == VERBS_GID_ROCE_V2 && has_other(device, gid, false);
    if (wishes->gid_index != GID_INDEX_AUTO)
        reason = ", as gid_index says";
    else if (is_link_local)
        reason = ", link-local, since its network interface has no other address";
    else if (over_scope && over_type)
        reason = ", before RoCE v1 and link-local";
    else if (over_scope)
        reason = ", before link-local";
    else if (over_type)
        reason = ", before RoCE v1";
    snprintf(choice->why + len, sizeof choice->why - (size_t)len, "%s", reason);
}

void choice_make(const struct survey_device *device, const struct choice_wishes *wishes,
                 struct choice *ret_choice)
{
    struct choice choice = {0};
    if (!is_named(wishes->device_names, device->name))
        refuse(&choice, "device_names does not name it");
    else if (check_device(device, &choice) && check_port(device, wishes->port, &choice) &&
             check_gid(device, wishes, &choice))
        choice.is_used = true;
    if (choice.is_used)
        explain(device, wishes, &choice);
    *ret_choice = choice;
}

static void explain_names(const struct survey *survey, const struct choice_wishes *wishes,
                          char ret_reason[CHOICE_WHY_BYTES])
{
    int len = snprintf(ret_reason, CHOICE_WHY_BYTES,
                       "device_names=%.60s names no RDMA device of this machine; it has",
                       wishes->device_names);
    for (uint32_t i = 0; i < survey->count && len < CHOICE_WHY_BYTES; i++)
        len += snprintf(ret_reason + len, CHOICE_WHY_BYTES - (size_t)len, "%s%s", i ? ", " : " ",
                        survey->devices[i].name);
}

static void explain_none(const struct survey *survey, char ret_reason[CHOICE_WHY_BYTES])
{
    if (survey->unlisted[0])
        snprintf(ret_reason, CHOICE_WHY_BYTES,
                 "the kernel has %s, but libibverbs does not list it: install ibverbs-providers "
                 "(rdma-core), and give a container the devices in /dev/infiniband",
                 survey->unlisted);
    else
        snprintf(ret_reason, CHOICE_WHY_BYTES, "this machine has no RDMA device");
}

bool choice_works(const struct survey *survey, const struct choice_wishes *wishes,
                  char ret_reason[CHOICE_WHY_BYTES])
{
    bool is_any_named = false;
    if (survey->count == 0) {
        explain_none(survey, ret_reason);
        return false;
    }
    for (uint32_t i = 0; i < survey->count; i++) {
        const struct survey_device *device = &survey->devices[i];
        struct choice choice;
        choice_make(device, wishes, &choice);
        if (choice.is_used)
            return true;
        if (!is_named(wishes->device_names, device->name) || is_any_named)
            continue;
        is_any_named = true;
        snprintf(ret_reason, CHOICE_WHY_BYTES, "no RDMA device works; %s: %.150s", device->name,
                 choice.why);
    }
    if (!is_any_named)
        explain_names(survey, wishes, ret_reason);
    return false;
}

const char *choice_state_text(enum verbs_port_state state)
{
    static const char *const texts[] = {[VERBS_PORT_DOWN] = "down",
                                        [VERBS_PORT_INIT] = "initializing",
                                        [VERBS_PORT_ARMED] = "armed",
                                        [VERBS_PORT_ACTIVE] = "active"};
    return texts[state];
}

const char *choice_link_text(enum verbs_link link)
{
    static const char *const texts[] = {[VERBS_LINK_UNKNOWN] = "unknown",
                                        [VERBS_LINK_INFINIBAND] = "InfiniBand",
                                        [VERBS_LINK_ETHERNET] = "Ethernet"};
    return texts[link];
}
