"""The audit log: every decision with its reason, in JSON lines, each chained to the one before.

``AuditLog`` writes (``log``), ``verify`` reads and reports what was changed, removed, moved or cut
off (``chain``). ``newest`` reads records for people (``reading``).
"""

from dispatcher.audit.chain import AuditProblem, AuditReport, Break, holds, verify
from dispatcher.audit.log import AuditLog, files
from dispatcher.audit.reading import AuditEntry, AuditPage, newest

__all__ = [
    "AuditEntry",
    "AuditLog",
    "AuditPage",
    "AuditProblem",
    "AuditReport",
    "Break",
    "files",
    "holds",
    "newest",
    "verify",
]
