"use strict";
/* The choice comes back from a file of picks: the CSV that the gallery wrote, as it is or from a
   spreadsheet. What `report --picks` takes is taken here, and what that refuses is refused. */

gallery.picks = (() => {
  const { say } = gallery;
  const MOST_BYTES = 100e6;
  const MOST_NAMED = 3;
  const SEPARATORS = [",", ";", "\t"]; // spreadsheets use the one of their country

  /** What is wrong with a file, in words. */
  class Refused extends Error {}

  const refuse = (line, name, values) => {
    throw new Refused(`${line}: ${say(`picks.${name}`, values)}`);
  };

  /** The records of a CSV, each as {line, cells}; line: where it begins, from 1. Blank ones are none. */
  const records = (text) => {
    const header = /^[^\r\n]*/.exec(text)[0];
    const count = (one) => header.split(one).length;
    const separator = SEPARATORS.reduce((most, one) => (count(one) > count(most) ? one : most));
    const cell = new RegExp(`(?:"([^"]*(?:""[^"]*)*)"|([^"${separator}\\r\\n][^${separator}\\r\\n]*)?)(${separator}|\\r\\n|\\r|\\n|$)`, "y");
    const found = [];
    let [at, line, cells, begun] = [0, 1, [], 1];
    while (at < text.length || cells.length) {
      cell.lastIndex = at;
      const [all, quoted, plain, end] = cell.exec(text) ?? refuse(line, "no_csv");
      cells.push(quoted?.replaceAll('""', '"') ?? plain ?? "");
      line += all.match(/\r\n|\r|\n/g)?.length ?? 0;
      at += all.length;
      if (end === separator) continue;
      if (cells.length > 1 || cells[0]) found.push({ line: begun, cells });
      [cells, begun] = [[], line];
    }
    return found;
  };

  /**
   * The choices in a file: {id, request, output, what}. output: null for all; what: the verdict,
   * rating and note, as far as the file has a column for them.
   */
  const read = (text) => {
    const [header, ...rest] = records(text);
    const names = header?.cells ?? [];
    if (!names.includes("id") && !names.includes("request_id")) refuse(1, "no_names");
    return rest.map(({ line, cells }) => {
      const of = (name) => cells[names.lastIndexOf(name)] ?? "";
      const [id, request] = ["id", "request_id"].map((name) => gallery.exports.uncell(of(name)));
      const [verdict, rating, output] = ["verdict", "rating", "output"].map((name) => of(name).trim());
      if (!["pick", "reject", ""].includes(verdict)) refuse(line, "no_verdict", { value: verdict.slice(0, 60) });
      if (!/^[0-5]?$/.test(rating)) refuse(line, "no_rating", { value: rating.slice(0, 60) });
      if (output && !/^[1-9][0-9]{0,8}$/.test(output)) refuse(line, "no_output", { value: output.slice(0, 60) });
      if (!id && !request) refuse(line, "no_row");
      const note = gallery.exports.uncell(of("note")).replaceAll("\r\n", "\n").trim();
      if ([...note].length > gallery.facts.most_note) refuse(line, "long_note", { most: gallery.facts.most_note });
      const what = Object.entries({ verdict, rating: Number(rating), note }).filter(([name]) => names.includes(name));
      return { id, request, output: Number(output) || null, what: Object.fromEntries(what) };
    });
  };

  /**
   * The choices by picture, and the names of rows and outputs that are not here. A line of one
   * output goes before one of its whole row.
   */
  const placed = (choices) => {
    const [byRequest, byId] = [new Map(), new Map()];
    for (const picture of gallery.list) {
      if (picture.i !== picture.first) continue;
      if (picture.request) byRequest.set(picture.request, picture.i);
      byId.set(picture.id, picture.i);
    }
    const [found, missing] = [new Map(), []];
    const wholeFirst = [...choices].sort((a, b) => Boolean(a.output) - Boolean(b.output));
    for (const one of wholeFirst) {
      const { id, request, output, what } = one;
      const first = request ? byRequest.get(request) : byId.get(id);
      const row = first === undefined ? [] : gallery.list.slice(first, first + (gallery.list[first].files.length || 1));
      const pictures = output ? row.filter(({ file }) => file && (file.n ?? 1) === output) : row;
      for (const picture of pictures) found.set(picture, what);
      if (!pictures.length) missing.push((id || request) + (output ? ` (${output})` : ""));
    }
    return { found, missing };
  };

  const textOf = async (file) => {
    if (file.size > MOST_BYTES) refuse(1, "too_large");
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
    } catch {
      return refuse(1, "unreadable");
    }
  };

  /** Take the choices of a file, in one step; say what came of it. */
  const take = async (file) => {
    const told = [];
    try {
      const choices = read(await textOf(file));
      gallery.tell(say("picks.wait", { file: file.name }));
      await gallery.pieces.whole(); // before that nobody knows which rows are not here
      const { found, missing } = placed(choices);
      const n = gallery.choice.take([...found]);
      told.push(say(n || !found.size ? "picks.taken" : "picks.same", { file: file.name, n }));
      const names = missing.slice(0, MOST_NAMED).map((one) => one.slice(0, 60)).join(", ");
      if (missing.length) told.push(say("picks.missing", { n: missing.length, names: missing.length > MOST_NAMED ? `${names}, …` : names }));
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      told.push(say("picks.refused", { file: file.name, why: error.message }));
    }
    gallery.tell(told.join(" "));
  };

  const input = document.getElementById("picks");
  input.onchange = () => {
    take(input.files[0]);
    input.value = ""; // so that the same file can be taken again
  };
  document.getElementById("imports").onclick = () => input.click();

  return { take, choose: () => input.click(), is: ({ name, type }) => type.startsWith("text/") || /\.(csv|tsv|txt)$/i.test(name) };
})();
