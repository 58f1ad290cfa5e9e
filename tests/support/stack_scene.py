"""A dispatcher that can make stacks, over a fake engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dispatcher.host import resources
from dispatcher.stack.params import SETTINGS_FILE
from dispatcher.stack.platform import TOKEN
from dispatcher.vault import Vault
from dispatcher.vault.secrets import Secrets
from tests.servers.bao import Bao
from tests.support.stage import Stage, set_stage

FORMULAS = ("stack", "stack-update", "stack-destroy", "stack-reap")


@contextmanager
def stack_scene(directory: Path, bao: Bao, **settings: str) -> Iterator[Stage]:
    """One that runs until the block ends.

    Args:
        settings: of stacks, in place of those of the shipped file.
    """
    classes = dict.fromkeys(FORMULAS, "provision")
    vault = {"transit_mount": f"t-{directory.name[-30:]}"}
    stage = set_stage(directory / "scene", bao, vault=vault, formulas={"classes": classes})
    policy = stage.scene.config.parent / "policy.toml"
    tiers = "".join(f'{name} = "low"\n' for name in FORMULAS)
    policy.write_text(policy.read_text().replace("[tiers]\n", f"[tiers]\n{tiers}"))
    for file in resources.path("actions/stack/formulas").iterdir():
        (stage.scene.formulas / file.name).write_bytes(file.read_bytes())
    file = stage.scene.formulas / SETTINGS_FILE
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    opened = stage.scene.open_settings()
    operator = Vault.of_operator(opened.vault, environ=stage.scene.operator)
    for name in (TOKEN, "MODEL_KEY"):
        Secrets(operator, opened).put(name, "value-of-a-secret")
    operator.close()
    stage = Stage(stage.scene)
    stage.start()
    try:
        yield stage
    finally:
        stage.stop()
