"""The private space that everything of a comparison runs in: its own network, mounts, host name and
processes.

In it, ports 53 and 25 are free, /etc/resolv.conf names the world's DNS, and peers appear as if installed
in their usual places; nothing outside is touched, and all of it ends with its first process.

The engines' machine has an address besides the loopback's, 198.18.1.1 (a network set aside for
benchmarks, RFC 2544): resolvers that ask for AI_ADDRCONFIG find nothing without one. The receivers'
network is routed to the loopback interface without being an address of any, so that no engine takes a
receiver for itself."""
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys

from suite import space as network

RECEIVERS, OWN = "198.18.0.0/24", "198.18.1.1"
HOSTNAME = "mta.compare.test"
CONTROL_GROUPS = "/run/groups"
WORK = "/run/queues"    # the work directory is seen there, whatever the modes of those above it
INSIDE = "COMPARE_INSIDE"


def plan():
    """What enter was given, inside; None outside."""
    return json.loads(os.environ[INSIDE]) if INSIDE in os.environ else None


def enter(argv, what):
    """Runs this program again in a space of its own, where plan() is `what`; its exit code."""
    why = "network and mount namespaces of its own, so that the peers have ports 25 and 53 for themselves"
    if os.geteuid() != 0:
        sys.exit(f"compare: needs root, to make {why}: run it as root (sudo make compare)")
    for program in ("unshare", "ip"):
        if not shutil.which(program):
            sys.exit(f"compare: {program} is missing: deploy/install-deps compare installs it")
    command = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--fork", "--kill-child",
               "--mount-proc"]
    probe = subprocess.run([*command, "true"], capture_output=True, text=True, timeout=30)
    if probe.returncode != 0:
        sys.exit(f"compare: may not make {why} (in a container it wants CAP_SYS_ADMIN); unshare says: "
                 f"{probe.stderr.strip()}")
    child = subprocess.Popen([*command, sys.executable, *argv], env={**os.environ, INSIDE: json.dumps(what)},
                             preexec_fn=die_with_parent)

    told = []

    def stop(number, _):
        told.append(number)
        child.kill()  # unshare heeds no other signal; all inside dies with it
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    code = child.wait()
    return 128 + told[0] if told else code if code >= 0 else 128 - code


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def call(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    if done.returncode != 0:
        sys.exit(f"compare: {' '.join(command)} failed: {done.stderr.strip()}")


def lay_over(place, layers):
    """Makes layers appear over a directory of the machine, read-only."""
    layers = [layer for layer in layers if os.path.isdir(layer)]
    if not layers:
        return
    for layer in layers:
        if ":" in layer or "," in layer:
            sys.exit(f"compare: can't work in {layer}: overlayfs takes no colon or comma in a path")
    call("mount", "-t", "overlay", "overlay", "-o", "lowerdir=" + ":".join([*layers, place]), place)


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def with_users(wanted):
    """The machine's passwd and group with the wanted users in them: {user: [group, …]}."""
    passwd, group = read("/etc/passwd"), read("/etc/group")
    ids = {int(line.split(":")[2]) for line in (passwd + group).splitlines() if line.count(":") >= 3}
    free = (i for i in range(899, 99, -1) if i not in ids)
    for user, groups in wanted.items():
        gids = []
        for name in groups:
            found = [line.split(":")[2] for line in group.splitlines() if line.startswith(name + ":")]
            gids.append(found[0] if found else str(next(free)))
            if not found:
                group += f"{name}:x:{gids[-1]}:\n"
        if not any(line.startswith(user + ":") for line in passwd.splitlines()):
            passwd += f"{user}:x:{next(free)}:{gids[0]}::/nonexistent:/usr/sbin/nologin\n"
    return {"passwd": passwd, "group": group}


def prepare(work, layers, users, directories):
    """Inside: the network, the mounts, the host name. directories: names below /etc that will be bound."""
    call("mount", "--make-rprivate", "/")
    os.environ[network.INSIDE] = "1"
    network.prepare()
    call("ip", "link", "add", "mail", "type", "veth", "peer", "name", "nowhere")
    call("ip", "address", "add", OWN + "/24", "dev", "mail")
    for name in ("mail", "nowhere"):
        call("ip", "link", "set", name, "up")
    call("ip", "route", "add", "local", RECEIVERS, "dev", "lo", "src", OWN)
    socket.sethostname(HOSTNAME)
    call("mount", "-t", "tmpfs", "-o", "mode=755", "compare", "/run")
    bind(work, WORK)
    if os.path.exists("/dev/log"):  # lines logged are not for the machine's log
        open("/run/no-log", "w", encoding="utf-8").close()
        call("mount", "--bind", "/run/no-log", "/dev/log")
    etc = "/run/layer/etc"
    for name in [".", *directories]:
        os.makedirs(os.path.join(etc, name), exist_ok=True)
    for name, text in {
            "resolv.conf": "nameserver 127.0.0.1\nsearch .\n",
            "hosts": f"127.0.0.1 localhost\n{OWN} {HOSTNAME}\n",
            "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\n",
            "mailname": HOSTNAME + "\n", **with_users(users)}.items():
        with open(os.path.join(etc, name), "w", encoding="utf-8") as file:
            file.write(text)
    lay_over("/etc", [etc, *(os.path.join(layer, "etc") for layer in layers)])
    for place in ("usr", "var/lib"):
        lay_over("/" + place, [os.path.join(layer, place) for layer in layers])
    call("mount", "-t", "tmpfs", "-o", "mode=755", "compare", "/var/spool")
    os.makedirs(CONTROL_GROUPS)
    call("mount", "-t", "cgroup2", "compare", CONTROL_GROUPS)


def bind(directory, place):
    """Makes a directory appear at a place: below /run or /var/spool, or one that prepare was told of."""
    os.makedirs(place, exist_ok=True)
    call("mount", "--bind", directory, place)


def unbind(place):
    call("umount", "--lazy", place)
