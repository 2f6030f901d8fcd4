/* SPDX-License-Identifier: Apache-2.0 */
/*
 * slot.pml - the slot protocol of docs/slot-protocol.md, with everything that can reorder it.
 *
 * Two slots are carved over two cells of payload: an extent is a set of cells (1, 2, or 3 for
 * both), so the cells of one slot's page come to belong to the other slot.  FILLINGS pages are put
 * in, each the number of its filling (f).  Cells, slot words and header fields hold f, which the
 * readers of the model see only through generation(), key_of() and their own location: so a cell
 * tells exactly whose byte it is, also where a variant breaks what keeps fillings apart.
 *
 * Processes
 *   thread    an application thread that takes the core's role (chooses a place, makes slots void,
 *             fills), copies, seals and publishes, or gives up.  Its stores wait in a buffer.
 *   memory    lets stores out of the buffers, in any order that nothing forbids.
 *   reader    has a location as old as it likes, perhaps with a wrong key, offset or length, and
 *             reads past the holder: by shared memory, with loads out of order, or through an
 *             adapter that executes READs in pieces, in any order, and again.
 *   sender    the holder's channel thread: pins, sends, sends again, unpins.
 *
 * The buffer is weak: a compare-and-swap with release holds back nothing that comes after it (as on
 * arm64), and does not wait for payload stores that come before it (non-temporal ones, as on
 * x86-64).  It does wait for earlier words and header fields of its thread.  While a word waits,
 * its cache line is owned: others read the old value, and their own swaps wait.
 *
 * One kind of reader a run: -DBY_SHARED_MEMORY, -DBY_RDMA or -DBY_TCP.  The first two change
 * nothing that others see, and a pin only keeps slots from becoming void: together they show no
 * more.
 *
 * -DWITHOUT=<name> takes out one of the fences and checks below; run-models shows that each is
 * missed.  -DONLY=<number> leaves one of the properties, the first being the one that users see:
 *   1  a hit has the bytes of the filling that the location names, all, and the key asked for;
 *   2  a sealed slot has its bytes;          3  a pinned slot's bytes do not change;
 *   4  a generation is used once;            5  a page is published after it was sealed;
 *   6  no copy starts from a slot that was let go before the read began.
 */
#ifndef FILLINGS
#define FILLINGS 3
#endif

/* Every fence and check.  The names are those of base/protection.h where that has them. */
#define header_begin 1          /* slot_word_copy_begin(), before the header's fields */
#define copy_begin 2            /* slot_word_copy_begin(), before the payload */
#define copy_end 3              /* slot_word_copy_end(), before sealing */
#define copy_end_on_abandon 4   /* the same, before a copy that failed is reported */
#define read_fence 5            /* slot_word_read_fence() */
#define rdma_fence 6            /* IBV_SEND_FENCE on the READ of the header */
#define word_before_copy 7
#define word_after_copy 8
#define header_digest 9
#define header_length 10
#define header_offset 11
#define void_before_reuse 12
#define pins_block_void 13
#define serve_generation 14
#define fresh_generation 15
#define seal_after_copy 16
#define publish_after_seal 17
#define abandon_after_end 18    /* a filling slot is let go when what fills it has ended */
#define unpin_after_send 19     /* and not when the first transmission has left */

#ifndef WITHOUT
#define WITHOUT 0
#endif
#ifndef WITHOUT_TOO
#define WITHOUT_TOO 0
#endif
#define PROTECTED(name) (name != WITHOUT && name != WITHOUT_TOO)

/* Of the world: a directory may name a wrong key, offset or length beside a right slot and
 * generation; and an adapter samples the 64 bytes of a header at once. */
#ifdef HONEST
#define lies 0
#else
#define lies 1
#endif
#ifdef TORN_HEADER
#define whole_header 0
#else
#define whole_header 1
#endif

