// Sends a file of codes in pieces of whole lines: first to be checked, then to be added to the pool.
"use strict";

(() => {
  const page = document.getElementById("upload");
  const PIECE_BYTES = Number(page.dataset.pieceBytes);
  const PIECE_LINES = Number(page.dataset.pieceLines);
  const LISTED = 200;
  const ATTEMPTS = 60;
  const LF = 10;
  const element = (id) => document.getElementById(id);
  const count = (number) => number.toLocaleString("en");
  let run = 0;
  let isAdding = false;

  // The pieces of the file: bytes of whole lines, with the number of the first. A line that is longer than
  // a piece is not sent, but named.
  async function* pieces(file) {
    let rest = new Uint8Array(0);
    let line = 1;
    let position = 0;
    let skipped = 0;
    while (position < file.size || rest.length) {
      const isLast = () => position >= file.size;
      if (!isLast() && rest.length < PIECE_BYTES) {
        const more = new Uint8Array(await file.slice(position, position + PIECE_BYTES).arrayBuffer());
        position += more.length;
        const joined = new Uint8Array(rest.length + more.length);
        joined.set(rest);
        joined.set(more, rest.length);
        rest = joined;
      }
      let end = -1;
      let lines = 0;
      for (let at = 0; at < Math.min(rest.length, PIECE_BYTES) && lines < PIECE_LINES; at += 1) {
        if (rest[at] === LF) {
          end = at;
          lines += 1;
        }
      }
      if (end < 0 && isLast() && rest.length <= PIECE_BYTES) {
        end = rest.length - 1;
        lines = 1;
      }
      if (skipped || end < 0) {
        // Inside of a line that is too long: drop what is read of it, up to its end.
        const newline = rest.indexOf(LF);
        const dropped = newline < 0 ? rest.length : newline;
        skipped += dropped;
        rest = rest.slice(dropped);
        if (newline >= 0 || (isLast() && !rest.length)) {
          yield { tooLong: skipped, line, position: position - rest.length };
          line += 1;
          skipped = 0;
          rest = rest.slice(newline >= 0 ? 1 : 0);
        }
        continue;
      }
      yield { bytes: rest.slice(0, end + 1), line, position: position - rest.length + end + 1 };
      line += lines;
      rest = rest.slice(end + 1);
    }
  }

  const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

  // The server's answer to a piece. Sent again while the server is away or busy: adding skips what exists.
  async function send(address, piece, onRetry) {
    for (let attempt = 1; ; attempt += 1) {
      let answer = null;
      try {
        answer = await fetch(`${address}?first_line=${piece.line}`, {
          method: "POST",
          body: piece.bytes,
          credentials: "same-origin",
          redirect: "manual",
          headers: {
            "Content-Type": "text/csv",
            "X-CSRFToken": page.querySelector("[name=csrfmiddlewaretoken]").value,
          },
        });
      } catch (error) {
        answer = null;
      }
      if (answer && answer.ok) {
        // An answer that is cut off is sent for again.
        const found = await answer.json().catch(() => null);
        if (found) return found;
        answer = null;
      }
      // The page to sign in is all that redirects here.
      if (answer && answer.type === "opaqueredirect") {
        throw new Error("You are signed out. Sign in again, and choose the file again: codes that are in the pool are skipped.");
      }
      if (answer && answer.status < 500 && answer.status !== 429 && answer.status !== 408) {
        const problem = await answer.json().catch(() => ({}));
        throw new Error(problem.detail || `The server refused it (${answer.status}). Sign in again, and choose the file again.`);
      }
      if (attempt >= ATTEMPTS) {
        throw new Error("The server is not reachable. Choose the file again later: codes that are in the pool are skipped.");
      }
      onRetry();
      await sleep(Math.min(10, attempt));
    }
  }

  function facts(target, rows) {
    const list = document.createElement("dl");
    for (const [name, value] of rows) {
      const term = document.createElement("dt");
      const amount = document.createElement("dd");
      term.textContent = name;
      amount.textContent = typeof value === "number" ? count(value) : value;
      list.append(term, amount);
    }
    target.append(list);
  }

  function listing(target, title, rows, { isWrong = false, filename = "" } = {}) {
    if (!rows.length) return;
    const heading = document.createElement("h3");
    const list = document.createElement("ul");
    heading.textContent = title;
    if (isWrong) heading.className = "wrong";
    for (const row of rows.slice(0, LISTED)) {
      const item = document.createElement("li");
      item.textContent = row;
      list.append(item);
    }
    target.append(heading, list);
    if (rows.length > LISTED) {
      const more = document.createElement("p");
      more.textContent = `The first ${LISTED} are shown; ${count(rows.length - LISTED)} more are not. `;
      if (filename) {
        const link = document.createElement("a");
        link.href = URL.createObjectURL(new Blob([rows.join("\n"), "\n"], { type: "text/plain" }));
        link.download = filename;
        link.textContent = "Download all";
        more.append(link);
      }
      target.append(more);
    }
  }

  // Codes that occur twice in the file, across its pieces. The server compares with those that exist.
  function repeatedCodes() {
    const seen = new Map();
    const decoder = new TextDecoder("latin1");
    return (piece, found) => {
      decoder.decode(piece.bytes).split("\n").forEach((text, index) => {
        const code = text.trim().replace(/^"(.*)"$/, "$1");
        if (!code) return;
        const line = piece.line + index;
        if (seen.has(code)) found.push(`line ${line}: ${code}, as on line ${seen.get(code)}`);
        else seen.set(code, line);
      });
    };
  }

  async function check(file, mine) {
    const totals = { codes: 0, inPool: 0, first: [], bad: [], elsewhere: [], repeated: [] };
    const note = repeatedCodes();
    const state = element("check-state");
    for await (const piece of pieces(file)) {
      if (piece.tooLong) {
        totals.bad.push(`line ${piece.line}: is longer than ${count(PIECE_BYTES)} bytes`);
      } else {
        const answer = await send(page.dataset.check, piece, () => {
          state.textContent = "The server does not answer; trying again…";
        });
        if (mine !== run) return;
        totals.codes += answer.codes;
        totals.inPool += answer.in_pool;
        totals.first.push(...answer.first.slice(0, 10 - totals.first.length));
        totals.bad.push(...answer.bad.map((bad) => `line ${bad.line}: ${bad.detail}`));
        totals.elsewhere.push(...answer.elsewhere.map(([line, code]) => `line ${line}: ${code}`));
        note(piece, totals.repeated);
      }
      element("check-progress").value = piece.position / file.size;
      state.textContent = `${count(totals.codes)} codes checked…`;
    }
    element("check-progress").value = 1;
    showCheck(file, totals, mine);
  }

  function showCheck(file, totals, mine) {
    const result = element("check-result");
    const fresh = Math.max(0, totals.codes - totals.inPool - totals.elsewhere.length - totals.repeated.length);
    element("check-state").textContent = totals.bad.length
      ? `Nothing can be added: ${count(totals.bad.length)} lines are bad. Correct them, and choose the file again.`
      : `${file.name} is checked.`;
    facts(result, [
      ["Codes in the file", totals.codes],
      ["In this campaign's pool already: skipped", totals.inPool],
      ["Taken by other campaigns: skipped", totals.elsewhere.length],
      ["Twice in the file: skipped", totals.repeated.length],
      ["Bad lines", totals.bad.length],
    ]);
    listing(result, "Bad lines", totals.bad, { isWrong: true, filename: "bad-lines.txt" });
    listing(result, "Taken by other campaigns or coupons", totals.elsewhere, { filename: "taken-codes.txt" });
    listing(result, "Twice in the file", totals.repeated, { filename: "repeated-codes.txt" });
    listing(result, "The first codes", totals.first);
    const button = element("add");
    button.hidden = Boolean(totals.bad.length) || !totals.codes;
    button.textContent = fresh ? `Add about ${count(fresh)} codes` : "Add the codes again";
    if (fresh && !totals.inPool && !totals.repeated.length) button.textContent = `Add ${count(fresh)} codes`;
    button.onclick = () => guard(() => add(file, totals, mine), "add-state");
  }

  async function add(file, checked, mine) {
    const totals = { added: 0, inPool: 0, elsewhere: [], total: 0 };
    const state = element("add-state");
    element("add").hidden = true;
    element("adding").hidden = false;
    element("add-result").replaceChildren();
    isAdding = true;
    for await (const piece of pieces(file)) {
      if (piece.tooLong) throw new Error("The file has changed since it was checked. Choose it again.");
      const answer = await send(page.dataset.add, piece, () => {
        state.textContent = "The server does not answer; trying again…";
      });
      totals.added += answer.added;
      totals.inPool += answer.in_pool;
      totals.elsewhere.push(...answer.elsewhere.map(([line, code]) => `line ${line}: ${code}`));
      totals.total = answer.total;
      element("add-progress").value = piece.position / file.size;
      state.textContent = `${count(totals.added + totals.inPool + totals.elsewhere.length)} of ${count(checked.codes)} codes…`;
      if (mine !== run) return;
    }
    isAdding = false;
    element("add-progress").value = 1;
    state.textContent = "Done.";
    facts(element("add-result"), [
      ["Added", totals.added],
      ["In the pool already: skipped", totals.inPool],
      ["Taken by other campaigns: skipped", totals.elsewhere.length],
      ["Codes that the pool has had in all", totals.total],
    ]);
    listing(element("add-result"), "Skipped: taken by other campaigns or coupons", totals.elsewhere, { filename: "skipped-codes.txt" });
  }

  async function guard(work, stateId) {
    try {
      await work();
    } catch (error) {
      element(stateId).textContent = error.message;
      element(stateId).className = "wrong mb-4";
    } finally {
      isAdding = false;
    }
  }

  // The admin's own script would look for a text field beside the input, and fail without one.
  element("code-file").hasChangeListener = true;
  element("code-file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    run += 1;
    const mine = run;
    element("adding").hidden = true;
    element("check").hidden = !file;
    element("add").hidden = true;
    element("check-result").replaceChildren();
    element("check-state").className = "mb-4";
    element("add-state").className = "mb-4";
    element("check-progress").value = 0;
    if (!file) return;
    if (!file.size) {
      element("check-state").textContent = "The file is empty.";
      return;
    }
    guard(() => check(file, mine), "check-state");
  });

  window.addEventListener("beforeunload", (event) => {
    if (isAdding) event.preventDefault();
  });
})();
