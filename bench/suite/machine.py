"""What the figures were measured on. A disk's sync time decides more than its speed, so it is measured."""
import os
import platform
import statistics
import subprocess
import time

from . import space
from .processes import Trouble

SYNCS = 200
FORGETFUL = ("tmpfs", "ramfs")


def filesystem(directory):
    """Type and device of what the directory lies on; no device where mounts can't be seen, as in a chroot."""
    for command in (["findmnt", "-no", "FSTYPE,SOURCE", "-T", directory],
                    ["stat", "-f", "-c", "%T", directory]):
        run = subprocess.run(command, capture_output=True, text=True)
        words = run.stdout.split()
        if run.returncode == 0 and words:
            break
    else:
        raise Trouble(f"cannot tell what filesystem {directory} is on: {run.stderr.strip()}")
    return words[0], words[1] if len(words) > 1 else ""


def refuse_memory(directory):
    kind, _ = filesystem(directory)
    if kind in FORGETFUL:
        raise Trouble(f"{directory} is {kind}: a queue that forgets measures nothing; give a directory on a "
                      "disk (--directory)")


def sync_ms(directory):
    """Median and 99th percentile of writing 4 KiB over what is there and fdatasync, as a commit does."""
    path = os.path.join(directory, "sync")
    times = []
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        block = os.urandom(4096)
        for _ in range(64):
            os.write(fd, block)
        os.fsync(fd)
        for i in range(SYNCS):
            start = time.perf_counter()
            os.pwrite(fd, block, 4096 * (i % 64))
            os.fdatasync(fd)
            times.append((time.perf_counter() - start) * 1e3)
    finally:
        os.close(fd)
        os.unlink(path)
    return statistics.median(times), sorted(times)[int(SYNCS * 0.99) - 1]


def first_line(argv):
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=10).stdout.split("\n")[0].strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def cpu_model():
    model, virtual = platform.machine(), False
    with open("/proc/cpuinfo") as f:
        for line in f:
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
            virtual = virtual or key.strip() == "flags" and " hypervisor" in value
    return model + (" (virtual)" if virtual else "")


def memory_gib():
    with open("/proc/meminfo") as f:
        return round(int(f.readline().split()[1]) / 1048576, 1)


def facts(build, directory):
    kind, device = filesystem(directory)
    median, worst = sync_ms(directory)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    packages = ("liburing2", "liblmdb0", "libssl3", "libc-ares2", "libmicrohttpd12")
    versions = {name: first_line(["dpkg-query", "-W", "-f", "${Version}\n", name]) for name in packages}
    return {
        "cores": len(os.sched_getaffinity(0)), "cpu": cpu_model(), "memory_gib": memory_gib(),
        "kernel": platform.release(),
        "system": first_line(["sh", "-c", ". /etc/os-release; echo $PRETTY_NAME"]),
        "filesystem": kind, "device": device, "sync_ms": round(median, 3), "sync_p99_ms": round(worst, 3),
        "network": space.describe(),
        "load_average": round(os.getloadavg()[0], 2),
        "postrider": first_line([os.path.join(build, "postriderd"), "--version"]),
        "commit": first_line(["git", "-C", root, "describe", "--always", "--dirty"]),
        "compiler": first_line([os.environ.get("CC", "gcc"), "--version"]),
        "libraries": {name: version for name, version in versions.items() if version},
    }


def text(known):
    libraries = ", ".join(f"{name} {version}" for name, version in known["libraries"].items())
    return (f"{known['cores']} cores, {known['cpu']}, {known['memory_gib']} GiB; {known['system']}, "
            f"Linux {known['kernel']}\n"
            f"state on {known['filesystem']} ({known['device']}); 4 KiB written and synced in "
            f"{known['sync_ms']} ms (median; 99th percentile {known['sync_p99_ms']} ms); "
            f"load average before {known['load_average']}\n"
            f"{known['network']}\n"
            f"{known['postrider']} ({known['commit']}), {known['compiler']}; {libraries}")
