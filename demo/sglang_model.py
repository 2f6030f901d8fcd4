# SPDX-License-Identifier: Apache-2.0
"""A tiny random model, made on the spot: nothing is downloaded.

A GPT-2, because its learned positions need no kernel of a GPU.  Its weights are drawn wide, so that
the next token depends on all that was said before: a wrong page shows in the tokens.
"""
import json
import pathlib
import sys

LAYERS, WIDTH, HEADS = 2, 64, 4
WORDS = 512
CONTEXT = 4096
SEED = 1
# 0.02, the usual value, makes attention look at everything alike and the last token decide.
SPREAD = 0.4

CONFIG = {
    "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "torch_dtype": "float32",
    "vocab_size": WORDS, "n_positions": CONTEXT, "n_ctx": CONTEXT, "n_embd": WIDTH,
    "n_layer": LAYERS, "n_head": HEADS, "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 0,
}
# Word-level: token 7 is the word w7.
TOKENIZER = {
    "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
    "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
    "model": {"type": "WordLevel", "unk_token": "w1",
              "vocab": {f"w{number}": number for number in range(WORDS)}},
}
TOKENIZER_CONFIG = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT,
                    "unk_token": "w1", "bos_token": "w0", "eos_token": "w0"}


def make(folder):
    """Writes the model and its tokenizer to @folder."""
    import safetensors.torch

    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("config", CONFIG), ("tokenizer", TOKENIZER),
                          ("tokenizer_config", TOKENIZER_CONFIG)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    safetensors.torch.save_file(_weights(), folder / "model.safetensors", {"format": "pt"})


def _weights():
    """What GPT2LMHeadModel calls its tensors; matrices as (inputs, outputs)."""
    import torch

    generator = torch.Generator().manual_seed(SEED)

    def drawn(*shape):
        return torch.randn(shape, generator=generator) * SPREAD

    weights = {"wte.weight": drawn(WORDS, WIDTH), "wpe.weight": drawn(CONTEXT, WIDTH)}
    for layer in range(LAYERS):
        for name, inputs, outputs in (("attn.c_attn", 1, 3), ("attn.c_proj", 1, 1),
                                      ("mlp.c_fc", 1, 4), ("mlp.c_proj", 4, 1)):
            weights[f"h.{layer}.{name}.weight"] = drawn(inputs * WIDTH, outputs * WIDTH)
            weights[f"h.{layer}.{name}.bias"] = torch.zeros(outputs * WIDTH)
    for name in ["ln_f", *(f"h.{layer}.ln_{i}" for layer in range(LAYERS) for i in (1, 2))]:
        weights[f"{name}.weight"] = torch.ones(WIDTH)
        weights[f"{name}.bias"] = torch.zeros(WIDTH)
    return {f"transformer.{name}": tensor for name, tensor in weights.items()}


if __name__ == "__main__":
    make(sys.argv[1])
