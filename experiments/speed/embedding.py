"""Vectors of sentences: in float32 and in int8, against those that people pick for speed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from sentence_transformers import SentenceTransformer

from minibert.bert import BertModel
from minibert.data import leads, sentences
from minibert.exported import INT8
from minibert.exporting import export
from minibert.files import resolve
from minibert.loading import load
from minibert.sentences import embed, nearest
from speed.instructions import NOT_HELD, held_to_avx2, instruction_set
from speed.others import in_parts, ort_options, sentence_encoder
from speed.timing import Array, Here, Row, Sides, Size, There, compared, missing

PEERS = Path(os.environ.get("MINIBERT_PEERS", ""))  # the Python of .venv-bench
FLOATS = {  # short name -> the row's name, its floor, what makes it
    "torch": ("sentence-transformers", 1.5, ""),
    "onnx": ("sentence-transformers' ONNX back end", 1.2, "sentence_transformers_onnx"),
    "fastembed": ("fastembed", 1.2, "fastembed"),
}
INT8S = {
    "onnx": ("sentence-transformers' ONNX in int8", 1.1, "sentence_transformers_onnx"),
    "openvino": ("sentence-transformers' OpenVINO in int8", 1.1, "sentence_transformers_openvino"),
}


def pieces() -> Iterator[str]:
    """Give the sentences of the leads."""
    for lead in leads("train"):
        yield from sentences(lead.text)


def retrieval(encode: Any) -> Array:
    """Which leads are found by their first sentence: (n,) of 0 and 1."""
    cut = [parts for lead in leads("test") if len(parts := sentences(lead.text)) > 1]
    firsts = encode([parts[0] for parts in cut])
    rests = encode([" ".join(parts[1:]) for parts in cut])
    best, _ = nearest(firsts, rests, 1)
    return best[:, 0] == np.arange(len(cut))


def family(
    size: Size, ours: Here, peers: dict[str, tuple[str, float, str]], inputs: dict[str, Any],
    what: str, most: float, **fields: Any,
) -> list[Row]:  # fmt: skip
    """Time ours and what there is of the peers; `most` is how far apart cosines may be."""
    rows, measured = [], {}
    with Sides(ours=ours) as sides:
        mine = ours.check()
        for short, (name, floor, function) in peers.items():
            title = f"{what}, against {name}"
            try:
                if not function:
                    theirs = SentenceTransformer(str(resolve("minilm")), device="cpu")
                    texts = json.loads(Path(inputs["texts"]).read_text(encoding="utf-8"))
                    sides[short] = in_parts(sentence_encoder(theirs), texts, inputs["parts"])
                elif held_to_avx2():
                    raise RuntimeError(NOT_HELD)
                elif not PEERS.is_file():
                    raise RuntimeError("not installed: make bench does")
                else:
                    more = {"folder": inputs["exported" if short == "fastembed" else "folder"]}
                    if most > 1e-3 and short == "onnx":
                        more["int8"] = instruction_set()
                    common = {key: inputs[key] for key in ("texts", "parts", "threads")}
                    sides[short] = There(f"speed.others:{function}", PEERS, **common, **more)
                apart = 1 - (mine * sides[short].check()).sum(-1).min()
                if apart > most:
                    raise ValueError(f"vectors are apart, by cosines of {1 - apart:.4f}")
                measured[short] = title, floor
            except (RuntimeError, ValueError) as error:
                if short in sides:
                    sides.pop(short).close()
                rows.append(missing(title, floor, str(error)))
        return (compared(size, sides, measured, **fields) if measured else []) + rows


def rows(size: Size) -> list[Row]:
    """All rows of embedding; a part of the sentences in each round."""
    threads = torch.get_num_threads()
    texts = [text for text, _ in zip(pieces(), range(size.sentences), strict=False)]
    with tempfile.TemporaryDirectory() as aside:
        file, exported = Path(aside) / "texts.json", Path(aside) / "exported"
        file.write_text(json.dumps(texts), encoding="utf-8")
        export("minilm", exported, int8=True, kind=BertModel)
        settings = exported / "tokenizer_config.json"  # fastembed wants to be told how long
        config = json.loads(settings.read_text(encoding="utf-8")) | {"model_max_length": 256}
        settings.write_text(json.dumps(config), encoding="utf-8")
        inputs = {
            "texts": str(file), "parts": size.rounds, "threads": threads,
            "folder": str(resolve("minilm")), "exported": str(exported),
        }  # fmt: skip
        whole = load("minilm", BertModel, "cpu")
        small = load(exported, BertModel, file_name=INT8)
        small[0].session = onnxruntime.InferenceSession(small[0].file, ort_options(threads))
        count = f"{len(texts):,} sentences"

        def side(model: Any) -> Here:
            return in_parts(lambda texts: embed(texts, model=model), texts, size.rounds)

        measured = family(size, side(whole), FLOATS, inputs, f"vectors of {count}", 1e-5)
        right = [
            retrieval(lambda texts, model=model: embed(texts, model=model))  # type: ignore[misc]
            for model in (whole, small)
        ] if size.sentences > 100 else [np.zeros(1), np.zeros(1)]  # fmt: skip
        lost = 100 * float(right[0].mean() - right[1].mean())
        measured += family(
            size, side(small), INT8S, inputs, f"vectors of {count} in int8", 0.05,
            retrieval_lost=round(lost, 2),
        )  # fmt: skip
    return measured
