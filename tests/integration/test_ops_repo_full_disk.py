"""A remote, or a clone, whose disk is full or read-only: nothing is lost, and who reads the error knows why."""

from __future__ import annotations

from pathlib import Path

import pytest

from dispatcher.ops_repo.refusals import Why, not_writable, refusal
from tests.support.small_disks import run_with_small_disks

pytestmark = pytest.mark.needs("git")

NO_SPACE = "No space left on device"


def test_results_and_output_wait_for_room(tmp_path: Path) -> None:
    """On small file systems: see ``tests/support/remote_full_disk.py``."""
    run_with_small_disks("remote_full_disk", tmp_path)


@pytest.mark.parametrize(
    ("summary", "err", "why"),
    [
        ("unpacker error", f"remote: fatal: write error: {NO_SPACE}", Why.NOT_WRITABLE),
        ("unpacker error", "remote: error: Disk quota exceeded", Why.NOT_WRITABLE),
        (
            "unpacker error",
            "error: remote unpack failed: unable to create temporary object directory",
            Why.NOT_WRITABLE,
        ),
        ("unable to migrate objects to permanent storage", "", Why.NOT_WRITABLE),
        (
            "failed to update ref",
            f"remote: error: cannot lock ref 'refs/heads/main': Unable to create 'x.lock': {NO_SPACE}",
            Why.NOT_WRITABLE,
        ),
        ("unpacker error", "remote: fatal: pack exceeds maximum allowed size", Why.REFUSED),
        ("pre-receive hook declined", f"remote: {NO_SPACE}", Why.REFUSED),
    ],
)
def test_what_git_says_of_it(summary: str, err: str, why: Why) -> None:
    assert refusal(f"[remote rejected] ({summary})", err).why is why


def test_why_a_remote_did_not_unpack_is_told() -> None:
    err = "error: remote unpack failed: index-pack abnormal exit"
    assert "index-pack abnormal exit" in refusal("[remote rejected] (unpacker error)", err).detail


def test_a_push_of_output_that_is_cut_off_by_it() -> None:
    """git makes a file for the boundary of what is pushed, before it looks at the refs."""
    assert not_writable(
        "fatal: Unable to create temporary file '/r/shallow_XXXXXX': Permission denied"
    )
    assert not_writable(f"fatal: failed to write to /r/shallow_a1B2c3: {NO_SPACE}")
    assert not not_writable("fatal: '/r' does not appear to be a git repository")
