"""The ledger's note about this installation's lead."""

from __future__ import annotations

import json
from dataclasses import dataclass

from dispatcher.ops_repo.lead import LeadRecord


@dataclass(frozen=True, kw_only=True, slots=True)
class LeadNote:
    """This installation's lead, as stored in the ledger.

    Attributes:
        instance: its id; "" before it first led.
        place: where the ledger was when it last led; see ``Ledger.place``.
        records: our records, any of which the ref may hold.
        version: of the note; 0 if there is none.
    """

    instance: str = ""
    place: str = ""
    records: tuple[LeadRecord, ...] = ()
    version: int = 0

    def to_json(self) -> str:
        return json.dumps(
            {
                "instance": self.instance,
                "place": self.place,
                "records": [record.to_json() for record in self.records],
            }
        )

    @classmethod
    def of(cls, text: str, *, version: int) -> LeadNote:
        fields = json.loads(text)
        records = (LeadRecord.of(record) for record in fields["records"])
        return cls(
            instance=fields["instance"],
            place=fields["place"],
            records=tuple(record for record in records if record is not None),
            version=version,
        )
