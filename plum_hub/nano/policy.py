"""The nano policy before any training: a randomly initialised Llama of 0.4 M parameters, tokenizer, chat template.

    from plum_hub.nano import policy
    policy.build_initial(Path("nano-init"), seed=0)
    AutoModelForCausalLM.from_pretrained("nano-init"), AutoTokenizer.from_pretrained("nano-init")

The tokenizer is byte-level BPE trained on the seed demonstrations. Its merges may run across spaces, so whole phrases
("keep only the ") become one token: sequences are short, and a model this small need not learn to spell. Any other
text can still be written, byte by byte.

The policy knows nothing but nano's tasks, and has never seen a system message: the chat template leaves those out.
"""

import os
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from plum_hub.nano.corpus import demonstrations

VOCABULARY_SIZE = 1600
MAX_LENGTH = 512  # tokens of prompt and completion; the longest demonstration has far fewer
MAX_NEW_TOKENS = 112

PAD, USER, ASSISTANT, END = "<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"
#: Each turn is <|role|>text, an assistant's turn closed by <|end|>. The marks are single tokens over which no merge can
#: run, so the tokens of a prompt are always a prefix of those of prompt and completion.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}{{ '<|user|>' + message['content'] }}"
    "{%- elif message['role'] == 'assistant' -%}{{ '<|assistant|>' + message['content'] + '<|end|>' }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>' }}{%- endif -%}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer with its chat template, trained on the seed demonstrations; the same on every machine."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # No split at spaces: merges across words are what makes the sequences short. A digit stands alone, so that
            # copying one from the instruction is the same act wherever it stands; a line of code begins with its line
            # break; and what links the phrases of an instruction is no part of them, so that a phrase reads the same
            # wherever it stands.
            pre_tokenizers.Split(Regex(r"[0-9]"), "isolated"),
            pre_tokenizers.Split("\n", "merged_with_next"),
            pre_tokenizers.Split(Regex(r", (then|and) |; return |: | and return |[.] "), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=[PAD, USER, ASSISTANT, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = [text for task, code in demonstrations() for text in (task.instruction, code)]
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
        padding_side="left",  # generation continues at the right end; trainers pad as they like
    )


def build_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """Two layers of width 96. Three heads of 32, since vLLM's CPU attention refuses the 24 of four heads."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=3,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )


def build_initial(out_dir: str | os.PathLike[str], seed: int = 0) -> None:
    """Write model, tokenizer, chat template and generation defaults to `out_dir`; `seed` draws the initial weights."""
    tokenizer = build_tokenizer()
    with torch.random.fork_rng(devices=[]):  # the caller's random state is not ours to move
        torch.manual_seed(seed)
        model = LlamaForCausalLM(build_config(tokenizer))
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,  # the library's default of 50 would not be the policy's own distribution
        top_p=1.0,
        max_new_tokens=MAX_NEW_TOKENS,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(Path(out_dir))
    tokenizer.save_pretrained(Path(out_dir))
