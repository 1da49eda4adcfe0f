"use strict";
/* A tile: the face of a picture, its name, and what was decided about it. */

/** Make an element. Names in `given` are attributes, except on…: a listener, and style: its parts. */
gallery.make = (tag, given = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value === null || value === undefined || (value === false && !name.startsWith("aria-"))) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else element.setAttribute(name, name === "title" ? gallery.unturned(value) : value);
  }
  const parts = children.filter((child) => child !== null && child !== undefined);
  element.append(...parts.map((child) => (typeof child === "string" ? gallery.unturned(child) : child)));
  return element;
};

gallery.tiles = (() => {
  const { make, say } = gallery;
  const NARROWEST = 0.3;
  const WIDEST = 3.6;
  const THUMB = 768; // pixels of the longer side of a small picture; in older batches 480
  const MOST = 4e6; // pixels of a picture that stands in a tile itself, where a small one is not sharp
  const STILL = window.matchMedia("(prefers-reduced-motion: reduce)");

  /** Seconds as a player shows them, 1:05 or 1:00:05; nothing where they are not known. */
  const clock = (seconds) => {
    if (!Number.isFinite(seconds)) return "";
    const whole = Math.max(Math.round(seconds), 1);
    const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    const [first, ...others] = parts[0] ? parts : parts.slice(1);
    return [first, ...others.map((n) => String(n).padStart(2, "0"))].join(":");
  };

  /** What stands on the face of what plays: how long, as far as it is known. */
  const badgeOf = ({ kind, duration } = {}) =>
    kind === "video" || (kind === "audio" && duration) ? `▶ ${clock(duration)}`.trim() : null;

  /** Width by height; a row without a picture is a square card. */
  const aspect = (row) => {
    const { kind, width, height } = row.file ?? {};
    if (kind === "audio" || kind === "file") return 1.6;
    if (!width || !height) return kind === "video" ? 16 / 9 : 1;
    return Math.min(Math.max(width / height, NARROWEST), WIDEST);
  };

  const aspects = []; // by the place in the list: of 100,000 pictures, to look at each takes a while
  const aspectAt = (i) => (aspects[i] ??= aspect(gallery.list[i]));

  const failedToLoad = (row, file, picture) => {
    if (picture.srcset) picture.removeAttribute("srcset"); // it may be kept elsewhere
    else if (file.thumb && !picture.dataset.whole) {
      picture.dataset.whole = "yes";
      picture.src = file.address;
    } else picture.replaceWith(card(row, say("tile.missing"), file.path));
  };

  const card = (row, title, text, ...more) =>
    make("span", { class: `card ${row.state}` }, make("b", {}, title), text ? make("span", {}, text) : null, ...more);

  /** The face of a picture, small where there is a small one. */
  const face = (row, { lazy = true } = {}) => {
    const { file } = row;
    if (!file) {
      const words = make("span", { class: "of", dir: "auto" }, row.prompt.slice(0, 500));
      return card(row, say(`states.${row.state}`), row.error ?? "", words);
    }
    if (file.kind === "file") return card(row, say("kinds.file"), file.path);
    if (file.kind === "audio") return card(row, `♪ ${say("kinds.audio")}`, row.prompt);
    if (file.kind === "video" && !file.thumb) {
      const video = make("video", { preload: "metadata", playsinline: true, tabindex: "-1" });
      video.muted = video.loop = true;
      // A film moves while the mouse is on it, if the person wants things to move.
      video.onpointerenter = ({ pointerType }) => pointerType === "mouse" && !STILL.matches && video.play().catch(() => {});
      video.onpointerleave = () => video.pause();
      video.src = `${file.address}#t=0.1`; // the first frame of many is black
      video.onerror = () => failedToLoad(row, file, video);
      video.onloadedmetadata = () => {
        file.duration ??= video.duration; // its header does not tell
        const badge = video.parentElement?.querySelector(".badge");
        if (badge) badge.textContent = badgeOf(file);
        if (file.width || !video.videoWidth) return;
        [file.width, file.height] = [video.videoWidth, video.videoHeight];
        delete aspects[row.i];
        gallery.grid.reshape();
      };
      return video;
    }
    const picture = make("img", { alt: "", decoding: "async", loading: lazy ? "lazy" : "eager" });
    picture.onerror = () => failedToLoad(row, file, picture);
    const longer = Math.max(file.width, file.height);
    if (file.thumb && longer > THUMB && file.width * file.height <= MOST) {
      picture.sizes = "200px"; // until it has a place
      picture.srcset = `${file.thumb} ${Math.round((file.width * THUMB) / longer)}w, ${file.address} ${file.width}w`;
    }
    picture.src = file.thumb ?? file.address;
    return picture;
  };

  /** Give a tile its place; the browser chooses among its pictures by how wide it is. */
  const put = (tile, width, style) => {
    Object.assign(tile.style, { width: `${width}px`, ...style });
    const picture = tile.querySelector(".face > img");
    if (picture?.srcset) picture.sizes = `${Math.ceil(width)}px`;
  };

  /** The id; of a row with several files also which of them. */
  const name = ({ id, file }) => (file?.n ? `${id} (${file.n})` : id);

  const label = (row, { verdict, rating, note }) =>
    [
      name(row),
      row.state === "saved" ? "" : say(`states.${row.state}`),
      row.prompt.slice(0, 300),
      verdict && say(`choice.is_${verdict}`),
      rating && say("choice.stars", { n: rating }),
      note && say("choice.noted", { note: note.slice(0, 300) }),
    ].filter(Boolean).join(", ");

  /** Show on a tile what the person decided about its row. */
  const mark = (tile) => {
    const row = gallery.list[tile.dataset.i];
    const choice = gallery.choice.of(row);
    const chosen = gallery.choice.selected.has(row.i);
    tile.dataset.verdict = choice.verdict;
    tile.setAttribute(tile.getAttribute("role") === "option" ? "aria-selected" : "aria-pressed", chosen);
    tile.setAttribute("aria-label", label(row, choice));
    tile.querySelector(".marks").textContent =
      { pick: "✓ ", reject: "✕ " }[choice.verdict] ?? "";
    tile.querySelector(".marks").append("★".repeat(choice.rating));
    tile.querySelector(".said")?.remove();
    if (choice.note) tile.querySelector(".face").append(make("span", { class: "said", dir: "auto" }, choice.note.slice(0, 300)));
  };

  const make_tile = (row, role) => {
    const badge = badgeOf(row.file ?? undefined);
    const tile = make(
      "div",
      { class: `tile ${row.state}`, role, tabindex: "-1", "data-i": row.i, title: row.prompt.slice(0, 500) },
      make("span", { class: "face" }, face(row), badge && make("span", { class: "badge" }, badge)),
      make("span", { class: "caption" }, make("span", { class: "name" }, name(row)), make("span", { class: "marks" })),
    );
    mark(tile);
    return tile;
  };

  return { aspect, aspectAt, card, clock, face, make: make_tile, mark, name, label, put };
})();
