"""The audit log, which is polled with a cursor that never ends (`docs/vendors/metronome.md` §2, Other)."""

from __future__ import annotations

from simulators.http import Json
from simulators.metronome.reading import Call, Refusal, cursor_to, limit_of, moment, position
from simulators.metronome.store import Store


def list_records(store: Store, call: Call) -> Json:
    """`next_page` is always there: asked again with it, the list goes on where it ended, also days later."""
    kind, object_id, cursor = call.query("resource_type"), call.query("resource_id"), call.query("next_page")
    if bool(kind) != bool(object_id):
        raise Refusal(400, "resource_type and resource_id go together")
    since, until = call.moment("starting_on"), call.moment("ending_before")
    if cursor and (since or until):
        raise Refusal(400, "starting_on and ending_before cannot be used with next_page")
    sort = call.query("sort") or "date_asc"
    if sort not in ("date_asc", "date_desc"):
        raise Refusal(400, "sort must be date_asc or date_desc")
    newest_first = sort == "date_desc"
    start = position(cursor) if cursor else (next(reversed(store.audit), 0) + 1 if newest_first else 0)
    numbers = [
        number
        for number, record in (reversed(store.audit.items()) if newest_first else store.audit.items())
        if (number < start if newest_first else number > start)
        and (not kind or (record["resource_type"], record["resource_id"]) == (kind, object_id))
        and (since is None or moment(record["timestamp"], "timestamp") >= since)
        and (until is None or moment(record["timestamp"], "timestamp") < until)
    ][: limit_of(call.query("limit"))]
    return {"data": [store.audit[each] for each in numbers], "next_page": cursor_to(numbers[-1] if numbers else start)}
