"""What ONNX and int8 cost and gain, by instruction set; it writes results/quantisation.json.

    python experiments/quantisation.py              every instruction set that is not recorded
    python experiments/quantisation.py --again      all that this machine has
    python experiments/quantisation.py --questions 100 --leads 100    a smaller sample

On Linux with a C compiler, on a processor that lets the instruction `cpuid` fault (cpuid_fault
in /proc/cpuinfo), the older instruction sets are measured on the same machine: onnxruntime has
no switch for them. Elsewhere what is there is measured. Another machine adds its own blocks.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

HERE = Path(__file__).resolve()
RECORD = HERE.parent.parent / "results" / "quantisation.json"
Vectors = np.ndarray[Any, Any]
# Bits of cpuid's leaf 7: (part, register) -> what they name.
AVX512 = {
    (0, 1): (16, 17, 21, 26, 27, 28, 30, 31),  # F, DQ, IFMA, ..., BW, VL
    (0, 2): (1, 6, 11, 12, 14),  # VBMI, VBMI2, VNNI, ...
    (0, 3): (2, 3, 8, 23),  # ..., FP16
    (1, 0): (5,),  # BF16
}
AMX = {(0, 3): (22, 24, 25), (1, 0): (21,)}
AVX_VNNI = {(1, 0): (4,), (1, 3): (4, 5, 10)}
# name -> flags of /proc/cpuinfo that it needs, and what is hidden
SETS: dict[str, tuple[tuple[str, ...], tuple[dict[tuple[int, int], tuple[int, ...]], ...]]] = {
    "AVX2": (("avx2",), (AVX512, AMX, AVX_VNNI)),
    "AVX-512": (("avx512bw",), ({(0, 2): (11,)}, AMX, AVX_VNNI)),
    "AVX2 VNNI": (("avx_vnni",), (AVX512, AMX)),
    "AVX-512 VNNI": (("avx512_vnni",), (AMX,)),
    "AMX": (("amx_int8",), ()),
}
INT8 = {  # what the quantiser is told
    "int8, a scale for each matrix": {"per_channel": False, "reduce_range": False},
    "int8, a scale for each column": {"per_channel": True, "reduce_range": False},
    "int8, for each column, 7 bits": {"per_channel": True, "reduce_range": True},
}
FLOATS = ("torch", "onnx", "float16 on disk")  # the same with all instruction sets
SIZES = ((1, 96), (8, 96))  # rows, tokens: one question, eight
ROUNDS = 7


def flags() -> set[str]:
    """What the processor says that it can do."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return set()
    return set(next((x for x in text.splitlines() if x.startswith("flags")), "").split())


def instruction_sets(folder: Path) -> dict[str, str | None]:
    """Give each instruction set that can be measured, with the library that hides the rest."""
    there = flags()
    names = [name for name, (needs, _) in SETS.items() if there.issuperset(needs)]
    if not names:
        return {platform.machine(): None}
    library = folder / "older.so"
    if "cpuid_fault" in there and platform.system() == "Linux":
        command = ["cc", "-O1", "-shared", "-fPIC", "-o", library, HERE.with_name("older.c")]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"no older instruction sets: {error}")
        else:
            return {name: str(library) for name in names}
    return {names[-1]: None}


def hide(library: str, name: str) -> None:
    """Take what is newer than an instruction set out of cpuid's answers."""
    bits = (ctypes.c_uint * 8)()
    for hidden in SETS[name][1]:
        for (part, register), places in hidden.items():
            for place in places:
                bits[4 * part + register] |= 1 << place
    if ctypes.CDLL(library).hide(bits):
        raise SystemExit("this kernel does not let cpuid fault")


def write_models(folder: Path) -> dict[str, dict[str, int]]:
    """Export both models, quantise them in three ways; give the sizes in bytes."""
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from safetensors.torch import save_file

    from minibert.exporting import FLOAT, export, get_loaded
    from minibert.weights import own_memory

    sizes: dict[str, dict[str, int]] = {}
    for name in ("minilm", "minilm-qa"):
        target = folder / name
        if not (target / FLOAT).exists():
            export(name, target)
        files = {"onnx": target / FLOAT}
        for variant, how in INT8.items():
            files[variant] = target / f"{variant}.onnx"
            if not files[variant].exists():
                quantize_dynamic(
                    target / FLOAT, files[variant], weight_type=QuantType.QInt8,
                    op_types_to_quantize=["MatMul", "Gather"], **how,
                )  # fmt: skip
        state = own_memory(get_loaded(name, None)[0].state_dict())
        for variant, dtype in (("torch", torch.float32), ("float16 on disk", torch.float16)):
            files[variant] = folder / f"{name}.safetensors"
            save_file({k: v.to(dtype) for k, v in state.items()}, files[variant])
            sizes.setdefault(name, {})[variant] = files[variant].stat().st_size
        sizes[name] |= {k: files[k].stat().st_size for k in ("onnx", *INT8)}
    return sizes


