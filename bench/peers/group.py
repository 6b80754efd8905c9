"""A control group for the processes of one program: what they used, also those that have ended, and their
end."""
import glob
import os
import subprocess
import tempfile
import threading
import time

from .space import CONTROL_GROUPS

SAMPLE_S = 0.05     # between looks at memory,
SHARE = 0.02        # but of a core's time at most so much: hundreds of processes take a while


PREFIX = os.path.join(CONTROL_GROUPS, "compare-")


def sweep():
    """Removes what a run that was killed left behind: groups without processes."""
    for path in glob.glob(PREFIX + "*"):
        try:
            os.rmdir(path)
        except OSError:
            pass  # another comparison's, at work


class Group:
    def __init__(self, name):
        self.name, self.path = name, tempfile.mkdtemp(prefix=PREFIX + name + "-")
        self.peak_kib = self.processes_peak = 0
        self.over = threading.Event()
        self.sampler = threading.Thread(target=self.sample_on, daemon=True)

    def start(self, command, **kw):
        """Starts a program in the group; memory is watched from the first one on."""
        def enter():
            with open(os.path.join(self.path, "cgroup.procs"), "w", encoding="ascii") as file:
                file.write("0")
        process = subprocess.Popen(command, preexec_fn=enter, stdin=subprocess.DEVNULL,
                                   start_new_session=True, **kw)
        if self.sampler.ident is None:
            self.sampler.start()
        return process

    def processes(self):
        with open(os.path.join(self.path, "cgroup.procs"), encoding="ascii") as file:
            return [line.strip() for line in file]

    def cpu_s(self):
        """User and system time of all its processes up to now."""
        with open(os.path.join(self.path, "cpu.stat"), encoding="ascii") as file:
            fields = dict(line.split() for line in file)
        return int(fields["usage_usec"]) / 1e6

    def sample(self):
        """Anonymous and shared memory, shared pages counted once (PSS)."""
        total, pids = 0, self.processes()
        for pid in pids:
            try:
                with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
                    for line in file:
                        if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                            total += int(line.split()[1])
            except OSError:
                pass  # it has ended
        self.peak_kib = max(self.peak_kib, total)
        self.processes_peak = max(self.processes_peak, len(pids))

    def sample_on(self):
        pause = SAMPLE_S
        while not self.over.wait(pause):
            start = time.thread_time()
            self.sample()
            pause = max(SAMPLE_S, (time.thread_time() - start) / SHARE)

    def end(self):
        """Whatever is left in it is killed; then the group is removed."""
        self.over.set()
        if self.sampler.ident is not None:
            self.sampler.join()
        with open(os.path.join(self.path, "cgroup.kill"), "w", encoding="ascii") as file:
            file.write("1")
        for _ in range(500):
            try:
                os.rmdir(self.path)
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"the processes of {self.name} did not end: {self.processes()}")
