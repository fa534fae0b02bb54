// Sorting and filtering of the table of classes. Without it the page shows the same, in one order.
(() => {
  "use strict";
  const table = document.getElementById("class-table");
  const body = table.tBodies[0];
  const form = document.getElementById("class-filter");
  const words = document.getElementById("class-words");
  const positive = document.getElementById("class-positive");
  const status = document.getElementById("class-status");
  const heads = [...table.tHead.rows[0].cells];

  const compare = (one, two, column, kind, sign) => {
    const [a, b] = [one, two].map((row) => row.cells[column].dataset.value);
    if (kind === "text") return sign * a.localeCompare(b, "en");
    const [x, y] = [a, b].map(Number);
    if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y); // undefined ones come last
    return sign * (x - y);
  };

  heads.forEach((head, column) => {
    const kind = head.dataset.sort;
    const name = head.textContent;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const order = before ? (before === "ascending" ? "descending" : "ascending") : kind === "text" ? "ascending" : "descending";
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      body.append(...[...body.rows].sort((one, two) => compare(one, two, column, kind, sign)));
    });
  });

  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of body.rows) {
      const text = row.cells[0].textContent.toLowerCase();
      row.hidden = !wanted.every((word) => text.includes(word)) || (positive.checked && row.dataset.positives === "0");
      shown += !row.hidden;
    }
    status.textContent = `${shown} of ${body.rows.length} classes`;
  };

  form.addEventListener("submit", (event) => event.preventDefault());
  words.addEventListener("input", filter);
  positive.addEventListener("change", filter);
  form.hidden = false;
  filter();
})();
