"use strict";
/* The matrix: any two fields that vary as its axes, prompt by seed, say, and slices by a third. Only
   the lines near the window are in the page, and as many columns as fit its width. */

gallery.matrix = (() => {
  const { make, say } = gallery;
  const IN_A_CELL = 4; // pictures; of more, a button opens the others
  const [GAP, PAD, CAPTION, MORE, LOWEST] = [8, 6, 22, 28, 76]; // pixels
  const WORDS = 17; // pixels of a line of a head
  const TALLEST = 15e6; // pixels; browsers lose count not far above
  const at = (id) => document.getElementById(id);
  const [box, table] = [at("matrix"), at("matrix").querySelector("table")];
  const lists = { across: at("across-axis"), down: at("down-axis"), slice: at("slice-axis"), value: at("slice-value") };
  let [rows, hidden, chosen, wished] = [[], true, false, null];
  // What the rows are as a matrix. lines: {code, cells: the rows' indices, by place across}.
  let model = { x: null, y: null, across: [], lines: [] };
  let active = { line: 0, x: 0, n: 0 }; // the place of the tile that Tab leads to
  // How it is laid out: the first column that is shown, how many are, pixels.
  let lay = { from: 0, columns: 1, edge: 0, head: 0, tops: [0], width: 0 };
  const drawn = new Map(); // the lines in the page, by their number
  const tiles = new Map(); // by their picture's index
  let drawing = false;
  let slicing = ""; // the name of the field that it is sliced by

  const fields = () => gallery.store.varying().filter(({ name }) => name !== "listed" && name !== "error");

  /** The two fields that say most in one look: few values across, the prompt or many down. */
  const suggested = (columns) => {
    const inputs = columns.filter(({ name }) => name.startsWith("input."));
    const all = [...inputs, ...columns.filter((one) => !inputs.includes(one))];
    const fits = (c) => c.distinct <= 12 && !/prompt$/.test(c.name);
    const across = all.find(fits) ?? all[0];
    const others = all.filter((c) => c !== across);
    return [across, others.find((c) => c.name === "input.prompt") ?? others.find(fits) ?? others[0]];
  };

  const option = (value, words) => make("option", { value }, words);
  const fill = (list, options, value) => {
    list.replaceChildren(...options);
    list.value = value ?? "";
  };

  const offer = () => {
    const columns = fields();
    const names = columns.map((c) => c.name);
    const [across, down] = suggested(columns);
    const keep = (list, found) => (chosen && names.includes(list.value) ? list.value : found?.name);
    let [x, y, slice] = [keep(lists.across, across), keep(lists.down, down), names.includes(lists.slice.value) ? lists.slice.value : ""];
    if (wished?.every((name) => names.includes(name))) [[x, y, slice = ""], wished, chosen] = [wished, null, true];
    const titled = (c) => option(c.name, gallery.filters.title(c));
    fill(lists.across, columns.map(titled), x);
    fill(lists.down, columns.map(titled), y);
    const others = columns.filter(({ name }) => name !== x && name !== y);
    fill(lists.slice, [option("", say("matrix.no_slice")), ...others.map(titled)], others.some(({ name }) => name === slice) ? slice : "");
    slicing = lists.slice.value;
    offerSlices();
  };

  /** The codes that rows have: numbers and fixed fields by their value, others as the rows come, none last. */
  const codesIn = (c, some) => {
    const codes = new Set(some.map((i) => c.get(i)));
    const sorted = !c.name.includes(".") || [...codes].every((code) => !code || !Number.isNaN(c.numbers[code]));
    return sorted ? c.ordered.filter((code) => codes.has(code)) : [...codes].sort((a, b) => !a - !b);
  };

  // Slices: one value of a third field at a time, as a filter

  const sliced = () => (slicing ? gallery.store.column(slicing) : null);
  const codeOfSlice = (c) => {
    const codes = [...(gallery.filters.chosen.get(c.name) ?? [])];
    return codes.length === 1 ? codes[0] : null;
  };
  const slices = (c) => codesIn(c, gallery.list.map(({ i }) => i));

  const offerSlices = () => {
    const c = sliced();
    for (const one of box.querySelectorAll(".slice")) one.hidden = !c;
    if (!c) return;
    const options = slices(c).map((code) => option(code, gallery.filters.word(c, code).slice(0, 80)));
    fill(lists.value, [option("", say("matrix.all_slices")), ...options], codeOfSlice(c));
  };

  const slice = (code) => gallery.filters.only(sliced(), code);
  /** Go to the next slice, or the one before; where there is none yet, to the first. */
  const step = (way) => {
    const c = sliced();
    if (!c) return gallery.tell(say("matrix.needs_slice"));
    const codes = slices(c);
    const place = codes.indexOf(codeOfSlice(c));
    slice(codes[place < 0 ? 0 : (place + way + codes.length) % codes.length]);
  };

  // Places

  const build = () => {
    const [x, y] = [lists.across, lists.down].map(({ value }) => (value ? gallery.store.column(value) : null));
    if (!x || !y) return { x, y, across: [], lines: [] };
    const [across, down] = [codesIn(x, rows), codesIn(y, rows)];
    const [toX, toY] = [across, down].map((codes) => new Map(codes.map((code, n) => [code, n])));
    const lines = down.map((code) => ({ code, cells: [] }));
    for (const i of rows) (lines[toY.get(y.get(i))].cells[toX.get(x.get(i))] ??= []).push(i);
    return { x, y, across, lines, toX, toY };
  };

  const cellAt = ({ line, x }) => model.lines[line]?.cells[x] ?? [];
  const pictureAt = (place) => cellAt(place)[Math.min(place.n, IN_A_CELL - 1)];

  /** The place of a picture; null if it is not in the matrix. */
  const placeOf = (i) => {
    const [line, x] = [model.toY?.get(model.y.get(i)), model.toX?.get(model.x.get(i))];
    const n = line === undefined || x === undefined ? -1 : cellAt({ line, x }).indexOf(i);
    return n < 0 ? null : { line, x, n: Math.min(n, IN_A_CELL - 1) };
  };

  /** The next place in this direction, from cell to cell, that has pictures; null if none has. */
  const beyond = ({ line, x }, across, down) => {
    for (let [a, b] = [x + across, line + down]; a >= 0 && b >= 0 && a < model.across.length && b < model.lines.length; a += across, b += down) {
      const { length } = cellAt({ line: b, x: a });
      if (length) return { line: b, x: a, n: across < 0 ? Math.min(length, IN_A_CELL) - 1 : 0 };
    }
    return null;
  };

  /** A place that has a picture: this one, or the next in the order of reading, or the one before. */
  const nearest = (place) => {
    const width = model.across.length;
    const from = Math.min(place.line, model.lines.length - 1) * width + Math.min(place.x, width - 1);
    const placeAt = (cell) => ({ line: Math.floor(cell / width), x: cell % width, n: 0 });
    for (let cell = from; cell < width * model.lines.length; cell++)
      if (cellAt(placeAt(cell)).length) return cell === from ? { ...placeAt(cell), n: Math.min(place.n, cellAt(placeAt(cell)).length - 1, IN_A_CELL - 1) } : placeAt(cell);
    for (let cell = from; cell >= 0; cell--) if (cellAt(placeAt(cell)).length) return placeAt(cell);
    return { line: 0, x: 0, n: 0 };
  };

  // Layout

  /** The width of a tile, and the heights of those in a cell, of which two stand in a line. */
  const sizesIn = (found, edge) => {
    const width = found.length > 1 ? (edge - GAP) / 2 : edge;
    const tallest = 0.7 * window.innerHeight;
    return [width, found.slice(0, IN_A_CELL).map((i) => Math.min(width / gallery.tiles.aspectAt(i), tallest) + CAPTION)];
  };
  const heightOf = (found, edge) => {
    const [, heights] = sizesIn(found, edge);
    let [height, lines] = [0, 0];
    for (let n = 0; n < heights.length; n += 2, lines++) height += Math.max(heights[n], heights[n + 1] ?? 0);
    return height + GAP * (lines - 1) + (found.length > IN_A_CELL ? GAP + MORE : 0);
  };

  const wide = () => Math.floor(box.getBoundingClientRect().width); // clientWidth may be rounded up
  const arrange = () => {
    const width = wide();
    const head = Math.round(Math.min(176, width / 4));
    const fit = Math.round((width - head) / (gallery.size() + 2 * PAD));
    const columns = Math.max(1, Math.min(fit, model.across.length));
    const edge = Math.floor((width - head) / columns) - 2 * PAD; // two tiles and their gap have to fit
    const tops = [0];
    for (const { cells } of model.lines) {
      let height = LOWEST;
      for (const found of cells) if (found) height = Math.max(height, heightOf(found, edge));
      if (tops.at(-1) + height > TALLEST) break;
      tops.push(tops.at(-1) + Math.ceil(height) + 2 * PAD);
    }
    lay = { from: Math.max(0, Math.min(lay.from, model.across.length - columns)), columns, edge, head, tops, width };
  };

  const countOfLines = () => lay.tops.length - 1;
  const lineAt = (y) => {
    let [low, high] = [0, Math.max(countOfLines() - 1, 0)];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (lay.tops[middle] <= y) low = middle;
      else high = middle - 1;
    }
    return low;
  };

  // Drawing

  /** A head shows the rows that have its value, alone, or no longer alone. */
  const headOf = (c, code, lines, given) => {
    const words = gallery.filters.word(c, code);
    const on = gallery.filters.chosen.get(c.name)?.has(code) ?? false;
    const onclick = () => gallery.filters.pick(c, code, !on);
    const name = make("span", { style: { webkitLineClamp: String(lines) } }, words.slice(0, 600));
    return make("th", { ...given, dir: "auto" },
      make("button", { type: "button", "aria-pressed": on, title: `${words.slice(0, 1000)}\n${say(on ? "matrix.all_again" : "matrix.only")}`, onclick, "data-head": `${c.name} ${code}` }, name));
  };

  const cellOf = (found, edge) => {
    const [width, heights] = sizesIn(found, edge);
    const some = heights.map((height, n) => {
      const i = found[n];
      if (!tiles.has(i)) tiles.set(i, gallery.tiles.make(gallery.list[i], "button"));
      const tile = tiles.get(i);
      gallery.tiles.put(tile, width, { height: `${height}px` });
      tile.tabIndex = i === pictureAt(active) ? 0 : -1;
      return tile;
    });
    const more = found.length - some.length;
    const open = () => gallery.detail.show(gallery.list[found[IN_A_CELL]], found);
    const others = more ? make("button", { type: "button", class: "more", title: say("matrix.open_more"), onclick: open }, say("matrix.more", { n: more })) : null;
    return make("td", {}, make("div", { class: "cell" }, ...some, others));
  };

  const lineOf = (n) => {
    if (drawn.has(n)) return drawn.get(n);
    const { code, cells } = model.lines[n];
    const height = lay.tops[n + 1] - lay.tops[n];
    const shown = model.across.slice(lay.from, lay.from + lay.columns);
    const tr = make("tr", { "aria-rowindex": n + 2, style: { height: `${height}px` } },
      headOf(model.y, code, Math.floor((height - 2 * PAD) / WORDS), { scope: "row" }),
      ...shown.map((_, at) => cellOf(cells[lay.from + at] ?? [], lay.edge)));
    drawn.set(n, tr);
    return tr;
  };

  const space = (height) =>
    make("tr", { class: "space", "aria-hidden": "true" }, make("td", { colspan: lay.columns + 1, style: { height: `${height}px` } }));

  /** What of the matrix has the focus: a tile's picture, or a head. */
  const held = () => {
    const one = document.activeElement;
    if (!table.contains(one)) return null;
    return { tile: Boolean(one.closest(".tile")), head: one.dataset.head };
  };
  const hold = (focus) => {
    if (focus?.tile) tiles.get(pictureAt(active))?.focus({ preventScroll: true });
    else if (focus?.head) table.querySelector(`[data-head="${CSS.escape(focus.head)}"]`)?.focus({ preventScroll: true });
  };

  const draw = () => {
    drawing = false;
    if (hidden) return;
    const [body] = table.tBodies;
    const [seen, page] = [-body.getBoundingClientRect().top, window.innerHeight];
    const near = new Set();
    if (countOfLines()) {
      near.add(Math.min(active.line, countOfLines() - 1)); // else the keyboard would lose its place
      for (let n = lineAt(seen - page); n <= lineAt(seen + 2 * page); n++) near.add(n);
    }
    if (near.size === drawn.size && [...near].every((n) => drawn.has(n)) && body.firstChild) return;
    for (const [n, tr] of drawn) {
      if (near.has(n)) continue;
      for (const tile of tr.querySelectorAll(".tile")) tiles.delete(Number(tile.dataset.i));
      drawn.delete(n);
    }
    const parts = [];
    let end = 0;
    for (const n of [...near].sort((a, b) => a - b)) {
      if (lay.tops[n] > end) parts.push(space(lay.tops[n] - end));
      parts.push(lineOf(n));
      end = lay.tops[n + 1];
    }
    if (lay.tops.at(-1) > end) parts.push(space(lay.tops.at(-1) - end));
    const focus = held();
    body.replaceChildren(...parts);
    hold(focus);
  };

  /** Draw all again, as after a change of rows, axes, columns or size. */
  const redraw = () => {
    if (hidden) return;
    const focus = held();
    const { x, y, across, lines } = model;
    const none = !x || !y;
    arrange();
    drawn.clear();
    const keep = new Set(rows);
    for (const i of tiles.keys()) if (!keep.has(i)) tiles.delete(i);
    const cut = countOfLines() < lines.length ? ` ${say("matrix.cut", { down: countOfLines() })}` : "";
    table.caption.textContent = none ? say("matrix.nothing") : say("matrix.caption", { across: across.length, down: lines.length }) + cut;
    table.setAttribute("aria-rowcount", lines.length + 1);
    const corner = none ? null : make("td", { class: "corner" }, `${y.label} ╲ ${x.label}`);
    const shown = across.slice(lay.from, lay.from + lay.columns);
    table.tHead.replaceChildren(...(none ? [] : [make("tr", {}, corner, ...shown.map((code) => headOf(x, code, 3, { scope: "col" })))]));
    table.style.setProperty("--head", `${lay.head}px`);
    table.style.setProperty("--under-bar", `${getComputedStyle(at("bar")).position === "sticky" ? at("bar").offsetHeight : 0}px`);
    at("columns").hidden = lay.columns >= across.length;
    at("columns").querySelector("span").textContent = say("matrix.columns", { from: lay.from + 1, to: lay.from + lay.columns, n: across.length });
    at("columns-before").disabled = lay.from <= 0;
    at("columns-after").disabled = lay.from + lay.columns >= across.length;
    table.tBodies[0].replaceChildren();
    draw();
    hold(focus);
  };

  const showColumns = (from) => {
    lay.from = from;
    active = nearest({ ...active, x: Math.max(from, Math.min(active.x, from + lay.columns - 1)) });
    redraw();
  };

  /** Go to a place: show its column, scroll to its line, and focus its tile. */
  const go = (place) => {
    if (!model.lines.length) return;
    const line = Math.min(place.line, countOfLines() - 1);
    active = { ...place, line };
    const before = lay.from;
    if (active.x < lay.from) lay.from = active.x;
    else if (active.x >= lay.from + lay.columns) lay.from = active.x - lay.columns + 1;
    if (lay.from !== before) redraw();
    const top = table.tBodies[0].getBoundingClientRect().top + lay.tops[line];
    const roof = parseFloat(table.style.getPropertyValue("--under-bar")) + table.tHead.offsetHeight;
    const foot = window.innerHeight - at("tray").offsetHeight;
    const height = lay.tops[line + 1] - lay.tops[line];
    if (top < roof || height > foot - roof) window.scrollBy(0, top - roof);
    else if (top + height > foot) window.scrollBy(0, top + height - foot);
    draw();
    for (const tile of table.querySelectorAll('.tile[tabindex="0"]')) tile.tabIndex = -1;
    const tile = tiles.get(pictureAt(active));
    if (!tile) return;
    tile.tabIndex = 0;
    tile.focus({ preventScroll: true });
  };

  const within = (way) => {
    const n = active.n + way;
    return n >= 0 && n < Math.min(cellAt(active).length, IN_A_CELL) ? { ...active, n } : null;
  };
  const far = (way) => {
    const line = lineAt(Math.max(0, lay.tops[active.line] + way * window.innerHeight * 0.8));
    return cellAt({ ...active, line }).length ? { ...active, line, n: 0 } : nearest({ ...active, line, n: 0 });
  };
  const MOVES = {
    ArrowLeft: () => within(-1) ?? beyond(active, -1, 0),
    ArrowRight: () => within(1) ?? beyond(active, 1, 0),
    ArrowUp: () => beyond(active, 0, -1),
    ArrowDown: () => beyond(active, 0, 1),
    Home: () => nearest({ line: 0, x: 0, n: 0 }),
    End: () => nearest({ line: countOfLines() - 1, x: model.across.length - 1, n: IN_A_CELL }),
    PageUp: () => far(-1),
    PageDown: () => far(1),
  };
  box.addEventListener("keydown", (event) => {
    if (!event.target.closest(".tile") || !(event.key in MOVES) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    go(MOVES[event.key]() ?? active);
  });
  table.addEventListener("focusin", ({ target }) => {
    const place = target.closest(".tile") && placeOf(Number(target.closest(".tile").dataset.i));
    if (!place) return;
    tiles.get(pictureAt(active))?.setAttribute("tabindex", "-1");
    active = place;
    tiles.get(pictureAt(active))?.setAttribute("tabindex", "0");
  });

  const soon = () => {
    if (hidden || drawing) return;
    drawing = true;
    requestAnimationFrame(draw);
  };
  window.addEventListener("scroll", soon, { passive: true });
  new ResizeObserver(() => wide() !== lay.width && redraw()).observe(box);

  const choose = () => {
    chosen = true;
    gallery.changed(); // the address says it
  };
  lists.across.onchange = lists.down.onchange = choose;
  lists.slice.onchange = ({ target }) => {
    if (slicing) gallery.filters.drop(slicing);
    slicing = target.value;
    if (slicing) step(0);
    choose();
  };
  lists.value.onchange = ({ target }) => (target.value ? slice(Number(target.value)) : gallery.filters.drop(slicing));
  at("slice-before").onclick = () => step(-1);
  at("slice-after").onclick = () => step(1);
  at("columns-before").onclick = () => showColumns(Math.max(0, lay.from - lay.columns));
  at("columns-after").onclick = () => showColumns(Math.min(model.across.length - lay.columns, lay.from + lay.columns));

  return {
    step,
    show: (shown) => {
      const focus = held();
      const picture = pictureAt(active);
      rows = shown;
      if (hidden) return;
      offer();
      model = build();
      active = (picture !== undefined && placeOf(picture)) || nearest(active);
      redraw();
      if (focus?.tile) go(active);
    },
    hide: (now) => {
      box.hidden = hidden = now;
      if (!now) return;
      drawn.clear();
      tiles.clear();
      table.tBodies[0].replaceChildren();
    },
    resize: redraw,
    /** Go to the tile of a picture, or of its cell; to where the cursor was, if it has none. */
    goTo: (picture) => go((picture && placeOf(picture.i)) ?? active),
    /** The names of the fields across and down, and of the one that it is sliced by. */
    axes: () => wished ?? [lists.across, lists.down, lists.slice].map(({ value }) => value).filter(Boolean),
    /** Have these fields across and down, as soon as rows have them. */
    choose: (names) => (wished = names.length >= 2 ? names : null),
    mark: () => tiles.forEach(gallery.tiles.mark),
  };
})();
