import pytest

from dispatcher.errors import Misconfigured
from dispatcher.host import resources as files


def test_every_shipped_folder_exists():
    for folder in files.FOLDERS:
        assert files.path(folder).is_dir()


def test_text_and_names_agree():
    found = files.names("vault/policies")
    assert "vault/policies/runner.hcl.j2" in found
    assert all(files.text(name) for name in found)


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "vault/../pyproject.toml", "dispatcher/model/run.py"]
)
def test_a_name_outside_is_refused(name):
    with pytest.raises(Misconfigured, match="is not a name below"):
        files.text(name)


def test_a_missing_file_says_which():
    with pytest.raises(Misconfigured, match="vault/policies/nothing is missing"):
        files.text("vault/policies/nothing")


def test_a_wheel_layout_goes_before_a_checkout(tmp_path, monkeypatch):
    shipped = tmp_path / "dispatcher" / "_files"
    (shipped / "jobs").mkdir(parents=True)
    (shipped / "jobs" / "x.hcl").write_text("x", encoding="utf-8")
    monkeypatch.setattr(files, "_PACKAGE", tmp_path / "dispatcher")
    files.root.cache_clear()
    try:
        assert files.text("jobs/x.hcl") == "x"
    finally:
        files.root.cache_clear()
