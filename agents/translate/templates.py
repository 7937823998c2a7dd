"""The company's own texts: Jinja templates of its policy, in a sandbox, over plain values and nothing else.

Each template may use the names listed here; `default` is the text that we would have written. A name that does not
exist is an error, never an empty place, and a text ends at the length that QuickBooks allows.
"""

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, meta
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from models.quickbooks import clean, cut

from .declined import refused
from .texts import readable

TEMPLATES_CACHED_MAX = 256

DOCUMENT_NAMES = frozenset(
    {
        "default", "invoice_id", "type", "kind", "status", "customer_id", "customer_name", "contract_id",
        "contract_name", "plan", "reference", "period", "period_start", "period_end", "txn_date", "total", "currency",
        "custom_fields",
    }
)  # fmt: skip
LINE_NAMES = frozenset(
    {
        "default", "name", "type", "quantity", "unit_price", "amount", "currency", "period", "tier", "groups",
        "product_id", "custom_fields", "invoice_id",
    }
)  # fmt: skip
TEMPLATE_NAMES = {
    "private_note_template": DOCUMENT_NAMES,
    "customer_memo_template": DOCUMENT_NAMES,
    "description_template": LINE_NAMES,
}
"""Which names each template of the policy may use."""


class _Sandbox(ImmutableSandboxedEnvironment):
    """No functions, no way out, and no operator that makes a huge text of a short one."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or not all(isinstance(each, int | Decimal) for each in (left, right)):
            raise SecurityError(f"the operator {operator} is for small numbers here")
        return super().call_binop(context, operator, left, right)


def _written(value: object) -> object:
    if isinstance(value, Decimal):
        return readable(value)
    return "" if value is None else value


_SANDBOX = _Sandbox(
    undefined=StrictUndefined,
    finalize=_written,
    autoescape=False,
)
_SANDBOX.globals.clear()


def check_template(field: str, source: str) -> None:
    """Raises ValueError, naming what is wrong with the policy's template `field`."""
    try:
        unknown = meta.find_undeclared_variables(_SANDBOX.parse(source)) - TEMPLATE_NAMES[field]
        _compiled(source)
    except TemplateError as error:
        raise ValueError(f"{field}: {error}") from None
    if unknown:
        known = ", ".join(sorted(TEMPLATE_NAMES[field]))
        raise ValueError(f"{field}: there is no {', '.join(sorted(unknown))} in it; there are {known}")


def render(field: str, source: str, values: Mapping[str, object], length_max: int) -> str:
    """The text, at most `length_max` UTF-16 units, line breaks kept. Raises Declined, naming the template."""
    pieces: list[str] = []
    length = 0
    try:
        for piece in _compiled(source).generate(values):
            pieces.append(piece)
            length += len(piece)
            if length > length_max:
                break
    except Exception as error:  # a template may fail in any way that Python can
        raise refused("template", f"{field} cannot be rendered: {type(error).__name__}: {error}") from None
    return cut("\n".join(clean(line) for line in "".join(pieces).splitlines()).strip(), length_max)


@lru_cache(maxsize=TEMPLATES_CACHED_MAX)
def _compiled(source: str) -> Template:
    return _SANDBOX.from_string(source)
