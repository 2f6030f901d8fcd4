/* SPDX-License-Identifier: Apache-2.0 */
/*
 * option.c - sets, shows and looks up options by the table in option.h.
 *
 * Who gives a wrong name or value reads one sentence: what was wrong, and what is accepted.
 */
#include "base/option.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/option_value.h"

enum {
    SHOWN_BYTES = 49,  /* as much of a wrong name or value as a message repeats */
    NAME_MAX_LEN = 40, /* no option, and nothing near one, is longer */
};

#define OFFSET_TEXT(name) offsetof(struct options, name)
#define OFFSET_SIZE(name) offsetof(struct options, name##_bytes)
#define OFFSET_SECONDS(name) offsetof(struct options, name##_ns)
#define OFFSET_COUNT(name) offsetof(struct options, name)
#define OFFSET_INDEX(name) offsetof(struct options, name)
#define OFFSET_PORT(name) offsetof(struct options, name)
#define OFFSET_FLAG(name) offsetof(struct options, name)
#define OFFSET_CHOICE(name) offsetof(struct options, name)

static const struct option table[] = {
#define O(kind_, name_, text_, least_, most_, choices_, help_)                                     \
    {.name = #name_,                                                                               \
     .default_text = text_,                                                                        \
     .help = help_,                                                                                \
     .choices = choices_,                                                                          \
     .kind = OPTION_##kind_,                                                                       \
     .least = least_,                                                                              \
     .most = most_,                                                                                \
     .offset = OFFSET_##kind_(name_)},
    OPTIONS(O)
#undef O
};

enum { TABLE_LEN = sizeof table / sizeof *table };

static const struct {
    const char *alias, *name;
} aliases[] = {{"prefix", "tag"}};

/* --- names ----------------------------------------------------------------------------------- */

static char letter(char c)
{
    return c == '-' ? '_' : c;
}

static bool names_equal(const char *left, const char *right)
{
    while (*left && letter(*left) == letter(*right)) {
        left++;
        right++;
    }
    return letter(*left) == letter(*right);
}

const struct option *option_at(size_t index)
{
    return index < TABLE_LEN ? &table[index] : NULL;
}

const struct option *option_find(const char *name)
{
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (names_equal(name, aliases[i].alias))
            name = aliases[i].name;
    for (size_t i = 0; i < TABLE_LEN; i++)
        if (names_equal(name, table[i].name))
            return &table[i];
    return NULL;
}

static uint32_t least_of(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* How many letters must be put in, taken out or changed.  Both are at most NAME_MAX_LEN long. */
static uint32_t distance(const char *left, const char *right)
{
    uint32_t row[NAME_MAX_LEN + 1];
    size_t right_len = strlen(right);
    for (uint32_t j = 0; j <= right_len; j++)
        row[j] = j;
    for (uint32_t i = 1; left[i - 1]; i++) {
        uint32_t diagonal = row[0];
        row[0] = i;
        for (uint32_t j = 1; j <= right_len; j++) {
            uint32_t changed = diagonal + (letter(left[i - 1]) != letter(right[j - 1]));
            diagonal = row[j];
            row[j] = least_of(changed, least_of(row[j], row[j - 1]) + 1);
        }
    }
    return row[right_len];
}

/* A short word is near to many: it may differ less. */
static uint32_t allowed_distance(const char *name)
{
    size_t len = strlen(name);
    return len <= 4 ? 1 : len <= 7 ? 2 : 3;
}

const char *option_nearest(const char *name)
{
    const char *nearest = NULL;
    if (strlen(name) > NAME_MAX_LEN)
        return NULL;
    uint32_t least = allowed_distance(name) + 1;
    for (size_t i = 0; i < TABLE_LEN; i++) {
        uint32_t steps = distance(name, table[i].name);
        if (steps < least) {
            least = steps;
            nearest = table[i].name;
        }
    }
    return nearest;
}

/* --- error texts ------------------------------------------------------------------------------ */

/* A wrong name or value as a message may show it: printable, and not too much of it. */
struct shown {
    char text[SHOWN_BYTES];
};

static struct shown shorten(const char *text)
{
    struct shown shown = {""};
    size_t i = 0;
    for (; text[i] && i + 1 < sizeof shown.text; i++)
        shown.text[i] = (unsigned char)text[i] < 32 || text[i] == 127 ? '?' : text[i];
    if (text[i])
        memcpy(shown.text + sizeof shown.text - 4, "...", 4);
    return shown;
}

static int refuse_name(const char *name, char *ret_error)
{
    const char *nearest = option_nearest(name);
    if (nearest)
        snprintf(ret_error, OPTION_ERROR_BYTES, "there is no option \"%s\"; did you mean \"%s\"?",
                 shorten(name).text, nearest);
    else
        snprintf(ret_error, OPTION_ERROR_BYTES, "there is no option \"%s\", nor one like it",
                 shorten(name).text);
    return -ENOENT;
}

/* "auto|tcp|shm|" becomes "auto, tcp or shm". */
static void list_choices(const char *choices, char *ret_text, size_t size)
{
    size_t used = 0;
    while (*choices) {
        int len = (int)strcspn(choices, "|");
        const char *next = choices + len + 1;
        const char *behind = *next == '\0' ? "" : strchr(next, '|')[1] == '\0' ? " or " : ", ";
        int written = snprintf(ret_text + used, size - used, "%.*s%s", len, choices, behind);
        used = used + (size_t)written < size ? used + (size_t)written : size - 1;
        choices = next;
    }
}

static void format_number(uint64_t number, char *ret_text)
{
    snprintf(ret_text, OPTION_NUMBER_BYTES, "%" PRIu64, number);
}

/* What the option accepts, as the end of a sentence. */
static void describe(const struct option *option, char *ret_text, size_t size)
{
    static const struct {
        const char *before, *behind;
        void (*format)(uint64_t, char *);
    } ranges[] = {
        [OPTION_TEXT] = {"printable text of ", " bytes", format_number},
        [OPTION_SIZE] = {"a size (such as 512mb, 8gb, 4096) from ", "", option_format_size},
        [OPTION_SECONDS] = {"a time in seconds (such as 2, 0.5, 500ms) from ", "",
                            option_format_seconds},
        [OPTION_COUNT] = {"a whole number from ", "", format_number},
        [OPTION_INDEX] = {"auto or a whole number from ", "", format_number},
        [OPTION_PORT] = {"a port from ", "", format_number},
    };
    if (option->kind == OPTION_FLAG) {
        snprintf(ret_text, size, "true or false");
    } else if (option->kind == OPTION_CHOICE) {
        list_choices(option->choices, ret_text, size);
    } else {
        char least[OPTION_NUMBER_BYTES], most[OPTION_NUMBER_BYTES];
        ranges[option->kind].format(option->least, least);
        ranges[option->kind].format(option->most, most);
        snprintf(ret_text, size, "%s%s to %s%s", ranges[option->kind].before, least, most,
                 ranges[option->kind].behind);
    }
}

/* As much of it as there is room for, in whole parts. */
static int help_len(const char *help, int room)
{
    int len = (int)strlen(help);
    while (len > room) {
        do
            len--;
        while (len > 0 && help[len] != ';');
    }
    return len;
}

/* A choice is explained, since a word that is not in the list may well be one of another release
 * or another cache. */
static int refuse_value(const struct option *option, const char *value, char *ret_error)
{
    char accepted[160];
    bool is_choice = option->kind == OPTION_CHOICE;
    describe(option, accepted, sizeof accepted);
    int len = snprintf(ret_error, OPTION_ERROR_BYTES, "%s: \"%s\" is not %s", option->name,
                       shorten(value).text, accepted);
    int room = OPTION_ERROR_BYTES - 1 - len - (int)strlen(" ()");
    if (is_choice && room > 0)
        snprintf(ret_error + len, OPTION_ERROR_BYTES - (size_t)len, " (%.*s)",
                 help_len(option->help, room), option->help);
    return -EINVAL;
}

/* --- values ----------------------------------------------------------------------------------- */

static int find_choice(const char *choices, const char *value, uint64_t *ret_index)
{
    size_t value_len = strlen(value);
    for (uint64_t index = 0; *choices; index++) {
        size_t len = strcspn(choices, "|");
        if (len == value_len && memcmp(choices, value, len) == 0) {
            *ret_index = index;
            return 0;
        }
        choices += len + 1;
    }
    return -EINVAL;
}

static int check_text(const char *value, uint64_t *ret_len)
{
    for (const char *c = value; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127)
            return -EINVAL;
    *ret_len = strlen(value);
    return 0;
}

static int parse_flag(const char *value, uint64_t *ret_number)
{
    bool flag;
    int error = option_parse_flag(value, &flag);
    if (!error)
        *ret_number = flag;
    return error;
}

static bool is_auto(const struct option *option, const char *value)
{
    return option->kind == OPTION_INDEX && strcmp(value, "auto") == 0;
}

/* A value as a number: of a text its length, of a choice its place. */
static int parse(const struct option *option, const char *value, uint64_t *ret_number)
{
    switch (option->kind) {
    case OPTION_TEXT: return check_text(value, ret_number);
    case OPTION_SIZE: return option_parse_size(value, ret_number);
    case OPTION_SECONDS: return option_parse_seconds(value, ret_number);
    case OPTION_FLAG: return parse_flag(value, ret_number);
    case OPTION_CHOICE: return find_choice(option->choices, value, ret_number);
    case OPTION_COUNT:
    case OPTION_INDEX:
    case OPTION_PORT: return option_parse_number(value, ret_number);
    }
    return -EINVAL;
}

static bool has_range(const struct option *option)
{
    return option->kind != OPTION_FLAG && option->kind != OPTION_CHOICE;
}

static void store_field(struct options *options, const struct option *option, uint64_t number)
{
    void *field = (char *)options + option->offset;
    switch (option->kind) {
    case OPTION_SIZE:
    case OPTION_SECONDS: *(uint64_t *)field = number; break;
    case OPTION_COUNT: *(uint32_t *)field = (uint32_t)number; break;
    case OPTION_PORT: *(uint16_t *)field = (uint16_t)number; break;
    case OPTION_FLAG: *(bool *)field = number != 0; break;
    case OPTION_INDEX:
    case OPTION_CHOICE: *(int *)field = (int)number; break;
    case OPTION_TEXT: CHECK(false); /* is no number */
    }
}

int option_set(struct options *options, const char *name, const char *value,
               char ret_error[OPTION_ERROR_BYTES])
{
    const struct option *option = option_find(name);
    uint64_t number = 0;
    if (!option)
        return refuse_name(name, ret_error);
    if (is_auto(option, value)) {
        store_field(options, option, UINT64_MAX);
        return 0;
    }
    if (parse(option, value, &number) != 0 ||
        (has_range(option) && (number < option->least || number > option->most)))
        return refuse_value(option, value, ret_error);
    if (option->kind == OPTION_TEXT)
        memmove((char *)options + option->offset, value, number + 1);
    else
        store_field(options, option, number);
    return 0;
}

void options_init_defaults(struct options *ret_options)
{
    char error[OPTION_ERROR_BYTES];
    memset(ret_options, 0, sizeof *ret_options);
    for (size_t i = 0; i < TABLE_LEN; i++)
        CHECK(option_set(ret_options, table[i].name, table[i].default_text, error) == 0);
}

/* A member that is called silent between two of its heartbeats would come and go for ever. */
int options_check(const struct options *options, char ret_error[OPTION_ERROR_BYTES])
{
    if (options->member_ttl_ns < 2 * options->heartbeat_interval_ns) {
        snprintf(ret_error, OPTION_ERROR_BYTES,
                 "member_ttl must be at least twice heartbeat_interval");
        return -EINVAL;
    }
    if (options->ring_grace_ns < options->member_ttl_ns) {
        snprintf(ret_error, OPTION_ERROR_BYTES, "ring_grace must not be less than member_ttl");
        return -EINVAL;
    }
    return 0;
}

static void show_choice(const char *choices, int index, char *ret_text)
{
    while (index-- > 0)
        choices += strcspn(choices, "|") + 1;
    snprintf(ret_text, OPTION_TEXT_BYTES, "%.*s", (int)strcspn(choices, "|"), choices);
}

int option_get_text(const struct options *options, const char *name,
                    char ret_text[OPTION_TEXT_BYTES])
{
    const struct option *option = option_find(name);
    if (!option)
        return -ENOENT;
    const void *field = (const char *)options + option->offset;
    switch (option->kind) {
    case OPTION_TEXT: memmove(ret_text, field, strlen(field) + 1); break;
    case OPTION_SIZE: option_format_size(*(const uint64_t *)field, ret_text); break;
    case OPTION_SECONDS: option_format_seconds(*(const uint64_t *)field, ret_text); break;
    case OPTION_COUNT: format_number(*(const uint32_t *)field, ret_text); break;
    case OPTION_PORT: format_number(*(const uint16_t *)field, ret_text); break;
    case OPTION_INDEX:
        if (*(const int32_t *)field < 0)
            strcpy(ret_text, "auto");
        else
            format_number((uint64_t)(*(const int32_t *)field), ret_text);
        break;
    case OPTION_FLAG: strcpy(ret_text, *(const bool *)field ? "true" : "false"); break;
    case OPTION_CHOICE: show_choice(option->choices, *(const int *)field, ret_text); break;
    }
    return 0;
}
