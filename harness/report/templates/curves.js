// Curves: each line can be switched off; the line under the pointer, or whose name has the focus, stands out.
function showLine(line, shown) {
  all(`.curves g[data-line="${line}"]`).forEach((group) => group.classList.toggle("off", !shown));
}

all(".curves").forEach((figure) => {
  const svg = figure.querySelector("svg");
  const readout = make("output", { className: "readout" }, "Point at a line for its numbers.");
  svg.after(readout);

  function point(group) {
    svg.classList.toggle("pointed", Boolean(group));
    all("g.line", svg).forEach((other) => other.classList.toggle("on", other === group));
  }

  svg.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    let nearest = null;
    let least = 30 * 30; // units of the figure
    all("g.line:not(.off) circle", svg).forEach((circle) => {
      const far = (circle.cx.baseVal.value - at.x) ** 2 + (circle.cy.baseVal.value - at.y) ** 2;
      if (far < least) [nearest, least] = [circle, far];
    });
    point(nearest && nearest.parentNode);
    if (nearest) readout.textContent = nearest.textContent;
  });
  svg.addEventListener("pointerleave", () => point(null));

  all(".legend li", figure).forEach((item) => {
    const group = svg.querySelector(`g[data-line="${item.dataset.line}"]`);
    const box = make("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => showLine(item.dataset.line, box.checked));
    item.replaceChildren(make("label", {}, box, " ", ...item.childNodes));
    for (const [come, go] of [["pointerenter", "pointerleave"], ["focusin", "focusout"]]) {
      item.addEventListener(come, () => point(group));
      item.addEventListener(go, () => point(null));
    }
  });

  const set = (checked) => () => all(".legend li:not(.hidden) input", figure).forEach((box) => {
    box.checked = checked;
    box.dispatchEvent(new Event("change"));
  });
  const buttons = [["All on", true], ["All off", false]].map(([name, checked]) => {
    const button = make("button", { type: "button" }, name);
    button.addEventListener("click", set(checked));
    return button;
  });
  readout.after(make("div", { className: "tools" }, ...buttons));
});
