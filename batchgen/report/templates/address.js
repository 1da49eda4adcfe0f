"use strict";
/* What is asked of the page stands in its address, behind the #: it survives a reload, and can be
   kept as a bookmark. */

gallery.address = (() => {
  const FILTER = "is.";

  /** What the address says: {search, sort, down, group, size, matrix, axes, chosen: [name, values]}; null if nothing. */
  const read = () => {
    const said = new URLSearchParams(location.hash.slice(1));
    const names = [...said.keys()];
    const ours = (name) => ["q", "sort", "down", "group", "size", "view", "axes"].includes(name) || name.startsWith(FILTER);
    if (!names.some(ours)) return null;
    const chosen = [...new Set(names.filter((name) => name.startsWith(FILTER)))].map((name) => [name.slice(FILTER.length), said.getAll(name)]);
    return {
      search: said.get("q") ?? "",
      sort: said.get("sort") ?? "listed",
      down: said.get("down") === "1",
      group: said.get("group") ?? "",
      size: Number(said.get("size")) || null,
      matrix: said.get("view") === "matrix",
      axes: said.getAll("axes"),
      chosen,
    };
  };

  /** Write it; what is as it was at first is left out. */
  const write = ({ search, sort, down, group, size, matrix, axes, chosen }) => {
    const said = new URLSearchParams();
    if (search.trim()) said.set("q", search);
    if (sort !== "listed") said.set("sort", sort);
    if (down) said.set("down", "1");
    if (group) said.set("group", group);
    if (size) said.set("size", size);
    if (matrix) said.set("view", "matrix");
    if (matrix) for (const name of axes) said.append("axes", name);
    for (const [name, codes] of chosen)
      for (const code of codes) said.append(FILTER + name, gallery.store.column(name).values[code]);
    const hash = said.size ? `#${said}` : "";
    if (hash === location.hash || (!hash && !read())) return;
    history.replaceState(history.state, "", hash || location.pathname + location.search);
  };

  return { read, write };
})();
