"""The command `minibert`: what it takes lies in `app`, what it does in the other modules.

| module | holds |
|---|---|
| `app` | every command with its flags; imports nothing that computes |
| `flags` | what flags are made of, and how a command is run |
| `texts` | `answer`, `summarize`, `embed`, `search`, `fill`, `classify`, `attention`, `models` |
| `pretraining` | `corpus`, `pretrain` |
| `benchmarks` | `glue` |
| `questions` | `qa train`, `qa evaluate` |
| `summaries` | `sentences evaluate` |
| `serving` | `serve` |
"""

__all__: list[str] = []
