"""timm: its families at tiny size."""
# ruff: noqa: E501
# fmt: off

from collections.abc import Callable
from typing import Any

from torch import nn

from .row import floats, rows

add = rows("timm")


def make(name: str, kind: str, *args: Any, **options: Any) -> Callable[[], nn.Module]:
    """A function that makes a model of a module of timm."""

    def made() -> nn.Module:
        import importlib

        module = importlib.import_module(f"timm.models.{name}")
        return getattr(module, kind)(*(getattr(module, arg) if isinstance(arg, str) else arg for arg in args), num_classes=3, **options)

    return made


def row(name: str, model: Callable[[], nn.Module], sites: str = "norms", size: int = 8, **more: Any) -> None:
    add(name, model, floats(3, size, size), sites, rare=True, needs="timm", size=4, dtype="float64", **more)


VIT = {"img_size": 8, "patch_size": 4, "embed_dim": 8, "depth": 1, "num_heads": 2}
row("vit", make("vision_transformer", "VisionTransformer", **VIT), expect="closed")
row("deit, distilled", make("deit", "VisionTransformerDistilled", **VIT), instead="the class token and the distilled one are read at different positions")
row("eva", make("eva", "Eva", **VIT))
row("cait", make("cait", "Cait", img_size=8, patch_size=2, embed_dim=8, depth=2, num_heads=2, mlp_ratio=2, depth_token_only=1), "", instead="its heads are mixed before the softmax and behind it")
row("levit", make("levit", "Levit", img_size=32, embed_dim=(8,) * 3, key_dim=4, depth=(1,) * 3, num_heads=(2,) * 3), "", 32)
row("swin", make("swin_transformer", "SwinTransformer", img_size=8, patch_size=2, embed_dim=8, depths=(2, 1), num_heads=(2, 2), window_size=2), channels={"*": -1})
row("mlp-mixer", make("mlp_mixer", "MlpMixer", img_size=8, patch_size=4, embed_dim=8, num_blocks=1))
row("convnext", make("convnext", "ConvNeXt", depths=(1,) * 4, dims=(8,) * 4, patch_size=1), "")
row("resnet", make("resnet", "ResNet", "BasicBlock", (1,) * 4, channels=(4,) * 4, stem_width=4), "", 16)
row("mobilenet v2", make("efficientnet", "mobilenetv2_035"), "conv_stem:in blocks.0 output")
