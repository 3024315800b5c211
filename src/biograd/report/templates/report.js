"use strict";
// A click on a column's title, or Enter or Space on it, sorts by that column, the best first; again, the other way round.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const titles = [...table.tHead.rows[0].cells];
  titles.forEach((title, column) => {
    title.querySelector("button").addEventListener("click", () => {
      const sorted = title.getAttribute("aria-sort");
      const ascending = sorted === "none" ? !title.hasAttribute("data-greatest-first") : sorted === "descending";
      titles.forEach((other) => other.setAttribute("aria-sort", "none"));
      title.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const sign = ascending ? 1 : -1;
      const numeric = title.classList.contains("number");
      const valueOf = (row) => row.cells[column].dataset.value;
      const compare = (a, b) => {
        const [x, y] = [valueOf(a), valueOf(b)];
        if (x === "" || y === "") return (x === "") - (y === ""); // what is missing stays below
        return sign * (numeric ? Number(x) - Number(y) : x.localeCompare(y));
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}
