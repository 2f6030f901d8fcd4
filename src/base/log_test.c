/* SPDX-License-Identifier: Apache-2.0 */
/* log_test.c - levels, the sink, and that one event is one line whatever is in it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

static char last_line[2 * LOG_LINE_BYTES];
static enum log_level last_level;
static int lines;

static void keep(void *context, enum log_level level, const char *line)
{
    assert_ptr_equal(context, &lines);
    snprintf(last_line, sizeof last_line, "%s", line);
    last_level = level;
    lines++;
    errno = EIO;
}

static const struct log_sink keeping = {.write = keep, .context = &lines};

static int set_up(void **state)
{
    (void)state;
    lines = 0;
    log_set_sink(&keeping);
    log_set_level(LOG_LEVEL_INFO);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    log_set_sink(NULL);
    return 0;
}

static void writes_key_and_value(void **state)
{
    (void)state;
    log_event(LOG_LEVEL_WARNING, "ready", "port=%d host=%s", 7, "h");
    assert_int_equal(lines, 1);
    assert_int_equal(last_level, LOG_LEVEL_WARNING);
    assert_int_equal(strncmp(last_line, "time=2", 6), 0);
    const char *zone = strstr(last_line, "Z level=warning event=ready port=7 host=h");
    assert_non_null(zone);
    assert_int_equal(strlen(zone), strlen("Z level=warning event=ready port=7 host=h"));
}

static void keeps_to_the_level(void **state)
{
    (void)state;
    log_event(LOG_LEVEL_DEBUG, "page", "n=%d", 1);
    assert_int_equal(lines, 0);
    assert_false(log_is_on(LOG_LEVEL_DEBUG));
    log_set_level(LOG_LEVEL_DEBUG);
    log_event(LOG_LEVEL_DEBUG, "page", "n=%d", 1);
    assert_int_equal(lines, 1);
    log_set_level(LOG_LEVEL_ERROR);
    log_event(LOG_LEVEL_WARNING, "page", "n=%d", 1);
    assert_int_equal(lines, 1);
    assert_string_equal(log_level_name(LOG_LEVEL_ERROR), "error");
}

static void keeps_errno(void **state)
{
    (void)state;
    errno = ENOENT;
    log_event(LOG_LEVEL_INFO, "x", "a=%d", 1);
    assert_int_equal(errno, ENOENT);
}

static void one_event_is_one_line(void **state)
{
    (void)state;
    log_event(LOG_LEVEL_INFO, "x", "name=%s", "a\nlevel=error event=forged\r\x1b[31m");
    assert_null(strpbrk(last_line, "\n\r\x1b"));
    assert_non_null(strstr(last_line, "name=a?level=error"));
}

static void long_line_is_cut(void **state)
{
    (void)state;
    static char name[3 * LOG_LINE_BYTES];
    memset(name, 'n', sizeof name - 1);
    log_event(LOG_LEVEL_INFO, "x", "name=%s", name);
    assert_int_equal(strlen(last_line), LOG_LINE_BYTES - 2);
    assert_string_equal(last_line + LOG_LINE_BYTES - 5, "...");
    /* A text of any length is either whole or marked. */
    for (size_t len = LOG_LINE_BYTES - 100; len < LOG_LINE_BYTES; len++) {
        log_event(LOG_LEVEL_INFO, "x", "n=%.*s", (int)len, name);
        size_t shown = strlen(strstr(last_line, " n=") + 3);
        assert_true(shown == len || strstr(last_line, "n...") != NULL);
    }
}

/* What goes to standard error comes out of it as whole lines. */
static void default_sink_writes_to_stderr(void **state)
{
    (void)state;
    int ends[2], saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    log_set_sink(NULL);
    log_event(LOG_LEVEL_INFO, "one", "a=%d", 1);
    log_event(LOG_LEVEL_INFO, "two", "a=%d", 2);
    dup2(saved, STDERR_FILENO);
    char text[512] = "";
    assert_true(read(ends[0], text, sizeof text - 1) > 0);
    assert_non_null(strstr(text, "event=one a=1\ntime="));
    assert_string_equal(strstr(text, "event=two"), "event=two a=2\n");
    close(ends[0]);
    close(ends[1]);
    close(saved);
}

static void quotes_where_needed(void **state)
{
    (void)state;
    assert_string_equal(log_quoted("plain-value_1"), "plain-value_1");
    assert_string_equal(log_quoted(""), "\"\"");
    assert_string_equal(log_quoted("two words"), "\"two words\"");
    assert_string_equal(log_quoted("a=b"), "\"a=b\"");
    assert_string_equal(log_quoted("say \"so\"\\"), "\"say \\\"so\\\"\\\\\"");
    assert_string_equal(log_quoted("a\nb"), "\"a?b\"");
    char small[8];
    assert_string_equal(log_quote("0123456789", small, sizeof small), "\"0123\"");
    assert_string_equal(log_quote("\"\"\"\"\"\"\"\"", small, sizeof small), "\"\\\"\\\"\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(writes_key_and_value, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keeps_to_the_level, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keeps_errno, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_event_is_one_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(long_line_is_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(default_sink_writes_to_stderr, set_up, tear_down),
        cmocka_unit_test_setup_teardown(quotes_where_needed, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
