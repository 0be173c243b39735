"""`.ci/audit` fails for what is known to be vulnerable, and says so where it could not ask."""

import os
import pathlib
import subprocess

import pytest

AUDIT = pathlib.Path(__file__).resolve().parents[1] / ".ci" / "audit"

# In the place of pip-audit: an answer about the release that is known to be vulnerable, and one about the others.
_DOUBLE = """#!/bin/sh
case "$*" in
    *--version) ;;
    *constraints.txt) echo "asked about the dependencies"; exit {others} ;;
    *) echo "{known}"; exit {status} ;;
esac
"""


@pytest.mark.parametrize(
    ("known", "status", "others", "fails", "told"),
    [
        ("requests 2.19.0 PYSEC-2018-28 2.20.0 CVE-2018-18074", 1, 0, False, "asked about the dependencies"),
        ("requests 2.19.0 PYSEC-2018-28 2.20.0 CVE-2018-18074", 1, 1, True, "asked about the dependencies"),
        ("Name or service not known", 1, 1, False, "DID NOT RUN"),
        ("Dependency not found on PyPI: requests (2.19.0)", 0, 0, False, "DID NOT RUN"),
    ],
    ids=["clean", "vulnerable", "offline", "mirror"],
)
def test_what_is_known_fails_and_what_cannot_be_asked_is_said(tmp_path, known, status, others, fails, told):
    double = tmp_path / "bin" / "pip-audit"
    double.parent.mkdir()
    double.write_text(_DOUBLE.format(known=known, status=status, others=others))
    double.chmod(0o755)
    done = subprocess.run([AUDIT], env=os.environ | {"VENV": str(tmp_path)}, capture_output=True, text=True)
    assert bool(done.returncode) == fails and told in done.stdout, done
    assert ("asked about" in done.stdout) != ("DID NOT RUN" in done.stdout)
