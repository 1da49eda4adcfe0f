"use strict";
/* Comparing: up to nine pictures side by side, or one against the next. */

gallery.beside = (() => {
  const { make, say } = gallery;
  const dialog = document.getElementById("beside");
  const panes = dialog.querySelector(".panes");
  let [rows, from] = [[], null];

  /** What the rows differ in, by name. */
  const differences = () => {
    const facts = rows.map(({ model, input, meta }) => ({ model, ...meta, ...input }));
    const names = new Set(facts.flatMap(Object.keys));
    return [...names]
      .map((name) => [name, facts.map((one) => (one[name] === undefined ? "–" : gallery.shown(one[name])))])
      .filter(([, values]) => new Set(values).size > 1);
  };

  const MOST = 9; // panes
  const COLUMNS = [0, 1, 2, 3, 4, 3, 3, 4, 4, 3]; // by the number of panes
  let waiting = []; // who comes next against the one that stays

  const pane = (row, n, differ) => {
    const { file } = row;
    const { note } = gallery.choice.of(row);
    const picture = gallery.tiles.face(file?.kind === "image" ? { ...row, file: { ...file, thumb: null } } : row, { lazy: false });
    if (picture.tagName === "VIDEO") picture.controls = true;
    const view = make("div", { class: "view" }, picture);
    const facts = differ.map(([name, values]) => make("div", {}, make("dt", {}, name), make("dd", { dir: "auto" }, values[n])));
    return make("section", { tabindex: "0", "aria-label": gallery.tiles.label(row, gallery.choice.of(row)), "data-i": row.i },
      view, make("h3", {}, gallery.tiles.name(row)), gallery.judging(row), note ? make("p", { dir: "auto" }, note) : null, make("dl", {}, ...facts));
  };

  const zoom = gallery.zoom(panes, ".view");

  const lay = (shown, focused = 0) => {
    rows = shown;
    const differ = differences();
    panes.replaceChildren(...rows.map((row, n) => pane(row, n, differ)));
    panes.style.setProperty("--panes", COLUMNS[rows.length]);
    panes.classList.toggle("many", rows.length > 4);
    gallery.whole.open(dialog);
    zoom.show();
    panes.children[focused].focus();
  };

  /** Show these pictures; if they are more than there are panes, two of them, and the others wait. */
  const show = (shown, back) => {
    from = back;
    waiting = shown.length > MOST ? shown.slice(2) : [];
    zoom.reset();
    lay(shown.length > MOST ? shown.slice(0, 2) : shown);
  };

  const place = () => [...panes.children].findIndex((one) => one.contains(document.activeElement));
  const current = () => rows[place()];

  /** The one with the focus stays; the next comes against it: one that waits, or is next on the page. */
  const stay = () => {
    const winner = current();
    if (!winner) return;
    const among = gallery.shownRows();
    const last = Math.max(...rows.map(({ i }) => among.indexOf(i)));
    const next = waiting.length ? waiting[0] : gallery.list[among[last + 1]];
    if (!next) return gallery.tell(say("beside.stays", { name: gallery.tiles.name(winner) }));
    waiting = waiting.slice(1);
    // It stays in its place, so that the eye finds it again.
    const right = rows.length === 2 && rows[1] === winner;
    lay(right ? [next, winner] : [winner, next], Number(right));
  };

  /** While it is held: the next pane's picture in the place of this one's. */
  const flicker = (on) => {
    for (const over of panes.querySelectorAll(".over")) over.remove();
    for (const one of panes.querySelectorAll(".under")) one.classList.remove("under");
    if (!on || place() < 0) return;
    const here = panes.children[place()].querySelector(".view");
    const other = panes.children[(place() + 1) % rows.length].querySelector(".view img");
    if (!other || !here.querySelector("img")) return;
    const over = other.cloneNode();
    over.className = "over";
    here.querySelector("img").classList.add("under");
    here.append(over);
    zoom.show();
  };

  dialog.querySelector(".zoom").onclick = () => zoom.toggle();
  dialog.querySelector(".stay").onclick = () => {
    panes.children[Math.max(place(), 0)].focus();
    stay();
  };
  dialog.addEventListener("keydown", (event) => {
    if (event.target.matches("video, audio") || event.ctrlKey || event.metaKey || event.altKey) return;
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "w") stay();
    else if (event.key === "b") event.repeat || flicker(true);
    else if (!zoom.key(event, panes.children[Math.max(place(), 0)].querySelector(".view"))) {
      if (!way) return;
      panes.children[Math.min(Math.max(place() + way, 0), rows.length - 1)].focus();
    }
    event.preventDefault();
  });
  dialog.addEventListener("keyup", ({ key }) => key === "b" && flicker(false));
  panes.addEventListener("focusout", () => flicker(false));
  panes.addEventListener("focusin", () => {
    if (gallery.shownRows().includes(current()?.i)) from = current(); // there the cursor will be
  });

  // What one film does, all do.
  const others = ({ target }) => [...panes.querySelectorAll("video")].filter((one) => one !== target);
  const follow = {
    // One that is told to pause before it could begin says so, and one at its end pauses by itself.
    play: (event) => others(event).forEach((one) => one.paused && one.play().catch(() => {})),
    pause: (event) => event.target.ended || others(event).forEach((one) => one.pause()),
    seeking: (event) => others(event).forEach((one) => {
      if (Math.abs(one.currentTime - event.target.currentTime) > 0.05) one.currentTime = event.target.currentTime;
    }),
  };
  for (const [name, does] of Object.entries(follow)) panes.addEventListener(name, does, true); // they do not bubble

  dialog.addEventListener("close", () => {
    panes.replaceChildren();
    gallery.back(from);
  });

  return {
    show,
    get row() { return dialog.open ? current() ?? null : null; },
    mark: () => [...panes.children].forEach((one) => gallery.judgeAgain(one, gallery.list[one.dataset.i])),
  };
})();
