/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c - makes the line, and hands it to the sink in one piece.
 *
 * There is no lock: the sink is one atomic pointer, the level one atomic number, the line is made
 * on the caller's stack, and the kernel keeps single writes apart.  So a thread may log whatever
 * it holds, and a forked child too.
 */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Atomic(const struct log_sink *) current_sink;
static _Atomic int current_level = LOG_LEVEL_INFO;

static const char *const level_names[] = {
#define L(value, text) [value] = text,
    LOG_LEVELS(L)
#undef L
};

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

void log_set_sink(const struct log_sink *sink)
{
    atomic_store_explicit(&current_sink, sink, memory_order_release);
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&current_level, (int)level, memory_order_relaxed);
}

bool log_is_on(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&current_level, memory_order_relaxed);
}

/* All of the line, also when a signal or a full pipe takes it in pieces; what cannot be written is
 * lost, since there is nobody left to tell. */
static void write_to_stderr(const char *line, size_t len)
{
    while (len > 0) {
        ssize_t written = write(STDERR_FILENO, line, len);
        if (written < 0 && errno != EINTR)
            return;
        if (written > 0) {
            line += written;
            len -= (size_t)written;
        }
    }
}

static void hand_over(enum log_level level, char *line, size_t len)
{
    const struct log_sink *sink = atomic_load_explicit(&current_sink, memory_order_acquire);
    if (sink) {
        sink->write(sink->context, level, line);
        return;
    }
    line[len] = '\n';
    write_to_stderr(line, len + 1);
}

static size_t write_head(char *line, size_t size, enum log_level level, const char *event)
{
    struct timespec now;
    struct tm utc;
    char seconds[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &utc);
    int len = snprintf(line, size, "time=%s.%06ldZ level=%s event=%s ", seconds, now.tv_nsec / 1000,
                       level_names[level], event);
    return (size_t)len < size ? (size_t)len : size - 1;
}

/* One event stays one line, whatever a peer has put into a name. */
static void blank_controls(char *line)
{
    for (; *line; line++)
        if ((unsigned char)*line < 32 || *line == 127)
            *line = '?';
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    if (!log_is_on(level))
        return;
    int saved_errno = errno;
    char line[LOG_LINE_BYTES];
    size_t size = sizeof line - 1; /* room for the newline, in the NUL's place */
    size_t len = write_head(line, size, level, event);
    va_list arguments;
    va_start(arguments, format);
    int rest = vsnprintf(line + len, size - len, format, arguments);
    va_end(arguments);
    if (rest > 0 && (size_t)rest >= size - len)
        memcpy(line + size - 4, "...", 4);
    len = strlen(line);
    blank_controls(line);
    hand_over(level, line, len);
    errno = saved_errno;
}

static bool needs_quotes(const char *value)
{
    if (*value == '\0')
        return true;
    for (; *value; value++)
        if ((unsigned char)*value <= ' ' || *value == '"' || *value == '=' || *value == '\\')
            return true;
    return false;
}

const char *log_quote(const char *value, char *buffer, size_t size)
{
    if (!needs_quotes(value) && strlen(value) < size)
        return value;
    char *out = buffer, *end = buffer + size - 3; /* an escaped character, the quote, the NUL */
    *out++ = '"';
    for (; *value && out < end; value++) {
        if (*value == '"' || *value == '\\')
            *out++ = '\\';
        *out++ = (unsigned char)*value < ' ' ? '?' : *value;
    }
    *out++ = '"';
    *out = '\0';
    return buffer;
}
