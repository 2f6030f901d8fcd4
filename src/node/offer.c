/* SPDX-License-Identifier: Apache-2.0 */
/*
 * offer.c - a question to one receiver after another, until the pages have found their places.
 *
 * Whether a receiver has room it says by its answer.  One that takes none of an offer is not asked
 * again; one that does not answer in time may have taken some, which costs a second copy.
 */
#include "node/offer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "io/tool_client.h"
#include "node/life.h"
#include "wire/slot_header.h"

#define OFFER_TIMEOUT_NS UINT64_C(1500000000)

static bool stays(const struct node *node, uint16_t peer)
{
    struct view_peer info;
    return view_peer(node->view, peer, &info) == 0 && info.state == MEMBER_ALIVE &&
           view_peer_trusted(node->view, peer);
}

void offer_find_receivers(struct node *node, struct receivers *ret_receivers)
{
    *ret_receivers = (struct receivers){0};
    for (uint16_t peer = 1; peer < CORE_PEERS_MAX && ret_receivers->n < DRAIN_RECEIVERS_MAX; peer++)
        if (stays(node, peer))
            ret_receivers->list[ret_receivers->n++].peer = peer;
}

static struct receiver *next_receiver(struct node *node, struct receivers *receivers, bool is_hot)
{
    for (uint32_t i = 0; i < receivers->n; i++) {
        struct receiver *receiver = &receivers->list[receivers->next++ % receivers->n];
        if (!receiver->is_lost && !receiver->is_full[is_hot] && stays(node, receiver->peer))
            return receiver;
    }
    return NULL;
}

static bool is_any_full(const struct receivers *receivers, bool is_hot)
{
    for (uint32_t i = 0; i < receivers->n; i++)
        if (receivers->list[i].is_full[is_hot])
            return true;
    return false;
}

/* --- the question --- */

/* Copies the page's bytes and names it; NULL: it is gone. */
static json_t *add_page(struct node *node, struct offered *offered, uint8_t *to)
{
    const struct core_page *page = &offered->page;
    struct slot_header *header = &node->arena.headers[page->slot];
    const uint8_t *payload = node->arena.payload + page->offset_bytes;
    if (slot_word_pin(&header->word, page->generation) != 0)
        return NULL;
    memcpy(to, payload, page->length_bytes);
    json_t *json = adopt_page_json(page, payload + page->length_bytes, header->checksum);
    slot_word_unpin(&header->word);
    return json;
}

/* Of the pages that are still to be placed (-EINPROGRESS); *ret_order says which they are. */
static json_t *make_question(struct node *node, struct offered *pages, uint32_t n, bool is_hot,
                             uint8_t *body, size_t *ret_len, uint32_t *ret_order)
{
    json_t *list = json_array();
    size_t len = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (pages[i].error != -EINPROGRESS)
            continue;
        json_t *page = add_page(node, &pages[i], body + len);
        if (!page) {
            pages[i].error = -ESTALE;
            continue;
        }
        ret_order[json_array_size(list)] = i;
        json_array_append_new(list, page);
        len += pages[i].page.length_bytes;
    }
    *ret_len = len;
    return json_pack("{s:s, s:b, s:o}", "ask", "adopt", "hot", is_hot, "pages", list);
}

static struct address address_of_peer(struct node *node, uint16_t peer)
{
    pthread_mutex_lock(&node->peers[peer].lock);
    struct address address = address_of(node->peers[peer].host, node->peers[peer].control_port);
    pthread_mutex_unlock(&node->peers[peer].lock);
    return address;
}

/* The answer's list of errors, or NULL.  The caller's to drop. */
static json_t *ask(struct node *node, uint16_t peer, const json_t *question, const uint8_t *body,
                   size_t len, uint64_t deadline_ns)
{
    struct address address = address_of_peer(node, peer);
    struct message_hello hello = life_hello(node);
    struct server_answer answer = {0};
    char reason[HELLO_REASON_BYTES];
    char *text = json_dumps(question, JSON_COMPACT);
    struct server_request request = {text, text ? strlen(text) : 0, body, len};
    json_t *errors = NULL;
    if (text && tool_client_ask(&address, &hello, &request, deadline_ns, &answer, reason) == 0) {
        json_t *json = json_loads(answer.json, 0, NULL);
        errors = json_incref(json_object_get(json, "errors"));
        json_decref(json);
    }
    free(answer.json);
    free(answer.body);
    free(text);
    return errors;
}

/* --- the answer --- */

/* A page that nobody said was taken would be lost: whatever else stands there is no such word. */
static bool is_taken(const json_t *error)
{
    return json_is_integer(error) &&
           (json_integer_value(error) == 0 || json_integer_value(error) == -EEXIST);
}

void offer_take_answer(struct receiver *receiver, struct offered *pages, const json_t *errors,
                       const uint32_t *order, uint32_t n, bool is_hot)
{
    uint32_t n_taken = 0;
    receiver->is_lost = json_array_size(errors) != n;
    for (uint32_t i = 0; i < n && !receiver->is_lost; i++) {
        bool is_there = is_taken(json_array_get(errors, i));
        n_taken += is_there;
        if (is_there)
            pages[order[i]].error = 0;
    }
    receiver->is_full[is_hot] |= n_taken == 0;
}

static void give_up(struct offered *pages, uint32_t n, int error)
{
    for (uint32_t i = 0; i < n; i++)
        if (pages[i].error == -EINPROGRESS)
            pages[i].error = error;
}

/* False: nothing is left to be offered. */
static bool offer_once(struct node *node, struct receiver *receiver, struct offered *pages,
                       uint32_t n, bool is_hot, uint8_t *body, uint64_t deadline_ns)
{
    uint32_t order[ADOPT_PAGES_MAX];
    size_t len;
    uint64_t until_ns = clock_now_ns() + OFFER_TIMEOUT_NS;
    json_t *question = make_question(node, pages, n, is_hot, body, &len, order);
    uint32_t n_asked = (uint32_t)json_array_size(json_object_get(question, "pages"));
    if (n_asked > 0) {
        json_t *errors = ask(node, receiver->peer, question, body, len,
                             until_ns < deadline_ns ? until_ns : deadline_ns);
        offer_take_answer(receiver, pages, errors, order, n_asked, is_hot);
        json_decref(errors);
    }
    json_decref(question);
    return n_asked > 0;
}

void offer_pages(struct node *node, struct receivers *receivers, struct offered *pages, uint32_t n,
                 bool is_hot, uint8_t *body, uint64_t deadline_ns)
{
    for (uint32_t i = 0; i < n; i++)
        pages[i].error = -EINPROGRESS;
    while (!atomic_load(&node->is_stopping)) {
        struct receiver *receiver = next_receiver(node, receivers, is_hot);
        if (!receiver) {
            give_up(pages, n, is_any_full(receivers, is_hot) ? -ENOSPC : -EHOSTUNREACH);
            return;
        }
        if (clock_now_ns() >= deadline_ns ||
            !offer_once(node, receiver, pages, n, is_hot, body, deadline_ns))
            break;
    }
    give_up(pages, n, -ETIMEDOUT);
}
