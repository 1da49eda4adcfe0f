"use strict";
/* One row in full: a dialog with its picture, every setting, and what was decided about it. */

gallery.copy = async (text, button) => {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // A browser that trusts no page from disk; the older way works there.
    const area = gallery.make("textarea", { class: "unseen" });
    area.value = text;
    button.after(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
  }
  gallery.tell(gallery.say("copied"));
};

/** A button that copies; `what` names it for those who do not see where it stands. */
gallery.copier = (text, what, words = gallery.say("copy")) => {
  const label = what ? `${words}: ${what}` : null;
  const button = gallery.make("button", { type: "button", class: "copy", "aria-label": label }, words);
  button.onclick = () => gallery.copy(text, button);
  return button;
};

/** The buttons that decide about a row, as they stand. */
gallery.judging = (row) => {
  const { make, say, choice } = gallery;
  const { verdict, rating } = choice.of(row);
  const button = (mark, pressed, onclick, words, more) =>
    make("button", { type: "button", class: mark, "aria-pressed": pressed, "data-mark": mark, onclick, ...more }, words);
  const judge = (name, sign) =>
    button(name, verdict === name, () => gallery.cull.decide([row], name), `${sign} ${say(`choice.${name}`)}`);
  const star = (n) =>
    button(n, n === rating, () => choice.rate([row], n === rating ? 0 : n), n <= rating ? "★" : "☆", {
      class: n <= rating ? "star on" : "star",
      "aria-label": say("choice.stars", { n }),
    });
  const stars = make("span", { class: "stars" }, ...[1, 2, 3, 4, 5].map(star));
  const select = button("select", choice.selected.has(row.i), () => choice.toggle(row), say("choice.select"));
  return make("div", { class: "judging" }, judge("pick", "✓"), judge("reject", "✕"), stars, select);
};

/** Have the marks in `box` be the row's as they are now, with the focus where it was. */
gallery.judgeAgain = (box, row) => {
  const old = box.querySelector(".judging");
  const focused = old.contains(document.activeElement) && document.activeElement.dataset.mark;
  const fresh = gallery.judging(row);
  old.replaceWith(fresh);
  if (focused) fresh.querySelector(`[data-mark="${focused}"]`).focus();
};

