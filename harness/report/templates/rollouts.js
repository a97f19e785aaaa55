// A cell that leads to a rollout opens two arms side by side: the cell's, and another one's from the same seed and task.
all("table.opens").forEach((table) => {
  const heads = all("thead th", table).map((head) => head.textContent.trim());
  const title = make("h3");
  const close = make("button", { type: "button" }, "Close");
  const panes = [0, 1].map(() => ({ choice: make("select"), shown: make("div") }));
  const dialog = make("dialog", {}, close, title, make("div", { className: "beside" }, ...panes.map((pane) =>
    make("div", {}, make("label", {}, "Arm ", pane.choice), pane.shown))));
  dialog.setAttribute("aria-label", "Two arms side by side");
  document.body.append(dialog);
  close.addEventListener("click", () => dialog.close());

  const anchorOf = (row, column) => row.cells[column].querySelector("a")?.hash;

  function show(pane, row, column) {
    const article = document.querySelector(anchorOf(row, column)).cloneNode(true);
    article.removeAttribute("id");
    pane.shown.replaceChildren(article);
    markDifferences();
  }

  function markDifferences() {
    const facts = panes.map(({ shown }) =>
      new Map(all("dl > div", shown).map((fact) => [fact.firstChild.textContent, fact.lastChild])));
    facts.forEach((own, n) => own.forEach((value, name) => {
      const other = facts[1 - n].get(name);
      value.classList.toggle("differs", Boolean(other) && other.textContent !== value.textContent);
    }));
  }

  function open(row, column) {
    const columns = heads.map((_, n) => n).filter((n) => n && anchorOf(row, n));
    const other = columns.find((n) => anchorOf(row, n) !== anchorOf(row, column));
    title.textContent = row.dataset.place;
    [column, other ?? column].forEach((chosen, n) => {
      const { choice } = panes[n];
      choice.replaceChildren(...columns.map((c) => make("option", { value: c, selected: c === chosen }, heads[c])));
      choice.onchange = () => show(panes[n], row, Number(choice.value));
      show(panes[n], row, chosen);
    });
    dialog.showModal();
    dialog.scrollTop = 0;
  }

  table.addEventListener("click", (event) => {
    const link = event.target.closest("a");
    if (!link) return;
    event.preventDefault();
    const cell = link.closest("td");
    open(cell.parentNode, cell.cellIndex);
  });
});
