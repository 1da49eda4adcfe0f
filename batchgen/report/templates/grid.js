"use strict";
/* The justified grid of tiles. Only what is near the window is in the page. */

/**
 * Put pictures of these aspects into lines that fill `width`, each about `height` high.
 * groups: the first picture of each group, which begins a line, with room for a head above it.
 * Returns, for each line, its first picture (and at the end the count of all), top and height.
 */
gallery.justified = (aspects, width, height, { gap, below, groups = [], head = 0 }) => {
  const [starts, tops, heights] = [[], [], []];
  let [top, group] = [0, 0];
  for (let first = 0; first < aspects.length; ) {
    if (first === groups[group]) {
      top += head;
      group += 1;
    }
    const stop = groups[group] ?? aspects.length;
    let sum = 0;
    let end = first;
    let fits = Infinity; // the height at which first…end - 1 fill the width
    while (end < stop && fits > height) {
      sum += aspects[end++];
      fits = (width - gap * (end - first - 1)) / sum;
    }
    const fewer = (width - gap * (end - first - 2)) / (sum - aspects[end - 1]);
    if (end - first > 1 && fits < height && fewer - height < height - fits) {
      end--;
      fits = fewer;
    }
    starts.push(first);
    tops.push(top);
    heights.push(Math.min(fits, height * (end === stop ? 1 : 1.6)));
    top += heights.at(-1) + below + gap;
    first = end;
  }
  starts.push(aspects.length);
  return { starts, tops, heights, total: top };
};

