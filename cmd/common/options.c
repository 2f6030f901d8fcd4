/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.c - options from words of a command line and from a JSON file.
 *
 * Only the names and values are found here; what they may be, and which name was meant by a wrong
 * one, is known to the table in the library.  Runs in main(), before any thread exists.
 */
#include "common/options.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* Wide enough for the longest name of the table, so that the columns of --help line up. */
enum { NAME_COLUMN = 24, DEFAULT_COLUMN = 18 };

bool options_split(const char *word, struct option_word *ret_word)
{
    if (word[0] != '-' || !word[1])
        return false;
    const char *name = word + (word[1] == '-' ? 2 : 1);
    size_t len = strcspn(name, "=");
    ret_word->value = name[len] == '=' ? name + len + 1 : NULL;
    if (len >= sizeof ret_word->name)
        len = sizeof ret_word->name - 1;
    memcpy(ret_word->name, name, len);
    ret_word->name[len] = 0;
    for (char *c = ret_word->name; *c; c++)
        *c = *c == '-' ? '_' : *c;
    return true;
}

int options_value(const struct option_word *word, char **argv, int *index, const char **ret_value,
                  struct peercache_error *ret_error)
{
    if (word->value) {
        *ret_value = word->value;
        return 0;
    }
    if (!argv[*index + 1]) {
        snprintf(ret_error->text, sizeof ret_error->text, "--%s needs a value: --%s=VALUE",
                 word->name, word->name);
        return -EINVAL;
    }
    *ret_value = argv[++*index];
    return 0;
}

static bool is_known(const char *name)
{
    const char *known;
    for (size_t i = 0; (known = peercache_config_option(i, NULL, NULL)); i++)
        if (!strcmp(known, name))
            return true;
    return false;
}

int options_take(struct peercache_config *config, const struct option_word *word, char **argv,
                 int *index, struct peercache_error *ret_error)
{
    const char *value = "";
    /* An unknown option is told so, rather than that its value is missing. */
    if (is_known(word->name) && options_value(word, argv, index, &value, ret_error) < 0)
        return -EINVAL;
    return peercache_config_set(config, word->name, value, ret_error) < 0 ? -EINVAL : 0;
}

/* A number or a truth value of JSON in the text form that the table parses. */
static int text_of(const json_t *value, char *ret_text, size_t size)
{
    if (json_is_string(value))
        return snprintf(ret_text, size, "%s", json_string_value(value)) < (int)size ? 0 : -EINVAL;
    if (json_is_integer(value))
        snprintf(ret_text, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        snprintf(ret_text, size, "%.9g", json_real_value(value));
    else if (json_is_boolean(value))
        snprintf(ret_text, size, "%s", json_is_true(value) ? "true" : "false");
    else
        return -EINVAL;
    return 0;
}

static int take_member(struct peercache_config *config, const char *path, const char *name,
                       const json_t *value, struct peercache_error *ret_error)
{
    char text[4096];
    if (text_of(value, text, sizeof text) < 0) {
        snprintf(ret_error->text, sizeof ret_error->text,
                 "%.100s: \"%.60s\" must be a text, a number, true or false", path, name);
        return -EINVAL;
    }
    struct peercache_error error = {{0}};
    if (peercache_config_set(config, name, text, &error) < 0) {
        snprintf(ret_error->text, sizeof ret_error->text, "%.90s: %.160s", path, error.text);
        return -EINVAL;
    }
    return 0;
}

static int fail_with_file(const char *path, const json_error_t *where,
                          struct peercache_error *ret_error)
{
    if (where->line > 0)
        snprintf(ret_error->text, sizeof ret_error->text, "%.90s:%d: %.140s", path, where->line,
                 where->text);
    else
        snprintf(ret_error->text, sizeof ret_error->text, "%.240s", where->text);
    return -EINVAL;
}

int options_load_file(struct peercache_config *config, const char *path,
                      struct peercache_error *ret_error)
{
    json_error_t where;
    json_t *file = json_load_file(path, JSON_REJECT_DUPLICATES, &where);
    if (!file)
        return fail_with_file(path, &where, ret_error);
    if (!json_is_object(file)) {
        json_decref(file);
        snprintf(ret_error->text, sizeof ret_error->text,
                 "%.90s: must hold one JSON object, e.g. {\"control_port\": 7000}", path);
        return -EINVAL;
    }
    int error = 0;
    const char *name;
    json_t *value;
    json_object_foreach(file, name, value)
    {
        error = take_member(config, path, name, value, ret_error);
        if (error < 0)
            break;
    }
    json_decref(file);
    return error;
}

void options_print(void)
{
    const char *name, *preset, *help;
    for (size_t i = 0; (name = peercache_config_option(i, &preset, &help)); i++)
        printf("  --%-*s %-*s %s\n", NAME_COLUMN, name, DEFAULT_COLUMN,
               preset && *preset ? preset : "-", help);
}
