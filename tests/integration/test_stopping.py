"""The daemon stops while everything is asked of it: each call gets its answer, is refused or cut off, and
none of them meets what has ended before it."""
import http.client
import itertools
import threading
import time

from conftest import ONE_DOMAIN, host
from daemon import PATIENCE, job, wait_for

READS = ["/v1/jobs", "/v1/jobs/1", "/v1/jobs/1/recipients?limit=100", "/v1/jobs/1/bounces",
         "/v1/tenants/t/bounces", "/v1/explain?to=1@a.test", "/v1/explain?domain=a.test", "/v1/events?limit=50",
         "/v1/suppressions", "/v1/consumers", "/v1/ops", "/v1/queue?by=site", "/v1/queue/recipients?limit=10",
         "/v1/sites", "/v1/sites/a.test", "/v1/suspensions", "/v1/sources", "/v1/rules",
         "/v1/rules/test?reply=421%20no", "/v1/backup", "/v1/status", "/", "/metrics", "/healthz"]
WRITES = ["/v1/jobs/1/pause", "/v1/jobs/1/resume", "/v1/jobs/1/retry", "/v1/queue/retry?domain=a.test",
          "/v1/sites/a.test/backoff", "/v1/sites/a.test/normal", "/v1/queue/suspend?domain=b.test",
          "/v1/queue/resume?domain=b.test", "/v1/dns/flush", "/v1/reload"]


def test_calls_of_every_kind_until_the_end(scene, tmp_path):
    consumers = "".join(f"  - {{ name: c{n}, file: {tmp_path}/{n} }}\n" for n in range(5))
    s = scene(host(reply_delay_ms=20), ONE_DOMAIN, config=f"consumers:\n{consumers}")
    daemon = s.daemon

    def ask(method, paths, codes):
        for path in itertools.cycle(paths):
            try:
                codes.append((path, daemon.call(method, path).status))
            except (OSError, http.client.HTTPException):
                return
    for _ in range(4):
        assert daemon.submit(job(bounces="none"), [f"{n}@a.test" for n in range(2000)]).status == 202
        calls = [("GET", READS[6 * n:] + READS[:6 * n]) for n in range(4)] + [("POST", WRITES)]
        codes = [[] for _ in calls]
        threads = [threading.Thread(target=ask, args=(*call, codes[n])) for n, call in enumerate(calls)]
        for thread in threads:
            thread.start()
        wait_for(lambda: all(len(told) >= len(call[1]) for told, call in zip(codes, calls)), 60, "answers")
        begun = time.monotonic()
        daemon.stop()
        assert time.monotonic() - begun < 4 * PATIENCE, "nobody waits for a worker that has ended"
        for thread in threads:
            thread.join(20)
        told = {pair for some in codes for pair in some}
        assert {status for _, status in told} <= {200, 202, 404, 409, 503}, told
        assert {path for path, status in told if status in (200, 202)} == {*READS, *WRITES}, told
        daemon.start()
