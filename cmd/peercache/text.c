/* SPDX-License-Identifier: Apache-2.0 */
/* text.c - sentences, escaped names and readable sizes. */
#include "text.h"

#include <stdarg.h>
#include <string.h>

int text_fail(int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("peercache: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return status;
}

void text_print_name(FILE *file, const char *name)
{
    for (const unsigned char *c = (const unsigned char *)name; *c; c++) {
        if (*c == '\\')
            fputs("\\\\", file);
        else if (*c < 0x20 || *c > 0x7e)
            fprintf(file, "\\x%02x", *c);
        else
            fputc(*c, file);
    }
}

struct text_size text_size(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    struct text_size size;
    double number = (double)bytes;
    size_t unit = 0;
    while (number >= 1024 && unit + 1 < sizeof units / sizeof *units) {
        number /= 1024;
        unit++;
    }
    snprintf(size.text, sizeof size.text, "%.*f %s", unit && number < 100, number, units[unit]);
    return size;
}

/* By the outcome's name as peercache_outcome_name() spells it, since answers bear names. */
static const struct {
    const char *outcome, *reason;
} reasons[] = {
    {"MISS_UNKNOWN", "no alive node has this page in this namespace; see --namespace"},
    {"MISS_EVICTED", "the node that had the page let it go while it was read"},
    {"MISS_LENGTH", "the stored page has another length"},
    {"MISS_CHECKSUM", "the stored bytes do not match their checksum"},
    {"MISS_PEER",
     "the node that has the page, or every owner of the key, failed to answer, or there "
     "is no way to it by the asked node's protocol (peercache status)"},
    {"MISS_DEADLINE", "the page did not come in time; give a longer --timeout"},
    {"ALREADY_STORED", "another node has it already"},
    {"STORED_LOCAL", "no owner confirmed it in time, so others may not find it yet"},
    {"MISS_DISK", "the page could not be read from the disk"},
    {"REFUSED_FULL", "every page of the pool is in use; try again, or raise that node's "
                     "global_segment_size"},
    {"REFUSED_INVALID", "the key or the file is out of range"},
    {"REFUSED_TOO_LARGE", "the file is larger than the node's pool allows; raise that node's "
                          "global_segment_size"},
    {"REFUSED_UNSUPPORTED", "the node's release does not support this"},
    {"REFUSED_DRAINING", "the node is about to leave the cluster; ask another one with --node"},
    {"REFUSED_CLOSED", "the node is leaving the cluster; ask another one with --node"},
};

const char *text_reason(const char *outcome)
{
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (!strcasecmp(reasons[i].outcome, outcome))
            return reasons[i].reason;
    return "the node gave an outcome that this release does not know";
}
