"""Tests import on every system: what one lacks is met by a skip with its reason, never by an import that fails."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
POSIX_ONLY = ("fcntl", "grp", "pwd", "resource", "termios")
HIDE_MODULES = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden}:
            raise ModuleNotFoundError(f"No module named '{{name}}', which is hidden", name=name)

sys.meta_path.insert(0, Hidden())
for name in {hidden}:
    sys.modules.pop(name, None)
"""


def test_tests_are_collected_without_what_windows_lacks_and_without_a_browser(tmp_path):
    hidden = (*POSIX_ONLY, "selenium")
    (tmp_path / "hide_modules.py").write_text(HIDE_MODULES.format(hidden=hidden))
    command = [sys.executable, "-m", "pytest", "-p", "hide_modules", "--collect-only", "-q", "-p", "no:benchmark"]
    paths = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, "\n".join(re.findall(r"^(?:ERROR|E  ).*", done.stdout, re.M))


@pytest.mark.parametrize("folder", ["src", "benchmarks", "pretraining"])
def test_no_module_needs_posix_to_be_imported(folder):
    needs = re.compile(rf"^(?:import|from) (?:{'|'.join(POSIX_ONLY)})\b", re.M)
    found = [path for path in (REPOSITORY / folder).rglob("*.py") if needs.search(path.read_text(encoding="utf-8"))]
    assert found == []
