"""A scene whose actions are held back by controls: locks, times, others, freezes.

The formulas themselves write down when they begin and end, in a file that only they write.
"""

from __future__ import annotations

import json
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import tenacity
import tomli_w

from dispatcher.devservers.nomad import DevAgent
from dispatcher.devservers.scene import Scene
from dispatcher.status import status_file
from dispatcher.status.overview import OpenAction
from tests.servers.bao import Bao
from tests.support.desk_stage import AuthorsDesk
from tests.support.serving import ROOT, Served, all_results

WITHIN_S = 120
"""How long a wait may take on a busy machine."""

TIERS = {"quick": "low", "held": "low", "frozen": "low", "flaky": "low", "guarded": "high"}

_BEGIN = '#!/bin/bash\necho "begin $DISINTO_ACTION_ID $(date +%s)" >> {data}/marks\n'
_END = 'echo "end $DISINTO_ACTION_ID $(date +%s)" >> {data}/marks\n'
_QUICK = _BEGIN + _END
FORMULAS = {
    "quick": _QUICK,
    "frozen": _QUICK,
    "guarded": _QUICK,
    "held": _BEGIN + "until [ -e {data}/go-$DISINTO_ACTION_ID ]; do sleep 0.1; done\n" + _END,
    "flaky": _QUICK + "[ -e {data}/mended ] || exit 3\n",
}
"""``held`` waits until ``let_go``; ``flaky`` fails until ``mend``."""

eventually = tenacity.retry(
    stop=tenacity.stop_after_delay(WITHIN_S), wait=tenacity.wait_fixed(0.1), reraise=True
)


class Controls:
    """The scene, and what is looked at in it.

    Args:
        nomad: runs become its raw_exec jobs; local processes without.
        dates: of the freeze of the formula ``frozen``.
    """

    def __init__(
        self, root: Path, server: Bao, *, nomad: DevAgent | None = None, dates: str
    ) -> None:
        self.data = root / "data"
        self.data.mkdir()
        (self.data / "marks").touch()
        self._mounts = "" if nomad else '"agent-data"'
        seen_as = self.data if nomad else "~/data"
        self._on_engine: dict[str, Any] = {}
        if nomad is None:
            mounts = {"agent-data": str(self.data)}
            self._on_engine = {"local": {"mounts": mounts, "allow_unprotected_mounts": True}}
        own = server.with_own_mount()
        self.scene = Scene.set(
            root,
            own,
            nomad=nomad,
            values={},
            settings={
                "vault": {"kv_mount": own.kv_mount},
                "ops_repo": {"poll_interval_s": 0.5},
                "limits": {"max_in_flight": 8, "max_run_s": 300},
                **self._on_engine,
            },
            formulas={f"{name}.sh": text.format(data=seen_as) for name, text in FORMULAS.items()},
        )
        self.freeze(dates)

    @property
    def state(self) -> Path:
        return self.scene.config.parent / "state"

    # -- people ------------------------------------------------------------------------------

    def freeze(self, dates: str) -> None:
        """Write the policy: the formula ``frozen`` does not start on these dates."""
        window = {"dates": [dates], "formulas": ["frozen"]}
        policy = {"tiers": TIERS, "freeze": {"zone": "UTC", "windows": {"stop": window}}}
        file = self.scene.config.with_name("policy.toml")
        fresh = file.with_suffix(".new")
        fresh.write_text(tomli_w.dumps(policy))
        fresh.rename(file)

    def text(self, action_id: str, formula: str, more: str) -> str:
        return (
            f'id = "{action_id}"\nformula = "{formula}"\ncontext = ""\nsecrets = []\n'
            f"mounts = [{self._mounts}]\n{more}\n"
        )

    def merge(self, action_id: str, formula: str, more: str = "", *, sign: bool = False) -> None:
        """Merge one action."""
        text = self.text(action_id, formula, more)
        path = f"vault/actions/{action_id}.toml"
        self.scene.merge({path: text}, f"Add {action_id}", sign=sign)

    def let_go(self, action_id: str) -> None:
        """Let a ``held`` one end."""
        (self.data / f"go-{action_id}").touch()

    def mend(self) -> None:
        """Let ``flaky`` succeed."""
        (self.data / "mended").touch()

    def again(self, action_id: str, folder: Path) -> dict[str, dict[str, Any]]:
        """Repeat one from an author's machine; answers all results when the repetition has its own."""
        desk = AuthorsDesk.of(self.scene, folder, **self._on_engine)
        desk.environ["PYTHONPATH"] = str(ROOT)
        sent = desk("again", action_id, "--no-follow", "--json")
        assert sent.code == 0, sent.err
        return all_results(self.scene, [sent.json["id"]], within_s=WITHIN_S)

    # -- what happened -----------------------------------------------------------------------

    def marks(self, *action_ids: str) -> list[str]:
        """What began and ended, in order: of these actions, or of all."""
        lines = [line.split() for line in (self.data / "marks").read_text().splitlines()]
        return [f"{what} {i}" for what, i, _ in lines if not action_ids or i in action_ids]

    def began_at(self, action_id: str) -> int:
        """Seconds since the epoch at which it began."""
        lines = [line.split() for line in (self.data / "marks").read_text().splitlines()]
        return next(int(at) for what, i, at in lines if (what, i) == ("begin", action_id))

    def audited(self, event: str, action_id: str) -> list[dict[str, Any]]:
        """Records of the audit log."""
        lines = (self.state / "audit.jsonl").read_text().splitlines()
        records = [json.loads(line) for line in lines]
        return [r for r in records if (r["event"], r.get("action")) == (event, action_id)]

    def each_began_once(self) -> bool:
        began = Counter(mark for mark in self.marks() if mark.startswith("begin"))
        return set(began.values()) == {1}

    @eventually
    def until_marked(self, mark: str) -> None:
        assert mark in self.marks()

    @eventually
    def until_waiting(self, served: Served, reasons: dict[str, str]) -> dict[str, OpenAction]:
        """Wait until this dispatcher gives these reasons, by id."""
        status = status_file.read(self.state)
        assert status is not None
        assert status.overview.leader == f"{socket.gethostname()}:{served.process.pid}"
        open_now = {each.id: each for each in status.overview.open}
        found = {i: open_now[i].reason if i in open_now else "" for i in reasons}
        assert found == reasons
        return open_now
