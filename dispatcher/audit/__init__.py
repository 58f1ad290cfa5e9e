"""The audit log: every decision with its reason, in JSON lines, each chained to the one before.

``AuditLog`` writes (``log``), ``verify`` reads and reports what was changed, removed, moved or cut
off (``chain``).
"""

from dispatcher.audit.chain import AuditProblem, AuditReport, Break, holds, verify
from dispatcher.audit.log import AuditLog, files

__all__ = ["AuditLog", "AuditProblem", "AuditReport", "Break", "files", "holds", "verify"]
