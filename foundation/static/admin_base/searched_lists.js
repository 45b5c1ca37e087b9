// The names of the search fields that Select2 puts in the place of lists: it names the hidden lists alone.
"use strict";

// After autocomplete.js, whose function of the same kind makes these fields.
django.jQuery(() => {
  for (const list of document.querySelectorAll("select.admin-autocomplete")) {
    const search = list.parentElement.querySelector(".select2-search--inline .select2-search__field");
    const label = list.labels[0];
    if (!search || !label) continue;
    const name = label.textContent.replace("*", "").trim();
    search.setAttribute("aria-label", name);
    const count = () => (search.closest("[role=combobox]").ariaLabel = `${name}: ${list.selectedOptions.length}`);
    django.jQuery(list).on("change", count);
    count();
  }
});
