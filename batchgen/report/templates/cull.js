"use strict";
/* A cull that flows: decide and go on, take back, many at once, by keys, mouse and finger. */

gallery.cull = (() => {
  const { make, say, choice, grid } = gallery;
  const at = (id) => document.getElementById(id);
  const KEPT = "batchgen:advance";
  const LONG = 500; // milliseconds for which a finger rests that selects
  let advancing = true;

  try {
    advancing = localStorage.getItem(KEPT) !== "no";
  } catch {
    // no storage in this browser: then it is as long as the page is
  }

  const advance = (on) => {
    advancing = on;
    at("advance").checked = on;
    try {
      localStorage.setItem(KEPT, on ? "yes" : "no");
    } catch {
      // as above
    }
  };

  /** Go to the picture after this one, or before: the open one's, or the cursor's. */
  const step = (way) => (gallery.detail.row ? gallery.detail.step(way) : grid.step(way));

  /** Give the pictures this verdict; go on to the next if it was one, and got it. */
  const decide = (pictures, verdict) => {
    const taken = pictures.every((one) => choice.of(one).verdict === verdict);
    choice.judge(pictures, verdict);
    const goes = advancing && !taken && pictures.length === 1 && !gallery.beside.row;
    if (goes && (gallery.detail.row || !at("grid").hidden)) step(1);
  };

  /** Take back, or do again, what was decided last, and go there. */
  const turn = (how) => {
    const pictures = choice[how]();
    if (!pictures) return gallery.tell(say(`choice.no_${how}`));
    gallery.tell(say(`choice.${how}`, { n: pictures.length }));
    const [picture] = pictures;
    if (gallery.detail.row) gallery.detail.show(picture);
    else gallery.goTo(picture);
  };

  const shown = () => gallery.shownRows().map((i) => gallery.list[i]);
  const selectAll = () => choice.select(shown());

  /** Select all from the cursor to this picture, and go there. */
  const selectTo = (picture) => {
    const rows = gallery.shownRows();
    const ends = [rows.indexOf(grid.active?.i), rows.indexOf(picture.i)];
    const [from, to] = [Math.max(Math.min(...ends), 0), Math.max(...ends)];
    choice.select(rows.slice(from, to + 1).map((i) => gallery.list[i]));
    gallery.goTo(picture);
  };

  const selected = () => [...choice.selected].map((i) => gallery.list[i]);

  // What the mouse finds on the tile that it is over. Not for the keyboard, which has keys for it.
  const mark = (name, sign) => make("span", { "data-quick": name, title: say(`quick.${name}`) }, sign);
  let quick = null;
  const MARKS = {
    pick: (one) => choice.judge([one], "pick"),
    reject: (one) => choice.judge([one], "reject"),
    star: (one) => choice.rate([one], (choice.of(one).rating + 1) % 6),
    select: choice.toggle,
  };
  const SIGNS = { pick: "✓", reject: "✕", star: "★", select: "☐" };
  document.addEventListener("pointerover", ({ target, pointerType }) => {
    const tile = pointerType === "mouse" && target.closest?.(".tile");
    if (!tile || tile.contains(quick)) return;
    quick ??= make("span", { class: "quick", "aria-hidden": "true" }, ...Object.entries(SIGNS).map((one) => mark(...one)));
    tile.querySelector(".face").append(quick);
  });

  // A finger that rests on a tile selects it; then each tap does.
  let [resting, rested] = [0, false];
  const lift = () => clearTimeout(resting);
  document.addEventListener("pointerdown", ({ target, pointerType }) => {
    const tile = target.closest?.(".tile");
    rested = false;
    lift();
    if (!tile || pointerType === "mouse") return;
    resting = setTimeout(() => {
      rested = true;
      choice.toggle(gallery.list[tile.dataset.i]);
    }, LONG);
  });
  for (const name of ["pointerup", "pointercancel", "pointermove"])
    document.addEventListener(name, ({ movementX, movementY }) => (name === "pointermove" && Math.hypot(movementX, movementY) < 4) || lift());
  document.addEventListener("contextmenu", (event) => rested && event.preventDefault());
  // The cursor, from where a range begins, stays as long as it is not clear what is clicked.
  document.addEventListener("mousedown", (event) => event.shiftKey && event.target.closest?.(".tile") && event.preventDefault());

  /** Do what a click on a tile says; return whether it says more than to open it. */
  const click = (event, picture) => {
    const { quick: name } = event.target.dataset;
    if (name) MARKS[name](picture);
    else if (event.shiftKey) selectTo(picture);
    else if (event.ctrlKey || event.metaKey || (event.pointerType === "touch" && choice.selected.size && !rested)) choice.toggle(picture);
    else return rested;
    return true;
  };

  const KEYS = { a: () => selectAll(), z: ({ shiftKey }) => turn(shiftKey ? "redo" : "undo"), y: () => turn("redo") };
  /** Do what a key with Ctrl says; return whether it says something. */
  const control = (event) => {
    const key = event.key.toLowerCase();
    if (!(key in KEYS) || event.altKey || (key === "a" && document.querySelector("dialog[open]"))) return false;
    KEYS[key](event);
    return true;
  };

  const start = () => {
    at("advance").checked = advancing;
    at("advance").onchange = ({ target }) => advance(target.checked);
    at("select-all").onclick = selectAll;
    at("many").onclick = ({ target }) => {
      const { judge, rate } = target.closest("button")?.dataset ?? {};
      if (judge) choice.judge(selected(), judge);
      else if (rate) choice.rate(selected(), Number(rate));
    };
  };

  const show = (rows) => {
    at("select-all").textContent = say("tray.select_all", { n: rows.length });
    at("select-all").hidden = rows.length < 2;
    at("many").hidden = !choice.selected.size;
  };

  return {
    decide, step, turn, click, control, start, show,
    toggleAdvance: () => {
      advance(!advancing);
      gallery.tell(say(advancing ? "choice.advances" : "choice.stays"));
    },
  };
})();
