/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.h - one event, one line, key=value, through one sink that the host program can set.
 *
 *     time=2026-05-04T03:02:01.123456Z level=info event=ready control=10.0.0.7:40123
 *
 * Sink and level belong to the process: several nodes in it share them.  Any thread may log.
 * Nothing that happens for each page is logged above debug; rates are metrics.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

/* value, text; in the order of how much is written */
#define LOG_LEVELS(L)                                                                              \
    L(LOG_LEVEL_ERROR, "error")                                                                    \
    L(LOG_LEVEL_WARNING, "warning")                                                                \
    L(LOG_LEVEL_INFO, "info")                                                                      \
    L(LOG_LEVEL_DEBUG, "debug")

enum log_level {
#define L(value, text) value,
    LOG_LEVELS(L)
#undef L
};

enum {
    LOG_LINE_BYTES = 1024,  /* a longer line is cut; less than a pipe writes in one piece */
    LOG_QUOTED_BYTES = 256, /* a longer value is cut */
};

struct log_sink {
    /* @line has no newline at its end.  Called by any thread, by several at a time. */
    void (*write)(void *context, enum log_level level, const char *line);
    void *context;
};

/* NULL, and the state at the start: one write to standard error a line.  The sink is used until
 * another is set and every thread that was logging has returned. */
void log_set_sink(const struct log_sink *sink);
/* Writes this level and those before it; info at the start. */
void log_set_level(enum log_level level);
bool log_is_on(enum log_level level);
const char *log_level_name(enum log_level level);

/* @format gives key=value pairs with one blank between.  Keeps errno. */
void log_event(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* For a value that may be empty or have blanks, quotes or worse in it: @value itself where it has
 * none of that, else @buffer with the value in quotes. */
const char *log_quote(const char *value, char *buffer, size_t size);
/* The same with a buffer that lives as long as the block in which this stands. */
#define log_quoted(value) log_quote((value), (char[LOG_QUOTED_BYTES]){0}, LOG_QUOTED_BYTES)

#endif
