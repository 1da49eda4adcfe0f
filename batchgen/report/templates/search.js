"use strict";
/* Search: words, "words that belong together", -not, and field:value. Values in, values out. */

gallery.search = (() => {
  const TERM = /(-?)(?:(?:"([^":]+)"|([^\s":]+)):(?=\S))?(?:"([^"]*)"?|(\S+))/g;
  const COMPARED = /^(>=|<=|>|<)(-?\d+(?:\.\d+)?)$/;
  const COMPARE = { ">=": (a, b) => a >= b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, "<": (a, b) => a < b };
  /** What is no column: a text, or a number, of a row. */
  const OF_ROW = {
    id: (row) => row.id,
    prompt: (row) => row.prompt,
    file: (row) => row.file?.path,
    request: (row) => row.request,
    cost: (row) => row.cost,
  };
  const plain = (name) => name.toLowerCase().replace(/[\s_-]/g, "");

  const columnsNamed = (name) =>
    gallery.store.columns().filter((c) => [c.name, c.label, gallery.filters.title(c)].some((one) => plain(one) === name));

  /** A test of a value: compared if it begins with < or >; the same if it is a number; else a part of it. */
  const testOf = (wanted) => {
    const [, sign, limit] = COMPARED.exec(wanted) ?? [];
    if (sign) return (value) => value !== "" && COMPARE[sign](Number(value), Number(limit));
    if (!wanted) return (value) => value === "";
    return (value) => (value.trim() !== "" && !Number.isNaN(Number(value)) ? value === wanted : value.toLowerCase().includes(wanted));
  };

  /** A test of the rows' indices by a field; null if there is no such field. */
  const byField = (field, wanted) => {
    const name = plain(field);
    const test = testOf(wanted);
    const columns = columnsNamed(name);
    const tests = columns.map((c) => {
      const fits = c.values.map((value, code) => test(value) || (code > 0 && wanted !== "" && gallery.filters.word(c, code).toLowerCase() === wanted));
      return (i) => fits[c.get(i)];
    });
    if (Object.hasOwn(OF_ROW, name)) tests.push((i) => test(String(OF_ROW[name](gallery.list[i]) ?? "")));
    return tests.length ? (i) => tests.some((one) => one(i)) : null;
  };

  /**
   * The tests of a search: a row matches if it passes all of them. text: what words are looked for
   * in, lower case, by a row's index. What names no field is a word, as in 16:9.
   */
  const parse = (search, text) =>
    [...search.toLowerCase().matchAll(TERM)].flatMap(([all, not, quoted, field, together, word]) => {
      const name = quoted ?? field;
      const value = together ?? word;
      const unfinished = name === undefined && /^[^\s":]+:$/.test(word ?? "") && byField(word.slice(0, -1), "");
      if (unfinished) return [];
      const found = name === undefined ? null : byField(name, value);
      const words = name === undefined ? value : all.slice(not.length).replaceAll('"', "");
      if (!found && !words) return not ? [(i) => text(i).includes("-")] : [];
      const test = found ?? ((i) => text(i).includes(words));
      return [not ? (i) => !test(i) : test];
    });

  return { parse };
})();
