"use strict";
/* What the person decides: picks, rejects, ratings, and the selection. Kept in the browser,
   under the batch's own id. */

gallery.choice = (() => {
  const NOTHING = { verdict: "", rating: 0 };
  const selected = new Set(); // row indices, in the order in which they were selected
  const stored = () => `batchgen:${gallery.facts.batch_id}`;
  let kept = null; // [verdict, rating] by the row's key
  let works = true;

  // A retried row has another request, and so another picture to decide about.
  const keyOf = (row) => row.request ?? `id:${row.id}`;

  const read = () => {
    try {
      kept = JSON.parse(localStorage.getItem(stored())) ?? {};
    } catch {
      kept ??= {}; // no storage in this browser, or not ours: then they last as long as the page
    }
    return kept;
  };

  const of = (row) => {
    const [verdict, rating] = (kept ?? read())[keyOf(row)] ?? row.pick ?? [];
    return verdict || rating ? { verdict: verdict ?? "", rating: rating ?? 0 } : NOTHING;
  };

  /** Have the columns know, so that rows can be filtered by it. */
  const enter = (row) => {
    const { verdict, rating } = of(row);
    gallery.store.column("choice").set(row.i, verdict);
    gallery.store.column("rating").set(row.i, rating || null);
  };

  const set = (rows, change) => {
    read(); // another window may have decided something meanwhile
    for (const row of rows) {
      const { verdict, rating } = { ...of(row), ...change };
      kept[keyOf(row)] = [verdict, rating];
      if (!verdict && !rating && !row.pick) delete kept[keyOf(row)];
      enter(row);
    }
    try {
      localStorage.setItem(stored(), JSON.stringify(kept));
    } catch {
      works = false;
    }
    gallery.chosen();
  };

  window.addEventListener("storage", (event) => {
    if (event.key !== stored()) return;
    read();
    gallery.list.forEach(enter);
    gallery.chosen();
  });

  return {
    of, enter, selected,
    /** Give the rows this verdict; take it away if all of them have it. */
    judge: (rows, verdict) =>
      set(rows, { verdict: rows.every((row) => of(row).verdict === verdict) ? "" : verdict }),
    rate: (rows, rating) => set(rows, { rating }),
    select: (row) => {
      if (!selected.delete(row.i)) selected.add(row.i);
      gallery.chosen();
    },
    deselect: () => {
      selected.clear();
      gallery.chosen();
    },
    chosenRows: (which) => gallery.list.filter((row) => which(of(row), row)),
    get works() { return works; },
  };
})();
