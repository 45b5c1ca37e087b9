// The search box: what it finds is listed while a term is typed, and chosen by the keyboard or the pointer.
// Without this script the form leads to the page of the search.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const DELAY_MS = 300;
  const SHORTEST = 2;

  for (const form of document.querySelectorAll("form[data-search]")) setUp(form);

  document.addEventListener("keydown", (event) => {
    const isCtrlK = event.key.toLowerCase() === "k" && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey;
    const isSlash = event.key === "/" && !event.ctrlKey && !event.metaKey && !event.altKey && !isTyping(event.target);
    if (!isCtrlK && !isSlash) return;
    event.preventDefault();
    focusBox();
  });
  document.querySelector(".fc-search-link")?.addEventListener("click", (event) => {
    event.preventDefault();
    focusBox();
  });

  function isTyping(element) {
    return element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName);
  }

  // The box of the sidebar; where that is closed, the one of the dialog.
  function focusBox() {
    const dialog = document.querySelector(".fc-search-dialog");
    const boxes = [...document.querySelectorAll("form[data-search] input[name=q]")];
    if (dialog && !boxes.some((box) => box.offsetParent !== null)) dialog.showModal();
    const shown = boxes.find((box) => box.offsetParent !== null);
    if (!shown) return;
    shown.focus();
    shown.select();
  }

  function setUp(form) {
    const input = form.querySelector("input[name=q]");
    const first = form.querySelector("input[name=first]");
    const list = form.querySelector("ul");
    const status = form.querySelector('[role="status"]');
    let timer = 0;
    let request = null;
    let chosen = -1;

    const attributes = { role: "combobox", "aria-autocomplete": "list", "aria-controls": list.id, "aria-expanded": "false" };
    for (const [name, value] of Object.entries(attributes)) input.setAttribute(name, value);
    // Unfold hides the page while it loads, and a hidden input can't take the focus.
    if (input.autofocus) setTimeout(() => input.focus());

    input.addEventListener("input", () => {
      stop();
      close();
      const term = input.value.trim();
      if (term.length < SHORTEST) return close();
      timer = setTimeout(() => load(term), DELAY_MS);
    });
    input.addEventListener("keydown", onKey);
    form.addEventListener("submit", () => {
      stop();
      // Enter opens the first one, also before the list is there.
      first.disabled = false;
    });
    form.addEventListener("focusout", (event) => {
      if (!form.contains(event.relatedTarget)) close();
    });
    // The input keeps the focus, or the list would close before the click.
    list.addEventListener("pointerdown", (event) => event.preventDefault());
    list.addEventListener("click", (event) => {
      const option = event.target.closest('[role="option"]');
      if (option) open(option);
    });

    function stop() {
      clearTimeout(timer);
      if (request) request.abort();
    }

    async function load(term) {
      request = new AbortController();
      try {
        const address = `${form.dataset.hits}?${new URLSearchParams({ q: term })}`;
        const answer = await fetch(address, { signal: request.signal, credentials: "same-origin" });
        if (answer.redirected || !answer.ok) throw new Error(String(answer.status));
        show((await answer.json()).hits, term);
      } catch (error) {
        if (error.name !== "AbortError") say(form.dataset.away);
      }
    }

    function show(hits, term) {
      if (document.activeElement !== input) return;
      if (!hits.length) return say(form.dataset.none);
      const all = { title: form.dataset.all, address: `${form.action}?${new URLSearchParams({ q: term })}` };
      list.replaceChildren(...[...hits, all].flatMap(optionBelowKind));
      expand();
      choose(-1);
      status.textContent = hits.length;
    }

    function say(text) {
      const item = document.createElement("li");
      item.className = "fc-search-none";
      item.setAttribute("role", "presentation");
      item.textContent = text;
      list.replaceChildren(item);
      choose(-1);
      expand();
      status.textContent = text;
    }

    function optionBelowKind(hit, index, all) {
      if (!hit.kind || hit.kind === all[index - 1]?.kind) return [option(hit, index)];
      const heading = document.createElement("li");
      heading.className = "fc-search-kind";
      heading.setAttribute("role", "presentation");
      heading.textContent = hit.kind;
      return [heading, option(hit, index)];
    }

    function option(hit, index) {
      const item = document.createElement("li");
      item.id = `${list.id}-${index}`;
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", "false");
      item.dataset.address = hit.address;
      if (hit.kind) item.setAttribute("aria-label", [hit.kind, hit.title, hit.detail].join(", "));
      for (const name of ["title", "detail"]) {
        const part = document.createElement("span");
        part.className = `fc-search-${name}`;
        part.textContent = hit[name] ?? "";
        item.append(part, " ");
      }
      return item;
    }

    function onKey(event) {
      const options = list.querySelectorAll('[role="option"]');
      if (event.key === "Escape" && !list.hidden) {
        event.preventDefault();
        stop();
        close();
      } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && !list.hidden && options.length) {
        event.preventDefault();
        const step = event.key === "ArrowDown" ? 1 : -1;
        // One place more than options: the one before the first is the input itself.
        choose(((chosen + 1 + step + options.length + 1) % (options.length + 1)) - 1);
      } else if (event.key === "Enter" && !list.hidden && options.length) {
        event.preventDefault();
        open(options[Math.max(chosen, 0)]);
      }
    }

    function choose(index) {
      const options = list.querySelectorAll('[role="option"]');
      options.forEach((one, at) => one.setAttribute("aria-selected", String(at === index)));
      chosen = index;
      if (index < 0) return input.removeAttribute("aria-activedescendant");
      input.setAttribute("aria-activedescendant", options[index].id);
      options[index].scrollIntoView({ block: "nearest" });
    }

    function open(one) {
      window.location.assign(one.dataset.address);
    }

    function expand() {
      list.hidden = false;
      input.setAttribute("aria-expanded", "true");
    }

    function close() {
      list.hidden = true;
      list.replaceChildren();
      choose(-1);
      input.setAttribute("aria-expanded", "false");
    }
  }
});