#ifdef ONLY
#define PROPERTY(number, condition) assert(number != ONLY || (condition))
#else
#define PROPERTY(number, condition) assert(condition)
#endif

/* Words: filling << 2 | state.  The pins are beside it, under the same swaps. */
#define VOID 0
#define FILLING 1
#define SEALED 2
#define make(f, state) ((f) << 2 | (state))
#define state_of(w) ((w) & 3)
#define filling_of(w) ((w) >> 2)
#define generation(f) (PROTECTED(fresh_generation) -> (f) : ((f) != 0))
#define is_sealed(w, f) \
    (state_of(w) == SEALED && generation(filling_of(w)) == generation(f))

#define key_of(f) ((f) & 1)
#define offset_of(extent) ((extent) == 2)
#define length_of(extent) (((extent) == 3) + 1)

/* What all see. */
byte word[2], pins[2], header[2], cell[2];
/* What waits: the thread + 1 that it waits in, and the value.  Cells: thread * 2 + cell. */
byte word_in[2], word_next[2], header_in[2], header_next[2], cell_next[4];

/* The core's books, under its role. */
byte next_filling = 1;
byte extent_of[FILLINGS + 1], slot_of[FILLINGS + 1];
/* The directory: bit f is set once f was published.  It is never cleared: caches are hours old. */
byte published;
/* For the properties alone: the filling that was pinned. */
byte pinned[2];

/* The word as the core sees it: its own stores it sees at once. */
#define view(s) (word_in[s] -> word_next[s] : word[s])
/* Whether the cells of slot @s are taken, when another slot is carved. */
#define holds(s) (state_of(view(s)) == FILLING || \
                  (PROTECTED(void_before_reuse) && state_of(view(s)) == SEALED))
#define taken(s) (holds(s) -> extent_of[filling_of(view(s))] : 0)

#define released(t) (word_in[0] != (t) + 1 && word_in[1] != (t) + 1 && \
                     header_in[0] != (t) + 1 && header_in[1] != (t) + 1)
#define drained(t) (released(t) && cell_next[(t) * 2] == 0 && cell_next[(t) * 2 + 1] == 0)

#define has_bytes(f) ((!(extent_of[f] & 1) || cell[0] == (f)) && \
                      (!(extent_of[f] & 2) || cell[1] == (f)))

inline store_word(t, s, value) { word_in[s] = t + 1; word_next[s] = value }

/* A void, a filling and a sealed word of one thread come out in this order; and what was written
 * into the header's fields comes out before sealed. */
#define may_leave(s) (word_in[s] && (state_of(word_next[s]) == VOID || \
    ((word_in[1 - s] != word_in[s] || state_of(word_next[1 - s]) != VOID) && \
     (state_of(word_next[s]) != SEALED || !header_in[s]))))

inline check_memory()
{
    PROPERTY(2, state_of(word[0]) != SEALED || has_bytes(filling_of(word[0])));
    PROPERTY(2, state_of(word[1]) != SEALED || has_bytes(filling_of(word[1])));
    PROPERTY(3, !pins[0] || has_bytes(pinned[0]));
    PROPERTY(3, !pins[1] || has_bytes(pinned[1]))
}

#define LET_WORD(s) atomic { may_leave(s) -> word[s] = word_next[s]; word_next[s] = 0; \
                             word_in[s] = 0; check_memory() }
#define LET_HEADER(s) atomic { header_in[s] && \
                               (!PROTECTED(header_begin) || word_in[s] != header_in[s]) -> \
                               header[s] = header_next[s]; header_next[s] = 0; \
                               header_in[s] = 0 }
#define LET_CELL(t, i) atomic { cell_next[t * 2 + i] -> cell[i] = cell_next[t * 2 + i]; \
                                cell_next[t * 2 + i] = 0; check_memory() }

active proctype memory()
{
end:
    do
    :: LET_WORD(0)
    :: LET_WORD(1)
    :: LET_HEADER(0)
    :: LET_HEADER(1)
    :: LET_CELL(0, 0)
    :: LET_CELL(0, 1)
    :: LET_CELL(1, 0)
    :: LET_CELL(1, 1)
    od
}

