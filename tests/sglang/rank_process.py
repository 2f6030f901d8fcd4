# SPDX-License-Identifier: Apache-2.0
"""One rank in a process of its own: a store under a simulated controller, driven by its parent.

    rank_process.py SOCKET JOB

The parent tells each rank what to do next; between, the ranks agree through it as SGLang's do
through a collective: each sends its value and waits for what all of them have in common.
"""
import json
import multiprocessing.connection
import sys
import threading

import harness
import host_pool
import side_pools
import simulator


class Parent:
    """The connection to the test; commands on one side, agreements on the other."""

    def __init__(self, address, rank):
        self.commands = multiprocessing.connection.Client(address, family="AF_UNIX")
        self.commands.send(("commands", rank))
        self._values = multiprocessing.connection.Client(address, family="AF_UNIX")
        self._values.send(("values", rank))
        self._lock = threading.Lock()

    def reduce(self, tag, value):
        with self._lock:
            self._values.send((tag, value))
            return self._values.recv()


def break_store(made, fault):
    """What is wrong with the one rank that is not like the others."""
    def fail(*_):
        raise RuntimeError("the pool is gone")

    if fault == "meta":
        made.mem_pool_host.get_page_buffer_meta = fail
    else:
        made._node.close()


def main():
    job = json.loads(sys.argv[2])
    parent = Parent(sys.argv[1], job["rank"])
    config = harness.storage_config(job["extra"], model_name=harness.MODEL, tp_rank=job["rank"],
                                    tp_size=job["size"], is_mla_model=job["replicated"])
    made = harness.store_module.PeerCacheStore(config, {})
    pool = (host_pool.mla if job["replicated"] else host_pool.mha)(page_num=1024)
    sides = [side_pools.PoolEntry("mamba", side_pools.mamba(), window=1)] if job["hybrid"] else []
    own = {} if job["replicated"] else {"kv": job["rank"]}
    controller = simulator.Controller(
        made, pool, sides, parent.reduce, writes_kv=job["rank"] == 0 or not job["replicated"],
        salts={**own, "mamba": job["rank"]})
    parent.commands.send(harness.alive_members(made))
    while True:
        command, argument = parent.commands.recv()
        if command == "end":
            break
        if command == "members":
            answer = harness.alive_members(made)
        elif command == "break":
            answer = break_store(made, argument)
        elif command == "reset":
            answer = controller.reset()
        else:
            answer = getattr(controller, command)(harness.keys(argument[1], argument[0])).wait()
        parent.commands.send((answer, controller.faults, controller.durations_s))
    made.close()


if __name__ == "__main__":
    main()
