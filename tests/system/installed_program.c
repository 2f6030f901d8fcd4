/* SPDX-License-Identifier: Apache-2.0 */
/* installed_program.c - a program of somebody else: built by tests/system/install-test against the
 * installed header and library, it stores a page in a node of its own and gets it back. */
#include <peercache.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void expect(int is_true, const char *what)
{
    if (is_true)
        return;
    fprintf(stderr, "failed: %s\n", what);
    exit(1);
}

static struct peercache_config *new_config(void)
{
    struct peercache_config *config;
    struct peercache_error error;
    expect(peercache_config_new(&config) == 0, "a configuration");
    expect(peercache_config_set(config, "global_segment_sise", "64mb", &error) == -ENOENT,
           "an unknown option is refused");
    expect(strstr(error.text, "global_segment_size") != NULL, "the nearest name is told");
    expect(peercache_config_set(config, "global_segment_size", "64mb", &error) == 0, error.text);
    expect(peercache_config_get(config, "global_segment_size") != NULL, "the value can be asked");
    return config;
}

static void set_and_get(struct peercache_namespace *ns)
{
    char out[4096], in[4096] = {0};
    memset(out, 0x5a, sizeof out);
    struct peercache_segment segments[] = {{out, 100}, {out + 100, sizeof out - 100}};
    struct peercache_page page = {
        .name = "page", .name_len = 4, .segments = segments, .segment_count = 2};
    struct peercache_result result = {0};
    expect(peercache_set(ns, &page, &result, 1, 5000) == 0, "set");
    expect(result.outcome == PEERCACHE_STORED || result.outcome == PEERCACHE_STORED_LOCAL,
           peercache_outcome_name(result.outcome));
    struct peercache_segment whole = {in, sizeof in};
    page.segments = &whole;
    page.segment_count = 1;
    expect(peercache_get(ns, &page, &result, 1, 5000) == 0, "get");
    expect(result.outcome == PEERCACHE_HIT, peercache_outcome_name(result.outcome));
    expect(memcmp(in, out, sizeof in) == 0, "the same bytes");
}

int main(void)
{
    const char *fields[] = {"test=install"};
    struct peercache_node *node;
    struct peercache_namespace *ns;
    struct peercache_error error = {{0}};
    struct peercache_config *config = new_config();
    expect(peercache_node_open(config, &node, &error) == 0, error.text);
    expect(peercache_namespace_open(node, fields, 1, &ns, &error) == 0, error.text);
    set_and_get(ns);
    peercache_node_close(node);
    peercache_config_free(config);
    puts(peercache_version());
    return 0;
}
