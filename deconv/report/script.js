"use strict";

/* One page of the report at a time; its pictures are decoded when it is first opened. */
const pages = [...document.querySelectorAll(".page")];

function open(id) {
  const wanted = pages.find((page) => page.id === id) || pages[0];
  for (const page of pages) page.classList.toggle("open", page === wanted);
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === "#" + wanted.id) {
      link.setAttribute("aria-current", "page");
      link.parentElement.scrollLeft = link.offsetLeft - link.parentElement.clientWidth / 3;
    } else link.removeAttribute("aria-current");
  }
  load(wanted);
  window.scrollTo(0, 0);
}

function load(page) {
  const store = document.getElementById(page.id.replace("picture", "data"));
  if (!store || store === page || page.pictures) return;
  const { pictures, panels } = JSON.parse(store.textContent);
  page.pictures = pictures;
  for (const image of page.querySelectorAll("img[data-picture]")) {
    image.src = pictures[Number(image.dataset.picture)];
  }
  for (const image of page.querySelectorAll("img[data-panel]")) {
    const source = panels[image.dataset.panel];
    if (source) image.src = source;
    else image.closest("figure").classList.add("none");
  }
}

/* Zoom and place are three variables of the page, which all panes in it read. */
function Viewer(page) {
  const tools = page.querySelector(".tools");
  const panes = [...page.querySelectorAll(".pane")];
  const view = { zoom: 1, x: 0, y: 0 };

  function show() {
    const least = 100 * (1 - view.zoom);
    view.x = Math.min(0, Math.max(least, view.x));
    view.y = Math.min(0, Math.max(least, view.y));
    page.style.setProperty("--zoom", view.zoom);
    page.style.setProperty("--x", view.x);
    page.style.setProperty("--y", view.y);
    page.classList.toggle("zoomed", view.zoom > 1);
    page.classList.toggle("sharp", view.zoom >= 3);
    tools.querySelector("output").textContent = Math.round(view.zoom * 10) / 10 + "×";
  }

  /* `at` stays where it is: percent of the pane from its upper left corner. */
  function zoom(factor, at = { x: 50, y: 50 }) {
    const before = view.zoom;
    view.zoom = Math.min(32, Math.max(1, before * factor));
    const ratio = view.zoom / before;
    view.x = at.x - (at.x - view.x) * ratio;
    view.y = at.y - (at.y - view.y) * ratio;
    show();
  }

  function place(pane, event) {
    const box = pane.getBoundingClientRect();
    return {
      x: (100 * (event.clientX - box.left)) / box.width,
      y: (100 * (event.clientY - box.top)) / box.height,
    };
  }

  function cut(pane, percent) {
    const value = Math.min(100, Math.max(0, percent));
    const all = tools.querySelector(".together").checked ? panes : [pane];
    for (const each of all) {
      each.style.setProperty("--cut", value + "%");
      each.parentElement.querySelector(".cut").value = value;
    }
  }

  tools.querySelector(".before").addEventListener("change", (event) => {
    for (const image of page.querySelectorAll("img.left")) {
      image.src = page.pictures[Number(event.target.value)];
    }
  });
  tools.querySelector(".large").addEventListener("change", (event) => {
    page.querySelector(".cards").classList.toggle("large", event.target.checked);
  });
  for (const button of tools.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => {
      const factor = Number(button.dataset.zoom);
      zoom(factor || 1 / view.zoom);
    });
  }
  for (const pane of panes) {
    pane.parentElement.querySelector(".cut").addEventListener("input", (event) => {
      cut(pane, Number(event.target.value));
    });
    follow(pane);
  }

  /* Near the line, or unzoomed, a drag moves the line; else the picture. Two fingers zoom. */
  function follow(pane) {
    const fingers = new Map();
    let moves = "";
    pane.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      pane.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, place(pane, event));
      const line = parseFloat(pane.style.getPropertyValue("--cut") || "50");
      const near = (Math.abs(place(pane, event).x - line) * pane.clientWidth) / 100 < 16;
      moves = view.zoom === 1 || near ? "line" : "picture";
      if (moves === "line" && event.pointerType === "mouse") cut(pane, place(pane, event).x);
    });
    pane.addEventListener("pointermove", (event) => {
      const from = fingers.get(event.pointerId);
      if (!from) return;
      const to = place(pane, event);
      if (fingers.size === 2) {
        const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
        const apart = (a) => Math.hypot(a.x - other.x, a.y - other.y);
        zoom(apart(to) / Math.max(apart(from), 1), other);
      } else if (moves === "line") {
        cut(pane, to.x);
      } else {
        view.x += to.x - from.x;
        view.y += to.y - from.y;
        show();
      }
      fingers.set(event.pointerId, to);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      pane.addEventListener(end, (event) => fingers.delete(event.pointerId));
    }
    pane.addEventListener("dblclick", (event) => zoom(2, place(pane, event)));
    pane.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 200), place(pane, event));
    }, { passive: false });
  }
}

/* What is missing stays last whichever way a column is sorted. */
function Sorter(table) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = heading.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const more = Number(button.dataset.better || -1) > 0;
      const now = heading.getAttribute("aria-sort");
      const down = now ? now === "ascending" : more;
      for (const each of headings) each.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = table.tBodies[0];
      const rows = [...body.rows];
      rows.sort((a, b) => compare(value(a, column), value(b, column), down));
      body.append(...rows);
    });
  });

  function value(row, column) {
    if (column === 0) return row.cells[0].textContent;
    if (row.classList.contains("failed")) return null;
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  }

  function compare(a, b, down) {
    if (a === null || b === null) return (a === null) - (b === null);
    const order = typeof a === "string" ? a.localeCompare(b) : a < b ? -1 : a > b ? 1 : 0;
    return down ? -order : order;
  }
}

for (const button of document.querySelectorAll(".copy")) {
  button.addEventListener("click", async () => {
    const code = button.previousElementSibling;
    window.getSelection().selectAllChildren(code);
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Selected: press Ctrl and C";
    }
  });
}
for (const page of pages) if (page.querySelector(".tools")) Viewer(page);
for (const table of document.querySelectorAll("table.sortable")) Sorter(table);
window.addEventListener("hashchange", () => open(location.hash.slice(1)));
open(location.hash.slice(1));
