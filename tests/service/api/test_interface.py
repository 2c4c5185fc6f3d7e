"""The whole interface against its own description."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("examples", [4, pytest.param(30, marks=pytest.mark.slow)])
def test_schemathesis_accepts_the_interface(service, examples):
    program = shutil.which("schemathesis", path=str(Path(sys.executable).parent))
    assert program, "schemathesis belongs to the extra [dev]"
    config = service.folder / "schemathesis.toml"
    config.write_text(  # no schema says that bytes are an image, or runs fit a drawing: what does not may be refused
        '[[operations]]\ninclude-path = "/inspect"\n'
        'checks.positive_data_acceptance.expected-statuses = ["2xx", 404, 413, 415, 422, 429]\n'
        '[[operations]]\ninclude-path = "/models/{name}/limit"\n'
        'checks.positive_data_acceptance.expected-statuses = ["2xx", 404, 409, 422]\n'
        '[[operations]]\ninclude-path = "/models/{name}/zones"\n'
        'checks.positive_data_acceptance.expected-statuses = ["2xx", 404, 409, 422]\n'
    )
    command = [program, "--config-file", str(config), "run", f"{service.url}/openapi.json"]
    command += ["--max-examples", str(examples), "--seed", "1", "--no-color"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=service.folder)
    assert done.returncode == 0, done.stdout[-6000:]
