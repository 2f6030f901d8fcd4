/* SPDX-License-Identifier: Apache-2.0 */
/* narrate.h - the lines that a story is made of. */
#ifndef SIM_NARRATE_H
#define SIM_NARRATE_H

#include <stdint.h>

/* name, text: %m is the machine, %a %b %c are numbers */
#define NARRATED(N)                                                                                \
    N(start, "m%m starts: life %a, host %b, pool of %c bytes")                                     \
    N(reborn, "m%m goes on as incarnation %a, its life number %b")                                 \
    N(crash, "m%m dies: life %a")                                                                  \
    N(leave, "m%m leaves")                                                                         \
    N(pause, "m%m is stopped for %a us")                                                           \
    N(cut, "m%m and m%a cannot reach each other for %b us")                                        \
    N(cut_one_way, "m%m cannot reach m%a for %b us")                                               \
    N(split, "the cluster falls in two, of which one is the set %a, for %b us")                    \
    N(slow, "between m%m and m%a it takes up to %c us longer, for %b us")                          \
    N(burst, "all make their calls at once for %a us")                                             \
    N(calm, "faults end")                                                                          \
    N(serving, "m%m serves discovery on host %a")                                                  \
    N(dial, "m%m dials m%a, purpose %b")                                                           \
    N(refused, "m%m meets another life of m%a than it dialled, or too late")                       \
    N(link_up, "m%m has link %a, purpose %b")                                                      \
    N(link_down, "m%m loses link %a")                                                              \
    N(broken, "m%m: the connection to m%a breaks, %b messages are lost")                           \
    N(send, "m%m sends on link %a a message of type %b, %c bytes")                                 \
    N(message, "m%m takes from link %a a message of type %b")                                      \
    N(peer, "m%m: peer %a is life %b, state %c")                                                   \
    N(step, "m%m steps: event %a; %b sends, %c completions")                                       \
    N(call, "m%m app %a calls %b with %c pages")                                                   \
    N(ended, "m%m app %a ends call %b")                                                            \
    N(page, "m%m app %a: page ns %b number %c")                                                    \
    N(ask, "m%m app %a asks m%b for %c keys")                                                      \
    N(answer, "m%m app %a is answered ask %b: %c found")                                           \
    N(no_answer, "m%m app %a has no answer to ask %b")                                             \
    N(located, "m%m app %a: key %b is in state %c")                                                \
    N(read, "m%m reads slot %a generation %b of life %c")                                          \
    N(piece, "m%m reads piece %a of slot %b of life %c")                                           \
    N(read_end, "m%m ends the read of slot %a generation %b: error %c")                            \
    N(serve, "m%m serves slot %a generation %b: error %c")                                         \
    N(sent, "m%m has sent slot %a, unpins")                                                        \
    N(reserve, "m%m fills slot %a generation %b, %c bytes")                                        \
    N(reserved_not, "m%m has no room for ns %a number %b: error %c")                               \
    N(copied, "m%m app %a has copied slot %b generation %c")                                       \
    N(given_up, "m%m app %a gives slot %b generation %c up")                                       \
    N(stored, "m%m app %a stored: error %b, %c recorded")                                          \
    N(clear, "m%m clears ns %a: epoch %b")                                                         \
    N(cleared, "m%m app %a: clear ended with error %b")                                            \
    N(lie, "an answer lies to m%m about key %a")                                                   \
    N(probe, "m%m reads an old location: slot %a generation %b of life %c")

enum narrated {
#define N(name, text) NARRATED_##name,
    NARRATED(N)
#undef N
        NARRATED_COUNT
};
void narrate(enum narrated what, int machine, uint64_t a, uint64_t b, uint64_t c);
void narrate_begin(void);
void narrate_print_last(void);

#endif
