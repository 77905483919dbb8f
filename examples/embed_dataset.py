"""Embed a data set in shards, in one process or in several; a restart goes on.

    python examples/embed_dataset.py vectors
    accelerate launch --multi_gpu --num_processes 2 examples/embed_dataset.py vectors

Each process takes its share of the shards and writes the vectors of each into a file of
the folder; the first process joins them into `vectors/all.npy`. Without a GPU, too, it is
`--multi_gpu` that makes `accelerate launch` start several processes. On several machines
that see one folder, add --num_machines, --machine_rank and --main_process_ip.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
from accelerate import PartialState
from datasets import Dataset

from minibert import embed, leads
from minibert.device import best_device


def main() -> None:
    """Embed what is not embedded yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", default="vectors")
    parser.add_argument("--count", type=int, default=96, help="texts to embed")
    parser.add_argument("--shards", type=int, default=6)
    args = parser.parse_args()
    state = PartialState(cpu=best_device().type == "cpu")  # which process of how many this is

    # Your own: load_from_disk(...), load_dataset("parquet", data_files=...), ...
    data = Dataset.from_list([one._asdict() for one in leads("dev")[: args.count]])

    how = {"model": "minilm", "max_length": 64}
    made_of = {"data": data._fingerprint, "shards": args.shards, **how}
    said = args.folder / "made-of.json"
    with state.main_process_first():
        args.folder.mkdir(parents=True, exist_ok=True)
        if not said.exists():
            said.write_text(json.dumps(made_of), encoding="utf-8")
        if json.loads(said.read_text(encoding="utf-8")) != made_of:
            raise SystemExit(f"{args.folder} holds vectors of something else: name another folder")

    files = [args.folder / f"shard-{i:05}.npy" for i in range(args.shards)]
    for i in range(state.process_index, args.shards, state.num_processes):
        if files[i].exists():
            print(f"process {state.process_index}: shard {i} was there", flush=True)
            continue
        shard = data.shard(args.shards, i, contiguous=True)
        vectors = embed(list(shard["text"]), device=state.device, **how)
        beside = files[i].with_suffix(".part")
        with beside.open("wb") as file:  # a run that is stopped leaves no half of a shard
            np.save(file, vectors)
        os.replace(beside, files[i])
        print(f"process {state.process_index}: shard {i}, {len(vectors)} vectors", flush=True)

    state.wait_for_everyone()
    if state.is_main_process:
        vectors = np.concatenate([np.load(file) for file in files])
        np.save(args.folder / "all.npy", vectors)
        print(f"{args.folder / 'all.npy'}: {vectors.shape} in {state.num_processes} process(es)")
    state.destroy_process_group()


if __name__ == "__main__":
    main()
