"""The audit at the end: every law over all that was made, in which time and how much memory."""

import json

from scripts import database
from scripts.bench import watching
from scripts.bench.measured import Measured
from scripts.bench.stage import Stage, python

PATIENCE_SECONDS = 1800
ROWS = "SELECT (SELECT COUNT(*) FROM coupons_coupon), (SELECT COUNT(*) FROM orders_order)"


def measure(stage: Stage) -> Measured:
    """Run the command as an operator would; a law that is broken is a finding."""
    coupons, orders = (int(number) for number in database.rows(stage.instance, ROWS)[0])
    ran = watching.run(
        python("manage.py", "audit", "--json"), stage.environment, within_seconds=PATIENCE_SECONDS
    )
    try:
        laws = json.loads(ran.out)["laws"]
    except ValueError:
        laws = []
    findings = [f"audit: {law['law']} is broken: {law['offenders'][:5]}" for law in laws if not law["holds"]]
    if not findings and (ran.code != 0 or not laws):
        findings = [f"audit ended with {ran.code}: {ran.out}{ran.error}"]
    return Measured(
        row="audit",
        figures={"seconds": ran.seconds, "command_mib": ran.peak_mib, "coupons": coupons, "orders": orders},
        findings=findings,
        says=f"{sum(law['holds'] for law in laws)} of {len(laws)} laws hold over {coupons:,} coupons and "
        f"{orders:,} orders",
    )
