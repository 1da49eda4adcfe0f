"""What ComfyUI's `object_info` says of the nodes of the sample workflows. Pure.

The shape is that of ComfyUI's route `/object_info`; choices are fewer than in reality.
"""

from typing import Any

LONG_SEED = 2**64 - 1
PICTURES = ["heron.png", "example.png"]
SAMPLERS = ["euler", "euler_ancestral", "heun", "dpmpp_2m", "dpmpp_2m_sde", "ddim", "uni_pc"]
SCHEDULERS = ["normal", "karras", "exponential", "simple", "sgm_uniform", "beta"]
UPSCALERS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]


def _whole(default: int, least: int, most: int, **more: Any) -> list[Any]:
    return ["INT", {"default": default, "min": least, "max": most, **more}]


def _node(
    name: str,
    title: str,
    category: str,
    required: dict[str, Any],
    outputs: list[str],
    *,
    ends: bool = False,
    **hidden: str,
) -> dict[str, Any]:
    """One class of nodes. ends: whether a workflow may end with it."""
    groups: dict[str, Any] = {"required": required}
    if hidden:
        groups["hidden"] = hidden
    return {
        "input": groups,
        "input_order": {group: list(names) for group, names in groups.items()},
        "output": outputs,
        "output_is_list": [False] * len(outputs),
        "output_name": outputs,
        "name": name,
        "display_name": title,
        "description": "",
        "python_module": "nodes",
        "category": category,
        "output_node": ends,
    }


SIDE = {"step": 8, "tooltip": "Pixels."}
SAVED = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}
CFG = {"default": 8.0, "min": 0.0, "max": 100.0, "step": 0.1, "round": 0.01}
DENOISE = {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}

NODE_TYPES: dict[str, Any] = {
    "CheckpointLoaderSimple": _node(
        "CheckpointLoaderSimple", "Load Checkpoint", "loaders",
        {"ckpt_name": [["sandbox-small.safetensors", "sandbox-large.safetensors"]]},
        ["MODEL", "CLIP", "VAE"],
    ),
    "CLIPTextEncode": _node(
        "CLIPTextEncode", "CLIP Text Encode (Prompt)", "conditioning",
        {"text": ["STRING", {"multiline": True, "dynamicPrompts": True}], "clip": ["CLIP"]},
        ["CONDITIONING"],
    ),
    "EmptyLatentImage": _node(
        "EmptyLatentImage", "Empty Latent Image", "latent",
        {
            "width": _whole(512, 16, 16384, **SIDE),
            "height": _whole(512, 16, 16384, **SIDE),
            "batch_size": _whole(1, 1, 4096),
        },
        ["LATENT"],
    ),
    "LoadImage": _node(
        "LoadImage", "Load Image", "image",
        {"image": [PICTURES, {"image_upload": True}]},
        ["IMAGE", "MASK"],
    ),
    "VAEEncode": _node(
        "VAEEncode", "VAE Encode", "latent", {"pixels": ["IMAGE"], "vae": ["VAE"]}, ["LATENT"]
    ),
    "KSampler": _node(
        "KSampler", "KSampler", "sampling",
        {
            "model": ["MODEL", {"tooltip": "The model that removes noise."}],
            "seed": _whole(0, 0, LONG_SEED, control_after_generate=True),
            "steps": _whole(20, 1, 10000),
            "cfg": ["FLOAT", CFG],
            "sampler_name": [SAMPLERS, {"tooltip": "How noise is removed."}],
            "scheduler": [SCHEDULERS],
            "positive": ["CONDITIONING"],
            "negative": ["CONDITIONING"],
            "latent_image": ["LATENT"],
            "denoise": ["FLOAT", DENOISE],
        },
        ["LATENT"],
    ),
    "VAEDecode": _node(
        "VAEDecode", "VAE Decode", "latent", {"samples": ["LATENT"], "vae": ["VAE"]}, ["IMAGE"]
    ),
    # As newer nodes say their choices.
    "ImageScaleBy": _node(
        "ImageScaleBy", "Upscale Image By", "image/upscaling",
        {
            "image": ["IMAGE"],
            "upscale_method": ["COMBO", {"multiselect": False, "options": UPSCALERS}],
            "scale_by": ["FLOAT", {"default": 1.0, "min": 0.01, "max": 8.0, "step": 0.01}],
        },
        ["IMAGE"],
    ),
    "SaveImage": _node(
        "SaveImage", "Save Image", "image",
        {"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "ComfyUI"}]},
        [], ends=True, **SAVED,
    ),
    "PreviewImage": _node(
        "PreviewImage", "Preview Image", "image", {"images": ["IMAGE"]}, [], ends=True, **SAVED
    ),
    "PreviewAny": _node(
        "PreviewAny", "Preview as Text", "utils", {"source": ["*", {}]}, [], ends=True
    ),
}  # fmt: skip
