"""The same BLIP twice: transformers' class with random weights, and ours with those weights."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Any

import torch
from mmengine.config import Config

from uniadapter.apis.model import build_model
from uniadapter.checkpoints.layouts import read_checkpoint

#: Query, key and head weights are scaled: at BLIP's initialisation all pairs score alike.
_SHARPNESS = 3.0


def twin_config(model: Any, dropout: bool, label_smoothing: float = 0.0) -> Any:
    """The BlipConfig of transformers with the sizes of one of our models.

    Args:
        model (VisionLanguageModel): With BLIP's towers.
        dropout (bool): Whether with our towers' dropout, which transformers' default leaves out.
        label_smoothing (float): Of the decoder's loss. Defaults to 0.
    """
    from transformers import BlipConfig

    layer, text = model.visual.layers[0], model.text
    first = text.encoder.layer[0]
    attention = first.attention.self
    common = {
        "hidden_size": model.visual.embed_dims,
        "num_hidden_layers": len(model.visual.layers),
        "num_attention_heads": layer.attn.num_heads,
        "intermediate_size": layer.ffn.layers[0][0].out_features,
        "image_size": model.visual.img_size[0],
        "patch_size": model.visual.patch_embed.projection.kernel_size[0],
        # BLIP's; transformers' default is 1e-5.
        "layer_norm_eps": 1e-6,
    }
    words = {
        "vocab_size": text.embeddings.word_embeddings.num_embeddings,
        "hidden_size": text.hidden_size,
        "encoder_hidden_size": text.encoder_width,
        "num_hidden_layers": text.num_layers,
        "num_attention_heads": attention.num_heads,
        "intermediate_size": first.intermediate.dense.out_features,
        "max_position_embeddings": text.embeddings.position_embeddings.num_embeddings,
        "hidden_dropout_prob": first.output.dropout.p if dropout else 0.0,
        "attention_probs_dropout_prob": attention.dropout_rate if dropout else 0.0,
        "label_smoothing": label_smoothing,
        # Not read here, but must be words of the vocabulary.
        "bos_token_id": 1,
        "eos_token_id": 2,
        "sep_token_id": 2,
    }
    return BlipConfig(vision_config=common, text_config=words, image_text_hidden_size=_embed(model))


def _embed(model: Any) -> int:
    head = getattr(model, "vision_proj", None)
    return 256 if head is None else head.out_features


def make_alone(cfg: Config, kind: str, seed: int, dropout: bool) -> Any:
    """Transformers' model of the sizes of a config's, without building ours beside it."""
    import transformers

    with torch.device("meta"):
        sizes: Any = build_model(cfg.model.to_dict())
    torch.manual_seed(seed)
    config = twin_config(sizes, dropout, float(getattr(sizes, "label_smoothing", 0.0)))
    return getattr(transformers, kind)(config).eval()


def make_twins(cfg: Config, kind: str, seed: int, dropout: bool) -> tuple[Any, Any]:
    """Build both, transformers' with random weights, ours converted from it.

    Args:
        cfg (Config): Config of our model.
        kind (str): Name of transformers' class.
        seed (int): Of the weights.
        dropout (bool): See :func:`twin_config`.

    Returns:
        tuple: Our model and transformers', both in evaluation mode.

    Raises:
        ImportError: If transformers is not installed.
    """
    import transformers

    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(seed)
    ours: Any = build_model(cfg.model.to_dict())
    theirs_config = twin_config(ours, dropout, float(getattr(ours, "label_smoothing", 0.0)))
    theirs = getattr(transformers, kind)(theirs_config).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.endswith(("query.weight", "key.weight", "itm_head.weight")):
                parameter.mul_(_SHARPNESS)
    with TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        state, _ = read_checkpoint(folder, "hf", ours)
    ours.load_state_dict(state, strict=False)
    return ours.eval(), theirs
