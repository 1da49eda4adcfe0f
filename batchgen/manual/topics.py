"""The topics of `batchgen help`: each is a page of docs/, or a part of one."""

from dataclasses import dataclass

from batchgen.manual import markdown
from batchgen.resources import docs_folder


@dataclass(frozen=True, slots=True)
class Topic:
    """about: in a line. page: below docs/. heading: of the part that is shown; "" is all of it."""

    about: str
    page: str
    heading: str = ""

    def text(self) -> str:
        """Return the text as Markdown, without its title. Raises OSError."""
        page = (docs_folder() / self.page).read_text(encoding="utf-8")
        if not self.heading:
            return page.partition("\n")[2].lstrip("\n")
        return markdown.section(page, self.heading)


TOPICS = {
    "exit-codes": Topic("What the exit code of each command means.", "reference/exit-codes.md"),
    "formats": Topic("The files that a list can be.", "guide/manifests.md", "Formats"),
    "unfolding": Topic(
        "Prompts that unfold: {a|b}, wildcards and samples.", "reference/unfolding.md"
    ),
    "money": Topic(
        "Limits of cost, prices, and what a run says before it pays.",
        "guide/evening.md",
        "Set a limit of cost",
    ),
    "unknown": Topic(
        "Rows that may have been billed, and how to settle them.",
        "guide/trouble.md",
        "Unknown rows",
    ),
    "settings": Topic("Your own settings, for all lists.", "guide/configuration.md"),
    "agent": Topic(
        "How a program drives batchgen, in forty lines.", "guide/agents.md", "In forty lines"
    ),
    "environment": Topic("The environment variables.", "reference/environment.md"),
}
