/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.h - the options of the library (peercache_config_option()) as a program takes them.
 *
 * An option has one name everywhere: `--control_port 0` or `--control-port=0` on a command line,
 * "control_port": 0 in a file, PEERCACHE_CONTROL_PORT=0 in the environment.
 *
 * The functions return 0, or -EINVAL after they have filled the error with a sentence.
 */
#ifndef COMMON_OPTIONS_H
#define COMMON_OPTIONS_H

#include <stdbool.h>

#include "peercache.h"

/* One word of a command line, cut into name and value.  The pointers stay the caller's. */
struct option_word {
    char name[64];     /* without dashes in front, '-' inside as '_' */
    const char *value; /* behind '=', or NULL */
};

/* Whether @word is an option, and its parts.  "-" and words without a dash are none. */
bool options_split(const char *word, struct option_word *ret_word);

/* The option's value: behind '=', or the next word, which is then used up. */
int options_value(const struct option_word *word, char **argv, int *index, const char **ret_value,
                  struct peercache_error *ret_error);

/* Sets one option of the table from the command line. */
int options_take(struct peercache_config *config, const struct option_word *word, char **argv,
                 int *index, struct peercache_error *ret_error);

/* Sets every member of the JSON object in the file. */
int options_load_file(struct peercache_config *config, const char *path,
                      struct peercache_error *ret_error);

/* One line for each option: name, default, help. */
void options_print(void);

#endif