/* The role goes on to the next thread by a lock, which is a release: what the core wrote is out. */
#define role_is_free (released(0) && released(1))

#define may_void(s) (!word_in[s] && state_of(word[s]) == SEALED && \
                     (!pins[s] || !PROTECTED(pins_block_void)))
#define may_abandon(s) (!PROTECTED(abandon_after_end) && !word_in[s] && \
                        state_of(word[s]) == FILLING)

/* The core's step: make some slots void, and perhaps carve one that is void anew.  The first page
 * goes by thread 0 into slot 0: all else is the same with other numbers. */
inline core_step(t, ret_f, ret_slot)
{
    do
    :: may_void(0) || may_abandon(0) -> store_word(t, 0, make(filling_of(word[0]), VOID))
    :: may_void(1) || may_abandon(1) -> store_word(t, 1, make(filling_of(word[1]), VOID))
    :: break
    od;
    if
    :: next_filling <= FILLINGS && state_of(view(0)) == VOID && (t == 0 || next_filling > 1) ->
        ret_slot = 0
    :: next_filling <= FILLINGS && state_of(view(1)) == VOID && next_filling > 1 -> ret_slot = 1
    :: ret_slot = 2
    fi;
    if
    :: ret_slot < 2 && !(taken(1 - ret_slot) & 1) -> ret_f = next_filling; extent_of[ret_f] = 1
    :: ret_slot < 2 && !(taken(1 - ret_slot) & 2) -> ret_f = next_filling; extent_of[ret_f] = 2
    :: ret_slot < 2 && !taken(1 - ret_slot) -> ret_f = next_filling; extent_of[ret_f] = 3
    :: ret_f = 0
    fi;
    if
    :: ret_f ->
        PROPERTY(4, generation(ret_f) > generation(filling_of(view(ret_slot))) &&
                 generation(ret_f) > generation(ret_f - 1));
        next_filling++;
        slot_of[ret_f] = ret_slot;
        store_word(t, ret_slot, make(ret_f, FILLING));
        header_in[ret_slot] = t + 1;
        header_next[ret_slot] = ret_f
    :: else
    fi
}

/* The stores of a copy may be issued at once: it is the buffer that orders them. */
inline copy(t, f)
{
    atomic {
        if
        :: extent_of[f] & 1 -> cell_next[t * 2] = f
        :: else
        fi;
        if
        :: extent_of[f] & 2 -> cell_next[t * 2 + 1] = f
        :: else
        fi
    }
}

inline seal(t, f, s)
{
    atomic {
        !word_in[s] ->
        if
        :: word[s] == make(f, FILLING) -> store_word(t, s, make(f, SEALED))
        :: else
        fi
    }
}

/* A message or a store with release: earlier words and fields are out. */
inline publish(t, f, s)
{
    atomic {
        released(t) ->
        PROPERTY(5, word[s] == make(f, SEALED) || word[s] == make(f, VOID) ||
                    filling_of(word[s]) > f);
        published = published | 1 << f
    }
}

proctype thread(byte t)
{
    byte f, s;
end:
    do
    :: atomic {
            role_is_free ->
            core_step(t, f, s);
            if
            :: f == 0 -> s = 0; goto end
            :: else
            fi
        }
        if
        :: !PROTECTED(publish_after_seal) -> publish(t, f, s)
        :: PROTECTED(publish_after_seal)
        fi;
        (!PROTECTED(copy_begin) || drained(t));
        if
        :: !PROTECTED(seal_after_copy) -> seal(t, f, s); publish(t, f, s); copy(t, f)
        :: PROTECTED(seal_after_copy) ->
            copy(t, f);
            if
            :: !PROTECTED(copy_end) || drained(t) ->
                seal(t, f, s);
                if
                :: PROTECTED(publish_after_seal) -> publish(t, f, s)
                :: !PROTECTED(publish_after_seal)
                fi
            :: !PROTECTED(copy_end_on_abandon) || drained(t) -> /* the copy failed on its way */
                atomic {
                    role_is_free ->
                    if
                    :: word[s] == make(f, FILLING) -> store_word(t, s, make(f, VOID))
                    :: else
                    fi
                }
            fi
        fi;
        atomic { f = 0; s = 0 }
    od
}

