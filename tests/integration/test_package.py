"""`make deb`: a package whose programs run, with its manual pages and a configuration that checks."""
import os
import subprocess

import pytest

from daemon import BUILD


def said_by(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.skipif(os.path.basename(BUILD) != "build", reason="packages are made of the plain build")
def test_a_package_is_made_and_its_programs_run(tmp_path):
    made = subprocess.run(["make", "deb"], capture_output=True, text=True, timeout=500)
    assert made.returncode == 0, made.stdout + made.stderr
    package = made.stdout.split("made ")[1].split(";")[0]
    depends = said_by("dpkg-deb", "-f", package, "Depends")
    for library in ("liburing2", "liblmdb0", "libssl3", "libc-ares2"):
        assert library in depends
    said_by("dpkg-deb", "-x", package, tmp_path)
    for page in ("postrider.1", "postrider.yaml.5", "postrider-api.7", "postriderd.8"):
        assert (tmp_path / f"usr/share/man/man{page[-1]}/{page}.gz").stat().st_size > 500
    assert said_by(tmp_path / "usr/bin/postrider", "version").split()[-1] == package.split("_")[1]
    said_by(tmp_path / "usr/bin/postrider", "config", "check", tmp_path / "etc/postrider/postrider.yaml")
