// Search and sort of the list of results; nothing is fetched.
"use strict";
(() => {
  const body = document.querySelector("#results tbody");
  const rows = [...body.rows];
  const search = document.getElementById("search");
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      count += row.hidden ? 0 : 1;
    }
    document.getElementById("found").textContent = words.length ? `${count} of ${rows.length}` : "";
  });
  const heads = [...document.querySelectorAll("#results thead th[data-kind]")];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const number = head.dataset.kind === "number";
      const value = (row) => (number ? parseFloat(row.cells[column].dataset.value)
        : row.cells[column].textContent.trim());
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        // What is not known stands last, whichever way.
        if (number && (Number.isNaN(x) || Number.isNaN(y))) return Number.isNaN(x) - Number.isNaN(y);
        const order = number ? x - y : x.localeCompare(y);
        return up ? order : -order;
      };
      body.append(...rows.sort(compare));
    });
  });
})();