/* Any location that was ever published; or one with a wrong key or extent beside the right slot
 * and generation. */
inline recall_location(ret_f, ret_key, ret_extent)
{
    if
    :: published & 1 << 1 -> ret_f = 1
    :: published & 1 << 2 -> ret_f = 2
    :: published & 1 << 3 -> ret_f = 3
    :: FILLINGS > 3 && published & 1 << 4 -> ret_f = 4
    fi;
    ret_key = key_of(ret_f);
    ret_extent = extent_of[ret_f];
    if
    :: skip
    :: lies -> ret_key = 1 - ret_key
    :: lies && extent_of[ret_f] != 1 -> ret_extent = 1
    :: lies && extent_of[ret_f] != 2 -> ret_extent = 2
    :: lies && extent_of[ret_f] != 3 -> ret_extent = 3
    fi
}

/* What slot_verdict() asks of the fields; they hold the filling for which they were written. */
#define fields_match(h, key, extent) ((!PROTECTED(header_digest) || key_of(h) == (key)) && \
    (!PROTECTED(header_length) || length_of(extent_of[h]) == length_of(extent)) && \
    (!PROTECTED(header_offset) || offset_of(extent_of[h]) == offset_of(extent)))

/* Property 1.  @right: the cells that came out as the bytes of @f. */
inline report_hit(f, key, extent, right)
{
#ifdef NO_HIT
    assert(f != FILLINGS)
#else
    PROPERTY(1, key == key_of(f) && extent == extent_of[f] && (right & extent) == extent)
#endif
}

#define sample(i, f, right) right = (right & ~(1 << i)) | ((cell[i] == f) << i)

/* What a reader has done. */
#define CELLS 3
#define FIELDS 4
#define WORD_AFTER 8
#define COMPLETED 16

/* The word and the fields, the copy, the read fence, the word again: loads in any order but for the
 * acquire of the first word and the fence. */
inline read_shared(f, s, key, extent, done, right)
{
    atomic {
        if
        :: PROTECTED(word_before_copy) && !is_sealed(word[s], f) -> goto miss
        :: !PROTECTED(word_before_copy) || is_sealed(word[s], f)
        fi;
        PROPERTY(6, !was_gone);
        was_gone = 0
    }
    do
    :: atomic { extent & 1 && !(done & 1) -> sample(0, f, right); done = done | 1 }
    :: atomic { extent & 2 && !(done & 2) -> sample(1, f, right); done = done | 2 }
    :: atomic {
            !(done & FIELDS) ->
            if
            :: fields_match(header[s], key, extent) -> done = done | FIELDS
            :: else -> goto miss
            fi
        }
    :: atomic {
            PROTECTED(word_after_copy) && !(done & WORD_AFTER) &&
            (!PROTECTED(read_fence) || (done & (CELLS | FIELDS)) == (extent | FIELDS)) ->
            if
            :: is_sealed(word[s], f) -> done = done | WORD_AFTER
            :: else -> goto miss
            fi
        }
    :: atomic {
            (done & (CELLS | FIELDS)) == (extent | FIELDS) &&
            (!PROTECTED(word_after_copy) || done & WORD_AFTER) -> break
        }
    od
}

/* READs of the payload and of the header on one queue pair.  A READ is executed again for as long
 * as it has not completed, and each time its bytes land anew.  They complete in order. */
