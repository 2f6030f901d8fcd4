# SPDX-License-Identifier: Apache-2.0
"""What strangers say to a node, and crowds of them."""
import os
import select
import socket
import struct
import time

from processes import WAIT_S

MAGIC = 0x31574350
HELLO, JOIN, LOOKUP, READ, REQUEST = 1, 3, 15, 17, 19
CONTROL, DISCOVERY, CHANNEL, TOOL = 1, 2, 3, 4
TAKEN_IN_S = 1


def frame(kind, body, length=None):
    return struct.pack("<IHHII", MAGIC, kind, 0, 0, len(body) if length is None else length) + body


def hello(purpose, cluster, versions=(1, 1), auth=0, node_id=(1, 2), incarnation=3):
    name = cluster.encode()
    body = struct.pack("<HHBBQH", *versions, auth, purpose, 0, len(name)) + name
    return frame(HELLO, body + struct.pack("<QQQQQQIB", *node_id, incarnation, 4, 5, 6, 160, 2))


class Crowd:
    """Connections that say hello, each as another node, and nothing else."""

    def __init__(self, test, port, purpose, cluster):
        self.port, self.purpose, self.cluster = port, purpose, cluster
        self.connections = []
        test.addCleanup(self.leave)

    def come(self, count):
        """A hundred at a time, and no faster than the node takes them in, if it does."""
        for first in range(0, count, 100):
            new = [self.call() for _ in range(first, min(first + 100, count))]
            self.connections += new
            end = time.monotonic() + TAKEN_IN_S
            waiting = select.poll()
            for connection in new:
                waiting.register(connection, select.POLLIN)
            while len(waiting.poll(100)) < len(new) and time.monotonic() < end:
                pass

    def call(self):
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S)
        try:
            connection.sendall(hello(self.purpose, self.cluster,
                                     node_id=struct.unpack("<QQ", os.urandom(16))))
        except OSError:
            pass  # it was hung up on at once
        return connection

    def count_connected(self):
        return sum(map(is_connected, self.connections))

    def leave(self):
        for connection in self.connections:
            connection.close()
        self.connections = []


def is_connected(connection):
    """Whatever has come meanwhile is taken in."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
        return False
    except BlockingIOError:
        return True
    except OSError:
        return False