gallery.detail = (() => {
  const { make, say } = gallery;
  const dialog = document.getElementById("detail");
  const [stage, side] = [dialog.querySelector(".stage"), dialog.querySelector(".side")];
  let [row, rows] = [null, []];

  const bytes = (n) => (n < 1e6 ? `${Math.ceil(n / 1e3)} kB` : `${(n / 1e6).toFixed(1)} MB`);
  /** As 2026-11-22 23:47:11, in local time with UTC, which the timeline has, beside it. */
  const time = (iso) => {
    if (!iso) return null;
    const [local, utc] = [undefined, "UTC"].map((timeZone) => new Date(iso).toLocaleString("sv", { timeZone }));
    return local === utc ? `${utc} UTC` : say("detail.local", { local, utc: utc.slice(11) });
  };
  const usd = (n) => (n === null ? null : gallery.usd(n));

  /** Have a picture its size before it comes: until then Chromium draws it with none. */
  const holdPlace = (picture, { width, height }) => {
    const { paddingLeft, paddingTop } = getComputedStyle(stage);
    const [most, tallest] = [stage.clientWidth - 2 * parseFloat(paddingLeft), stage.clientHeight - 2 * parseFloat(paddingTop)];
    const scale = Math.min(1, most / width, tallest / height);
    Object.assign(picture.style, { width: `${width * scale}px`, height: `${height * scale}px` });
    picture.onload = () => Object.assign(picture.style, { width: "", height: "", backgroundImage: "" });
  };

  const medium = (file) => {
    if (file.kind === "file") return gallery.tiles.card(row, say("kinds.file"), file.path);
    if (file.kind === "image") {
      const picture = make("img", { alt: row.prompt || row.id, width: file.width, height: file.height });
      if (file.thumb) picture.style.backgroundImage = `url("${file.thumb}")`;
      if (file.width && file.height) holdPlace(picture, file);
      picture.onerror = () => picture.replaceWith(gallery.tiles.card(row, say("tile.missing"), file.path));
      picture.src = file.address;
      return picture;
    }
    // Never an element by a name that came with the data: "script" would be one.
    const player = make(file.kind === "audio" ? "audio" : "video", { controls: true, preload: "metadata", "aria-label": row.prompt || row.id });
    player.src = file.address;
    return player;
  };

  const field = (name, value, { copied = true } = {}) => {
    if (value === null || value === undefined || value === "") return null;
    const words = gallery.shown(value);
    const copier = copied ? gallery.copier(words, name) : null;
    return make("div", {}, make("dt", {}, name), make("dd", {}, make("span", { dir: "auto" }, words), copier));
  };

  const part = (title, fields) => {
    const given = fields.filter(Boolean);
    return given.length ? make("section", {}, make("h3", {}, title), make("dl", {}, ...given)) : null;
  };

  const command = (words) =>
    words && make("p", { class: "command" }, make("code", {}, words), gallery.copier(words, say("detail.command")));

  const stageOf = (file) => {
    zoom.reset();
    stage.replaceChildren(file ? medium(file) : gallery.tiles.card(row, say(`states.${row.state}`), row.error ?? ""));
  };

  /** The other pictures of the row, as a strip. */
  const films = () => {
    const all = gallery.list.slice(row.first, row.first + row.files.length);
    if (all.length < 2) return null;
    const among = rows.filter((i) => all.some((one) => one.i === i)).length === all.length ? rows : all.map((one) => one.i);
    return make("div", { class: "films", role: "group", "aria-label": say("detail.files") }, ...all.map((one) => {
      const face = gallery.tiles.face(one);
      const open = () => {
        show(one, among);
        side.querySelector('.films [aria-pressed="true"]').focus();
      };
      const label = say("detail.file_n", { n: one.file.n });
      return make("button", { type: "button", "aria-pressed": one === row, "aria-label": label, title: label, onclick: open }, face);
    }));
  };

  let unsaved = () => {}; // keeps the note that is being written
  let area = null;

  /** What the person says of the picture. It is kept when they are through, as one step. */
  const noteOf = (picture) => {
    const keep = () => {
      unsaved = () => {};
      gallery.choice.annotate(picture, box.value.trim());
    };
    const onkeydown = (event) => {
      if (event.isComposing || (event.key !== "Escape" && (event.key !== "Enter" || event.shiftKey))) return;
      event.preventDefault(); // Escape would close the dialog
      stage.focus();
    };
    const label = say("detail.note");
    const box = make("textarea", {
      rows: 2, maxlength: gallery.facts.most_note, placeholder: say("detail.note_hint"), dir: "auto", "aria-label": label, "aria-keyshortcuts": "n",
      oninput: () => (unsaved = keep), onchange: () => unsaved(), onkeydown,
    });
    box.value = gallery.choice.of(picture).note;
    area = box;
    return titled(label, null, box);
  };
  window.addEventListener("pagehide", () => unsaved());

  const titled = (title, kind, ...parts) =>
    make("section", { class: kind }, make("h3", {}, title), ...parts);

  const promptOf = () => {
    const title = say("detail.prompt");
    const words = make("p", { class: "prompt", dir: "auto" }, row.prompt);
    return row.prompt ? titled(title, null, words, gallery.copier(row.prompt, title)) : null;
  };

  const why = () => {
    if (!row.error) return null;
    const code = row.code ? make("p", { class: "soft" }, say("detail.code", { code: String(row.code) })) : null;
    return titled(say("detail.why"), "why", make("p", {}, row.error), code);
  };

  const pairs = (values) => Object.entries(values).map(([name, value]) => field(name, value));

  const requestOf = () => {
    const told = (name, value) => field(say(`detail.${name}`), value, { copied: false });
    const reserved = row.price && say("detail.reserved", { usd: usd(row.price) });
    const took = gallery.store.seconds(row);
    return part(say("detail.about"), [
      field(say("detail.model"), row.model),
      field(say("detail.request"), row.request),
      told("cost", usd(row.cost) ?? reserved),
      told("submitted", time(row.submitted)),
      told("took", took >= 0 ? (took < 1 ? say("detail.instant") : say("detail.seconds", { n: Math.round(took) })) : null),
      told("saved", time(row.saved)),
      told("attempts", row.attempts > 1 ? row.attempts : null),
      field(say("detail.source"), row.source),
      told("manifest", row.listed ? null : say("detail.unlisted")),
    ]);
  };

  const fileOf = ({ path, width, height, duration, bytes: n, note }) => {
    const facts = [width && `${width} × ${height}`, duration && gallery.tiles.clock(duration), n && bytes(n), note].filter(Boolean).join(", ");
    return field(facts || say("detail.file"), path);
  };

  const fields = () => {
    const { file } = row;
    const settings = Object.fromEntries(Object.entries(row.input).filter(([, value]) => value !== row.prompt));
    // Not one that the gallery does not show: a page among them would run as a page from disk.
    const open = file && file.kind !== "file" && make("a", { href: file.address, target: "_blank", rel: "noopener" }, say("detail.open"));
    const line = gallery.exports.rowLine(row);
    return [
      promptOf(), why(), command(row.command),
      part(say("detail.settings"), pairs(settings)),
      part(say("detail.meta"), pairs(row.meta)),
      requestOf(),
      part(say("detail.files"), file ? [fileOf(file)] : []),
      make("p", { class: "row" }, gallery.copier(line, "", say("detail.copy_row")), open || null),
    ].filter(Boolean);
  };

  const show = (shown, among = rows) => {
    unsaved();
    [row, rows] = [shown, among];
    const at = rows.indexOf(row.i);
    dialog.querySelector("h2").textContent = gallery.unturned(gallery.tiles.name(row));
    dialog.querySelector(".at").textContent = say("detail.at", { at: at + 1, n: rows.length });
    dialog.querySelector(".prev").disabled = at <= 0;
    dialog.querySelector(".next").disabled = at >= rows.length - 1;
    const wasOpen = dialog.open;
    gallery.whole.open(dialog); // from here on the stage has a size
    stageOf(row.file);
    const films_ = films();
    const state = make("p", { class: `state ${row.state}` }, say(`states.${row.state}`));
    side.replaceChildren(...[state, gallery.judging(row), noteOf(row), films_, ...fields()].filter(Boolean));
    side.scrollTop = 0;
    // What had the focus may be gone, and a disabled button would swallow the keys.
    if (!wasOpen || document.activeElement.disabled || !dialog.contains(document.activeElement)) stage.focus();
    const ahead = gallery.list[rows[at + 1]]?.file;
    if (ahead?.kind === "image") new Image().src = ahead.address;
  };

  const step = (way) => {
    const next = gallery.list[rows[rows.indexOf(row.i) + way]];
    if (next) show(next);
  };

  dialog.querySelector(".prev").onclick = () => step(-1);
  dialog.querySelector(".next").onclick = () => step(1);
  const zoom = gallery.zoom(stage, ".stage", step);
  dialog.querySelector(".zoom").onclick = () => zoom.toggle();
  dialog.addEventListener("keydown", (event) => {
    if (event.target.matches("video, audio, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = { ArrowLeft: () => step(-1), ArrowRight: () => step(1), n: () => area.focus() };
    if (event.target === stage) keys[" "] = () => step(event.shiftKey ? -1 : 1);
    if (!zoom.key(event) && !keys[event.key]?.() && !(event.key in keys)) return;
    event.preventDefault();
  });
  dialog.addEventListener("close", () => {
    unsaved();
    stage.replaceChildren(); // a video would play on
    gallery.back(row);
  });

  return {
    show, step, annotate: () => area.focus(),
    get row() { return dialog.open ? row : null; },
    mark: () => {
      if (!dialog.open) return;
      gallery.judgeAgain(side, row);
      if (area !== document.activeElement) area.value = gallery.choice.of(row).note;
    },
  };
})();
