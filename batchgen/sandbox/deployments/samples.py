"""The deployments that the sandbox has of its own, as files of `--deployment` say them."""

from typing import Any

from batchgen.sandbox.deployments.node_types import NODE_TYPES

TEXT = "11111111-1111-4111-8111-111111111111"  # a picture of a text
PHOTO = "22222222-2222-4222-8222-222222222222"  # a picture of a photo and a text
SIZES = "33333333-3333-4333-8333-333333333333"  # two sizes of a picture, and its text


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


def _workflow(latent: dict[str, Any], denoise: float) -> dict[str, Any]:
    """Return a workflow that samples; latent: the nodes before the sampler, the last one linked."""
    return {
        "4": _node("CheckpointLoaderSimple", ckpt_name="sandbox-small.safetensors"),
        "6": _node("CLIPTextEncode", text="a heron at dawn", clip=["4", 1]),
        "7": _node("CLIPTextEncode", text="blurred", clip=["4", 1]),
        **latent,
        "31": _node(
            "KSampler", seed=42, steps=20, cfg=7.0, sampler_name="euler", scheduler="normal",
            denoise=denoise, model=["4", 0], positive=["6", 0], negative=["7", 0],
            latent_image=[[*latent][-1], 0],
        ),
        "8": _node("VAEDecode", samples=["31", 0], vae=["4", 2]),
        "9": _node("SaveImage", filename_prefix="ComfyUI", images=["8", 0]),
        "10": _node("PreviewImage", images=["8", 0]),
    }  # fmt: skip


EMPTY = {"5": _node("EmptyLatentImage", width=512, height=512, batch_size=1)}
LOADED = {
    "12": _node("LoadImage", image="heron.png"),
    "13": _node("VAEEncode", pixels=["12", 0], vae=["4", 2]),
}
LARGER = {
    "14": _node("ImageScaleBy", image=["8", 0], upscale_method="lanczos", scale_by=2.0),
    "15": _node("SaveImage", filename_prefix="large/ComfyUI", images=["14", 0]),
    "16": _node("PreviewAny", source=["6", 0]),
}


def _sample(
    id: str, name: str, hardware: str, most: int, workflow: dict[str, Any], example: dict[str, Any]
) -> dict[str, Any]:
    return {
        "id": id,
        "name": name,
        "workflow_id": id.replace("-4", "-5", 1),
        "workflow_version": "v1",
        "hardware": [hardware],
        "min_instances": 0,
        "max_instances": most,
        "queue_size": 1,
        "keep_warm_duration_in_seconds": 60,
        "is_enabled": True,
        "created_at": "2026-11-01T09:00:00.000000+00:00",
        "updated_at": "2026-11-01T09:00:00.000000+00:00",
        "payload": {"workflow_api_json": workflow, "overrides": example},
        "object_info": NODE_TYPES,
    }


SAMPLES = [
    _sample(
        TEXT, "text to image", "AMPERE_48", 2, _workflow(EMPTY, 1.0),
        {"6": {"inputs": {"text": "a heron at dawn"}}, "31": {"inputs": {"seed": 42}}},
    ),
    _sample(
        PHOTO, "photo to image", "ADA_48_PLUS", 3, _workflow(LOADED, 0.6),
        {"12": {"inputs": {"image": "https://example.com/heron.png"}}},
    ),
    _sample(SIZES, "two sizes", "HOPPER_141", 1, {**_workflow(EMPTY, 1.0), **LARGER}, {}),
]  # fmt: skip
