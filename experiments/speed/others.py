"""Peers that live in an environment of their own, `.venv-bench`: nothing of minibert here.

Each function makes a side, `speed.timing.There`, of texts in a file and models in folders; no
hub is asked. `requirements.txt` beside this file says what the environment holds.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from speed.timing import Array, Here

Encode = Callable[[list[str]], Array]


def in_parts(encode: Encode, texts: list[str], parts: int) -> Here:
    """Make a side that does a part of the texts each time, and checks the first 64."""
    turns = count()

    def work() -> float:
        part = texts[next(turns) % parts :: parts]
        encode(part)
        return len(part)

    return Here(work, lambda: encode(texts[:64]))


def made(encode: Encode, file: str, parts: int, *packages: str) -> tuple[Here, dict[str, str]]:
    """Give the side, and the versions that it runs with."""
    texts: list[str] = json.loads(Path(file).read_text(encoding="utf-8"))
    return in_parts(encode, texts, parts), {name: metadata.version(name) for name in packages}


def sentence_encoder(model: Any) -> Encode:
    """Encode as all back ends of sentence-transformers do."""
    return lambda texts: np.asarray(
        model.encode(texts, batch_size=32, show_progress_bar=False, normalize_embeddings=True)
    )


def ort_options(threads: int) -> Any:
    """Tell ONNX Runtime how many threads it has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return options


def sentence_transformers_onnx(
    folder: str, texts: str, parts: int, threads: int, int8: str = ""
) -> tuple[Here, dict[str, str]]:
    """Their ONNX back end: exported by optimum; `int8` names the set that it is quantised for."""
    import torch
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

    torch.set_num_threads(threads)

    def load(where: str, **how: Any) -> Any:
        how |= {"provider": "CPUExecutionProvider", "session_options": ort_options(threads)}
        return SentenceTransformer(where, backend="onnx", device="cpu", model_kwargs=how)

    model = load(folder, export=True)
    if int8:
        target = Path(texts).parent / "their-int8"
        model.save_pretrained(str(target))
        export_dynamic_quantized_onnx_model(model, int8, str(target))
        (file,) = target.glob(f"onnx/*{int8}*.onnx")
        model = load(str(target), file_name=f"onnx/{file.name}")
    packages = ("sentence-transformers", "optimum-onnx", "onnxruntime", "transformers")
    return made(sentence_encoder(model), texts, parts, *packages)


def sentence_transformers_openvino(
    folder: str, texts: str, parts: int, threads: int
) -> tuple[Here, dict[str, str]]:
    """Their OpenVINO back end in int8, calibrated on the texts themselves."""
    import nncf
    import torch
    from optimum.intel import OVConfig, OVQuantizationConfig, OVQuantizer
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model = SentenceTransformer(
        folder, backend="openvino", device="cpu",
        model_kwargs={"export": True, "ov_config": {"INFERENCE_NUM_THREADS": threads}},
    )  # fmt: skip
    chosen = json.loads(Path(texts).read_text(encoding="utf-8"))[:200]
    rows = [
        dict(model.tokenizer([text], max_length=128, truncation=True, return_tensors="np"))
        for text in chosen
    ]
    target = Path(texts).parent / "their-openvino"
    model.save_pretrained(str(target))
    OVQuantizer.from_pretrained(model[0].auto_model).quantize(
        calibration_dataset=nncf.Dataset(rows), save_directory=str(target / "int8"),
        ov_config=OVConfig(quantization_config=OVQuantizationConfig(num_samples=len(chosen))),
    )  # fmt: skip
    shutil.copytree(target / "int8" / "openvino", target / "openvino", dirs_exist_ok=True)
    shutil.rmtree(target / "int8")
    model = SentenceTransformer(
        str(target), backend="openvino", device="cpu",
        model_kwargs={"ov_config": {"INFERENCE_NUM_THREADS": threads}},
    )  # fmt: skip
    packages = ("sentence-transformers", "optimum-intel", "openvino", "nncf", "transformers")
    return made(sentence_encoder(model), texts, parts, *packages)


def fastembed(
    folder: str, texts: str, parts: int, threads: int
) -> tuple[Here, dict[str, str]]:
    """Fastembed, given our exported file as a model of its own."""
    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType

    TextEmbedding.add_custom_model(
        model="exported", pooling=PoolingType.MEAN, normalization=True, dim=384,
        sources=ModelSource(url="unused"), model_file="onnx/model.onnx",
    )  # fmt: skip
    model = TextEmbedding("exported", specific_model_path=folder, threads=threads)

    def encode(texts: list[str]) -> Array:
        return np.stack(list(model.embed(texts, batch_size=32)))

    return made(encode, texts, parts, "fastembed", "onnxruntime")
