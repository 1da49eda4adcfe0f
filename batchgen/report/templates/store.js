"use strict";
/* The pictures, and what is asked of them: pieces, columns, search, filters, order. Values in, values
   out: nothing here touches the page, except that a piece is a script element. */

// list: every picture that is loaded, in order: each file of each row, and each row without any.
const gallery = { facts: null, words: {}, list: [] };

/** A text of words.json by its place, "choice.picked"; {n} stands for values.n, or for its plural. */
gallery.say = (place, values = {}) => {
  let text = place.split(".").reduce((found, name) => found?.[name], gallery.words) ?? place;
  if (Array.isArray(text)) text = text[values.n === 1 ? 0 : 1];
  return text.replace(/\{(\w+)\}/g, (all, name) => {
    const value = values[name] ?? all;
    return typeof value === "number" ? value.toLocaleString("en") : value;
  });
};

/** A value as people read it: a text as it is, anything else as JSON. */
gallery.shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));

/** An amount of dollars: $3.20, and $0.0035 where cents say too little. */
gallery.usd = (n) => {
  const places = n >= 1 || !n ? 2 : n >= 0.01 ? 4 : 6;
  return `$${n.toFixed(places).replace(/(\.\d\d\d*?)0+$/, "$1")}`;
};

/** A text of which no mark changes the order it is read in: each is shown by its code, as on a terminal. */
gallery.unturned = (text) =>
  text.replace(/[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);

/** The order in which both rows and their values stand: 2 before 10, no value last. */
gallery.natural = new Intl.Collator("en", { numeric: true }).compare;

gallery.store = (() => {
  const PROMPTS = ["prompt", "text", "tags"]; // what models call it, the most usual first
  const FIXED = ["state", "model", "error", "kind", "output", "listed", "choice", "rating", "note"];
  const OF_FILES = ["kind", "output"]; // columns in which a row without a file has no value
  const FROM_OUTSIDE = { input: "input.", meta: "meta." };
  const columns = new Map(); // by name: "state", "input.style", "meta.Category"
  const texts = []; // what search looks through, lower case, by row; made when first looked for

  /** One field of all rows: values[codes[i]] is row i's; code 0 is no value. */
  class Column {
    constructor(name) {
      this.name = name;
      this.label = name.replace(/^(input|meta)\./, "");
      this.values = [""];
      this.numbers = [NaN]; // of those that are numbers: they are put in order as such
      this.totals = [0];
      this.used = 0; // how many values rows have
      this.codes = [];
      this.index = new Map();
    }

    code(value) {
      if (value === null || value === undefined || value === "") return 0;
      const words = gallery.shown(value);
      let code = this.index.get(words);
      if (code === undefined) {
        code = this.values.push(words) - 1;
        this.numbers.push(words.trim() === "" ? NaN : Number(words));
        this.totals.push(0);
        this.index.set(words, code);
      }
      return code;
    }

    set(i, value) {
      while (this.codes.length <= i) {
        this.codes.push(0);
        this.totals[0] += 1;
      }
      const [before, after] = [this.codes[i], this.code(value)];
      if (--this.totals[before] === 0 && before) this.used -= 1;
      if (++this.totals[after] === 1 && after) this.used += 1;
      this.codes[i] = after;
    }

    get(i) {
      return this.codes[i] ?? 0;
    }

    /** Whether some row has no value. */
    get lacking() {
      return this.codes.length - this.totals[0] < gallery.list.length;
    }

    /** How many different values rows have; none counts as one. */
    get distinct() {
      return this.used + this.lacking;
    }

    /** Codes in the order of their values. */
    get ordered() {
      const { numbers, values } = this;
      return values
        .map((_, code) => code)
        .sort((a, b) => !a - !b || numbers[a] - numbers[b] || gallery.natural(values[a], values[b]));
    }
  }

  const column = (name) => {
    if (!columns.has(name)) columns.set(name, new Column(name));
    return columns.get(name);
  };

  /** n: which of its row's files it is, from 1; null where there is one only. */
  const fileOf = ([path, kind, width, height, duration, bytes, sha256, note, n, pick, thumb]) => {
    const address = "../" + path.split("/").map(encodeURIComponent).join("/");
    return { path, address, kind, width, height, duration, bytes, sha256, note, n, pick, thumb };
  };

  /** A row of a piece, which is an array to be small on disk. */
  const rowOf = (
    [position, id, state, model, input, meta, files, request, cost, price, code, error,
      submitted, completed, saved, attempts, listed, source, pick, command],
  ) => ({
    position, id, state, model, input, meta, request, cost, price, code, error, submitted,
    completed, saved, attempts, listed, source, pick, command, files: files.map(fileOf),
    prompt: gallery.shown(PROMPTS.map((name) => input[name]).find((value) => value) ?? ""),
  });

  /** Take a row as its pictures. i: the place in the list; first: that of the row's first picture. */
  const add = (raw) => {
    const row = rowOf(raw);
    row.first = gallery.list.length;
    enter(row, row.files[0]);
    for (const file of row.files.slice(1)) enter({ ...row }, file);
  };

  const enter = (picture, file) => {
    const i = gallery.list.length;
    gallery.list.push(Object.assign(picture, { i, file }));
    gallery.choice.enter(picture);
    for (const name of ["state", "model", "error"]) column(name).set(i, picture[name]);
    column("kind").set(i, file?.kind);
    column("output").set(i, file && (file.n ?? 1));
    column("listed").set(i, picture.listed ? "yes" : "no");
    for (const [group, prefix] of Object.entries(FROM_OUTSIDE))
      for (const [name, value] of Object.entries(picture[group])) column(prefix + name).set(i, value);
  };

  /** The columns by which rows differ; the fixed ones, inputs, metadata, and what
   *  differs in nearly every row. */
  const varying = () => {
    const rank = (c) => {
      if (FIXED.includes(c.name)) return FIXED.indexOf(c.name);
      return (c.name.startsWith("input.") ? 50 : 60) + (c.distinct > 50 ? 50 : 0);
    };
    // Rows without a file have no kind of it: that is their state.
    const varies = (c) => c.distinct > (OF_FILES.includes(c.name) ? 1 + c.lacking : 1);
    return [...columns.values()].filter(varies).sort((a, b) => rank(a) - rank(b));
  };

  const text = (i) => {
    if (texts[i] === undefined) {
      const { id, input, meta, error } = gallery.list[i];
      const { note } = gallery.choice.of(gallery.list[i]);
      const words = [input, meta].flatMap(Object.values).filter((value) => typeof value === "string");
      texts[i] = [id, error ?? "", note, ...words].join("\n").toLowerCase();
    }
    return texts[i];
  };

  // A person waits for these loops over 100,000 rows: each does one thing, and makes nothing.
  const miss = (misses, missed, of, fits, number) => {
    for (let i = 0; i < misses.length; i++) {
      if (fits[of[i] ?? 0]) continue;
      misses[i]++;
      missed[i] = number;
    }
  };
  const tally = (rows, of, count) => {
    for (let n = 0; n < rows.length; n++) count[of[rows[n]] ?? 0]++;
  };
  const tallyMissed = (misses, missed, of, count, number) => {
    for (let i = 0; i < misses.length; i++) if (misses[i] === 1 && missed[i] === number) count[of[i] ?? 0]++;
  };

  /**
   * Say which rows match, and how many would for each value of `counted` columns: among the rows
   * that match everything else, so that a second value of a column can be added to the first.
   * chosen: a set of codes by the column's name. Returns {rows: indices in order, counts: by name}.
   */
  const ask = ({ search, chosen, sort, down }, counted) => {
    const wanted = gallery.search.parse(search, text);
    const counts = new Map(counted.map((c) => [c.name, new Uint32Array(c.values.length)]));
    const picks = [...chosen].filter(([, codes]) => codes.size).map(([name, codes]) => {
      const c = column(name);
      return { of: c.codes, fits: Uint8Array.from(c.values, (_, code) => codes.has(code)), count: counts.get(name) };
    });
    const { length } = gallery.list;
    const misses = new Uint8ClampedArray(length); // how much of what is asked each row does not match
    const missed = new Uint8Array(length); // if that is one column: its number in picks
    if (wanted.length) for (let i = 0; i < length; i++) if (!wanted.every((test) => test(i))) misses[i] = 2;
    picks.forEach(({ of, fits }, number) => miss(misses, missed, of, fits, number));
    const rows = [];
    for (let i = 0; i < length; i++) if (!misses[i]) rows.push(i);
    for (const c of counted) tally(rows, c.codes, counts.get(c.name));
    picks.forEach(({ of, count }, number) => count && tallyMissed(misses, missed, of, count, number));
    return { rows: inOrder(rows, sort, down), counts };
  };

  const seconds = (row) => (Date.parse(row.completed) - Date.parse(row.submitted)) / 1000;
  const NUMBERS = {
    cost: (row) => row.cost ?? NaN,
    wait: seconds,
    saved: (row) => Date.parse(row.saved),
    rating: (row) => gallery.choice.of(row).rating || NaN,
  };

  /** Put row indices in order by a name of NUMBERS or a column; rows without a value are last. */
  const inOrder = (rows, sort, down) => {
    if (sort === "listed") return down ? rows.reverse() : rows;
    const keys = new Float64Array(gallery.list.length);
    if (sort in NUMBERS) {
      for (const i of rows) keys[i] = NUMBERS[sort](gallery.list[i]);
    } else if (sort === "id") {
      const ids = rows.slice().sort((a, b) => gallery.natural(gallery.list[a].id, gallery.list[b].id));
      ids.forEach((i, rank) => (keys[i] = rank));
    } else {
      const c = column(sort);
      const ranks = new Float64Array(c.values.length);
      c.ordered.forEach((code, rank) => (ranks[code] = code ? rank : NaN));
      for (const i of rows) keys[i] = ranks[c.get(i)];
    }
    const way = down ? -1 : 1;
    return rows.sort((a, b) => {
      const lacking = Number.isNaN(keys[a]) - Number.isNaN(keys[b]);
      return lacking || way * (keys[a] - keys[b]) || a - b;
    });
  };

  /**
   * Put rows that have the same value together, in the order in which the values come, and each
   * group's rows in theirs. Returns {rows, starts: the first place of each group, names}.
   */
  const grouped = (rows, name) => {
    const c = column(name);
    const valueOf = name === "prompt" ? (i) => gallery.list[i].prompt : (i) => c.get(i);
    const groups = new Map();
    for (const i of rows) {
      const value = valueOf(i);
      const group = groups.get(value);
      if (group) group.push(i);
      else groups.set(value, [i]);
    }
    const starts = [];
    let start = 0;
    for (const group of groups.values()) {
      starts.push(start);
      start += group.length;
    }
    const words = (value) => (name === "prompt" ? value || gallery.say("facets.none") : gallery.filters.word(c, value));
    return { rows: [...groups.values()].flat(), starts, names: [...groups.keys()].map(words) };
  };

  /** A text of this row has changed. */
  const forgetText = (i) => delete texts[i];

  return { add, ask, column, forgetText, grouped, columns: () => [...columns.values()], varying, seconds };
})();

/** Load a script from data/; call `done` when it has run, or is not there. No other script is. */
gallery.load = (name, done) => {
  const script = document.createElement("script");
  script.src = `data/${name}`;
  script.onload = script.onerror = () => {
    script.remove();
    done();
  };
  document.head.append(script);
};

/** Pieces are scripts, since a page from disk may read nothing else; they come one after another. */
gallery.pieces = (() => {
  let [loaded, wanted, lost] = [0, 1, 0]; // lost: the number of a piece that is not there
  const IDLE = 20; // so many come unasked, while nothing else happens

  const waiting = []; // who is to be told that all are here, or that one is lost
  const settle = () => {
    if (lost || loaded >= gallery.facts.pieces) waiting.splice(0).forEach((told) => told());
  };

  const load = () => {
    const number = loaded + 1;
    gallery.load(`rows-${number}.js`, () => {
      if (loaded < number) lost = number;
      gallery.arrived();
      settle();
      next();
    });
  };
  const idle = (work) => (window.requestIdleCallback ?? setTimeout)(work, { timeout: 500 });
  const next = () => {
    if (lost || loaded >= gallery.facts.pieces) return;
    if (loaded < wanted) load();
    else if (loaded < IDLE) idle(() => (loaded < wanted ? next() : load()));
  };
  /** Load at least so many pieces; all of them without a number. */
  const want = (count = Infinity) => {
    const resting = loaded >= wanted && loaded >= IDLE;
    wanted = Math.max(wanted, Math.min(count, gallery.facts.pieces));
    if (resting) next();
  };
  return {
    want, next,
    more: () => want(loaded + 1),
    /** Load all of them; resolves when they are here, or one is lost. */
    whole: () => {
      want();
      return new Promise((told) => {
        waiting.push(told);
        settle();
      });
    },
    came: (number) => (loaded = number),
    get loaded() { return loaded; },
    get lost() { return lost; },
    get all() { return loaded >= gallery.facts.pieces; },
    get busy() { return !lost && loaded < Math.min(Math.max(wanted, IDLE), gallery.facts.pieces); },
  };
})();

/** Called by data/batch.js and data/rows-N.js. */
gallery.open = (facts) => {
  gallery.facts = facts;
  gallery.words = facts.words;
};
gallery.rows = (number, rows) => {
  rows.forEach(gallery.store.add);
  gallery.pieces.came(number);
};
