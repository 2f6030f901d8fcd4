/* SPDX-License-Identifier: Apache-2.0 */
/*
 * survey.c - asks each device, and the kernel about where it is and whose addresses its GIDs are.
 *
 * A GID has no prefix length, so it is taken from the network interface with that address.
 */
#include "io/rdma/survey.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NUMBER_BYTES = 32, IPV4_AT = 12 };

/* --- where it is ------------------------------------------------------------------------------ */

static int32_t read_numa_node(const char *root, const char *name)
{
    char path[PATH_MAX], text[NUMBER_BYTES];
    snprintf(path, sizeof path, "%s/sys/class/infiniband/%s/device/numa_node", root, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (len <= 0)
        return SURVEY_NUMA_UNKNOWN;
    text[len] = 0;
    int node = atoi(text); /* -1 where the machine has one node, or does not know */
    return node < 0 ? SURVEY_NUMA_UNKNOWN : node;
}

/* The last part of .../pci0000:17/0000:17:00.0; a device in software has none. */
static void read_pci(const char *root, const char *name, char ret_pci[SURVEY_PCI_BYTES])
{
    char path[PATH_MAX], target[PATH_MAX];
    snprintf(path, sizeof path, "%s/sys/class/infiniband/%s/device", root, name);
    ssize_t len = readlink(path, target, sizeof target - 1);
    target[len > 0 ? len : 0] = 0;
    const char *slash = strrchr(target, '/');
    snprintf(ret_pci, SURVEY_PCI_BYTES, "%.*s", SURVEY_PCI_BYTES - 1, slash ? slash + 1 : target);
}

/* Its driver's library, or its file in /dev, is missing. */
static void find_unlisted(const char *root, char ret_name[VERBS_NAME_BYTES])
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/sys/class/infiniband", root);
    DIR *folder = opendir(path);
    struct dirent *entry = NULL;
    while (folder && (entry = readdir(folder)) && entry->d_name[0] == '.')
        ;
    if (entry)
        snprintf(ret_name, VERBS_NAME_BYTES, "%.*s", VERBS_NAME_BYTES - 1, entry->d_name);
    if (folder)
        closedir(folder);
}

/* --- whose addresses its GIDs are ------------------------------------------------------------- */

static uint8_t count_bits(const uint8_t *mask, size_t len)
{
    uint8_t bits = 0;
    for (size_t i = 0; i < len; i++)
        bits = (uint8_t)(bits + __builtin_popcount(mask[i]));
    return bits;
}

/* The prefix length of @gid as an IPv6 address, if it is @address's. */
static uint8_t prefix_by(const struct ifaddrs *address, const struct gid *gid)
{
    const uint8_t *bytes = gid->entry.bytes;
    if (!address->ifa_addr || !address->ifa_netmask || strcmp(address->ifa_name, gid->interface))
        return 0;
    if (address->ifa_addr->sa_family == AF_INET && gid_scope(gid) != GID_SCOPE_IPV6) {
        const struct sockaddr_in *own = (const struct sockaddr_in *)address->ifa_addr;
        const struct sockaddr_in *mask = (const struct sockaddr_in *)address->ifa_netmask;
        return memcmp(&own->sin_addr, bytes + IPV4_AT, 4) == 0
                   ? (uint8_t)(8 * IPV4_AT + count_bits((const uint8_t *)&mask->sin_addr, 4))
                   : 0;
    }
    if (address->ifa_addr->sa_family != AF_INET6)
        return 0;
    const struct sockaddr_in6 *own = (const struct sockaddr_in6 *)address->ifa_addr;
    const struct sockaddr_in6 *mask = (const struct sockaddr_in6 *)address->ifa_netmask;
    return memcmp(&own->sin6_addr, bytes, VERBS_GID_BYTES) == 0
               ? count_bits(mask->sin6_addr.s6_addr, VERBS_GID_BYTES)
               : 0;
}

