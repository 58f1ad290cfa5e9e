"""A second person who may approve in a scene, and does so by the command that a reason shows."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

import tenacity

from dispatcher.devservers.scene import Scene

CAROL = "carol@example.org"


@dataclass(frozen=True, kw_only=True)
class Carol:
    """Her key is on the scene's list."""

    scene: Scene

    @classmethod
    def trusted(cls, scene: Scene) -> Carol:
        key = scene.root / "carol"
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)], check=True
        )
        allowed = scene.config.with_name("allowed_signers")
        public = key.with_suffix(".pub").read_text()
        allowed.write_text(f"{allowed.read_text()}{CAROL} {public}")
        return cls(scene=scene)

    @tenacity.retry(stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.2), reraise=True)
    def pastes(self, reason: str) -> None:
        """Run the command; again, if the dispatcher pushed meanwhile."""
        config = {
            "user.name": "Carol",
            "user.email": CAROL,
            "gpg.format": "ssh",
            "user.signingKey": str(self.scene.root / "carol"),
        }
        env = {**self.scene.operator, "GIT_CONFIG_COUNT": str(len(config))}
        for number, (key, value) in enumerate(config.items()):
            env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", reason.partition("to approve it: ")[2]],
            cwd=self.scene.desk,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
