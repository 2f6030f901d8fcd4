/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drain.c - `peercache drain NODE`: the node hands its pages to others, and is then ready to go;
 * or, with --cancel, it stays after all.
 *
 * The node does it by itself once it was told; this program asks again and again how far it is, in
 * words that do not begin it anew when somebody else has cancelled it meanwhile.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ask.h"
#include "command.h"
#include "common/exit.h"
#include "node_name.h"
#include "text.h"

static const struct timespec PAUSE = {.tv_nsec = 100000000};
enum { PAUSES_A_LINE = 10 }; /* a line of progress a second */

static const struct {
    const char *name, *text;
} lines[] = {
    {"handed_over", "handed over to other nodes"},
    {"elsewhere", "at another node already"},
    {"gone", "evicted or cleared meanwhile"},
    {"left_no_room", "left behind: no node that answers has room"},
    {"left_no_peer", "left behind: no other node answers"},
    {"left_no_time", "left behind: drain_timeout was over"},
};

/* The node's own drain_timeout counts, unless another one is given here. */
static json_t *new_request(const struct invocation *invocation, bool is_first)
{
    if (invocation->cancel)
        return ask_new(invocation, "stay", false);
    json_t *request = ask_new(invocation, "drain", false);
    if (invocation->has_drain_timeout) {
        const char *given = peercache_config_get(invocation->config, "drain_timeout");
        json_object_set_new(request, "timeout_s", json_real(strtod(given, NULL)));
    }
    if (!is_first)
        json_object_set_new(request, "begin", json_false());
    return request;
}

static void print_progress(const json_t *report)
{
    fprintf(stderr, "draining: %" PRIu64 " of %" PRIu64 " pages handed over, %s\n",
            ask_number(report, "handed_over"), ask_number(report, "pages"),
            text_size(ask_number(report, "bytes_handed_over")).text);
}

static uint64_t left_behind(const json_t *report)
{
    return ask_number(report, "left_no_room") + ask_number(report, "left_no_peer") +
           ask_number(report, "left_no_time");
}

static void print_report(const json_t *report)
{
    printf("drained: %" PRIu64 " pages\n", ask_number(report, "pages"));
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (ask_number(report, lines[i].name) > 0)
            printf("  %10" PRIu64 "  %s\n", ask_number(report, lines[i].name), lines[i].text);
}

static int finish(const struct invocation *invocation, const struct reply *reply)
{
    bool stays = !strcmp(ask_text(reply->json, "state"), "serving");
    if (invocation->json)
        ask_print_json(stdout, reply);
    if (stays && !invocation->cancel)
        return text_fail(EXIT_REFUSED, "the drain was cancelled: the node stays");
    if (stays && !invocation->json)
        printf("the node stays: it stores again, and others count on it\n");
    else if (!invocation->json)
        print_report(reply->json);
    return left_behind(reply->json) ? EXIT_MISS : EXIT_OK;
}

int command_drain(const struct invocation *invocation)
{
    struct invocation at_node = *invocation;
    char address[NODE_ADDRESS_BYTES];
    int unknown = node_name_resolve(invocation, invocation->args[0], address);
    if (unknown)
        return unknown;
    at_node.node = address;
    for (unsigned pauses = 0;; pauses++) {
        struct reply reply;
        int status = ask(&at_node, new_request(&at_node, pauses == 0), NULL, 0, &reply);
        if (status)
            return pauses == 0 ? status : text_fail(EXIT_REFUSED, "the node ended meanwhile");
        bool is_over = strcmp(ask_text(reply.json, "state"), "draining") != 0;
        if (is_over)
            status = finish(invocation, &reply);
        else if (pauses % PAUSES_A_LINE == PAUSES_A_LINE - 1 && !invocation->json)
            print_progress(reply.json);
        ask_fini(&reply);
        if (is_over)
            return status;
        nanosleep(&PAUSE, NULL);
    }
}
