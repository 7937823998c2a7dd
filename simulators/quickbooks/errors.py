"""QuickBooks' refusals in the shapes that were recorded: `docs/vendors/quickbooks.md` §5.3, §6.1, §6.2."""

from __future__ import annotations

from simulators.http import Answer, Json, json_answer
from simulators.quickbooks.settings import ThrottleBody

GONE_OR_INACTIVE = (
    "Something you're trying to use has been made inactive. "
    "Check the fields with accounts, customers, items, vendors or employees."
)
CLOSED = (
    "The account period has closed and the account books cannot be updated through the QBO Services API. "
    "Please use the QBO website to make these changes."
)


class Refusal(Exception):
    """QuickBooks refuses the request with this code, message and detail."""

    def __init__(self, code: str, message: str, detail: str, element: str | None = None) -> None:
        super().__init__(f"{code} {detail}")
        self.error: Json = {"Message": message, "Detail": detail, "code": code}
        if element is not None:
            self.error["element"] = element

    @property
    def fault(self) -> Json:
        return {"Error": [self.error], "type": "ValidationFault"}


def not_found() -> Refusal:
    return Refusal("610", "Object Not Found", f"Object Not Found : {GONE_OR_INACTIVE}", "")


def bad_reference(kind: str, value: object) -> Refusal:
    return Refusal("2500", "Invalid Reference Id", f"Invalid Reference Id : {kind} element id {value} not found", "")


def missing(name: str) -> Refusal:
    return Refusal(
        "2020",
        "Required param missing, need to supply the required value for the API",
        f"Required parameter {name} is missing in the request",
        name,
    )


def business(detail: str) -> Refusal:
    return Refusal(
        "6000",
        "A business validation error has occurred while processing your request",
        f"Business Validation Error: {detail}",
        "",
    )


def unsupported(path: str) -> Refusal:
    return Refusal(
        "500",
        "Unsupported Operation",
        f"Operation Could not find resource for relative : {path} is not supported.",
    )


def bad_text() -> Refusal:
    """Bytes that are not UTF-8 (docs/vendors/quickbooks.md §1.9)."""
    return Refusal("500", "Unsupported Operation", "Operation The body is not text in UTF-8. is not supported.")


def duplicate_name(detail: str = "null") -> Refusal:
    return Refusal("6240", "Duplicate Name Exists Error", f"The name supplied already exists. : {detail}")


def stale() -> Refusal:
    return Refusal(
        "5010",
        "Stale Object Error",
        "Stale Object Error : You and Sandbox User were working on this at the same time. "
        "Sandbox User finished before you did, so your work was not saved.",
        "",
    )


def unauthenticated(detail: str, time_milliseconds: int) -> Answer:
    """The gateway's 401: lower-case names, and the token itself in the detail."""
    challenge = {"WWW-Authenticate": 'Bearer realm="Intuit", error="invalid_token"'}
    error = ("message=AuthenticationFailed; errorCode=003200; statusCode=401", detail, "3200", "AUTHENTICATION")
    return json_answer(_gateway(*error, time_milliseconds), 401, challenge)


def unauthorized(time_milliseconds: int) -> Answer:
    """The gateway's 403 for a token of another company."""
    message = "message=ApplicationAuthorizationFailed; errorCode=003100; statusCode=403"
    return json_answer(_gateway(message, "", "3100", "AUTHORIZATION", time_milliseconds), 403)


def _gateway(message: str, detail: str, code: str, kind: str, time: int | str) -> Json:
    error = {"message": message, "detail": detail, "code": code, "element": None}
    return {
        "warnings": None,
        "intuitObject": None,
        "fault": {"error": [error], "type": kind},
        "report": None,
        "queryResponse": None,
        "batchItemResponse": [],
        "attachableResponse": [],
        "syncErrorResponse": None,
        "requestId": None,
        "time": time,
        "status": None,
        "cdcresponse": [],
    }


THROTTLED = "The request limit was reached.  Try again later"


def throttled(time: str, body: ThrottleBody = "xml-429", retry_after_seconds: int = 0) -> Answer:
    """Too many requests. In XML also for callers that asked for JSON, as recorded with both statuses; or in the
    gateway's JSON, of which there is no recording."""
    status = 403 if body == "xml-403" else 429
    message = f"message=ThrottleExceeded; errorCode=003001; statusCode={status}"
    headers = {"Retry-After": str(retry_after_seconds)} if retry_after_seconds else {}
    if body == "json":
        return json_answer(_gateway(message, THROTTLED, "3001", "SERVICE", time), status, headers)
    text = f"""<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<IntuitResponse time="{time}" xmlns="http://schema.intuit.com/finance/v3">
  <Fault type="SERVICE">
    <Error code="3001">
      <Message>{message}</Message>
      <Detail>{THROTTLED}</Detail>
    </Error>
  </Fault>
</IntuitResponse>
"""
    return Answer(status, text.encode(), {"Content-Type": "application/xml", **headers})
