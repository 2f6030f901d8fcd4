# SPDX-License-Identifier: Apache-2.0
"""The kernel of the virtual machines: Debian's own, unpacked and not installed.

Its package is downloaded once and kept as two files of a folder in build/: the kernel, and an
initial ramdisk of busybox and of the modules that are loaded, in the order in which they are.
"""
import os
import pathlib
import shutil
import subprocess
import tempfile

PACKAGE = "linux-image-amd64"
# crc32_generic: without it adding an rxe device fails, with "No such file or directory".
MODULES = ["virtio_pci", "9pnet_virtio", "9p", "overlay", "crc32_generic", "ib_uverbs", "rdma_rxe",
           "rdma_ucm", "dummy", "virtio_net", "veth", "sch_tbf", "sch_fq"]
BUSYBOX = pathlib.Path("/bin/busybox")
INIT = pathlib.Path(__file__).with_name("vm_init")
DOWNLOAD_LIMIT_S = 180


class Missing(Exception):
    """What a virtual machine needs and this one has not: the reason of a skip."""


def call(*words, **options):
    done = subprocess.run([*map(str, words)], stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, **options)
    if done.returncode != 0:
        raise Missing(f"{' '.join(map(str, words))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def program(name):
    """depmod and modprobe are not on everybody's PATH."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise Missing(f"{name} is not installed (tools/install-packages rdma)")
    return found


def version():
    """The version behind PACKAGE, such as 6.1.0-56-amd64."""
    for line in call("apt-cache", "depends", PACKAGE).splitlines():
        kind, _, name = line.strip().partition(": ")
        if kind == "Depends" and name.startswith("linux-image-"):
            return name.removeprefix("linux-image-")
    raise Missing(f"apt does not know {PACKAGE}: apt-get update")


def unpack(release, folder):
    """Downloads and unpacks the package into @folder."""
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        call(program("apt-get"), "download", f"linux-image-{release}", cwd=folder,
             env=environment, timeout=DOWNLOAD_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise Missing(f"linux-image-{release} was not downloaded in {DOWNLOAD_LIMIT_S} s") from None
    package, = folder.glob("linux-image-*.deb")
    call(program("dpkg"), "-x", package, folder)
    call(program("depmod"), "-b", folder, release)


def module_files(release, folder):
    """The modules and what they need, each behind what it needs."""
    files = []
    for module in MODULES:
        listing = call(program("modprobe"), "-d", folder, "-S", release, "--show-depends", module)
        for line in listing.splitlines():
            words = line.split()
            if words[0] == "insmod" and words[1] not in files:
                files.append(words[1])
    return files


def archive(root, path):
    """Packs the folder @root into a cpio archive at @path."""
    names = "\0".join(sorted(str(name.relative_to(root)) for name in root.rglob("*")))
    with open(path, "wb") as file:
        done = subprocess.run([program("cpio"), "--null", "-o", "-H", "newc", "--quiet", "-R",
                               "0:0"], cwd=root, input=names.encode(), stdout=file)
    if done.returncode != 0:
        raise Missing("cpio failed")


def fill_root(release, unpacked, root):
    if not BUSYBOX.exists():
        raise Missing(f"{BUSYBOX} is not installed (tools/install-packages rdma)")
    for name in ("bin", "modules", "proc", "sys", "dev", "lower", "upper", "new", "results"):
        (root / name).mkdir()
    shutil.copy(BUSYBOX, root / "bin/busybox")
    shutil.copy(INIT, root / "init")
    (root / "init").chmod(0o755)
    order = []
    for file in module_files(release, unpacked):
        shutil.copy(file, root / "modules")
        order.append(pathlib.Path(file).name)
    (root / "modules/order").write_text("\n".join(order) + "\n")


def is_fresh(initrd):
    scripts = (INIT, pathlib.Path(__file__))
    return initrd.exists() and all(initrd.stat().st_mtime > s.stat().st_mtime for s in scripts)


def prepare(cache):
    """Returns the paths of kernel and ramdisk in the folder @cache, made if they are not there."""
    release = version()
    kernel, initrd = cache / f"vmlinuz-{release}", cache / f"initrd-{release}"
    if kernel.exists() and is_fresh(initrd):
        return kernel, initrd
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as name:
        work = pathlib.Path(name)
        (work / "unpacked").mkdir()
        (work / "root").mkdir()
        unpack(release, work / "unpacked")
        fill_root(release, work / "unpacked", work / "root")
        archive(work / "root", work / "initrd")
        shutil.copy(work / "unpacked/boot" / kernel.name, work / "kernel")
        (work / "kernel").rename(kernel)
        (work / "initrd").rename(initrd)
    return kernel, initrd
