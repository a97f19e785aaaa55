// Every script here only adds to the page: without them it says the same.
"use strict";
const all = (css, within = document) => [...within.querySelectorAll(css)];
const make = (tag, properties = {}, ...inside) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...inside);
  return made;
};

// Tables of arms: a column's head sorts by it.
function number(text) {
  const found = text.replace("−", "-").match(/^[+-]?[\d.,]+/);
  return found ? parseFloat(found[0].replaceAll(",", "")) : NaN;
}

function sort(table, column, head) {
  const descending = head.getAttribute("aria-sort") !== "descending";
  all("th", table).forEach((th) => th.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const body = table.tBodies[0];
  const key = (row) => row.cells[column].textContent.trim();
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    const order = isNaN(number(x)) || isNaN(number(y)) ? x.localeCompare(y) : number(x) - number(y);
    return descending ? -order : order;
  });
  body.append(...rows);
}

all("table.arms, table.checks").forEach((table) => {
  all("thead th", table).forEach((head, column) => {
    const button = make("button", { type: "button" }, ...head.childNodes);
    button.addEventListener("click", () => sort(table, column, head));
    head.replaceChildren(button);
  });
});

// One filter for arms, wherever they stand: rows of tables, lines of the curves, columns of grids.
function filterArms(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (name) => words.every((word) => name.toLowerCase().includes(word));
  all("table.arms, table.checks").forEach((table) => {
    all("tbody tr", table).forEach((row) => row.classList.toggle("hidden", !fits(row.textContent)));
  });
  const named = (element) => element.dataset.arms.split(" ").some(fits) || fits(element.textContent);
  all(".legend li").forEach((item) => {
    const off = !named(item);
    item.classList.toggle("hidden", off);
    showLine(item.dataset.line, !off && item.querySelector("input").checked);
  });
  all("table.grid").forEach((table) => {
    all("thead th", table).forEach((head, column) => {
      if (!head.dataset.arms) return;
      const off = !named(head);
      all("tr", table).forEach((row) => row.cells[column]?.classList.toggle("hidden", off));
    });
  });
}

const filter = make("input", { type: "search", placeholder: "without tools" });
filter.addEventListener("input", () => filterArms(filter.value));
if (document.querySelector("table.arms")) {
  const label = make("label", {}, "Show only arms with ", filter);
  document.querySelector("nav").after(make("div", { className: "tools" }, label));
}
