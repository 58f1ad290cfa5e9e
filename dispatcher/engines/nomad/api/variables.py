"""Variables, their compare-and-set, and their locks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from dispatcher.engines.nomad.api.calls import Calls
from dispatcher.engines.nomad.api.connection import body, quoted
from dispatcher.engines.nomad.api.errors import NotFound, meaning
from dispatcher.engines.nomad.api.shapes import Json, Lock, Variable, VariableStub
from dispatcher.errors import Conflict


class VariableCalls(Calls):
    """Read, write, delete, list; acquire, renew and release a lock."""

    def variable(self, path: str) -> Variable | None:
        """A variable with its items."""
        answer = self._json_or_none(
            f"var/{quoted(path)}", endpoint="var.read", doing=f"read variable {path}"
        )
        return None if answer is None else _variable(answer)

    def variables(self, prefix: str) -> list[VariableStub]:
        """Paths and indexes of all variables below a prefix, without their items."""
        return cast(
            list[VariableStub],
            list(
                self._pages(
                    "vars",
                    endpoint="vars.list",
                    doing=f"list variables below {prefix}",
                    params={"prefix": prefix},
                )
            ),
        )

    def put_variable(self, path: str, items: Mapping[str, str], *, cas: int | None = None) -> int:
        """Write a variable; returns its new modify index.

        Args:
            items: at most 64 KiB in all.
            cas: write only if this is the current modify index; 0: only if there is none.

        Raises:
            VariableConflict: the index differs, or the variable's lock is held.
        """
        answer = self._json(
            "PUT",
            f"var/{quoted(path)}",
            endpoint="var.write",
            doing=f"write variable {path}",
            params={"cas": cas},
            json={"Items": dict(items)},
        )
        return int(answer["ModifyIndex"])

    def delete_variable(self, path: str, *, cas: int | None = None) -> None:
        """Delete a variable; fine if there is none.

        Raises:
            VariableConflict: ``cas`` is not its modify index, or its lock is held.
        """
        try:
            self._connection.request(
                "DELETE",
                f"var/{quoted(path)}",
                endpoint="var.delete",
                doing=f"delete variable {path}",
                params={"cas": cas},
            )
        except NotFound:
            return

    def acquire_lock(
        self, path: str, items: Mapping[str, str], *, ttl_s: int, delay_s: int
    ) -> Lock | None:
        """Lock a variable and write its items; None if another holds it.

        Args:
            ttl_s: 10 to 86,400: the server frees the lock when it was not renewed for this long,
                counted from the last renewal that reached it (observed: up to twice the time).
            delay_s: seconds for which nobody can acquire the lock after it expired.
        """
        doing = f"lock variable {path}"
        answer = self._connection.answer(
            "PUT",
            f"var/{quoted(path)}",
            endpoint="var.lock",
            doing=doing,
            params={"lock-acquire": ""},
            json={"Items": dict(items), "Lock": {"TTL": f"{ttl_s}s", "LockDelay": f"{delay_s}s"}},
        )
        if answer.status_code >= 400:
            error = meaning(answer.status_code, answer.text, doing=doing)
            if isinstance(error, Conflict):
                return None
            raise error
        return Lock(path=path, id=body(answer, doing=doing)["Lock"]["ID"])

    def renew_lock(self, lock: Lock, *, timeout_s: float | None = None) -> None:
        """Renew a lock for another TTL.

        Args:
            timeout_s: for this request; None: that of the settings.

        Raises:
            Conflict: it is no longer ours.
        """
        doing = f"renew the lock of {lock.path}"
        self._lock_operation(
            "lock-renew", lock, endpoint="var.renew", doing=doing, timeout_s=timeout_s
        )

    def release_lock(self, lock: Lock) -> None:
        """Release a lock; the variable stays. Fine if it is no longer ours."""
        doing = f"release the lock of {lock.path}"
        try:
            self._lock_operation("lock-release", lock, endpoint="var.release", doing=doing)
        except Conflict:
            return

    def _lock_operation(
        self,
        operation: str,
        lock: Lock,
        *,
        endpoint: str,
        doing: str,
        timeout_s: float | None = None,
    ) -> None:
        try:
            self._connection.request(
                "PUT",
                f"var/{quoted(lock.path)}",
                endpoint=endpoint,
                doing=doing,
                params={operation: ""},
                json={"Lock": {"ID": lock.id}},
                timeout_s=timeout_s,
            )
        except NotFound as error:
            raise Conflict(error.what) from error


def _variable(answer: Json) -> Variable:
    return Variable(
        path=answer["Path"],
        items=answer.get("Items") or {},
        modify_index=answer["ModifyIndex"],
        locked=bool(answer.get("Lock")),
    )
