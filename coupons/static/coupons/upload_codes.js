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
  const TEXTS = JSON.parse(element("upload-texts").textContent);
  // A text of the page in its language, with the values in place of their names in braces.
  const text = (name, values = {}) => TEXTS[name].replace(/\{(\w+)\}/g, (_, value) => values[value]);
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

  // The file in UTF-8: one in UTF-16 can't be cut at the bytes of its line ends.
  async function inUtf8(file) {
    const [first, second] = new Uint8Array(await file.slice(0, 2).arrayBuffer());
    const encodings = { 0xfffe: "utf-16le", 0xfeff: "utf-16be" };
    const encoding = encodings[first * 256 + second];
    return encoding ? new File([new TextDecoder(encoding).decode(await file.arrayBuffer())], file.name) : file;
  }

  const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

  // The server's answer to a piece. Sent again while the server is away or busy: adding skips what exists.
  async function send(address, piece, headers, onRetry) {
    for (let attempt = 1; ; attempt += 1) {
      let answer = null;
      try {
        answer = await fetch(`${address}?${new URLSearchParams({ first_line: piece.line })}`, {
          method: "POST",
          body: piece.bytes,
          credentials: "same-origin",
          redirect: "manual",
          headers: {
            "Content-Type": "text/csv",
            "X-CSRFToken": page.querySelector("[name=csrfmiddlewaretoken]").value,
            ...headers,
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
        throw new Error(text("signedOut"));
      }
      if (answer && answer.status < 500 && answer.status !== 429 && answer.status !== 408) {
        const problem = await answer.json().catch(() => ({}));
        throw new Error(problem.detail || text("refused", { status: answer.status }));
      }
      if (attempt >= ATTEMPTS) {
        throw new Error(text("unreachable"));
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
      more.textContent = `${text("notShown", { shown: LISTED, more: count(rows.length - LISTED) })} `;
      if (filename) {
        const link = document.createElement("a");
        link.href = URL.createObjectURL(new Blob([rows.join("\n"), "\n"], { type: "text/plain" }));
        link.download = filename;
        link.textContent = text("downloadAll");
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
      decoder.decode(piece.bytes).split("\n").forEach((content, index) => {
        const code = content.trim().replace(/^"(.*)"$/, "$1");
        if (!code) return;
        const line = piece.line + index;
        if (seen.has(code)) found.push(text("repeatedLine", { line, code, first: seen.get(code) }));
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
        totals.bad.push(text("tooLongLine", { line: piece.line, bytes: count(PIECE_BYTES) }));
      } else {
        const answer = await send(page.dataset.check, piece, {}, () => {
          state.textContent = text("noAnswer");
        });
        if (mine !== run) return;
        totals.codes += answer.codes;
        totals.inPool += answer.in_pool;
        totals.first.push(...answer.first.slice(0, 10 - totals.first.length));
        totals.bad.push(...answer.bad.map(({ line, detail }) => text("detailLine", { line, detail })));
        totals.elsewhere.push(...answer.elsewhere.map(([line, detail]) => text("detailLine", { line, detail })));
        note(piece, totals.repeated);
      }
      element("check-progress").value = piece.position / file.size;
      state.textContent = text("checkedSoFar", { codes: count(totals.codes) });
    }
    element("check-progress").value = 1;
    showCheck(file, totals, mine);
  }

  function showCheck(file, totals, mine) {
    const result = element("check-result");
    const fresh = Math.max(0, totals.codes - totals.inPool - totals.elsewhere.length - totals.repeated.length);
    element("check-state").textContent = totals.bad.length
      ? text("badFile", { lines: count(totals.bad.length) })
      : text("checked", { file: file.name });
    facts(result, [
      [text("codesInFile"), totals.codes],
      [text("skippedInThisPool"), totals.inPool],
      [text("skippedElsewhere"), totals.elsewhere.length],
      [text("skippedTwice"), totals.repeated.length],
      [text("badLines"), totals.bad.length],
    ]);
    listing(result, text("badLines"), totals.bad, { isWrong: true, filename: "bad-lines.txt" });
    listing(result, text("takenCodes"), totals.elsewhere, { filename: "taken-codes.txt" });
    listing(result, text("repeatedCodes"), totals.repeated, { filename: "repeated-codes.txt" });
    listing(result, text("firstCodes"), totals.first);
    const button = element("add");
    button.hidden = Boolean(totals.bad.length) || !totals.codes;
    element("why").hidden = button.hidden;
    button.textContent = fresh ? text("addAboutCodes", { codes: count(fresh) }) : text("addAgain");
    if (fresh && !totals.inPool && !totals.repeated.length) button.textContent = text("addCodes", { codes: count(fresh) });
    button.onclick = () => guard(() => add(file, totals, mine), "add-state");
  }

  async function add(file, checked, mine) {
    const field = element("id_reason");
    const reason = field.value.trim();
    if (!reason) {
      element("no-reason").textContent = text("noReason");
      field.focus();
      return;
    }
    element("no-reason").textContent = "";
    // Quoted, because a header has none but ASCII characters.
    const headers = { "X-Reason": encodeURIComponent(reason) };
    const totals = { added: 0, inPool: 0, elsewhere: [], total: 0 };
    const state = element("add-state");
    element("add").hidden = true;
    element("why").hidden = true;
    element("adding").hidden = false;
    element("add-result").replaceChildren();
    isAdding = true;
    for await (const piece of pieces(file)) {
      if (piece.tooLong) throw new Error(text("fileChanged"));
      const answer = await send(page.dataset.add, piece, headers, () => {
        state.textContent = text("noAnswer");
      });
      totals.added += answer.added;
      totals.inPool += answer.in_pool;
      totals.elsewhere.push(...answer.elsewhere.map(([line, detail]) => text("detailLine", { line, detail })));
      totals.total = answer.total;
      element("add-progress").value = piece.position / file.size;
      const done = totals.added + totals.inPool + totals.elsewhere.length;
      state.textContent = text("addedSoFar", { done: count(done), codes: count(checked.codes) });
      if (mine !== run) return;
    }
    isAdding = false;
    element("add-progress").value = 1;
    state.textContent = text("done");
    facts(element("add-result"), [
      [text("added"), totals.added],
      [text("skippedInPool"), totals.inPool],
      [text("skippedElsewhere"), totals.elsewhere.length],
      [text("totalCodes"), totals.total],
    ]);
    listing(element("add-result"), text("skippedCodes"), totals.elsewhere, { filename: "skipped-codes.txt" });
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
    element("why").hidden = true;
    element("check-result").replaceChildren();
    element("check-state").className = "mb-4";
    element("add-state").className = "mb-4";
    element("check-progress").value = 0;
    if (!file) return;
    if (!file.size) {
      element("check-state").textContent = text("emptyFile");
      return;
    }
    guard(async () => check(await inUtf8(file), mine), "check-state");
  });

  window.addEventListener("beforeunload", (event) => {
    if (isAdding) event.preventDefault();
  });
})();
