"""Gates check approvals before anything runs."""

from dispatcher.gate.base import Answer, Decision, Gate, Question
from dispatcher.gate.by_tier import TieredGate
from dispatcher.gate.main_branch import NoGate

__all__ = ["Answer", "Decision", "Gate", "NoGate", "Question", "TieredGate"]
