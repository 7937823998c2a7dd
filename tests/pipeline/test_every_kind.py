"""Every kind of invoice that Metronome can make goes the whole way, and ends in the books or with a named reason."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from simulators.metronome.generator import KINDS, generate
from simulators.quickbooks.books import Company
from tests.brokers import Broker

from .rig import running_rig

NOW = datetime(2026, 11, 22, tzinfo=UTC)
SETTINGS = {
    "POLICY__MISSING_ITEM": "create",
    "POLICY__INCOME_ACCOUNT_ID": "1",
    "POLICY__DEFAULT_ITEM_ID": "1",
    "POLICY__PAYER": "payer",
}
DECLINED = {
    "unbillable",
    "not finalized",
    "unknown unit",
    "sum",
    "billed on the consolidated invoice",
    "never posted",
    "no lines",
}


async def test_every_kind_ends_in_the_books_to_the_cent_or_with_a_named_reason(broker: Broker, tmp_path: Path) -> None:
    scene = generate(3, 0, now=NOW, kinds=dict.fromkeys(KINDS, 1))
    # A company in which every currency that Metronome bills in can stand.
    company = Company("9341450000000001", multicurrency=True)
    async with running_rig(broker, tmp_path, SETTINGS, scene=scene, companies=(company,)) as rig:
        await rig.start_worker()
        invoices = dict(rig.sandbox.metronome.invoices)
        await rig.publish_webhooks(*invoices)
        declined = set()
        for invoice_id, invoice in invoices.items():
            outcome = await rig.outcome(invoice_id)
            live = [each for each in rig.documents_of(invoice_id) if not str(each["PrivateNote"]).startswith("Voided")]
            if outcome.result == "posted" and live:
                assert [Decimal(str(each["TotalAmt"])) for each in live] == [rig.billed(invoice_id)], invoice
                continue
            assert live == [], (outcome, invoice)
            if outcome.result in ("skipped", "refused") or outcome.rule == "not finalized":
                assert outcome.rule in DECLINED, outcome
                assert outcome.reason
                declined.add(outcome.rule)
        assert declined >= DECLINED - {"never posted", "no lines"}
        posted = [each for each in invoices if rig.documents_of(each)]
        assert len(posted) > 30
