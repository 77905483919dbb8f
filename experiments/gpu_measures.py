"""The measurements of experiments/gpu.py: a step's speed, attention's back ends, losses.

Each takes a device and gives fields of a row, of which `faults` lists what is wrong; on the
CPU sizes are small, to show that it works. MINIBERT_DEVICE must name the same device, for
`train` looks there, and MINIBERT_DTYPE chooses as everywhere.
"""

from __future__ import annotations

import gc
import itertools
import os
import re
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile

from minibert.attention import SelfAttention, causal_mask, padding_mask
from minibert.checkpoints import read_checkpoint
from minibert.config import BertConfig
from minibert.counting import flops, memory, total
from minibert.device import best_dtype
from minibert.losses import IGNORE
from minibert.mlm import Masking
from minibert.pretraining import BertForPreTraining
from minibert.steps import Microbatch
from minibert.tokens import Tokenizer
from minibert.training import TrainingConfig, train
from minibert.vocabulary import SPECIAL

Fields = dict[str, Any]  # of a row
STEPS = 20  # of the runs whose losses are looked at
# How far, as a share, a loss may lie from the CPU's in float32. There, weights that begin
# 1e-7 aside end 1e-7 aside, bfloat16 ends 3e-4 aside, and a lost padding mask 2e-3.
WITHIN = {"float32": 1e-4, "bfloat16": 2e-3, "float16": 2e-3}
# Peak over formula: the formula knows neither the heads nor what is let go on the way.
PEAK = (0.5, 1.25)