gallery.grid = (() => {
  const GAP = 10;
  const CAPTION = 22;
  const HEAD = 44; // above a group
  const TALLEST = 15e6; // pixels; browsers lose count not far above
  const box = document.getElementById("grid");
  const tiles = new Map(); // by the index of their row
  const heads = new Map(); // the heads of groups in the page, by the group's number
  let [rows, places] = [[], gallery.justified([], 1, 1, {})];
  let groups = { starts: [], names: [] };
  let [active, height, width, drawing, reshaping] = [0, 220, 0, false, false]; // active: the place that Tab leads to

  const lay = () => {
    width = box.clientWidth;
    const aspects = rows.map(gallery.tiles.aspectAt);
    for (let size = height; ; size *= 0.8) {
      places = gallery.justified(aspects, width, size, { gap: GAP, below: CAPTION, groups: groups.starts, head: HEAD });
      if (places.total < TALLEST || size < 1) break;
    }
    box.style.height = `${Math.ceil(places.total)}px`;
    for (const tile of tiles.values()) tile.dataset.old = "yes";
    for (const head of heads.values()) head.remove();
    heads.clear();
    draw();
  };

  /** The last of the first `count` of `sorted` that is not above `value`, as its index. */
  const last = (sorted, value, count = places.tops.length) => {
    let [low, high] = [0, count - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (sorted[middle] <= value) low = middle;
      else high = middle - 1;
    }
    return low;
  };
  const lineAt = (y) => last(places.tops, y);
  const lineOf = (place) => last(places.starts, place);
  /** The group that begins with this line; undefined if none does. */
  const groupAt = (line) => {
    const group = last(groups.starts, places.starts[line], groups.starts.length);
    return groups.starts[group] === places.starts[line] ? group : undefined;
  };

  /** The pictures of a group, as indices. */
  const membersOf = (group) => rows.slice(groups.starts[group], groups.starts[group + 1]);

  /** Draw the head of the group that begins with this line, if one does. For the eye and the mouse: a tile says what is in it. */
  const drawHead = (line, kept) => {
    const group = groupAt(line);
    if (group === undefined) return;
    kept.add(group);
    if (heads.has(group)) return;
    const { make, say, choice } = gallery;
    const members = membersOf(group).map((i) => gallery.list[i]);
    const onclick = () => choice[members.every(({ i }) => choice.selected.has(i)) ? "unselect" : "select"](members);
    const name = make("b", { dir: "auto" }, groups.names[group].slice(0, 300));
    const title = `${groups.names[group].slice(0, 1000)}\n${say("status.select_group")}`;
    const head = make("div", { class: "head", "aria-hidden": "true", title, onclick, style: { top: `${places.tops[line] - HEAD}px`, height: `${HEAD}px` } },
      name, make("span", {}, members.length.toLocaleString("en")));
    heads.set(group, head);
    box.append(head);
  };

  const draw = () => {
    drawing = false;
    if (box.hidden || !box.clientWidth) return;
    const seen = -box.getBoundingClientRect().top;
    const page = window.innerHeight;
    const [from, to] = rows.length ? [lineAt(seen - page), lineAt(seen + 2 * page)] : [0, -1];
    // The focused tile stays, wherever it is: else the keyboard would lose its place.
    const lines = new Set(rows.length ? [lineOf(active)] : []);
    for (let line = from; line <= to; line++) lines.add(line);
    const drawn = [...lines].sort((a, b) => a - b).flatMap(drawLine);
    const kept = new Set(drawn);
    for (const [i, tile] of tiles)
      if (!kept.has(tile)) {
        tile.remove();
        tiles.delete(i);
      }
    inOrder(drawn);
    const headed = new Set();
    for (let line = from; line <= to && groups.starts.length; line++) drawHead(line, headed);
    for (const [group, head] of heads)
      if (!headed.has(group)) {
        head.remove();
        heads.delete(group);
      }
    if (seen + 3 * page > places.total && !gallery.pieces.all) gallery.pieces.more();
  };

  /** Have the tiles in the page in the order of their rows, for those who hear it. */
  const inOrder = (drawn) => {
    const focused = document.activeElement;
    drawn.forEach((tile, n) => {
      const before = drawn[n - 1] ?? null;
      if (tile.parentNode && tile.previousElementSibling === before) return;
      if (before) before.after(tile);
      else box.prepend(tile);
    });
    if (tiles.get(Number(focused.dataset.i)) === focused) focused.focus({ preventScroll: true });
  };

  const drawLine = (line) => {
    let left = 0;
    return rows.slice(places.starts[line], places.starts[line + 1]).map((i, n) => {
      const place = places.starts[line] + n;
      const width = gallery.tiles.aspectAt(i) * places.heights[line];
      const fresh = !tiles.has(i);
      if (fresh) tiles.set(i, gallery.tiles.make(gallery.list[i], "option"));
      const tile = tiles.get(i);
      if (fresh || tile.dataset.old) {
        delete tile.dataset.old;
        const [top, height] = [places.tops[line], places.heights[line] + CAPTION];
        gallery.tiles.put(tile, width, { left: `${left}px`, top: `${top}px`, height: `${height}px` });
        tile.setAttribute("aria-setsize", rows.length);
        tile.setAttribute("aria-posinset", place + 1);
        tile.tabIndex = place === active ? 0 : -1;
      }
      left += width + GAP;
      return tile;
    });
  };

  const soon = () => {
    if (!drawing) requestAnimationFrame(draw);
    drawing = true;
  };

  /** The place in `shown` of the first row from the active one on that is there, or before it. */
  const survivor = (shown) => {
    const place = shown.indexOf(rows[active]);
    if (place >= 0 || !shown.length) return Math.max(place, 0);
    const there = new Set(shown);
    const found = rows.slice(active).find((i) => there.has(i)) ?? rows.slice(0, active).findLast((i) => there.has(i));
    return Math.max(shown.indexOf(found), 0);
  };

  const isInWindow = (place) => {
    const line = lineOf(place);
    const top = box.getBoundingClientRect().top + places.tops[line];
    return top < window.innerHeight && top + places.heights[line] > 0;
  };

  /**
   * Show these rows, in these groups, if any: the first place and the name of each. The cursor stays on its row; if that is gone, or was moved out of the window
   * while it had the focus, it goes to the row that came next.
   */
  const show = (shown, grouped = { starts: [], names: [] }) => {
    const held = box.contains(document.activeElement);
    const seen = held && rows.length && isInWindow(active);
    const next = rows[active + 1];
    active = survivor(shown);
    [rows, groups] = [shown, grouped];
    lay();
    if (!held || !rows.length) return;
    const follower = seen && !isInWindow(active) ? rows.indexOf(next) : -1;
    activate(follower >= 0 ? follower : active);
  };

  const lead = (place) => {
    tiles.get(rows[active])?.setAttribute("tabindex", "-1");
    active = place;
    tiles.get(rows[active])?.setAttribute("tabindex", "0");
  };

  /** Go to a place: scroll there and focus its tile. */
  const activate = (place) => {
    if (!rows.length) return;
    lead(Math.min(Math.max(place, 0), rows.length - 1));
    const line = lineOf(active);
    const head = groupAt(line) === undefined ? 0 : HEAD;
    const top = box.getBoundingClientRect().top + places.tops[line] - head;
    const { position, height } = getComputedStyle(document.getElementById("bar"));
    const bar = (position === "sticky" ? parseFloat(height) : 0) + GAP;
    const foot = window.innerHeight - document.getElementById("tray").offsetHeight - GAP;
    const bottom = top + head + places.heights[line] + CAPTION;
    if (top < bar || bottom - top > foot - bar) window.scrollBy(0, top - bar);
    else if (bottom > foot) window.scrollBy(0, bottom - foot);
    draw();
    tiles.get(rows[active]).focus({ preventScroll: true });
  };

  /** The place in the line above or below whose middle is nearest. */
  const beside = (place, way) => {
    const line = lineOf(place);
    const there = Math.min(Math.max(line + way, 0), places.tops.length - 1);
    if (there === line) return way < 0 ? 0 : rows.length - 1;
    const middles = (at) => {
      let left = 0;
      return rows.slice(places.starts[at], places.starts[at + 1]).map((i) => {
        const width = gallery.tiles.aspectAt(i) * places.heights[at];
        left += width + GAP;
        return left - GAP - width / 2;
      });
    };
    const middle = middles(line)[place - places.starts[line]];
    const far = middles(there).map((one) => Math.abs(one - middle));
    return places.starts[there] + far.indexOf(Math.min(...far));
  };

  const page = (way) => {
    const y = places.tops[lineOf(active)] + way * window.innerHeight * 0.8;
    return places.starts[lineAt(Math.max(0, y))];
  };

  const MOVES = {
    ArrowLeft: () => active - 1,
    ArrowRight: () => active + 1,
    ArrowUp: () => beside(active, -1),
    ArrowDown: () => beside(active, 1),
    Home: () => 0,
    End: () => rows.length - 1,
    PageUp: () => page(-1),
    PageDown: () => page(1),
  };

  /**
   * Give the cursor the focus; return whether it was in the window. If not, it goes to the first
   * row that is.
   */
  const wake = () => {
    if (!rows.length) return false;
    const seen = isInWindow(active);
    const line = lineAt(Math.max(0, -box.getBoundingClientRect().top));
    activate(seen ? active : places.starts[Math.min(line + 1, places.tops.length - 1)]);
    return seen;
  };

  /** Go where the key says; return whether it says that. */
  const move = (event) => {
    if (!(event.key in MOVES) || event.ctrlKey || event.metaKey || event.altKey) return false;
    event.preventDefault();
    if (!box.contains(document.activeElement) && !wake()) return true;
    const from = active;
    activate(MOVES[event.key]());
    if (event.shiftKey)
      gallery.choice.select(rows.slice(Math.min(from, active), Math.max(from, active) + 1).map((i) => gallery.list[i]));
    return true;
  };
  box.addEventListener("keydown", move);
  box.addEventListener("focusin", ({ target }) => {
    // Without scrolling: the mouse is still down on it.
    const place = rows.indexOf(Number(target.closest(".tile")?.dataset.i));
    if (place >= 0) lead(place);
  });
  new ResizeObserver(() => box.clientWidth !== width && lay()).observe(box);
  window.addEventListener("scroll", soon, { passive: true });

  return {
    show, activate, move, step: (way) => activate(active + way), wake, tiles,
    get rows() { return rows; },
    get active() { return gallery.list[rows[active]]; },
    place: (row) => rows.indexOf(row.i),
    resize: (size) => {
      height = size;
      lay();
    },
    hide: (hidden) => {
      box.hidden = hidden;
      if (!hidden) lay();
    },
    /** The size of something became known: lay all out again, once for all that happens at once. */
    reshape: () => {
      if (!reshaping) requestAnimationFrame(() => {
        reshaping = false;
        lay();
      });
      reshaping = true;
    },
    mark: () => tiles.forEach(gallery.tiles.mark),
  };
})();
