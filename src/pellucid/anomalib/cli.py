"""Anomalib's command line, and a way to run its scripts: ``python -m pellucid.anomalib``.

::

    python -m pellucid.anomalib train --model Patchcore --data Folder --data.name glass --data.normal_dir good
    python -m pellucid.anomalib predict --config run.yaml --data new_images --ckpt_path results/.../model.ckpt
    python -m pellucid.anomalib script.py --its arguments
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pellucid._io.names import printable
from pellucid.errors import ParameterError, PellucidError, unknown_name

COMMANDS = ("fit", "validate", "test", "train", "predict", "export")
ELSEWHERE = {
    "install": "Nothing is left to install for pellucid.anomalib: `pip install 'pellucid[onnx,tensorboard]'` brings"
    " what exports and logs.",
    "benchmark": "Models are compared by `pellucid compare DATA`, with times, memory and the one to take.",
}
SCRIPTS = (".py", ".ipynb")
USAGE = f"""Run a command of anomalib's, or a script written for it, on pellucid.

  python -m pellucid.anomalib {"|".join(COMMANDS)} [--config FILE.yaml] [--model NAME] [--data NAME] [--NAME VALUE]...
  python -m pellucid.anomalib SCRIPT.py|NOTEBOOK.ipynb [ARGUMENT]...

--config FILE.yaml   a configuration; may be given several times, the last goes first
--model NAME         the model, as Patchcore; its arguments are --model.NAME VALUE
--data NAME          the data module, as Folder, or for predict a path; its arguments are --data.NAME VALUE
--trainer.NAME VALUE an argument of the engine, as --trainer.max_epochs 10
--ckpt_path FILE     the model to test, predict with or export
--export_type TYPE   torch, onnx or openvino
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command or a script.

    Args:
        arguments: of the command line; those of this process by default.

    Returns:
        0 when all went well, 1 after a user's error, which is said in one sentence, 2 for a wrong call.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0 if given else 2
    first, *rest = given
    try:
        if first in ELSEWHERE:
            raise ParameterError(ELSEWHERE[first])
        if first in COMMANDS:
            run_command(first, rest)
        elif first.endswith(SCRIPTS):
            from pellucid.anomalib.scripts import run_script

            run_script(Path(first), rest)
        else:
            raise unknown_name("command", first, (*COMMANDS, *ELSEWHERE, "SCRIPT.py"))
    except PellucidError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        return 1
    return 0


def run_command(command: str, arguments: Sequence[str]) -> Any:
    """Run one of :data:`COMMANDS`.

    Args:
        command: its name.
        arguments: of it.

    Returns:
        What the engine's method of that name returns.

    Raises:
        PellucidError: with one sentence that says what to do.
    """
    from pellucid.anomalib.configuration import read_configuration
    from pellucid.anomalib.engine import Engine

    paths, options = parse(arguments)
    asked = read_configuration(paths, options)
    engine, model = Engine(**asked.engine), asked.model()
    more = {"ckpt_path": asked.entries["ckpt_path"]} if asked.entries.get("ckpt_path") else {}
    if command == "export":
        names = ("export_type", "export_root", "input_size", "compression_type", "onnx_kwargs", "ov_args", "ov_kwargs")
        more |= {name: asked.entries[name] for name in names if asked.entries.get(name) is not None}
        if "data" in asked.entries:
            more["datamodule"] = asked.datamodule()
        path = engine.export(model=model, **more)
        print(f"written: {path}")
        return path
    source = asked.datamodule()
    if command == "predict":
        found = engine.predict(model=model, dataloaders=source, **more)
        for one in (item for batch in found or () for item in batch):
            print(f"{one.image_path}\t{float(one.pred_score):.6g}\t{'reject' if one.pred_label else 'ok'}")
        return found
    run = getattr(engine, command)
    return run(model, source, **more)


def parse(arguments: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
    """Part a command line into configuration files and options by their dotted names.

    Args:
        arguments: ``--name value``, ``--name=value``, or ``--name`` alone, which is true. Values are YAML.

    Raises:
        ParameterError: an argument is none of these.
    """
    import yaml

    paths: list[str] = []
    options: dict[str, Any] = {}
    waiting = list(arguments)
    while waiting:
        name, equals, value = waiting.pop(0).partition("=")
        if not name.startswith("--") or len(name) < 3:
            raise ParameterError(f"'{name}' is not understood: options are --name value, as in --model Patchcore.")
        if not equals:
            value = "true" if not waiting or waiting[0].startswith("--") else waiting.pop(0)
        if name in ("--config", "-c"):
            paths.append(value)
            continue
        try:
            options[name[2:]] = yaml.safe_load(value)
        except yaml.YAMLError:
            options[name[2:]] = value
    return paths, options
