"""What puts pellucid onto machines: one version, wheels, the bundle, the containers' files and the unit of systemd."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import pellucid
from deploy import bundle
from pellucid.service.settings import Settings, read_settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def test_the_version_stands_in_one_place():
    for project in (ROOT / "pyproject.toml", ROOT / "slim" / "pyproject.toml"):
        told = tomllib.loads(project.read_text("utf-8"))
        assert "version" not in told["project"]
        assert told["project"]["dynamic"] == ["version"]
        source = (project.parent / told["tool"]["hatch"]["version"]["path"]).resolve()
        assert source == ROOT / "src/pellucid/__init__.py"
    assert f'__version__ = "{pellucid.__version__}"' in source.read_text("utf-8")
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))["version"] == pellucid.__version__
    assert f"## {pellucid.__version__}" in (ROOT / "CHANGELOG.md").read_text("utf-8")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Both wheels and the source distribution, built without a network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(folder), ".", "./slim"], cwd=ROOT, check=True)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder)], cwd=ROOT, check=True)
    return folder


def test_wheels_hold_all_that_the_package_has(built):
    sources = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*") if path.is_file()}
    sources = {name for name in sources if "__pycache__" not in name}
    for name in ("pellucid", "pellucid_runtime"):
        (wheel,) = built.glob(f"{name}-{pellucid.__version__}-*.whl")
        inside = set(zipfile.ZipFile(wheel).namelist())
        assert sources - inside == set(), name
        assert any(file.endswith("LICENSE") for file in inside)
        entry_points = next(file for file in inside if file.endswith("entry_points.txt"))
        assert "pellucid = pellucid.cli:main" in zipfile.ZipFile(wheel).read(entry_points).decode()


def test_the_source_distribution_builds_the_same_wheel(built, tmp_path):
    (source,) = built.glob("*.tar.gz")
    shutil.unpack_archive(source, tmp_path, filter="data")
    (unpacked,) = tmp_path.glob("pellucid-*")
    for needed in (
        "tests/conftest.py",
        "docs/tutorial.md",
        "mkdocs.yml",
        "Makefile",
        "constraints.txt",
        "slim/pyproject.toml",
    ):
        assert (unpacked / needed).exists(), needed
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(unpacked)], check=True)
    (again,), (first,) = tmp_path.glob("*.whl"), built.glob("pellucid-*.whl")
    assert set(zipfile.ZipFile(again).namelist()) == set(zipfile.ZipFile(first).namelist())


def test_checksums_are_those_of_the_wheels(tmp_path):
    for name in ("b-1.whl", "a-1.whl"):
        (tmp_path / name).write_bytes(name.encode())
    bundle.write_notes(tmp_path, "pellucid[serve]", "doctor")
    lines = (tmp_path / "SHA256SUMS").read_text("utf-8").splitlines()
    assert lines == [f"{hashlib.sha256(name.encode()).hexdigest()}  {name}" for name in ("a-1.whl", "b-1.whl")]
    told = (tmp_path / "README.txt").read_text("utf-8")
    assert 'pip install --no-index --find-links . "pellucid[serve]"' in told
    windows = re.search(r'python -c "(.*)"', told)
    (tmp_path / "b-1.whl").write_bytes(b"damaged")
    done = subprocess.run([sys.executable, "-c", windows[1]], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["right a-1.whl", "WRONG b-1.whl"]


def test_what_is_no_bundle_is_not_emptied(tmp_path):
    (tmp_path / "photos.zip").touch()
    with pytest.raises(FileExistsError, match="is not empty, and no bundle"):
        bundle.collect(tmp_path)
    assert (tmp_path / "photos.zip").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("extras", "requirement"), [("slim", "pellucid-runtime"), ("serve", "pellucid[serve]")])
def test_a_bundle_installs_without_any_index_and_works(extras, requirement, tmp_path, glass):
    """In an environment of its own, with no index, no configuration of pip, and no way to this checkout."""
    bundle.collect(tmp_path / "bundle", extras)
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "fresh")], check=True)
    binaries = tmp_path / "fresh" / ("Scripts" if os.name == "nt" else "bin")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    environment |= {
        "PIP_CONFIG_FILE": os.devnull,
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
    }

    def run(*command: str) -> str:
        done = subprocess.run(
            [str(binaries / command[0]), *command[1:]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("python", "-m", "pip", "install", "--quiet", "--no-index", "--find-links", "bundle", requirement)
    assert run("pellucid", "--version") == f"pellucid {pellucid.__version__}\n"
    assert json.loads(run("pellucid", "doctor", "--json"))["healthy"]
    if extras == "serve":
        run("pellucid", "fit", str(glass), "-o", "glass.pellucid", "--image-size", "64")
        run("pellucid", "export", "glass.pellucid", "-o", "exported")
        assert "verdict" in run("pellucid", "inspect", "exported", str(glass / "normal_test"), "--json")


def dockerfile() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, each with its arguments on one line."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Dockerfile").read_text("utf-8"), flags=re.M).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def test_the_container_runs_commands_that_are_tested():
    instructions = dockerfile()
    command = json.loads(next(value for name, value in instructions if name == "CMD"))
    assert command[:2] == ["pellucid", "serve"]
    values = dict(word.split("=", 1) for name, value in instructions if name == "ENV" for word in value.split())
    fields = {name.removeprefix("PELLUCID_").lower() for name in values if name.startswith("PELLUCID_")}
    assert fields <= Settings.model_fields.keys()
    for option in command[2::2]:
        assert option.removeprefix("--").replace("-", "_") in Settings.model_fields
    copied = [value.split()[:-1] for name, value in instructions if name == "COPY" and "--from" not in value]
    assert all((ROOT / place).exists() for places in copied for place in places)
    installs = " ".join(value for name, value in instructions if name == "RUN")
    torch = next(line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if line[:7] == "torch==")
    assert torch in installs
    assert next(value for name, value in instructions if name == "USER") == "pellucid"
    probe = json.loads(next(value for name, value in instructions if name == "HEALTHCHECK").partition("CMD ")[2])
    compile(probe[2], "healthcheck", "exec")


def test_the_compose_file_fits_the_container():
    told = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
    service, database = told["services"]["pellucid"], told["services"]["database"]
    fields = {name.removeprefix("PELLUCID_").lower() for name in service["environment"]}
    assert fields <= Settings.model_fields.keys()
    url = service["environment"]["PELLUCID_DATABASE"].replace("${POSTGRES_PASSWORD:?set it in deploy/.env}", "secret")
    assert read_settings({"database": url}).database_url() == "postgresql://pellucid:secret@database/pellucid"
    user, name = database["environment"]["POSTGRES_USER"], database["environment"]["POSTGRES_DB"]
    assert f"://{user}:" in url
    assert url.endswith(f"@database/{name}")
    used = {volume.split(":")[0] for one in (service, database) for volume in one["volumes"]}
    assert used == told["volumes"].keys()
    in_container = {volume.split(":")[1] for volume in service["volumes"]}
    declared = json.loads(next(value for name, value in dockerfile() if name == "VOLUME"))
    assert set(declared) <= in_container
    assert service["ports"] == ["127.0.0.1:8000:8000"]
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()
    compose = [shutil.which("docker") or "docker", "compose", "-f", "deploy/compose.yaml", "config", "--quiet"]
    if subprocess.run([*compose[:2], "version"], capture_output=True, check=False).returncode == 0:
        environment = {**os.environ, "POSTGRES_PASSWORD": "secret"}
        done = subprocess.run(compose, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_the_settings_of_the_unit_are_settings(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert read_settings(config=DEPLOY / "serve.toml").port == 8000
    text = (DEPLOY / "serve.toml").read_text("utf-8")
    commented = re.findall(r"^# (\w+) = ", text, re.M)
    assert commented
    assert set(commented) <= Settings.model_fields.keys()


def test_systemd_understands_the_unit(tmp_path):
    text = (DEPLOY / "pellucid.service").read_text("utf-8")
    command = re.search(r"^ExecStart=(.*)$", text, re.M)[1].split()
    assert command[1:] == ["serve", "--config", "/etc/pellucid/serve.toml"]
    stop = float(re.search(r"^TimeoutStopSec=(\d+)$", text, re.M)[1])
    assert stop > Settings.model_fields["timeout"].default + 50  # as app.py gives up by itself
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd is not installed")
    unit = tmp_path / "pellucid.service"
    unit.write_text(text.replace(command[0], sys.executable), encoding="utf-8")
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pellucid.service" not in done.stderr, done.stderr
