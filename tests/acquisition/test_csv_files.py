"""CSV files as spreadsheets of every country and system write them."""

from __future__ import annotations

import re

import pytest
from odd_images import GREY, pillow

import pellucid
from pellucid.errors import DataError

ROWS = "path,label,split,type,mask,group\na.png,normal,train,,,g1\nsub/b.png,abnormal,test,chip,sub/m.png,\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "sub/b.png", "sub/m.png", "ü.png"):
        (tmp_path / name).write_bytes(pillow(GREY, "PNG"))
    return tmp_path


def _read(folder, content, name="d.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return pellucid.read_folder(path)


AS_WRITTEN = {
    "commas": ROWS,
    "semicolons": ROWS.replace(",", ";"),
    "tabs": ROWS.replace(",", "\t"),
    "Excel's hint": "sep=;\r\n" + ROWS.replace(",", ";"),
    "UTF-8 with a mark": b"\xef\xbb\xbf" + ROWS.encode(),
    "UTF-16": ROWS.replace(",", "\t").encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + ROWS.encode("utf-16-be"),
    "carriage returns": ROWS.replace("\n", "\r\n"),
    "old carriage returns": ROWS.replace("\n", "\r"),
    "quotes": "\n".join(",".join(f'"{cell}"' for cell in row.split(",")) for row in ROWS.splitlines()),
    "spaces": ROWS.replace(",", " , "),
    "upper case": ROWS.replace("path,label,split", "Path,LABEL,Split")
    .replace("train", "Train")
    .replace("test", "TEST"),
    "empty rows": ROWS.replace("\n", "\n\n,,,,,\n  \n"),
    "backslashes": ROWS.replace("sub/", "sub\\"),
    "backslashes from here": ROWS.replace("sub/", ".\\sub\\"),
}


@pytest.mark.parametrize("kind", AS_WRITTEN)
def test_a_spreadsheets_file_is_read(folder, kind):
    data = _read(folder, AS_WRITTEN[kind])
    (good, bad) = data.samples
    assert (good.path.name, good.label, good.split, good.group) == ("a.png", "normal", "train", "g1")
    assert (bad.path.resolve(), bad.label, bad.split, bad.type) == (
        (folder / "sub/b.png").resolve(),
        "abnormal",
        "test",
        "chip",
    )
    assert bad.mask is not None
    assert bad.mask.is_file()
    assert data.notes == ()


def test_a_tsv_is_a_csv(folder):
    assert len(_read(folder, ROWS.replace(",", "\t"), "d.tsv").samples) == 2


def test_absolute_paths(folder):
    assert _read(folder, f"path,label\n{folder / 'a.png'},normal\n").samples[0].path == folder / "a.png"


@pytest.mark.parametrize("name", ["ü.png", "u\u0308.png"])
def test_accents_in_either_form(folder, name):
    assert _read(folder, f"path,label\n{name},normal\n").samples[0].path.is_file()


def test_windows_1252_is_read_with_a_note(folder):
    data = _read(folder, "path;label\nü.png;normal\n".encode("cp1252"))
    assert data.samples[0].path == folder / "ü.png"
    assert "'d.csv' is not UTF-8 and was read as Windows-1252: look at names with accents." in data.notes


LABELS = {
    **dict.fromkeys(("Normal", "good", "OK", "ok", "NORMAL"), "normal"),
    **dict.fromkeys(("Abnormal", "bad", "NG", "Defect", "defective", "anomaly"), "abnormal"),
}


@pytest.mark.parametrize(("word", "label"), LABELS.items())
def test_words_for_labels(folder, word, label):
    data = _read(folder, f"path,label\na.png,normal\nsub/b.png,{word}\n")
    assert data.samples[1].label == label
    assert f"Labels were read as follows: {word} as {label}." in data.notes


@pytest.mark.parametrize("word", ["0", "1", "true", "pass", "crack", "", "x"])
def test_words_that_could_mean_either_are_refused(folder, word):
    with pytest.raises(
        DataError, match=f"line 2: label is '{word}'; allowed are normal, good, ok for normal, and abnormal"
    ):
        _read(folder, f"path,label\na.png,{word}\n")


@pytest.mark.parametrize("again", ["a.png", "./a.png", "sub/../a.png", ".\\a.png"])
def test_an_exact_duplicate_is_noted(folder, again):
    data = _read(folder, f"path,label\na.png,normal\nsub/b.png,normal\n{again},normal\n")
    assert len(data.samples) == 2
    assert "1 rows repeat an earlier one and are left out: line 4 = line 2." in data.notes


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.png,abnormal,train", "lines 2 and 3: 'a.png' has the label normal and the label abnormal; leave one row"),
        ("sub\\..\\a.png,bad,train", "lines 2 and 3: 'a.png' has the label"),
        ("a.png,normal,test", "lines 2 and 3: 'a.png' has the split train and the split test"),
        ("./a.png,normal,", "lines 2 and 3: 'a.png' has the split train and the split nothing"),
    ],
)
def test_rows_that_contradict_are_an_error(folder, row, message):
    with pytest.raises(DataError, match=re.escape(message)):
        _read(folder, f"path,label,split\na.png,normal,train\n{row}\n")


def test_rows_that_differ_in_the_rest_are_noted(folder):
    data = _read(folder, "path,label,type\na.png,normal,\nsub/b.png,bad,chip\nsub/b.png,bad,dust\n")
    assert [sample.type for sample in data.samples] == [None, "chip"]
    assert any(note.startswith("1 rows repeat the path of an earlier one with another type") for note in data.notes)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04" + bytes(30), "is a spreadsheet, not a CSV file: save it as CSV"),
        (bytes(30), "is not a CSV file: it holds null bytes"),
        (b"path,label\n\x81\x8d.png,normal\n", "is not a CSV file in UTF-8"),
        (b"path,label,path\na.png,normal,b.png\n", "has the column path more than once"),
        (b"path,label\na,b.png,normal\n", "line 2: there are 3 cells under 2 columns; a path that holds the delimiter"),
        (b"path,label\n,normal\n", "line 2: there is no path"),
        (b"", "lacks the column path; it has: none"),
        (b"\n\n", "lacks the column path; it has: none"),
        (b"path\na.png\n", "lacks the column label; it has: path"),
        (b"path,label\nsub,normal\n", "names 1 files that do not exist: sub"),
        (b'path,label\n"a.png,normal\n', "line 2: label is ''|line 3: label is ''"),
    ],
)
def test_mistakes_are_one_sentence(folder, content, message):
    with pytest.raises(DataError, match=message) as error:
        _read(folder, content)
    assert "\n" not in str(error.value)


def test_a_column_that_is_not_known_is_told(folder):
    assert (
        "Columns that are not known are ignored: camera, operator."
        in _read(folder, "camera,path,label,operator\n1,a.png,ok,x\n").notes
    )


def test_a_folder_named_like_a_csv_is_a_folder(tmp_path):
    (tmp_path / "d.csv/normal").mkdir(parents=True)
    (tmp_path / "d.csv/normal/a.png").write_bytes(pillow(GREY, "PNG"))
    assert pellucid.read_folder(tmp_path / "d.csv").layout == "plain"
