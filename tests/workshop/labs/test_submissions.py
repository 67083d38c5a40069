"""What comes back from an LMS: whose it is, which file counts, and what is said about what is no notebook."""

import io
import json
import os
import stat
import zipfile
from datetime import datetime
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from minidiff.workshop.labs import submissions
from minidiff.workshop.labs.submissions import collected, who_sent
from minidiff.workshop.workers import Refused

NOTEBOOK = nbformat.writes(new_notebook(cells=[new_code_cell("x = 1")]))
MOODLE = "Ada Lovelace_1815_assignsubmission_file_"


def packed(path: Path, files: dict[str, str | bytes], when: dict[str, tuple] | None = None) -> Path:
    """A zip with these files. when: the time of a file, if it is another one."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, (when or {}).get(name, (2026, 11, 1, 12, 0, 0)))
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


@pytest.mark.parametrize(
    ("file", "name", "number", "lms", "late"),
    [
        (f"{MOODLE}/lab05.ipynb", "Ada Lovelace", "1815", "moodle", False),
        ("Ada Lovelace_1815_assignsubmission_file/lab05.ipynb", "Ada Lovelace", "1815", "moodle", False),
        ("Jürgen Groß_7_assignsubmission_file_/mein lab (2).ipynb", "Jürgen Groß", "7", "moodle", False),
        ("Ada_Maria Lovelace_1815_assignsubmission_file_/a.ipynb", "Ada_Maria Lovelace", "1815", "moodle", False),
        ("Ada Lovelace_1815_assignsubmission_file_lab05.ipynb", "Ada Lovelace", "1815", "moodle", False),
        ("lovelaceada_1815_99_lab05.ipynb", "lovelaceada", "1815", "canvas", False),
        ("lovelaceada_LATE_1815_99_lab05-1.ipynb", "lovelaceada", "1815", "canvas", True),
        ("李 小龍_12_assignsubmission_file_/lab05.ipynb", "李 小龍", "12", "moodle", False),
        ("Ada Lovelace/lab05.ipynb", "Ada Lovelace", "", "", False),
        ("ada.ipynb", "ada", "", "", False),
        ("ada (2).ipynb", "ada", "", "", False),
    ],
)
def test_whose_a_file_is(file, name, number, lms, late):
    who, said_late = who_sent(file)
    assert (who.name, who.number, who.lms, said_late) == (name, number, lms, late)
    assert who.id.isascii() and all(c.isalnum() or c == "-" for c in who.id) and who.id == who.id.lower()


def test_students_do_not_share_an_id():
    names = ["Jürgen Groß", "Jurgen Gross", "Jürgen  Groß!", "李 小龍", "王 小明", "müller", "mueller", "a b", "a-b"]
    ids = [who_sent(f"{name}/lab05.ipynb")[0].id for name in names]
    assert len(set(ids)) == len(ids)
    twins = [who_sent(f"Ada Lovelace_{number}_assignsubmission_file_/lab05.ipynb")[0].id for number in (1, 2)]
    assert twins[0] != twins[1]


def test_the_last_of_two_is_marked_and_it_is_said(tmp_path):
    older = nbformat.writes(new_notebook(cells=[new_code_cell("older")]))
    newer = nbformat.writes(new_notebook(cells=[new_code_cell("newer")]))
    for first, second, when in [
        ("lab05.ipynb", "final.ipynb", {f"{MOODLE}/lab05.ipynb": (2026, 11, 1, 10, 0, 0)}),
        ("lab05.ipynb", "lab05-1.ipynb", {}),
        ("lab05.ipynb", "lab05 (2).ipynb", {}),
    ]:
        files = {f"{MOODLE}/{second}": newer, f"{MOODLE}/{first}": older}
        (one,), troubles = collected(packed(tmp_path / "a.zip", files, when))
        assert one.notebook.cells[0].source == "newer" and troubles == []
        assert one.notes == (f"handed in 2 files; {second} is the last, and was marked",)


def test_a_notebook_counts_beside_a_file_that_is_none(tmp_path):
    files = {f"{MOODLE}/lab05.html": "<!doctype html>", f"{MOODLE}/lab05.ipynb": NOTEBOOK}
    found, troubles = collected(packed(tmp_path / "a.zip", files))
    assert len(found) == 1 and troubles == []


def link() -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(f"{MOODLE}/lab05.ipynb")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("lab05.html", "<!DOCTYPE html><html>", "it is a web page"),
        ("lab05.ipynb", "  <html lang='en'>", "it is a web page"),
        ("lab05.pdf", b"%PDF-1.7", "it is a PDF"),
        ("lab05.ipynb", "", "it is empty"),
        ("lab05.ipynb", "print(1)", "it is no notebook: a notebook is a file of JSON"),
        ("lab05.ipynb", "[1, 2]", "it has no cells"),
        ("lab05.ipynb", '{"cells": []}', "a notebook without cells"),
        ("lab05.ipynb", '{"cells": [1, "a"]}', "a notebook without cells"),
        ("lab05.ipynb", "[" * 100_000, "it is no notebook"),
        ("lab05.ipynb", b"\xff\xfe\x00\x01", "it is no notebook"),
        ("lab05.zip", b"PK nonsense", "a zip that cannot be opened"),
        ("lab05.ipynb", b"0" * (50 << 20), "it has 50 MB, and a notebook may have 20"),
    ],
)
def test_what_is_no_notebook_is_told_by_what_it_is(name, content, said, tmp_path):
    found, (trouble,) = collected(packed(tmp_path / "a.zip", {f"{MOODLE}/{name}": content}))
    assert found == [] and said in trouble.text and trouble.who.name == "Ada Lovelace"


def test_a_link_is_not_followed(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link(), "/etc/passwd")
    assert "it is a link" in collected(tmp_path / "a.zip")[1][0].text


@pytest.mark.parametrize("name", ["../../evil.ipynb", "/etc/evil.ipynb", "a/../../evil.ipynb", "C:\\evil.ipynb"])
def test_a_path_that_climbs_out_is_not_read(name, tmp_path):
    found, (trouble,) = collected(packed(tmp_path / "a.zip", {name: NOTEBOOK}))
    assert found == [] and "climbs out" in trouble.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    """One that says how large it is, and one that lies about it."""
    monkeypatch.setattr(submissions, "LARGEST", 1 << 20)
    path = packed(tmp_path / "a.zip", {f"{MOODLE}/lab05.ipynb": b"0" * (8 << 20)})
    assert path.stat().st_size < 20_000 and "it has 8 MB" in collected(path)[1][0].text
    data = bytearray(path.read_bytes())
    honest = (8 << 20).to_bytes(4, "little")
    for place in range(len(data) - 3):
        if data[place : place + 4] == honest:
            data[place : place + 4] = (1000).to_bytes(4, "little")
    path.write_bytes(data)
    assert any(said in collected(path)[1][0].text for said in ("larger than it says", "damaged", "JSON"))
    many = packed(tmp_path / "b.zip", {f"{n}.txt": b"" for n in range(50)})
    monkeypatch.setattr(submissions, "MOST_FILES", 49)
    with pytest.raises(Refused, match="no set of submissions"):
        collected(many)


def test_a_zip_within_the_zip_is_read_once(tmp_path):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("work/lab05.ipynb", NOTEBOOK)
        archive.writestr("deeper.zip", b"PK")
    (one,), troubles = collected(packed(tmp_path / "a.zip", {f"{MOODLE}/all.zip": inner.getvalue()}))
    assert one.who.name == "Ada Lovelace" and one.file == f"{MOODLE}/all.zip/work/lab05.ipynb" and troubles == []


def test_what_a_system_adds_is_not_a_submission(tmp_path):
    files = {"__MACOSX/._lab05.ipynb": b"x", f"{MOODLE}/.DS_Store": b"x", f"{MOODLE}/lab05.ipynb": NOTEBOOK}
    found, troubles = collected(packed(tmp_path / "a.zip", files))
    assert len(found) == 1 and troubles == []


def test_a_folder_will_do(tmp_path):
    (tmp_path / "all" / MOODLE).mkdir(parents=True)
    (tmp_path / "all" / MOODLE / "lab05.ipynb").write_text(NOTEBOOK)
    os.symlink("/etc/passwd", tmp_path / "all" / "evil.ipynb")
    os.utime(tmp_path / "all" / MOODLE / "lab05.ipynb", (0, datetime(2026, 11, 2).timestamp()))
    (one,), troubles = collected(tmp_path / "all")
    assert one.when == datetime(2026, 11, 2) and troubles == []


def test_a_wrong_argument_is_told(tmp_path):
    (tmp_path / "no.zip").write_bytes(b"nothing")
    for source, said in [(tmp_path / "none.zip", "there is no"), (tmp_path / "no.zip", "must be a zip file")]:
        with pytest.raises(Refused, match=said):
            collected(source)
    with pytest.raises(Refused, match="holds no files"):
        collected(packed(tmp_path / "empty.zip", {}))


def test_a_notebook_with_lost_metadata_is_read(tmp_path):
    content = json.loads(NOTEBOOK)
    for cell in content["cells"]:
        cell["metadata"] = None
    (one,), _ = collected(packed(tmp_path / "a.zip", {f"{MOODLE}/a.ipynb": json.dumps(content)}))
    assert one.notebook.cells[0].metadata == {}
