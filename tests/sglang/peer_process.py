# SPDX-License-Identifier: Apache-2.0
"""A store in a process of its own: one JSON command a line in, one JSON answer a line out."""
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
    return harness.alive_members(made)


if __name__ == "__main__":
    main()
