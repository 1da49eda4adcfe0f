"""A YAML manifest by the 1.2 core schema, with the place of every value; rows one by one.

Only null, true, false and decimal numbers are more than text. `no`, `007`, `12:30`, a date and
`0x1f` stay text: YAML 1.1, which most parsers implement, makes False, 7 and 750 of the first three.
The values are built from the parser's events. Their depth is limited, and the values that aliases
stand for are counted before anything is copied: a few lines cannot become billions of values.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import yaml

from batchgen.core.limits import DEFAULT_LIMITS, Limits
from batchgen.core.rows import Place, Problem
from batchgen.core.text import quote_value
from batchgen.manifest.document import Document, SettingPath
from batchgen.manifest.read_jsonl import make_record, repeated_name
from batchgen.manifest.records import Item, Record, Unreadable, file_problem, over_limit

SIZE_CHARS = 64  # characters of a text that count as one more value

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Plain scalars that are more than text.
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,400})")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?")
_CUT_SHORT = re.compile(r"[ \t]+(#[^\s#][^\r\n]*)")
_GOES_ON = re.compile(r"#(?:\d|\S+[ \t]+\S)")
# Line breaks of YAML 1.1, by which libyaml makes a blank of them; in 1.2 they are characters.
_OLD_BREAK = re.compile("[\x85\u2028\u2029]")
_INDENTED_BY_TAB = re.compile(r" *\t")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class Node(NamedTuple):
    """A value with its place. value: a scalar, a list of Nodes, or a dict of Nodes by name.

    size: the values in it, aliases written out; a long text counts for more.
    problems: found in it, which did not stop the reading.
    """

    place: Place
    value: Any
    size: int = 1
    problems: tuple[Problem, ...] = ()

    def plain(self) -> Any:
        """Return the value without its Nodes."""
        if isinstance(self.value, dict):
            return {name: node.plain() for name, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def read_yaml(text: str, file: str, limits: Limits = DEFAULT_LIMITS) -> Document:
    """Read a list of rows, or settings with `rows` or `from`. Raises Unreadable."""
    if found := _OLD_BREAK.search(text):
        raise Unreadable(_old_break_problem(text, file, found))
    return _Composer(text, file, limits).document()


def _old_break_problem(text: str, file: str, found: re.Match[str]) -> Problem:
    at = found.start()
    line = text.count("\n", 0, at) + 1
    place = Place(file, line, at - text.rfind("\n", 0, at))
    what = f"a line break of another kind, U+{ord(found[0]):04X}, which would not be sent as it is"
    escape = found[0].encode("unicode_escape").decode()
    remedy = f"Take it out; or put the text in double quotes, with {escape} in its place."
    return file_problem(place, what, remedy)


def _places(path: SettingPath, node: Node) -> Iterator[tuple[SettingPath, Place]]:
    yield path, node.place
    if isinstance(node.value, dict):
        for name, child in node.value.items():
            yield from _places((*path, name), child)
    elif isinstance(node.value, list):
        for index, child in enumerate(node.value):
            yield from _places((*path, index), child)


def _rows(nodes: Iterable[Node]) -> Iterator[Item]:
    for node in nodes:
        value = node[1]
        if type(value) is str and not node[3]:  # in a quarter of the time of the rest
            yield Record(node[0], value)
            continue
        inside = node.value if isinstance(node.value, dict) else {}
        if node.problems:
            id = inside["id"].value if "id" in inside else None
            yield from (replace(f, row=id if isinstance(id, str) else None) for f in node.problems)
        elif isinstance(node.value, dict):
            places = {name: child.place for name, child in inside.items()}
            yield Record(node.place, node.plain(), places=places)
        else:
            yield make_record(node.plain(), node.place)


def _streamed_rows(text: str, file: str, limits: Limits) -> Iterator[Item]:
    return _rows(_Composer(text, file, limits).rows())


def resolve_scalar(text: str) -> bool | int | float | str | None:
    """Return the value of a plain scalar by YAML 1.2's core schema, less octal, hex and .inf."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0].isalpha():
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and abs(number := float(text)) != float("inf"):
        return number
    return text


