"""The quick forms of the provider's faults, against real processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults import provider_faults, provider_webhook_faults
from tests.faults.fault import Fault, Ground, try_fault

pytestmark = [pytest.mark.xdist_group("system"), pytest.mark.timeout(300)]

#: One fault each of: an API that fails, webhooks that do not come.
QUICKEST = {"F43", "F51"}
FAULTS = [
    fault
    for fault in [*provider_faults.FAULTS, *provider_webhook_faults.FAULTS]
    if fault.name in QUICKEST
]


@pytest.mark.parametrize("fault", FAULTS, ids=[f"{fault.name} {fault.what}" for fault in FAULTS])
def test_what_a_fault_must_leave_standing_stands(
    fault: Fault, tmp_path: Path, database_url: str, db: object
) -> None:
    del db  # emptied

    result = try_fault(fault, Ground(tmp_path, lambda: database_url, short=True))

    assert result.passed, result.remarks
    assert result.figures