inline read_rdma(f, s, key, extent, done, right)
{
    do
    :: atomic { extent & 1 && !(done & COMPLETED) -> sample(0, f, right); done = done | 1 }
    :: atomic { extent & 2 && !(done & COMPLETED) -> sample(1, f, right); done = done | 2 }
    :: atomic { !(done & COMPLETED) && (done & CELLS) == extent -> done = done | COMPLETED }
    :: atomic {
        PROTECTED(word_after_copy) && (done & COMPLETED || !PROTECTED(rdma_fence)) ->
        if
        :: is_sealed(word[s], f) -> done = done | WORD_AFTER
        :: else -> done = done & ~WORD_AFTER
        fi;
        if
        :: whole_header && !fields_match(header[s], key, extent) -> done = done & ~FIELDS
        :: whole_header && fields_match(header[s], key, extent) -> done = done | FIELDS
        :: !whole_header
        fi
       }
    :: atomic {
        !whole_header && PROTECTED(word_after_copy) &&
        (done & COMPLETED || !PROTECTED(rdma_fence)) ->
        if
        :: fields_match(header[s], key, extent) -> done = done | FIELDS
        :: else -> done = done & ~FIELDS
        fi
       }
    :: atomic {
        done & COMPLETED &&
        (!PROTECTED(word_after_copy) || (done & WORD_AFTER && done & FIELDS)) -> break
       }
    :: atomic { done & COMPLETED && PROTECTED(word_after_copy) -> goto miss }
    od
}

proctype reader()
{
    byte f, s, key, extent, done, right;
    bool was_gone;
end:
    atomic {
        published ->
        recall_location(f, key, extent);
        s = slot_of[f];
        was_gone = word[s] != make(f, SEALED)
    }
#ifdef BY_SHARED_MEMORY
    read_shared(f, s, key, extent, done, right);
#else
    read_rdma(f, s, key, extent, done, right);
#endif
    report_hit(f, key, extent, right);
miss:
    atomic { f = 0; s = 0; key = 0; extent = 0; done = 0; right = 0; was_gone = 0; goto end }
}

/* The holder's own thread.  A byte is read for as long as it may have to be sent again. */
proctype sender()
{
    byte f, s, key, extent, done, right;
end:
    atomic {
        published ->
        recall_location(f, key, extent);
        s = slot_of[f]
    }
    atomic {
        !word_in[s] ->
        if
        :: state_of(word[s]) == SEALED && (is_sealed(word[s], f) || !PROTECTED(serve_generation)) ->
            pins[s]++;
            pinned[s] = filling_of(word[s])
        :: else -> goto unserved
        fi
    }
    if
    :: atomic { !fields_match(header[s], key, extent) -> done = COMPLETED }
    :: fields_match(header[s], key, extent)
    fi;
    do
    :: atomic { extent & 1 && !(done & COMPLETED) -> sample(0, f, right); done = done | 1 }
    :: atomic { extent & 2 && !(done & COMPLETED) -> sample(1, f, right); done = done | 2 }
    :: atomic {
        !PROTECTED(unpin_after_send) && !(done & COMPLETED) && (done & CELLS) == extent &&
        !word_in[s] && pins[s] ->
        pins[s]--
       }
    :: atomic { !(done & COMPLETED) && (done & CELLS) == extent ->
        report_hit(f, key, extent, right); done = COMPLETED }
    :: atomic { done & COMPLETED && !word_in[s] ->
        if
        :: pins[s] -> pins[s]--
        :: else -> PROPERTY(3, !PROTECTED(unpin_after_send))
        fi;
        pinned[s] = 0;
        break
       }
    od;
unserved:
    atomic { f = 0; s = 0; key = 0; extent = 0; done = 0; right = 0; goto end }
}

init
{
    atomic {
        run thread(0);
        run thread(1);
#ifdef BY_TCP
        run sender()
#endif
#if defined(BY_SHARED_MEMORY) || defined(BY_RDMA)
        run reader()
#endif
    }
}
