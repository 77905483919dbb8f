# %% 1. mean of means
answer = (2 + 6) / 2

# %% 1. the wrong way round
answer = (10 * 2 + 30 * 6) / 40

# %% 1. adds two means
answer = 2 + 6

# %% 1. divide it by the words
answer = 30 * 2 + 10 * 6

# %% 1. no mean of losses
answer = (30 * 2 + 10 * 6) / 2

# %% 2. the norm stays 5
answer = 1

# %% 2. the squares are in the norm already
answer = 1 / 5**2

# %% 2. nothing is subtracted
answer = (5 - 1) / 5

# %% 2. that makes them longer
answer = 5

# %% 2. the norm 2.24
answer = 1 / 5**0.5

# %% 3. that is the warm-up
answer = next(step for step in range(theirs.steps) if theirs.rate(step) < 2e-5)

# %% 3. it falls from step 10,000
answer = int(theirs.steps * (1 - 2e-5 / 1e-4))

# %% 3. 2e-5 itself
answer = 802_000

# %% 3. a step before, too
answer = 900_000

# %% 3. still above 2e-5
answer = 500_000

# %% 4. a norm's: a vector
answer = lambda model: [n for n, _ in model.named_parameters() if "bias" not in n]

# %% 4. biases decay
answer = lambda model: [n for n, _ in model.named_parameters() if "norm" not in n]

# %% 4. left out: 3
answer = lambda model: [
    n for n, p in model.named_parameters() if p.ndim > 1 and "embeddings" not in n
]

# %% 4. the ones that are spared
answer = lambda model: [n for n, p in model.named_parameters() if p.ndim < 2]

# %% 4. no parameter has the name
answer = lambda model: [p for p in model.parameters() if p.ndim > 1]

# %% 5. asked for again
answer = lambda step: torch.randperm(100)[:16]

# %% 5. the seed forgets the step
answer = lambda step: torch.randperm(100, generator=torch.Generator().manual_seed(0))[:16]

# %% 5. a row comes twice
answer = lambda step: torch.randint(100, (16,), generator=torch.Generator().manual_seed(step))

# %% 5. nothing is drawn
answer = lambda step: [(16 * step + i) % 100 for i in range(16)]

# %% 5. rows are 0 to 99
answer = lambda step: torch.randperm(100, generator=torch.Generator().manual_seed(step))[:16] + 1

# %% 6. the warm-up is missing
answer = lambda step: 1e-3 * (1 + math.cos(math.pi * step / 100)) / 2

# %% 6. step 0 has a rate of 0
plan = TrainingConfig(steps=100, warmup=10)
answer = lambda step: (
    1e-3 * step / 10
    if step < 10
    else 1e-3 * (1 + math.cos(math.pi * (step - 10) / 90)) / 2
)

# %% 6. a cosine goes down to -1
plan = TrainingConfig(steps=100, warmup=10)
answer = lambda step: (
    plan.rate(step) if step < 10 else 1e-3 * math.cos(math.pi * (step - 10) / 90)
)

# %% 6. more than half a cosine
plan = TrainingConfig(steps=100, warmup=10)
answer = lambda step: (
    plan.rate(step)
    if step < 10
    else 1e-3 * (1 + math.cos(2 * math.pi * (step - 10) / 90)) / 2
)

# %% 6. the fall begins there
plan = TrainingConfig(steps=100, warmup=10)
answer = lambda step: (
    plan.rate(step) if step < 10 else 1e-3 * (1 + math.cos(math.pi * step / 100)) / 2
)

# %% 6. it is 0.71 of the highest
plan = TrainingConfig(steps=100, warmup=10)
answer = lambda step: (
    plan.rate(step) if step < 10 else 1e-3 * math.cos(math.pi / 2 * (step - 10) / 90)
)

# %% 6. still a straight line
answer = TrainingConfig(steps=100, warmup=10).rate

# %% 6. 0 comes at step 100
plan = TrainingConfig(steps=100, warmup=10)
answer = lambda step: (
    plan.rate(step) if step < 10 else 1e-3 * (1 + math.cos(math.pi * (step - 10) / 89)) / 2
)
