"""Programs of peers, unpacked side by side into a cache without being installed: in Debian the mail engines
conflict with one another, and an installed one would be started."""
import contextlib
import fcntl
import os
import shutil
import subprocess

from .adapter import Missing


def missing_programs(programs):
    return [program for program in programs if not os.path.exists(program)]


@contextlib.contextmanager
def alone(cache, name):
    """Of several processes that want the same one gets it, and the others find it there."""
    os.makedirs(cache, exist_ok=True)
    with open(os.path.join(cache, f".{name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # bounded: whoever has it has a time-out for each step
        yield


def debian(cache, name, packages, programs):
    """Layers that hold the programs (absolute paths): none where the machine has them installed, else the
    packages, downloaded and unpacked once."""
    if not missing_programs(programs):
        return []
    root = os.path.join(cache, name, "root")
    with alone(cache, name):
        if not all(os.path.exists(root + program) for program in programs):
            unpack(os.path.join(cache, name), root, packages)
    return [root]


def unpack(directory, root, packages):
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    # As root apt would switch to a user who can't write here.
    sandbox = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
    try:
        got = subprocess.run(["apt-get", *sandbox, "download", "-q", *packages], cwd=directory, text=True,
                             capture_output=True, timeout=300)
    except (FileNotFoundError, subprocess.TimeoutExpired) as e:
        raise Missing(f"{' '.join(packages)} can't be downloaded with apt-get: {e}") from None
    if got.returncode != 0:
        raise Missing(f"apt-get download {' '.join(packages)} failed (does apt-get update help?): "
                      f"{got.stderr.strip().splitlines()[-1:]}")
    for file in sorted(os.listdir(directory)):
        if file.endswith(".deb"):
            subprocess.run(["dpkg", "-x", file, root], cwd=directory, check=True, timeout=120)
            os.remove(os.path.join(directory, file))


def npm(cache, name, package, before, program):
    """The directory of an npm package, installed with its dependencies, as of a date, into cache/name
    once. None of their scripts is run."""
    directory = os.path.join(cache, name)
    if os.path.exists(os.path.join(directory, program)):
        return directory
    if not shutil.which("npm"):
        raise Missing(f"{name} needs node and npm, which are not installed")
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    try:
        got = subprocess.run(["npm", "install", "--ignore-scripts", "--omit=dev", "--omit=optional",
                              "--no-audit", "--no-fund", f"--before={before}", "--prefix", directory,
                              package],
                             text=True, capture_output=True, timeout=600, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        raise Missing(f"npm install {package} took over 600 s") from None
    if got.returncode != 0 or not os.path.exists(os.path.join(directory, program)):
        raise Missing(f"npm install {package} failed: {got.stderr.strip().splitlines()[-3:]}")
    return directory
