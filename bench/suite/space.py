"""A network of the bench's own, where the machine lets it have one: its loopback interface is nobody else's.

The kernel's default congestion control is for real networks. BBR paces what it sends by the round trips that
it measures, which on a loopback interface are those of the scheduler: 1.3 GB/s a connection and an idle
machine, where CUBIC and Reno reach 5 (measured on the machine of the README). Where BBR is the default, ours
is Reno."""
import os
import shutil
import subprocess
import sys

INSIDE = "BENCH_INSIDE"
CONTROL = "/proc/sys/net/ipv4/tcp_congestion_control"
PACING = ("bbr",)
PLAIN = "reno"  # always there
# Thousands of receivers share a listener here, unlike in the world: 20,000 connections that come at once
# overflowed its 4,096 places, and with cookies the client holds for open what the receiver has forgotten.
ROOM = {"/proc/sys/net/core/somaxconn": "65535", "/proc/sys/net/ipv4/tcp_max_syn_backlog": "65535",
        "/proc/sys/net/ipv4/tcp_syncookies": "0"}


def congestion_control():
    try:
        with open(CONTROL, encoding="ascii") as f:
            return f.read().strip()
    except OSError:
        return "unknown"


def enter(argv):
    """Runs this program again in a network of its own and becomes it; returns when already inside, or when
    that is not allowed, which the machine's facts then tell."""
    if os.environ.get(INSIDE):
        return
    own = ["unshare", "--net"] + ([] if os.geteuid() == 0 else ["--user", "--map-root-user"])
    if not shutil.which("unshare") or not shutil.which("ip"):
        return
    probe = subprocess.run([*own, "ip", "link", "set", "lo", "up"], capture_output=True, timeout=30)
    if probe.returncode == 0:
        os.environ[INSIDE] = "1"
        os.execvp(own[0], [*own, sys.executable, *argv])


def prepare():
    """Inside: the loopback interface, and what it sends by."""
    if not os.environ.get(INSIDE):
        return
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=30)
    if congestion_control() in PACING:
        write(CONTROL, PLAIN)
    for name, value in ROOM.items():
        write(name, value)


def write(name, value):
    """Where it may; the bench works without, as far as the machine's own settings go."""
    try:
        with open(name, "w", encoding="ascii") as f:
            f.write(value)
    except OSError:
        pass


def describe():
    where = "a network namespace of its own" if os.environ.get(INSIDE) else "the machine's own network"
    return f"{where}, loopback, congestion control {congestion_control()}"
