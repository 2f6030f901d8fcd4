#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Virtual machines with soft-RoCE devices: real verbs on a machine without an adapter.

    vm.py [--devices N] [--limit SECONDS] [--results FOLDER] [--counted] COMMAND...

runs the command in a virtual machine that sees this one's files, this tree among them; what it
writes below /results lies in FOLDER afterwards.  Prints the command's output and exits with its
status; 77 and a line `SKIP: reason` where there can be no virtual machine.

A machine boots Debian's kernel (vm_kernel.py) in QEMU, in software: a /dev/kvm inside of a virtual
machine may be slower than that, or hang; VM_KVM=1 takes it.  Its root is the outer machine's,
read-only, with a layer in memory on top.  It has devices rxe0, rxe1 ... on interfaces d0, d1 ...
(10.99.N.1), and, where machines share a network, rxe-eth0.
"""
import argparse
import ctypes
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import vm_kernel
from vm_kernel import Missing

TREE = pathlib.Path(__file__).resolve().parents[2]
CACHE = TREE / "build" / "vm"
LIMIT_S = 150
MEMORY_MB = 2048
CORES = 2
COUNTED_SHIFT = 2  # an instruction takes 2 to the power of it, in ns
SKIPPED = 77


def reason_against():
    """Why there can be no virtual machine here, or None.  Gets the kernel if there can be."""
    try:
        if os.uname().machine != "x86_64":
            raise Missing(f"the virtual machine is for x86_64, not {os.uname().machine}")
        for name in ("qemu-system-x86_64", "ib_read_bw", "rdma", "ip"):
            vm_kernel.program(name)
        vm_kernel.prepare(CACHE)
    except Missing as error:
        return f"no virtual machine: {error}"
    return None


PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)


def die_with(parent):
    """For a child, before it becomes QEMU: it ends when this program does, however that ends.  (The
    kernel watches the thread that made the child, which is the main one here.)"""
    def prepare():
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
    return prepare


class Machine:
    """One virtual machine and its run.  @address and @link join machines: each has an address, and
    all but the first connect to the socket that the first one serves."""

    def __init__(self, command, folder, devices=2, address="", link=(), counted=False):
        self.folder = pathlib.Path(folder)
        self.counted = counted
        self.started = time.monotonic()
        notes = {"command": command, "devices": str(devices), "address": address,
                 "tree": str(TREE)}
        for name, text in notes.items():
            (self.folder / name).write_text(text + "\n")
        self.console = open(self.folder / "console", "wb")
        self.process = subprocess.Popen(self.line(link), stdin=subprocess.DEVNULL,
                                        stdout=self.console, stderr=subprocess.STDOUT,
                                        preexec_fn=die_with(os.getpid()))

    def line(self, link):
        kernel, initrd = vm_kernel.prepare(CACHE)
        share = "local,security_model=none,multidevs=remap"
        accelerator = ["-accel", "kvm"] if os.environ.get("VM_KVM") == "1" else []
        cores, accelerator = CORES, [*accelerator, "-accel", "tcg,thread=multi"]
        if self.counted:
            cores, accelerator = 1, ["-accel", "tcg", "-icount", f"shift={COUNTED_SHIFT}"]
        return ["qemu-system-x86_64", *accelerator, "-cpu", "max", "-smp", str(cores),
                "-m", str(MEMORY_MB), "-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio",
                "-kernel", kernel, "-initrd", initrd,
                "-append", "console=ttyS0 quiet panic=-1 mitigations=off nokaslr",
                "-virtfs", f"{share},path=/,mount_tag=root,readonly=on",
                "-virtfs", f"{share},path={self.folder},mount_tag=results",
                "-device", "virtio-rng-pci", *link]

    def note(self, name):
        """What the machine has left about its run, or None."""
        try:
            return (self.folder / name).read_text(errors="replace").strip()
        except FileNotFoundError:
            return None

    def status(self):
        text = self.note("status")
        return int(text) if text else None

    def wait(self, limit_s=LIMIT_S):
        """Until it has powered off, or the time is up.  Returns the command's exit status, or None
        where it has not ended."""
        try:
            self.process.wait(max(0.1, self.started + limit_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.end()
        return self.status()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.console.close()

    def story(self):
        """What a report of a failure needs: output, the ends of console and kernel's log."""
        parts = [f"output:\n{self.note('output')}"]
        for name in ("console", "kernel-log"):
            lines = (self.note(name) or "nothing").splitlines()[-40:]
            parts.append(f"{name}:\n" + "\n".join(lines))
        return "\n".join(parts)


def pair(folder, commands, devices=1):
    """Two machines joined by a network: 10.98.0.1 and 10.98.0.2."""
    path = pathlib.Path(folder) / "network"
    machines = []
    for number, command in enumerate(commands):
        own = pathlib.Path(folder) / f"vm{number}"
        own.mkdir()
        role = "server=on" if number == 0 else "server=off"
        link = ["-netdev", f"stream,id=net,{role},addr.type=unix,addr.path={path}",
                "-device", "virtio-net-pci,netdev=net,host_mtu=9000,romfile=,"
                           f"mac=52:54:00:98:00:0{number + 1}"]
        machines.append(Machine(command, own, devices, f"10.98.0.{number + 1}", link))
        while number == 0 and not path.exists() and machines[0].process.poll() is None:
            time.sleep(0.01)
    return machines


def keep_failure(folder):
    """Keeps what a failed run left, in build/vm/failed, and says where."""
    kept = CACHE / "failed"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("network"))
    return kept


def main():
    parser = argparse.ArgumentParser(description="runs a command in a virtual machine")
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--limit", type=float, default=LIMIT_S)
    parser.add_argument("--results")
    parser.add_argument("--counted", action="store_true")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    reason = reason_against()
    if reason:
        print(f"SKIP: {reason}")
        return SKIPPED
    with tempfile.TemporaryDirectory() as own:
        folder = pathlib.Path(arguments.results or own).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        words = arguments.command
        command = words[0] if len(words) == 1 else shlex.join(words)
        machine = Machine(command, folder, arguments.devices, counted=arguments.counted)
        status = machine.wait(arguments.limit)
        if status is None:
            print(f"the machine did not end in {arguments.limit:.0f} s; {machine.story()}\n"
                  f"kept in {keep_failure(folder)}")
            return 1
        print(machine.note("output"))
        return status


if __name__ == "__main__":
    sys.exit(main())
