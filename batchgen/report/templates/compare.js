"use strict";
/* Comparing: a matrix with any two fields that vary as its axes, prompt by seed, say; and up to nine
   pictures side by side, or one against the next. */

gallery.matrix = (() => {
  const { make, say } = gallery;
  const MOST_ACROSS = 40;
  const MOST_DOWN = 60;
  const IN_A_CELL = 4;
  const box = document.getElementById("matrix");
  const [acrossList, downList] = [document.getElementById("across-axis"), document.getElementById("down-axis")];
  let [rows, hidden, chosen, wished] = [[], true, false, null];

  const axes = () => gallery.store.varying().filter(({ name }) => name !== "listed" && name !== "error");

  /** The two fields that say most in one look: few values across, the prompt or many down. */
  const suggested = (columns) => {
    const inputs = columns.filter(({ name }) => name.startsWith("input."));
    const all = [...inputs, ...columns.filter((one) => !inputs.includes(one))];
    const fits = (c) => c.distinct <= 12 && !/prompt$/.test(c.name);
    const across = all.find(fits) ?? all[0];
    const others = all.filter((c) => c !== across);
    return [across, others.find((c) => c.name === "input.prompt") ?? others.find(fits) ?? others[0]];
  };

  const fill = (list, columns, name) => {
    const options = columns.map((c) => make("option", { value: c.name }, gallery.filters.title(c)));
    list.replaceChildren(...options);
    list.value = name ?? "";
  };

  const offer = () => {
    const columns = axes();
    const names = columns.map((c) => c.name);
    const [across, down] = suggested(columns);
    const keep = (list, found) => (chosen && names.includes(list.value) ? list.value : found?.name);
    let [x, y] = [keep(acrossList, across), keep(downList, down)];
    if (wished?.every((name) => names.includes(name))) [[x, y], wished, chosen] = [wished, null, true];
    fill(acrossList, columns, x);
    fill(downList, columns, y);
  };

  /** The rows of each pair of values, and the values in order, as far as they are shown. */
  const sorted = (x, y) => {
    const cells = new Map();
    for (const i of rows) {
      const place = `${x.get(i)} ${y.get(i)}`;
      if (!cells.has(place)) cells.set(place, []);
      cells.get(place).push(i);
    }
    const used = (c) => {
      const codes = new Set(rows.map((i) => c.get(i)));
      return c.ordered.filter((code) => codes.has(code));
    };
    return { cells, across: used(x), down: used(y) };
  };

  const cell = (found = [], size) => {
    const some = found.slice(0, IN_A_CELL);
    const edge = some.length > 1 ? size / 2 - 4 : size;
    const tiles = some.map((i) => {
      const tile = gallery.tiles.make(gallery.list[i], "button");
      const ratio = gallery.tiles.aspect(gallery.list[i]);
      Object.assign(tile.style, { width: `${edge}px`, height: `${edge / Math.max(ratio, 0.5) + 22}px` });
      return tile;
    });
    const more = found.length - some.length;
    const others = more ? make("span", { class: "more" }, say("matrix.more", { n: more })) : null;
    return make("td", {}, make("div", { class: "cell", style: { width: `${size}px` } }, ...tiles, others));
  };

  const draw = () => {
    const [x, y] = [acrossList.value, downList.value].map(gallery.store.column);
    if (!acrossList.value || !downList.value)
      return box.querySelector("table").replaceChildren(make("caption", {}, say("matrix.nothing")));
    const { cells, across, down } = sorted(x, y);
    const [xs, ys] = [across.slice(0, MOST_ACROSS), down.slice(0, MOST_DOWN)];
    const size = gallery.size();
    const words = gallery.filters.word;
    const corner = make("td", { class: "corner" }, `${y.label} ╲ ${x.label}`);
    const head = xs.map((code) => make("th", { scope: "col", dir: "auto" }, words(x, code)));
    const lines = ys.map((b) => {
      const name = make("th", { scope: "row", dir: "auto" }, make("span", {}, words(y, b)));
      return make("tr", {}, name, ...xs.map((a) => cell(cells.get(`${a} ${b}`), size)));
    });
    const counts = say("matrix.caption", { across: across.length, down: down.length });
    const cut = across.length > xs.length || down.length > ys.length;
    const told = cut ? ` ${say("matrix.cut", { across: xs.length, down: ys.length })}` : "";
    box.querySelector("table").replaceChildren(
      make("caption", {}, counts + told),
      make("thead", {}, make("tr", {}, corner, ...head)),
      make("tbody", {}, ...lines),
    );
    const first = box.querySelector(".tile");
    if (first) first.tabIndex = 0;
  };

  const activate = (tile) => {
    for (const other of box.querySelectorAll('.tile[tabindex="0"]')) other.tabIndex = -1;
    tile.tabIndex = 0;
    tile.focus();
    tile.scrollIntoView({ block: "nearest", inline: "nearest" });
  };

  /** The tile in a direction: in this cell, or in the next one that has any. */
  const toward = (tile, key) => {
    const [across, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    const beside = across > 0 ? tile.nextElementSibling : across < 0 ? tile.previousElementSibling : null;
    if (beside?.matches(".tile")) return beside;
    const lines = [...box.querySelectorAll("tbody tr")];
    let [x, y] = [tile.closest("td").cellIndex, lines.indexOf(tile.closest("tr"))];
    while (lines[(y += down)]?.cells[(x += across)]?.tagName === "TD") {
      const found = lines[y].cells[x].querySelectorAll(".tile");
      if (found.length) return found[across < 0 ? found.length - 1 : 0];
    }
    return tile;
  };

  box.addEventListener("keydown", (event) => {
    const tile = event.target.closest(".tile");
    if (!tile || !event.key.startsWith("Arrow") || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    activate(toward(tile, event.key));
  });
  for (const list of [acrossList, downList])
    list.onchange = () => {
      chosen = true;
      draw();
      gallery.changed(); // the address says it
    };

  return {
    activate,
    show: (shown) => {
      const held = box.querySelector(".tile:focus");
      const [i, at] = held ? [held.dataset.i, [...box.querySelectorAll(".tile")].indexOf(held)] : [];
      rows = shown;
      if (hidden) return;
      offer();
      draw();
      const tiles = [...box.querySelectorAll(".tile")];
      const tile = held && (tiles.find((one) => one.dataset.i === i) ?? tiles[Math.min(at, tiles.length - 1)]);
      if (tile) activate(tile);
    },
    hide: (now) => {
      box.hidden = hidden = now;
      if (now) box.querySelector("table").replaceChildren();
    },
    resize: () => hidden || draw(),
    /** The names of the fields across and down. */
    axes: () => wished ?? [acrossList.value, downList.value],
    /** Have these fields across and down, as soon as rows have them. */
    choose: (names) => (wished = names.length === 2 ? names : null),
    tileOf: (row) => row && box.querySelector(`.tile[data-i="${row.i}"]`),
    mark: () => box.querySelectorAll(".tile").forEach(gallery.tiles.mark),
  };
})();

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
