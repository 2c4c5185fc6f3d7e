"""The page about data: its example runs and prints what it says, and its tables name what the code knows."""

from __future__ import annotations

import re
from pathlib import Path

from truth_files import normals, pane

from pellucid.acquisition.annotations import FORMATS
from pellucid.acquisition.folders import read_folder
from pellucid.acquisition.verify import verify

PAGE = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    (code,), (printed,) = (
        re.findall(r"```python\n(.*?)```", PAGE, re.S),
        re.findall(r"```text\n(The .*?)```", PAGE, re.S),
    )
    normals(tmp_path / "parts/normal")
    pane(tmp_path / "parts/abnormal/pane_0412.png", (256, 256))
    (tmp_path / "parts/annotations").mkdir()
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert capsys.readouterr().out == printed
    sample = verify(read_folder(tmp_path / "parts")).samples.samples[-1]
    assert (sample.type, sample.mask) == ("stone", tmp_path / "parts/annotations/instances.json")


def test_the_formats_stand_in_their_order():
    table = PAGE.partition("| format |")[2]
    rows = re.findall(r"^\| ([A-Z]\w+(?: VOC)?)", table, re.M)
    assert tuple(rows) == FORMATS
