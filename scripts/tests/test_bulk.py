"""`make bulk` with few rows does all that it does with millions: it fills, measures, archives and audits."""

import os
import re
import subprocess
import sys
from pathlib import Path

from scripts.stack import places

WITHIN_SECONDS = 300
SMALL = ("--rows", "6000", "--months", "3", "--pairs", "1", "--seconds", "1")


def test_a_small_run_fills_archives_beside_issuing_and_every_law_of_coupons_holds(tmp_path: Path):
    ran = subprocess.run(
        [sys.executable, "-m", "scripts.bench.bulk", *SMALL],
        cwd=places.PROJECT,
        env=os.environ | {"FIRSTCOME_VAR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_SECONDS,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "6,000 coupons" in ran.stdout
    assert "after: coupons_archivedcoupon 2,000 rows" in ran.stdout
    assert len(re.findall(r"the laws of coupons hold", ran.stdout)) == 2
