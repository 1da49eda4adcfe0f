"use strict";
/* What the person decides: picks, rejects, ratings, notes, and the selection. Kept in the browser,
   under the batch's own id. */

gallery.choice = (() => {
  const NOTHING = { verdict: "", rating: 0, note: "" };
  const selected = new Set(); // places in the list, in the order in which they were selected
  const stored = () => `batchgen:${gallery.facts.batch_id}`;
  let kept = null; // [verdict, rating, note] by the picture's key
  let works = true;
  const [done, undone] = [[], []]; // changes: lists of [picture, choice before, choice after]

  // A retried row has another request, and so another picture to decide about.
  const rowKey = (picture) => picture.request ?? `id:${picture.id}`;
  // Only where a row has several: what was kept under the row's own key means all of them.
  const keyOf = (picture) => rowKey(picture) + (picture.file?.n ? `#${picture.file.n}` : "");

  const read = () => {
    try {
      kept = JSON.parse(localStorage.getItem(stored())) ?? {};
    } catch {
      kept ??= {}; // no storage in this browser, or not ours: then they last as long as the page
    }
    return kept;
  };

  /** What was decided about a picture before it was decided here. */
  const given = (picture) =>
    (keyOf(picture) === rowKey(picture) ? null : kept[rowKey(picture)]) ?? picture.file?.pick ?? picture.pick;

  const of = (picture) => {
    kept ?? read();
    const [verdict, rating, note] = kept[keyOf(picture)] ?? given(picture) ?? [];
    return verdict || rating || note ? { verdict: verdict ?? "", rating: rating ?? 0, note: note ?? "" } : NOTHING;
  };

  /** Have the columns know, so that pictures can be filtered by it. */
  const enter = (picture) => {
    const { verdict, rating, note } = of(picture);
    gallery.store.column("choice").set(picture.i, verdict);
    gallery.store.column("rating").set(picture.i, rating || null);
    gallery.store.column("note").set(picture.i, note);
    gallery.store.forgetText(picture.i);
  };

  /** Keep choices: pairs of a picture and its choice. */
  const keep = (choices) => {
    for (const [picture, { verdict, rating, note }] of choices) {
      kept[keyOf(picture)] = note ? [verdict, rating, note] : [verdict, rating];
      if (!verdict && !rating && !note && !given(picture)) delete kept[keyOf(picture)];
      enter(picture);
    }
    try {
      localStorage.setItem(stored(), JSON.stringify(kept));
    } catch {
      works = false;
    }
    gallery.chosen();
  };

  /** Give pictures their choices, as pairs, in one step that can be taken back; return how many changed. */
  const take = (choices) => {
    read(); // another window may have decided something meanwhile
    const changes = choices.map(([picture, what]) => [picture, of(picture), { ...of(picture), ...what }]);
    const news = changes.filter(([, before, after]) => Object.keys(after).some((name) => before[name] !== after[name]));
    if (!news.length) return 0;
    done.push(news);
    undone.length = 0;
    keep(news.map(([picture, , after]) => [picture, after]));
    return news.length;
  };
  const set = (pictures, what) => take(pictures.map((picture) => [picture, what]));

  /** Take the last of `from` back, or do it again; return its pictures, null if there is none. */
  const turn = (from, to, side) => {
    const changes = from.pop();
    if (!changes) return null;
    to.push(changes);
    read();
    keep(changes.map((one) => [one[0], one[side]]));
    return changes.map(([picture]) => picture);
  };

  window.addEventListener("storage", (event) => {
    if (event.key !== stored()) return;
    read();
    gallery.list.forEach(enter);
    gallery.chosen();
  });

  const select = (pictures, on) => {
    for (const { i } of pictures) selected[on ? "add" : "delete"](i);
    gallery.chosen();
  };

  return {
    of, enter, selected, take,
    /** Give the pictures this verdict; take it away if all of them have it. */
    judge: (pictures, verdict) =>
      set(pictures, { verdict: pictures.every((one) => of(one).verdict === verdict) ? "" : verdict }),
    rate: (pictures, rating) => set(pictures, { rating }),
    annotate: (picture, note) => set([picture], { note }),
    undo: () => turn(done, undone, 1),
    redo: () => turn(undone, done, 2),
    toggle: (picture) => select([picture], !selected.has(picture.i)),
    select: (pictures) => select(pictures, true),
    unselect: (pictures) => select(pictures, false),
    deselect: () => {
      selected.clear();
      gallery.chosen();
    },
    chosenRows: (which) => gallery.list.filter((picture) => which(of(picture), picture)),
    get works() { return works; },
  };
})();
