"use strict";
/* Filters: for every field in which rows differ, its values, with how many rows have each. */

gallery.filters = (() => {
  const { make, say } = gallery;
  const FEW = 12; // values that are shown unasked
  const chosen = new Map(); // sets of codes, by the column's name
  const groups = new Map(); // the <details> by the column's name

  const word = (c, code) => {
    if (code === 0) return say(c.name === "choice" || c.name === "rating" ? "facets.undecided" : "facets.none");
    const value = c.values[code];
    if (c.name === "state") return say(`states.${value}`);
    if (c.name === "kind" || c.name === "listed") return say(`facets.values.${value}`);
    if (c.name === "choice") return say(`choice.is_${value}`);
    if (c.name === "rating") return "★".repeat(Number(value));
    return value;
  };
  const title = (c) => (c.name.includes(".") ? c.label : say(`facets.${c.name}`));

  const group = (c) => {
    if (!groups.has(c.name)) {
      const list = make("div", { role: "group", "aria-label": title(c) });
      const open = c.distinct <= FEW && c.distinct < gallery.list.length;
      const summary = make("summary", {}, title(c), make("small"));
      const one = make("details", { class: "facet", open, ontoggle: gallery.changed }, summary, list);
      one.most = FEW;
      groups.set(c.name, one);
    }
    return groups.get(c.name);
  };

  const pick = (c, code, on) => {
    const codes = chosen.get(c.name) ?? new Set();
    if (on) codes.add(code);
    else codes.delete(code);
    chosen.set(c.name, codes);
    gallery.changed();
  };

  /** Ask no longer for values of the column of this name. */
  const drop = (name) => {
    chosen.delete(name);
    gallery.changed();
  };

  const linesOf = (c, counts, most) => {
    const mine = chosen.get(c.name) ?? new Set();
    const codes = c.distinct > FEW
      ? [...counts.keys()].sort((a, b) => c.totals[b] - c.totals[a])
      : c.ordered.sort((a, b) => !a - !b);
    const used = codes.filter((code) => counts[code] || mine.has(code));
    const highest = Math.max(...used.map((code) => (code ? counts[code] : 0)), 1);
    const lines = used.slice(0, most).map((code) => {
      const onchange = ({ target }) => pick(c, code, target.checked);
      const box = make("input", { type: "checkbox", id: `is-${c.name}-${code}`, onchange });
      box.checked = mine.has(code);
      const words = make("span", { dir: "auto" }, word(c, code).slice(0, 200));
      const line = make("label", {}, box, words, make("small", {}, counts[code].toLocaleString("en")));
      if (c.name === "rating" && code) {
        line.className = "barred"; // the ratings are a histogram
        line.style.setProperty("--share", `${(100 * counts[code]) / highest}%`);
      }
      return line;
    });
    // Of what none of the rows has, there is nothing to choose.
    return [lines, used.length - lines.length, !mine.size && !used.some((code) => code)];
  };

  const button = (kind, onclick, ...words) =>
    make("button", { type: "button", class: kind, onclick }, ...words);

  const seeMore = (one) => {
    one.most += 10 * FEW;
    gallery.changed();
  };

  /** Show the filters: the values of each column that have been counted, and how many rows have them. */
  const show = (columns, counts) => {
    const focused = document.activeElement?.id;
    const wanted = columns.map((c) => {
      const one = group(c);
      const list = one.lastChild;
      one.querySelector("small").textContent = c.distinct.toLocaleString("en");
      if (!counts.has(c.name)) return one;
      const [lines, others, idle] = linesOf(c, counts.get(c.name), one.most);
      one.hidden = idle;
      list.replaceChildren(...lines);
      if (others > 0) list.append(button("link", () => seeMore(one), say("facets.more", { n: others })));
      return one;
    });
    const box = document.getElementById("facets");
    const same = wanted.length === box.children.length;
    if (!same || wanted.some((one, n) => one !== box.children[n])) box.replaceChildren(...wanted);
    if (focused?.startsWith("is-")) document.getElementById(focused)?.focus();
  };

  const showChips = (some, everything) => {
    const chip = (c, code) => {
      const words = `${title(c)}: ${word(c, code).slice(0, 60)}`;
      return button("chip", () => pick(c, code, false), words, make("span", { "aria-hidden": "true" }, " ✕"));
    };
    const chips = [...chosen].flatMap(([name, codes]) =>
      [...codes].map((code) => chip(gallery.store.column(name), code)));
    const clear = button("link", everything, say("facets.clear"));
    document.getElementById("chips").replaceChildren(...(some ? [...chips, clear] : []));
  };

  return {
    chosen, show, showChips, word, title, pick, drop,
    /** Have this value of a column, and no other. */
    only: (c, code) => {
      chosen.delete(c.name);
      pick(c, code, true);
    },
    clear: () => chosen.clear(),
    isOpen: (c) => group(c).open,
    /** Whether a change of this column changes what is to be seen. */
    concerns: (name) => chosen.get(name)?.size || groups.get(name)?.open || !groups.has(name),
    get any() { return [...chosen.values()].some((codes) => codes.size); },
  };
})();
