/* SPDX-License-Identifier: Apache-2.0 */
/*
 * seqtable.pml - one bucket of base/seqtable.h: written by one thread for one key after another,
 * read by another thread that looks for a key.
 *
 * The bucket has four words: the sequence, the key (0: empty), and two words of value.  Write
 * number n puts n into both of the latter, and key_of[n] remembers for which key.  So a value tells
 * which write it comes from, and one that is torn between two writes shows.
 *
 * Stores wait in a buffer.  All of them are releases, so they come out in the order of the program;
 * without that each word comes out by itself.  The reader's loads are acquires, so they are done in
 * order; without that any of them may be early, the second look at the sequence too.
 *
 * Property: a hit is the value of one write, and that write was for the key asked for.  A miss is
 * always allowed.  -DWITHOUT=<name> takes a protection out; run-models shows that each is missed.
 */
#define odd_while_writing 1   /* the sequence is odd before the first word changes */
#define odd_refused 2         /* a reader that sees an odd sequence gives up */
#define second_look 3         /* and one that sees another sequence behind the words */
#define key_with_value 4      /* the key is compared between the two looks, not before them alone */
#define release_stores 5
#define acquire_loads 6
#define fresh_sequence 7      /* no number is used for two writes */

#ifndef WITHOUT
#define WITHOUT 0
#endif
#define PROTECTED(name) (name != WITHOUT)

#define WRITES 4

#define SEQUENCE 0
#define KEY 1
#define FIRST 2
#define LAST 3

byte word[4];
byte key_of[WRITES + 1];
/* The writer's buffer: what waits for each word, and in which order the words were stored. */
chan waiting[4] = [2] of { byte };
chan order = [8] of { byte };

inline store(index, value)
{
    atomic {
        nfull(waiting[index]) && nfull(order) -> /* the model's bound, for two writes */
        waiting[index] ! value;
        if
        :: PROTECTED(release_stores) -> order ! index
        :: !PROTECTED(release_stores)
        fi
    }
}

#define LET(index) atomic { nempty(waiting[index]) && \
    (!PROTECTED(release_stores) || order ? [index]) -> \
    if \
    :: PROTECTED(release_stores) -> order ? index \
    :: !PROTECTED(release_stores) \
    fi; \
    waiting[index] ? word[index] }

active proctype memory()
{
end:
    do
    :: LET(SEQUENCE)
    :: LET(KEY)
    :: LET(FIRST)
    :: LET(LAST)
    od
}

#define sequence_of(n) (PROTECTED(fresh_sequence) -> 2 * (n) : 2)

active proctype writer()
{
    byte n = 1, key;
    do
    :: n <= WRITES ->
        if
        :: key = 0
        :: key = 1
        :: key = 2
        fi;
        key_of[n] = key;
        if
        :: PROTECTED(odd_while_writing) -> store(SEQUENCE, sequence_of(n) + 1)
        :: !PROTECTED(odd_while_writing)
        fi;
        store(KEY, key);
        store(FIRST, n);
        store(LAST, n);
        store(SEQUENCE, sequence_of(n));
        n++
    :: else -> break
    od
}

/* Which loads are done; each must wait for those before it. */
#define LOADED_KEY 1
#define LOADED_FIRST 2
#define LOADED_LAST 4
#define LOOKED_AGAIN 8
#define may_load(bit) (!(done & bit) && \
                       (!PROTECTED(acquire_loads) || (done & (bit - 1)) == bit - 1))

active proctype reader()
{
    byte key, sequence, first, last, done;
end:
    do
    :: atomic { /* the search: is this the bucket at all? */
            word[KEY] ->
            key = word[KEY]
        }
        sequence = word[SEQUENCE];
        do
        :: atomic {
                may_load(LOADED_KEY) ->
                if
                :: !PROTECTED(key_with_value) || word[KEY] == key -> done = done | LOADED_KEY
                :: else -> goto miss
                fi
           }
        :: atomic { may_load(LOADED_FIRST) -> first = word[FIRST]; done = done | LOADED_FIRST }
        :: atomic { may_load(LOADED_LAST) -> last = word[LAST]; done = done | LOADED_LAST }
        :: atomic {
                may_load(LOOKED_AGAIN) ->
                if
                :: !PROTECTED(second_look) || word[SEQUENCE] == sequence ->
                    done = done | LOOKED_AGAIN
                :: else -> goto miss
                fi
           }
        :: done == 15 -> break
        od;
        if
        :: sequence & 1 && PROTECTED(odd_refused)
        :: else ->
#ifdef NO_HIT
            assert(first < WRITES)
#else
            assert(first == last && key_of[first] == key)
#endif
        fi;
miss:
        atomic { key = 0; sequence = 0; first = 0; last = 0; done = 0 }
    od
}