class _Composer:
    """Builds Nodes from the parser's events, one document.

    aliased: in units of Node.size, all aliases together. values: of this row or of the settings.
    """

    def __init__(self, text: str, file: str, limits: Limits) -> None:
        self.file = file
        self.limits = limits
        self.anchors: dict[str, Node | None] = {}
        self.aliased = 0
        self.values = 0
        self.text = text
        self.events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)

    def document(self) -> Document:
        """Read the settings. Rows are passed over, and composed one by one when they are asked for.

        A list without settings is not read further than its beginning.
        """
        stream = partial(_streamed_rows, self.text, self.file, self.limits)
        with self._refusing_what_is_no_yaml():
            start = self._start()
            if isinstance(start, yaml.SequenceStartEvent):
                return Document({}, {(): self._place(start)}, stream)
            is_mapping = isinstance(start, yaml.MappingStartEvent)
            if start is None:
                node = Node(Place(self.file, 1), None)
            else:
                node = self._mapping(start, 1) if is_mapping else self._node(start, 1)
            self._end()
        if not is_mapping:
            what = "this is neither a list of rows nor settings with rows"
            remedy = "Write rows: and under it a line beginning with “- ” for each prompt."
            raise Unreadable(file_problem(node.place, what, remedy))
        inside: dict[str, Node] = node.value
        rows = inside.get("rows")
        has_rows = rows is not None and isinstance(rows.value, list)
        settings = {k: v for k, v in inside.items() if k != "rows" or not has_rows}
        places = dict(_places((), node._replace(value=settings)))
        if rows:
            places[("rows",)] = rows.place
        # A row's problems are yielded with the row.
        in_rows = {id(problem) for problem in rows.problems} if rows and has_rows else set()
        return Document(
            {name: value.plain() for name, value in settings.items()},
            places,
            stream if has_rows else None,
            [replace(one, whole=True) for one in node.problems if id(one) not in in_rows],
        )

    def rows(self) -> Iterator[Node]:
        """Compose the rows one by one, after what stands before them, which may have anchors."""
        with self._refusing_what_is_no_yaml():
            start = self._start()
            if isinstance(start, yaml.SequenceStartEvent):
                yield from self._each_row(start, 2)
                self._end()
                return
            while not isinstance(event := next(self.events), yaml.MappingEndEvent):
                name, event = self._name(event), next(self.events)
                if name != "rows":
                    self._node(event, 2)
                elif isinstance(event, yaml.SequenceStartEvent):
                    yield from self._each_row(event, 3)
                    return
                else:  # an alias
                    yield from self._node(event, 2).value
                    return

    @contextmanager
    def _refusing_what_is_no_yaml(self) -> Iterator[None]:
        """Raise Unreadable for an error of the parser."""
        try:
            yield
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = Place(self.file, mark.line + 1, mark.column + 1) if mark else Place(self.file)
            what = f"this is not YAML: {error.problem or error.context}"
            remedy = "Put quotes around a text with “: ” or “ #” in it, or that begins with a mark."
            if mark and _INDENTED_BY_TAB.match(self.text, self._line_start(mark.line)):
                what = "this line is indented with a tab, and YAML is indented with blanks"
                remedy = "Put blanks in place of the tab."
            raise Unreadable(file_problem(place, what, remedy)) from None
        except yaml.YAMLError as error:
            # An error of the reader: a character that YAML does not allow, without a mark.
            what = f"this is not YAML: {str(error).splitlines()[0]}"
            raise Unreadable(file_problem(Place(self.file), what)) from None

    def _start(self) -> Any:
        """Return the event with which the document's value begins; None in an empty file."""
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                return next(self.events)
        return None

    def _end(self) -> None:
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                remedy = "Keep each list in its own file."
                raise self._refused(event, "a second document begins here", remedy)

    def _node(self, event: Any, depth: int) -> Node:
        if type(event) is yaml.AliasEvent:
            return self._alias(event)
        anchor = event.anchor
        if anchor is not None:
            self.anchors[anchor] = None  # an alias to it inside itself is refused
        self.values += 1
        if depth > self.limits.depth:
            remedy = "No model's input is so deep."
            raise self._over_limit("depth", event, "values are nested too deeply", remedy)
        if self.values > self.limits.row_values:
            what = "a row, or the settings, have too many values"
            raise self._over_limit("row_values", event, what)
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, depth)
        else:
            node = self._mapping(event, depth)
        if anchor is not None:
            self.anchors[anchor] = node
        return node

    def _alias(self, event: Any) -> Node:
        node = self.anchors.get(event.anchor)
        if node is None:
            if event.anchor in self.anchors:
                raise self._refused(event, f"*{event.anchor} stands inside itself", "")
            what = f"nothing before this is called &{event.anchor}"
            raise self._refused(event, what, "Quote a text that begins with *.")
        self.aliased += node.size
        if self.aliased > self.limits.alias_values:
            what = "the file's aliases stand for too many values"
            remedy = "Write the rows out, or use defaults: and matrix:."
            raise self._over_limit("alias_values", event, what, remedy)
        return node._replace(place=self._place(event))

    def _sequence(self, start: Any, depth: int) -> Node:
        children = list(self._children(start, depth + 1))
        problems = tuple(problem for child in children for problem in child.problems)
        return Node(self._place(start), children, 1 + sum(c.size for c in children), problems)

    def _children(self, start: Any, depth: int) -> Iterator[Node]:
        self._check_tag(start, "tag:yaml.org,2002:seq")
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            yield self._node(event, depth)

    def _each_row(self, start: Any, depth: int) -> Iterator[Node]:
        """As `_children`; the values of each are counted anew."""
        before = self.values
        self._check_tag(start, "tag:yaml.org,2002:seq")
        for event in self.events:
            kind = type(event)
            if kind is yaml.SequenceEndEvent:
                break
            self.values = 0
            if kind is yaml.ScalarEvent and event.anchor is None:  # most rows
                yield self._scalar(event)
            else:
                yield self._node(event, depth)
        self.values = before

    def _mapping(self, start: Any, depth: int) -> Node:
        children: dict[str, Node] = {}
        lines: dict[str, int] = {}
        problems: list[Problem] = []
        size = 1
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            name = self._name(event)
            place = self._place(event)
            event = next(self.events)
            is_list = isinstance(event, yaml.SequenceStartEvent) and event.anchor is None
            if depth == 1 and name == "rows" and is_list:
                child = self._passed_over(event)
            else:
                child = self._node(event, depth + 1)
            size += child.size
            problems.extend(child.problems)
            if name in children:
                problems.append(repeated_name(place, name, lines[name]))
            else:
                children[name] = child
                lines[name] = place.line
        self._check_tag(start, "tag:yaml.org,2002:map")
        return Node(self._place(start), children, size, tuple(problems))

    def _passed_over(self, start: Any) -> Node:
        """Return an empty list in place of the rows, of which any number passes."""
        for _ in self._each_row(start, 3):
            pass
        return Node(self._place(start), [])

    def _name(self, event: Any) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            remedy = "Put quotes around a text with [, { or *."
            raise self._refused(event, "a name has to be a plain text", remedy)
        name: str = event.value
        if name == "<<" and event.implicit[0]:
            what = "<< is no part of YAML 1.2 and is not supported"
            raise self._refused(event, what, "Put what all rows share under defaults:.")
        return name

    def _scalar(self, event: Any) -> Node:
        text: str = event.value
        tag, mark = event.tag, event.start_mark
        place = Place(self.file, mark.line + 1, mark.column + 1)
        value: Any = text
        if tag is not None:
            if tag not in ("!", "tag:yaml.org,2002:str"):
                self._check_tag(event, None)
        elif event.implicit[0]:
            value = resolve_scalar(text)
        problems = () if event.style else self._cut_short(event)
        return Node(place, value, 1 + len(text) // SIZE_CHARS, problems)

    def _cut_short(self, event: Any) -> tuple[Problem, ...]:
        """Return the problem of a text without quotes that a `#` has cut short: `A cat #3 of 5`.

        Where one word stands before it and one behind, it is a comment: `anime #later`.
        """
        end = event.end_mark.index
        if not (cut := _CUT_SHORT.match(self.text[end : end + 80])):
            return ()
        if " " not in event.value and not _GOES_ON.match(cut[1]):
            return ()
        what = f"the text ends before {quote_value(cut[1])}, which YAML takes for a comment"
        remedy = "Put quotes around the text, or, if it is a comment, a blank after the #."
        return (Problem(self._place(event), what, remedy),)

    def _line_start(self, line: int) -> int:
        at = 0
        for _ in range(line):
            at = self.text.find("\n", at) + 1
        return at

    def _check_tag(self, event: Any, allowed: str | None) -> None:
        if event.tag not in (None, allowed):
            what = f"the tag {quote_value(event.tag)} is not supported"
            raise self._refused(event, what, "Take it out.")

    def _place(self, event: Any) -> Place:
        mark = event.start_mark
        return Place(self.file, mark.line + 1, mark.column + 1)

    def _over_limit(self, limit: str, event: Any, what: str, remedy: str = "") -> Unreadable:
        return over_limit(self.limits, limit, self._place(event), what, remedy=remedy)

    def _refused(self, event: Any, what: str, remedy: str) -> Unreadable:
        return Unreadable(file_problem(self._place(event), what, remedy))
