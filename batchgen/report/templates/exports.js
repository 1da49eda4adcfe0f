"use strict";
/* What leaves the page: a CSV of what was decided, and manifests that make rows again. */

gallery.exports = (() => {
  const { say } = gallery;
  const RESERVED = ["id", "model", "deployment"];
  // YAML takes these for line breaks, or not at all; within JSON's quotes it reads their escapes.
  const UNSAFE = /[\u007f-\u009f\u2028\u2029\ufeff\ufffe\uffff]/g;
  const escaped = (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`;
  const flow = (value) => JSON.stringify(value).replace(UNSAFE, escaped);

  // As in results.csv: behind blanks and quotes, and behind what begins a cell in other regions.
  const FORMULA =
    /(?:^[\s"\u200b-\u200d\u2060\ufeff]*|[;\t\r\n](?:[^\S\t\r\n]|["\u200b-\u200d\u2060\ufeff])*)(?='*[-=+@＝＋－＠])/g;

  /** A CSV cell that a spreadsheet shows and does not run. */
  const cell = (value) => {
    let text = value === null || value === undefined ? "" : gallery.shown(value);
    text = text.replace(FORMULA, "$&'");
    if (/^'*[\t\r]/.test(text)) text = `'${text}`;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };

  const ESCAPED =
    /(^[\s"\u200b-\u200d\u2060\ufeff]*|[;\t\r\n](?:[^\S\t\r\n]|["\u200b-\u200d\u2060\ufeff])*)'(?='*[-=+@＝＋－＠])/g;
  /** The text of which `cell` made this one, without the CSV's own quotes. */
  const uncell = (text) => (/^'+[\t\r]/.test(text) ? text.slice(1) : text).replace(ESCAPED, "$1");

  /** A line for each picture. output: which of its row's it is; nothing where it is the only one. */
  const csv = (rows) => {
    const names = ["id", "request_id", "output", "verdict", "rating", "note", "state", "model", "file", "prompt"];
    const lines = rows.map((row) => {
      const { verdict, rating, note } = gallery.choice.of(row);
      const { id, request, state, model, file, prompt } = row;
      return [id, request, file?.n, verdict, rating || "", note, state, model, file?.path, prompt];
    });
    return [names, ...lines].map((line) => line.map(cell).join(",") + "\r\n").join("");
  };

  /** What the schema of a model says of its inputs, by their names; undefined where none is known. */
  const fieldsOf = (model) => gallery.facts.schemas?.[model]?.fields;
  const has = (fields, name) => Object.hasOwn(fields, name);
  const typesOf = (field) => (field?.type ? [field.type].flat() : []);

  /** The hash of the workflow from a file that a row sends; undefined if it sends none. */
  const workflowOf = ({ input }) => /^sha256:([0-9a-f]{64})$/.exec(input.workflow)?.[1];

  /** The words of a value, as a value: a text where the schema, or else the rows' own values, say so. */
  const valueOf = (words, rows, name) => {
    const types = rows.flatMap(({ model }) => typesOf(fieldsOf(model)?.[name]));
    if (types.length ? types.includes("string") : rows.some((row) => typeof row.input[name] === "string")) return words;
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

  const isOf = (type, value) =>
    ({
      integer: Number.isInteger(value), null: value === null, array: Array.isArray(value),
      object: value !== null && typeof value === "object" && !Array.isArray(value),
    })[type] ?? typeof value === type;

  /** What is wrong with a value for an input of a model, in words; null if nothing is known to be. */
  const problemOf = (model, name, value) => {
    const fields = fieldsOf(model);
    if (RESERVED.includes(name) || (fields && !has(fields, name))) return say("export.no_input", { model, name });
    const field = fields?.[name] ?? {};
    const same = (one) => JSON.stringify(one) === JSON.stringify(value);
    if (value === undefined) return null;
    if (field.enum && !field.enum.some(same)) return say("export.no_choice", { model, name, values: field.enum.map(gallery.shown).join(", ") });
    const types = typesOf(field);
    if (types.length && !types.some((type) => isOf(type, value))) return say("export.no_type", { model, name, type: types.join(", ") });
    if (value < field.minimum) return say("export.too_small", { model, name, limit: field.minimum });
    if (value > field.maximum) return say("export.too_large", { model, name, limit: field.maximum });
    return null;
  };

  /** What would be the same request, as a text. */
  const kindOf = (model, input) => JSON.stringify([model, Object.entries(input).sort()]);
  const withoutSeed = ({ seed, ...input }) => input;

  /** What the rows of the batch, as far as they are loaded, have been paid for, and for how much. */
  const batch = (() => {
    const PAID = ["saved", "completed", "submitted", "submitting", "unknown"]; // or may be
    const [paid, seeds, costs] = [new Set(), new Map(), new Map()];
    let known = 0;
    const learn = () => {
      for (; known < gallery.list.length; known++) {
        const { i, first, model, input, state, cost, price } = gallery.list[known];
        if (i !== first) continue; // another picture of the same request
        if (PAID.includes(state)) paid.add(kindOf(model, input));
        const base = kindOf(model, withoutSeed(input));
        if (!seeds.has(base)) seeds.set(base, new Set());
        seeds.get(base).add(input.seed); // also of a row that is still to be sent
        if ((cost ?? price ?? null) === null) continue;
        const [sum, n] = costs.get(model) ?? [0, 0];
        costs.set(model, [sum + (cost ?? price), n + 1]);
      }
    };
    return {
      has: (entry) => (learn(), paid.has(kindOf(entry.model, entry.input))),
      /** USD of a request of this model, as those of the batch cost; undefined if none is known. */
      costOf: (model) => {
        learn();
        const [sum, n] = costs.get(model) ?? [];
        return n && sum / n;
      },
      /** The first `count` seeds that no row has which is otherwise like one of `bases`. */
      freeSeeds: (bases, count) => {
        learn();
        const used = bases.map(({ model, input }) => seeds.get(kindOf(model, input))).filter(Boolean);
        const limits = bases.map(({ model }) => fieldsOf(model)?.seed ?? {});
        const least = Math.max(1, ...limits.map(({ minimum }) => Math.ceil(minimum ?? 1)));
        const most = Math.min(Number.MAX_SAFE_INTEGER, ...limits.map(({ maximum }) => maximum ?? Infinity));
        const found = [];
        for (let seed = least; found.length < count && seed <= most; seed++)
          if (!used.some((some) => some.has(seed))) found.push(seed);
        return found;
      },
    };
  })();

  /** Make rows of a manifest; equal ones, which would be paid for twice, become one. */
  const entries = (rows, { changes = [], drop } = {}) => {
    const names = metaNames(rows);
    const [ids, seen, made] = [new Set(), new Set(), []];
    for (const row of rows) {
      const input = { ...row.input };
      let id = row.id;
      if (drop) {
        delete input[drop];
        id = renamed(id, drop, row.input[drop]);
      }
      for (const [name, value] of changes) {
        input[name] = value;
        id = renamed(id, name, row.input[name], value);
      }
      const kind = kindOf(row.model, input);
      if (seen.has(kind)) continue;
      seen.add(kind);
      for (let n = 2, first = id; ids.has(id); n++) id = `${first}-${n}`;
      ids.add(id);
      const meta = Object.entries(row.meta).map(([key, one]) => [names.get(key), one]);
      made.push({ id, model: row.model, input, meta: Object.fromEntries(meta) });
    }
    return { made, meta: [...names.values()].filter((one) => !one.startsWith("_")) };
  };

  const line = ({ id, model, input, meta }) => {
    const parts = Object.entries({ id, ...(model && { model }), ...input, ...meta }).map(([name, value]) => `${flow(name)}: ${flow(value)}`);
    return `- {${parts.join(", ")}}`;
  };

  /** Whether a browser cannot have read this number exactly. */
  const isRounded = (value) => Number.isInteger(value) && !Number.isSafeInteger(value);

  /** The pictures by what a run can be told of: one schema that RunComfy may not know, one workflow. */
  const runnable = (pictures) => {
    const parts = [];
    for (const picture of pictures) {
      const needs = [gallery.facts.schemas?.[picture.model]?.given ? picture.model : undefined, workflowOf(picture)];
      const fits = (part) => needs.every((need, n) => !need || !part.needs[n] || part.needs[n] === need);
      let part = parts.find(fits);
      if (!part) parts.push((part = { needs: [], pictures: [] }));
      needs.forEach((need, n) => (part.needs[n] ??= need));
      part.pictures.push(picture);
    }
    return parts.map((part) => part.pictures);
  };

  /**
   * A manifest of these pictures, or several that are run one by one.
   *
   * Returns what `part` does of all of them, and `parts`, what it does of each.
   */
  const manifest = (pictures, options) => {
    const all = runnable(pictures).map((some) => part(some, options));
    const parts = all.filter(({ count }) => count); // of the others everything is left out
    const sum = (name) => all.reduce((total, one) => total + one[name], 0);
    const fewer = all.map((one) => one.fewer).filter((n) => n !== null);
    return {
      parts,
      text: (parts[0] ?? all[0])?.text ?? "",
      count: sum("count"), had: sum("had"), rounded: sum("rounded"), equal: sum("equal"), usd: sum("usd"), unpriced: sum("unpriced"),
      fewer: fewer.length ? Math.min(...fewer) : null,
      problems: [...new Set(all.flatMap(({ problems }) => problems))],
    };
  };

  /**
   * pictures: a row is asked for once, however many of its pictures are there.
   * seeds: so many of each row, of those that are free; others: pairs of an input's name and the
   * words that it shall be in all of them. leave: whether requests that the batch has are left out. Returns the text,
   * and what is to be said of it: count, had, equal and rounded rows, fewer: how many seeds there
   * are if not enough, usd, unpriced: requests without a known price, problems in words, schema: the
   * file with a schema that batchgen does not bring, if it is too long to be carried along, workflow:
   * the hash of the one that rows send.
   */
  const part = (pictures, { seeds, others = [], leave } = {}) => {
    const rows = [...new Set(pictures.map(({ first }) => first))].map((i) => gallery.list[i]);
    const changes = others.map(([name, words]) => [name, valueOf(words, rows, name)]);
    const all = entries(rows, { changes, drop: seeds && "seed" });
    const { meta } = all;
    const had = seeds ? 0 : all.made.filter(batch.has).length;
    const made = leave && had ? all.made.filter((entry) => !batch.has(entry)) : all.made;
    const free = seeds ? batch.freeSeeds(made, seeds) : [undefined];
    const models = [...new Set(made.map((entry) => entry.model))];
    const one = models.length === 1;
    const changed = seeds ? [...changes, ["seed"]] : changes;
    const problems = [...new Set(rows.map((row) => row.model))]
      .flatMap((model) => changed.map(([name, value]) => problemOf(model, name, value)))
      .filter(Boolean);
    const known = (model) => gallery.facts.schemas?.[model];
    const own = models.find((model) => known(model)?.given) ?? models.find((model) => known(model)?.file);
    const head = [`# ${flow(gallery.say("export.from", { batch: gallery.facts.batch })).slice(1, -1)}`];
    // A run takes the schema that it is told of, here or by an option, for this model.
    if (one || own) head.push(`model: ${flow(own ?? models[0])}`);
    const { file, inline } = known(own) ?? {};
    if (inline) head.push(`schema: ${inline.replace(UNSAFE, escaped)}`);
    if (meta.length) head.push(`meta: ${flow(meta)}`);
    if (seeds) head.push(`matrix: {"seed": ${flow(free)}}`);
    const rest = made.map((entry) => line(one ? { ...entry, model: null } : entry));
    const prices = made.map((entry) => batch.costOf(entry.model));
    const rounded = made.filter(({ input, meta: more }) => [...Object.values(input), ...Object.values(more)].some(isRounded)).length;
    return {
      text: [...head, "rows:", ...rest, ""].join("\n"),
      count: made.length * free.length,
      had, rounded, problems,
      equal: rows.length - all.made.length,
      fewer: seeds && free.length < seeds ? free.length : null,
      usd: prices.reduce((sum, price) => sum + (price ?? 0), 0) * free.length,
      unpriced: prices.filter((price) => price === undefined).length,
      schema: inline ? null : file,
      workflow: made.map(workflowOf).find(Boolean),
    };
  };

  const rowLine = (row) => line(entries([row]).made[0]) + "\n";

  const download = (name, type, text) => {
    const address = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
    gallery.make("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  };

  return { csv, uncell, manifest, rowLine, download, fieldsOf };
})();

/** The dialog that asks which rows, and as what. */
gallery.exporting = (() => {
  const { say, choice } = gallery;
  const dialog = document.getElementById("export");
  const form = dialog.querySelector("form");
  const { which, rated, as, how, seeds, leave } = form.elements;
  const pairs = form.querySelector(".pairs"); // of an input's name and what it shall be
  const partsOf = (pair) => [...pair.querySelectorAll("input[type=text]")];
  const [preview, told, problem] = ["pre", ".told", ".problem"].map((one) => dialog.querySelector(one));
  let decided = false; // whether the person said if what the batch has is left out
  const LINES = 8;

  const WHICH = {
    picked: () => choice.chosenRows(({ verdict }) => verdict === "pick"),
    rated: () => choice.chosenRows(({ rating }) => rating >= Number(rated.value)),
    selected: () => [...choice.selected].map((i) => gallery.list[i]),
    decided: () => choice.chosenRows(({ verdict, rating, note }) => verdict || rating || note),
    shown: () => gallery.shownRows().map((i) => gallery.list[i]),
  };

  const made = () => {
    const rows = WHICH[which.value]();
    if (as.value === "csv") return { text: gallery.exports.csv(rows), count: rows.length };
    if (as.value === "files") {
      const paths = rows.flatMap(({ file }) => (file ? [`${file.path}\n`] : []));
      return { text: paths.join(""), count: paths.length };
    }
    const change = {
      same: {},
      seeds: { seeds: Math.min(Math.max(Math.trunc(Number(seeds.value)) || 1, 1), 100) },
      other: { others: [...pairs.children].map((pair) => partsOf(pair).map(({ value }) => value)).map(([name, words]) => [name.trim(), words]).filter(([name]) => name) },
    };
    return gallery.exports.manifest(rows, { ...change[how.value], leave: leave.checked });
  };

  const fileName = () =>
    gallery.facts.batch + { csv: "-picks.csv", files: "-files.txt", manifest: "-again.yaml" }[as.value];
  /** The files that `one` is written into: {name, text, and of a manifest what a run has to be told}. */
  const filesOf = ({ text, parts }) => {
    const all = parts?.length ? parts : [{ text }];
    return all.map((part, n) => ({ ...part, name: all.length > 1 ? fileName().replace(/(?=\.yaml$)/, `-${n + 1}`) : fileName() }));
  };

  /** As a shell takes it. */
  const quoted = (words) => (/^[\w./-]+$/.test(words) ? words : `'${words.replaceAll("'", "'\\''")}'`);

  const offer = (list, values) =>
    dialog.querySelector(list).replaceChildren(...values.map((value) => gallery.make("option", { value })));

  /** Offer the inputs of the models, and the values of the one that is named. */
  const suggest = () => {
    const MOST = 50;
    const models = [...new Set(WHICH[which.value]().map((row) => row.model))];
    const fields = models.map((model) => gallery.exports.fieldsOf(model) ?? {});
    offer("#input-names", [...new Set(fields.flatMap(Object.keys))].slice(0, MOST));
    const [name] = partsOf(document.activeElement.closest(".pair") ?? pairs.firstElementChild).map(({ value }) => value.trim());
    const field = fields.map((one) => one[name]).find(Boolean) ?? {};
    const seen = gallery.store.column(`input.${name}`).values.slice(1);
    const values = field.enum ?? (field.type === "boolean" ? [true, false] : seen);
    offer("#input-values", values.slice(0, MOST).map(gallery.shown));
  };

  /** What the requests of a manifest come to, in words. */
  const priced = ({ count, usd, unpriced }) => {
    if (!count) return say("export.about", { usd: gallery.usd(0) });
    const kind = !unpriced ? (gallery.facts.rehearsal ? "pretend" : "about") : usd ? "some_price" : "no_price";
    return say(`export.${kind}`, { usd: gallery.usd(usd) });
  };

  /** What is to be known of a manifest before it is run, in sentences. */
  const toldOf = (one) => [
    say("export.requests", { n: one.count, cost: priced(one) }),
    one.had ? say(leave.checked ? "export.left" : "export.had", { n: one.had }) : "",
    one.equal ? say("export.equal", { n: one.equal }) : "",
    one.rounded ? say("export.rounded", { n: one.rounded }) : "",
    one.fewer === null ? "" : say("export.few_seeds", { n: one.fewer }),
    one.parts.length > 1 ? say("export.several", { n: one.parts.length }) : "",
    gallery.facts.narrowed || gallery.facts.left_out ? say("export.part") : "",
  ];

  const commandFor = ({ name, schema, workflow }) => {
    const options = [
      schema && `--schema ${quoted(schema)}`,
      workflow && gallery.facts.workflows && `--workflow ${quoted(`${gallery.facts.workflows}/${workflow}.json`)}`,
    ];
    return ["batchgen run", quoted(name), ...options.filter(Boolean)].join(" ");
  };

  /** What is done with the file. */
  const thenOf = (files) => {
    if (as.value === "manifest") return say("export.then_run", { commands: files.map(commandFor).join("; ") });
    const file = quoted(fileName());
    if (as.value === "files") return say("export.then_files", { file });
    return say(gallery.facts.shared ? "export.then_send" : "export.then_csv", { file, command: gallery.facts.command });
  };

  /** A button for each file; several are told apart by their names, and not copied as one text. */
  const offerDownloads = (files) => {
    const names = files.map(({ name }) => name);
    const [first, ...others] = form.querySelectorAll(".download");
    first.textContent = names.length > 1 ? say("export.download_one", { file: names[0] }) : say("export.download");
    if (names.length === others.length + 1 && others.every((one, n) => one.value === String(n + 1))) return;
    for (const one of others) one.remove();
    const more = names.slice(1).map((file, n) => gallery.make("button", { type: "submit", class: "main download", value: n + 1 }, say("export.download_one", { file })));
    first.after(...more);
    form.querySelector(".copy-all").hidden = more.length > 0;
  };

  const show = () => {
    if (!dialog.open) return;
    if (!decided) leave.checked = how.value !== "same";
    for (const option of which.options) {
      const n = WHICH[option.value]().length;
      option.textContent = `${say(`export.which.${option.value}`)} (${n.toLocaleString("en")})`;
    }
    const one = made();
    const { text, count, problems = [] } = one;
    const listing = as.value !== "manifest";
    dialog.querySelector(".again").hidden = listing;
    dialog.querySelector(".leaving").hidden = listing || !one.had;
    if (!listing) suggest();
    rated.hidden = which.value !== "rated";
    const lines = text.split("\n", LINES + 1);
    preview.textContent = lines.slice(0, LINES).map((one) => one.slice(0, 300)).join("\n") + (lines.length > LINES ? "\n…" : "");
    const files = filesOf(one);
    offerDownloads(files);
    problem.textContent = problems.join(" ");
    told.textContent = [
      ...(listing ? [say(as.value === "files" ? "export.paths" : "export.rows", { n: count })] : toldOf(one)),
      gallery.pieces.all ? "" : say("status.loading", { at: gallery.pieces.loaded, n: gallery.facts.pieces }),
      thenOf(files),
    ].filter(Boolean).join(" ");
    // Which requests the batch has is known when all of it is here.
    const blocked = !count || problem.textContent || (!listing && gallery.pieces.busy);
    for (const button of form.querySelectorAll(".download, .copy-all")) button.disabled = blocked;
  };

  form.addEventListener("input", ({ target }) => {
    if (target === seeds) how.value = "seeds";
    if (target.closest(".pair")) how.value = "other";
    if (target === leave) decided = true;
    show();
  });
  form.addEventListener("focusin", ({ target }) => target.closest(".pair") && suggest());
  form.querySelector(".another").onclick = () => {
    const pair = pairs.firstElementChild.cloneNode(true);
    for (const one of partsOf(pair)) {
      one.value = "";
      one.removeAttribute("name"); // of the first alone
    }
    pairs.append(pair);
    how.value = "other";
    partsOf(pair)[0].focus();
    show();
  };
  form.querySelector(".copy-all").onclick = ({ target }) => gallery.copy(made().text, target);
  form.addEventListener("submit", (event) => {
    if (!event.submitter?.matches(".download")) return;
    event.preventDefault();
    const { name, text } = filesOf(made())[Number(event.submitter.value)];
    const type = { csv: "text/csv", files: "text/plain", manifest: "application/yaml" }[as.value];
    gallery.exports.download(name, type, text);
    gallery.tell(say("export.done", { file: name }));
  });

  return {
    show,
    open: () => {
      gallery.pieces.want(); // what was picked earlier may be in any of them
      const some = ["selected", "picked", "rated", "decided", "shown"].find((one) => WHICH[one]().length);
      which.value = some ?? "picked";
      dialog.showModal();
      which.focus();
      show();
    },
  };
})();
