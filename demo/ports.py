# SPDX-License-Identifier: Apache-2.0
"""Ports for clusters that live for a demo, a test or a measurement."""
import pathlib
import random
import socket

LOWEST = 10000
GIVEN_OUT = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port():
    """A TCP port of 127.0.0.1 that nobody listens on.

    It lies below those that the kernel gives out by itself.  One of these could become the control
    port of another node before the one that it was meant for is there.
    """
    first_given_out = int(GIVEN_OUT.read_text().split()[0])
    while True:
        port = random.randrange(LOWEST, max(LOWEST + 1000, first_given_out))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
