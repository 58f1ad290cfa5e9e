"""Removes what carries a tag, until the provider lists nothing with it. Idempotent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from dispatcher.desktop.cloud import Cloud, CloudBusy, CloudLocked, CloudUnclear
from dispatcher.desktop.lifecycle import Observation, Record, State, advance, begin_removal
from dispatcher.desktop.params import SETTINGS_FILE
from dispatcher.desktop.tags import Tags
from dispatcher.errors import Exit, TemporaryError, describe
from dispatcher.provision.params import BadParams
from dispatcher.provision.reporting import Reporter
from dispatcher.provision.waiting import LONGEST_PAUSE_S, PAUSE_S, Clock, Pace

REMOVAL_LIMIT_S = 600.0
"""Seconds until the provider has to list nothing any more."""

SETTLE_S = 90.0
"""Seconds for which the list has to stay empty if a machine may still appear in it: a request without
an answer, or a machine that the list never showed. Tags are set after a machine is created."""

_SLOW_S = 15.0
_ASK_AGAIN_S = 30.0  # to delete what is listed although it was deleted


class StillThere(TemporaryError):
    """The provider still lists it, or cannot be asked."""

    exit_code = Exit.TEMPFAIL


class Removal:
    """The removal of all machines with one tag.

    Args:
        only: ids, of those with the tag, that are to be removed; None for all.
        droplet_ids: machines that belong to it, although the list may not show them yet. One that the
            provider describes without the tag is not deleted.
        doubtful: whether a machine may appear that the list does not show yet.
    """

    def __init__(
        self,
        cloud: Cloud,
        clock: Clock,
        reporter: Reporter,
        *,
        tag: str,
        only: Collection[int] | None = None,
        droplet_ids: Iterable[int] = (),
        doubtful: bool = False,
    ) -> None:
        self._cloud, self._clock, self._reporter = cloud, clock, reporter
        self._tag, self._only = tag, only
        self._named = set(droplet_ids)
        self._doubtful = doubtful or bool(self._named)
        self._asked: dict[int, float] = {}
        self._untagged: set[int] = set()
        self._shown = False

    @property
    def removed(self) -> list[int]:
        """Ids of what was deleted."""
        return sorted(self._asked)

    def run(self, record: Record | None = None, *, limit_s: float = REMOVAL_LIMIT_S) -> Record:
        """Delete, and look until nothing is left.

        Returns:
            The record, DESTROYED.

        Raises:
            StillThere: not within ``limit_s`` seconds, or a machine does not carry the tag.
            CloudRefused: the provider refuses to list or delete.
        """
        clock, pace = self._clock, Pace(self._cloud, self._clock, self._reporter.say)
        begun = clock.now()
        record = begin_removal(record, begun)
        self._reporter.progress(record.stage)
        empty_since: float | None = None
        usual_s, trouble = PAUSE_S, ""
        while True:
            try:
                listed = self._pass()
                trouble = "" if not listed else f"the provider still lists {sorted(listed)}"
                empty_since = (empty_since or clock.now()) if not listed else None
                pace.answered()
            except (CloudBusy, CloudUnclear) as error:
                empty_since, trouble = None, error.what
                pace.failed(error)
            now = clock.now()
            gone = empty_since is not None and now - empty_since >= self._settle_s
            record = advance(record, Observation(deleted=bool(self._asked), gone=gone), now)
            self._reporter.progress(record.stage, trouble)
            if record.state is State.DESTROYED:
                self._check_untagged()
                return record
            pause_s = pace.pause_s(usual_s, longest_s=LONGEST_PAUSE_S)
            usual_s = min(1.5 * usual_s, _SLOW_S)
            begun += pause_s if pace.held_up else 0.0
            if now + pause_s - begun > limit_s:
                raise StillThere(
                    f"machines with the tag {self._tag} may be left: {trouble or 'too short a time'}",
                    remedy="Destroy the desktop again, or run desktop-reap.",
                )
            clock.sleep(pause_s)

    @property
    def _settle_s(self) -> float:
        return SETTLE_S if self._doubtful and not self._shown else 0.0

    def _pass(self) -> set[int]:
        """One look, and requests to delete what it shows; ids that are listed.

        Raises:
            CloudLocked: after all others were deleted, if one cannot be yet.
        """
        listed = {droplet.id for droplet in self._cloud.tagged(self._tag)}
        if self._only is not None:
            listed &= set(self._only)
        self._shown = self._shown or bool(listed)
        locked: CloudLocked | None = None
        for droplet_id in [*sorted(listed), *sorted(self._named - listed)]:
            at = self._asked.get(droplet_id)
            if at is not None and self._clock.now() - at < _ASK_AGAIN_S:
                continue
            if droplet_id not in listed and not self._is_tagged(droplet_id):
                continue
            try:
                deleted = self._cloud.delete(droplet_id)
            except CloudLocked as error:
                locked = error
                continue
            if deleted:
                self._asked[droplet_id] = self._clock.now()
                self._shown = True
        if locked is not None:
            raise locked
        return listed

    def _is_tagged(self, droplet_id: int) -> bool:
        """Whether a machine that is not listed exists and carries the tag."""
        droplet = self._cloud.get(droplet_id)
        tagged = droplet is not None and droplet.has_tag(self._tag)
        if droplet is None or tagged:
            self._untagged.discard(droplet_id)
        else:
            self._untagged.add(droplet_id)
        return tagged

    def _check_untagged(self) -> None:
        if self._untagged:
            names = ", ".join(f"droplet {each}" for each in sorted(self._untagged))
            raise StillThere(
                f"{names} does not carry the tag {self._tag}, so it was not deleted",
                remedy="See at DigitalOcean whose it is; delete it there if it is yours.",
            )


def destroy(
    desktop_id: str,
    *,
    cloud: Cloud,
    clock: Clock,
    reporter: Reporter,
    tags: Tags,
    end_sessions: Callable[[str], None],
    project: str = "",
    droplet_id: int | None = None,
) -> None:
    """Remove a desktop; one that is gone already is removed.

    Args:
        end_sessions: ends what is open at the gateway. Whatever it raises delays nothing.
        project, droplet_id: by its inventory entry; "" and None if that is not known. Without them, a machine
            whose tags are others looks as if it was gone.

    Raises:
        BadParams: it was made with another project than the tags have.
        StillThere, CloudRefused: see ``Removal``.
    """
    if project and project != tags.project:
        raise BadParams(
            f"{desktop_id} was made with the project {project}, and {SETTINGS_FILE} has {tags.project}: its "
            "machine cannot be found by its tags",
            remedy=f"Set project back to {project}, destroy it, and set it to {tags.project} again; or delete its "
            "machine at DigitalOcean.",
        )
    try:
        end_sessions(desktop_id)
    except Exception as error:  # noqa: BLE001 - a machine that goes on costs money
        reporter.say(f"sessions of {desktop_id} could not be ended: {describe(error)}")
    # What a run made that was killed a moment ago may not be listed by its tag yet.
    removal = Removal(
        cloud,
        clock,
        reporter,
        tag=tags.desktop(desktop_id),
        droplet_ids=() if droplet_id is None else (droplet_id,),
        doubtful=True,
    )
    removal.run()
    if removal.removed:
        reporter.say(f"deleted: {', '.join(f'droplet {each}' for each in removal.removed)}")
    else:
        reporter.say(f"the provider lists nothing of {desktop_id}: it was gone already")
    reporter.outputs({"inventory": {"id": desktop_id}})
