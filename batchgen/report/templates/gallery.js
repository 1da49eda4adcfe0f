"use strict";
/* The page around the pictures: search, filters, order, keys, messages. */

gallery.begin = () => {
  const { make, say, store, choice, filters, grid, matrix } = gallery;
  const at = (id) => document.getElementById(id);
  const query = { search: "", chosen: filters.chosen, sort: "listed", down: false, group: "" };
  let [shown, compact, waiting] = [[], true, 0]; // compact: the grid, not the matrix; waiting: a timer

  // What rows are asked for, and shown

  const isWhole = () => !query.search.trim() && !filters.any;

  const refresh = () => {
    clearTimeout(waiting);
    waiting = 0;
    if (!isWhole() || query.sort !== "listed" || query.group || !compact) gallery.pieces.want();
    const columns = store.varying();
    const open = columns.filter(filters.isOpen);
    const found = store.ask(query, open);
    const grouped = compact && query.group ? store.grouped(found.rows, query.group) : null;
    shown = grouped?.rows ?? found.rows;
    filters.show(columns, found.counts);
    filters.showChips(!isWhole(), everything);
    showStatus();
    offerSorts(columns);
    if (compact) grid.show(shown, grouped ?? undefined);
    else matrix.show(shown);
    showTray();
    gallery.exporting.show();
    keepAddress();
  };

  // The address

  let usual = 0; // the size of the pictures that nobody chose
  const keepAddress = () =>
    gallery.address.write({
      ...query, matrix: !compact, axes: matrix.axes(), size: gallery.size() === usual ? null : gallery.size(),
    });

  /** Do what the address says, as after a reload. */
  const obey = ({ search, sort, down, group, size, matrix: asMatrix, axes, chosen }) => {
    filters.clear();
    for (const [name, values] of chosen) {
      const c = store.column(name);
      for (const value of values) filters.pick(c, c.code(value), true);
    }
    Object.assign(query, { search, sort, down, group });
    at("search").value = search;
    at("down").setAttribute("aria-pressed", down);
    [at("sort").value, at("group").value] = [sort, group];
    at("size").value = size ?? usual;
    matrix.choose(axes);
    setView(!asMatrix);
  };
  window.addEventListener("hashchange", () => {
    const said = gallery.address.read();
    if (said) obey(said);
  });

  const refreshIn = (milliseconds) => {
    clearTimeout(waiting);
    waiting = setTimeout(refresh, milliseconds);
  };
  /** Something else is asked: look again, once for all that happens at once. */
  gallery.changed = () => refreshIn(0);
  /** Rows came: look again, more rarely the more there are, since to look through all costs more. */
  gallery.arrived = () => {
    if (!gallery.pieces.busy) refreshIn(0);
    else if (!waiting) refreshIn(Math.min(gallery.list.length / 40, 1500));
  };

  gallery.chosen = () => {
    for (const view of [grid, matrix, gallery.detail, gallery.beside]) view.mark();
    showTray();
    const noted = store.column("note").totals.length > 1; // some picture has a note, or had one
    const concerned = ["choice", "rating", ...(noted ? ["note"] : [])].some(filters.concerns);
    if (concerned || query.sort === "rating" || query.search.trim()) gallery.changed();
    if (!choice.works) gallery.tell(say("choice.not_kept"));
  };

  gallery.shownRows = () => shown;
  gallery.size = () => Number(at("size").value);

  const clear = () => {
    filters.clear();
    query.search = at("search").value = "";
    gallery.changed();
  };
  const everything = () => {
    clear();
    at("search").focus();
  };

  /** Show only the rows that have these values, by the columns' names, and go there. */
  const showOnly = (values) => {
    clear();
    for (const [name, value] of Object.entries(values)) {
      const c = store.column(name);
      filters.pick(c, c.code(value), true);
    }
    setView(true);
    grid.activate(0);
  };

  /** Have the numbers on top be buttons that show their rows. */
  const offerNumbers = () => {
    for (const one of document.querySelectorAll("[data-only]")) {
      const [name, value] = one.dataset.only.split(/=(.*)/s);
      const onclick = () => showOnly({ [name]: value });
      one.replaceChildren(make("button", { type: "button", class: "number-link", title: say("page.show_them"), onclick }, ...one.childNodes));
    }
  };

  const offerSorts = (columns) => {
    const others = columns.filter(({ name }) => name.includes(".") || ["state", "model"].includes(name));
    const offer = (list, kind, names, value) => {
      if (list.options.length === names.length + others.length) return;
      const option = (one, words) => make("option", { value: one }, words);
      list.replaceChildren(...names.map((name) => option(name, say(`${kind}.${name || "none"}`))), ...others.map((c) => option(c.name, filters.title(c))));
      list.value = value;
    };
    offer(at("sort"), "sort", ["listed", "id", "saved", "wait", "cost", "rating"], query.sort);
    offer(at("group"), "group", ["", "prompt"], query.group);
  };

  // Messages

  const showStatus = () => {
    const { facts, pieces } = gallery;
    const several = facts.pictures > facts.rows ? "_pictures" : "";
    at("status").textContent = isWhole()
      ? say(`status.all${several}`, { n: several ? facts.pictures : facts.rows, rows: facts.rows })
      : say(`status.some${several}`, { n: shown.length, all: facts.pictures });
    at("loading").textContent = pieces.lost
      ? say(facts.shared ? "status.lost_shared" : "status.lost", { n: pieces.lost, command: facts.command })
      : pieces.busy ? say("status.loading", { at: pieces.loaded, n: facts.pieces }) : "";
    at("done").textContent = say("facets.done", { n: shown.length });
    at("nothing").hidden = shown.length > 0 || pieces.busy;
  };

  let quiet = 0;
  gallery.tell = (words) => {
    // A modal dialog lies above all that is not in it.
    (document.querySelector("dialog[open]") ?? document.body).append(at("told"));
    at("told").textContent = words;
    clearTimeout(quiet);
    quiet = setTimeout(() => (at("told").textContent = ""), Math.max(4000, 60 * words.length)); // time to read it
  };

  const showTray = () => {
    const count = (name, value) => {
      const c = store.column(name);
      return c.totals[c.code(value)] ?? 0;
    };
    const rated = [1, 2, 3, 4, 5].reduce((sum, n) => sum + count("rating", n), 0);
    const numbers = { picked: count("choice", "pick"), rejected: count("choice", "reject"), rated, selected: choice.selected.size };
    for (const [name, n] of Object.entries(numbers)) at(`n-${name}`).textContent = say(`tray.${name}`, { n });
    at("tray").dataset.empty = !Object.values(numbers).some(Boolean);
    at("compare").disabled = choice.selected.size < 2;
    at("deselect").hidden = !choice.selected.size;
    gallery.cull.show(shown);
  };

  // Views

  const setView = (isGrid) => {
    compact = isGrid;
    at("as-grid").setAttribute("aria-pressed", isGrid);
    at("as-matrix").setAttribute("aria-pressed", !isGrid);
    at("group").parentElement.hidden = !isGrid;
    grid.hide(!isGrid);
    matrix.hide(isGrid);
    refresh();
  };

  // On a narrow window filters, order and view are a sheet that lies over the page.
  const narrow = window.matchMedia("(max-width: 899px)");
  const arrange = () => {
    (narrow.matches ? at("options") : at("bar")).append(...document.querySelectorAll(":is(#bar, #options) > .group"));
    setFilters(!narrow.matches);
  };
  narrow.addEventListener("change", arrange);
  const isSheetOpen = () => narrow.matches && !at("panel").hidden;
  const closeSheet = () => {
    setFilters(false);
    at("filters").focus();
  };

  const setFilters = (open) => {
    document.body.classList.toggle("filtering", open);
    at("filters").setAttribute("aria-expanded", open);
    at("panel").hidden = !open;
  };

  const compare = () => {
    const rows = [...choice.selected].map((i) => gallery.list[i]);
    if (rows.length < 2) return gallery.tell(say("beside.how_many", { n: rows.length }));
    gallery.beside.show(rows, here() ?? rows[0]);
  };

  /** Put pictures under what they have in common, the name of a field, or no longer for "". */
  const setGroup = (name) => {
    at("group").value = query.group = name;
    gallery.changed();
  };

  /** The row that keys mean: the one that has the focus; the grid's, while no other tile has it. */
  const here = () => {
    const tile = document.activeElement?.closest?.(".tile");
    return tile ? gallery.list[tile.dataset.i] : compact && !document.querySelector("dialog[open]") ? grid.active : undefined;
  };

  /** A dialog about this row was closed: the focus goes to its tile. */
  gallery.back = (row) => {
    if (!compact) return matrix.goTo(row);
    const place = row ? grid.place(row) : -1;
    grid.activate(place >= 0 ? place : grid.rows.indexOf(grid.active?.i));
  };

  /** Put the cursor on this picture, as soon as it is shown again. */
  gallery.goTo = (picture) => {
    refresh();
    if (compact) gallery.back(picture);
  };

  // Keys

  const judged = () => {
    const open = gallery.detail.row ?? gallery.beside.row;
    if (open) return [open];
    const row = here();
    if (!row) return [];
    return choice.selected.has(row.i) ? [...choice.selected].map((i) => gallery.list[i]) : [row];
  };

  const ANYWHERE = { p: (rows) => gallery.cull.decide(rows, "pick"), x: (rows) => gallery.cull.decide(rows, "reject") };
  for (const n of [0, 1, 2, 3, 4, 5]) ANYWHERE[n] = (rows) => choice.rate(rows, n);
  ANYWHERE.s = ([row]) => choice.toggle(gallery.detail.row ?? gallery.beside.row ?? here() ?? row);
  const ALWAYS = { u: () => gallery.cull.turn("undo"), U: () => gallery.cull.turn("redo"), a: gallery.cull.toggleAdvance };
  const ON_THE_PAGE = {
    "/": () => at("search").focus(),
    "?": () => at("help").showModal(),
    f: () => setFilters(at("panel").hidden),
    m: () => setView(!compact),
    "[": () => compact || matrix.step(-1),
    "]": () => compact || matrix.step(1),
    g: () => compact && setGroup(query.group ? "" : "prompt"),
    c: compare,
    e: gallery.exporting.open,
    i: gallery.picks.choose,
    n: () => {
      if (!here()) return;
      gallery.detail.show(here(), shown);
      gallery.detail.annotate();
    },
    o: gallery.origin.choose,
    Enter: () => here() && gallery.detail.show(here(), shown),
    Escape: () => (isSheetOpen() ? closeSheet() : choice.selected.size && choice.deselect()),
  };

  const TYPED = "textarea, input:not([type='checkbox'], [type='radio'], [type='range'])"; // where keys are letters
  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    const typing = target.matches(TYPED);
    if ((event.ctrlKey || event.metaKey) && !typing && gallery.cull.control(event)) return event.preventDefault();
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (typing || target.matches("select")) {
      if (key === "Escape" && target.id === "search") grid.activate(grid.rows.indexOf(grid.active?.i));
      return;
    }
    const inGrid = compact && !document.querySelector("dialog[open]");
    const idle = target === document.body && inGrid;
    if (idle && grid.move(event)) return;
    // Also from a filter, which a click leaves with the focus. What nobody sees is not decided about.
    if (inGrid && !target.closest(".tile") && key in ANYWHERE && !grid.wake()) return;
    const own = target.closest(".tile") || idle;
    if (key === " " && own && compact) {
      event.preventDefault();
      return grid.wake() && grid.step(event.shiftKey ? -1 : 1);
    }
    if ((key === "Enter" || key === " ") && !own) return; // a button's own
    const rows = key in ANYWHERE ? judged() : [];
    if (rows.length) ANYWHERE[key](rows);
    else if (key in ALWAYS) ALWAYS[key]();
    else if (key in ON_THE_PAGE && !document.querySelector("dialog[open]")) ON_THE_PAGE[key]();
    else if (key === "?" && !at("help").open) at("help").showModal();
    else return;
    event.preventDefault();
  });

  document.addEventListener("click", (event) => {
    const { target } = event;
    if (isSheetOpen() && target.isConnected && !target.closest("#panel, #filters")) return closeSheet();
    const tile = target.closest(".tile");
    const row = tile && gallery.list[tile.dataset.i];
    if (row && !gallery.cull.click(event, row)) gallery.detail.show(row, shown);
    const { copy, cause, state, close } = target.closest("button")?.dataset ?? {};
    if (copy) gallery.copy(copy, target);
    if (cause !== undefined) showOnly({ state, ...(cause && { error: cause }) });
    if (close !== undefined) target.closest("dialog").close();
    if (target.matches("dialog:not(.whole)")) target.close(); // beside it
  });

  document.addEventListener("close", () => document.body.append(at("told")), { capture: true });

  // Printing: a contact sheet of what is shown

  const MOST_PRINTED = 1000;
  const sheet = () => {
    const rows = shown.slice(0, MOST_PRINTED).map((i) => gallery.list[i]);
    const cut = shown.length > rows.length ? [make("p", {}, say("print.cut", { n: rows.length, all: shown.length }))] : [];
    at("sheet").replaceChildren(...cut, ...rows.map((row) => {
      const { verdict, rating, note } = choice.of(row);
      const marks = `${{ pick: "✓", reject: "✕" }[verdict] ?? ""}${"★".repeat(rating)}`;
      const name = make("b", {}, `${gallery.tiles.name(row)} ${marks}`);
      const words = make("span", { dir: "auto" }, row.prompt.slice(0, 160));
      return make("figure", {}, gallery.tiles.face(row, { lazy: false }), make("figcaption", {}, name, note ? make("i", { dir: "auto" }, note) : null, words));
    }));
  };
  const print = async () => {
    gallery.tell(say("print.wait"));
    sheet();
    const pictures = [...at("sheet").querySelectorAll("img")];
    await Promise.allSettled(pictures.map((picture) => picture.decode()));
    window.print();
  };
  window.addEventListener("beforeprint", () => at("sheet").firstChild || sheet());
  window.addEventListener("afterprint", () => at("sheet").replaceChildren());

  // Start

  let typing = 0;
  at("search").oninput = ({ target }) => {
    query.search = target.value;
    clearTimeout(typing);
    typing = setTimeout(gallery.changed, gallery.list.length > 5000 ? 150 : 0);
  };
  at("search").onkeydown = (event) => {
    if (event.key !== "Enter" && event.key !== "ArrowDown") return;
    event.preventDefault();
    refresh();
    gallery.back(grid.active);
  };
  at("sort").onchange = ({ target }) => {
    query.sort = target.value;
    gallery.changed();
  };
  at("group").onchange = ({ target }) => setGroup(target.value);
  at("down").onclick = ({ currentTarget }) => {
    query.down = !query.down;
    currentTarget.setAttribute("aria-pressed", query.down);
    gallery.changed();
  };
  at("size").oninput = () => {
    if (compact) grid.resize(gallery.size());
    else matrix.resize();
    keepAddress();
  };
  at("done").onclick = closeSheet;
  at("filters").onclick = () => setFilters(at("panel").hidden);
  at("as-grid").onclick = () => setView(true);
  at("as-matrix").onclick = () => setView(false);
  at("compare").onclick = compare;
  at("deselect").onclick = choice.deselect;
  at("exports").onclick = gallery.exporting.open;
  at("print").onclick = print;
  if (at("reload")) at("reload").onclick = () => location.reload();
  at("keys").onclick = () => at("help").showModal();

  const start = () => {
    if (narrow.matches) at("size").value = 150;
    arrange();
    for (const one of document.querySelectorAll("[data-script]")) one.hidden = false;
    gallery.cull.start();
    usual = gallery.size();
    offerNumbers();
    const said = gallery.address.read();
    if (said) obey(said);
    grid.resize(gallery.size());
    refresh();
    gallery.pieces.next();
  };
  at("broken").classList.toggle("whole", Boolean(gallery.facts));
  if (gallery.facts) start();
};

gallery.load("batch.js", gallery.begin);
