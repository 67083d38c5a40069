"""The picture at the head of the README."""

from tests.tools.picture import main, picture


def test_the_picture_of_the_readme_is_drawn(tmp_path):
    picture(tmp_path / "new" / "picture.png", steps=16)
    assert (tmp_path / "new" / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_its_command_writes_where_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.tools.picture.picture", lambda out: out.write_bytes(b"drawn"))
    main(["--out", str(tmp_path / "picture.png")])
    assert (tmp_path / "picture.png").read_bytes() == b"drawn"