def small(device: torch.device) -> BertConfig:
    """A model whose runs differ by nothing but rounding: it has no dropout."""
    layers, hidden = (2, 64) if device.type == "cpu" else (4, 256)
    return BertConfig(
        vocab_size=1000, hidden_size=hidden, num_hidden_layers=layers,
        num_attention_heads=hidden // 32, intermediate_size=4 * hidden,
        max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip


def made_up(
    masking: Masking, batch: int, length: int, step: int, rank: int = 0, world: int = 1,
    *, padded: bool = True,
) -> list[Microbatch]:  # fmt: skip
    """A step's rows of made-up ids; some are frequent, so that there is something to learn."""
    chance = torch.Generator().manual_seed(step)
    first, size = len(SPECIAL), len(masking.special)
    share = torch.rand(batch, length, generator=chance) ** 3
    shortest = length // 2 if padded else length
    lengths = torch.randint(shortest, length + 1, (batch, 1), generator=chance)
    real = (torch.arange(length) < lengths).long()
    hidden = masking((first + (share * (size - first)).long()) * real, chance)
    inputs = {
        "input_ids": hidden.input_ids,
        "attention_mask": real,
        "token_type_ids": real * (torch.arange(length) >= length // 2),
        "labels": hidden.labels,
        "next_sentence_label": torch.randint(2, (batch,), generator=chance),
    }
    chosen = int((hidden.labels != IGNORE).sum())
    return [Microbatch(inputs, {"masked_lm_loss": chosen, "next_sentence_loss": batch})]


def masking_of(config: BertConfig) -> Masking:
    """The package's masking, over made-up words."""
    words = (f"w{i}" for i in range(config.vocab_size - len(SPECIAL)))
    return Masking(Tokenizer([*SPECIAL, *words]))


def wait(device: torch.device) -> float:
    """The time once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def product_speed(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product: the most that a step can hope for."""
    size = 512 if device.type == "cpu" else 8192
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(23):
        start = wait(device)
        a @ b
        times.append(wait(device) - start)
    return 2 * size**3 / median(times[3:])


def step_base(device: torch.device) -> Fields:
    """The pre-training step of BERT-base: its share of a plain product's speed, its memory."""
    config = BertConfig()
    shapes = [(32, 128), (8, 512), (128, 128)]  # the largest last: its peak is the row's
    if device.type == "cpu":
        config = small(device)
        shapes = [(8, 32), (2, 64)]
    dtype = best_dtype(device)
    best = product_speed(device, dtype)
    masking, faults, rows = masking_of(config), [], []
    for batch, length in shapes:
        pieces = made_up(masking, batch, length, 0, padded=False)
        seconds, peak = step(device, config, pieces)
        # Training takes three times the forward pass's operations. counting.flops leaves out
        # the masked-word head: a layer and the table, at the hidden places.
        work = 3 * batch * length * total(flops(config, length))
        width, hidden = config.hidden_size, pieces[0].counts["masked_lm_loss"]
        head = 3 * hidden * 2 * width * (width + config.vocab_size)
        half = dtype != torch.float32
        formula = total(memory(config, batch, length, device=device.type, autocast=half))
        row = {
            "batch": batch,
            "length": length,
            "seconds": round(seconds, 5),
            "tokens_per_second": round(batch * length / seconds),
            "mfu": round(work / seconds / best, 4),
            "mfu_with_head": round((work + head) / seconds / best, 4),
            "peak_bytes": peak,
            "formula_bytes": formula,
            "peak_over_formula": peak and round(peak / formula, 3),
        }
        rows.append(row)
        if not 0 < row["mfu_with_head"] < 1:
            faults.append(f"{batch} x {length}: MFU is {row['mfu_with_head']}")
        if peak is not None and not PEAK[0] < peak / formula < PEAK[1]:
            faults.append(f"{batch} x {length}: peak over formula is not in {PEAK}: {row}")
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "product_flops": round(best),
        "shapes": rows,
        "faults": faults,
    }


def step(
    device: torch.device, config: BertConfig, pieces: list[Microbatch]
) -> tuple[float, int | None]:
    """Run the package's own loop on one batch: seconds of a step, and the peak memory."""
    cuda = device.type == "cuda"
    warm, steps = (5, 30) if cuda else (2, 8)
    if cuda:
        gc.collect()  # what the shape before took
        torch.cuda.reset_peak_memory_stats(device)
    began = []

    def batches(number: int, rank: int, world: int) -> list[Microbatch]:
        began.append(wait(device))  # the loop asks for its batch when a step begins
        return pieces

    numbers = TrainingConfig(steps=steps + 1, learning_rate=1e-4, log_every=steps + 1)
    train(BertForPreTraining(config), batches, numbers, progress=False)
    seconds = median(b - a for a, b in itertools.pairwise(began[warm:]))
    return seconds, torch.cuda.max_memory_allocated(device) if cuda else None


BACKEND = re.compile(
    r"aten::_scaled_dot_product_(?:(\w+)_attention(?:_for_cpu)?|attention_(math)\w*)"
)


def attention(device: torch.device) -> Fields:
    """Which back end of scaled_dot_product_attention runs, for what the package asks of it.

    counting.activations promises a fused one, but on the CPU with dropout: math is a fault.
    """
    heads = [(12, 64), (12, 32), (4, 16)]  # BERT-base, MiniLM, the second chapter
    lengths = [37, 128, 512]  # rows of a batch are as long as its longest: often odd
    if device.type == "cpu":
        heads, lengths = heads[1:], lengths[:1]
    dtypes = [torch.float32, torch.bfloat16, torch.float16]
    found: dict[str, set[str]] = {}
    faults = []
    for dtype, dropout, (many, width), length in itertools.product(
        dtypes, [0.0, 0.1], heads, lengths
    ):
        module = SelfAttention(many * width, many, dropout).to(device, dtype)
        x = torch.randn(2, length, many * width, device=device, dtype=dtype, requires_grad=True)
        real = torch.ones(2, length, dtype=torch.long, device=device)
        real[1, length // 2 :] = 0
        masks = {
            "no mask": None,
            "padding": padding_mask(real),
            "packed rows": padding_mask(real[:, :, None] * real[:, None, :]),
            "causal": causal_mask(length, device),
        }
        for name, mask in masks.items():
            ran = backends(module, x, mask)
            case = f"{str(dtype).removeprefix('torch.')}, {name}, dropout {dropout}"
            found[case] = found.get(case, set()) | ran
            promised = device.type == "cuda" or dropout == 0
            if not ran or (promised and "math" in ran):
                faults.append(f"{case}, {many} heads of {width}, length {length}: {ran}")
    return {"backends": {k: sorted(v) for k, v in found.items()}, "faults": faults}


def backends(module: SelfAttention, x: torch.Tensor, mask: torch.Tensor | None) -> set[str]:
    """Look at the operations that a forward and backward pass is made of."""
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        module(x, mask).sum().backward()
    matches = (BACKEND.fullmatch(event.key) for event in seen.key_averages())
    return {match[1] or match[2] for match in matches if match}


def curve(
    config: BertConfig, device: torch.device, bfloat16: bool | None, folder: str | None = None
) -> list[float]:
    """The loss of each step of a run; `bfloat16` is `TrainingConfig`'s."""
    torch.manual_seed(0)
    model = BertForPreTraining(config)  # on the CPU, so that all start alike
    numbers = TrainingConfig(
        steps=STEPS, learning_rate=2e-3, log_every=1, save_every=STEPS, bfloat16=bfloat16
    )
    batches = partial(made_up, masking_of(config), 16, config.max_position_embeddings)
    with patch.dict(os.environ, MINIBERT_DEVICE=str(device)):  # the one way to tell `train`
        log = train(model, batches, numbers, folder, progress=False)
    return [line["masked_lm_loss"] + line["next_sentence_loss"] for line in log]


def losses(device: torch.device) -> Fields:
    """The first losses on the card, in float32 and in its best numbers, beside the CPU's."""
    torch.set_float32_matmul_precision("highest")  # no TF32
    best = str(best_dtype(device)).removeprefix("torch.")
    config = small(device)
    exact = curve(config, torch.device("cpu"), False)
    curves = {"float32": curve(config, device, False), best: curve(config, device, None)}
    apart = {
        dtype: max(abs(a - b) / b for a, b in zip(ours, exact, strict=True))
        for dtype, ours in curves.items()
    }
    return {
        "dtype": best,
        "within": {dtype: WITHIN[dtype] for dtype in curves},
        "apart": apart,
        "losses": {"float32 on the CPU": exact} | curves,
        "faults": [
            f"{dtype}: a loss is {share} from the CPU's, not within {WITHIN[dtype]}"
            for dtype, share in apart.items()
            if not share < WITHIN[dtype]
        ],
    }


def scaler(device: torch.device) -> Fields:
    """A run in float16, whose loss is scaled: it must fall; `train` sees that it is finite."""
    with tempfile.TemporaryDirectory() as folder:
        loss_curve = curve(small(device), device, None, folder)
        _, state = read_checkpoint(max(Path(folder).glob("step-*")))
    scale = state["scaler"].get("scale")
    faults = [] if scale else ["the loss was not scaled"]
    if not fmean(loss_curve[-5:]) < fmean(loss_curve[:5]):
        faults.append("the loss does not fall")
    return {"losses": loss_curve, "scale": scale, "faults": faults}


MEASURES = {"step-base": step_base, "attention": attention, "losses": losses, "scaler": scaler}