def variant_of(folder: Path, name: str, variant: str) -> Any:
    """Load a model and its tokenizer in a variant: torch's class, whatever computes inside."""
    from minibert.bert import BertModel
    from minibert.heads import BertForQuestionAnswering
    from minibert.loading import load

    kind: Any = BertForQuestionAnswering if name == "minilm-qa" else BertModel
    model, tokenizer = load(name, kind, "cpu")
    variant_model = copy.copy(model)
    if variant == "float16 on disk":
        variant_model = copy.deepcopy(model).half().float()
    elif variant != "torch":
        variant_model.forward = through(session_of(folder, name, variant), kind)
    return variant_model, tokenizer


def session_of(folder: Path, name: str, variant: str) -> Any:
    """Open a file with onnxruntime, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    file = "onnx/model.onnx" if variant == "onnx" else f"{variant}.onnx"
    return onnxruntime.InferenceSession(folder / name / file, options)


def through(session: Any, kind: type) -> Callable[..., Any]:
    """Make a forward pass that onnxruntime computes."""
    import torch

    from minibert.bert import BertOutput
    from minibert.heads import BertForQuestionAnswering, QuestionAnsweringOutput

    def forward(
        input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None, **_: Any
    ) -> Any:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        inputs = {"input_ids": input_ids, "attention_mask": mask, "token_type_ids": types}
        outputs = session.run(None, {k: v.numpy() for k, v in inputs.items()})
        a, b = (torch.from_numpy(x) for x in outputs)
        if kind is BertForQuestionAnswering:
            return QuestionAnsweringOutput(None, a, b)
        return BertOutput(a, b, (a,) * 7)  # the last layer's is asked for, of its states

    return forward


def scored(folder: Path, variant: str, questions: int, count: int) -> dict[str, list[float]]:
    """Score every question, every lead's first sentence, and every lead's topic."""
    from minibert.data import leads, sentences
    from minibert.qa import answer_all
    from minibert.sentences import embed, nearest
    from minibert.squad import load_leadqa, scores

    chosen = sample([x for x in load_leadqa("test") if x.answers], questions)
    answers = answer_all(chosen, model=variant_of(folder, "minilm-qa", variant), max_length=256)
    pairs = [scores(x, y.text, "1.1") for x, y in zip(chosen, answers, strict=True)]
    model = variant_of(folder, "minilm", variant)
    cut = [(lead, sentences(lead.text)) for lead in leads("test")]
    cut = sample([(lead, parts) for lead, parts in cut if len(parts) > 1], count)
    firsts = embed([parts[0] for _, parts in cut], model=model, max_length=64)
    rests = embed([" ".join(parts[1:]) for _, parts in cut], model=model, max_length=64)
    best, _ = nearest(firsts, rests, 1)
    predicted = classifier(folder).predict(rests)
    return {
        "exact match": [x for x, _ in pairs],
        "F1": [x for _, x in pairs],
        "retrieval": [float(i == place) for i, place in enumerate(best[:, 0])],
        "accuracy": [float(a == lead.topic) for a, (lead, _) in zip(predicted, cut, strict=True)],
    }


def sample(items: list[Any], count: int) -> list[Any]:
    """Draw some, the same ones each time: the leads are sorted by topic."""
    return random.Random(0).sample(items, min(count, len(items)))


def classifier(folder: Path) -> Any:
    """Train a linear head for topics once, on vectors of the frozen body in float32."""
    from sklearn.linear_model import LogisticRegression

    from minibert.data import leads
    from minibert.sentences import embed

    file, chosen = folder / "train.npy", sample(leads("train"), 480)
    if not file.exists():
        np.save(file, embed([lead.text for lead in chosen], model="minilm", max_length=64))
    head = LogisticRegression(C=10, max_iter=1000)
    return head.fit(np.load(file), [lead.topic for lead in chosen])


def timed(folder: Path) -> list[dict[str, Any]]:
    """Time every variant in turn, and give medians and how often as fast as torch and onnx.

    Seconds are the processor's: one thread computes, and what else runs adds none.
    """
    import torch

    torch.set_num_threads(1)
    out = []
    names = ("torch", "onnx", *INT8)
    models = {name: variant_of(folder, "minilm-qa", name)[0] for name in names}
    for rows, size in SIZES:
        chance = torch.Generator().manual_seed(0)
        ids = torch.randint(1000, 30000, (rows, size), generator=chance)
        inputs = (ids, torch.ones_like(ids), torch.zeros_like(ids))
        seconds: dict[str, list[float]] = {name: [] for name in names}
        with torch.inference_mode():
            for turn in range(ROUNDS + 1):
                for name in names:
                    start = time.process_time()
                    models[name](*inputs)
                    if turn:  # the first call warms up
                        seconds[name].append(time.process_time() - start)
        for name in names:
            row = {"variant": name, "rows": rows, "tokens": size}
            row["seconds"] = round(median(seconds[name]), 5)
            for other in ("torch", "onnx"):
                pairs = zip(seconds[other], seconds[name], strict=True)
                row[f"times as fast as {other}"] = round(median(a / b for a, b in pairs), 3)
            out.append(row)
    return out


def saturates() -> bool:
    """Whether 64 products of 255 and 127 sum up to less than they should."""
    import onnxruntime
    from onnx import TensorProto, helper

    weights = helper.make_tensor("w", TensorProto.INT8, [64, 16], [127] * 1024)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "w"], ["y"])], "one",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [None, 64])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, None)], [weights],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (products,) = session.run(None, {"a": np.full((4, 64), 255, np.uint8)})
    return bool((products < 64 * 255 * 127).any())


def work(args: argparse.Namespace) -> None:
    """Measure one instruction set, in a process of its own."""
    if args.library:
        hide(args.library, args.set)
    import torch
    from record import circumstances

    torch.set_num_threads(1)
    variants = (*FLOATS, *INT8) if args.floats else tuple(INT8) if args.int8 else ()
    block = circumstances("onnx", "onnxruntime", "onnxscript")
    block["saturates"] = saturates()
    block["speed"] = timed(args.work)
    block["scores"] = {}
    for variant in variants:
        block["scores"][variant] = scored(args.work, variant, args.questions, args.leads)
        means = {k: round(float(np.mean(v)), 4) for k, v in block["scores"][variant].items()}
        print(args.set, variant, means, flush=True)
    (args.work / f"{args.set}.json").write_text(json.dumps(block), encoding="utf-8")


def interval(differences: list[float]) -> dict[str, float]:
    """Give the mean of differences, item by item, and 95 % of it by the bootstrap."""
    values = np.array(differences)
    chance = np.random.default_rng(0)
    means = values[chance.integers(0, len(values), (2000, len(values)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"difference": 100 * values.mean(), "low": 100 * low, "high": 100 * high}


def summary(scores: dict[str, list[float]], base: dict[str, list[float]]) -> dict[str, Any]:
    """Give each measure, 0 to 100, and how far from torch's it is."""
    out = {}
    for name, values in scores.items():
        apart = [a - b for a, b in zip(values, base[name], strict=True)]
        numbers = {"value": 100 * float(np.mean(values)), **interval(apart)}
        out[name] = {k: round(float(v), 2) for k, v in numbers.items()}
    return out


