"""The script of the page that uploads codes, run by Node.js with a server of its own making."""

import json
import subprocess

import pytest

from coupons.admin import uploads
from scripts.stack import places

SCRIPT = places.PROJECT / "coupons" / "static" / "coupons" / "upload_codes.js"
BROWSER = """
const elements = { "upload-texts": { textContent: TEXTS } };
const element = (id) => (elements[id] ??= {
  dataset: { pieceBytes: "1000", pieceLines: "100", check: "/check/", add: "/add/" },
  addEventListener(name, listener) { this.listener = listener; },
  querySelector: () => ({ value: "token" }),
  replaceChildren() {}, append() {},
});
globalThis.document = { getElementById: element, createElement: () => ({ append() {} }) };
globalThis.window = { addEventListener() {} };
globalThis.setTimeout = (work) => setImmediate(work);
const found = { codes: 1, bad: [], first: ["A"], in_pool: 0, elsewhere: [] };
const good = { ok: true, status: 200, json: async () => found };
"""
CHOOSE = """
const file = new Blob(["A"]);
file.name = "codes.csv";
element("code-file").listener({ target: { files: [file] } });
for (let turn = 0; turn < 200; turn += 1) await new Promise(setImmediate);
console.log(asked, element("check-state").textContent);
"""


@pytest.mark.parametrize(
    ("first_answer", "shown"),
    [
        (
            '{ ok: true, status: 200, json: async () => { throw new SyntaxError("cut off"); } }',
            "2 codes.csv is checked.",
        ),
        (
            '{ ok: false, status: 0, type: "opaqueredirect" }',
            "1 You are signed out. Sign in again, and choose the file again: codes that are in the pool are "
            "skipped.",
        ),
    ],
    ids=["cut off", "signed out"],
)
def test_a_piece_is_sent_again_after_an_answer_that_is_cut_off_and_not_once_signed_out(
    first_answer: str, shown: str
) -> None:
    server = f"let asked = 0; globalThis.fetch = async () => (asked++ ? good : {first_answer});"
    texts = json.dumps(json.dumps({name: str(text) for name, text in uploads.SCRIPT_TEXTS.items()}))
    code = "\n".join(
        [f"const TEXTS = {texts};", BROWSER, server, SCRIPT.read_text().replace('"use strict";', ""), CHOOSE]
    )
    command = ["node", "--input-type=module", "--eval", code]
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60)
    assert done.stdout.strip() == shown
