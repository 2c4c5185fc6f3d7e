"""Collect pellucid and all that it needs as wheels, for machines without a network: ``python -m deploy.bundle``.

The wheels are for this system, processor and version of Python, in the tested versions of ``constraints.txt``. Beside
them lie ``SHA256SUMS``, which ``sha256sum --check`` reads, and ``README.txt``, which says how to install them.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from pellucid import __version__

ROOT = Path(__file__).parents[1]
SLIM = "slim"  # in place of extras: the runtime that only inspects exported models
SUMS_FILE, README_FILE = "SHA256SUMS", "README.txt"
README = """pellucid {version} for Python {python} on {system} {machine}

Compare what you carried over:

    sha256sum --check {sums}                        (Linux)
    shasum --algorithm 256 --check {sums}           (macOS)
    python -c "import hashlib,pathlib; [print('right' if hashlib.sha256(pathlib.Path(n).read_bytes()).hexdigest() == h \
else 'WRONG', n) for h, n in (line.split() for line in open('{sums}'))]"     (Windows)

Install:

    python -m venv glass
    glass/bin/python -m pip install --no-index --find-links . "{requirement}"      (Windows: glass\\Scripts\\python)
    glass/bin/pellucid {first}
"""


def main() -> None:
    """Collect, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("dist/bundle"), help="folder; emptied first")
    parser.add_argument("--extras", default="serve", help="with commas between; 'slim' for the slim runtime alone")
    arguments = parser.parse_args()
    for line in collect(arguments.output, arguments.extras):
        print(line)


def collect(folder: Path, extras: str = "serve") -> list[str]:
    """Fill a folder with wheels, their checksums and what to do with them.

    Args:
        folder: emptied first, if an earlier bundle lies in it.
        extras: of pellucid, with commas between; empty: none; ``slim``: the slim runtime in place of pellucid.

    Returns:
        What was done, a line each.

    Raises:
        FileExistsError: there are files in the folder, and no bundle made them.
        CalledProcessError: pip cannot get or build a wheel; it has said why.
    """
    _empty(folder)
    if extras == SLIM:
        place, requirement, pinned = ROOT / "slim", "pellucid-runtime", []
    else:
        place, requirement = ROOT, f"pellucid[{extras}]" if extras else "pellucid"
        pinned = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if line[:7] == "torch=="]
    wanted = f"{place}[{extras}]" if extras and extras != SLIM else str(place)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*command, "--constraint", str(ROOT / "constraints.txt"), *pinned, wanted], check=True)
    write_notes(folder, requirement, "doctor" if extras != SLIM else "inspect --help")
    wheels = sorted(folder.glob("*.whl"))
    size = sum(wheel.stat().st_size for wheel in wheels) / 1e6
    return [f"{len(wheels)} wheels, {size:.0f} MB, in {folder}", f"{folder / README_FILE} says how to install them"]


def write_notes(folder: Path, requirement: str, first: str) -> None:
    """Write the checksums of all wheels in a folder, and how to install them.

    Args:
        folder: with the wheels.
        requirement: what is to be installed.
        first: command of pellucid to try first.
    """
    lines = [f"{_sha256(wheel)}  {wheel.name}\n" for wheel in sorted(folder.glob("*.whl"))]
    (folder / SUMS_FILE).write_text("".join(lines), encoding="utf-8", newline="\n")
    system = {"version": __version__, "python": platform.python_version(), "system": platform.system()}
    text = README.format(**system, machine=platform.machine(), sums=SUMS_FILE, requirement=requirement, first=first)
    (folder / README_FILE).write_text(text, encoding="utf-8")


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _empty(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / SUMS_FILE).exists():
            raise FileExistsError(f"'{folder}' is not empty, and no bundle: give another folder with -o.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    main()
