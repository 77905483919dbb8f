"""Text to ids: ours, and the library `tokenizers` that does the work on characters, by itself."""

from __future__ import annotations

import numpy as np
import tokenizers
from tokenizers import processors

from minibert.data import leads
from minibert.tokens import Tokenizer
from speed.timing import Here, Row, Sides, Size, compared


def rows(size: Size) -> list[Row]:
    """From a list of leads to arrays of ids, mask and segments, padded and cut to 128."""
    ours = Tokenizer.from_pretrained("minilm")
    texts = [lead.text for lead in leads("train")[: max(size.sentences // 5, 4)]]
    rust = tokenizers.Tokenizer.from_str(ours._rust.to_str())
    rust.post_processor = processors.BertProcessing(
        ("[SEP]", ours.sep_id), ("[CLS]", ours.cls_id)
    )
    rust.enable_truncation(128)
    rust.enable_padding(pad_id=ours.pad_id)

    def mine() -> list[np.ndarray]:
        return [np.asarray(x) for x in ours(texts, max_length=128, return_tensors="np")]

    def theirs() -> list[np.ndarray]:
        made = rust.encode_batch_fast(texts)
        return [
            np.array([encoding.ids for encoding in made]),
            np.array([encoding.attention_mask for encoding in made]),
            np.array([encoding.type_ids for encoding in made]),
        ]

    if not all(np.array_equal(a, b) for a, b in zip(mine(), theirs(), strict=True)):
        raise ValueError("not the same ids")

    def side(work: object) -> Here:
        return Here(lambda: (work(), len(texts))[1])  # type: ignore[operator]

    name = f"tokenising {len(texts):,} leads, against tokenizers by itself"
    return compared(size, Sides(ours=side(mine), rust=side(theirs)), {"rust": (name, 0.95)})
