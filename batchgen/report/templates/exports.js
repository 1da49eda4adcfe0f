"use strict";
/* What leaves the page: a CSV of what was decided, and manifests that make rows again. */

gallery.exports = (() => {
  const RESERVED = ["id", "model"];
  // YAML takes these for line breaks, or not at all; within JSON's quotes it reads their escapes.
  const UNSAFE = /[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g;
  const escaped = (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`;
  const flow = (value) => JSON.stringify(value).replace(UNSAFE, escaped);

  /** A CSV cell that a spreadsheet shows and does not run. */
  const cell = (value) => {
    let text = value === null || value === undefined ? "" : gallery.shown(value);
    if (/^[=+\-@\t\r]/.test(text)) text = `'${text}`;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };

  const csv = (rows) => {
    const names = ["id", "request_id", "verdict", "rating", "state", "model", "file", "prompt"];
    const lines = rows.map((row) => {
      const { verdict, rating } = gallery.choice.of(row);
      const { id, request, state, model, files, prompt } = row;
      return [id, request, verdict, rating || "", state, model, files[0]?.path, prompt];
    });
    return [names, ...lines].map((line) => line.map(cell).join(",") + "\r\n").join("");
  };

  /** The words of a value, as a value: a text where the rows' own values are texts. */
  const valueOf = (words, rows, name) => {
    if (rows.some((row) => typeof row.input[name] === "string")) return words;
    try {
      return JSON.parse(words);
    } catch {
      return words;
    }
  };

  /** An id that came from a matrix says its value: dunes-seed1. It says the new one, or none. */
  const renamed = (id, name, old, value) => {
    const said = `-${name}${gallery.shown(old)}`;
    const at = old === undefined ? -1 : `${id}-`.indexOf(`${said}-`);
    if (at < 0) return id;
    return id.slice(0, at) + (value === undefined ? "" : `-${name}${gallery.shown(value)}`) + id.slice(at + said.length);
  };

  /** The names that metadata gets: its own, unless it is also an input's or a row's. */
  const metaNames = (rows) => {
    const inputs = new Set(rows.flatMap((row) => Object.keys(row.input)).concat(RESERVED));
    const names = new Set(rows.flatMap((row) => Object.keys(row.meta)));
    const found = new Map();
    for (const name of names) {
      let free = name;
      while (inputs.has(free) || (free !== name && names.has(free))) free = `_${free}`;
      found.set(name, free);
    }
    return found;
  };

  /** Make rows of a manifest; equal ones, which would be paid for twice, become one. */
  const entries = (rows, { name, value, drop } = {}) => {
    const names = metaNames(rows);
    const [ids, seen, made] = [new Set(), new Set(), []];
    for (const row of rows) {
      const input = { ...row.input };
      let id = row.id;
      if (drop) {
        delete input[drop];
        id = renamed(id, drop, row.input[drop]);
      } else if (name) {
        input[name] = value;
        id = renamed(id, name, row.input[name], value);
      }
      const kind = JSON.stringify([row.model, Object.entries(input).sort()]);
      if (seen.has(kind)) continue;
      seen.add(kind);
      for (let n = 2, first = id; ids.has(id); n++) id = `${first}-${n}`;
      ids.add(id);
      const meta = Object.entries(row.meta).map(([key, one]) => [names.get(key), one]);
      made.push({ id, model: row.model, ...input, ...Object.fromEntries(meta) });
    }
    return { made, meta: [...names.values()].filter((one) => !one.startsWith("_")) };
  };

  const line = (entry) => {
    const parts = Object.entries(entry).map(([name, value]) => `${flow(name)}: ${flow(value)}`);
    return `- {${parts.join(", ")}}`;
  };

  /** Whether a browser cannot have read this number exactly. */
  const isRounded = (value) => Number.isInteger(value) && !Number.isSafeInteger(value);

  /** seeds: so many of each row; or name and words: what that input shall be in all of them. */
  const manifest = (rows, { seeds, name, words } = {}) => {
    const value = name && valueOf(words, rows, name);
    const { made, meta } = entries(rows, seeds ? { drop: "seed" } : { name, value });
    const models = [...new Set(made.map((entry) => entry.model))];
    const one = models.length === 1;
    const head = [`# ${flow(gallery.say("export.from", { batch: gallery.facts.batch })).slice(1, -1)}`];
    if (one) head.push(`model: ${flow(models[0])}`);
    if (meta.length) head.push(`meta: ${flow(meta)}`);
    if (seeds) head.push(`matrix: {"seed": ${flow(Array.from({ length: seeds }, (_, n) => n + 1))}}`);
    const rest = made.map(({ model, ...entry }) => line(one ? entry : { ...entry, model }));
    const count = made.length * (seeds || 1);
    const rounded = made.filter((entry) => Object.values(entry).some(isRounded)).length;
    const text = [...head, "rows:", ...rest, ""].join("\n");
    return { text, count, equal: rows.length - made.length, rounded };
  };

  const rowLine = (row) => line(entries([row]).made[0]) + "\n";

  const download = (name, type, text) => {
    const address = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
    gallery.make("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  };

  return { csv, manifest, rowLine, download };
})();

/** The dialog that asks which rows, and as what. */
gallery.exporting = (() => {
  const { say, choice } = gallery;
  const dialog = document.getElementById("export");
  const form = dialog.querySelector("form");
  const { which, rated, as, how, seeds, name, words } = form.elements;
  const [preview, told] = [dialog.querySelector("pre"), dialog.querySelector(".told")];
  const LINES = 8;

  const WHICH = {
    picked: () => choice.chosenRows(({ verdict }) => verdict === "pick"),
    rated: () => choice.chosenRows(({ rating }) => rating >= Number(rated.value)),
    selected: () => [...choice.selected].map((i) => gallery.list[i]),
    decided: () => choice.chosenRows(({ verdict, rating }) => verdict || rating),
    shown: () => gallery.shownRows().map((i) => gallery.list[i]),
  };

  const made = () => {
    const rows = WHICH[which.value]();
    if (as.value === "csv") return { text: gallery.exports.csv(rows), count: rows.length };
    const change = {
      same: {},
      seeds: { seeds: Math.min(Math.max(Math.trunc(Number(seeds.value)) || 1, 1), 100) },
      other: name.value.trim() ? { name: name.value.trim(), words: words.value } : {},
    };
    return gallery.exports.manifest(rows, change[how.value]);
  };

  const fileName = () =>
    as.value === "csv" ? `${gallery.facts.batch}-picks.csv` : `${gallery.facts.batch}-again.yaml`;

  /** As a shell takes it. */
  const quoted = (words) => (/^[\w./-]+$/.test(words) ? words : `'${words.replaceAll("'", "'\\''")}'`);

  const show = () => {
    if (!dialog.open) return;
    for (const option of which.options) {
      const n = WHICH[option.value]().length;
      option.textContent = `${say(`export.which.${option.value}`)} (${n.toLocaleString("en")})`;
    }
    const { text, count, equal, rounded } = made();
    dialog.querySelector(".again").hidden = as.value === "csv";
    rated.hidden = which.value !== "rated";
    const lines = text.split("\n", LINES + 1);
    preview.textContent = lines.slice(0, LINES).map((one) => one.slice(0, 300)).join("\n") + (lines.length > LINES ? "\n…" : "");
    const file = quoted(fileName());
    told.textContent = [
      say(as.value === "csv" ? "export.rows" : "export.requests", { n: count }),
      equal ? say("export.equal", { n: equal }) : "",
      rounded ? say("export.rounded", { n: rounded }) : "",
      gallery.pieces.all ? "" : say("status.loading", { at: gallery.pieces.loaded, n: gallery.facts.pieces }),
      say(as.value === "csv" ? "export.then_csv" : "export.then_run", { file, command: gallery.facts.command }),
    ].filter(Boolean).join(" ");
    form.querySelector(".download").disabled = !count;
  };

  form.addEventListener("input", ({ target }) => {
    if (target === seeds) how.value = "seeds";
    if (target === name || target === words) how.value = "other";
    show();
  });
  form.addEventListener("submit", (event) => {
    if (event.submitter?.value !== "download") return;
    event.preventDefault();
    const type = as.value === "csv" ? "text/csv" : "application/yaml";
    gallery.exports.download(fileName(), type, made().text);
    gallery.tell(say("export.done", { file: fileName() }));
  });

  return {
    show,
    open: () => {
      gallery.pieces.want(); // what was picked earlier may be in any of them
      const some = ["selected", "picked", "rated", "decided", "shown"].find((one) => WHICH[one]().length);
      which.value = some ?? "picked";
      dialog.showModal();
      show();
    },
  };
})();
