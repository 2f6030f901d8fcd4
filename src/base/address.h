/* SPDX-License-Identifier: Apache-2.0 */
/*
 * address.h - where a node can be reached, as a person writes it: a host and a port.
 *
 * Nothing is looked up here; the host is a name, an IPv4 or an IPv6 address.
 */
#ifndef BASE_ADDRESS_H
#define BASE_ADDRESS_H

#include <stdint.h>

enum {
    ADDRESS_HOST_BYTES = 64,                     /* as a member's record has it, with the NUL */
    ADDRESS_TEXT_BYTES = ADDRESS_HOST_BYTES + 8, /* "[", "]", ":", five digits */
    ADDRESS_ERROR_BYTES = 256,
};

struct address {
    char host[ADDRESS_HOST_BYTES]; /* without brackets */
    uint16_t port;
};

/* A host that is too long is cut: nobody can have it. */
struct address address_of(const char *host, uint16_t port);

/* Takes "host:port", "[IPv6]:port", and both without a port where @default_port is not 0.
 * 0, or -EINVAL and a sentence that says what is wrong and what is accepted. */
int address_parse(const char *text, uint16_t default_port, struct address *ret_address,
                  char ret_error[ADDRESS_ERROR_BYTES]);

/* The same for several, separated by commas, with spaces around them or not.  0, or -EINVAL and a
 * sentence: also for an empty one and for more than @most. */
int address_parse_list(const char *text, uint16_t default_port, uint32_t most,
                       struct address *ret_addresses, uint32_t *ret_n,
                       char ret_error[ADDRESS_ERROR_BYTES]);

/* Writes "host:port", with brackets where the host is an IPv6 address.  A host may be what a
 * stranger said: of that only printable ASCII without blanks gets into a line of a log or a
 * file. */
void address_format(const struct address *address, char ret_text[ADDRESS_TEXT_BYTES]);

#endif
