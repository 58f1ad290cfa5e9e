"""The cluster: registered jobs, nodes, the agent, ACL policies."""

from __future__ import annotations

import contextlib
from typing import cast

from dispatcher.engines.nomad.api.calls import Calls
from dispatcher.engines.nomad.api.connection import quoted
from dispatcher.engines.nomad.api.errors import NotFound
from dispatcher.engines.nomad.api.shapes import Job, Json, Node, Plan, Registered


class ClusterCalls(Calls):
    """Parse, plan, register; nodes, agent, ACL."""

    def parse(self, hcl: str, *, variables: str = "", canonicalize: bool = True) -> Job:
        """A jobspec as JSON.

        Args:
            variables: text of a variables file.

        Raises:
            Rejected: the server cannot parse it; its text says where.
        """
        job = self._json(
            "POST",
            "jobs/parse",
            endpoint="jobs.parse",
            doing="parse a jobspec",
            json={"JobHCL": hcl, "Variables": variables, "Canonicalize": canonicalize},
        )
        return cast(Job, job)

    def plan(self, job: Job, *, diff: bool = True) -> Plan:
        """What registering ``job`` would change."""
        jobs = self._admin.endpoint("Job", counted="job.plan", doing=f"plan {job['ID']}")
        return cast(Plan, jobs.plan_job(quoted(job["ID"]), {"Job": dict(job)}, diff=diff))

    def register(self, job: Job, *, modify_index: int | None = None) -> Registered:
        """Register a job.

        Args:
            modify_index: register only if this is still the job's ``JobModifyIndex``; 0: only if
                there is no such job. None: whatever there is.

        Raises:
            Conflict: the index is another one. Rejected: the job is not valid.
        """
        request: Json = {"Job": dict(job)}
        if modify_index is not None:
            request |= {"EnforceIndex": True, "JobModifyIndex": modify_index}
        jobs = self._admin.endpoint("Jobs", counted="jobs.register", doing=f"register {job['ID']}")
        answer = jobs.register_job(request)
        return Registered(
            modify_index=answer.get("JobModifyIndex", 0),
            eval_id=answer.get("EvalID") or "",
            warnings=answer.get("Warnings") or "",
        )

    def nodes(self) -> list[Node]:
        """All client nodes, without their volumes and attributes."""
        listed = self._admin.endpoint("Nodes", counted="nodes.list", doing="list nodes").get_nodes()
        return cast(list[Node], listed or [])

    def node(self, node_id: str) -> Node | None:
        """One node, with ``HostVolumes`` and ``Attributes``."""
        node = self._admin.endpoint("Node", counted="node.read", doing=f"read node {node_id}")
        try:
            return cast(Node, node.get_node(node_id))
        except NotFound:
            return None

    def agent_self(self) -> Json:
        """The agent that answers: its version and configuration (``agent:read``)."""
        agent = self._admin.endpoint("Agent", counted="agent.self", doing="read the agent")
        return cast(Json, agent.get_agent())

    def leader(self) -> str:
        """Address of the servers' leader; needs no token. Raises ``Unavailable`` without one."""
        return str(
            self._json("GET", "status/leader", endpoint="status.leader", doing="find the leader")
        )

    def token_self(self) -> Json:
        """The ACL token in use. Raises ``Denied`` for an unknown one."""
        token = self._json("GET", "acl/token/self", endpoint="acl.token", doing="look up the token")
        return {key: value for key, value in cast(Json, token).items() if key != "SecretID"}

    def acl_policy(self, name: str) -> Json | None:
        """An ACL policy: ``Name``, ``Description``, ``Rules``, ``JobACL``."""
        acl = self._admin.endpoint("Acl", counted="acl.read", doing=f"read ACL policy {name}")
        try:
            return cast(Json, acl.get_policy(quoted(name)))
        except NotFound:
            return None

    def put_acl_policy(
        self, name: str, rules: str, *, description: str = "", job: str = ""
    ) -> None:
        """Write an ACL policy; with ``job`` it is given to that job's workload identity."""
        policy: Json = {"Name": name, "Description": description, "Rules": rules}
        if job:
            policy["JobACL"] = {"Namespace": self.namespace, "JobID": job}
        acl = self._admin.endpoint("Acl", counted="acl.write", doing=f"write ACL policy {name}")
        acl.create_policy(quoted(name), policy)

    def delete_acl_policy(self, name: str) -> None:
        """Delete an ACL policy; fine if there is none."""
        acl = self._admin.endpoint("Acl", counted="acl.delete", doing=f"delete ACL policy {name}")
        with contextlib.suppress(NotFound):
            acl.delete_policy(quoted(name))
