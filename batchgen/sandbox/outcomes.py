"""How a request ends under a fault, as far as that is the same for both APIs."""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image

from batchgen.sandbox.errors import error_body
from batchgen.sandbox.media import PNG
from batchgen.sandbox.placeholder import encode
from batchgen.sandbox.service import Outcome, PollAnswer


def inline_picture(colour: str) -> str:
    """Return a small PNG in base64."""
    return base64.b64encode(encode(Image.new("RGB", (16, 16), colour), PNG.pillow)).decode()


def without(answer: PollAnswer, *names: str) -> PollAnswer:
    return {name: value for name, value in answer.items() if name not in names}


def shared_outcomes(
    first_url: Callable[[PollAnswer], str], with_url: Callable[[PollAnswer, Any], PollAnswer]
) -> Mapping[str, Outcome]:
    """Return the outcomes of both APIs. first_url: of an answer; with_url: the answer with another.

    They take the answer of a finished request, and the fault's value.
    """
    return {
        "failed-in-200": lambda answer, value: error_body(
            int(value), "InternalError: generation failed"
        ),
        "media-other-host": with_url,
        # The picture itself; value: its colour.
        "inline": lambda answer, value: with_url(
            answer, f"data:image/png;base64,{inline_picture(value)}"
        ),
        "url-blanks": lambda answer, value: with_url(answer, f" {first_url(answer)}?name=a fox\n"),
        "end-word": lambda answer, value: answer | {"status": value},
        "no-status": lambda answer, value: without(answer, "status"),
        # value: bytes of what nobody asked for.
        "large-result": lambda answer, value: answer | {"latents": "A" * int(value)},
        "no-cost": lambda answer, value: without(answer, "cost"),
        "number-cost": lambda answer, value: answer,
    }
