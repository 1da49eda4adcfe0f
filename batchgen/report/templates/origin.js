"use strict";
/* A picture file is asked which row it is: its facts stand in its own metadata, as XMP. What is
   dropped comes here; a file of picks goes on to picks.js. */

gallery.origin = (() => {
  const { say } = gallery;
  const FACTS = /<batchgen:facts>([^<]*)<\/batchgen:facts>/;
  const SIGNS = { lt: "<", gt: ">", amp: "&" };

  /** What a PNG, JPEG or WebP says of itself; null if nothing. None of them packs an XMP packet. */
  const factsIn = (bytes) => {
    const found = FACTS.exec(new TextDecoder().decode(bytes));
    try {
      return JSON.parse(found[1].replace(/&(lt|gt|amp);/g, (all, name) => SIGNS[name]));
    } catch {
      return null;
    }
  };

  /** Show the row that a file belongs to, or say what the file says. */
  const ask = async (file) => {
    const facts = factsIn(await file.arrayBuffer());
    await gallery.pieces.whole();
    const row = facts && gallery.list.find((one) => one.request === facts.request_id);
    if (row) {
      const shown = gallery.shownRows();
      gallery.detail.show(row, shown.includes(row.i) ? shown : [row.i]);
    } else gallery.tell(facts ? say("origin.other", { ...facts, file: file.name }) : say("origin.none", { file: file.name }));
  };

  const input = document.getElementById("picture");
  input.onchange = () => {
    ask(input.files[0]);
    input.value = ""; // so that the same file can be asked again
  };

  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) (gallery.picks.is(file) ? gallery.picks.take : ask)(file);
  });

  return { choose: () => input.click() };
})();