def main() -> int:
    """Measure what is not recorded yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--questions", type=int, default=600, help="of LeadQA's test split")
    parser.add_argument("--leads", type=int, default=500, help="of the test split")
    parser.add_argument("--again", action="store_true", help="measure what is recorded, too")
    parser.add_argument("--work", type=Path, help="a folder for the models (default: one for now)")
    parser.add_argument("--set", help=argparse.SUPPRESS)
    parser.add_argument("--library", help=argparse.SUPPRESS)
    parser.add_argument("--floats", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--int8", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.set:
        work(args)
        return 0
    from record import circumstances

    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    blocks = record.setdefault("blocks", {})
    with tempfile.TemporaryDirectory() as aside:
        folder = args.work or Path(aside)
        folder.mkdir(parents=True, exist_ok=True)
        sets = instruction_sets(folder)
        wanted = [name for name in sets if args.again or name not in blocks]
        wanted = [*wanted[-1:], *wanted[:-1]]  # the newest, with torch in it, then from the oldest
        if not wanted:
            print("all is recorded: --again measures it again")
            return 0
        record["sizes"] = write_models(folder)
        base: dict[str, list[float]] = {}
        for name in wanted:
            command = [sys.executable, HERE, "--set", name, "--work", folder]
            command += ["--questions", str(args.questions), "--leads", str(args.leads)]
            if not base:
                command.append("--floats")
            elif name == "AVX2":  # AVX-512 without VNNI saturates alike: only its speed is new
                command.append("--int8")
            if sets[name]:
                command += ["--library", sets[name]]
            file = folder / f"{name}.json"  # in --work: of a run that was stopped
            if not file.exists():
                subprocess.run(command, check=True)
            block = json.loads(file.read_text(encoding="utf-8"))
            base = base or block["scores"]["torch"]
            scores = block.pop("scores")
            block["scores"] = {k: summary(v, base) for k, v in scores.items()}
            blocks[name] = block | {"questions": args.questions, "leads": len(base["retrieval"])}
            options = f"--questions {args.questions} --leads {args.leads}"
            record["command"] = f"python experiments/quantisation.py {options}"
            record |= circumstances("onnx", "onnxruntime", "onnxscript")
            RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
