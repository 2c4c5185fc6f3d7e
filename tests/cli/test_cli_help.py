"""Help texts, the page of documentation made from them, and renamed commands."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.main import get_group
from typer.testing import CliRunner

import pellucid
from pellucid import cli
from pellucid.cli._renamed import RENAMED_COMMANDS, RENAMED_OPTIONS, with_new_names
from pellucid.cli.reference import reference

COMMANDS = get_group(cli.app).commands


def parameters_of(name):
    command = COMMANDS[name]
    return [known for known in command.get_params(typer.Context(command)) if known.name != "help"]


def test_the_table_of_backbones_names_the_extra_to_install():
    shown = CliRunner().invoke(cli.app, ["backbones"], env={"COLUMNS": "200"}).output
    assert shown.index("prism_s") < shown.index("prism_m")
    assert "extra [vit]" in shown


def test_the_commands_come_in_the_order_of_the_way_of_an_image():
    shown = CliRunner().invoke(cli.app, ["--help"], env={"COLUMNS": "100"}).output
    panels = (cli.START, cli.CHOOSE, cli.LEARN, cli.INSPECT, cli.TEST, cli.SERVE)
    places = [shown.index(f"─ {panel} ─") for panel in panels]
    assert places == sorted(places)
    headings = [line.removeprefix("### pellucid ") for line in reference().splitlines() if line.startswith("### ")]
    assert headings == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_explains_itself(name):
    for parameter in parameters_of(name):
        assert parameter.help, parameter.name
        assert parameter.help[0].isupper(), parameter.help
        assert parameter.help.endswith("."), parameter.help
        optional = parameter.param_type_name == "option" and not parameter.required and not parameter.is_flag
        shown = parameter.default is not None or isinstance(parameter.show_default, str)
        if optional and not shown:  # what is not shown as a default is said
            assert "by default" in parameter.help, parameter.help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_reads_and_writes_with_an_example_and_its_exit_codes(name):
    shown = " ".join(CliRunner().invoke(cli.app, [name, "--help"], env={"COLUMNS": "100"}).output.split())
    for part in ("Reads ", "rites ", f" pellucid {name}", "Exit codes: 0 done; 1 an error"):
        assert part in shown
    assert ("3 an image was rejected" in shown) == (name == "inspect")


def test_the_page_of_documentation_is_current(monkeypatch):
    page = Path(__file__).parents[2] / "docs/cli.md"
    for width in ("40", "300"):
        monkeypatch.setenv("COLUMNS", width)
        assert page.read_text("utf-8") == reference(), "python -m pellucid.cli.reference > docs/cli.md"


def test_version():
    assert CliRunner().invoke(cli.app, ["--version"]).output == f"pellucid {pellucid.__version__}\n"


def test_old_names_work_with_one_note_each(capsys):
    old = ["study", "power", "m.pellucid", "DATA", "--each=3", "--seed", "1"]
    assert with_new_names(old) == ["detectability", "m.pellucid", "DATA", "--flaws-per-cell=3", "--seed", "1"]
    notes = " ".join(capsys.readouterr().err.split())
    assert notes.count("note:") == 2
    assert "'pellucid study power' is called 'pellucid detectability' now" in notes
    assert "'--each' is called '--flaws-per-cell' now" in notes


def test_what_is_not_renamed_stays_as_it_is(capsys):
    for arguments in ([], ["fit", "--each", "3"], ["detectability", "m", "d", "--", "--each"], ["study"]):
        assert with_new_names(arguments) == arguments
    assert capsys.readouterr().err == ""


def test_renamed_names_lead_to_names_that_exist():
    assert set(RENAMED_COMMANDS.values()) <= set(COMMANDS)
    for command, options in RENAMED_OPTIONS.items():
        known = {name for parameter in parameters_of(command) for name in parameter.opts}
        assert set(options.values()) <= known
        assert not set(options) & known
