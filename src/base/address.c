/* SPDX-License-Identifier: Apache-2.0 */
/* address.c - "host:port" to its two parts and back, with a sentence for each mistake. */
#include "base/address.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* The parts of a text; port NULL: there is none. */
struct parts {
    const char *host, *port;
    size_t host_len;
};

/* Returns what is wrong, or NULL. */
static const char *split_bracketed(const char *text, struct parts *ret_parts)
{
    const char *end = strchr(text, ']');
    if (!end)
        return "has no closing bracket";
    if (end[1] != '\0' && end[1] != ':')
        return "has something other than a colon and a port behind the bracket";
    *ret_parts = (struct parts){text + 1, end[1] ? end + 2 : NULL, end - text - 1};
    if (!memchr(ret_parts->host, ':', ret_parts->host_len))
        return "has brackets around something that is no IPv6 address";
    return NULL;
}

static const char *split(const char *text, struct parts *ret_parts)
{
    if (*text == '[')
        return split_bracketed(text, ret_parts);
    const char *colon = strchr(text, ':');
    if (colon && strchr(colon + 1, ':'))
        return "has several colons: an IPv6 address needs brackets";
    *ret_parts = (struct parts){text, colon ? colon + 1 : NULL,
                                colon ? (size_t)(colon - text) : strlen(text)};
    return NULL;
}

/* Letters, digits, and what names (-._) and IPv6 addresses (:%) are made of besides. */
static const char *check_host(const struct parts *parts)
{
    if (parts->host_len == 0)
        return "has no host";
    if (parts->host_len >= ADDRESS_HOST_BYTES)
        return "has a host of more than 63 bytes";
    for (size_t i = 0; i < parts->host_len; i++) {
        unsigned char c = parts->host[i];
        if (!(c < 128 && isalnum(c)) && !memchr("-._:%", c, 5))
            return "has a character in its host that no host has";
    }
    return NULL;
}

static const char *parse_port(const char *text, uint16_t *ret_port)
{
    uint32_t port = 0;
    const char *digit = text;
    for (; *digit >= '0' && *digit <= '9' && port <= UINT16_MAX; digit++)
        port = 10 * port + (uint32_t)(*digit - '0');
    if (digit == text || *digit != '\0' || port == 0 || port > UINT16_MAX)
        return "has no port of 1 to 65535 behind the colon";
    *ret_port = (uint16_t)port;
    return NULL;
}

/* What of a text may stand in a message: printable, and not too much of it. */
static void shorten(const char *text, char *ret_text, size_t size)
{
    size_t i = 0;
    for (; text[i] && i + 1 < size; i++)
        ret_text[i] = (unsigned char)text[i] < 32 || (unsigned char)text[i] > 126 ? '?' : text[i];
    ret_text[i] = '\0';
}

int address_parse(const char *text, uint16_t default_port, struct address *ret_address,
                  char ret_error[ADDRESS_ERROR_BYTES])
{
    struct parts parts = {0};
    struct address address = {.port = default_port};
    const char *wrong = split(text, &parts);
    if (!wrong)
        wrong = check_host(&parts);
    if (!wrong && parts.port)
        wrong = parse_port(parts.port, &address.port);
    else if (!wrong && default_port == 0)
        wrong = "has no port";
    if (wrong) {
        char shown[ADDRESS_HOST_BYTES + 16];
        shorten(text, shown, sizeof shown);
        snprintf(ret_error, ADDRESS_ERROR_BYTES,
                 "the address \"%s\" %s; write host:port%s or [IPv6]:port", shown, wrong,
                 default_port ? ", host" : "");
        return -EINVAL;
    }
    memcpy(address.host, parts.host, parts.host_len);
    *ret_address = address;
    return 0;
}

int address_parse_list(const char *text, uint16_t default_port, uint32_t most,
                       struct address *ret_addresses, uint32_t *ret_n,
                       char ret_error[ADDRESS_ERROR_BYTES])
{
    uint32_t n = 0;
    for (const char *next = text; next; n++) {
        char one[ADDRESS_TEXT_BYTES + 64];
        next += strspn(next, " ");
        size_t len = strcspn(next, ",");
        const char *comma = next[len] ? next + len : NULL;
        size_t kept = len < sizeof one - 1 ? len : sizeof one - 1; /* too long in any case */
        while (kept > 0 && next[kept - 1] == ' ')
            kept--;
        snprintf(one, sizeof one, "%.*s", (int)kept, next);
        if (n == most) {
            snprintf(ret_error, ADDRESS_ERROR_BYTES, "has more than %u addresses", most);
            return -EINVAL;
        }
        int error = address_parse(one, default_port, &ret_addresses[n], ret_error);
        if (error)
            return error;
        next = comma ? comma + 1 : NULL;
    }
    *ret_n = n;
    return 0;
}

struct address address_of(const char *host, uint16_t port)
{
    struct address address = {.port = port};
    snprintf(address.host, sizeof address.host, "%s", host);
    return address;
}

void address_format(const struct address *address, char ret_text[ADDRESS_TEXT_BYTES])
{
    bool is_v6 = strchr(address->host, ':') != NULL;
    snprintf(ret_text, ADDRESS_TEXT_BYTES, is_v6 ? "[%s]:%u" : "%s:%u", address->host,
             address->port);
    for (char *at = ret_text; *at; at++)
        *at = *at > ' ' && *at <= '~' ? *at : '?';
}
