// A sweep that runs: where it stands is asked every other second; the page is loaded again when there is a newer one.
const now = document.querySelector("#now");
const place = `watch ${location.pathname}`;
const switches = () => all(".legend input");
const unfolded = () => all("details");

// What a reader has switched off, unfolded or typed stays so.
const before = JSON.parse(sessionStorage.getItem(place) || "null");
if (before) {
  switches().forEach((box) => {
    if (!before.off.includes(box.parentNode.textContent.trim().split(" ")[0])) return;
    box.checked = false;
    box.dispatchEvent(new Event("change"));
  });
  unfolded().forEach((part) => { part.open = before.open.includes(part.firstElementChild.textContent); });
  filter.value = before.filter;
  filter.dispatchEvent(new Event("input"));
}
addEventListener("pagehide", () => sessionStorage.setItem(place, JSON.stringify({
  off: switches().filter((box) => !box.checked).map((box) => box.parentNode.textContent.trim().split(" ")[0]),
  open: unfolded().filter((part) => part.open).map((part) => part.firstElementChild.textContent),
  filter: filter.value,
})));

async function look() {
  try {
    const answer = await fetch("now");
    const { version, html } = await answer.json();
    if (version !== now.dataset.version && !document.querySelector("dialog[open]")) return location.reload();
    now.innerHTML = html;
  } catch {
    now.replaceChildren(make("p", {}, make("b", {}, "harness watch"), " does not answer: it has ended, or is busy."));
  }
  return setTimeout(look, 2000);
}
setTimeout(look, 2000);
