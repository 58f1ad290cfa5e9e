import pytest

from dispatcher.errors import Misconfigured
from dispatcher.host import resources


def test_every_shipped_folder_exists():
    for folder in resources.FOLDERS:
        assert resources.path(folder).is_dir()


def test_text_and_names_agree():
    found = resources.names("vault/policies")
    assert "vault/policies/runner.hcl.j2" in found
    assert all(resources.text(name) for name in found)


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "vault/../pyproject.toml", "dispatcher/model/run.py"]
)
def test_a_name_outside_is_refused(name):
    with pytest.raises(Misconfigured, match="is not a name below"):
        resources.text(name)


def test_a_missing_file_says_which():
    with pytest.raises(Misconfigured, match="vault/policies/nothing is missing"):
        resources.text("vault/policies/nothing")


def test_a_wheel_layout_goes_before_a_checkout(tmp_path, monkeypatch):
    shipped = tmp_path / "dispatcher" / "_files"
    (shipped / "jobs").mkdir(parents=True)
    (shipped / "jobs" / "x.hcl").write_text("x", encoding="utf-8")
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "dispatcher")
    resources.root.cache_clear()
    try:
        assert resources.text("jobs/x.hcl") == "x"
    finally:
        resources.root.cache_clear()
