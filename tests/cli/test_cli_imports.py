"""What is imported, and what is public."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"torch", "numpy", "cv2", "scipy", "sklearn", "matplotlib", "openvino"}


def test_public_names():
    import pellucid as package

    assert package.__all__ == sorted(package.__all__)
    assert all(getattr(package, name) is not None for name in package.__all__)
    assert dir(package) == package.__all__
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = package.nonsense


def test_help_and_detectors_run_without_torch():
    code = "import sys; from pellucid.cli import app; from typer.testing import CliRunner as R;"
    code += "assert R().invoke(app, ['--help']).exit_code == 0; assert R().invoke(app, ['detectors']).exit_code == 0;"
    code += "assert R().invoke(app, ['backbones']).exit_code == 0; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def in_a_fresh_process(code: str) -> set[str]:
    """Run code and return what it has imported."""
    command = f"import sys\n{code}\nprint('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("MODULES")[2].split())


def test_importing_the_package_imports_next_to_nothing():
    before = in_a_fresh_process("")
    imported = in_a_fresh_process("import pellucid; dir(pellucid); pellucid") - before
    assert {name.partition(".")[0] for name in imported} - sys.stdlib_module_names == {"pellucid"}
    assert {name for name in imported if name.startswith("pellucid")} == {"pellucid"}


@pytest.mark.parametrize("arguments", [["--help"], ["fit", "--help"], ["--version"], ["detectors"], ["backbones"]])
def test_what_needs_no_image_imports_nothing_heavy(arguments):
    run = f"from pellucid.cli import app; app({arguments!r}, standalone_mode=False)"
    assert not in_a_fresh_process(run) & HEAVY


def test_the_command_line_imports_tables_only_to_print_them():
    imported = in_a_fresh_process("import pellucid.cli")
    assert not imported & (HEAVY | {"rich.table", "rich.progress", "rich.markdown"})
    assert not imported & {"pellucid.detectors", "pellucid.backbones", "pellucid.service", "pellucid.study"}


def test_submodules_are_attributes_without_being_imported():
    code = """
import pellucid
assert "patchcore" in pellucid.detectors.names()
assert "prism_s" in pellucid.backbones.names()
assert issubclass(pellucid.errors.DataError, pellucid.PellucidError)
assert pellucid.__version__.count(".") == 2
"""
    assert not in_a_fresh_process(code) & HEAVY