static void add_interface(struct gid *gid, const struct ifaddrs *addresses)
{
    if (gid->entry.interface == 0 || !if_indextoname(gid->entry.interface, gid->interface))
        return;
    for (const struct ifaddrs *address = addresses; address && !gid->prefix_bits;
         address = address->ifa_next)
        gid->prefix_bits = prefix_by(address, gid);
}

static int ask_gids(const struct verbs *verbs, struct verbs_device *device,
                    const struct ifaddrs *addresses, struct survey_device *ret_device)
{
    uint32_t n = 0;
    struct verbs_gid *entries = calloc(VERBS_GIDS_MAX, sizeof *entries);
    int error = entries ? verbs->query_gids(verbs, device, entries, &n) : -ENOMEM;
    if (!error && n > 0) {
        ret_device->gids = calloc(n, sizeof *ret_device->gids);
        error = ret_device->gids ? 0 : -ENOMEM;
    }
    for (uint32_t i = 0; i < n && !error; i++) {
        ret_device->gids[i].entry = entries[i];
        add_interface(&ret_device->gids[i], addresses);
        ret_device->gid_count = i + 1;
    }
    free(entries);
    return error;
}

/* --- what it says of itself ------------------------------------------------------------------- */

static int ask_device(const struct verbs *verbs, struct verbs_device *device,
                      const struct ifaddrs *addresses, struct survey_device *ret_device)
{
    int error = verbs->query_device(verbs, device, &ret_device->info);
    if (error)
        return error;
    uint32_t ports = ret_device->info.port_count;
    ret_device->port_count = ports < VERBS_PORTS_MAX ? ports : VERBS_PORTS_MAX;
    for (uint32_t i = 0; i < ret_device->port_count && !error; i++)
        error = verbs->query_port(verbs, device, i + 1, &ret_device->ports[i]);
    return error ? error : ask_gids(verbs, device, addresses, ret_device);
}

static void survey_one(const struct verbs *verbs, const char *root, const struct ifaddrs *addresses,
                       struct survey_device *ret_device)
{
    struct verbs_device *device = NULL;
    ret_device->numa_node = read_numa_node(root, ret_device->name);
    read_pci(root, ret_device->name, ret_device->pci);
    ret_device->error = verbs->open(verbs, ret_device->name, &device);
    if (!ret_device->error)
        ret_device->error = ask_device(verbs, device, addresses, ret_device);
    verbs->close(verbs, device);
}

int survey_take(const struct verbs *verbs, const char *root, struct survey *ret_survey)
{
    char names[VERBS_DEVICES_MAX][VERBS_NAME_BYTES];
    struct ifaddrs *addresses = NULL;
    uint32_t n = 0;
    int error = verbs->list(verbs, names, &n);
    if (error)
        return error;
    struct survey_device *devices = calloc(n ? n : 1, sizeof *devices);
    if (!devices)
        return -ENOMEM;
    if (getifaddrs(&addresses) < 0)
        addresses = NULL; /* prefixes stay unknown */
    for (uint32_t i = 0; i < n; i++) {
        memcpy(devices[i].name, names[i], VERBS_NAME_BYTES);
        survey_one(verbs, root, addresses, &devices[i]);
    }
    freeifaddrs(addresses);
    *ret_survey = (struct survey){.devices = devices, .count = n};
    if (n == 0)
        find_unlisted(root, ret_survey->unlisted);
    return 0;
}

void survey_fini(struct survey *survey)
{
    for (uint32_t i = 0; i < survey->count; i++)
        free(survey->devices[i].gids);
    free(survey->devices);
    *survey = (struct survey){0};
}

void survey_explain(int error, char *ret_text, size_t size)
{
    if (error == -ENOSYS)
        snprintf(ret_text, size,
                 "this machine has no RDMA device: its kernel has no RDMA, or ib_uverbs is not "
                 "loaded (modprobe ib_uverbs, and the driver of the adapter)");
    else
        snprintf(ret_text, size, "RDMA devices cannot be listed: %s", strerror(-error));
}
