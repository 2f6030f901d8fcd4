/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.h - control connections: messages in order, both ways, on a loop.  The hello exchange is
 * done here: a connection is open once both ends have accepted each other's hello.
 *
 * Everything runs on the loop's thread.
 */
#ifndef IO_CONN_H
#define IO_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/address.h"
#include "io/hello.h"
#include "io/loop.h"
#include "io/socket.h"
#include "wire/schema.h"

/* What may wait to be sent on one connection; a peer that lets more pile up is hung up on. */
enum { CONN_OUTPUT_MAX_BYTES = 4 << 20 };
/* Dialled and accepted together; more are refused by closing them. */
enum { CONN_MAX = 4096 };
/* Of these, accepted ones: a control and a discovery connection of each member, and as many that
 * are something else or nobody's.  The rest is for those that the node dials.  For one more the one
 * that has been mute longest is hung up on, if it may be. */
enum { CONN_ACCEPTED_MAX = 3 * MEMBERS_MAX };
/* Of these, accepted ones that have not said hello; of more the oldest is closed.  A port that is
 * scanned must not use up the descriptors of the host program. */
enum { CONN_SILENT_MAX = 512 };
/* Nobody is hung up on for want of room who has said something so lately: more than a heartbeat's
 * usual pause, so whoever takes part stays, however many others come and go. */
#define CONN_SPARE_NS UINT64_C(3000000000)
/* Name look-up, connecting and the peer's hello together. */
#define CONN_OPEN_TIMEOUT_NS HELLO_TIMEOUT_NS

struct conn;
struct conn_set;

/* Who goes first when there is no room. */
enum conn_worth { CONN_OF_STRANGER, CONN_OF_MEMBER, CONN_TO_BE_KEPT };

struct conn_callbacks {
    /* What the node has against this peer beyond hello_check(), which has passed: 0 or a negative
     * errno and a sentence for the peer.  NULL: nothing. */
    int (*check_hello)(void *context, const struct message_hello *theirs,
                       char ret_reason[HELLO_REASON_BYTES]);
    /* The connection is open, dialled or accepted; texts are valid until it returns.  An accepted
     * one is taken over (or not) here: conn_set_user(), conn_close(), conn_detach(). */
    void (*on_open)(void *context, struct conn *conn, const struct message_hello *theirs);
    /* Lists and texts are valid until it returns. */
    void (*on_message)(void *context, struct conn *conn, const struct message *message);
    /* The connection ended, or never opened, otherwise than by conn_close(): the last callback,
     * after which @conn is gone.  @reason: the peer's own words if it refused, else a
     * description.  Accepted connections that never opened are not reported. */
    void (*on_close)(void *context, struct conn *conn, int error, const char *reason);
    /* What an accepted connection that is open is worth; asked when room is wanted.  NULL: all are
     * strangers'. */
    enum conn_worth (*worth)(void *context, const struct conn *conn);
    /* The process is out of descriptors, and somebody waits to be accepted.  NULL: nothing is
     * done. */
    void (*on_shortage)(void *context);
};

struct conn_counts {
    uint64_t dialled, accepted, opened;
    uint64_t refused_by_us, refused_by_peer;
    uint64_t garbage; /* what came was no message, or not one for here */
    uint64_t timeouts, broken, overflows;
    uint64_t spared; /* hung up on, since room was wanted */
};

/* @mine stays the caller's and is read at every hello, so its ring_hash may change; its purpose is
 * not used.  @loop outlives the set. */
int conn_set_new(struct loop *loop, const struct message_hello *mine,
                 const struct conn_callbacks *callbacks, void *context, struct conn_set **ret_set);
/* Closes what is there, without callbacks.  NULL is allowed. */
void conn_set_free(struct conn_set *set);
/* One of its connections, open or not; NULL: none is left.  For who frees their users at the
 * end. */
struct conn *conn_set_first(const struct conn_set *set);
/* Instead of CONN_OPEN_TIMEOUT_NS, for connections that begin from now on. */
void conn_set_open_timeout(struct conn_set *set, uint64_t timeout_ns);
/* Instead of CONN_SILENT_MAX. */
void conn_set_silent_max(struct conn_set *set, uint32_t most);
/* Instead of CONN_ACCEPTED_MAX and CONN_SPARE_NS. */
void conn_set_accepted_max(struct conn_set *set, uint32_t most, uint64_t spare_ns);
/* The process is out of descriptors: hangs up on a stranger that can be spared, and tells the
 * owner. */
void conn_set_shortage(struct conn_set *set);
const struct conn_counts *conn_set_counts(const struct conn_set *set);

/* -EAGAIN: too many; everything else, an unknown name included, is told by on_close. */
int conn_dial(struct conn_set *set, const struct address *to, enum purpose purpose, void *user,
              struct conn **ret_conn);
/* Takes the descriptor, whatever it returns. */
int conn_accept(struct conn_set *set, int fd);

/* Sent, with all that was queued in the same turn, before the loop waits next.  -ENOTCONN: not open
 * (yet, any more).  -EPROTONOSUPPORT: the message is of a newer version than both ends speak; it is
 * not sent, and nothing else happens.  -ENOBUFS: more than the bound waits already; on_close
 * follows from the loop. */
int conn_send(struct conn *conn, const struct message *message);
/* The same for a message that is encoded already. */
int conn_send_frame(struct conn *conn, const uint8_t *frame, size_t len);
uint32_t conn_queued_bytes(const struct conn *conn);
/* Sends what is queued as far as the socket takes it at once, and hangs up.  No callback follows;
 * @conn is gone for the caller.  NULL is allowed. */
void conn_close(struct conn *conn);
/* Says why before hanging up. */
void conn_refuse(struct conn *conn, int error, const char *reason);

/* Of an open connection whose other end has something to say now and then: when nothing came for so
 * long, it ends with -ETIMEDOUT. */
void conn_set_patience(struct conn *conn, uint64_t patience_ns);

void conn_set_user(struct conn *conn, void *user);
void *conn_user(const struct conn *conn);
bool conn_is_dialled(const struct conn *conn);
/* "127.0.0.1:31998": the dialled address, or where the accepted one came from. */
const char *conn_peer_text(const struct conn *conn);
enum purpose conn_purpose(const struct conn *conn);
/* The protocol version that both ends use; once it is open. */
uint16_t conn_version(const struct conn *conn);
/* Logs what became of it; of one host and @reason once a minute, with the number of repeats. */
void conn_tell(struct conn *conn, const char *event, int error, const char *reason);

/* In on_open, of an accepted connection: hands over the descriptor and, until on_open returns, what
 * was read behind the hello.  @conn is gone. */
int conn_detach(struct conn *conn, const uint8_t **ret_rest, size_t *ret_rest_len);

#endif
