"""What went wrong outside, named for what to do about it.

    Failure
    ├── Wait                 nothing was done: try again after a while
    ├── OutcomeUnknown             it may have been done: look it up, then try again with the same requestid
    │   └── Unrecoverable    it may have been done, and another try will not help: look it up, then refuse
    ├── TokenRefused         refresh the access token once, and repeat
    ├── CompanyUnavailable   a person must reconnect or renew the company: park
    ├── StaleObject          read the document again, repeat with its SyncToken
    ├── DuplicateNumber      look who has the DocNumber: adopt it if it is ours, else take a longer one
    ├── DuplicateName        look who has the name
    ├── DuplicateRequest     the requestid was used before: look it up
    ├── NotFound             there is no such thing
    ├── MappingBroken        a customer, item or other reference is wrong or inactive: park until it is corrected
    ├── PeriodClosed         the books are closed for that date: park until they are opened
    └── Refused              this payload will never be accepted: refuse, with the reason

Clients raise them; `agents/clients/retry.py` and the sink catch them. Messages never hold a token or a payload.
"""

from models.outcomes import ErrorFacts


class Failure(Exception):
    """The message says what happened; `facts` is what the other side said."""

    def __init__(self, message: str, facts: ErrorFacts | None = None) -> None:
        super().__init__(message)
        self.facts = facts or ErrorFacts(message=message)


class Wait(Failure):
    """Nothing was done; `seconds` is how long the other side wants us to wait, if it said so."""

    def __init__(self, message: str, facts: ErrorFacts | None = None, seconds: float | None = None) -> None:
        super().__init__(message, facts)
        self.seconds = seconds


class OutcomeUnknown(Failure):
    """The request left and nothing certain came back: it may have been done."""


class Unrecoverable(OutcomeUnknown):
    """The other side failed within, and says that it will fail again."""


class TokenRefused(Failure):
    """The access token was not accepted."""


class CompanyUnavailable(Failure):
    """The whole company refuses us until a person acts."""


class StaleObject(Failure):
    """The document changed since its SyncToken was read."""


class DuplicateNumber(Failure):
    """Another document has this DocNumber."""


class DuplicateName(Failure):
    """Another customer, vendor, employee or item has this name."""


class DuplicateRequest(Failure):
    """The requestid was used before."""


class NotFound(Failure):
    """There is no such object."""


class MappingBroken(Failure):
    """A reference in the document is wrong, missing or inactive."""


class PeriodClosed(Failure):
    """The books are closed for the document's date."""


class Refused(Failure):
    """The payload breaks a rule and will break it every time."""


class NotConnected(CompanyUnavailable):
    """No connection to this company was ever recorded, or it was taken back."""

    def __init__(self, realm: str) -> None:
        super().__init__(f"company {realm} is not connected; connect it: metronome-qbo connect --realm {realm}")
        self.realm = realm


class CannotDecrypt(Failure):
    """A stored token was encrypted with a key that is not in encryption_keys: add the old key to the end of it."""

    def __init__(self) -> None:
        super().__init__(str(type(self).__doc__))


class ReconnectNeeded(CompanyUnavailable):
    """Intuit no longer accepts the company's refresh token."""

    def __init__(self, realm: str) -> None:
        super().__init__(
            f"company {realm} must be connected again, Intuit no longer accepts its refresh token: "
            f"metronome-qbo connect --realm {realm}"
        )
        self.realm = realm


class TokensUnreadable(NotConnected):
    """No key of ours opens the company's stored tokens."""

    def __init__(self, realm: str) -> None:
        CompanyUnavailable.__init__(
            self,
            f"the stored tokens of company {realm} were encrypted with a key that is not in encryption_keys: add the "
            f"old key to the end of it, or connect the company again: metronome-qbo connect --realm {realm}",
        )
        self.realm = realm
