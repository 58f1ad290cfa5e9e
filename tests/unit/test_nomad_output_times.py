"""Where a task's output begins that was written since, as Nomad's files tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from dispatcher.engines.base import Stream, TimesNotKept
from dispatcher.engines.nomad.api import NomadApi
from dispatcher.engines.nomad.output_times import offsets_since
from dispatcher.model.time_index import encode_mark

INDEX = encode_mark(1000.0, 0) + encode_mark(1060.0, 40)


class Files:
    """Files of an allocation: their mode and bytes."""

    def __init__(self, **logs: int) -> None:
        self.logs = logs
        self.index: dict[str, tuple[str, bytes]] = {
            f"{stream}.times": ("-rw-r--r--", INDEX) for stream in Stream
        }

    def files(self, _alloc: str, directory: str, *, within_s: float) -> Iterator[dict[str, object]]:
        assert directory == "alloc/logs"
        for name, size in self.logs.items():
            yield {"Name": name.replace("_", "."), "Size": size}

    def file(self, _alloc: str, path: str, *, within_s: float) -> dict[str, object] | None:
        found = self.index.get(path.removeprefix("alloc/"))
        return {"FileMode": found[0]} if found else None

    def cat(self, _alloc: str, path: str, *, limit: int, within_s: float) -> bytes:
        mode, data = self.index[path.removeprefix("alloc/")]
        assert mode.startswith("-"), "opening it would wait forever"
        return data


def since(files: Files, at: float) -> dict[Stream, int]:
    return offsets_since(cast(NomadApi, files), "a", at)


def test_offsets_count_over_all_files() -> None:
    files = Files(runner_stdout_0=30, runner_stdout_1=25, runner_stderr_0=0)
    assert since(files, 1030.0) == {Stream.STDOUT: 40, Stream.STDERR: 0}
    assert since(files, 2000.0)[Stream.STDOUT] == 55


def test_a_task_that_has_not_started_has_no_output() -> None:
    assert since(Files(), 0.0) == {}


def test_after_rotation_dropped_the_begin_no_offset_is_good() -> None:
    with pytest.raises(TimesNotKept, match="dropped its begin"):
        since(Files(runner_stdout_1=30, runner_stdout_2=30), 0.0)


def test_what_a_formula_puts_in_the_place_of_the_index_is_not_opened() -> None:
    files = Files(runner_stdout_0=30)
    files.index["stdout.times"] = ("prw-r--r--", b"")
    with pytest.raises(TimesNotKept):
        since(files, 0.0)
    del files.index["stdout.times"]
    with pytest.raises(TimesNotKept):
        since(files, 0.0)
