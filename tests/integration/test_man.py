"""The man pages: made from the tables, and right for a formatter that this project did not write."""
import os
import re
import subprocess

import pytest

from daemon import BUILD, ROOT

PAGES = sorted(os.listdir(os.path.join(ROOT, "deploy/man")))


def run(*command, stdin=None):
    return subprocess.run(command, stdin=stdin, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("name", PAGES)
def test_page(name, tmp_path):
    with open(os.path.join(ROOT, "deploy/man", name)) as f:
        made = run(os.path.join(BUILD, "postrider"), "roff", stdin=f)
    assert made.returncode == 0 and not re.search("^@", made.stdout, re.M), made
    (tmp_path / name).write_text(made.stdout)
    lint = run("mandoc", "-T", "lint", "-W", "warning", str(tmp_path / name))
    assert lint.returncode == 0 and lint.stdout == "", lint.stdout
    text = run("mandoc", "-T", "ascii", str(tmp_path / name)).stdout
    plain = "".join(c for i, c in enumerate(text) if c != "\b" and text[i + 1:i + 2] != "\b")
    for word in {"postrider.1": ["submit FILE|-", "--idempotency-key KEY", "EXIT STATUS"],
                 "postrider.yaml.5": ["max_recipients_per_transaction", "From 1 to 1000.", "Default: 100."],
                 "postrider-api.7": ["HANDING IN JOBS", "Idempotency-Key", "GET /v1/explain"],
                 "postrider-sendmail.1": ["POSTRIDER_SMTP", "75:"],
                 "postriderd.8": ["stop_timeout", "X-Postrider-Campaign"]}[name]:
        assert word in plain
    assert "roff" not in plain
