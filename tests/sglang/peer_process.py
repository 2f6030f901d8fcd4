# SPDX-License-Identifier: Apache-2.0
"""A store in a process of its own: one JSON command a line in, one JSON answer a line out."""
import ctypes
import json
import sys

import harness
import host_pool


def main():
    job = json.loads(sys.argv[1])
    pool = host_pool.mha(**job["pool"])
    config = harness.storage_config(job["extra"], model_name=job["model"])
    made = harness.store_module.PeerCacheStore(config, {})
    made.register_mem_pool_host(pool)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        print(json.dumps(run(made, pool, command["call"], command["keys"])), flush=True)
    made.close()


def run(made, pool, call, names):
    pages = list(range(len(names)))
    if call == "set":
        pool.fill(pages, harness.seeds(names))
        return made.batch_set_v1(names, pool.slots(pages))
    if call == "get":
        pool.poison(pages)
        hits = made.batch_get_v1(names, pool.slots(pages))
        right = [page for page in pages if hits[page]]
        return [hits, pool.wrong_bytes(right, harness.seeds([names[page] for page in right]))]
    if call == "exists":
        return made.batch_exists(names)
    if call == "damage":
        return damage(names[0], pool.page_bytes)
    return harness.alive_members(made)


def damage(name, page_bytes):
    """Flips a bit in every copy of this page in this node's pool; how many there were."""
    first, damaged = host_pool.expected_bytes(harness.seeds([name]), page_bytes).tobytes()[:256], 0
    with open("/proc/self/maps") as maps:
        arenas = [line.split()[0].split("-") for line in maps
                  if "/memfd:" in line and " rw" in line]
    for start, end in ((int(start, 16), int(end, 16)) for start, end in arenas):
        arena = (ctypes.c_char * (end - start)).from_address(start)
        place = arena.raw.find(first)
        while place >= 0:
            arena[place + 100] = bytes([arena[place + 100][0] ^ 4])
            damaged += 1
            place = arena.raw.find(first)
    return damaged


if __name__ == "__main__":
    main()
